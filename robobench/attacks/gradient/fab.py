"""The Fast Adaptive Boundary attack: steps to the linearised boundary that stay as near as they can."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from robobench.attacks.gradient.hyperplane import onto_hyperplane
from robobench.contracts import Loss, Model, Seen, State
from robobench.draws import Draws
from robobench.losses import margin
from robobench.norms import Norm, direction, length, per_image
from robobench.params import Radius, check_linf
from robobench.registry import Field, attacks
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor, nn

_SHORTEST = 1e-8  # a step to the boundary counts as at least this long, as in the original
_TINY = 1e-12  # keeps a distance from being divided by 0, as in the original
_USUAL = {"linf": 0.3, "l2": 1.0, "l1": 5.0}  # the ball of random starts where there is no budget
_CLASSES = 10  # that the cost of aiming at the nearest one is told for


@dataclass(frozen=True, kw_only=True)
class _FastAdaptiveBoundary(ABC):
    """The walk of an image, whatever its change is measured by.

    A run makes `steps` steps: the gradient where it is, a step, the answer there, and some of the way back if
    the model was fooled. All runs of an image are one start of the engine's, because the nearest point of
    all of them is wanted.
    """

    targets: Annotated[int, Field(ge=0)] = 9  # wrong classes aimed at one after the other; 0: the nearest one
    steps: Annotated[int, Field(ge=1)] = 100  # steps to the boundary in each run
    alpha_max: Annotated[float, Field(ge=0, le=1)] = (
        0.1  # by how much a step leans towards the image, at most
    )
    eta: Annotated[float, Field(ge=1)] = 1.05  # how far a step goes, in distances to the boundary
    beta: Annotated[float, Field(gt=0, lt=1)] = 0.9  # share of a change that fooled the model which is kept
    restarts: Annotated[int, Field(ge=1)] = 1  # runs per target; all but the first begin at a random point

    white: ClassVar[bool] = True
    starts: ClassVar[int] = 1

    @property
    @abstractmethod
    def measure(self) -> Norm:
        """The norm that is kept small."""

    @property
    @abstractmethod
    def radius(self) -> float | None:
        """The budget, None without one."""

    @property
    def classes(self) -> int:
        """The fewest classes it works with: as many wrong ones as targets."""
        return max(self.targets, 1) + 1

    @property
    def runs(self) -> int:
        """How often an image begins anew: all restarts of a target, then those of the next."""
        return max(self.targets, 1) * self.restarts

    @property
    def asks(self) -> int:
        """How often the model is asked, for a gradient and an answer in turn; one turn may be waited for."""
        return 2 * self.steps * self.runs + 1

    @property
    def cost(self) -> int:
        """Forward passes per image, a backward one counted as two, with the answer to the result."""
        return (3 * (1 if self.targets else _CLASSES) + 1) * self.steps * self.runs + 1

    def within(self, model: Model) -> Model:
        """The model itself, or one that answers with the gradient towards the nearest wrong class."""
        return model if self.targets else _NearestClass(model, self.measure)

    def start(self, batch: ImageBatch, logits: Tensor, restart: int, draws: Draws) -> State:
        """The image itself; the classes it is led to, as the model ranks them; random starts to come."""
        import torch

        n, images = len(batch), batch.pixels
        zero = torch.zeros(n, dtype=torch.int64, device=images.device)
        farthest = torch.inf if self.radius is None else self.radius
        state = {
            "pixels": images,
            "best": images,
            "size": torch.full((n,), farthest, device=images.device),
            "run": zero,
            "taken": zero,  # steps of the run
            "stepped": zero.bool(),  # a step led to `pixels`; else it is a start, or was gone back to
            "done": zero.bool(),
        }
        if self.targets:
            others = logits.scatter(1, batch.labels[:, None], -torch.inf)
            ranked = others.sort(dim=1, descending=True, stable=True).indices
            state["targets"] = ranked[:, : self.targets]
        if self.restarts > 1:
            state["begin"] = self._begin(images, draws)
        return state

    def probe(self, batch: ImageBatch, state: State) -> Tensor:
        """The point it is at."""
        return state["pixels"]

    def loss(self, logits: Tensor, labels: Tensor, state: State) -> Tensor:
        """By how much the logit of the class that is aimed at exceeds the label's."""
        if not self.targets:
            return margin(logits, labels)
        number = (state["run"] // self.restarts).clamp(max=self.targets - 1)
        aim = state["targets"].gather(1, number[:, None])
        return (logits.gather(1, aim) - logits.gather(1, labels[:, None]))[:, 0]

    def looks(self, state: State) -> bool:
        """A point that a step led to is asked for its answer alone; then all images are at the same stage."""
        return not bool(state["stepped"].any())

    def step(self, batch: ImageBatch, state: State, seen: Seen) -> State:
        """Remember a nearer misread point; judge where steps led to, or make the next ones."""
        import torch

        here = state["pixels"]
        fooled = seen.logits.argmax(dim=1) != batch.labels
        size = length(here - batch.pixels, self.measure).flatten().float()
        nearer = fooled & (size < state["size"]) & ~state["done"]
        found = {
            **state,
            "best": torch.where(per_image(nearer), here, state["best"]),
            "size": torch.where(nearer, size, state["size"]),
        }
        if not self.looks(state):
            return self._judged(batch.pixels, found, fooled)
        found["pixels"] = self._ahead(batch.pixels, here, seen.loss.nan_to_num(nan=0.0), seen.slope)
        found["taken"] = state["taken"] + 1
        found["stepped"] = torch.ones_like(fooled)
        return found

    def _judged(self, images: Tensor, at: State, fooled: Tensor) -> State:
        """Back towards the image after a step that fooled the model; on to the next run after the last one.

        An image that made no step waits: it came when the others had just made theirs.
        """
        import torch

        here, stepped = at["pixels"], at["stepped"]
        pixels = torch.where(per_image(stepped & fooled), images + self.beta * (here - images), here)
        ended = stepped & (at["taken"] >= self.steps)
        run = at["run"] + ended
        return {
            **at,
            "pixels": torch.where(per_image(ended), self._begun(images, at, run), pixels),
            "run": run,
            "taken": torch.where(ended, 0, at["taken"]),
            "stepped": torch.zeros_like(stepped),
            "done": run >= self.runs,
        }

    def _ahead(self, images: Tensor, here: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        """Beyond the boundary that is linearised here: the nearest of it from here and from the image.

        The nearer that is to here, compared with the image, the less the step leans towards the image.
        """
        import torch

        drift = (slope * (images - here)).sum(dim=(1, 2, 3))
        rise = -torch.cat([value, value + drift])
        changes = onto_hyperplane(torch.cat([here, images]), slope.repeat(2, 1, 1, 1), rise, self.measure)
        near, far = length(changes, self.measure).clamp_(min=_SHORTEST).to(here.dtype).chunk(2)
        lean = (near / (near + far)).clamp_(max=self.alpha_max)
        from_here, from_image = changes.chunk(2)
        ahead = (here + self.eta * from_here) * (1 - lean) + (images + self.eta * from_image) * lean
        return ahead.clamp_(0, 1)

    def _begin(self, images: Tensor, draws: Draws) -> Tensor:
        """Changes (b, restarts - 1, 3, h, w) half as long as the budget, the same ones for every target."""
        shape = (self.restarts - 1, *images.shape[1:])
        if self.measure == "linf":
            noise = draws.uniform("start", *shape) * 2 - 1
        else:
            noise = draws.normal("start", *shape)
        radius = _USUAL[self.measure] if self.radius is None else self.radius
        return (direction(noise.flatten(0, 1), self.measure) * (radius / 2)).view_as(noise)

    def _begun(self, images: Tensor, state: State, run: Tensor) -> Tensor:
        """Where a run begins."""
        import torch

        if self.restarts == 1:
            return images
        which = run % self.restarts
        rows = torch.arange(len(run), device=run.device)
        change = state["begin"][rows, (which - 1).clamp(min=0)]
        return torch.where(per_image(which > 0), (images + change).clamp_(0, 1), images)


@attacks.register("fab", version=1)
@dataclass(frozen=True, kw_only=True)
class FastAdaptiveBoundary(_FastAdaptiveBoundary):
    """The Fast Adaptive Boundary attack: the nearest misread point there is, kept if it is in the budget.

    Each step linearises the difference of two logits, and goes a little beyond the nearest point in [0, 1]
    at which they would be equal, leaning towards the image. After a point that is misread it goes back a
    tenth of the way. A run aims at one class, those that the model ranks second, third and so on for the
    image; with `targets: 0` at whichever wrong class is nearest at that step, for which it takes a
    gradient of every class. eps is in [0, 1] pixel units. On its way it leaves the budget; points inside
    count, and an image that stands stays as it was. eps = 0 is the image itself.

    Raises BadParameter for a linf radius above 1.

    Source: Croce and Hein, Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack,
    ICML 2020, algorithm 1, without the final search; targets and numbers as in AutoAttack (Croce and Hein,
    Reliable Evaluation of Adversarial Robustness, ICML 2020).
    """

    eps: Radius  # radius of the budget in [0, 1] pixel units: 8/255 or 0.03; under l2 often 0.5, under l1 12
    norm: Norm = "linf"  # how the size of a change is measured

    nested: ClassVar[str | None] = "eps"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": "8/255", "steps": 4, "targets": 2},
        {"eps": 0.5, "norm": "l2", "steps": 4, "targets": 1, "restarts": 2},
        {"eps": 6, "norm": "l1", "steps": 4, "targets": 2},
        {"eps": "8/255", "steps": 3, "targets": 0},
        {"eps": 0, "steps": 2, "targets": 1},
    )

    def __post_init__(self) -> None:
        check_linf("gradient.fab", self.norm, self.eps)

    @property
    def identity(self) -> bool:
        """The budget is empty."""
        return self.eps == 0

    @property
    def measure(self) -> Norm:
        """The norm of the budget."""
        return self.norm

    @property
    def radius(self) -> float | None:
        """The budget."""
        return self.eps


@attacks.register("fab_minimal", version=1)
@dataclass(frozen=True, kw_only=True)
class MinimalFastAdaptiveBoundary(_FastAdaptiveBoundary):
    """The Fast Adaptive Boundary attack without a budget: the nearest misread point that it finds.

    See gradient.fab for its steps. Every run is made to its end, and the smallest change of all is the
    result; an image for which nothing misread was found stays as it was. Random starts have a length of
    up to .15 (linf), .5 (l2) or 2.5 (l1).

    Source: Croce and Hein, Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack,
    ICML 2020, algorithm 1, without the final search.
    """

    size: Norm = "linf"  # the norm that is made small

    norm: ClassVar[str | None] = None
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"steps": 4, "targets": 2},
        {"size": "l2", "steps": 4, "targets": 1, "restarts": 2},
        {"size": "l1", "steps": 3, "targets": 0},
    )

    @property
    def measure(self) -> Norm:
        """The norm that is made small."""
        return self.size

    @property
    def radius(self) -> float | None:
        """None: there is no budget."""
        return None


