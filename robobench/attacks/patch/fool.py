"""Patch-Fool: patches that a transformer attends to are made to draw more attention and to mislead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.attacks.patch.drawn import Drawn
from robobench.contracts import Model, Seen, State
from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.losses import cross_entropy
from robobench.params import Grid, Radius, count_of
from robobench.patches import GRID, cells, spread
from robobench.registry import Field, attacks
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

NAME = "patch.fool"
_DECAY, _EVERY = 0.95, 10  # the step size shrinks by that factor after so many steps
_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # of Adam
_MASK_STEP = 0.01  # Adam's step size for the mask
_FLOOR = 1e-6  # the lowest value of a learned mask inside the patches


@attacks.register("fool", version=1)
@dataclass(frozen=True, kw_only=True)
class PatchFool:
    """Patch-Fool: whole patches of a vision transformer's grid, chosen by attention, made to mislead it.

    Of the cells of the model's own grid, `patches` are chosen for each image: those that get the most
    attention in block `layer` (the mean over heads and queries), those where the gradient is largest (the
    sum of its absolute values), or random ones. All their pixels are free in [0, 1]. They begin as noise and
    climb, by Adam, the cross-entropy plus `attention` times, for every block from the second to the middle
    one, the mean over the queries of the logarithm of the attention paid to the first chosen patch (the mean
    over heads). A gradient of the attention that points against that of the cross-entropy first loses its
    part along it. Variants: `sparse` lets only a share of the image change, by a mask that is learned
    for the first `freeze` steps and then stays; `mild` bounds the change inside the patches, in the largest
    change of a channel (linf) or the Euclidean length of the change of each channel (l2). The model is asked
    about the image once, before the first step, to choose. Patches nest along `patches`.

    Works on vision transformers as timm builds them, with `grid` their grid; raises Unsupported for others.
    With `attention: 0` and another choice than by attention any differentiable model will do. Raises
    ModelError for a block or grid that is not the model's, BadParameter for parameters that do not go
    together and for a grid that does not divide the images.

    Source: Fu et al., Patch-Fool: Are Vision Transformers Always Robust Against Adversarial Perturbations?,
    ICLR 2022, and their implementation, of which this has the defaults. It works on normalised pixels with
    steps of 0.22, about 0.05 of a pixel's range; its projection divides by the length of the
    cross-entropy's gradient where PCGrad (Yu et al., NeurIPS 2020, algorithm 1), followed here, divides by
    the length's square; it does not bound the first, random point of mild l2.
    """

    patches: Annotated[int, Field(ge=1)] = 1  # how many cells of the grid are attacked
    grid: Grid = GRID  # the model's patches per side, or "rows x columns"
    choose: Literal["attention", "saliency", "random"] = "attention"  # by what they are chosen
    layer: Annotated[int, Field(ge=0)] = 4  # the block whose attention chooses, counted from 0
    attention: Annotated[float, Field(ge=0)] = 0.002  # weight of the attention beside the cross-entropy
    steps: Annotated[int, Field(ge=1)] = 250  # gradient steps
    rate: Annotated[float, Field(gt=0, le=1)] = 0.05  # Adam's first step size in [0, 1] units
    sparse: Annotated[float, Field(gt=0, lt=1)] | None = None  # share of the image's pixels that may change
    freeze: Annotated[int, Field(ge=1)] = 200  # after so many steps a sparse mask stays as it is
    mild: Radius | None = None  # bound of the change inside the patches, in [0, 1] units; null: none
    mild_norm: Literal["linf", "l2"] = "linf"  # how that change is measured

    norm: ClassVar[str | None] = "l0"
    nested: ClassVar[str | None] = "patches"
    white: ClassVar[bool] = True
    restarts: ClassVar[int] = 1
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"grid": 4, "layer": 1, "steps": 3, "choose": "saliency", "attention": 0.0},
        {"grid": 4, "patches": 3, "steps": 3, "choose": "random", "attention": 0.0, "sparse": 0.05},
        {"grid": 4, "steps": 2, "choose": "random", "attention": 0.0, "mild": 0.5, "mild_norm": "l2"},
    )

    def __post_init__(self) -> None:
        if self.patches > self.grid.total:
            raise BadParameter(
                f"{NAME}: patches: expected at most the {self.grid.total} of the grid, got {self.patches}",
                ("patches",),
            )
        if self.mild is not None and self.mild_norm == "linf" and self.mild > 1:
            raise BadParameter(f"{NAME}: mild: expected at most 1 in linf, got {self.mild:g}", ("mild",))

    @property
    def eps(self) -> float:
        """The share of the pixels that may change."""
        whole = self.patches / self.grid.total
        return whole if self.sparse is None else min(whole, self.sparse)

    @property
    def cost(self) -> int:
        """Forward passes per image, a backward one counted as two, with the answer to the result.

        The gradients of the attention of the first half of the blocks cost about as much as two more of the
        whole network's.
        """
        return (7 if self.attention else 3) * self.asks + 1

    @property
    def asks(self) -> int:
        """How often the model is asked: once more than there are steps, to choose the patches."""
        return self.steps + 1

    def within(self, model: Model) -> Model:
        """The model with gradients of the attention; itself where attention plays no part."""
        by = self.layer if self.choose == "attention" else None
        if by is None and not self.attention and self.sparse is None:
            return model
        return Drawn.of(model, NAME, self.grid, by, self.attention)

    def start(self, batch: ImageBatch, logits: Tensor, restart: int, draws: Draws) -> State:
        """The image, with all that is drawn: the first content, a random choice, a first mask."""
        import torch

        b, _, height, width = batch.pixels.shape
        cells(batch.pixels, self.grid, NAME)  # the grid fits, or this says that it does not
        free = draws.uniform("noise", *batch.pixels.shape[1:])
        if self.mild is not None and self.mild_norm == "linf":
            free = (batch.pixels + self.mild * (2 * free - 1)).clamp_(0, 1)
        zeros = torch.zeros_like(free)
        one = zeros[:, :1]
        state = {
            "pixels": batch.pixels,
            "free": free,  # the content, of which the patches show their part
            "mean": zeros, "square": zeros,  # Adam's
            "steps_made": torch.zeros(b, dtype=torch.long, device=free.device) - 1,  # -1: not chosen yet
            "chosen": torch.zeros_like(one, dtype=torch.bool),  # the pixels of the patches
            "token": torch.zeros(b, dtype=torch.long, device=free.device),  # the first of the patches
            "order": draws.permutation("choice", self.grid.total),
        }  # fmt: skip
        if self.sparse is not None:
            first = draws.uniform("mask", 1, height, width)
            state |= {"mask": first, "mask_mean": one, "mask_square": one, "shown": one.bool()}
        return state

    def probe(self, batch: ImageBatch, state: State) -> Tensor:
        """The point it is at."""
        return state["pixels"]

    def loss(self, logits: Tensor, labels: Tensor, state: State) -> Tensor:
        """The cross-entropy of each image."""
        return cross_entropy(logits, labels)

    def step(self, batch: ImageBatch, state: State, seen: Seen) -> State:
        """Adam's step on the content and on the mask; of an image just looked at, the choice of patches."""
        import torch

        fresh = state["steps_made"] < 0
        following = self._moved(batch, state, seen)
        if bool(fresh.any()):
            begun = {**state, **self._begun(batch, state, seen)}
            for name, values in following.items():
                where = fresh.view(-1, *[1] * (values.ndim - 1))
                following[name] = torch.where(where, begun[name], values)
        following["steps_made"] = state["steps_made"] + 1
        return following

    def _begun(self, batch: ImageBatch, state: State, seen: Seen) -> dict[str, Tensor]:
        """The patches, and their first content."""
        import torch

        height, width = batch.pixels.shape[2:]
        ranking = state["order"]
        if self.choose != "random":
            mass = cells(seen.slope[:, :3].abs(), self.grid, NAME)
            ranking = mass.argsort(dim=1, descending=True, stable=True)
        taken = ranking[:, : self.patches]
        flags = torch.zeros_like(ranking, dtype=torch.bool).scatter_(1, taken, True)
        found = {"chosen": spread(flags, self.grid, height, width), "token": taken[:, 0]}
        if self.sparse is not None:
            found["mask"] = state["mask"] * found["chosen"]
            found["shown"] = self._top(found["mask"], found["chosen"])
        free = self._bounded(state["free"], batch.pixels, found["chosen"])
        return {**found, "free": free, "pixels": self._shown(batch, {**found, "free": free})}

    def _moved(self, batch: ImageBatch, state: State, seen: Seen) -> dict[str, Tensor]:
        """One step up for content and mask, back into bounds."""
        done = state["steps_made"].clamp(min=0)
        shrunk = self.rate * _DECAY ** (done // _EVERY)
        following = dict(state)
        gradient = seen.slope[:, :3]
        step, following["mean"], following["square"] = _adam(gradient, state["mean"], state["square"], done)
        free = state["free"] + shrunk.view(-1, 1, 1, 1) * step
        following["free"] = self._bounded(free, batch.pixels, state["chosen"])
        if self.sparse is not None:
            following |= self._masked(state, seen.slope[:, 3:], done)
        following["pixels"] = self._shown(batch, following)
        return following

    def _masked(self, state: State, gradient: Tensor, done: Tensor) -> dict[str, Tensor]:
        """The learned mask one step on, for those that still learn it."""
        import torch

        step, mean, square = _adam(gradient, state["mask_mean"], state["mask_square"], done)
        mask = state["mask"] + _MASK_STEP * step
        mask = (mask - mask.amin(dim=(1, 2, 3), keepdim=True) + _FLOOR) * state["chosen"]
        learns = (done < self.freeze).view(-1, 1, 1, 1)
        found = {"mask": mask, "mask_mean": mean, "mask_square": square}
        found["shown"] = self._top(mask, state["chosen"])
        return {name: torch.where(learns, values, state[name]) for name, values in found.items()}

    def _top(self, mask: Tensor, chosen: Tensor) -> Tensor:
        """(b, 1, h, w) True at the largest values of the mask inside the patches, as many as are allowed."""
        import torch

        count = count_of(self.eps, mask[0].numel())
        flat = mask.where(chosen, -torch.inf).flatten(1)
        best = flat.argsort(dim=1, descending=True, stable=True)[:, :count]
        shown = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, best, True)
        return shown.view(mask.shape) & chosen

    def _bounded(self, free: Tensor, pixels: Tensor, chosen: Tensor) -> Tensor:
        """The content inside a mild bound and [0, 1]."""
        import torch

        if self.mild is None:
            return free.clamp(0, 1)
        change = free - pixels
        if self.mild_norm == "linf":
            change = change.clamp(-self.mild, self.mild)
        else:
            change = change * chosen
            length = torch.linalg.vector_norm(change, dim=(2, 3), keepdim=True).clamp_(min=1e-12)
            change = change * (self.mild / length).clamp_(max=1)
        return (pixels + change).clamp_(0, 1)

    def _shown(self, batch: ImageBatch, state: State) -> Tensor:
        """The images with the content where it shows."""
        import torch

        where = state["chosen"] if self.sparse is None else state["shown"]
        return torch.where(where, state["free"], batch.pixels)


def _adam(gradient: Tensor, mean: Tensor, square: Tensor, done: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Adam's direction after `done` earlier steps, with its new moments (Kingma and Ba, ICLR 2015)."""
    first, second = _BETAS
    mean = first * mean + (1 - first) * gradient
    square = second * square + (1 - second) * gradient**2
    count = (done + 1).view(-1, 1, 1, 1).double()
    corrected = mean / (1 - first**count)
    return (corrected / ((square / (1 - second**count)).sqrt() + _EPSILON)).float(), mean, square
