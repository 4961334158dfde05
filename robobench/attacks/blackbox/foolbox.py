"""Attacks that see decisions only, run by the foolbox package: how far must an image move to be misread."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.contracts import Model
from robobench.draws import Draws
from robobench.errors import AttackError
from robobench.randomness import global_seed
from robobench.registry import Field, attacks
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

Ask = Callable[["Tensor"], "Tensor"]  # pixels (k, 3, h, w) -> (k,) bool: the model is wrong about them

_BLENDS = 50  # steps of the way from the image to noise, as in foolbox
_HAIRS = (0, 1e-6, 1e-5, 1e-4, 1e-3)  # shares of the distance that may be added to it
_MANY = 32  # how large a batch has to agree
_TOGETHER = 64  # points that are asked about at once where the order of the answers does not matter


@attacks.register("boundary", version=1)
@dataclass(frozen=True, kw_only=True)
class Boundary:
    """The boundary attack: a random walk along the decision boundary that comes nearer to the image.

    It sees which class comes first and nothing else. It starts from the image blended with uniform noise,
    as little as is misread (51 blends), and has no budget: what it gives is the nearest image by Euclidean
    distance that it found misread, and the row's `l2` is the number that counts. An image for which none
    of `directions` noises is misread stays as it was. Every step asks once, every tenth twice.

    The start is drawn per image. The steps are foolbox's and share their noise between images, which a
    walk does not notice of another; so an image's result does not depend on its company.

    Raises AttackError when the model answers differently to the same pixels.

    Source: Brendel et al., Decision-Based Adversarial Attacks, ICLR 2018; steps and defaults of foolbox
    3.3.4 (Rauber et al., JOSS 2020), except that a walk is never ended early by `source_step_convergance`.
    """

    steps: Annotated[int, Field(ge=1)] = 25_000  # steps of the walk
    spherical_step: Annotated[float, Field(gt=0)] = 0.01  # first step around the image, share of the distance
    source_step: Annotated[float, Field(gt=0)] = 0.01  # first step towards the image, share of the distance
    step_adaptation: Annotated[float, Field(gt=1)] = 1.5  # factor by which steps become larger or smaller
    directions: Annotated[int, Field(ge=1)] = 1000  # noises that are tried for a start

    norm: ClassVar[str | None] = None
    nested: ClassVar[str | None] = None
    white: ClassVar[bool] = False
    extra: ClassVar[str] = "foolbox"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"steps": 12, "directions": 20},
        {"steps": 3, "spherical_step": 0.1, "source_step": 0.1, "step_adaptation": 2.0, "directions": 2},
    )

    @property
    def cost(self) -> int:
        """Forward passes per image where the first noise is misread; at most."""
        return self.steps + self.steps // 10 + _BLENDS + _MANY + 4

    def __call__(self, model: Model, batch: ImageBatch, draws: Draws) -> Tensor:
        from foolbox.attacks.boundary_attack import BoundaryAttack

        found = batch.pixels.clone()
        start, rows = starting_points(model, batch, draws, self.directions)
        if not rows:
            return found
        inside = batch.select(rows)
        attack = BoundaryAttack(
            steps=self.steps,
            spherical_step=self.spherical_step,
            source_step=self.source_step,
            step_adaptation=self.step_adaptation,
            source_step_convergance=0.0,
        )
        (seed,) = draws.select(("",)).seeds("walk")  # of no image: what they share depends on none
        with global_seed(seed), _explained("blackbox.boundary"):
            found[rows] = attack.run(
                *_posed(_asking(model, inside), inside.pixels), starting_points=start[rows]
            )
        return _firm(model, batch, found, rows)


@attacks.register("hopskipjump", version=1)
@dataclass(frozen=True, kw_only=True)
class HopSkipJump:
    """HopSkipJump: follows the decision boundary by a gradient estimated from decisions alone.

    It sees which class comes first and nothing else. It starts as blackbox.boundary does; each step
    estimates the normal of the boundary from min(gradient_queries * sqrt(step), max_gradient_queries)
    decisions around the point, moves along it while that is misread, and returns to the boundary by
    bisection. It has no budget: the row's `l2` or `linf` is the number that counts. An image without a
    start stays as it was. Images are attacked one by one; the decisions of an estimate are asked for 64 at a
    time, which where a model rounds differently in a batch may turn one right at the boundary. A result
    that is misread alone and not in a batch of 32 is moved on by up to 0.1 % of its distance.

    Raises AttackError when the model answers differently to the same pixels.

    Source: Chen et al., HopSkipJumpAttack: A Query-Efficient Decision-Based Attack, IEEE S&P 2020; steps
    and defaults of foolbox 3.3.4, whose gradient is scaled by the length of the whole batch's: with one
    image that is the paper's.
    """

    steps: Annotated[int, Field(ge=1)] = 64  # gradient estimates
    distance: Literal["l2", "linf"] = "l2"  # what is made small
    gradient_queries: Annotated[int, Field(ge=1)] = 100  # decisions of the first estimate
    max_gradient_queries: Annotated[int, Field(ge=1)] = 10_000  # decisions of any estimate, at most
    gamma: Annotated[float, Field(gt=0)] = (
        1.0  # the bisection ends at gamma / d^1.5 (l2) or gamma / d^2 (linf)
    )
    directions: Annotated[int, Field(ge=1)] = 1000  # noises that are tried for a start

    norm: ClassVar[str | None] = None
    nested: ClassVar[str | None] = None
    white: ClassVar[bool] = False
    alone: ClassVar[bool] = True
    extra: ClassVar[str] = "foolbox"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"steps": 2, "gradient_queries": 10, "directions": 20},
        {"steps": 1, "distance": "linf", "gradient_queries": 10, "max_gradient_queries": 5, "directions": 2},
    )

    @property
    def cost(self) -> int:
        """Forward passes per image where the first noise is misread; an estimate of the searches."""
        bisections = 25  # of about so many halvings, before each step's first and after it
        gradients = sum(
            int(min(self.gradient_queries * math.sqrt(k + 1), self.max_gradient_queries))
            for k in range(self.steps)
        )
        return gradients + self.steps * (bisections + 5) + bisections + _BLENDS + _MANY + 5

    def __call__(self, model: Model, batch: ImageBatch, draws: Draws) -> Tensor:
        found = batch.pixels.clone()
        start, rows = starting_points(model, batch, draws, self.directions)
        seeds = draws.seeds("hops")
        for row in rows:
            inside = batch.select([row])
            ask = _asking(model, inside)
            attack = self._attack(ask)
            with global_seed(seeds[row]), _explained("blackbox.hopskipjump"):
                found[row] = attack.run(*_posed(ask, inside.pixels), starting_points=start[[row]])[0]
        return _firm(model, batch, found, rows)

    def _attack(self, ask: Ask) -> Any:
        """Foolbox's attack on one image, with the decisions of an estimate asked for together."""
        import torch
        from foolbox.attacks.hop_skip_jump import HopSkipJumpAttack

        class Together(HopSkipJumpAttack):
            """Estimates a gradient twice from the same draws: to learn the points, then with the answers."""

            def approximate_gradients(self, is_adversarial: Any, x_advs: Any, steps: int, delta: Any) -> Any:
                points: list[Tensor] = []

                def note(point: Any) -> Any:
                    points.append(point.raw)
                    return point.flatten(1).sum(axis=1) > 0  # any decision will do

                estimate = super().approximate_gradients
                place = x_advs.raw.device
                with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
                    estimate(note, x_advs, steps, delta)
                answers = iter(_in_parts(ask, torch.cat(points))[:, None])
                return estimate(lambda point: type(point)(next(answers)), x_advs, steps, delta)

        return Together(
            steps=self.steps,
            initial_gradient_eval_steps=self.gradient_queries,
            max_gradient_eval_steps=self.max_gradient_queries,
            gamma=self.gamma,
            constraint=self.distance,
        )