@dataclass(frozen=True)
class _NearestClass:
    """A model whose gradient is that of the wrong class nearest to an image, of all its classes."""

    inner: Model
    measure: Norm

    @property
    def module(self) -> nn.Module:
        return self.inner.module

    def __call__(self, batch: ImageBatch) -> Tensor:
        return self.inner(batch)

    def read(self, outputs: Tensor) -> Tensor:
        return self.inner.read(outputs)

    def taps(self, *names: str) -> Any:
        return self.inner.taps(*names)

    def gradient(self, batch: ImageBatch, loss: Loss) -> tuple[Tensor, Tensor]:
        """Asks once per class; the loss is told of logits that hold but the label and the nearest class."""
        import torch

        labels = batch.labels
        own = labels[:, None]
        nearest = torch.full(labels.shape, torch.inf, device=labels.device)
        chosen = (labels == 0).long()  # a wrong one where no distance is a number
        logits, slope = self.inner.gradient(batch, _difference(0))
        slopes = slope
        for k in range(logits.shape[1]):
            if k:
                logits, slope = self.inner.gradient(batch, _difference(k))
            value = (logits[:, k] - logits.gather(1, own)[:, 0]).abs()
            away = (value / (_dual(slope, self.measure) + _TINY)).where(labels != k, torch.inf)
            closer = away < nearest
            nearest = torch.where(closer, away, nearest)
            chosen = torch.where(closer, k, chosen)
            slopes = torch.where(per_image(closer), slope, slopes)
        both = torch.stack([labels, chosen], dim=1)
        loss(torch.full_like(logits, -torch.inf).scatter(1, both, logits.gather(1, both)), labels)
        return logits, slopes


def _difference(k: int) -> Loss:
    """The logit of a class minus the label's."""

    def difference(logits: Tensor, labels: Tensor) -> Tensor:
        return logits[:, k] - logits.gather(1, labels[:, None])[:, 0]

    return difference


def _dual(slope: Tensor, norm: str) -> Tensor:
    """The most that a linear function with this gradient rises within a distance of 1."""
    import torch

    order = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}[norm]
    size: Tensor = torch.linalg.vector_norm(slope, ord=order, dim=(1, 2, 3))
    return size
