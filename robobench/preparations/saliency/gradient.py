"""Saliency: which pixels a model's loss depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from robobench.contracts import Model
from robobench.draws import Draws
from robobench.errors import ModelError
from robobench.registry import preparations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


@preparations.register("gradient", version=1)
@dataclass(frozen=True, kw_only=True)
class GradientSaliency:
    """The size of the loss gradient at each pixel, of any differentiable model.

    For each image the absolute gradient of the cross-entropy of its label in the pixels, added up over
    the channels. Gives `saliency`, (n, h, w) float32 on the CPU, at least 0, in loss per pixel unit.
    Costs one forward and one backward pass per image.

    Raises ModelError without a model.

    Source: Simonyan et al., Deep Inside Convolutional Networks, ICLR 2014 workshop, section 3. They take
    the class score and the largest channel; here the cross-entropy and the sum.
    """

    per_image: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    def __call__(
        self, model: Model | None, batches: Iterable[ImageBatch], draws: Draws
    ) -> Mapping[str, Tensor]:
        import torch

        if model is None:
            raise ModelError("saliency.gradient needs a model: name one in the suite's preparation")
        maps = [model.gradient(batch, _cross_entropy)[1].abs().sum(1).float().cpu() for batch in batches]
        return {"saliency": torch.cat(maps) if maps else torch.empty(0, 0, 0)}


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits, labels, reduction="none")
