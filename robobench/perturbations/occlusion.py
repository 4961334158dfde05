"""Occlusion: a share of the cells of a grid is covered, at random or by what a model found salient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.draws import Draws
from robobench.errors import BadParameter, DataError
from robobench.params import Cells, Grid, count_of
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Fill = Literal["black", "mean", "noise"]
PAPER_GRID = Cells(14, 14)


class _Covering:
    """What a share of the cells of a grid comes to."""

    fraction: float
    grid: Cells

    @property
    def identity(self) -> bool:
        """No cell is covered."""
        return self.dropped == 0

    @property
    def dropped(self) -> int:
        """How many cells are covered."""
        return count_of(self.fraction, self.grid.total)


@perturbations.register("random", version=1)
@dataclass(frozen=True, kw_only=True)
class RandomPatchDrop(_Covering):
    """Cover a random share of the cells of a grid.

    Measures how much of a picture a model needs. The image is cut into rows x columns cells; row border i
    lies at floor(i * height / rows), so sides need not be divisible. Of N cells floor(fraction * N) are
    covered, chosen per image; along `fraction` the covered cells nest. Records `information_loss`, the
    share of cells covered, in [0, 1].

    Raises BadParameter when the grid has more rows or columns than the image has pixels.

    Source: Naseer et al., Intriguing Properties of Vision Transformers, NeurIPS 2021, section 3.1
    (Random PatchDrop: black, 14x14 at 224 pixels). There one mask serves a whole batch; here every image
    has its own, and the fills besides black are added.
    """

    fraction: Annotated[float, Field(ge=0, le=1)]  # share of the cells that is covered
    grid: Grid = PAPER_GRID  # cells per side, or "rows x columns"
    fill: Fill = "black"  # covered by 0, by the image's own mean colour, or by uniform noise

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = "fraction"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"fraction": 0.3, "grid": 4},
        {"fraction": 0.7, "grid": 4},
        {"fraction": 0.5, "grid": "3x5", "fill": "mean"},
        {"fraction": 1.0, "grid": 7, "fill": "noise"},
        {"fraction": 0.0, "grid": 4},
    )

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        if self.identity:
            return batch.with_pixels(batch.pixels, information_loss=_constant(batch, 0.0))
        chosen = draws.permutation("cells", self.grid.total)[:, : self.dropped]
        covered = _cover(batch.pixels, chosen, self.grid, self.fill, draws, "occlusion.random")
        return batch.with_pixels(covered, information_loss=_constant(batch, self.dropped / self.grid.total))


@perturbations.register("salient", version=1)
@dataclass(frozen=True, kw_only=True)
class SalientPatchDrop(_Covering):
    """Cover the cells of a grid that a model finds most, or least, salient.

    Measures whether a model looks where the object is. Cells are ranked by the saliency they hold (the sum
    over their pixels of `inputs["saliency"]`, (b, h, w)), equal ones in an order drawn per image;
    floor(fraction * N) of N cells are covered from the top or from the bottom of the ranking. The
    covered cells nest along `fraction`. Records `information_loss`, the share of cells covered, and
    `saliency_loss`, the share of the saliency in them (NaN for a map that sums to 0).

    Raises BadParameter when the map is missing or not of the pixels' size, or the grid is finer than the
    pixels; DataError when the map holds a number that is not finite.

    Own: a variant of Salient and Non-salient PatchDrop (Naseer et al., Intriguing Properties of Vision
    Transformers, NeurIPS 2021, section 3.1). They cover the cells that make up a share of the attention
    mass of one DINO head, so that their number differs between images; here the number of cells is fixed
    and the map comes from any preparation, so conditions are comparable with occlusion.random.
    """

    fraction: Annotated[float, Field(ge=0, le=1)]  # share of the cells that is covered
    grid: Grid = PAPER_GRID  # cells per side, or "rows x columns"
    drop: Literal["salient", "non_salient"] = "salient"  # from which end of the ranking
    fill: Fill = "black"  # covered by 0, by the image's own mean colour, or by uniform noise

    wants: ClassVar[tuple[str, ...]] = ("saliency",)
    nested: ClassVar[str | None] = "fraction"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"fraction": 0.3, "grid": 4},
        {"fraction": 0.7, "grid": 4},
        {"fraction": 0.3, "grid": 4, "drop": "non_salient"},
        {"fraction": 0.7, "grid": 4, "drop": "non_salient"},
        {"fraction": 0.5, "grid": "3x5", "fill": "noise"},
        {"fraction": 0.0, "grid": 4},
    )

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        if self.identity:
            zero = _constant(batch, 0.0)
            return batch.with_pixels(batch.pixels, information_loss=zero, saliency_loss=zero)
        mass = self._mass(batch)
        ranking = self._ranking(mass, draws)
        end = ranking[:, : self.dropped] if self.drop == "salient" else ranking[:, -self.dropped :]
        covered = _cover(batch.pixels, end, self.grid, self.fill, draws, "occlusion.salient")
        return batch.with_pixels(
            covered,
            information_loss=_constant(batch, self.dropped / self.grid.total),
            saliency_loss=(mass.gather(1, end).sum(1) / mass.sum(1)).float(),
        )

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

        saliency = _saliency(batch)
        _, height, width = saliency.shape
        down = _membership(height, self.grid.rows, saliency.device)
        across = _membership(width, self.grid.columns, saliency.device).T
        return torch.stack([(down @ one.double() @ across).flatten() for one in saliency])


def _saliency(batch: ImageBatch) -> Tensor:
    """The saliency map, when there is one that fits the images."""
    shape = (len(batch), *batch.pixels.shape[2:])
    saliency = batch.inputs.get("saliency")
    if saliency is None or tuple(saliency.shape) != shape:
        got = "none" if saliency is None else str(tuple(saliency.shape))
        raise BadParameter(
            f"occlusion.salient: expected a saliency map of shape {shape} for the images, got {got}; name a "
            "preparation in the suite: `inputs: {saliency: NAME}`"
        )
    bad = ~saliency.isfinite().flatten(1).all(1)
    if bad.any():
        image = batch.ids[int(bad.nonzero()[0])]
        raise DataError(f"occlusion.salient: the saliency map of image {image!r} holds NaN or infinity")
    return saliency


def _cover(pixels: Tensor, cells: Tensor, grid: Cells, fill: Fill, draws: Draws, name: str) -> Tensor:
    """Pixels with the given cells (b, m) of each image covered."""
    import torch

    b, _, height, width = pixels.shape
    if grid.rows > height or grid.columns > width:
        raise BadParameter(
            f"{name}: grid: expected at most one cell per pixel of images of {height}x{width}, got {grid}",
            ("grid",),
        )
    # Multiplied rather than chosen, which is several times faster; x * 1 + y * 0 is x to the last bit.
    kept = pixels.new_ones(b, grid.total).scatter_(1, cells, 0.0).view(b, 1, grid.rows, grid.columns)
    kept = kept.index_select(3, _cell_of(width, grid.columns, pixels.device))
    kept = kept.index_select(2, _cell_of(height, grid.rows, pixels.device))
    out = pixels * kept
    if fill == "black":
        return out
    if fill == "mean":  # image by image: the order of a sum must not depend on batch or memory layout
        shade = torch.stack([p.contiguous().mean((1, 2), keepdim=True) for p in pixels])
    else:
        shade = draws.uniform("fill", *pixels.shape[1:])
    return out.addcmul_(shade, 1 - kept)


def _cell_of(side: int, cells: int, device: torch.device) -> Tensor:
    """Which cell each of `side` pixels lies in, when border i is floor(i * side / cells)."""
    # pixel y is in cell i when i * side // cells <= y, the largest such i being this one
    return ((_range(side, device) + 1) * cells - 1).div(side, rounding_mode="floor")


def _membership(side: int, cells: int, device: torch.device) -> Tensor:
    """(cells, side) float64: 1 where a pixel lies in a cell."""
    return _cell_of(side, cells, device).eq(_range(cells, device)[:, None]).double()


def _range(n: int, device: torch.device) -> Tensor:
    import torch

    return torch.arange(n, device=device)


def _constant(batch: ImageBatch, value: float) -> Tensor:
    """The same fact for every image."""
    return batch.pixels.new_full((len(batch),), value)
