"""Texture without shape: small patches change places inside larger cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.params import Cells, Grid
from robobench.registry import perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

FOUR = Cells(4, 4)


@perturbations.register("texture", version=1)
@dataclass(frozen=True, kw_only=True)
class TextureScramble:
    """Permute small patches inside each cell of a grid.

    Measures how far local texture without shape is enough. Each cell keeps its patches and so its colours
    and texture; what is larger than a patch and smaller than a cell is gone, and the layout of the cells
    stays. With one cell (`cells: 1`) only texture is left. One permutation per image and cell. Patches are
    floor(height / rows) x floor(width / columns) pixels of all the patches of a side; where sides are not
    divisible the patches fill the largest such area in the middle, and the border stays as it is.

    Raises BadParameter when there are more patches on a side than pixels.

    Own: a shuffle in two sizes; shuffle.grid moves the cells themselves.
    """

    cells: Grid = FOUR  # cells per side of the image, or "rows x columns"
    patches: Grid = FOUR  # patches per side of a cell, or "rows x columns"; 1 changes nothing

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"cells": 1, "patches": "7x5"},
        {"cells": 2, "patches": 1},
    )

    @property
    def identity(self) -> bool:
        """A cell is one patch."""
        return self.patches.total == 1

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        if self.identity:
            return batch
        height, width = (int(side) for side in batch.pixels.shape[2:])
        for name, count, side in (
            ("rows", self.cells.rows * self.patches.rows, height),
            ("columns", self.cells.columns * self.patches.columns, width),
        ):
            if count > side:
                raise BadParameter(
                    f"style.texture: cells, patches: expected at most {side} {name} of patches in images of "
                    f"{height}x{width}, got {self.cells} cells of {self.patches} patches",
                    ("cells", "patches"),
                )
        keys = draws.bits("patches", self.cells.total, self.patches.total)
        return batch.with_pixels(self._scrambled(batch.pixels, keys.argsort(dim=2, stable=True)))

    def _scrambled(self, pixels: Tensor, source: Tensor) -> Tensor:
        """Pixels whose patch i of cell c is its former patch source[:, c, i]."""
        import torch

        b, channels, height, width = pixels.shape
        (rows, columns), (down, across) = self.cells, self.patches
        tall, wide = height // (rows * down), width // (columns * across)
        high, broad = tall * rows * down, wide * columns * across
        top, left = (height - high) // 2, (width - broad) // 2
        area = (..., slice(top, top + high), slice(left, left + broad))
        shape = (b, channels, rows, down, tall, columns, across, wide)
        apart = pixels[area].reshape(shape).permute(0, 2, 5, 3, 6, 1, 4, 7)
        apart = apart.reshape(b, rows * columns, down * across, channels, tall, wide)
        image = torch.arange(b, device=pixels.device)[:, None, None]
        cell = torch.arange(rows * columns, device=pixels.device)[None, :, None]
        moved = apart[image, cell, source]
        moved = moved.view(b, rows, columns, down, across, channels, tall, wide)
        out = pixels.clone()
        out[area] = moved.permute(0, 5, 1, 3, 6, 2, 4, 7).reshape(b, channels, high, broad)
        return out
