"""Random noise as an attack: what any other has to be better than."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench import losses, norms
from robobench.contracts import Seen, State
from robobench.draws import Draws
from robobench.params import Radius, check_linf
from robobench.registry import Field, attacks
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


@attacks.register("uniform", version=1)
@dataclass(frozen=True, kw_only=True)
class RandomNoise:
    """Random noise as large as the budget allows; the worst of several tries.

    Under `linf` every value goes up or down by eps; under `l2` and `l1` the change is uniform among those
    of length eps. What leaves [0, 1] is cut. It asks the model for answers only. An attack that is not
    better than this found nothing that chance would not have. The tries are the same at every eps but for
    their size. eps = 0 is the image itself.

    Raises BadParameter for a linf radius above 1.

    Own: the weakest search there is inside a norm's ball, as a check on the others; that an attack be
    compared with it is asked for by Carlini et al., On Evaluating Adversarial Robustness, arXiv
    1902.06705, section 4.
    """

    eps: Radius  # radius of the budget in [0, 1] pixel units: 8/255 or 0.03; under l2 such as 0.5, l1 12
    norm: Literal["linf", "l2", "l1"] = "linf"  # how the size of a change is measured
    tries: Annotated[int, Field(ge=1)] = 10  # an image falls when any of them succeeds

    nested: ClassVar[str | None] = "eps"
    white: ClassVar[bool] = False
    steps: ClassVar[int] = 1
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": "8/255", "tries": 3},
        {"eps": 0.5, "norm": "l2", "tries": 2},
        {"eps": 12, "norm": "l1", "tries": 2},
        {"eps": 0},
    )

    def __post_init__(self) -> None:
        check_linf("noise.uniform", self.norm, self.eps)

    @property
    def identity(self) -> bool:
        """The budget is empty."""
        return self.eps == 0

    @property
    def restarts(self) -> int:
        """Every try begins anew."""
        return self.tries

    @property
    def cost(self) -> int:
        """Forward passes per image, with the answer to the result."""
        return self.tries + 1

    def start(self, batch: ImageBatch, logits: Tensor, restart: int, draws: Draws) -> State:
        """The images with the noise of one try."""
        shape = tuple(batch.pixels.shape[1:])
        if self.norm == "linf":
            change = (draws.uniform("sign", *shape) < 0.5) * 2.0 - 1.0
        elif self.norm == "l2":
            change = norms.direction(draws.normal("direction", *shape), "l2")
        else:  # exponential sizes with any signs have a uniform direction in the sum of sizes
            sizes = -(1 - draws.uniform("size", *shape)).log()
            change = norms.direction(sizes * ((draws.uniform("sign", *shape) < 0.5) * 2.0 - 1.0), "l1")
        return {"pixels": norms.bounded(batch.pixels, self.eps * change, self.norm, self.eps)}

    def probe(self, batch: ImageBatch, state: State) -> Tensor:
        """The images with noise."""
        return state["pixels"]

    def loss(self, logits: Tensor, labels: Tensor, state: State) -> Tensor:
        """How far a wrong answer is ahead of the right one."""
        return losses.margin(logits, labels)

    def step(self, batch: ImageBatch, state: State, seen: Seen) -> State:
        """There is nothing to learn from an answer."""
        return state
