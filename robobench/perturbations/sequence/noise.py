"""Sequences of noise: every frame but the first has noise of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.codecs import quantised
from robobench.draws import Draws
from robobench.perturbations.corruption.noise import poisson
from robobench.perturbations.sequence.frame import Frames
from robobench.registry import Field, perturbations

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Noise(Frames):
    """A clean frame 0 and then independent noise in each frame.

    The draws of a frame are those of another repetition, numbered by the frame: here alone levels of a
    ladder shall not share their random numbers.
    """

    difficulty: Annotated[int, Field(ge=1, le=3)] = 1  # how strong the noise is; 1 is what is published

    reference: ClassVar[Literal["first", "previous"]] = "first"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"frame": 1, "table": "imagenet-224"},
        {"frame": 30, "table": "imagenet-224", "difficulty": 3},
        {"frame": 12, "table": "cifar", "difficulty": 2},
        {"frame": 0, "table": "imagenet-224"},
    )

    @property
    def identity(self) -> bool:
        """Frame 0 is the image itself."""
        return self.frame == 0

    def apply(self, pixels: Tensor, level: tuple[float, float, float], draws: Draws) -> Tensor:
        own = draws.at(31 * draws.number + self.frame)
        return quantised(self.noisy(pixels, level[self.difficulty - 1], own).clamp_(0.0, 1.0))

    @abstractmethod
    def noisy(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        """Pixels with noise, not yet clipped."""


@perturbations.register("gaussian_noise", version=1)
@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Noise):
    """Show the image once without and then with ever new Gaussian noise, over 31 frames.

    Measures whether predictions change with noise that nobody notices; frames are compared with frame 0.
    The standard deviation is 0.03, 0.05 or 0.08 by difficulty (0.02, 0.04 or 0.06 in table cifar).

    Raises BadParameter at a size other than 224 pixels without a table.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.2 (ImageNet-P), and the authors' scripts. Their frames then went
    through lossy video compression, which is not done here.
    """

    tables: ClassVar[Mapping[str, Any]] = {"imagenet-224": (0.03, 0.05, 0.08), "cifar": (0.02, 0.04, 0.06)}

    def noisy(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        return pixels.add(draws.normal("noise", *pixels.shape[1:]), alpha=strength)


@perturbations.register("shot_noise", version=1)
@dataclass(frozen=True, kw_only=True)
class ShotNoise(Noise):
    """Show the image once without and then with ever new photon noise, over 31 frames.

    Measures whether predictions change with noise that nobody notices; frames are compared with frame 0.
    Poisson(x * rate) / rate with a rate of 300, 120 or 60 by difficulty (700, 400 or 200 in table cifar).

    Raises BadParameter at a size other than 224 pixels without a table.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.2 (ImageNet-P), and the authors' scripts. Their frames then went
    through lossy video compression, which is not done here.
    """

    tables: ClassVar[Mapping[str, Any]] = {"imagenet-224": (300, 120, 60), "cifar": (700, 400, 200)}

    def noisy(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        return poisson(pixels, int(strength), draws.bits("photons", *pixels.shape[1:])).float().div_(strength)


@perturbations.register("speckle_noise", version=1)
@dataclass(frozen=True, kw_only=True)
class SpeckleNoise(Noise):
    """Show the image once without and then with ever new multiplicative noise, over 31 frames.

    Measures whether predictions change with noise that nobody notices; frames are compared with frame 0.
    x + x * noise with a standard deviation of 0.05, 0.1 or 0.15 by difficulty (0.05, 0.07 or 0.1 in table
    cifar). One of the sequences meant for validation.

    Raises BadParameter at a size other than 224 pixels without a table.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.2 (ImageNet-P), and the authors' scripts. Their frames then went
    through lossy video compression, which is not done here.
    """

    tables: ClassVar[Mapping[str, Any]] = {"imagenet-224": (0.05, 0.1, 0.15), "cifar": (0.05, 0.07, 0.1)}

    def noisy(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        noise = draws.normal("noise", *pixels.shape[1:])
        return pixels.addcmul(pixels, noise, value=strength)
