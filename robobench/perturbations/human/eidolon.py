"""Eidolons: the picture is taken apart by scale, every scale is warped at random, and all are added up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench import filters
from robobench.colour import grey
from robobench.draws import Draws
from robobench.perturbations.human.luminance import SIDE, shown
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

Plane = NDArray[np.float32]

# In pixels of a picture of 256 x 256, of which an image of 224 x 224 is the middle.
_SCALES = tuple(2.0 ** ((k - 1) / 2) for k in range(12))  # standard deviations of the blurs: 0.71 to 32
_COARSEST = 64.0  # a quarter of the picture: the scale whose displacements are not made smaller
_AROUND = 512  # side of the mirrored picture that noise is made for
_LARGEST = 4.74  # expected largest size among _AROUND squared normal numbers


@perturbations.register("eidolon", version=1)
@dataclass(frozen=True, kw_only=True)
class Eidolon:
    """Warp every scale of the grey image by a random field, partly the same for all scales.

    Measures whether a model sees parts or only their presence. The image is split into differences of
    Gaussian blurs (12 scales from 0.71 to 32 pixels), each is read at displaced places, and they are added up
    again. A displacement is reach * ((1 - coherence) * own + coherence * common): `own` is smooth noise of
    the standard deviation `grain`, independent for every scale; `common` of a scale is the sum, over this
    and all coarser ones, of noise as smooth as the scale and about 0.12 pixels high, so that coarse parts
    carry their details along. Drawn per image, the same for every reach and coherence. Beyond the border
    the image is mirrored; the sum is clipped to [0, 1]. Lengths are those of the stimuli at 224 pixels and
    scale with the shorter side of an image.

    Source: Koenderink et al., Eidolons: novel stimuli for vision research, Journal of Vision 2017, as in the
    Python toolbox (partially coherent disarray, with the correction that Geirhos et al. asked for), with the
    settings of Geirhos et al., Generalisation in humans and deep neural networks, NeurIPS 2018: coherence 1,
    0.3 and 0 are Eidolon I, II and III, reach 1, 2, 4, ... 128, grain 10. There noise is divided by its own
    largest value, here by the expected one; the toolbox resizes pictures to 256 pixels and stores 8 bits;
    the scaling to other sizes is ours.
    """

    reach: Annotated[float, Field(ge=0, le=1024)]  # strength: the factor of all displacements
    coherence: Annotated[float, Field(ge=0, le=1)]  # 1: scales move together, 0: each on its own
    grain: Annotated[float, Field(ge=1, le=64)] = 10.0  # smoothness of the own displacements in pixels

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"reach": 8, "coherence": 1},
        {"reach": 16, "coherence": 0.3},
        {"reach": 64, "coherence": 0},
    )

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        import torch

        planes = grey(batch.pixels).cpu()
        out = torch.empty_like(planes)
        unit = min(int(planes.shape[2]), int(planes.shape[3])) / SIDE
        for i, image in enumerate(batch.ids):
            alone = replace(draws, ids=(image,), device="cpu", memo=None)
            out[i, 0] = torch.from_numpy(self._warped(planes[i : i + 1], alone, unit))
        return batch.with_pixels(shown(out).to(batch.pixels.device))

    def _warped(self, plane: Tensor, draws: Draws, unit: float) -> Plane:
        """One image (1, 1, h, w), whose pixels are `unit` of the picture's."""
        height, width = int(plane.shape[2]), int(plane.shape[3])
        total = np.zeros((height, width), np.float32)
        moves = self._moves(draws, (height, width), unit)
        blurred = [filters.gaussian(plane, s * unit, border="reflect")[0, 0].numpy() for s in _SCALES]
        for k, move in enumerate(moves):
            layer = blurred[k] - blurred[k + 1] if k + 1 < len(blurred) else blurred[k]
            total += _displaced(layer, move * np.float32(self.reach * unit))
        return total

    def _moves(self, draws: Draws, size: tuple[int, int], unit: float) -> list[Plane]:
        """For each scale the displacements down and across (2, h, w) at a reach of 1, finest scale first."""
        import torch

        moves = [torch.zeros(2, *size) for _ in _SCALES]
        if self.coherence > 0:
            common = torch.zeros(2, *size)
            noise = _smooth(draws, "common", _SCALES, size, unit)
            for k in reversed(range(len(_SCALES))):
                common += noise[k] * (_SCALES[k] / _COARSEST)
                moves[k] += common * self.coherence
        if self.coherence < 1:
            for move, own in zip(
                moves, _smooth(draws, "own", [self.grain] * len(moves), size, unit), strict=True
            ):
                move += own * (1 - self.coherence)
        return [move.numpy() for move in moves]


