"""A universal patch: one small picture that makes a model wrong wherever it is put."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import Model
from robobench.draws import Draws
from robobench.errors import AttackError, DataError, ModelError
from robobench.losses import cross_entropy
from robobench.params import Eps
from robobench.patches import Shape, outline, strewn
from robobench.preparations.universal.lots import lots
from robobench.registry import Field, preparations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

NAME = "universal.patch"
_FIRST = ("the first patch",)  # it is drawn once, as for one image of that name


@preparations.register("patch", version=1)
@dataclass(frozen=True, kw_only=True)
class UniversalPatch:
    """One patch that makes a model wrong about as many images as it can, at any place and turn.

    Beginning at noise uniform in [0, 1], `epochs` times through the images that the model is right about,
    in lots of `batch`. In each epoch every image has a new place for the patch and a new turn, drawn as
    patch.universal draws them; a step goes along the sign of the gradient that the summed cross-entropy of
    the labels has in the patch, whose pixels are free in [0, 1]. An image whose label is below
    1 - `confidence` is lost, and does not draw the patch away from those that still stand. Steps are
    `step` long, and fall in a straight line to a tenth over the second half of the epochs. Give it a split of
    its own, `data:` or `skip:`, and show it to other images with `patch.universal`.

    Gives `patch`, (3, s, s) float32 in [0, 1], for a box of s pixels around the circle or square. One
    forward and one backward pass an image and epoch, and one forward pass more to see who is right.

    Raises BadParameter where the area is below one pixel or does not fit, ModelError without a model,
    DataError without images, with images of several sizes, or where the model is right about none,
    AttackError when the model's gradient is not finite everywhere.

    Source: Brown et al., Adversarial Patch, 2017, section 2 (the expectation over images, places and
    turns). Shape, area and confidence have the defaults of the `adversarial-patch` implementation by J.
    Hayes, which Naseer et al., Intriguing Properties of Vision Transformers, NeurIPS 2021, use untargeted.
    It climbs up to 1,000 raw gradients on one image at one place before it turns to the next.
    """

    area: Annotated[float, Field(gt=0, le=1)] = 0.05  # share of the image's pixels that it covers at most
    shape: Shape = "circle"  # a circle or a square
    epochs: Annotated[int, Field(ge=1, le=1000)] = 20  # how often it goes through the images
    batch: Annotated[int, Field(ge=1, le=4096)] = 64  # images of a step
    step: Eps = 0.05  # length of the first steps in every channel of every pixel, in [0, 1] units
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.9  # an image is lost when its label is below 1 - this

    per_image: ClassVar[bool] = False
    needs_model: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"epochs": 2, "batch": 4},
        {"area": 0.1, "shape": "square", "epochs": 1, "batch": 3},
    )

    def __call__(
        self, model: Model | None, batches: Iterable[ImageBatch], draws: Draws
    ) -> Mapping[str, Tensor]:
        if model is None:
            raise ModelError(f"{NAME} needs a model: name one in the suite's preparation")
        right: set[str] = set()
        patch: Tensor | None = None
        for epoch in range(self.epochs):
            for images in lots(batches, self.batch):
                covers = outline(self.shape, self.area, images.pixels.shape[2:], NAME)
                if patch is None:
                    patch = draws.select(_FIRST).uniform("first", 3, *covers.shape)
                if covers.shape != patch.shape[2:]:
                    raise DataError(f"{NAME}: images of several sizes: the suite needs a view of one size")
                if epoch == 0:
                    right |= _right(model, images)
                known = [row for row, name in enumerate(images.ids) if name in right]
                if known:
                    own = draws.at(epoch).select([images.ids[row] for row in known])
                    up = self._gradient(model, images.select(known), patch, covers, own)
                    patch = (patch + self._stride(epoch) * up.sign()).clamp_(0, 1)
        if patch is None or not right:
            raise DataError(f"{NAME}: there are no images to learn from that the model is right about")
        return {"patch": patch[0].float().cpu()}

    def _stride(self, epoch: int) -> float:
        """The length of a step: falling to a tenth over the second half of the epochs."""
        done = epoch / max(self.epochs - 1, 1)
        return self.step * (1 - 0.9 * max(0.0, 2 * done - 1))

    def _gradient(
        self, model: Model, images: ImageBatch, patch: Tensor, covers: NDArray[np.bool_], draws: Draws
    ) -> Tensor:
        """The gradient of the summed loss in the patch, (1, 3, s, s)."""
        import torch

        with torch.inference_mode(False), torch.enable_grad():
            leaf = patch.detach().clone().requires_grad_(True)
            shown = strewn(images.pixels, leaf.expand(len(images), -1, -1, -1), self.shape, covers, draws)
            _, up = model.gradient(images.with_pixels(shown.detach()), self._loss)
            if not bool(up.isfinite().all()):
                raise AttackError(f"{NAME}: the model's gradient is not finite")
            (found,) = torch.autograd.grad(shown, leaf, up.to(shown.dtype))
        return found

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels).clamp(max=-math.log(1 - self.confidence))


def _right(model: Model, images: ImageBatch) -> set[str]:
    """The images that the model is right about as they are."""
    import torch

    with torch.no_grad():
        hits = model(images).argmax(dim=1) == images.labels
    return {name for name, hit in zip(images.ids, hits.tolist(), strict=True) if hit}
