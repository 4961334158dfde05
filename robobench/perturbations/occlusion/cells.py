"""The cells of a grid: which pixels they hold, and masks that hide some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robobench.errors import BadParameter
from robobench.params import Cells
from robobench.types import ImageBatch

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PAPER_GRID = Cells(14, 14)


def check_grid(batch: ImageBatch, grid: Cells, name: str) -> None:
    """Raise BadParameter in the name of a plug-in when there are more cells than pixels."""
    height, width = batch.pixels.shape[2:]
    if grid.rows > height or grid.columns > width:
        raise BadParameter(
            f"{name}: grid: expected at most one cell per pixel of images of {height}x{width}, got {grid}",
            ("grid",),
        )


def spread(chosen: Tensor, grid: Cells, height: int, width: int) -> Tensor:
    """Cells (b, N) as the mask (b, 1, h, w) of their pixels, float32."""
    cells = chosen.float().view(len(chosen), 1, grid.rows, grid.columns)
    across = cells.index_select(3, cell_of(width, grid.columns, chosen.device))
    return across.index_select(2, cell_of(height, grid.rows, chosen.device))


def cell_of(side: int, cells: int, device: torch.device) -> Tensor:
    """Which cell each of `side` pixels lies in, when border i is floor(i * side / cells)."""
    import torch

    # pixel y is in cell i when i * side // cells <= y, the largest such i being this one
    return ((torch.arange(side, device=device) + 1) * cells - 1).div(side, rounding_mode="floor")


def smallest(words: Tensor, count: int) -> Tensor:
    """The `count` smallest of each row of (b, n), bool; of equal ones those that come first.

    These are the first `count` of a stable sort, found without sorting: a cell may be a single pixel.
    """
    import torch

    if count == 0:
        return torch.zeros_like(words, dtype=torch.bool)
    limit = words.kthvalue(count, dim=1, keepdim=True).values
    chosen = words <= limit
    if int(chosen.sum()) > count * len(words):
        spare = count - (words < limit).sum(1, keepdim=True)
        equal = words == limit
        chosen &= ~equal | (equal.cumsum(1) <= spare)
    return chosen
