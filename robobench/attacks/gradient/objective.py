"""What gradient attacks climb: away from the label, or towards a class that was chosen for the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from robobench import losses
from robobench.contracts import State
from robobench.draws import Draws
from robobench.registry import Field
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss that an attack climbs, and how often a randomised model is asked for it.

    Without a target: the cross-entropy (`ce`), the best wrong logit minus the label's (`margin`), or that
    over the distance of the first logit to the third (`dlr`), which a scale of the logits does not change.
    With a target these are followed towards the target class: minus its cross-entropy, its logit minus the
    best other, or the targeted dlr. An image has fallen when the model is wrong, whatever it then says.
    """

    objective: Literal["ce", "margin", "dlr"] = "ce"  # the loss that is followed
    target: Literal["least_likely", "second", "random"] | None = (
        None  # the class it goes to, by the clean logits
    )
    eot: Annotated[int, Field(ge=1)] = (
        1  # runs of a randomised model whose gradients are averaged at each step
    )

    @property
    def classes(self) -> int:
        """The fewest classes it works with."""
        return {"ce": 2, "margin": 2, "dlr": 3 if self.target is None else 4}[self.objective]

    def aim(self, logits: Tensor, labels: Tensor, draws: Draws) -> dict[str, Tensor]:
        """For the state: the target class of each image, never its label; nothing without a target."""
        import torch

        if self.target is None:
            return {}
        if self.target == "random":
            other = draws.integers("target", 0, logits.shape[1] - 1, 1)[:, 0].to(labels)
            return {"target": other + (other >= labels)}
        own = labels[:, None]
        if self.target == "second":
            return {"target": logits.scatter(1, own, -torch.inf).argmax(dim=1)}
        return {"target": logits.scatter(1, own, torch.inf).argmin(dim=1)}

    def probe(self, batch: ImageBatch, state: State) -> Tensor:
        """The point it is at."""
        return state["pixels"]

    def loss(self, logits: Tensor, labels: Tensor, state: State) -> Tensor:
        """What is followed, for each image."""
        if self.target is None:
            away = {"ce": losses.cross_entropy, "margin": losses.margin, "dlr": losses.dlr}
            return away[self.objective](logits, labels)
        if self.objective == "dlr":
            return losses.targeted_dlr(logits, labels, state["target"])
        towards = losses.cross_entropy if self.objective == "ce" else losses.margin
        return -towards(logits, state["target"])
