"""Stimuli made point by point, by turning, and by blurring: contrast, noise, colour, rotation, filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench import filters
from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.perturbations.human.luminance import BACKGROUND, in_pixels, luminance, shown
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


@perturbations.register("greyscale", version=1)
@dataclass(frozen=True, kw_only=True)
class Greyscale:
    """Take the colour away.

    Measures how much of an answer rests on colour; the other stimuli of this set, but false_colour, begin
    with this step, so it is also what to compare them with. Three equal channels of the luminance 0.2125 R +
    0.7154 G + 0.0721 B.

    Source: Geirhos et al., Generalisation in humans and deep neural networks, NeurIPS 2018 (the colour
    experiment), as in the released code.
    """

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        return batch.with_pixels(shown(luminance(batch.pixels)))


@perturbations.register("contrast", version=1)
@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Reduce the contrast of the grey image.

    Measures how faint an image may be. The luminance g becomes level * g + (1 - level) / 2, so that it stays
    around mid-grey. 1 is the grey image.

    Source: Geirhos et al., Generalisation in humans and deep neural networks, NeurIPS 2018, as in its
    code; conditions 1, 0.5, 0.3, 0.15, 0.1, 0.05, 0.03 and 0.01. The published stimuli were then stored in 8
    bits; here they are not.
    """

    level: Annotated[float, Field(ge=0, le=1)]  # nominal contrast, as a share of the image's own

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"level": 0.3}, {"level": 0.01}, {"level": 1})

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        return batch.with_pixels(shown(_faint(batch.pixels, self.level)))


@perturbations.register("uniform_noise", version=1)
@dataclass(frozen=True, kw_only=True)
class UniformNoise:
    """Add uniform noise to the grey image at a low contrast.

    Measures robustness to pixel noise. The luminance is brought to the contrast of `level` (as
    human.contrast), then every pixel gets noise uniform in [-width, width], drawn per image, the same in the
    three channels; the sum is clipped to [0, 1].

    Source: Geirhos et al., Generalisation in humans and deep neural networks, NeurIPS 2018, as in its
    code; conditions 0, 0.03, 0.05, 0.1, 0.2, 0.35, 0.6 and 0.9 at a contrast of 30 %. The noise is one draw
    per pixel at any size of image.
    """

    width: Annotated[float, Field(ge=0, le=1)]  # largest change, in [0, 1] pixel units
    level: Annotated[float, Field(ge=0, le=1)] = 0.3  # contrast before the noise, as a share

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"width": 0.1},
        {"width": 0.9},
        {"width": 0},
        {"width": 0.2, "level": 1},
    )

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        drawn = draws.uniform("noise", 1, *batch.pixels.shape[2:])
        noise = (drawn * 2 - 1) * self.width
        return batch.with_pixels(shown(_faint(batch.pixels, self.level) + noise))


@perturbations.register("salt_and_pepper", version=1)
@dataclass(frozen=True, kw_only=True)
class SaltAndPepper:
    """Make a share of the pixels of the grey image white or black, at a low contrast.

    Measures robustness to lost pixels. The luminance is brought to the contrast of `level` (as
    human.contrast); each pixel is white with chance amount / 2 and black with chance amount / 2. Along
    `amount` the noisy pixels nest, and keep their colour.

    Source: Geirhos et al., Generalisation in humans and deep neural networks, NeurIPS 2018, as in its
    code; conditions 0, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8 and 0.95 at a contrast of 30 %.
    """

    amount: Annotated[float, Field(ge=0, le=1)]  # share of the pixels that are white or black
    level: Annotated[float, Field(ge=0, le=1)] = 0.3  # contrast before the noise, as a share

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"amount": 0.1}, {"amount": 0.95}, {"amount": 0})

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        import torch

        drawn = draws.uniform("noise", 1, *batch.pixels.shape[2:])
        faint = _faint(batch.pixels, self.level)
        salted = torch.where(drawn >= 1 - self.amount / 2, 1.0, faint)
        return batch.with_pixels(shown(torch.where(drawn < self.amount / 2, 0.0, salted)))


