"""Contiguous occlusion: one square, bars or a checkerboard, where scattered cells leave hints everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.params import Grid
from robobench.perturbations.occlusion.cells import PAPER_GRID, check_grid, spread
from robobench.perturbations.occlusion.fill import Fill, Filling, cover, share
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

_SLACK = 1e-9  # how far above a whole number a product counts as that number


@perturbations.register("square", version=1)
@dataclass(frozen=True, kw_only=True)
class Square(Filling):
    """Cover one square of a share of the image.

    Measures how much a model needs a whole part of a picture, beside occlusion.random, which leaves hints
    of every part. Its height and width are the image's times the root of `fraction`, rounded (halves up),
    at least one pixel unless the fraction is 0: a square on square images, elsewhere a rectangle of the
    image's shape. It lies in the middle, or anywhere inside with equal chance, drawn per image; along
    `fraction` the covered areas nest. Fills: `black`, `grey` (0.5), the image's own `mean` colour, uniform
    `noise`, `blur` (Gaussian, standard deviation 1/16 of the shorter side), `donor` (another image of the
    data set). Records `information_loss`, the share of the pixels covered, in [0, 1].

    Own: a square occluder by share of the area.
    """

    fraction: Annotated[float, Field(ge=0, le=1)]  # share of the area that is covered
    place: Literal["random", "centre"] = "random"  # where the square lies
    fill: Fill = "black"  # what covers: black, grey, mean, noise, blur or donor

    nested: ClassVar[str | None] = "fraction"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"fraction": 0.1},
        {"fraction": 0.5},
        {"fraction": 0.3, "place": "centre", "fill": "blur"},
        {"fraction": 0.3, "fill": "donor"},
        {"fraction": 0.0},
    )

    @property
    def identity(self) -> bool:
        """Nothing is covered."""
        return self.fraction == 0

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        height, width = batch.pixels.shape[2:]
        at = draws.uniform("place", 2).double()
        rows, columns = (self._span(n, at[:, i]) for i, n in enumerate((height, width)))
        hidden = (rows[:, None, :, None] & columns[:, None, None, :]).float()
        if self.identity:
            return batch.with_pixels(batch.pixels, information_loss=share(hidden))
        covered = cover(batch, hidden, self.fill, draws, "occlusion.square")
        return batch.with_pixels(covered, information_loss=share(hidden))

    def _span(self, side: int, at: Tensor) -> Tensor:
        """Which of `side` pixels are covered, (b, side); `at` in [0, 1) says where it begins."""
        import torch

        length = max(math.floor(math.sqrt(self.fraction) * side + 0.5), int(self.fraction > 0))
        room = side - length
        # all places alike; a longer span begins no later and ends no earlier, so that they nest
        first = torch.full_like(at, room // 2) if self.place == "centre" else (at * (room + 1)).floor()
        pixel = torch.arange(side, device=at.device)
        return (pixel >= first[:, None]) & (pixel < first[:, None] + length)


@perturbations.register("bars", version=1)
@dataclass(frozen=True, kw_only=True)
class Bars(Filling):
    """Cover the image with equal, equally spaced bars.

    Measures whether a model completes what is seen through a fence. The image is cut into `bars` stripes of
    equal height (or width); of each the first pixels are covered, as many as begin within the first
    `fraction` of it. The whole pattern is moved around the image by a whole number of pixels, drawn
    per image with equal chance. Along `fraction` the covered areas nest. Fills are those of
    occlusion.square. Records `information_loss`, the share of the pixels covered, in [0, 1].

    Raises BadParameter when there are more bars than rows (or columns) of pixels.

    Own: a fence of bars by number and share.
    """

    fraction: Annotated[float, Field(ge=0, le=1)]  # share of each stripe that is covered
    bars: Annotated[int, Field(gt=0)] = 8  # how many there are
    direction: Literal["horizontal", "vertical"] = "vertical"  # which way they run
    fill: Fill = "black"  # what covers: black, grey, mean, noise, blur or donor

    nested: ClassVar[str | None] = "fraction"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"fraction": 0.25},
        {"fraction": 0.5},
        {"fraction": 0.5, "bars": 5, "direction": "horizontal", "fill": "mean"},
        {"fraction": 0.0},
    )

    @property
    def identity(self) -> bool:
        """Nothing is covered."""
        return self.fraction == 0

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        height, width = batch.pixels.shape[2:]
        down = self.direction == "horizontal"
        side = height if down else width
        if self.bars > side:
            raise BadParameter(
                f"occlusion.bars: bars: expected at most one per line of pixels of images of "
                f"{height}x{width}, got {self.bars}",
                ("bars",),
            )
        line = self._line(side, draws)
        stripes = line[:, None, :, None] if down else line[:, None, None, :]
        hidden = stripes.expand(-1, 1, height, width).float()
        if self.identity:
            return batch.with_pixels(batch.pixels, information_loss=share(hidden))
        covered = cover(batch, hidden, self.fill, draws, "occlusion.bars")
        return batch.with_pixels(covered, information_loss=share(hidden))

    def _line(self, side: int, draws: Draws) -> Tensor:
        """Which of `side` pixels are covered, (b, side)."""
        import torch

        start = (draws.uniform("start", 1).double() * side).floor().long()
        pixel = (torch.arange(side, device=start.device) - start).remainder(side)
        # pixel p begins the share (p * bars mod side) / side of the way through its stripe
        return (pixel * self.bars).remainder(side) < self.fraction * side - _SLACK


@perturbations.register("checkerboard", version=1)
@dataclass(frozen=True, kw_only=True)
class Checkerboard(Filling):
    """Cover every other cell of a grid, like the black squares of a chessboard.

    Measures the loss of half of the picture in the most regular arrangement, beside occlusion.random at one
    half. Cells are those of occlusion.random; whether the first is covered is drawn per image. Fills are
    those of occlusion.square. Records `information_loss`, the share of the pixels covered: one half, or
    what is nearest to it on a grid of an odd number of cells or of unequal ones.

    Raises BadParameter when the grid has more rows or columns than the image has pixels, or one cell only.

    Own: a checkerboard of any grid.
    """

    grid: Grid = PAPER_GRID  # cells per side, or "rows x columns"
    fill: Fill = "black"  # what covers: black, grey, mean, noise, blur or donor

    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"grid": "3x5", "fill": "noise"},
        {"grid": 7, "fill": "grey"},
    )

    def __post_init__(self) -> None:
        if self.grid.total < 2:
            raise ValueError(f"grid: expected at least two cells, got {self.grid}")

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        import torch

        check_grid(batch, self.grid, "occlusion.checkerboard")
        height, width = batch.pixels.shape[2:]
        first = draws.integers("first", 0, 2, 1, 1)
        down, across = (torch.arange(n, device=first.device) for n in self.grid)
        chosen = ((down[:, None] + across + first) % 2 == 1).flatten(1)
        hidden = spread(chosen, self.grid, height, width)
        covered = cover(batch, hidden, self.fill, draws, "occlusion.checkerboard")
        return batch.with_pixels(covered, information_loss=share(hidden))
