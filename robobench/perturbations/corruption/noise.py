"""Noise of ImageNet-C: Gaussian, shot, impulse and speckle, one draw per pixel and channel.

The five severities of an image share one draw, so that they differ in strength alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from robobench.draws import Draws
from robobench.perturbations.corruption.severity import Corruption, Levels
from robobench.registry import perturbations

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_PIECE = 1 << 17  # numbers worked on at a time on a CPU
_EXAMPLES: tuple[Mapping[str, Any], ...] = (
    {"severity": 1, "table": "imagenet-224"},
    {"severity": 5, "table": "imagenet-224", "quantise": "round"},
    {"severity": 3, "table": "cifar", "quantise": "none"},
    {"severity": 2, "table": "tiny-imagenet", "jpeg_quality": 85},
)


@perturbations.register("gaussian_noise", version=1)
@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Corruption):
    """Add Gaussian noise, as a camera makes in low light.

    x + N(0, sigma), independent per pixel and channel; sigma in units of the pixel range.

    Raises BadParameter at a size other than 224 when no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.1, and the authors' scripts for each size.
    """

    levels: ClassVar[Levels] = {
        "imagenet-224": (0.08, 0.12, 0.18, 0.26, 0.38),
        "imagenet-299": (0.09, 0.13, 0.19, 0.27, 0.40),
        "tiny-imagenet": (0.04, 0.08, 0.12, 0.15, 0.18),
        "cifar": (0.04, 0.06, 0.08, 0.09, 0.10),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, level: float, draws: Draws) -> Tensor:
        return draws.normal("noise", *pixels.shape[1:]).mul(level).add_(pixels)


@perturbations.register("speckle_noise", version=1)
@dataclass(frozen=True, kw_only=True)
class SpeckleNoise(Corruption):
    """Add Gaussian noise in proportion to the brightness of each pixel.

    x + x * N(0, sigma), independent per pixel and channel. One of the four validation corruptions.

    Raises BadParameter at a size other than 224 when no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, appendix, and the authors' scripts for each size.
    """

    levels: ClassVar[Levels] = {
        "imagenet-224": (0.15, 0.2, 0.35, 0.45, 0.6),
        "imagenet-299": (0.16, 0.21, 0.36, 0.46, 0.61),
        "tiny-imagenet": (0.15, 0.2, 0.25, 0.3, 0.35),
        "cifar": (0.06, 0.1, 0.12, 0.16, 0.2),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, level: float, draws: Draws) -> Tensor:
        return draws.normal("noise", *pixels.shape[1:]).mul(level).add_(1.0).mul_(pixels)


@perturbations.register("impulse_noise", version=1)
@dataclass(frozen=True, kw_only=True)
class ImpulseNoise(Corruption):
    """Set a share of the values to black or white: salt-and-pepper noise, as bit errors make.

    A share p of all values, drawn per pixel and channel, half of them to 1 and half to 0. What a milder
    severity sets, a stronger one sets to the same value.

    Raises BadParameter at a size other than 224 when no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.1, and the authors' scripts for each size.
    """

    levels: ClassVar[Levels] = {
        "imagenet-224": (0.03, 0.06, 0.09, 0.17, 0.27),
        "imagenet-299": (0.04, 0.07, 0.10, 0.18, 0.28),
        "tiny-imagenet": (0.01, 0.02, 0.05, 0.08, 0.14),
        "cifar": (0.01, 0.02, 0.03, 0.05, 0.07),
    }
    nested: ClassVar[str | None] = "severity"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        *_EXAMPLES,
        {"severity": 4, "table": "imagenet-224"},
    )

    def apply(self, pixels: Tensor, level: float, draws: Draws) -> Tensor:
        import torch

        # Words far enough from 0 stay as they are, the others become 0. Added to a pixel and clipped, that is
        # white, black, or the pixel; masks would cost several times as much.
        words = draws.bits("impulses", *pixels.shape[1:]).float()
        return torch.hardshrink(words, (1.0 - level) * 2.0**31, out=words).add_(pixels)


@perturbations.register("shot_noise", version=1)
@dataclass(frozen=True, kw_only=True)
class ShotNoise(Corruption):
    """Count photons: Poisson noise, from the discreteness of light.

    Poisson(x * rate) / rate, independent per pixel and channel, where `rate` is the expected count of a
    white pixel. Each count is the quantile of one uniform number of 30 bits, so that a darker image, or
    another severity, gets the quantile at the same place. The chances of counts are exact to 2**-30; counts
    rarer than that (at a rate of 60 and x = 1, counts above 113) are never drawn.

    Raises BadParameter at a size other than 224 when no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.1, and the authors' scripts for each size.
    """

    levels: ClassVar[Levels] = {
        "imagenet-224": (60, 25, 12, 5, 3),
        "imagenet-299": (50, 20, 10, 5, 3),
        "tiny-imagenet": (250, 100, 50, 30, 15),
        "cifar": (500, 250, 100, 75, 50),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, level: int, draws: Draws) -> Tensor:
        import torch

        words = draws.bits("photons", *pixels.shape[1:])
        out = torch.empty_like(pixels)
        for some in _pieces(pixels):
            out[some] = poisson(pixels[some], level, words[some])
            out[some].div_(level)
        return out


def _pieces(pixels: Tensor) -> list[slice]:
    """Images to work on together: on a CPU as many as stay in its caches, elsewhere all of them."""
    some = len(pixels)
    if pixels.device.type == "cpu":
        some = max(1, _PIECE // math.prod(pixels.shape[1:]))
    return [slice(i, i + some) for i in range(0, len(pixels), some)]


# Poisson counts. A 32-bit word w is the uniform number u = (i + 1/2) / 2**30 with i = (w >> 2) + 2**29. The
# count of a pixel with mean m is the number of n with P(count <= n) <= u. For the means of the 256 levels of
# a pixel a table answers: the upper 9 bits of i choose a cell, the lower 21 are compared with the place in
# the cell where the count goes up. In a few cells, at the ends, it goes up more than once.

_CELL_BITS, _REST_BITS = 9, 21
_DROPPED = 32 - _CELL_BITS - _REST_BITS
_CELLS, _REST, _PLACES = 1 << _CELL_BITS, 1 << _REST_BITS, 1 << (_CELL_BITS + _REST_BITS)
_SEVERAL = (1 << 10) - 1  # stands in for the count where it goes up more than once; beyond any count
_ON_LEVEL = 1e-3 / 255  # a pixel this close to k / 255 is k / 255


class _Quantiles(NamedTuple):
    """The Poisson quantiles of the 256 levels of a pixel at one rate."""

    cells: Tensor  # (256 * _CELLS,) int32: count << 21, plus 2**21 less the place where it goes up
    steps: Tensor  # (256 * n,) int64: the least i whose count is above 0, 1, ..., n - 1, plus level << 30


@lru_cache(maxsize=8)
def _quantiles(rate: int, device: torch.device) -> _Quantiles:
    import torch
    from scipy.special import pdtr  # torch's own is off by up to 4e-10

    most = int(rate + 9 * rate**0.5 + 30)  # far beyond what 30 bits can tell from never
    below = pdtr(np.arange(most), np.arange(256)[:, None] * (rate / 255))  # P(count <= n)
    steps = torch.from_numpy(np.ceil(below * _PLACES - 0.5).clip(0, _PLACES).astype(np.int32))

    first = (torch.arange(_CELLS, dtype=torch.int32) * _REST).expand(256, _CELLS).contiguous()
    low = torch.searchsorted(steps, first, right=True)
    rises = torch.searchsorted(steps, first + (_REST - 1), right=True) - low
    place = steps.gather(1, low) - first
    cells = low * _REST + torch.where(rises == 1, _REST - place, 0)
    cells = torch.where(rises > 1, _SEVERAL * _REST, cells).int()
    in_order = steps + torch.arange(256)[:, None] * _PLACES
    return _Quantiles(cells.flatten().to(device), in_order.flatten().to(device))


def poisson(pixels: Tensor, rate: int, words: Tensor) -> Tensor:
    """Counts (int32) of the pixels' shape, whose means are pixels * rate."""
    pixels = pixels.contiguous()
    levels = (pixels * 255.0).round_()
    counts = _counts(levels, rate, words)
    away = levels.div_(-255.0).add_(pixels).abs_()
    if away.numel() and away.max() > _ON_LEVEL:
        rows = _places(away, _ON_LEVEL)
        counts.view(-1)[rows] = _between(pixels.reshape(-1)[rows], rate, words.view(-1)[rows])
    return counts