@perturbations.register("rotation", version=1)
@dataclass(frozen=True, kw_only=True)
class Rotation:
    """Turn the grey image by a quarter, a half or three quarters of a turn.

    Measures whether objects are known the wrong way up. Counter-clockwise, without resampling; 0 is the grey
    image.

    Raises BadParameter for a quarter or three quarters of a turn of an image that is not square.

    Source: Geirhos et al., Generalisation in humans and deep neural networks, NeurIPS 2018, as in its
    code; conditions 0, 90, 180 and 270.
    """

    angle: Literal[0, 90, 180, 270]  # degrees, counter-clockwise

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"angle": 90},
        {"angle": 180},
        {"angle": 270},
        {"angle": 0},
    )

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        height, width = batch.pixels.shape[2:]
        if self.angle in (90, 270) and height != width:
            raise BadParameter(
                f"human.rotation: angle: expected 0 or 180 for images of {height}x{width}, which are not "
                f"square, got {self.angle}; give the view a crop or a size",
                ("angle",),
            )
        return batch.with_pixels(shown(luminance(batch.pixels).rot90(self.angle // 90, (2, 3))))


@perturbations.register("low_pass", version=1)
@dataclass(frozen=True, kw_only=True)
class LowPass:
    """Blur the grey image with a Gaussian.

    Measures how coarse an image may be. The kernel ends 4 standard deviations from its middle; around the
    image lies the grey 0.4423, the mean of the original images. 0 is the grey image. Lengths are those of the
    stimuli at 224 pixels and scale with the shorter side of an image.

    Source: Geirhos et al., Generalisation in humans and deep neural networks, NeurIPS 2018, as in its
    code; conditions 0, 1, 3, 5, 7, 10, 15 and 40. The scaling to other sizes is ours.
    """

    std: Annotated[float, Field(ge=0, le=1000)]  # standard deviation in pixels of a 224-pixel image

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"std": 3}, {"std": 40}, {"std": 0})

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        return batch.with_pixels(shown(_blurred(luminance(batch.pixels), self.std)))


@perturbations.register("high_pass", version=1)
@dataclass(frozen=True, kw_only=True)
class HighPass:
    """Take a Gaussian blur of the grey image away from it.

    Measures how much of an answer rests on fine structure. The blur is human.low_pass; the difference is
    moved to the mean 0.4423 (that of the original images) and clipped to [0, 1]. `inf` is the condition in
    which nothing was filtered, the grey image. Lengths are those of the stimuli at 224 pixels and scale
    with the shorter side of an image.

    Source: Geirhos et al., Generalisation in humans and deep neural networks, NeurIPS 2018, as in its
    code; conditions inf, 3, 1.5, 1, 0.7, 0.55, 0.45 and 0.4. The scaling to other sizes is ours; the released
    code has no `inf`, which is taken to be the grey image.
    """

    std: Annotated[float, Field(gt=0, le=1000)] | Literal["inf"]  # in pixels of a 224-pixel image

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"std": 3}, {"std": 0.4}, {"std": "inf"})

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        import torch

        grey = luminance(batch.pixels)
        if self.std == "inf":
            return batch.with_pixels(shown(grey))
        fine = grey - _blurred(grey, self.std)
        means = torch.stack([image.mean() for image in fine])[:, None, None, None]
        return batch.with_pixels(shown(fine + (BACKGROUND - means)))


def _faint(pixels: Tensor, level: float) -> Tensor:
    """The luminance at a nominal contrast."""
    return luminance(pixels) * level + (1 - level) / 2


def _blurred(grey: Tensor, std: float) -> Tensor:
    """Through a Gaussian, with the background beyond the border."""
    inside = filters.gaussian(grey - BACKGROUND, in_pixels(std, grey), border="zero")
    return inside + BACKGROUND
