"""Sequences of geometry: the picture moves, turns, tilts, grows and slants.

The published frames are cut out of images 256 pixels high after they were moved, so that something of the
picture comes in from outside; here the given pixels are all there is, and what lies beyond is `border`. The
two are equal inside. CIFAR-10-P has no more than its 32 pixels, and black beyond.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from robobench.codecs import quantised
from robobench.draws import Draws
from robobench.perturbations.geometry import Beyond, moved, tilting, warped
from robobench.perturbations.sequence.frame import EXAMPLES, Frames
from robobench.registry import Field, perturbations

if TYPE_CHECKING:
    from torch import Tensor

_STILL = 15  # the frame in the middle
_CUT = 256 / 224  # how much larger than the frames the images are that the published ones are cut from


@dataclass(frozen=True, kw_only=True)
class Placed(Frames):
    """A sequence that shows what lies beyond the picture."""

    border: Beyond = "black"  # what lies beyond the given pixels


@perturbations.register("translate", version=1)
@dataclass(frozen=True, kw_only=True)
class Translate(Placed):
    """Move the picture sideways one pixel a frame, over 41 frames.

    Measures whether predictions stay while the picture moves. Frame i is moved by i - 20 pixels to the right;
    in table cifar, of 16 frames, by i - 7.

    Raises BadParameter at a size other than 224 pixels without a table.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.2 (ImageNet-P), and the authors' scripts. Their frames then went
    through lossy video compression, which is not done here.
    """

    frame: Annotated[int, Field(ge=0, le=40)]  # which frame, from 0

    tables: ClassVar[Mapping[str, Any]] = {"imagenet-224": 20, "cifar": 7}
    last: ClassVar[Mapping[str, int]] = {"imagenet-224": 40, "cifar": 15}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"frame": 7, "table": "imagenet-224"},
        {"frame": 40, "table": "imagenet-224", "border": "reflect"},
        {"frame": 12, "table": "cifar"},
        {"frame": 20, "table": "imagenet-224"},
    )

    @property
    def identity(self) -> bool:
        """The picture is in its place."""
        return self.frame == int(self.tables[self.table or "imagenet-224"])

    def apply(self, pixels: Tensor, level: int, draws: Draws) -> Tensor:
        across = pixels.new_full((len(pixels),), self.frame - level)
        return quantised(moved(pixels, across * 0, across, self.border))


@perturbations.register("rotate", version=1)
@dataclass(frozen=True, kw_only=True)
class Rotate(Placed):
    """Turn the picture clockwise one degree a frame, over 31 frames.

    Measures whether predictions stay while the picture turns. Frame i is turned by i - 15 degrees clockwise,
    bilinearly, about the place (height / 2, width / 2), half a pixel below and right of the middle.

    Raises BadParameter at a size other than 224 pixels without a table.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.2 (ImageNet-P), and the authors' scripts. Their frames then went
    through lossy video compression, which is not done here.
    """

    tables: ClassVar[Mapping[str, Any]] = {"imagenet-224": None, "cifar": None}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (*EXAMPLES, {"frame": 15, "table": "cifar"})

    @property
    def identity(self) -> bool:
        """The picture stands upright."""
        return self.frame == _STILL

    def apply(self, pixels: Tensor, level: None, draws: Draws) -> Tensor:
        turn = math.radians(self.frame - _STILL)
        cos, sin = math.cos(turn), math.sin(turn)
        return quantised(_linear(pixels, ((cos, sin), (-sin, cos)), self.border))


@perturbations.register("tilt", version=1)
@dataclass(frozen=True, kw_only=True)
class Tilt(Placed):
    """Tilt the picture in space about both of its axes one degree a frame, over 31 frames.

    Measures whether predictions stay while the point of view changes. In frame i both angles are i - 15
    degrees (three quarters of it in table cifar) before a camera whose distance and focal length are the
    diagonal; that of the larger image which the published frames are cut from, 256 / 224 times that of a
    square of 224 pixels. As published, the picture hangs one pixel behind its axes, so that frame 15
    too is a little smaller than the image.

    Raises BadParameter at a size other than 224 pixels without a table.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.2 (ImageNet-P), and the authors' scripts. Their frames then went
    through lossy video compression, which is not done here.
    """

    tables: ClassVar[Mapping[str, Any]] = {"imagenet-224": (1.0, _CUT), "cifar": (0.75, 1.0)}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = EXAMPLES

    def apply(self, pixels: Tensor, level: tuple[float, float], draws: Draws) -> Tensor:
        step, larger = level
        height, width = int(pixels.shape[2]), int(pixels.shape[3])
        angle = pixels.new_full((1,), step * (self.frame - _STILL))
        maps = tilting(
            angle, angle, focal=larger * math.hypot(height, width), middle=(height / 2, width / 2), ahead=1.0
        )
        # by OpenCV, which rounds
        return quantised(warped(pixels, maps, self.border), "round")


@perturbations.register("scale", version=1)
@dataclass(frozen=True, kw_only=True)
class Scale(Placed):
    """Let the picture grow, over 31 frames.

    Measures whether predictions stay while things come nearer. Frame i has 40 + 2.5 i % of the size (70 +
    2 i % in table cifar), bilinearly and without smoothing, about the place (height / 2, width / 2).

    Raises BadParameter at a size other than 224 pixels without a table.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.2 (ImageNet-P), and the authors' scripts. Their frames then went
    through lossy video compression, which is not done here.
    """

    tables: ClassVar[Mapping[str, Any]] = {"imagenet-224": (40.0, 2.5), "cifar": (70.0, 2.0)}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (*EXAMPLES, {"frame": 24, "table": "imagenet-224"})

    @property
    def identity(self) -> bool:
        """The picture has its own size."""
        first, step = self.tables[self.table or "imagenet-224"]
        return bool(first + step * self.frame == 100)

    def apply(self, pixels: Tensor, level: tuple[float, float], draws: Draws) -> Tensor:
        first, step = level
        return quantised(enlarged(pixels, (first + step * self.frame) / 100, self.border))


@perturbations.register("shear", version=1)
@dataclass(frozen=True, kw_only=True)
class Shear(Placed):
    """Slant the picture one degree a frame, over 31 frames.

    Measures whether predictions stay while right angles open. In frame i, of angle a = i - 15 degrees, a
    place (x, y) from (width / 2, height / 2) moves to (x - y sin a, y cos a), bilinearly: the picture slants
    and loses a little height. One of the sequences meant for validation.

    Raises BadParameter at a size other than 224 pixels without a table.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.2 (ImageNet-P), and the authors' scripts, with the shear that
    torchvision had until 2019. Their frames then went through lossy video compression, which is not done
    here.
    """

    tables: ClassVar[Mapping[str, Any]] = {"imagenet-224": None, "cifar": None}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (*EXAMPLES, {"frame": 15, "table": "cifar"})

    @property
    def identity(self) -> bool:
        """The picture stands upright."""
        return self.frame == _STILL

    def apply(self, pixels: Tensor, level: None, draws: Draws) -> Tensor:
        angle = math.radians(self.frame - _STILL)
        lean = ((1.0, math.tan(angle)), (0.0, 1 / math.cos(angle)))
        return quantised(_linear(pixels, lean, self.border))


def enlarged(pixels: Tensor, factor: float, border: Beyond) -> Tensor:
    """Pixels scaled about (height / 2, width / 2)."""
    return _linear(pixels, ((1 / factor, 0.0), (0.0, 1 / factor)), border)


def _linear(
    pixels: Tensor, inverse: tuple[tuple[float, float], tuple[float, float]], border: Beyond
) -> Tensor:
    """Pixels under one linear map for all images, from places in the result to places in the picture.

    Places (x, y) count from (width / 2, height / 2), as torchvision's `affine` had it until 2020. As in
    Pillow, black begins at the edge of the outermost pixels, half a pixel from their middle, without fading.
    """
    import torch

    height, width = int(pixels.shape[2]), int(pixels.shape[3])
    middle = width / 2, height / 2
    rows = [
        (*row, at - row[0] * middle[0] - row[1] * middle[1]) for row, at in zip(inverse, middle, strict=True)
    ]
    maps = torch.tensor(rows, dtype=torch.float64)
    if border != "black":
        return warped(pixels, maps, border)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None, :]
    across, down = (m[0] * x + m[1] * y + m[2] + 0.5 for m in maps)
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    return warped(pixels, maps, "nearest").mul_(inside.to(pixels))
