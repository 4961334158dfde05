"""Occlusion by saliency: the cells of a grid that a model finds most or least important."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.draws import Draws
from robobench.errors import BadParameter, DataError
from robobench.params import Cells, Grid, count_of
from robobench.perturbations.occlusion.cells import PAPER_GRID, cell_of, check_grid, spread
from robobench.perturbations.occlusion.fill import Fill, Filling, cover, share
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

_SLACK = 1e-9  # shares of the saliency that differ by less are equal: sums are rounded


class _BySaliency(Filling):
    """The saliency map of each image, cell by cell."""

    grid: Cells
    name: ClassVar[str]

    @property
    def wants(self) -> tuple[str, ...]:
        """A map, and another image where that is what covers."""
        return ("saliency", *super().wants)

    def _ranking(self, mass: Tensor, draws: Draws) -> Tensor:
        """Cells (b, N) from the most to the least salient. Sorting a drawn order breaks ties by it."""
        drawn = draws.permutation("ties", self.grid.total)
        order = mass.gather(1, drawn).argsort(dim=1, descending=True, stable=True)
        return drawn.gather(1, order)

    def _mass(self, batch: ImageBatch) -> Tensor:
        """The saliency in each cell, (b, N) float64, row by row.

        Added up image by image: the order of a sum, and so its last bit, may depend on a tensor's shape.
        """
        import torch

        saliency = _saliency(batch, self.name)
        check_grid(batch, self.grid, self.name)
        _, height, width = saliency.shape
        down = _membership(height, self.grid.rows, saliency)
        across = _membership(width, self.grid.columns, saliency).T
        return torch.stack([(down @ one.double() @ across).flatten() for one in saliency])

    def _covered(self, batch: ImageBatch, chosen: Tensor, mass: Tensor, draws: Draws) -> ImageBatch:
        """The batch with the chosen cells (b, N) covered, and the facts about it."""
        hidden = spread(chosen, self.grid, *batch.pixels.shape[2:])
        return batch.with_pixels(
            cover(batch, hidden, self.fill, draws, self.name),
            information_loss=share(hidden),
            saliency_loss=_shares(mass, chosen),
        )


@perturbations.register("salient", version=2)
@dataclass(frozen=True, kw_only=True)
class SalientPatchDrop(_BySaliency):
    """Cover a fixed number of the cells of a grid that a model finds most, or least, salient.

    Measures whether a model looks where the object is. Cells are ranked by the saliency they hold (the sum
    over their pixels of `inputs["saliency"]`, (b, h, w)), equal ones in an order drawn per image;
    floor(fraction * N) of N cells are covered from the top or from the bottom of the ranking. The
    covered cells nest along `fraction`. Grid and fills are those of occlusion.random. Records
    `information_loss`, the share of the pixels covered, and `saliency_loss`, the share of the saliency in
    them (NaN for a map that sums to 0).

    Raises BadParameter when the map is missing or not of the pixels' size, or the grid is finer than the
    pixels; DataError when the map holds a number that is not finite.

    Own: a variant of Salient and Non-salient PatchDrop (Naseer et al., Intriguing Properties of Vision
    Transformers, NeurIPS 2021, section 3.1; their rule is occlusion.salient_mass). They cover the cells
    that make up a share of the attention, so that their number differs between images; here it is fixed,
    so conditions are comparable with occlusion.random.
    """

    fraction: Annotated[float, Field(ge=0, le=1)]  # share of the cells that is covered
    grid: Grid = PAPER_GRID  # cells per side, or "rows x columns"
    drop: Literal["salient", "non_salient"] = "salient"  # from which end of the ranking
    fill: Fill = "black"  # what covers: black, grey, mean, noise, blur or donor

    name: ClassVar[str] = "occlusion.salient"
    nested: ClassVar[str | None] = "fraction"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"fraction": 0.3, "grid": 4},
        {"fraction": 0.7, "grid": 4},
        {"fraction": 0.3, "grid": 4, "drop": "non_salient"},
        {"fraction": 0.7, "grid": 4, "drop": "non_salient"},
        {"fraction": 0.5, "grid": "3x5", "fill": "noise"},
        {"fraction": 0.5, "grid": 7, "fill": "donor"},
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
        import torch

        if self.identity:
            zero = batch.pixels.new_zeros(len(batch))
            return batch.with_pixels(batch.pixels, information_loss=zero, saliency_loss=zero)
        mass = self._mass(batch)
        ranking = self._ranking(mass, draws)
        end = ranking[:, : self.dropped] if self.drop == "salient" else ranking[:, -self.dropped :]
        chosen = torch.zeros_like(mass, dtype=torch.bool).scatter_(1, end, True)
        return self._covered(batch, chosen, mass, draws)


@perturbations.register("salient_mass", version=1)
@dataclass(frozen=True, kw_only=True)
class SalientMassDrop(_BySaliency):
    """Cover the foreground that holds a share of the saliency, or all but it.

    Measures whether a model looks where the object is. The foreground of an image is the fewest cells of a
    grid, most salient first, that hold at least `mass` of its saliency (the sum over their pixels of
    `inputs["saliency"]`, (b, h, w)); equal cells are ranked by an order drawn per image. Cells without
    saliency are never in it, so a map of zeros has no foreground: all is background. Foregrounds nest
    along `mass`; how many cells they are differs between images. Grid and fills are those of
    occlusion.random. Records what came of it: `information_loss`, the share of the pixels covered, and
    `saliency_loss`, the share of the saliency in them (NaN for a map of zeros).

    Raises BadParameter when the map is missing or not of the pixels' size, or the grid is finer than the
    pixels; DataError when the map holds a number that is negative or not finite.

    Source: Naseer et al., Intriguing Properties of Vision Transformers, NeurIPS 2021, section 3.1 (Salient
    and Non-salient PatchDrop: black, 14x14, mass .1 to 1, cells sorted in ascending order and kept where
    the cumulative share is above 1 - mass). Their map is the class token's attention in head 1 of the last
    block of DINO ViT-S/16: `saliency.attention` with `head: 1` of that model.
    """

    mass: Annotated[float, Field(ge=0, le=1)]  # share of the saliency that the foreground holds
    drop: Literal["foreground", "background"] = "foreground"  # which of the two is covered
    grid: Grid = PAPER_GRID  # cells per side, or "rows x columns"
    fill: Fill = "black"  # what covers: black, grey, mean, noise, blur or donor

    name: ClassVar[str] = "occlusion.salient_mass"
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"mass": 0.3, "grid": 4},
        {"mass": 0.7, "grid": 4, "drop": "background"},
        {"mass": 0.5, "grid": "3x5", "fill": "blur"},
        {"mass": 0.0, "grid": 4},
    )

    @property
    def identity(self) -> bool:
        """There is no foreground to cover."""
        return self.mass == 0 and self.drop == "foreground"

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        mass = self._mass(batch)
        negative = (batch.inputs["saliency"] < 0).flatten(1).any(1)
        if negative.any():
            image = batch.ids[int(negative.nonzero()[0])]
            raise DataError(
                f"{self.name}: the saliency map of image {image!r} holds negative numbers, of which there is "
                "no share"
            )
        front = self._foreground(mass, draws)
        chosen = front if self.drop == "foreground" else ~front
        return self._covered(batch, chosen, mass, draws)

    def _foreground(self, mass: Tensor, draws: Draws) -> Tensor:
        """The cells (b, N) before which, from the most salient on, less than the wanted share lies."""
        import torch

        ranking = self._ranking(mass, draws)
        ranked = mass.gather(1, ranking)
        reached = torch.stack([one.cumsum(0) for one in ranked])
        before = torch.cat([torch.zeros_like(reached[:, :1]), reached[:, :-1]], dim=1)
        inside = before < (self.mass - _SLACK) * reached[:, -1:]
        return torch.zeros_like(inside).scatter_(1, ranking, inside)


def _saliency(batch: ImageBatch, name: str) -> Tensor:
    """The saliency map, when there is one that fits the images."""
    shape = (len(batch), *batch.pixels.shape[2:])
    saliency = batch.inputs.get("saliency")
    if saliency is None or tuple(saliency.shape) != shape:
        got = "none" if saliency is None else str(tuple(saliency.shape))
        raise BadParameter(
            f"{name}: expected a saliency map of shape {shape} for the images, got {got}; name a "
            "preparation in the suite: `inputs: {saliency: NAME}`"
        )
    bad = ~saliency.isfinite().flatten(1).all(1)
    if bad.any():
        image = batch.ids[int(bad.nonzero()[0])]
        raise DataError(f"{name}: the saliency map of image {image!r} holds NaN or infinity")
    return saliency


def _shares(mass: Tensor, chosen: Tensor) -> Tensor:
    """The share of each row of (b, N) in the chosen cells, (b,) float32; image by image, as in `_mass`."""
    import torch

    pairs = zip(mass, chosen, strict=True)
    return torch.stack([one.where(cells, 0.0).sum() / one.sum() for one, cells in pairs]).float()


def _membership(side: int, cells: int, like: Tensor) -> Tensor:
    """(cells, side) float64: 1 where a pixel lies in a cell."""
    import torch

    numbers = torch.arange(cells, device=like.device)[:, None]
    return cell_of(side, cells, like.device).eq(numbers).double()
