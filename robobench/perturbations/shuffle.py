"""Shuffling: the parts of an image change places or are turned; what is in them stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.params import Cells, Grid
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

WHOLE = Cells(1, 1)
_MANY = 4096  # words from which two passes of a radix sort are faster than one of another sort


@perturbations.register("grid", version=1)
@dataclass(frozen=True, kw_only=True)
class GridShuffle:
    """Permute the cells of a grid.

    Measures how much a model relies on the arrangement of parts. One permutation per image. It is drawn once
    and used as it is, also when it leaves cells in place (at 2x2 the whole image with chance 1/24).
    Cells are floor(height / rows) x floor(width / columns) pixels; where sides are not divisible the
    cells fill the largest such area in the middle, and the border around it, less than one cell wide,
    stays as it is. `offset` moves the borders of the cells down and to the right, around the area: cells
    at its right and lower end go on at its left and upper one, so that there are as many of the same
    size and none fits those of a model that cuts the image alike. Records `moved`, the share of cells
    that changed places, in [0, 1].

    Raises BadParameter when the grid has more rows or columns than the image has pixels.

    Source: Naseer et al., Intriguing Properties of Vision Transformers, NeurIPS 2021, section 3.3
    (4 to 256 cells at 224 pixels). There one permutation serves a whole batch; here every image has its
    own, and the offset is added.
    """

    grid: Grid  # cells per side, or "rows x columns"; 1x1 changes nothing
    offset: Annotated[int, Field(ge=0)] = 0  # pixels by which the cells are moved down and to the right

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"grid": "2x2"},
        {"grid": "2x4"},
        {"grid": 5},
        {"grid": 4, "offset": 3},
        {"grid": 1},
    )

    @property
    def identity(self) -> bool:
        """There is one cell."""
        return self.grid.total == 1

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        import torch

        _check(batch, self.grid, "shuffle.grid")
        source = draws.permutation("cells", self.grid.total)
        moved = source.ne(torch.arange(self.grid.total, device=source.device)).float().mean(1)
        if self.identity:
            return batch.with_pixels(batch.pixels, moved=moved)
        return batch.with_pixels(self._shuffled(batch.pixels, source), moved=moved)

    def _shuffled(self, pixels: Tensor, source: Tensor) -> Tensor:
        """Pixels whose cell i is the former cell source[:, i]."""
        import torch

        image = torch.arange(len(pixels), device=pixels.device)[:, None]
        cells = _cut(pixels, self.grid, self.offset)
        return _put(cells[image, source], pixels, self.grid, self.offset)


@perturbations.register("pixels", version=1)
@dataclass(frozen=True, kw_only=True)
class PixelShuffle:
    """Permute the pixels of the whole image, or inside each cell of a grid.

    Measures what is left of an answer when only the colours, or only the coarse layout of colours, remain.
    One permutation per image and cell; the three channels of a pixel stay together. Cells are those of
    shuffle.grid; with one cell pixels go anywhere. Records `moved`, the share of the pixels that changed
    places, in [0, 1].

    Raises BadParameter when the grid has more rows or columns than the image has pixels.

    Own: a pixel shuffle, of the whole image or by cell. Naseer et al. (Intriguing Properties of Vision
    Transformers, NeurIPS 2021) permute cells and leave their inside alone.
    """

    grid: Grid = WHOLE  # cells per side, or "rows x columns", inside which pixels move; 1: anywhere

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"grid": 7}, {"grid": "2x4"})

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        import torch

        _check(batch, self.grid, "shuffle.pixels")
        height, width = batch.pixels.shape[2:]
        inside = (height // self.grid.rows) * (width // self.grid.columns)
        source = draws.shared(
            f"order {self.grid.total} {inside}",
            lambda: _order(draws.bits("pixels", self.grid.total, inside)),
        )
        moved = source.ne(torch.arange(inside, device=source.device)).flatten(1).double().mean(1).float()
        moved = moved * (inside * self.grid.total / (height * width))
        return batch.with_pixels(self._shuffled(batch.pixels, source), moved=moved)

    def _shuffled(self, pixels: Tensor, source: Tensor) -> Tensor:
        """Pixels whose pixel i of cell k is the former pixel source[:, k, i] of it."""
        cells = _cut(pixels, self.grid)
        flat = cells.flatten(3)
        found = flat.gather(3, source[:, :, None].expand_as(flat))
        return _put(found.view_as(cells), pixels, self.grid)


@perturbations.register("rotate", version=1)
@dataclass(frozen=True, kw_only=True)
class CellTurns:
    """Turn or mirror each cell of a grid in place.

    Measures how much a model relies on the orientation of parts while each stays where it is. Each cell is
    drawn alone: one of the four `rotations` by a multiple of 90 degrees, one of the four `flips` (none,
    left-right, up-down, both), or one of the eight turns and mirror images (`both`), all with equal
    chance and none left out. Cells are those of shuffle.grid. Records `turned`, the share of the cells
    that are not as they were, in [0, 1].

    Raises BadParameter when the grid has more rows or columns than the image has pixels, or its cells
    are not square although they are to be turned.

    Own: the rotation of patches in place.
    """

    grid: Grid  # cells per side, or "rows x columns"
    by: Literal["rotations", "flips", "both"] = "rotations"  # what a cell may undergo

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"grid": 4},
        {"grid": "3x5", "by": "flips"},
        {"grid": 5, "by": "both"},
    )

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        _check(batch, self.grid, "shuffle.rotate")
        height, width = batch.pixels.shape[2:]
        tall, wide = height // self.grid.rows, width // self.grid.columns
        if self.by != "flips" and tall != wide:
            raise BadParameter(
                f"shuffle.rotate: grid: expected square cells, because others cannot be turned by 90 "
                f"degrees; {self.grid} cuts images of {height}x{width} into cells of {tall}x{wide}; choose "
                "another grid, or `by: flips`",
                ("grid",),
            )
        over, down, across = self._turns(draws.integers("turn", 0, 8, self.grid.total))
        turned = (over | down | across).double().mean(1).float()
        cells = _cut(batch.pixels, self.grid)
        out = _put(_turned(cells, over, down, across), batch.pixels, self.grid)
        return batch.with_pixels(out, turned=turned)

    def _turns(self, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What becomes of each cell (b, N): mirrored at its diagonal, then its rows, then its columns."""
        if self.by == "rotations":  # the diagonal and one mirror are a quarter turn
            quarter = drawn % 4
            return quarter % 2 == 1, (quarter == 1) | (quarter == 2), quarter >= 2
        over = (drawn >= 4) if self.by == "both" else drawn < 0
        return over, drawn % 2 == 1, drawn // 2 % 2 == 1


