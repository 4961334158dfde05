"""One change for every image: what a model was made to fear, and chance as its control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.draws import Draws
from robobench.errors import BadParameter, DataError
from robobench.params import Radius, check_linf
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

_EVERY_IMAGE = "every image"  # in place of an image's id: the draws are the same for all of them


@perturbations.register("add", version=1)
@dataclass(frozen=True, kw_only=True)
class UniversalAdd:
    """Add one prepared change to every image, and cut the result to [0, 1].

    The change is `inputs["perturbation"]`, as `universal.perturbation` makes it on a split of its own,
    against this model or any other. Smaller ones come from `scale`, not from learning anew.

    Raises BadParameter when the change is missing or not of the pixels' size, DataError when it is not
    finite.

    Source: Moosavi-Dezfooli et al., Universal Adversarial Perturbations, CVPR 2017, section 2.
    """

    scale: Annotated[float, Field(ge=0, le=1)] = 1.0  # share of the change that is added

    wants: ClassVar[tuple[str, ...]] = ("perturbation",)
    shapes: ClassVar[Mapping[str, str]] = {"perturbation": "pixels"}
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"scale": 0.5}, {"scale": 0})

    @property
    def identity(self) -> bool:
        """Nothing is added."""
        return self.scale == 0

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        change = batch.inputs.get("perturbation")
        if change is None or change.shape != batch.pixels.shape:
            got = "none" if change is None else str(tuple(change.shape))
            raise BadParameter(
                f"universal.add: expected a perturbation of shape {tuple(batch.pixels.shape)}, got {got}; "
                "name a preparation such as universal.perturbation in the suite: "
                "`inputs: {perturbation: NAME}`"
            )
        if not bool(change.isfinite().all()):
            raise DataError("universal.add: the perturbation holds NaN or infinity")
        return batch.with_pixels((batch.pixels + self.scale * change).clamp_(0, 1))


@perturbations.register("signs", version=1)
@dataclass(frozen=True, kw_only=True)
class UniversalSigns:
    """Add the same random signs to every image: what a universal perturbation has to beat.

    Each channel of each pixel goes up or down, with equal chance, and by the same amount: eps under
    `linf`, eps / sqrt(3 h w) under `l2`, so that all of it has length eps. The result is cut to [0, 1]. All
    images and all budgets have the same signs; `worst_of` draws others.

    Own: the largest random change inside the budget.
    """

    eps: Radius  # size of the change, in [0, 1] pixel units: 10/255; under l2 such as 2.0
    norm: Literal["linf", "l2"] = "linf"  # linf: of each channel of a pixel; l2: of the whole image

    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": "8/255"},
        {"eps": 2.0, "norm": "l2"},
        {"eps": 0},
    )

    def __post_init__(self) -> None:
        check_linf("universal.signs", self.norm, self.eps)

    @property
    def identity(self) -> bool:
        """The budget is empty."""
        return self.eps == 0

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        shape = tuple(batch.pixels.shape[1:])
        signs: Tensor = draws.select([_EVERY_IMAGE]).integers("sign", 0, 2, *shape).float() * 2 - 1
        size = self.eps if self.norm == "linf" else self.eps / float(signs.numel()) ** 0.5
        return batch.with_pixels((batch.pixels + size * signs).clamp_(0, 1))
