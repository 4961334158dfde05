"""What the camera ladders share: five severities of transforms of the albumentations package."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from robobench.codecs import quantised
from robobench.draws import Draws
from robobench.perturbations.albumentations import make, transformed
from robobench.registry import Field
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

Steps = tuple[tuple[str, Mapping[str, Any]], ...]
DRAWN = 224  # about the side at which fine strokes are drawn


@dataclass(frozen=True, kw_only=True)
class Graded:
    """A fault of cameras at one of five severities. Pixels are rounded to 8 bits before, and have 8 after."""

    severity: Annotated[int, Field(ge=1, le=5)]  # 1 (mild) to 5 (severe)

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"severity": 1}, {"severity": 3}, {"severity": 5})


@dataclass(frozen=True, kw_only=True)
class Camera(Graded, ABC):
    """A fault that is made of transforms of albumentations.

    A subclass has `steps`, the transforms and their exact parameters. All severities start from the same
    seed of the image. Lengths grow with the shorter side of the image. Where `fine`, small images are
    enlarged to about 224 pixels, drawn on, and averaged down again: strokes can then be thinner than a pixel.
    """

    fine: ClassVar[bool] = False

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        side = min(int(batch.pixels.shape[2]), int(batch.pixels.shape[3]))
        times = max(1, round(DRAWN / side)) if self.fine else 1
        steps = self.steps(self.severity - 1, side * times)
        transforms = [make(name, params) for name, params in steps]
        seeds = draws.seeds("transform")
        if times == 1:
            return batch.with_pixels(transformed(batch.pixels, transforms, seeds))
        large = batch.pixels.repeat_interleave(times, 2).repeat_interleave(times, 3)
        return batch.with_pixels(_averaged(transformed(large, transforms, seeds), times))

    @abstractmethod
    def steps(self, level: int, side: int) -> Steps:
        """The transforms of a level, 0 to 4, for images of that shorter side in pixels."""


def _averaged(pixels: Tensor, times: int) -> Tensor:
    """The means of squares of `times` pixels, in 8 bits."""
    from torch.nn.functional import avg_pool2d

    return quantised(avg_pool2d(pixels, times), "round")


def fixed(value: float) -> tuple[float, float]:
    """A range of one value: what the transform would draw is typed in."""
    return value, value


def pixels(share: float, side: int) -> int:
    """A share of the side in whole pixels, at least 1."""
    return max(1, round(share * side))


def odd(share: float, side: int) -> int:
    """A share of the side as the odd width of a kernel, at least 3."""
    return max(3, 2 * round((share * side - 1) / 2) + 1)