def _turned(cells: Tensor, over: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Cells (b, N, c, h, w), those of `over` transposed, then rows, then columns in reverse order."""
    wide = (..., None, None, None)
    if over.any():
        cells = cells.transpose(3, 4).where(over[wide], cells)
    cells = cells.flip(3).where(down[wide], cells)
    return cells.flip(4).where(across[wide], cells)


def _check(batch: ImageBatch, grid: Cells, name: str) -> None:
    height, width = batch.pixels.shape[2:]
    if grid.rows > height or grid.columns > width:
        raise BadParameter(
            f"{name}: grid: expected at most one cell per pixel of images of {height}x{width}, got {grid}",
            ("grid",),
        )


def _area(height: int, width: int, grid: Cells) -> tuple[slice, slice]:
    """The rows and columns of the largest area in the middle that equal cells fill."""
    tall, wide = height // grid.rows * grid.rows, width // grid.columns * grid.columns
    top, left = (height - tall) // 2, (width - wide) // 2
    return slice(top, top + tall), slice(left, left + wide)


def _cut(pixels: Tensor, grid: Cells, offset: int = 0) -> Tensor:
    """The cells of images (b, c, h, w), as (b, N, c, tall, wide)."""
    b, channels, height, width = pixels.shape
    rows, columns = grid
    area = pixels[(..., *_area(height, width, grid))]
    if offset:
        area = area.roll((-offset, -offset), (2, 3))
    cells = area.reshape(b, channels, rows, height // rows, columns, width // columns)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(b, grid.total, channels, height // rows, width // columns)


def _put(cells: Tensor, pixels: Tensor, grid: Cells, offset: int = 0) -> Tensor:
    """A copy of images with their cells replaced: the inverse of `_cut`."""
    b, channels, height, width = pixels.shape
    rows, columns = grid
    tall, wide = height // rows, width // columns
    area = cells.view(b, rows, columns, channels, tall, wide).permute(0, 3, 1, 4, 2, 5)
    area = area.reshape(b, channels, rows * tall, columns * wide)
    if offset:
        area = area.roll((offset, offset), (2, 3))
    out = pixels.clone()
    out[(..., *_area(height, width, grid))] = area
    return out


def _order(words: Tensor) -> Tensor:
    """The stable order of int32 words along the last axis, int64.

    On a CPU by numpy, up to ten times as fast as torch's sort: few words as one number with their place,
    many by their lower and then by their upper half, for which there is a radix sort.
    """
    import torch

    if words.device.type != "cpu":
        return words.argsort(dim=-1, stable=True)
    length = words.shape[-1]
    if length < _MANY:
        placed = (words.numpy().astype(np.int64) << 32) | np.arange(length)
        placed.sort(axis=-1)
        return torch.from_numpy(placed & 0xFFFFFFFF)
    out = torch.empty(words.shape, dtype=torch.int64)
    for row, into in zip(words.reshape(-1, length).numpy(), out.view(-1, length).numpy(), strict=True):
        raised = row.view(np.uint32) ^ np.uint32(1 << 31)  # unsigned words in the order of the signed
        low = (raised & np.uint32(0xFFFF)).astype(np.uint16).argsort(kind="stable")
        high = (raised >> np.uint32(16)).astype(np.uint16)[low].argsort(kind="stable")
        into[:] = low[high]
    return out
