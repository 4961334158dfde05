"""Sequences of blur, light and weather: the picture stays in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.codecs import quantised
from robobench.draws import Draws
from robobench.filters import gaussian
from robobench.perturbations.corruption.blur import motion
from robobench.perturbations.corruption.weather import flakes, snowed, wetted
from robobench.perturbations.sequence.frame import EXAMPLES, Frames
from robobench.perturbations.sequence.place import enlarged
from robobench.registry import perturbations

if TYPE_CHECKING:
    from torch import Tensor

_TINY = 1e-30  # a divisor in place of 0, far below any difference between pixels


@perturbations.register("motion_blur", version=1)
@dataclass(frozen=True, kw_only=True)
class MotionBlur(Frames):
    """Turn the direction of a motion blur, over 31 frames.

    Measures whether predictions stay while a blur turns. Frame i is blurred along a line of radius 10 and
    sigma 3 at 4 (i - 30) degrees; in table cifar, of 21 frames, radius 6, sigma 1.8 and 9 (i - 20) degrees.

    Raises BadParameter at a size other than 224 pixels without a table.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.2 (ImageNet-P), and the authors' scripts. Their frames then went
    through lossy video compression, which is not done here.
    """

    tables: ClassVar[Mapping[str, Any]] = {"imagenet-224": (10, 3.0, 4, 30), "cifar": (6, 1.8, 9, 20)}
    last: ClassVar[Mapping[str, int]] = {"cifar": 20}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = EXAMPLES

    def apply(self, pixels: Tensor, level: tuple[int, float, int, int], draws: Draws) -> Tensor:
        radius, sigma, step, last = level
        angle = float(step * (self.frame - last))
        blurred = motion(pixels, radius, sigma, [angle] * len(pixels))
        return quantised(blurred.clamp_(0.0, 1.0), "round")  # by ImageMagick, which rounds


@perturbations.register("zoom_blur", version=1)
@dataclass(frozen=True, kw_only=True)
class ZoomBlur(Frames):
    """Let a zoom blur grow, over 31 frames.

    Measures whether predictions stay while a blur grows. Frame i is the mean of the image and its
    enlargements by 1.004, 1.008, ... 1 + 0.004 i about the middle, each in 8 bits.

    Raises BadParameter at a size other than 224 pixels without a table.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.2 (ImageNet-P), and the authors' scripts. Their frames then went
    through lossy video compression, which is not done here.
    """

    tables: ClassVar[Mapping[str, Any]] = {"imagenet-224": 0.004, "cifar": 0.004}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (*EXAMPLES, {"frame": 0, "table": "imagenet-224"})

    @property
    def identity(self) -> bool:
        """Frame 0 is the image itself."""
        return self.frame == 0

    def apply(self, pixels: Tensor, level: float, draws: Draws) -> Tensor:
        import torch

        factors = [1 + level * i for i in range(1, self.frame + 1)]
        # image by image, which stays in the caches
        return torch.cat([quantised(_mean_of_zooms(one, factors)) for one in pixels[:, None]])


@perturbations.register("gaussian_blur", version=1)
@dataclass(frozen=True, kw_only=True)
class GaussianBlur(Frames):
    """Let a Gaussian blur grow, over 31 frames.

    Measures whether predictions stay while a blur grows. The standard deviation of frame i is 0.25 + 0.035 i
    pixels, the kernel ending after six of them; in table cifar 0.3 + 0.015 i and seven. One of the sequences
    meant for validation.

    Raises BadParameter at a size other than 224 pixels without a table.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.2 (ImageNet-P), and the authors' scripts. Their frames then went
    through lossy video compression, which is not done here.
    """

    tables: ClassVar[Mapping[str, Any]] = {"imagenet-224": (0.25, 0.035, 6.0), "cifar": (0.3, 0.015, 7.0)}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = EXAMPLES

    def apply(self, pixels: Tensor, level: tuple[float, float, float], draws: Draws) -> Tensor:
        first, step, truncate = level
        return quantised(gaussian(pixels, first + step * self.frame, truncate=truncate).clamp_(0.0, 1.0))


@perturbations.register("brightness", version=1)
@dataclass(frozen=True, kw_only=True)
class Brightness(Frames):
    """Let it dawn, over 31 frames.

    Measures whether predictions stay while the light changes. 0.02 (i - 15) is added to the HSV value V =
    max(R, G, B) of frame i, clipped to [0, 1]; 0.015 (i - 15) in table cifar.

    Raises BadParameter at a size other than 224 pixels without a table.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.2 (ImageNet-P), and the authors' scripts. Their frames then went
    through lossy video compression, which is not done here.
    """

    tables: ClassVar[Mapping[str, Any]] = {"imagenet-224": 2.0, "cifar": 1.5}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = EXAMPLES

    def apply(self, pixels: Tensor, level: float, draws: Draws) -> Tensor:
        added = (self.frame - 15) * level / 100
        found = pixels.clamp(min=_TINY)  # so that black, too, has a ratio, the same in all channels
        value = found.amax(1, keepdim=True)
        return quantised(found.mul_((value + added).clamp_(0.0, 1.0).div_(value)))


@perturbations.register("snow", version=1)
@dataclass(frozen=True, kw_only=True)
class Snow(Frames):
    """Let the wind turn in falling snow, over 31 frames.

    Measures whether predictions stay while it snows. The same flakes, drawn once per image, are blurred
    along a line at 4 i - 150 degrees in frame i and added, also turned by 180 degrees, to an image of which
    85 % are kept and the rest is whitened. Normal noise of mean 0.05 and deviation 0.3 enlarged 3 times (2 in
    table cifar) above 0.5 makes flakes; the line has radius 14 and sigma 4 (10 and 2).

    Raises BadParameter at a size other than 224 pixels without a table.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.2 (ImageNet-P), and the authors' scripts. Their frames then went
    through lossy video compression, which is not done here.
    """

    tables: ClassVar[Mapping[str, Any]] = {"imagenet-224": (3.0, 14, 4.0), "cifar": (2.0, 10, 2.0)}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = EXAMPLES

    def apply(self, pixels: Tensor, level: tuple[float, int, float], draws: Draws) -> Tensor:
        zoom, radius, sigma = level
        height, width = int(pixels.shape[2]), int(pixels.shape[3])
        seen = [int(np.ceil(side / zoom)) for side in (height, width)]  # the middle is all that is enlarged

        def make() -> Tensor:
            noise = draws.normal("flakes", *seen)[:, None] * 0.3 + 0.05
            return flakes(noise, height, width, zoom, 0.5)

        layer = draws.shared(f"flakes {zoom} {height}x{width}", make)
        layer = motion(layer, radius, sigma, [float(4 * self.frame - 150)] * len(pixels))
        layer = quantised(layer.clamp_(0.0, 1.0), "round")
        return quantised(snowed(pixels, layer, 0.85).clamp_(0.0, 1.0))


@perturbations.register("spatter", version=1)
@dataclass(frozen=True, kw_only=True)
class Spatter(Frames):
    """Let drops of water run down the lens, over 31 frames.

    Measures whether predictions stay while drops move. Smoothed normal noise above 0.69, drawn once per
    image (mean 0.65, deviation 0.27, sigma 3.7), runs down by about 1.5 pixels a frame and spreads; it is
    lit along its edges and added in pale turquoise with a strength of 0.6. Table cifar has mean 0.6,
    deviation 0.265, sigma 1.75, a threshold of 0.7 and 0.8 pixels a frame. One of the sequences meant for
    validation.

    Raises BadParameter at a size other than 224 pixels without a table.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.2 (ImageNet-P), and the authors' scripts. Their frames then went
    through lossy video compression, which is not done here.
    """

    tables: ClassVar[
        Mapping[str, Any]
    ] = {  # mean, deviation, sigma, threshold, weights of rows from one below
        "imagenet-224": (0.65, 0.27, 3.7, 0.69, (0.05, 0.1, 0.15, 0.7)),
        "cifar": (0.6, 0.265, 1.75, 0.7, (0.0, 0.2, 0.8)),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = EXAMPLES

    def apply(
        self, pixels: Tensor, level: tuple[float, float, float, float, tuple[float, ...]], draws: Draws
    ) -> Tensor:
        import torch

        mean, deviation, sigma, threshold, weights = level
        height, width = int(pixels.shape[2]), int(pixels.shape[3])

        def make() -> Tensor:
            liquid = gaussian(draws.normal("liquid", height, width)[:, None], sigma) * deviation + mean
            return liquid * (liquid >= threshold)

        liquid = draws.shared(f"liquid {sigma} {height}x{width}", make)
        down = torch.from_numpy(running(height, weights, self.frame)).to(pixels.device)
        run = torch.stack([down @ one for one in liquid[:, 0]])  # image by image: equal bits in any company
        return quantised(wetted(pixels, run[:, None], 0.0, 0.6).clamp_(0.0, 1.0))


def _mean_of_zooms(pixels: Tensor, factors: Sequence[float]) -> Tensor:
    """The mean of pixels and of their enlargements, each cut to 8 bits."""
    total = pixels.clone()
    for factor in factors:
        total += quantised(enlarged(pixels, factor, "nearest"))
    return total.div_(1 + len(factors))


@lru_cache(maxsize=64)
def running(height: int, weights: tuple[float, ...], frames: int) -> NDArray[np.float32]:
    """The matrix (height, height) that lets the rows of a picture run down for some frames.

    In a frame a row becomes `weights` times the rows from the one below it upwards; beyond is nothing.
    """
    once = sum(w * np.eye(height, k=1 - i) for i, w in enumerate(weights))
    return np.asarray(np.linalg.matrix_power(once, frames), np.float32)
