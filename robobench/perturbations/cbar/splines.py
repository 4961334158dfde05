"""Images resampled by cubic B-splines: blur along circles, and colours magnified differently."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from robobench.draws import Draws
from robobench.filters import padded, places, separable
from robobench.perturbations.cbar.strength import BarCorruption, Strengths
from robobench.perturbations.corruption.severity import Quantise
from robobench.registry import perturbations

if TYPE_CHECKING:
    from torch import Tensor

_POLE = math.sqrt(3) - 2  # of the filter that turns pixels into the weights of cubic B-splines
_REACH = 14  # pixels; beyond, the filter is below 1e-8
_TURNS = 21  # images that the blur is made of
_AT_ONCE = 1 << 20  # weights worked on at a time


@perturbations.register("circular_motion_blur", version=1)
@dataclass(frozen=True, kw_only=True)
class CircularMotionBlur(BarCorruption):
    """Blur the image along circles around its middle.

    Measures robustness to a turning camera. It is the mean of 21 turned images, by -t to t degrees in equal
    steps, weighted by exp(-2 (angle / t)^2); at strength v, t is 1.5 v. Each is resampled by cubic splines
    through the pixels, black outside, so that corners darken. Nothing is random.

    Raises BadParameter where the table has to be named.

    Source: Mintun et al., On Interaction Between Augmentations and Corruptions in Natural Corruption
    Robustness, NeurIPS 2021, section 5 and the published CIFAR-10-C-bar code (circular_motion_blur, by
    scipy.ndimage.rotate).
    """

    strengths: ClassVar[Strengths] = {"cifar": (2.8, 3.6, 4.4, 5.2, 6.0)}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"severity": 1, "table": "cifar"},
        {"severity": 3, "table": "cifar", "quantise": "none"},
        {"severity": 5, "table": "cifar", "jpeg_quality": 85},
    )

    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        import torch
        from torch.nn.functional import embedding_bag

        taps = math.sqrt(3) * _POLE ** np.abs(np.arange(-_REACH, _REACH + 1))
        splines = padded(separable(pixels, taps, taps, border="mirror"), 2, 2, "mirror")
        # turning back is turning the mirrored image, so both ways need the same splines and weights
        both = torch.cat([splines, splines.flip(3)], 1)
        b, channels = len(pixels), 6
        height, width = (int(v) for v in pixels.shape[2:])
        rows = both.flatten(2).transpose(1, 2).contiguous()
        total = pixels.new_zeros(b, height * width, channels)
        for found, weights in _turns(height, width, 1.5 * strength, pixels.device):
            for image, into in zip(rows, total, strict=True):
                turned = embedding_bag(found, image, mode="sum", per_sample_weights=weights)
                into += turned.view(-1, height * width, channels).sum(0)
        one, other = total.view(b, height, width, channels).permute(0, 3, 1, 2).chunk(2, 1)
        return (one + other.flip(3)).contiguous()


def _turns(height: int, width: int, degrees: float, device: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Some turned images at a time: few calls for small images, little memory for large ones.

    For each image and pixel the 16 splines that make it up, counted in an image that is continued by two
    pixels on each side, and their weights: both (images * pixels, 16). Only those turned one way, the
    image itself with half of its weight.
    """
    import torch

    steps = torch.linspace(0, 1, _TURNS // 2 + 1, dtype=torch.float64, device=device)[:, None, None]
    weights = (-2 * steps.square()).exp()
    weights[0] /= 2
    weights /= 2 * weights.sum()
    angles = torch.deg2rad(steps * degrees)
    at_once = max(1, _AT_ONCE // (16 * height * width))
    for one, weight in zip(torch.split(angles, at_once), torch.split(weights, at_once), strict=True):
        yield _turned(height, width, one, weight)


def _turned(height: int, width: int, angles: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The splines and weights of `_turns` for angles about the middle, (images, 1, 1) in radians."""
    import torch

    y, x = (height - 1) / 2, (width - 1) / 2
    rows = torch.arange(height, dtype=torch.float64, device=angles.device)[:, None] - y
    columns = torch.arange(width, dtype=torch.float64, device=angles.device)[None] - x
    cos, sin = angles.cos(), angles.sin()
    down, across = cos * rows + sin * columns + y, cos * columns - sin * rows + x
    inside = (down >= 0) & (down <= height - 1) & (across >= 0) & (across <= width - 1)
    corner = torch.zeros((), dtype=torch.int32, device=angles.device)
    shares = []
    for at, side, stride in ((down, height, width + 4), (across, width, 1)):
        below = at.clamp(0, side - 1).floor()
        corner = corner + (below.int() + 1) * stride
        shares.append(torch.stack(_cubic((at - below).float()), -1))
    step = torch.arange(4, dtype=torch.int32, device=angles.device)
    found = corner.view(-1, 1) + (step[:, None] * (width + 4) + step).flatten()
    vertical = shares[0] * (inside * weights).float()[..., None]
    return found, (vertical[..., :, None] * shares[1][..., None, :]).view(-1, 16)


def _cubic(f: Any) -> tuple[Any, Any, Any, Any]:
    """The cubic B-spline at 1 + f, f, 1 - f and 2 - f, for f in [0, 1)."""
    g = 1 - f
    return g**3 / 6, (4 - 3 * f**2 * (2 - f)) / 6, (4 - 3 * g**2 * (2 - g)) / 6, f**3 / 6


@perturbations.register("transverse_chromatic_abberation", version=1)
@dataclass(frozen=True, kw_only=True)
class TransverseChromaticAbberation(BarCorruption):
    """Magnify the three colours differently, so that edges away from the middle get coloured fringes.

    Measures robustness to a lens fault. At strength v the colours, in an order that is drawn, are magnified
    by 1, 1 + 0.025 v and 1 + 0.05 v and cropped to the middle. As in the published code pixels are taken
    for the weights of cubic B-splines, which blurs every colour a little, also the one that keeps its size,
    and values are rounded to 8-bit levels, which is the default here too.

    Raises BadParameter where the table has to be named.

    Source: Mintun et al., On Interaction Between Augmentations and Corruptions in Natural Corruption
    Robustness, NeurIPS 2021, section 5 and the published CIFAR-10-C-bar code
    (transverse_chromatic_abberation, so spelt, by scipy.ndimage.zoom).
    """

    quantise: Quantise = "round"  # how values become 8-bit levels

    strengths: ClassVar[Strengths] = {"cifar": (1.0, 2.0, 5.0, 9.0, 10.0)}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"severity": 1, "table": "cifar"},
        {"severity": 3, "table": "cifar", "quantise": "none"},
        {"severity": 5, "table": "cifar", "jpeg_quality": 85},
    )

    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        import torch

        order = draws.permutation("colours", 3)
        image = torch.arange(len(pixels), device=pixels.device)
        out = torch.empty_like(pixels)
        for n in range(3):
            colour = order[:, n]  # the one that gets magnification n
            out[image, colour] = _zoomed(pixels[image, colour], 1 + 0.025 * strength * n)
        return out


def _zoomed(planes: Tensor, factor: float) -> Tensor:
    """The middle of planes (b, h, w) magnified with both ends aligned, read as weights of B-splines."""
    for axis in (1, 2):
        side = int(planes.shape[axis])
        grown = round(side * factor)
        at = (np.arange(side) + (grown - side) // 2) * ((side - 1) / (grown - 1))
        below = np.floor(at).astype(np.int64)
        found = places(-1, side + 2, side, "mirror").to(planes.device)
        shape = (-1, 1) if axis == 1 else (-1,)
        parts = [
            planes.index_select(axis, found[below + k]) * planes.new_tensor(weight).view(shape)
            for k, weight in enumerate(_cubic(at - below))
        ]
        planes = parts[0] + parts[1] + parts[2] + parts[3]
    return planes
