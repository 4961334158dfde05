"""Auto-PGD: gradient ascent with momentum that halves its own steps and returns to its best point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.attacks.gradient.schedule import Schedule, schedule_of
from robobench.contracts import Seen, State
from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.losses import cross_entropy, dlr, targeted_dlr
from robobench.norms import Norm, bounded, length, per_image
from robobench.params import Radius, check_linf
from robobench.registry import Field, attacks
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

_MOMENTUM = 0.25  # share of the step before in every step but the first
_TINY = 1e-12  # added to a length that is divided by, as in the original
_SPARE = 1.5  # l1: by how much a gradient is thinned out against the change so far, and steps are shortened
_SHORTEST = 0.1  # l1: the shortest step, in units of the longest


@dataclass(frozen=True, kw_only=True)
class _AutoPgd:
    """What both forms share: everything but what is climbed."""

    eps: Radius  # radius of the budget in [0, 1] pixel units: 8/255; under l2 often 0.5 or 3, under l1 12
    norm: Norm = "linf"  # how the size of a change is measured
    steps: Annotated[int, Field(ge=3)] = 100  # gradient steps of a start
    rho: Annotated[float, Field(ge=0, le=1)] = 0.75  # linf, l2: the share of steps that has to rise the loss
    larger_eps: bool = False  # l1 only: begin in balls of 3 and 2 eps, for 30 % of the steps each
    restarts: Annotated[int, Field(ge=1)] = 1  # random starts; an image falls when any of them succeeds
    eot: Annotated[int, Field(ge=1)] = 1  # runs of a randomised model that each gradient is the mean of

    nested: ClassVar[str | None] = "eps"
    white: ClassVar[bool] = True
    key: ClassVar[str]

    def __post_init__(self) -> None:
        check_linf(f"gradient.{self.key}", self.norm, self.eps)
        if self.larger_eps and self.norm != "l1":
            raise BadParameter(
                f"gradient.{self.key}: larger_eps: expected norm: l1 with it, got norm: {self.norm}",
                ("larger_eps",),
            )

    @property
    def identity(self) -> bool:
        """The budget is empty."""
        return self.eps == 0

    @property
    def starts(self) -> int:
        """How often it begins anew."""
        return self.restarts

    @property
    def asks(self) -> int:
        """How many gradients a start takes: larger_eps begins three times in it."""
        return self._schedule.asks

    @property
    def cost(self) -> int:
        """Forward passes per image, a backward one counted as two, with the answers to the results."""
        return (3 * self.asks * self.eot + 1) * self.starts

    @property
    def _schedule(self) -> Schedule:
        return schedule_of(self.steps, self.norm, self.larger_eps)

    def start(self, batch: ImageBatch, logits: Tensor, restart: int, draws: Draws) -> State:
        """A random point on the edge of the ball, cut to [0, 1]."""
        import torch

        images = batch.pixels
        shape = tuple(images.shape[1:])
        if self.norm == "l1":
            pixels = bounded(images, draws.normal("start", *shape), "l1", self.eps * self._schedule.radius[0])
        elif self.norm == "l2":
            pixels = (images + self.eps * _unit(draws.normal("start", *shape))).clamp_(0, 1)
        else:
            noise = draws.uniform("start", *shape) * 2 - 1
            largest = noise.abs().amax((1, 2, 3), keepdim=True) + _TINY
            pixels = (images + self.eps * (noise / largest)).clamp_(0, 1)
        zero = torch.zeros(len(batch), device=images.device)
        return {
            "pixels": pixels,
            "before": pixels,  # the point that the last step went off from
            "top": pixels,  # the point of the largest loss so far ...
            "top_slope": torch.zeros_like(pixels),  # ... with the gradient ...
            "top_loss": zero,  # ... and the loss there
            "last_loss": zero,
            "checked_loss": zero,  # the largest loss at the checkpoint before
            "rises": zero,  # steps of the window that raised the loss
            "halved": torch.ones_like(zero, dtype=torch.bool),  # at the checkpoint before
            "length": zero,  # of a step
            "share": zero,  # l1: of the gradient's entries that a step follows
            "changed": zero,  # l1: how many values the best point had changed, at the checkpoint before
            "count": torch.zeros(len(batch), dtype=torch.int64, device=images.device),
        }

    def probe(self, batch: ImageBatch, state: State) -> Tensor:
        """The point it is at."""
        return state["pixels"]

    def step(self, batch: ImageBatch, state: State, seen: Seen) -> State:
        """Keep the best point; at a checkpoint perhaps shorten the steps and go back to it; then one step."""
        import torch

        schedule, device = self._schedule, seen.loss.device
        count = state["count"]
        begins = torch.tensor(schedule.begins, device=device)[count]
        window = torch.tensor(schedule.window, dtype=torch.float32, device=device)[count]
        radius = self.eps * torch.tensor(schedule.radius, device=device)
        at = self._noted(state, seen, begins)
        if self.norm == "l1":
            at = self._checked_l1(batch, at, begins, window > 0, radius[count])
        else:
            at = self._checked(at, begins, window)
        moved = self._moved(batch, at, begins, radius[count])
        after = (count + 1).clamp_(max=self.asks)  # places of the lot that nobody needs go on and on
        following = {**at, "pixels": moved, "before": at["pixels"], "count": after}
        del following["slope"]
        ends = torch.tensor(schedule.ends, device=device)[count]
        if bool(ends.any()):
            smaller = per_image(radius[after])
            again = bounded(batch.pixels, at["top"] - batch.pixels, "l1", smaller)
            following["pixels"] = torch.where(per_image(ends), again, moved)
        return following

    def _noted(self, state: State, seen: Seen, begins: Tensor) -> dict[str, Tensor]:
        """The state with what was seen in it. The first step of a run is compared with a loss of 0.

        That is the original's way: its history of losses is a table of zeros that wraps around.
        """
        import torch

        loss, slope = seen.loss, seen.slope
        better = begins | (loss > state["top_loss"])
        rose = (loss > state["last_loss"]).float()
        return {
            **state,
            "slope": slope,
            "top": torch.where(per_image(better), state["pixels"], state["top"]),
            "top_slope": torch.where(per_image(better), slope, state["top_slope"]),
            "top_loss": torch.where(better, loss, state["top_loss"]),
            "last_loss": torch.where(begins, 0.0, loss),
            "checked_loss": torch.where(begins, loss, state["checked_loss"]),
            "rises": torch.where(begins, 0.0, state["rises"] + rose),
        }

    def _checked(self, at: dict[str, Tensor], begins: Tensor, window: Tensor) -> dict[str, Tensor]:
        """At a checkpoint: halve the steps where too few raised the loss, or the best has not improved.

        The second counts only where the steps were not halved at the checkpoint before.
        """
        import torch

        now = window > 0
        idle = ~at["halved"] & (at["checked_loss"] >= at["top_loss"])
        stuck = now & ((at["rises"] <= self.rho * window) | idle)
        size = torch.where(begins, 2 * self.eps, at["length"])
        found = {
            **at,
            "length": torch.where(stuck, size / 2, size),
            "halved": begins | torch.where(now, stuck, at["halved"]),
            "checked_loss": torch.where(now, at["top_loss"], at["checked_loss"]),
            "rises": torch.where(now, 0.0, at["rises"]),
        }
        return _back(found, stuck)

    def _checked_l1(
        self, batch: ImageBatch, at: dict[str, Tensor], begins: Tensor, now: Tensor, radius: Tensor
    ) -> dict[str, Tensor]:
        """At a checkpoint: follow more or fewer of the gradient's entries, with longer or shorter steps.

        Where the best point changed clearly fewer values than at the checkpoint before, it goes back there
        with long steps; elsewhere steps get shorter.
        """
        import torch

        values = batch.pixels[0].numel()
        found = dict(at)
        if bool(begins.any()):
            ours = self._values(batch, at["pixels"])
            share = ours / values / _SPARE
            if not self.larger_eps:
                ours, share = torch.full_like(ours, values), torch.full_like(share, 0.2)
            found["changed"] = torch.where(begins, ours, found["changed"])
            found["share"] = torch.where(begins, share, found["share"])
            found["length"] = torch.where(begins, radius, found["length"])
        if bool(now.any()):
            ours = self._values(batch, at["top"])
            fewer = now & (ours / found["changed"] < 0.95)
            shorter = torch.where(fewer, radius, found["length"] / _SPARE)
            shorter = torch.minimum(torch.maximum(shorter, _SHORTEST * radius), radius)
            found["length"] = torch.where(now, shorter, found["length"])
            found["share"] = torch.where(now, ours / values / _SPARE, found["share"])
            found["changed"] = torch.where(now, ours, found["changed"])
            found = _back(found, fewer)
        return found

    def _moved(self, batch: ImageBatch, at: State, begins: Tensor, radius: Tensor) -> Tensor:
        """One step up, back into ball and range; then, but for l1, most of it together with the last one."""
        import torch

        images, here, slope, size = batch.pixels, at["pixels"], at["slope"], per_image(at["length"])
        if self.norm == "l1":
            signs = _sparse(slope, at["share"])
            aim = here + size * (signs / (signs.abs().sum((1, 2, 3), keepdim=True) + 1e-10))
            return bounded(images, aim - images, "l1", per_image(radius))
        up = slope.sign() if self.norm == "linf" else _unit(slope)
        aim = self._inside(images, here + size * up)
        kept = per_image(torch.where(begins, 0.0, _MOMENTUM))
        drift = (here - at["before"]).mul_(kept)
        return self._inside(images, (aim - here).mul_(1 - kept).add_(here).add_(drift))

    def _inside(self, images: Tensor, pixels: Tensor) -> Tensor:
        """The pixels brought into the ball and cut to [0, 1]."""
        import torch

        if self.norm == "linf":
            return torch.maximum(torch.minimum(pixels, images + self.eps), images - self.eps).clamp_(0, 1)
        change = pixels - images
        size = length(change, "l2")
        scale = (size.clamp(max=self.eps) / (size + _TINY)).to(change.dtype)
        return (images + change * scale).clamp_(0, 1)

    @staticmethod
    def _values(batch: ImageBatch, pixels: Tensor) -> Tensor:
        """(b,) how many values of each image have changed."""
        return (pixels != batch.pixels).flatten(1).sum(dim=1).float()


@attacks.register("apgd", version=1)
@dataclass(frozen=True, kw_only=True)
class AutoProjectedGradient(_AutoPgd):
    """Auto-PGD: gradient ascent with momentum that finds its own step sizes.

    It starts at a random point on the edge of the ball with steps of 2 * eps. At checkpoints, which come
    closer together (22 % of the steps, then 3 % fewer each time down to 6 %), it halves its steps and goes
    back to the best point where fewer than rho of the steps raised the loss, or where nothing was gained
    since the checkpoint before. Under l1 a step follows the signs of the gradient's largest entries, of
    which there are two thirds as many as the best point has changed values, and is as long as eps or down
    to a tenth of it. Every point it visits counts. eps is in [0, 1] pixel units.

    The losses: `ce`, the cross-entropy, or `dlr`, the difference of logits ratio, which does not
    change with the scale of the logits and needs three classes.

    Raises BadParameter for a linf radius above 1 and for larger_eps without l1.

    Source: Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks, ICML 2020, algorithm 1; l1: Croce and Hein, Mind the Box, ICML 2021, algorithm 1.
    Constants and details that the papers leave open are those of the authors' public implementation.
    """

    objective: Literal["ce", "dlr"] = "ce"  # what is climbed: cross-entropy or difference of logits ratio

    key: ClassVar[str] = "apgd"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": "8/255", "steps": 5},
        {"eps": "8/255", "steps": 4, "objective": "dlr", "restarts": 2},
        {"eps": 0.5, "norm": "l2", "steps": 5, "eot": 2},
        {"eps": 6, "norm": "l1", "steps": 4},
        {"eps": 6, "norm": "l1", "steps": 4, "larger_eps": True},
        {"eps": 0, "steps": 3},
    )

    @property
    def classes(self) -> int:
        """The fewest classes it works with."""
        return 3 if self.objective == "dlr" else 2

    def loss(self, logits: Tensor, labels: Tensor, state: State) -> Tensor:
        """The loss that is climbed."""
        return dlr(logits, labels) if self.objective == "dlr" else cross_entropy(logits, labels)


@attacks.register("apgd_t", version=1)
@dataclass(frozen=True, kw_only=True)
class TargetedAutoProjectedGradient(_AutoPgd):
    """Auto-PGD towards one wrong class after the other, on the targeted difference of logits ratio.

    The targets are the classes that the model ranks second, third, and so on for the clean image. An image
    falls as soon as the model is wrong about it, whatever it takes it for. See gradient.apgd for the steps.

    Raises BadParameter for a linf radius above 1 and for larger_eps without l1.

    Source: Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks, ICML 2020, section 5 and equation 7.
    """

    targets: Annotated[int, Field(ge=1)] = (
        9  # how many wrong classes are aimed at, each from `restarts` starts
    )

    key: ClassVar[str] = "apgd_t"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": "8/255", "steps": 5, "targets": 2},
        {"eps": 0.5, "norm": "l2", "steps": 5, "targets": 2, "restarts": 2},
        {"eps": 6, "norm": "l1", "steps": 4, "targets": 1, "larger_eps": True},
        {"eps": 0, "steps": 3, "targets": 1},
    )

    @property
    def classes(self) -> int:
        """The fewest classes it works with: four for the loss, and as many wrong ones as targets."""
        return max(4, self.targets + 1)

    @property
    def starts(self) -> int:
        """How often it begins anew: all restarts of a target, then those of the next."""
        return self.targets * self.restarts

    def start(self, batch: ImageBatch, logits: Tensor, restart: int, draws: Draws) -> State:
        """A random point on the edge of the ball, and the class to be reached."""
        rank = 1 + restart // self.restarts
        target = logits.sort(dim=1, descending=True).indices[:, rank]
        return {**super().start(batch, logits, restart, draws), "target": target}

    def loss(self, logits: Tensor, labels: Tensor, state: State) -> Tensor:
        """The loss that is climbed."""
        return targeted_dlr(logits, labels, state["target"])


def _unit(change: Tensor) -> Tensor:
    """Each image's change at Euclidean length 1; one as short as 1e-12 stays shorter, as in the original."""
    return change / (length(change, "l2") + _TINY).to(change.dtype)


def _back(at: dict[str, Tensor], who: Tensor) -> dict[str, Tensor]:
    """Put some images back at their best point, with the gradient there."""
    import torch

    if not bool(who.any()):
        return at
    pixels = torch.where(per_image(who), at["top"], at["pixels"])
    return {**at, "pixels": pixels, "slope": torch.where(per_image(who), at["top_slope"], at["slope"])}


def _sparse(slope: Tensor, share: Tensor) -> Tensor:
    """The signs of a share (b,) of each gradient's entries, the largest; 0 elsewhere."""
    size = slope.abs().flatten(1)
    n = size.shape[1]
    skipped = ((1 - share) * n).clamp(0, n - 1).long()
    least = size.sort(dim=1).values.gather(1, skipped[:, None])
    return slope.sign() * (size >= least).view_as(slope)
