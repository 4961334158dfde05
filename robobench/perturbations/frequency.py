"""Frequency: parts of an image's Fourier spectrum are removed, scrambled, levelled or added to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench import spectra
from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.params import Radius
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

Mask = Literal["ideal", "gaussian"]


@perturbations.register("low_pass", version=1)
@dataclass(frozen=True, kw_only=True)
class LowPass:
    """Keep the low frequencies of every channel.

    Measures how much of an answer rests on coarse structure. `ideal` keeps the frequencies up to and with
    the radius and none beyond (with the ringing that goes with it), `gaussian` multiplies frequency f by
    exp(-f^2 / (2 radius^2)). The mean of each channel stays; results are clipped to [0, 1]. Frequencies are
    in cycles per image; in a rectangular one, per shorter side.

    Own: Ghiasi et al. (What do Vision Transformers Learn?, 2022) filter in the Fourier domain, but their
    released code has no low-pass. Radii of 4, 8, 12, 16, 24, 32, 48, 64, 80 and 112 make a curve at 224
    pixels.
    """

    radius: Annotated[float, Field(gt=0)]  # cycles per image; the standard deviation of a Gaussian mask
    mask: Mask = "ideal"  # a sharp circle, or a Gaussian

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"radius": 4},
        {"radius": 8.5, "mask": "gaussian"},
        {"radius": 12, "mask": "ideal"},
    )

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        kept = _kept(batch.pixels, self.radius, self.mask)
        return batch.with_pixels(spectra.scaled(batch.pixels, kept).clamp_(0, 1))


@perturbations.register("high_pass", version=1)
@dataclass(frozen=True, kw_only=True)
class HighPass:
    """Keep the high frequencies of every channel, and its mean.

    Measures how much of an answer rests on fine structure. The complement of frequency.low_pass: what that
    removes is kept, what it keeps is removed, and the mean of the channel is added back, so that before
    clipping to [0, 1] the two add up to the image and its mean.

    Own: Ghiasi et al. (What do Vision Transformers Learn?, 2022) filter in the Fourier domain, but their
    released code has a draft only. Radii of 4, 8, 12, 16, 24, 32, 48, 64, 80 and 112 make a curve at 224
    pixels.
    """

    radius: Annotated[float, Field(gt=0)]  # cycles per image; the standard deviation of a Gaussian mask
    mask: Mask = "ideal"  # a sharp circle, or a Gaussian

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"radius": 4},
        {"radius": 8.5, "mask": "gaussian"},
        {"radius": 12, "mask": "ideal"},
    )

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        kept = 1.0 - _kept(batch.pixels, self.radius, self.mask)
        kept[0, 0] = 1.0
        return batch.with_pixels(spectra.scaled(batch.pixels, kept).clamp_(0, 1))


@perturbations.register("phase_scramble", version=1)
@dataclass(frozen=True, kw_only=True)
class PhaseScramble:
    """Move the phase of every frequency by a random angle; the amplitudes stay.

    Measures how much of an answer rests on the arrangement of contours, which is in the phases. Angles are
    uniform in [-amount, amount] degrees, drawn per image, frequency by frequency, the same in all three
    channels, so that neighbouring colours stay together. The mean, and the highest row and column of
    frequencies of an even side, keep their phase. Before clipping to [0, 1] the amplitude spectrum is the
    image's own. human.phase_scrambling does the same to the grey image.

    Own: phase noise as in Geirhos et al., Generalisation in humans and deep neural networks, NeurIPS 2018,
    on colour images.
    """

    amount: Annotated[float, Field(ge=0, le=180)]  # largest shift in degrees; 180 leaves no phase

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"amount": 60}, {"amount": 180}, {"amount": 0})

    @property
    def identity(self) -> bool:
        """No phase moves."""
        return self.amount == 0

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        if self.identity:
            return batch
        height, width = batch.pixels.shape[2:]
        drawn = draws.uniform("phase", height, width // 2 + 1)
        largest = math.radians(self.amount)

        def move(spectrum: Tensor, rows: slice) -> Tensor:
            shifts = spectra.odd((drawn[rows] * 2 - 1) * largest, width)
            return spectra.turned(spectrum, shifts[:, None])

        return batch.with_pixels(spectra.changed(batch.pixels, move).clamp_(0, 1))


@perturbations.register("power_equalise", version=1)
@dataclass(frozen=True, kw_only=True)
class PowerEqualise:
    """Give every channel an amplitude spectrum that falls as a power of the frequency; the phases stay.

    Measures whether a model reads categories off the spectrum. The amplitude at frequency f becomes
    proportional to f^-slope, alike in all directions: 1 is what photographs have on average, 0 is white,
    larger is smoother. Each channel keeps its mean and its standard deviation before clipping to [0, 1].

    Own: in the manner of power equalisation in Geirhos et al., Generalisation in humans and deep neural
    networks, NeurIPS 2018; there the grey image gets the mean spectrum of the data
    (human.power_equalisation).
    """

    slope: Annotated[float, Field(ge=0, le=4)] = 1.0  # exponent of the fall of the amplitudes

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"slope": 0}, {"slope": 1.5})

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        height, width = batch.pixels.shape[2:]
        distance = spectra.radii(height, width, batch.pixels)
        distance[0, 0] = 1.0
        target = distance ** -float(self.slope)
        target[0, 0] = 0.0
        times = spectra.multiplicity(width, batch.pixels)
        power = (target.square() * times).sum()

        def level(spectrum: Tensor, rows: slice) -> Tensor:
            own = (spectrum.real.square() + spectrum.imag.square()) * times
            own[..., 0, 0] = 0.0
            gain = (own.sum(dim=(-2, -1), keepdim=True) / power).sqrt()
            out = spectra.with_amplitude(spectrum, target * gain)
            out[..., 0, 0] = spectrum[..., 0, 0]
            return out

        return batch.with_pixels(spectra.changed(batch.pixels, level).clamp_(0, 1))


@perturbations.register("noise", version=1)
@dataclass(frozen=True, kw_only=True)
class FourierNoise:
    """Add one Fourier basis image, with a random sign in each channel.

    Measures the sensitivity to one frequency; the error over a grid of frequencies is the Fourier heat map.
    The basis image is a real plane wave of Euclidean norm 1; each channel gets it times `norm` or -`norm`,
    drawn per image and channel, so the change has the norm sqrt(3) * norm before clipping to [0, 1]. A wave
    of norm v changes the pixels by v / sqrt(height * width) in the root mean square: norms say nothing
    without the size. (row, column) and (-row, -column) are the same frequency, so that half of the plane is
    a whole map: one ladder along `column` from -C to C for each `row` from 0 to R. (0, 0) is brightness.

    Raises BadParameter for a frequency beyond half of a side, which the pixels cannot hold.

    Source: Yin et al., A Fourier Perspective on Model Robustness in Computer Vision, NeurIPS 2019; the
    basis, the signs and the clipping as in the frequency_analysis code released with it.
    """

    row: Annotated[int, Field(ge=-4096, le=4096)]  # cycles from top to bottom
    column: Annotated[int, Field(ge=-4096, le=4096)]  # cycles from left to right
    norm: Radius  # Euclidean norm of the change of one channel, in [0, 1] pixel units

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"row": 3, "column": 4, "norm": 4.0},
        {"row": 0, "column": -14, "norm": 2},
        {"row": 0, "column": 0, "norm": 1.5},
        {"row": 5, "column": 5, "norm": 0},
    )

    @property
    def identity(self) -> bool:
        """The wave has no height."""
        return self.norm == 0

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        height, width = batch.pixels.shape[2:]
        for name, value, side in (("row", self.row, height), ("column", self.column, width)):
            if abs(value) > side // 2:
                raise BadParameter(
                    f"frequency.noise: {name}: expected at most {side // 2} cycles in images of "
                    f"{height}x{width}, got {value}",
                    (name,),
                )
        if self.identity:
            return batch
        wave = spectra.basis(height, width, self.row, self.column, batch.pixels) * self.norm
        signs = draws.integers("signs", 0, 2, batch.pixels.shape[1]) * 2 - 1
        return batch.with_pixels((batch.pixels + signs[:, :, None, None] * wave).clamp_(0, 1))


@perturbations.register("band_noise", version=1)
@dataclass(frozen=True, kw_only=True)
class BandNoise:
    """Add grey noise whose frequencies lie in a band.

    Measures which band of frequencies a model's answers rest on: noise there masks it. All frequencies f with
    low <= f < high (cycles per image, or per shorter side) get the same amplitude and a random phase, drawn
    per image; the noise is the same in the three channels and has exactly the standard deviation `std`
    before the sum is clipped to [0, 1]. The mean, and the highest row and column of frequencies of an even
    side, are left out.

    Raises BadParameter when the band is empty, by itself or at the size of the images.

    Own: critical-band masking with random-phase noise.
    """

    low: Annotated[float, Field(ge=0)]  # lower edge in cycles per image, inside the band
    high: Annotated[float, Field(gt=0)]  # upper edge in cycles per image, outside the band
    std: Annotated[float, Field(ge=0, le=1)]  # standard deviation of the noise, in [0, 1] pixel units

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"low": 2, "high": 4, "std": 0.1},
        {"low": 8, "high": 16, "std": 0.2},
        {"low": 4, "high": 8, "std": 0},
    )

    def __post_init__(self) -> None:
        if self.high <= self.low:
            raise ValueError(f"high: expected more than low={self.low:g}, got {self.high:g}")

    @property
    def identity(self) -> bool:
        """The noise has no height."""
        return self.std == 0

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        if self.identity:
            return batch
        height, width = batch.pixels.shape[2:]
        name = f"noise of {self.low:g} to {self.high:g} cycles at {height}x{width}"
        noise = draws.shared(name, lambda: self._noise(batch.pixels, draws))
        return batch.with_pixels((batch.pixels + self.std * noise).clamp_(0, 1))

    def _noise(self, pixels: Tensor, draws: Draws) -> Tensor:
        """(b, 1, h, w) of standard deviation 1 in every image."""
        import torch

        b, _, height, width = pixels.shape
        distance = spectra.radii(height, width, pixels)
        inside = ((distance >= self.low) & (distance < self.high)).float()
        inside[0, 0] = 0.0
        if height % 2 == 0:
            inside[height // 2] = 0.0
        if width % 2 == 0:
            inside[:, width // 2] = 0.0
        count = float((inside * spectra.multiplicity(width, pixels)).sum())
        if not count:
            raise BadParameter(
                f"frequency.band_noise: low, high: images of {height}x{width} have no frequency from "
                f"{self.low:g} to {self.high:g}",
                ("low", "high"),
            )
        drawn = draws.uniform("phase", height, width // 2 + 1)
        amplitude = inside * (height * width / math.sqrt(count))

        def fill(_: Tensor, rows: slice) -> Tensor:
            phases = spectra.odd((drawn[rows] * 2 - 1) * math.pi, width)
            return torch.polar(amplitude.expand_as(phases), phases)[:, None]

        return spectra.changed(torch.zeros(b, 1, height, width, device=pixels.device), fill)


def _kept(pixels: Tensor, radius: float, mask: Mask) -> Tensor:
    """The share of each frequency that a low-pass keeps, (h, w // 2 + 1)."""
    distance = spectra.radii(int(pixels.shape[2]), int(pixels.shape[3]), pixels)
    if mask == "ideal":
        return (distance <= radius).float()
    return (distance.square() * (-0.5 / radius**2)).exp()
