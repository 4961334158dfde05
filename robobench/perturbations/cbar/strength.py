"""What the C-bar corruptions share: published strengths, places in an image, fields made once per ladder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.perturbations.corruption.severity import Quantise, stored
from robobench.registry import Field
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

Table = Literal["imagenet", "cifar"]
Strengths = Mapping[str, tuple[float, float, float, float, float]]
_SIZES = {(224, 224): "imagenet", (32, 32): "cifar"}
_SMALLEST = 12  # pixels; below, cells, rays and rings have no room


@dataclass(frozen=True, kw_only=True)
class BarCorruption(ABC):
    """A corruption at one of its five published strengths.

    A subclass has `strengths`, on the publication's scale of 0 to 10, for each table it is in, and `apply`.
    """

    severity: Annotated[int, Field(ge=1, le=5)]  # 1 (mild) to 5 (severe)
    table: Table | None = None  # whose strengths; imagenet at 224 pixels, cifar at 32, at other sizes named
    quantise: Quantise = "truncate"  # how values become 8-bit levels
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] | None = None  # 85 stores images as ImageNet-C-bar did

    strengths: ClassVar[Strengths] = {}
    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        if self.table is not None and self.table not in self.strengths:
            raise ValueError(
                f"table: expected {' or '.join(self.strengths)}, which has strengths of this corruption, "
                f"got {self.table}"
            )

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        pixels = self.apply(batch.pixels, self.strength(batch.pixels), draws)
        return batch.with_pixels(stored(pixels, self.quantise, self.jpeg_quality))

    @abstractmethod
    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        """The corrupted pixels before they are clipped to [0, 1] and quantised; a new tensor."""

    def strength(self, pixels: Tensor) -> float:
        """The strength of this severity. Raises BadParameter where the table has to be named."""
        height, width = size = _size(pixels)
        if min(size) < _SMALLEST:
            raise BadParameter(
                f"cbar: expected images of at least {_SMALLEST}x{_SMALLEST} pixels, got {height}x{width}"
            )
        name = self.table or _SIZES.get(size)
        if name is None:
            raise BadParameter(
                f"cbar: table: the images are {height}x{width}, and strengths are published for ImageNet at "
                f"224x224 and CIFAR at 32x32: name the one to use, here {' or '.join(self.strengths)}",
                ("table",),
            )
        if name not in self.strengths:
            raise BadParameter(
                f"cbar: table: the {name} set, the default at {height}x{width}, lacks this corruption: name "
                f"{' or '.join(self.strengths)} to use its strengths here",
                ("table",),
            )
        return self.strengths[name][self.severity - 1]


def _size(pixels: Tensor) -> tuple[int, int]:
    return int(pixels.shape[2]), int(pixels.shape[3])


def side_of(pixels: Tensor) -> int:
    """The side that lengths are shares of; the shorter one of an image that is not square."""
    return min(_size(pixels))


def lines_of(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Row numbers (h, 1) and column numbers (1, w) as float64."""
    import torch

    height, width = _size(pixels)
    rows = torch.arange(height, dtype=torch.float64, device=pixels.device)
    return rows[:, None], torch.arange(width, dtype=torch.float64, device=pixels.device)[None]


def fields(draws: Draws, pixels: Tensor, make: Callable[[int], Tensor], name: str = "field") -> Tensor:
    """What `make` gives for each image, stacked, (b, ...) float32.

    It depends on draws and size alone, so the severities of a ladder share it. Image by image: where a
    number lies in memory can decide the last bit of a sine, and that must not depend on the batch.
    """
    import torch

    height, width = _size(pixels)

    def stacked() -> Tensor:
        return torch.stack([make(i).float() for i in range(len(pixels))])

    return draws.shared(f"{name} {height}x{width}", stacked)


def spread(draws: Draws, name: str, low: float, high: float, *shape: int) -> Tensor:
    """Uniform in [low, high), float64 of shape (b, *shape)."""
    return low + (high - low) * draws.uniform(name, *shape).double()
