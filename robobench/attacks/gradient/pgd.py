"""Projected gradient descent in the balls of three norms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench import norms
from robobench.attacks.gradient.objective import Objective
from robobench.contracts import Seen, State
from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.params import Radius, check_linf
from robobench.registry import Field, attacks
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


@attacks.register("pgd", version=1)
@dataclass(frozen=True, kw_only=True)
class ProjectedGradient(Objective):
    """Projected gradient descent: steps up a loss, each brought back into the budget.

    The budget is a ball of radius eps around the image, in the largest change of a channel of a pixel
    (`linf`), the Euclidean length of the whole change (`l2`) or the sum of the sizes of all changes (`l1`),
    cut with [0, 1]. A step goes alpha along the gradient's sign (linf), its direction (l2) or the signs of
    its largest entries (l1; those that would leave [0, 1] are passed over). A random start is uniform in
    the ball (linf), uniform in direction and in length (l2), or normal noise brought into ball and range,
    which moves a few pixels (l1); it is made of the same draw at every eps, so the levels of a ladder are
    paired. Restarts have draws of their own. eps = 0 is the image itself.

    Raises BadParameter for a linf radius above 1 and for restarts that would all be the same. `dlr` needs
    three classes, with a target four.

    Source: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018,
    section 2; the default alpha of 2.5 * eps / steps is theirs (section 5). Steps, projection and the l2
    start agree with torchattacks' PGD and PGDL2. The l1 step is that of Tramer and Boneh, Adversarial
    Training and Robustness for Multiple Perturbations, NeurIPS 2019 (sparse l1 descent), its projection
    and start those of Croce and Hein, Mind the Box, ICML 2021.
    """

    eps: Radius  # radius of the budget in [0, 1] pixel units: 8/255 or 0.03; under l2 such as 0.5, l1 12
    norm: Literal["linf", "l2", "l1"] = "linf"  # how the size of a change is measured
    steps: Annotated[int, Field(ge=1)] = 10  # gradient steps per restart
    alpha: Radius | None = None  # length of a step in the units of eps; None is 2.5 * eps / steps
    random_start: bool = True  # begin at a random point of the ball instead of at the image
    restarts: Annotated[int, Field(ge=1)] = 1  # an image falls when any of them succeeds
    share: Annotated[float, Field(gt=0, le=1)] = 0.01  # under l1, the share of all values that a step changes

    nested: ClassVar[str | None] = "eps"
    white: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": "8/255", "steps": 3},
        {"eps": "2/255", "steps": 3, "alpha": "1/255", "random_start": False},
        {"eps": 0.5, "norm": "l2", "steps": 3, "restarts": 2},
        {"eps": 12, "norm": "l1", "steps": 3, "objective": "dlr"},
        {"eps": "8/255", "steps": 2, "objective": "margin", "target": "second", "eot": 2},
        {"eps": 0, "steps": 2},
        {"eps": 0, "norm": "l2", "steps": 2},
        {"eps": 0, "norm": "l1", "steps": 2},
    )

    def __post_init__(self) -> None:
        check_linf("gradient.pgd", self.norm, self.eps)
        if self.alpha is not None:
            check_linf("gradient.pgd", self.norm, self.alpha, "alpha")
        if self.restarts > 1 and not self.random_start and self.target != "random":
            raise BadParameter(
                "gradient.pgd: restarts: expected 1 without random_start, because every restart would do "
                f"the same, got {self.restarts}",
                ("restarts",),
            )

    @property
    def identity(self) -> bool:
        """The budget is empty."""
        return self.eps == 0

    @property
    def cost(self) -> int:
        """Forward passes per image, a backward one counted as two, with the answer to the result."""
        return 3 * self.steps * self.restarts * self.eot + 1

    @property
    def step_size(self) -> float:
        """The length of a step."""
        return 2.5 * self.eps / self.steps if self.alpha is None else self.alpha

    def start(self, batch: ImageBatch, logits: Tensor, restart: int, draws: Draws) -> State:
        """A point of the ball around each image, cut to [0, 1]; without random_start the image itself."""
        aim = self.aim(logits, batch.labels, draws)
        if not self.random_start:
            return {"pixels": batch.pixels, **aim}
        shape = tuple(batch.pixels.shape[1:])
        if self.norm == "l1":
            noise = draws.normal("start", *shape)
            return {"pixels": norms.bounded(batch.pixels, noise, "l1", self.eps), **aim}
        if self.norm == "linf":
            change = draws.uniform("start", *shape) * 2 - 1
        else:
            noise = draws.normal("start", *shape)
            change = noise * (draws.uniform("radius", 1, 1, 1) / norms.length(noise, "l2")).float()
        return {"pixels": (batch.pixels + self.eps * change).clamp_(0, 1), **aim}

    def step(self, batch: ImageBatch, state: State, seen: Seen) -> State:
        """One step of alpha up the loss, then back into the ball and into [0, 1]."""
        pixels, gradient = state["pixels"], seen.slope
        if self.norm == "l1":  # a value at the edge of the range cannot go on; it would take up the share
            gradient = gradient * ~((pixels <= 0) & (gradient < 0) | (pixels >= 1) & (gradient > 0))
        change = pixels + self.step_size * norms.steepest(gradient, self.norm, self.share) - batch.pixels
        return {**state, "pixels": norms.bounded(batch.pixels, change, self.norm, self.eps)}
