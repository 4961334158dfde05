"""What the corruptions of ImageNet-C share: five severities from a table, and the way back to 8 bits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.codecs import Rounding, jpeg, quantise_
from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.registry import Field
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

Table = Literal["imagenet-224", "imagenet-299", "tiny-imagenet", "cifar"]
Levels = Mapping[str, tuple[Any, ...]]
Quantise = Literal["truncate", "round", "none"]
_DEFAULT: tuple[str, int] = ("imagenet-224", 224)


def stored(pixels: Tensor, quantise: Quantise, jpeg_quality: int | None) -> Tensor:
    """Pixels clipped to [0, 1] and brought to 8 bits, through JPEG where a quality is given.

    In place where possible: the pixels are a new tensor.
    """
    if jpeg_quality is not None:
        return jpeg(pixels, jpeg_quality, rounding(quantise))
    return pixels.clamp_(0.0, 1.0) if quantise == "none" else quantise_(pixels, quantise)


def rounding(quantise: Quantise) -> Rounding:
    """How a step that works on 8-bit images makes them, as a codec does whatever becomes of its output."""
    return "round" if quantise == "round" else "truncate"


@dataclass(frozen=True, kw_only=True)
class Corruption(ABC):
    """A corruption at one of five severities.

    A subclass has `levels`, the parameters of severities 1 to 5 for each table, and `apply`. A table that
    `levels` lacks uses that of `imagenet-224`.
    """

    severity: Annotated[int, Field(ge=1, le=5)]  # 1 (mild) to 5 (severe)
    table: Table | None = None  # whose parameters; at 224 pixels imagenet-224, at other sizes to be named
    quantise: Quantise = "truncate"  # how values become 8-bit levels
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] | None = None  # 85 stores images as ImageNet-C did

    levels: ClassVar[Levels] = {}
    eight_bit: ClassVar[bool] = False  # `apply` gives pixels on the 256 levels already
    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        pixels = self.apply(batch.pixels, self.level(batch.pixels), draws)
        quantise = "none" if self.eight_bit else self.quantise
        return batch.with_pixels(stored(pixels, quantise, self.jpeg_quality))

    @abstractmethod
    def apply(self, pixels: Tensor, level: Any, draws: Draws) -> Tensor:
        """The corrupted pixels before they are clipped to [0, 1] and quantised; a new tensor."""

    def level(self, pixels: Tensor) -> Any:
        """The parameters of this severity. Raises BadParameter where the table has to be named."""
        return self.table_levels(pixels)[self.severity - 1]

    def table_levels(self, pixels: Tensor) -> tuple[Any, ...]:
        """The parameters of all five severities. Raises BadParameter where the table has to be named."""
        return self.levels.get(self.table_for(pixels), self.levels[_DEFAULT[0]])

    def table_for(self, pixels: Tensor) -> str:
        """The table's name. Raises BadParameter at a size other than 224 without one."""
        if self.table is not None:
            return self.table
        height, width = (int(v) for v in pixels.shape[2:])
        if (height, width) != (_DEFAULT[1], _DEFAULT[1]):
            raise BadParameter(
                f"corruption: table: the images are {height}x{width}, and severities are defined per size: "
                "name one of imagenet-224, imagenet-299, tiny-imagenet (64 pixels) and cifar (32 pixels)",
                ("table",),
            )
        return _DEFAULT[0]
