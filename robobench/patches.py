"""Patches: what a small picture covers of an image, how it is turned, and how it is put there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.params import Cells, count_of

if TYPE_CHECKING:
    from torch import Tensor

Shape = Literal["circle", "square"]
GRID = Cells(14, 14)  # of a vision transformer's patches: 16x16 pixels of 224x224


def outline(shape: Shape, area: float, size: Sequence[int], name: str) -> NDArray[np.bool_]:
    """The largest shape that covers at most a share of an image's pixels: (s, s), True where it covers.

    A square of whole pixels; a circle whose middle is that of a pixel or a corner between four. Raises
    BadParameter where nothing fits into the share, or the shape not into the image.
    """
    height, width = size
    found = _disc(count_of(area, height * width)) if shape == "circle" else square(area, size)
    if not found.size:
        raise BadParameter(
            f"{name}: area: expected at least one of the {height}x{width} pixels, got {area:g} of them",
            ("area",),
        )
    if len(found) > min(height, width):
        raise BadParameter(
            f"{name}: area: a {shape} of {area:g} of {height}x{width} pixels is {len(found)} pixels wide and "
            "does not fit",
            ("area",),
        )
    return found


def square(area: float, size: Sequence[int]) -> NDArray[np.bool_]:
    """The largest square of whole pixels that covers at most a share of the image's, (s, s) of True."""
    side = min(math.isqrt(count_of(area, math.prod(size))), *size)
    return np.ones((side, side), bool)


@lru_cache(maxsize=64)
def _disc(pixels: int) -> NDArray[np.bool_]:
    """The largest disc of at most so many pixels, in the smallest box that holds it."""
    best = np.zeros((0, 0), bool)
    for odd in (0, 1):
        half = math.isqrt(pixels) // 2 + 2
        line = np.arange(-half, half + 1) if odd else np.arange(-half, half) + 0.5
        far = line[:, None] ** 2 + line[None, :] ** 2
        radii, counts = np.unique(far, return_counts=True)
        fits = np.flatnonzero(counts.cumsum() <= pixels)
        if not fits.size or counts.cumsum()[fits[-1]] <= best.sum():
            continue
        inside = far <= radii[fits[-1]]
        used = inside.any(axis=0)
        best = inside[used][:, used]
    best.setflags(write=False)
    return best


def put(pixels: Tensor, patch: Tensor, shape: NDArray[np.bool_], rows: Tensor, columns: Tensor) -> Tensor:
    """Images (b, 3, h, w) under patches (b, 3, s, s), where the shape (s, s) covers; differentiable in both.

    rows, columns: (b,) int64, where the upper left corner of the box lies.
    """
    import torch

    width, side = int(pixels.shape[3]), len(shape)
    line = torch.arange(side, device=pixels.device)
    down, across = rows[:, None, None] + line[None, :, None], columns[:, None, None] + line[None, None, :]
    covers = torch.as_tensor(shape.copy(), device=pixels.device).flatten()
    at = (down * width + across).flatten(1)[:, covers][:, None].expand(-1, pixels.shape[1], -1)
    return pixels.flatten(2).scatter(2, at, patch.flatten(2)[:, :, covers]).view(pixels.shape)


def turned(patch: Tensor, shape: Shape, turns: Tensor) -> Tensor:
    """Patches (b, 3, s, s) turned about their middle by a share of a whole turn, (b,) in [0, 1).

    Circles turn by any angle, bilinearly; squares by the quarter turns, which leave them squares.
    """
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    if shape == "square":
        quarters = (turns * 4).floor().long()
        ways = torch.stack([torch.rot90(patch, k, (2, 3)) for k in range(4)], dim=1)
        return ways[torch.arange(len(patch), device=patch.device), quarters]
    angle = turns * (2 * math.pi)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    maps = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = affine_grid(maps, list(patch.shape), align_corners=False)
    found: Tensor = grid_sample(patch, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found


def strewn(pixels: Tensor, patch: Tensor, shape: Shape, covers: NDArray[np.bool_], draws: Draws) -> Tensor:
    """Images with a patch (b, 3, s, s) each, at a place inside the image and under a turn of its own.

    Every place is as likely as any other; so is every angle (circle) or quarter turn (square).
    """
    room = [int(n) - len(covers) + 1 for n in pixels.shape[2:]]
    place = draws.uniform("place", 2)
    rows, columns = ((place[:, i] * n).floor().long().clamp_(max=n - 1) for i, n in enumerate(room))
    return put(pixels, turned(patch, shape, draws.uniform("turn")), covers, rows, columns)


def window(pixels: Tensor, points: Tensor, side: int) -> Tensor:
    """(b, 1, h, w) True in a square of that side about a pixel of each image, moved inside the image.

    points: (b, 2) rows and columns. Squares about one point nest: a larger one holds every smaller one.
    """
    import torch

    inside = []
    for axis in (0, 1):
        size = int(pixels.shape[2 + axis])
        first = (points[:, axis] - side // 2).clamp(0, size - side)[:, None]
        line = torch.arange(size, device=pixels.device)[None, :]
        inside.append((line >= first) & (line < first + side))
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def cells(planes: Tensor, grid: Cells, name: str) -> Tensor:
    """The sums (b, N) of planes (b, c, h, w) over channels and the cells of a grid, row by row.

    Raises BadParameter when the cells are not of equal size.
    """
    height, width = (int(n) for n in planes.shape[2:])
    if height % grid.rows or width % grid.columns:
        raise BadParameter(
            f"{name}: grid: expected a number of cells that divides the {height}x{width} pixels, got {grid}",
            ("grid",),
        )
    parts = planes.double().view(
        len(planes), -1, grid.rows, height // grid.rows, grid.columns, width // grid.columns
    )
    return parts.sum(dim=(1, 3, 5)).flatten(1)


def spread(values: Tensor, grid: Cells, height: int, width: int) -> Tensor:
    """Values (b, N) of the cells of a grid at every pixel of them, (b, 1, h, w); the inverse of `cells`."""
    tall, wide = height // grid.rows, width // grid.columns
    found = values.view(-1, 1, grid.rows, grid.columns)
    return found.repeat_interleave(tall, dim=2).repeat_interleave(wide, dim=3)
