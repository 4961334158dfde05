"""Scattered occlusion: a random share of the cells of a grid, down to single pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.params import Grid, count_of
from robobench.perturbations.occlusion.cells import PAPER_GRID, check_grid, smallest, spread
from robobench.perturbations.occlusion.fill import Fill, Filling, cover, share
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


@perturbations.register("random", version=2)
@dataclass(frozen=True, kw_only=True)
class RandomPatchDrop(Filling):
    """Cover a random share of the cells of a grid.

    Measures how much of a picture a model needs. The image is cut into rows x columns cells; row border i
    lies at floor(i * height / rows), so sides need not be divisible, and a cell may be a single pixel. Of
    N cells floor(fraction * N) are covered, chosen per image; along `fraction` the covered cells nest.
    `offset` moves the finished mask down and to the right, so that its cells straddle those of a model
    that cuts the image alike; what leaves the image is lost, and the topmost rows and leftmost columns
    are then never covered. Fills: `black`, `grey` (0.5), the image's own `mean` colour, uniform
    `noise`, `blur` (Gaussian, standard deviation 1/16 of the shorter side), `donor` (another image of the
    data set). Records `information_loss`, the share of the pixels covered, in [0, 1].

    Raises BadParameter when the grid has more rows or columns than the image has pixels, or the offset
    is not smaller than the image.

    Source: Naseer et al., Intriguing Properties of Vision Transformers, NeurIPS 2021, section 3.1
    (Random PatchDrop: black, 14x14 at 224 pixels, also 8x8 and 224x224, and 14x14 with offset 8). There
    one mask serves a whole batch; here every image has its own, and the fills besides black are added.
    """

    fraction: Annotated[float, Field(ge=0, le=1)]  # share of the cells that is covered
    grid: Grid = PAPER_GRID  # cells per side, or "rows x columns"
    offset: Annotated[int, Field(ge=0)] = 0  # pixels by which the mask is moved down and to the right
    fill: Fill = "black"  # what covers: black, grey, mean, noise, blur or donor

    nested: ClassVar[str | None] = "fraction"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"fraction": 0.3, "grid": 4},
        {"fraction": 0.7, "grid": 4},
        {"fraction": 0.5, "grid": "3x5", "fill": "mean"},
        {"fraction": 0.5, "grid": 7, "offset": 8, "fill": "blur"},
        {"fraction": 1.0, "grid": 7, "fill": "noise"},
        {"fraction": 0.5, "grid": 28, "fill": "donor"},
        {"fraction": 0.0, "grid": 4},
    )

    @property
    def dropped(self) -> int:
        """How many cells are covered."""
        return count_of(self.fraction, self.grid.total)

    @property
    def identity(self) -> bool:
        """No cell is covered."""
        return self.dropped == 0

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        hidden = self._hidden(batch, draws)
        if self.identity:
            return batch.with_pixels(batch.pixels, information_loss=share(hidden))
        covered = cover(batch, hidden, self.fill, draws, "occlusion.random")
        return batch.with_pixels(covered, information_loss=share(hidden))

    def _hidden(self, batch: ImageBatch, draws: Draws) -> Tensor:
        check_grid(batch, self.grid, "occlusion.random")
        height, width = batch.pixels.shape[2:]
        # the words whose order is the permutation "cells"
        chosen = smallest(draws.bits("cells", self.grid.total), self.dropped)
        mask = spread(chosen, self.grid, height, width)
        if not self.offset:
            return mask
        if self.offset >= min(height, width):
            raise BadParameter(
                f"occlusion.random: offset: expected less than the sides of images of {height}x{width}, "
                f"got {self.offset}",
                ("offset",),
            )
        moved = mask.new_zeros(mask.shape)
        moved[..., self.offset :, self.offset :] = mask[..., : -self.offset, : -self.offset]
        return moved
