"""Attacks that follow the gradient of the loss in the pixels, told as start and step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.params import Eps, Radius, pixel_radius
from robobench.registry import Field, attacks
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

_TINY = 1e-30  # far below any length that matters; keeps 0 / 0 away


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
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"eps": "8/255"}, {"eps": "2/255"}, {"eps": 0})

    @property
    def identity(self) -> bool:
        """The budget is empty."""
        return self.eps == 0

    @property
    def cost(self) -> int:
        """Forward passes per image, a backward one counted as two, with the answer to the result."""
        return 4

    def start(self, batch: ImageBatch, draws: Draws) -> Mapping[str, Tensor]:
        """The images themselves."""
        return {"pixels": batch.pixels}

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy of each image."""
        return _cross_entropy(logits, labels)

    def step(self, batch: ImageBatch, state: Mapping[str, Tensor], gradient: Tensor) -> Mapping[str, Tensor]:
        """One step of eps along the sign of the gradient."""
        moved = state["pixels"] + self.eps * _finite(gradient).sign()
        return {"pixels": moved.clamp_(0, 1)}


@attacks.register("pgd", version=1)
@dataclass(frozen=True, kw_only=True)
class ProjectedGradient:
    """Projected gradient descent: steps up the cross-entropy, each brought back into the budget.

    The budget is a ball of radius eps around the image, in the largest change of a channel of a pixel
    (`linf`) or in the Euclidean length of the whole change (`l2`), cut with [0, 1]. A step goes alpha
    along the gradient's sign (linf) or direction (l2). A random start is uniform in the ball (linf), or
    uniform in direction and in length (l2); it is the same draw, scaled, at every eps, so the levels of a
    ladder are paired. Restarts have draws of their own. eps = 0 is the image itself.

    Raises BadParameter for a linf radius above 1 and for restarts that would all be the same.

    Source: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018,
    section 2; the default alpha of 2.5 * eps / steps is theirs (section 5). Steps, projection and the l2
    start agree with torchattacks' PGD and PGDL2.
    """

    eps: Radius  # radius of the budget in [0, 1] pixel units: 8/255 or 0.03; under l2 often 0.5 or 3
    norm: Literal["linf", "l2"] = "linf"  # how the size of a change is measured
    steps: Annotated[int, Field(ge=1)] = 10  # gradient steps per restart
    alpha: Radius | None = None  # length of a step in the units of eps; None is 2.5 * eps / steps
    random_start: bool = True  # begin at a random point of the ball instead of at the image
    restarts: Annotated[int, Field(ge=1)] = 1  # an image falls when any of them succeeds

    nested: ClassVar[str | None] = "eps"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": "8/255", "steps": 3},
        {"eps": "2/255", "steps": 3, "alpha": "1/255", "random_start": False},
        {"eps": 0.5, "norm": "l2", "steps": 3, "restarts": 2},
        {"eps": 0, "steps": 2},
        {"eps": 0, "norm": "l2", "steps": 2},
    )

    def __post_init__(self) -> None:
        for name in ("eps", "alpha") if self.norm == "linf" else ():
            value = getattr(self, name)
            try:
                if value is not None:
                    pixel_radius(value)
            except ValueError as error:
                raise BadParameter(
                    f"gradient.pgd: {name}: expected {error}, got {value!r}", (name,)
                ) from None
        if self.restarts > 1 and not self.random_start:
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
        return 3 * self.steps * self.restarts + 1

    @property
    def step_size(self) -> float:
        """The length of a step."""
        return 2.5 * self.eps / self.steps if self.alpha is None else self.alpha

    def start(self, batch: ImageBatch, draws: Draws) -> Mapping[str, Tensor]:
        """A point of the ball around each image, cut to [0, 1]; without random_start the image itself."""
        if not self.random_start:
            return {"pixels": batch.pixels}
        shape = tuple(batch.pixels.shape[1:])
        if self.norm == "linf":
            change = draws.uniform("start", *shape) * 2 - 1
        else:
            direction = draws.normal("start", *shape)
            change = direction * (draws.uniform("radius", 1, 1, 1) / _length(direction)).float()
        return {"pixels": (batch.pixels + self.eps * change).clamp_(0, 1)}

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy of each image."""
        return _cross_entropy(logits, labels)

    def step(self, batch: ImageBatch, state: Mapping[str, Tensor], gradient: Tensor) -> Mapping[str, Tensor]:
        """One step of alpha along the gradient, then back into the ball and into [0, 1]."""
        gradient = _finite(gradient)
        direction = gradient.sign() if self.norm == "linf" else _direction(gradient)
        change = state["pixels"] + self.step_size * direction - batch.pixels
        if self.norm == "linf":
            change = change.clamp_(-self.eps, self.eps)
        else:
            change = change * (self.eps / _length(change)).clamp_(max=1).to(change.dtype)
        return {"pixels": (batch.pixels + change).clamp_(0, 1)}


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits, labels, reduction="none")


def _finite(gradient: Tensor) -> Tensor:
    """The gradient with 0 where it is not a number: those pixels stay where they are."""
    return gradient.nan_to_num(nan=0.0)


def _direction(gradient: Tensor) -> Tensor:
    """The gradient of each image at length 1; where it is 0 everywhere it stays 0.

    Scaled by its largest entry first: the squares of a confident model's gradients are too small for
    float32, and such a model would look robust.
    """
    scaled = gradient / gradient.abs().amax((1, 2, 3), keepdim=True).clamp_(min=_TINY)
    return scaled / _length(scaled).to(scaled.dtype)


def _length(change: Tensor) -> Tensor:
    """The Euclidean length of each image's change, (b, 1, 1, 1), never 0.

    In float64, so that a projected change does not exceed its radius; in float32 on MPS, which has none.
    """
    import torch

    dtype = torch.float32 if change.device.type == "mps" else torch.float64
    length: Tensor = torch.linalg.vector_norm(change, dim=(1, 2, 3), keepdim=True, dtype=dtype)
    return length.clamp_(min=_TINY)
