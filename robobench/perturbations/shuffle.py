"""Shuffling: the cells of a grid change places, so that what is in them stays and where it is goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.params import Grid
from robobench.registry import perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


@perturbations.register("grid", version=1)
@dataclass(frozen=True, kw_only=True)
class GridShuffle:
    """Permute the cells of a grid.

    Measures how much a model relies on the arrangement of parts. One permutation per image. It is drawn once
    and used as it is, also when it leaves cells in place (at 2x2 the whole image with chance 1/24).
    Cells are floor(height / rows) x floor(width / columns) pixels; where sides are not divisible the
    cells fill the largest such area in the middle, and the border around it, less than one cell wide,
    stays as it is. Records `moved`, the share of cells that changed places, in [0, 1].

    Raises BadParameter when the grid has more rows or columns than the image has pixels.

    Source: Naseer et al., Intriguing Properties of Vision Transformers, NeurIPS 2021, section 3.3
    (4 to 256 cells at 224 pixels). There one permutation serves a whole batch; here every image has its
    own.
    """

    grid: Grid  # cells per side, or "rows x columns"; 1x1 changes nothing

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"grid": "2x2"},
        {"grid": "2x4"},
        {"grid": 5},
        {"grid": 1},
    )

    @property
    def identity(self) -> bool:
        """There is one cell."""
        return self.grid.total == 1

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        import torch

        _, _, height, width = batch.pixels.shape
        if self.grid.rows > height or self.grid.columns > width:
            raise BadParameter(
                f"shuffle.grid: grid: expected at most one cell per pixel of images of {height}x{width}, "
                f"got {self.grid}",
                ("grid",),
            )
        source = draws.permutation("cells", self.grid.total)
        moved = source.ne(torch.arange(self.grid.total, device=source.device)).float().mean(1)
        if self.identity:
            return batch.with_pixels(batch.pixels, moved=moved)
        return batch.with_pixels(self._shuffled(batch.pixels, source), moved=moved)

    def _shuffled(self, pixels: Tensor, source: Tensor) -> Tensor:
        """Pixels whose cell i is the former cell source[:, i]."""
        import torch

        b, channels, height, width = pixels.shape
        rows, columns = self.grid
        tall, wide = height // rows, width // columns
        top, left = (height - tall * rows) // 2, (width - wide * columns) // 2
        area = (..., slice(top, top + tall * rows), slice(left, left + wide * columns))
        shape = (b, channels, rows, tall, columns, wide)
        image = torch.arange(b, device=pixels.device)[:, None]
        found = pixels[area].view(shape)[image, :, source // columns, :, source % columns]
        found = found.view(b, rows, columns, channels, tall, wide)
        out = pixels.clone()
        out[area].view(shape).permute(0, 2, 4, 1, 3, 5).copy_(found)  # writes into `out`
        return out
