"""An attack as a preparation: images crafted against one model, to be shown to others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from robobench.contracts import Ensemble, Model, SteppedAttack
from robobench.draws import Draws
from robobench.engine.assault import run_attack
from robobench.engine.lots import predict
from robobench.errors import ModelError
from robobench.tasks.classification import Classification
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Crafting:
    """What an attack makes of images, whether or not they fool the model it is made against.

    Nobody is stopped: an image that has fallen goes on to the attack's last step, as in the literature of
    transfer, because what fools a model by a hair fools no other. All images are attacked, also those
    that the model was wrong about. Gives `crafted`, (n, 3, h, w) float32 in [0, 1], and `fooled`, (n,),
    1 where the model is wrong about them.

    The draws are those of the attack itself, so that a model's own crafted images are the ones that its
    attack would end at.
    """

    attack: Any
    lot: int

    per_image: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True

    @property
    def by_lots(self) -> bool:
        """Whether what becomes of an image depends on who else is in its lot."""
        return not isinstance(self.attack, SteppedAttack | Ensemble)

    def __call__(
        self, model: Model | None, batches: Iterable[ImageBatch], draws: Draws
    ) -> Mapping[str, Tensor]:
        import torch

        if model is None:
            raise ModelError("an attack as a preparation needs a model: name one in the suite's preparation")
        crafted, fooled = [], []
        task = Classification()
        for batch in batches:
            rows = range(len(batch))
            clean = predict(model, batch, rows, self.lot)
            mine = draws.select(batch.ids)
            found = run_attack(self.attack, model, batch, clean, rows, mine, self.lot, task, stop=False)
            pixels = found.pixels.clamp(0, 1)
            logits = predict(model, batch.with_pixels(pixels), rows, self.lot)
            crafted.append(pixels.float().cpu())
            fooled.append(task.fallen(logits, batch.labels).float().cpu())
        if not crafted:
            return {"crafted": torch.empty(0, 3, 0, 0), "fooled": torch.empty(0)}
        return {"crafted": torch.cat(crafted), "fooled": torch.cat(fooled)}


def whole_lots(order: Sequence[str], wanted: Iterable[str], lot: int) -> list[str]:
    """The wanted images with all others of their lots, as the order is cut into lots."""
    asked = set(wanted)
    cut = (order[start : start + lot] for start in range(0, len(order), lot))
    return [image for members in cut if not asked.isdisjoint(members) for image in members]
