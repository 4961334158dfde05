"""The elastic transform of ImageNet-C: an affine map, then a smooth random displacement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.filters import gaussian, gaussian_taps, places
from robobench.perturbations.corruption.severity import Corruption, Levels
from robobench.registry import perturbations
from robobench.warp import sample

if TYPE_CHECKING:
    from torch import Tensor

_TRUNCATE = 3.0  # standard deviations at which the smoothing ends
_DENSE = 24  # a smoothing that reaches further is cheaper as a matrix
_FAR = 4  # image sides away at which places stop: beyond, a nearly singular map leaves only mirror images


def _of(size: float, *shares: tuple[float, float, float]) -> tuple[tuple[float, float, float], ...]:
    """Displacement, smoothing and anchor shift in pixels, from shares of an image side."""
    return tuple((size * a, size * b, size * c) for a, b, c in shares)


@perturbations.register("elastic_transform", version=1)
@dataclass(frozen=True, kw_only=True)
class ElasticTransform(Corruption):
    """Stretch and bend an image.

    Measures reliance on exact shapes. First an affine map that moves three points around the middle by up
    to 5 to 49 pixels each at 224 (mirrored beyond the border, the edge once); then every pixel is read
    from a place displaced by smoothed uniform noise (mirrored, the edge twice). Both are bilinear and
    exact; the published code ran on OpenCV 4, whose affine map interpolates at steps of 1/32 of a pixel.
    Of an image that is not a square the points lie around its true middle.

    Raises BadParameter when the images are not of 224 pixels and no table is named, or when the shift of
    a table exceeds a third of the image.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.1, with the parameters of the published code, where the side that
    the parameters of 224 pixels are shares of is 244, and that of 299 is 360.
    """

    levels: ClassVar[Levels] = {
        name: _of(size, *shares)
        for name, size, shares in (
            ("imagenet-224", 244, ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02),
                                   (0.12, 0.01, 0.02))),
            ("imagenet-299", 360, ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02),
                                   (0.12, 0.01, 0.02))),
            ("tiny-imagenet", 64, ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03),
                                   (0.16, 0.03, 0.02))),
            ("cifar", 32, ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05),
                           (0.1, 0.03, 0.03))),
        )
    }  # fmt: skip
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"severity": 1, "table": "cifar"},
        {"severity": 2, "table": "cifar", "quantise": "none"},
        {"severity": 4, "table": "tiny-imagenet"},
        {"severity": 5, "table": "imagenet-224", "quantise": "round"},
    )

    def apply(self, pixels: Tensor, level: tuple[float, float, float], draws: Draws) -> Tensor:
        reach, sigma, shift = level
        height, width = int(pixels.shape[2]), int(pixels.shape[3])
        if shift > min(height, width) // 3:
            raise BadParameter(
                f"corruption.elastic_transform: table: expected one that moves points by at most a third of "
                f"images of {height}x{width}, got one that moves them by up to {shift:g} pixels",
                ("table",),
            )
        moves = draws.uniform("anchors", 3, 2).double().mul(2.0).sub_(1.0).mul_(shift)
        out = stretched(pixels, moves)
        if reach == 0:
            return out
        # the horizontal field first, as in the published code
        fields = draws.shared(
            f"smoothed {sigma} {height}x{width}",
            lambda: smoothed(draws.uniform("fields", 2, height, width) * 2.0 - 1.0, sigma),
        )
        return bent(out, fields[:, 1] * reach, fields[:, 0] * reach)


def stretched(pixels: Tensor, moves: Tensor) -> Tensor:
    """Pixels (b, c, h, w) under the affine map that moves three points around the middle.

    moves: (b, 3, 2), how far each point moves along x and y, in pixels. The points lie a third of the
    shorter side right and down, right and up, and left and up from the middle in the published order,
    whose first coordinate is x.
    """
    import torch

    height, width = int(pixels.shape[2]), int(pixels.shape[3])
    x, y, third = width // 2, height // 2, min(height, width) // 3
    before = torch.tensor(
        [[x + third, y + third], [x + third, y - third], [x - third, y - third]], dtype=torch.float64
    )
    after = before + moves.double().cpu()
    # a row (x, y, 1) times `back` is the place that it is read from
    ones = torch.ones(len(after), 3, 1, dtype=torch.float64)
    back = torch.linalg.pinv(torch.cat([after, ones], dim=2)) @ before
    back = back.to(pixels.device)[..., None, None]
    down = torch.arange(height, dtype=torch.float64, device=pixels.device)[:, None]
    across = torch.arange(width, dtype=torch.float64, device=pixels.device)
    columns, rows = (
        ((back[:, 1, i] * down + back[:, 2, i]) + back[:, 0, i] * across).clamp_(-_FAR * side, _FAR * side)
        for i, side in ((0, width), (1, height))
    )
    return sample(pixels, rows.float(), columns.float(), border="mirror")


def bent(pixels: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Pixels (b, c, h, w), each read from a place (b, h, w) pixels further down and across."""
    import torch

    height, width = pixels.shape[2:]
    rows = torch.arange(height, device=pixels.device)[:, None] + down
    columns = torch.arange(width, device=pixels.device) + across
    return sample(pixels, rows, columns, border="reflect")


def smoothed(noise: Tensor, sigma: float) -> Tensor:
    """Noise (b, n, h, w) under a Gaussian of `sigma` pixels that ends at three of them and is reflected."""
    import torch

    if sigma * _TRUNCATE <= _DENSE:
        return gaussian(noise, sigma, truncate=_TRUNCATE, border="reflect")
    down, across = (_smoothing(int(side), sigma).to(noise.device) for side in noise.shape[2:])
    # plane by plane, so that the order of its sums cannot depend on the batch
    return torch.stack([torch.stack([down @ plane @ across.T for plane in image]) for image in noise])


@lru_cache(maxsize=8)
def _smoothing(side: int, sigma: float) -> Tensor:
    """The matrix (side, side) that smooths a line of that many pixels, reflection included."""
    import torch

    taps = gaussian_taps(sigma, _TRUNCATE)
    reach = len(taps) // 2
    found = places(-reach, side + reach, side, "reflect").numpy()
    matrix = np.zeros((side, side))
    for i in range(side):
        np.add.at(matrix[i], found[i : i + len(taps)], taps)
    return torch.from_numpy(matrix.astype(np.float32))