def _counts(levels: Tensor, rate: int, words: Tensor) -> Tensor:
    """Counts for levels 0 to 255, given as float32. Memory is used again: new memory is what costs."""
    import torch

    table = _quantiles(rate, levels.device)
    cell, rest = levels.int(), words >> (32 - _CELL_BITS)
    cell.mul_(_CELLS).add_(rest).add_(_CELLS // 2)
    counts = table.cells.index_select(0, cell.view(-1)).view(levels.shape)
    torch.bitwise_right_shift(words, _DROPPED, out=rest).bitwise_and_(_REST - 1)
    counts.add_(rest).bitwise_right_shift_(_REST_BITS)

    rows = _places(counts, _SEVERAL - 1)
    level = levels.reshape(-1)[rows].long()
    place = (words.reshape(-1)[rows] >> _DROPPED) + (_PLACES // 2) + level * _PLACES
    before = level * (len(table.steps) // 256)  # steps of darker levels
    found = torch.searchsorted(table.steps, place, right=True) - before
    counts.view(-1)[rows] = found.int()
    return counts


def _between(pixels: Tensor, rate: int, words: Tensor) -> Tensor:
    """Counts for pixels (n,) between two levels.

    The count lies between those of the two levels, mostly the same; else the distribution itself decides.
    """
    import torch
    from scipy.special import pdtr

    below = (pixels * 255.0).floor().clamp_(0, 254)
    low, high = _counts(below, rate, words), _counts(below + 1, rate, words)
    rows = _places(high - low, 0)
    count, most, mean, place = (
        x[rows].double().cpu().numpy() for x in (low, high, pixels, words >> _DROPPED)
    )
    uniform = (place + (_PLACES // 2 + 0.5)) / _PLACES
    for _ in range(int((most - count).max(initial=0))):
        count += (count < most) & (pdtr(count, mean * rate) <= uniform)
    low[rows] = torch.from_numpy(count).to(low)
    return low


def _places(values: Tensor, above: float) -> Tensor:
    """The flat positions (int64) of values above a bound; numpy finds them faster than torch on a CPU."""
    import torch

    flat = values.reshape(-1)
    if flat.device.type != "cpu":
        return (flat > above).nonzero().view(-1)
    return torch.from_numpy(np.flatnonzero(flat.numpy() > above))