def starting_points(
    model: Model, batch: ImageBatch, draws: Draws, directions: int
) -> tuple[Tensor, list[int]]:
    """Pixels (b, 3, h, w) that are misread, and the rows of the images for which there are some.

    The first of `directions` uniform noises that is misread is blended into the image, in fiftieths, as
    little as is misread; images that are misread as they are have none. As foolbox's
    LinearSearchBlendedUniformNoiseAttack, but drawn per image.
    """
    import torch

    shape = tuple(batch.pixels.shape[1:])
    wrong = _asking(model, batch)(batch.pixels)
    noise = batch.pixels.clone()
    waiting = [r for r, down in enumerate(wrong.tolist()) if not down]
    rows: list[int] = []
    for number in range(directions):
        if not waiting:
            break
        inside = batch.select(waiting)
        tried = draws.select(inside.ids).uniform(f"start {number}", *shape)
        misread = _asking(model, inside)(tried).tolist()
        noise[waiting] = tried
        rows += [r for r, down in zip(waiting, misread, strict=True) if down]
        waiting = [r for r, down in zip(waiting, misread, strict=True) if not down]
    rows.sort()
    found, waiting = batch.pixels.clone(), list(rows)
    for share in torch.linspace(0, 1, _BLENDS + 1)[1:].tolist():
        if not waiting:
            break
        inside = batch.select(waiting)
        blend = (1 - share) * inside.pixels + share * noise[waiting]
        misread = _asking(model, inside)(blend).tolist()
        for row, pixels, down in zip(waiting, blend, misread, strict=True):
            if down:
                found[row] = pixels
        waiting = [r for r, down in zip(waiting, misread, strict=True) if not down]
    return found, rows


