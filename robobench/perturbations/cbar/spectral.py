"""Noise with a given spectrum: blue as a mask, brownish as something to add."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from robobench.draws import Draws
from robobench.perturbations.cbar.strength import BarCorruption, Strengths, fields
from robobench.registry import perturbations

if TYPE_CHECKING:
    from torch import Tensor


@perturbations.register("blue_noise_sample", version=1)
@dataclass(frozen=True, kw_only=True)
class BlueNoiseSample(BarCorruption):
    """Blacken the pixels where blue noise lies below a threshold.

    Measures robustness to missing pixels that are spread evenly. The noise has amplitudes proportional to
    the frequency, random phases, and standard deviation 1 in every image. At strength v the pixels where
    it is at most 0.3 v - 2.5 become 0, about 1 % (severity 1) to 21 % (severity 5) of them; along
    `severity` they nest. Phases are mirrored as in the published code, one place off the symmetry that real
    noise has, so amplitudes vary too.

    Raises BadParameter where the table has to be named.

    Source: Mintun et al., On Interaction Between Augmentations and Corruptions in Natural Corruption
    Robustness, NeurIPS 2021, section 5 and the published ImageNet-C-bar code (blue_noise_sample). There
    images are square; in others frequencies are counted in cycles per shorter side.
    """

    strengths: ClassVar[Strengths] = {
        "imagenet": (0.8, 1.6, 2.4, 4.0, 5.6),
        "cifar": (0.7, 1.4, 2.1, 3.5, 4.2),
    }
    nested: ClassVar[str | None] = "severity"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"severity": 3, "table": "imagenet", "quantise": "none"},
        {"severity": 5, "table": "imagenet", "quantise": "none"},
        {"severity": 1, "table": "cifar"},
    )

    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        noise = _noise(draws, pixels, 1, lambda frequency: frequency)
        return pixels * (noise > 0.3 * strength - 2.5)


@perturbations.register("brownish_noise", version=1)
@dataclass(frozen=True, kw_only=True)
class BrownishNoise(BarCorruption):
    """Add noise whose amplitudes fall with the square of the frequency, other noise in every channel.

    Measures robustness to blotches of colour. Amplitudes are 1 / (f^2 + 1), f in cycles per side, with
    random phases; the noise of each channel has standard deviation 1. At strength v it is multiplied by
    6.4 v of 255. As in the published code the mean of the noise is not taken out, so that an image as a
    whole gets brighter, darker or tinted, and phases are mirrored one place off, so amplitudes vary too.

    Raises BadParameter where the table has to be named.

    Source: Mintun et al., On Interaction Between Augmentations and Corruptions in Natural Corruption
    Robustness, NeurIPS 2021, section 5 and the published ImageNet-C-bar code (brownish_noise). There images
    are square; in others frequencies are counted in cycles per shorter side.
    """

    strengths: ClassVar[Strengths] = {
        "imagenet": (1.0, 2.0, 3.0, 4.0, 5.0),
        "cifar": (2.5, 4.0, 5.5, 6.5, 7.0),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"severity": 1, "table": "imagenet"},
        {"severity": 5, "table": "imagenet", "quantise": "none"},
        {"severity": 3, "table": "cifar", "jpeg_quality": 85},
    )

    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        noise = _noise(draws, pixels, 3, lambda frequency: 1 / (frequency.square() + 1))
        return pixels + noise * (strength * 6.4 / 255)


def _noise(draws: Draws, pixels: Tensor, channels: int, amplitude: Callable[[Tensor], Tensor]) -> Tensor:
    """(b, channels, h, w) of standard deviation 1, with an amplitude for each frequency."""
    import torch

    height, width = (int(v) for v in pixels.shape[2:])
    phases = draws.uniform("phases", channels, height, width // 2)
    # the column of phases in the middle, where the width is odd
    middle = draws.uniform("middle phases", channels, height // 2, 1)
    scale = amplitude(_frequencies(height, width, pixels.device)).float()

    def noise(i: int) -> Tensor:
        angle = _mirrored(phases[i], middle[i], height, width) * (2 * math.pi)
        spectrum = torch.polar(scale.expand(angle.shape), angle)
        found: Tensor = torch.fft.ifft2(spectrum.roll((height // 2, width // 2), (1, 2))).real
        return found / torch.stack([plane.double().std(correction=0) for plane in found])[:, None, None]

    return fields(draws, pixels, noise)


def _frequencies(height: int, width: int, device: Any) -> Tensor:
    """Distance (h, w) of each place of a spectrum from its middle, in cycles per shorter side."""
    import torch

    side = min(height, width)
    down, across = (
        (torch.arange(n, dtype=torch.float64, device=device) - n / 2) * (side / n) for n in (height, width)
    )
    return torch.hypot(down[:, None], across[None])


def _mirrored(phases: Tensor, middle: Tensor, height: int, width: int) -> Tensor:
    """Phases (c, h, w) that are equal at places opposite each other, from those of the left half."""
    import torch

    opposite = phases.flip(1, 2)
    if width % 2 == 0:
        return torch.cat([phases, opposite], dim=2)
    centre = middle.new_zeros(len(middle), height % 2, 1)
    column = torch.cat([middle, centre, middle.flip(1)], dim=1)
    return torch.cat([phases, column, opposite], dim=2)
