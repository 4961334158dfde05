"""Iterated sign steps with momentum, and with a look ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from robobench import norms
from robobench.attacks.gradient.objective import Objective
from robobench.contracts import Seen, State
from robobench.draws import Draws
from robobench.params import Eps
from robobench.registry import Field, attacks
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SignSteps(Objective):
    """Steps of alpha along the sign of the gradients so far, each of mean size 1, older ones decayed."""

    eps: Eps  # largest change of a channel of a pixel, in [0, 1] units: 8/255 or 0.03
    steps: Annotated[int, Field(ge=1)] = 10  # gradient steps
    alpha: Eps | None = None  # length of a step in the units of eps; None is eps / 4
    decay: Annotated[float, Field(ge=0)] = 1.0  # weight of the momentum of the step before

    norm: ClassVar[str | None] = "linf"
    nested: ClassVar[str | None] = "eps"
    restarts: ClassVar[int] = 1
    white: ClassVar[bool] = True

    @property
    def identity(self) -> bool:
        """The budget is empty."""
        return self.eps == 0

    @property
    def cost(self) -> int:
        """Forward passes per image, a backward one counted as two, with the answer to the result."""
        return 3 * self.steps * self.eot + 1

    @property
    def step_size(self) -> float:
        """The length of a step."""
        return self.eps / 4 if self.alpha is None else self.alpha

    def start(self, batch: ImageBatch, logits: Tensor, restart: int, draws: Draws) -> State:
        """The images themselves, without momentum."""
        aim = self.aim(logits, batch.labels, draws)
        return {"pixels": batch.pixels, "momentum": batch.pixels * 0, **aim}

    def step(self, batch: ImageBatch, state: State, seen: Seen) -> State:
        """The gradient joins the momentum; a step along its sign, back into the ball and into [0, 1]."""
        gradient = self.felt(state, seen.slope)
        size = gradient[0].numel()
        momentum = self.decay * state["momentum"] + norms.direction(gradient, "l1") * size
        change = state["pixels"] + self.step_size * momentum.sign() - batch.pixels
        pixels = norms.bounded(batch.pixels, change, "linf", self.eps)
        return {**state, "pixels": pixels, "momentum": momentum}

    def felt(self, state: State, gradient: Tensor) -> Tensor:
        """The gradient that joins the momentum, in the pixels of the image."""
        return gradient


@attacks.register("mi_fgsm", version=1)
@dataclass(frozen=True, kw_only=True)
class Momentum(SignSteps):
    """MI-FGSM: iterated sign steps along a momentum of gradients, made to transfer to other models.

    Each gradient is divided by the mean size of its entries and joins the momentum, which decays by
    `decay`; a step of alpha goes along its sign, back into the linf ball of radius eps and into [0, 1]. No
    random start. The default alpha is 2/255 at eps = 8/255. eps = 0 is the image itself. `dlr` needs three
    classes, with a target four.

    Source: Dong et al., Boosting Adversarial Attacks with Momentum, CVPR 2018, algorithm 1 (there the
    gradient is divided by the sum, which is the same direction). Steps agree with torchattacks' MIFGSM.
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": "8/255", "steps": 3},
        {"eps": "8/255", "steps": 3, "decay": 0.5, "target": "least_likely"},
        {"eps": 0, "steps": 2},
    )


@attacks.register("ni_fgsm", version=1)
@dataclass(frozen=True, kw_only=True)
class Nesterov(SignSteps):
    """NI-FGSM: MI-FGSM whose gradient is taken where the momentum is about to lead.

    The model is asked about the point plus decay * alpha * momentum. That lies mostly outside of the
    budget; then a wrong answer there does not count, and the image is judged by where it ends. All else
    is as in gradient.mi_fgsm. eps = 0 is the image itself. `dlr` needs three classes, with a target four.

    Source: Lin et al., Nesterov Accelerated Gradient and Scale Invariance for Adversarial Attacks, ICLR
    2020, section 3.1. Steps agree with torchattacks' NIFGSM.
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": "8/255", "steps": 3},
        {"eps": "8/255", "steps": 3, "objective": "margin", "target": "random"},
        {"eps": 0, "steps": 2},
    )

    def probe(self, batch: ImageBatch, state: State) -> Tensor:
        """The point ahead of where it is."""
        return state["pixels"] + self.decay * self.step_size * state["momentum"]
