"""The fast gradient sign method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from robobench import losses
from robobench.contracts import Seen, State
from robobench.draws import Draws
from robobench.params import Eps
from robobench.registry import attacks
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


@attacks.register("fgsm", version=1)
@dataclass(frozen=True, kw_only=True)
class FastGradientSign:
    """The fast gradient sign method: one step of size eps per pixel up the cross-entropy.

    The result lies within eps of the image in every channel of every pixel, and in [0, 1]. One forward
    and one backward pass. eps = 0 is the image itself.

    Source: Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015, section 4.
    """

    eps: Eps  # largest change of a channel of a pixel, in [0, 1] units: 8/255 or 0.03

    norm: ClassVar[str | None] = "linf"
    nested: ClassVar[str | None] = "eps"
    steps: ClassVar[int] = 1
    restarts: ClassVar[int] = 1
    white: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"eps": "8/255"}, {"eps": "2/255"}, {"eps": 0})

    @property
    def identity(self) -> bool:
        """The budget is empty."""
        return self.eps == 0

    @property
    def cost(self) -> int:
        """Forward passes per image, a backward one counted as two, with the answer to the result."""
        return 4

    def start(self, batch: ImageBatch, logits: Tensor, restart: int, draws: Draws) -> State:
        """The images themselves."""
        return {"pixels": batch.pixels}

    def probe(self, batch: ImageBatch, state: State) -> Tensor:
        """The point it is at."""
        return state["pixels"]

    def loss(self, logits: Tensor, labels: Tensor, state: State) -> Tensor:
        """The cross-entropy of each image."""
        return losses.cross_entropy(logits, labels)

    def step(self, batch: ImageBatch, state: State, seen: Seen) -> State:
        """One step of eps along the sign of the gradient."""
        moved = state["pixels"] + self.eps * seen.slope.sign()
        return {"pixels": moved.clamp_(0, 1)}
