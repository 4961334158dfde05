"""What the sequences share: a frame number, a table of parameters, and how frames become 8-bit images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.registry import Field
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

Table = Literal["imagenet-224", "cifar"]
EXAMPLES: tuple[Mapping[str, Any], ...] = (
    {"frame": 7, "table": "imagenet-224"},
    {"frame": 30, "table": "imagenet-224"},
    {"frame": 12, "table": "cifar"},
)


@dataclass(frozen=True, kw_only=True)
class Frames(ABC):
    """One frame of a sequence; a ladder along `frame` is the sequence.

    A subclass has `tables`, the parameters of each table, and `apply`. Every frame is made directly from the
    image, and equals that frame of the sequence made in order.
    """

    frame: Annotated[int, Field(ge=0, le=30)]  # which frame, from 0
    table: Table | None = None  # whose parameters; at 224 pixels imagenet-224, at other sizes to be named

    tables: ClassVar[Mapping[str, Any]] = {}
    last: ClassVar[Mapping[str, int]] = {}  # the number of the last frame where it is not 30
    reference: ClassVar[Literal["first", "previous"]] = "previous"  # the frame that a frame is compared with
    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        last = self.last.get(self.table or "imagenet-224", 30)
        if self.frame > last:
            raise ValueError(
                f"frame: expected at most {last}, the last of table {self.table}, got {self.frame}"
            )

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        level = self.tables[self.table_for(batch.pixels)]
        if getattr(self, "identity", False):
            return batch
        return batch.with_pixels(self.apply(batch.pixels, level, draws))

    @abstractmethod
    def apply(self, pixels: Tensor, level: Any, draws: Draws) -> Tensor:
        """The pixels of this frame, in 8 bits."""

    def table_for(self, pixels: Tensor) -> str:
        """The table's name. Raises BadParameter at a size other than 224 without one."""
        size = "x".join(str(int(v)) for v in pixels.shape[2:])
        if self.table is None and size != "224x224":
            raise BadParameter(
                f"sequence: table: the images are {size}, and sequences are defined per size: name one of "
                "imagenet-224 and cifar (32 pixels)",
                ("table",),
            )
        return self.table or "imagenet-224"
