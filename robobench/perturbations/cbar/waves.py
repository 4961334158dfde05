"""Patterns made of sines: one plane wave, wobbling rings, and a plasma of folded waves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from robobench.draws import Draws
from robobench.perturbations.cbar.strength import (
    BarCorruption,
    Strengths,
    fields,
    lines_of,
    side_of,
    spread,
)
from robobench.registry import perturbations

if TYPE_CHECKING:
    from torch import Tensor

_EXAMPLES: tuple[Mapping[str, Any], ...] = (
    {"severity": 1, "table": "imagenet"},
    {"severity": 3, "table": "imagenet", "quantise": "none"},
    {"severity": 5, "table": "imagenet", "jpeg_quality": 85},
)


@perturbations.register("single_frequency_greyscale", version=1)
@dataclass(frozen=True, kw_only=True)
class SingleFrequencyGreyscale(BarCorruption):
    """Add one grey plane wave.

    Measures robustness to noise of a single spatial frequency. One axis, drawn by a coin, has an angular
    frequency uniform in [-pi, pi) per pixel, the other one within plus and minus its magnitude; the phase
    is uniform. At strength v the amplitude is 19.6 v of 255, from 0.08 (severity 1) to 0.38 of the range.

    Raises BadParameter where the table has to be named.

    Source: Mintun et al., On Interaction Between Augmentations and Corruptions in Natural Corruption
    Robustness, NeurIPS 2021, section 5 and the published ImageNet-C-bar code (single_frequency_greyscale).
    """

    strengths: ClassVar[Strengths] = {"imagenet": (1.0, 1.5, 2.0, 4.5, 5.0)}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        major = spread(draws, "frequency", -math.pi, math.pi)
        minor = major.abs() * spread(draws, "second frequency", -1.0, 1.0)
        swapped = draws.uniform("axis") < 0.5
        phase = spread(draws, "phase", 0.0, 2 * math.pi)
        rows, columns = lines_of(pixels)

        def wave(i: int) -> Tensor:
            down, across = (major[i], minor[i]) if swapped[i] else (minor[i], major[i])
            # sin(a + b) from sines along two lines instead of over the plane
            a, b = rows * down, columns * across + phase[i]
            return (a.sin() * b.cos() + a.cos() * b.sin())[None]

        return pixels + fields(draws, pixels, wave) * (strength * 19.6 / 255)


@perturbations.register("cocentric_sine_waves", version=1)
@dataclass(frozen=True, kw_only=True)
class CocentricSineWaves(BarCorruption):
    """Add grey saw-toothed rings around one point, whose radius wobbles with the angle.

    Measures robustness to concentric patterns. The middle is uniform in the image, the width of a ring and
    the amplitude of the wobble are uniform in [0, side / 10) pixels (so that some rings are finer than
    pixels and alias), the wobble has U[0, 10) periods per turn, with a seam where that is no whole number.
    Across a ring the value rises from -1/2 to 1/2. At strength v it is multiplied by 12.8 v of 255.

    Raises BadParameter where the table has to be named.

    Source: Mintun et al., On Interaction Between Augmentations and Corruptions in Natural Corruption
    Robustness, NeurIPS 2021, section 5 and the published ImageNet-C-bar code (cocentric_sine_waves, so
    spelt).
    """

    strengths: ClassVar[Strengths] = {"imagenet": (3.0, 5.0, 8.0, 9.0, 10.0)}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        import torch

        rows, columns = lines_of(pixels)
        height, width = rows.numel(), columns.numel()
        side = side_of(pixels)
        column, row = spread(draws, "middle", 0.0, 1.0, 2).unbind(1)
        turns = spread(draws, "frequency", 0.0, 10.0)
        wobble = spread(draws, "amplitude", 0.0, side / 10)
        ring = spread(draws, "ring width", 0.0, side / 10).clamp_min(side * 2.0**-28)  # never 0

        def rings(i: int) -> Tensor:
            down, across = rows - row[i] * height, columns - column[i] * width
            angle = torch.atan2(across.expand(height, width), down.expand(height, width)) * turns[i]
            distance = (down.square() + across.square()).sqrt_().add_(angle.sin_() * wobble[i])
            return (distance.remainder_(ring[i]).div_(ring[i]) - 0.5)[None]

        return pixels + fields(draws, pixels, rings) * (strength * 12.8 / 255)


@perturbations.register("plasma_noise", version=1)
@dataclass(frozen=True, kw_only=True)
class PlasmaNoise(BarCorruption):
    """Blend the image with a coloured plasma: waves whose places are folded by 4 to 6 finer waves.

    Measures robustness to smooth coloured patterns at many scales. Places are in units of U[0.075, 0.2)
    of the side; fold number s moves them along waves of frequency 1.93^s, by 1 / (2.25 - sharpness)^s,
    sharpness U[0.5, 1), at a time U[0, 6 pi). At strength v an image x and a pattern p in [-1, 1] become
    (1 - a) x + a p with a = 6.4 v / 255. The published code means each fold to have a phase of its own, but
    multiplies it from 0, so it stays 0: here as there.

    Raises BadParameter where the table has to be named.

    Source: Mintun et al., On Interaction Between Augmentations and Corruptions in Natural Corruption
    Robustness, NeurIPS 2021, section 5 and the published ImageNet-C-bar code (plasma_noise).
    """

    strengths: ClassVar[Strengths] = {"imagenet": (4.75, 7.0, 8.5, 9.25, 10.0)}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        time = spread(draws, "time", 0.0, 6 * math.pi).tolist()
        folds = draws.integers("iterations", 4, 7).tolist()
        sharpness = spread(draws, "sharpness", 0.5, 1.0).tolist()
        scale = spread(draws, "scale", 0.075, 0.2).mul(side_of(pixels)).tolist()
        rows, columns = lines_of(pixels)

        def plasma(i: int) -> Tensor:
            return _plasma(columns / scale[i], rows / scale[i], time[i], folds[i], sharpness[i])

        weight = strength * 6.4 / 255
        return (1 - weight) * pixels + weight * fields(draws, pixels, plasma)


def _plasma(x: Tensor, y: Tensor, time: float, folds: int, sharpness: float) -> Tensor:
    """(3, h, w) in [-1, 1] at the places x (1, w) and y (h, 1). Folds amplify: hence float64."""
    import torch

    frequency, slowing, reach = 1.0, 1.0, 1.0
    for _ in range(folds):
        along = torch.cos(y * frequency + time / slowing).div_(reach)
        down = torch.sin(x * frequency + time / slowing).div_(reach)
        x, y = x + along - 0.3 * down, y + down + 0.3 * along
        frequency, slowing, reach = frequency * 1.93, slowing * 1.15, reach * (2.25 - sharpness)
    red, green, blue = x - time, (x + y + math.sin(time)) * 0.5, y + time
    return torch.stack([red, green, blue]).sin_()
