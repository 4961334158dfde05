"""A universal perturbation: the same small change of every image, against one model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.contracts import Model
from robobench.draws import Draws
from robobench.errors import AttackError, DataError, ModelError
from robobench.losses import cross_entropy
from robobench.norms import length, project, steepest
from robobench.params import Radius, check_linf
from robobench.preparations.universal.lots import lots
from robobench.registry import Field, preparations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDING = 1e-6  # by how much float32 may take a length over its radius


@preparations.register("perturbation", version=1)
@dataclass(frozen=True, kw_only=True)
class UniversalPerturbation:
    """One change of at most eps that makes a model wrong about as many images as it can.

    Beginning at no change, `epochs` times through the images in lots of `batch`: a step along the gradient
    that the mean loss of a lot has in the change, then back into the ball of radius eps; images are cut to
    [0, 1] before the model sees them. The loss is the cross-entropy of the label, at most `clip`: from
    there on an image is lost, and does not draw the change away from those that still stand. Steps are
    `step` * eps long, under `linf` in every channel of every pixel, and in the last epochs shorter: they
    fall in a straight line to a tenth. Give it a split of its own, `data:` or `skip:`, and show it to other
    images with `universal.add`.

    Gives `perturbation`, (3, h, w) float32, in [0, 1] pixel units. One forward and one backward pass an
    image and epoch.

    Raises BadParameter for a `linf` eps above 1, ModelError without a model, DataError without images or
    with images of several sizes, AttackError when the model's gradient is not finite everywhere.

    Source: Shafahi et al., Universal Adversarial Training, AAAI 2020, section 3 and algorithm 2, for the
    problem of Moosavi-Dezfooli et al., Universal Adversarial Perturbations, CVPR 2017. The number of epochs
    and the length of the steps are not theirs; 12 for `clip` is usual in public implementations.
    """

    eps: Radius  # largest size of the change, in [0, 1] pixel units: 10/255; under l2 such as 2.0
    norm: Literal["linf", "l2"] = "linf"  # linf: of each channel of a pixel; l2: of the whole image
    epochs: Annotated[int, Field(ge=1, le=1000)] = 10  # how often it goes through the images
    batch: Annotated[int, Field(ge=1, le=4096)] = 100  # images of a step
    step: Annotated[float, Field(gt=0, le=2)] = 0.1  # length of the first steps, as a share of eps
    clip: Annotated[float, Field(gt=0)] = 12.0  # largest loss of an image that still counts, in nats

    per_image: ClassVar[bool] = False
    needs_model: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": "8/255", "epochs": 2, "batch": 4},
        {"eps": 1.5, "norm": "l2", "epochs": 1, "batch": 3, "clip": 1.0},
        {"eps": 0},
    )

    def __post_init__(self) -> None:
        check_linf("universal.perturbation", self.norm, self.eps)

    def __call__(
        self, model: Model | None, batches: Iterable[ImageBatch], draws: Draws
    ) -> Mapping[str, Tensor]:
        if model is None:
            raise ModelError("universal.perturbation needs a model: name one in the suite's preparation")
        change: Tensor | None = None
        for epoch in range(self.epochs):
            for images in lots(batches, self.batch):
                if change is None:
                    change = images.pixels.new_zeros(1, *images.pixels.shape[1:])
                change = self._stepped(model, images, change, self._stride(epoch))
        if change is None:
            raise DataError("universal.perturbation: there are no images to learn from")
        return {"perturbation": self._checked(change)}

    def _stride(self, epoch: int) -> float:
        """The length of a step: falling to a tenth over the second half of the epochs."""
        done = epoch / max(self.epochs - 1, 1)
        return self.step * self.eps * (1 - 0.9 * max(0.0, 2 * done - 1))

    def _stepped(self, model: Model, images: ImageBatch, change: Tensor, stride: float) -> Tensor:
        shown = images.with_pixels((images.pixels + change).clamp_(0, 1))
        gradient = model.gradient(shown, self._loss)[1].mean(dim=0, keepdim=True)
        if not bool(gradient.isfinite().all()):
            raise AttackError("universal.perturbation: the model's gradient is not finite")
        return project(change + stride * steepest(gradient, self.norm), self.norm, self.eps)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels).clamp(max=self.clip)

    def _checked(self, change: Tensor) -> Tensor:
        """The change without its batch dimension. Conditions have no budget: it is looked at here."""
        reached = float(length(change, self.norm))
        if reached > self.eps + _ROUNDING * max(1.0, self.eps):
            raise AttackError(
                f"universal.perturbation: a change of {reached:.8g} in {self.norm}, budget {self.eps:.8g}"
            )
        return change[0].float().cpu()