def _asking(model: Model, batch: ImageBatch) -> Ask:
    """The model's decisions about other pixels of the images of a batch; of a single one, many at once."""
    import torch

    def ask(pixels: Tensor) -> Tensor:
        who = batch if len(batch) == len(pixels) else batch.select([0] * len(pixels))
        with torch.no_grad():
            logits = model(ImageBatch(pixels.float(), who.ids, who.labels, who.inputs))
        right = logits.isfinite().all(dim=1) & (logits.argmax(dim=1) == who.labels.to(logits.device))
        return ~right.to(pixels.device)

    return ask


def _firm(model: Model, batch: ImageBatch, found: Tensor, rows: Sequence[int]) -> Tensor:
    """What was found, a hair farther from the image where it is misread alone and not in a batch.

    A bisection ends where rounding decides, and a forward pass may round differently at another size.
    """
    for row in rows:
        inside = batch.select([row])
        ask, origin = _asking(model, inside), inside.pixels
        for more in _HAIRS:
            point = found[[row]] if more == 0 else (origin + (found[[row]] - origin) * (1 + more)).clamp(0, 1)
            if bool(ask(point)) and bool(ask(point.expand(_MANY, -1, -1, -1)).all()):
                found[row] = point[0]
                break
    return found


def _in_parts(ask: Ask, pixels: Tensor) -> Tensor:
    """The decisions about any number of points of one image."""
    import torch

    starts = range(0, len(pixels), _TOGETHER)
    return torch.cat([ask(pixels[k : k + _TOGETHER]) for k in starts])


def _posed(ask: Ask, pixels: Tensor) -> Sequence[Any]:
    """The model, the images and the aim as foolbox takes them: its outputs are the decisions themselves."""
    from foolbox.criteria import Criterion
    from foolbox.models.base import Model as Judge
    from foolbox.types import Bounds

    class Decisions(Judge):
        bounds = Bounds(0, 1)

        def __call__(self, inputs: Any) -> Any:
            return type(inputs)(ask(inputs.raw))

    class Misread(Criterion):
        def __repr__(self) -> str:
            return "misread"

        def __call__(self, perturbed: Any, outputs: Any) -> Any:
            return outputs

    return Decisions(), pixels, Misread()


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Foolbox insists that what was misread stays so."""
    try:
        yield
    except (ValueError, AssertionError) as error:
        raise AttackError(
            f"{name}: the model answered differently to the same pixels ({error or 'in foolbox'}); a "
            "decision-based attack needs a model whose forward pass repeats"
        ) from error