def _smooth(
    draws: Draws, name: str, sigmas: Sequence[float], size: tuple[int, int], unit: float
) -> list[Tensor]:
    """For each sigma two planes of blurred noise (2, h, w), as the toolbox makes them.

    That is white noise whose largest value is 127.5, blurred, minus its mean divided by its standard
    deviation: the last moves the whole plane by a random amount.
    """
    import torch

    lattices = [_Lattice(sigma * unit, size) for sigma in sigmas]
    counts = [2 * lattice.points[0] * lattice.points[1] for lattice in lattices]
    white = torch.split(draws.normal(name, sum(counts))[0], counts)
    offsets = draws.normal(f"{name} offsets", len(counts), 2)[0]
    planes = []
    for sigma, lattice, drawn, offset in zip(sigmas, lattices, white, offsets, strict=True):
        energy = float((filters.gaussian_taps(sigma) ** 2).sum())  # standard deviation left of white noise
        noise = lattice.noise(drawn.view(2, *lattice.points))
        planes.append(noise * (127.5 / _LARGEST * energy) - offset[:, None, None] / (_AROUND * energy))
    return planes


class _Lattice:
    """Gaussian noise of standard deviation 1, correlated as white noise blurred by sigma.

    White noise on a lattice, a power of two of at most sigma pixels apart, is weighted by Gaussians around
    the pixels. That is what a blur of white noise in every pixel gives, to within 1e-4 of its correlations.
    """

    def __init__(self, sigma: float, size: tuple[int, int]) -> None:
        self.sigma, self.size = sigma, size
        self.step = 2 ** max(0, math.floor(math.log2(sigma)))
        self.reach = -(-math.ceil(4 * sigma) // self.step)
        self.points = [(side - 1) // self.step + 1 + 2 * self.reach for side in size]

    def noise(self, white: Tensor) -> Tensor:
        """White noise at the points (2, rows, columns) as noise at the pixels (2, h, w)."""
        import torch

        if self.step > 1:
            down, across = (torch.from_numpy(self._weights(axis)) for axis in (0, 1))
            return torch.stack([down @ plane @ across.T for plane in white])
        taps = np.exp(-0.5 * (np.arange(-self.reach, self.reach + 1) / self.sigma) ** 2)
        taps /= np.sqrt((taps**2).sum())
        wide = filters.separable(white[None], taps, taps, border="zero")[0]
        inside = (slice(self.reach, self.reach + side) for side in self.size)
        return wide[:, *inside]

    def _weights(self, axis: int) -> Plane:
        """Of the points of an axis for its pixels; their squares add up to 1."""
        points = self.step * (np.arange(self.points[axis]) - self.reach)
        away = np.arange(self.size[axis])[:, None] - points[None, :]
        weights = np.exp(-0.5 * (away / self.sigma) ** 2)
        weights /= np.sqrt((weights**2).sum(1, keepdims=True))
        return np.asarray(weights, np.float32)


def _displaced(layer: Plane, move: Plane) -> Plane:
    """A layer read at displaced places, down and across; mirrored to half a side beyond the border.

    Places are rounded down, as the toolbox does.
    """
    import cv2

    height, width = layer.shape
    down = np.floor(np.clip(np.arange(height)[:, None] + move[0], -(height // 2), height + height // 2 - 1))
    across = np.floor(np.clip(np.arange(width)[None, :] + move[1], -(width // 2), width + width // 2 - 1))
    maps = across.astype(np.float32), down.astype(np.float32)
    return np.asarray(cv2.remap(layer, *maps, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT), np.float32)
