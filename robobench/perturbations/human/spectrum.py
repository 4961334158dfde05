"""Stimuli made in the frequency domain: phase noise, and the mean spectrum of photographs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from robobench import spectra
from robobench.draws import Draws
from robobench.perturbations.human.luminance import luminance, shown
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

# Logarithm of the mean amplitude per pixel, fitted to the spectrum published with the stimuli: what it is at
# one cycle, its slope and curve in log f, and what frequencies near the two axes have more (and its slope).
_LEVEL, _SLOPE, _CURVE = -3.8978, -0.9108, -0.0399
_FEW_ROWS, _FEW_COLUMNS = (0.3635, 0.1418), (0.8119, 0.0694)
_MEAN = 0.4545  # of the published spectrum: the mean luminance that every image gets


@perturbations.register("phase_scrambling", version=1)
@dataclass(frozen=True, kw_only=True)
class PhaseScrambling:
    """Move the phase of every frequency of the grey image by a random angle.

    Measures how much of an answer rests on the arrangement of contours. Angles are uniform in [-width, width]
    degrees, drawn per image, opposite for opposite frequencies; the mean and, for even sides, the highest
    row and column of frequencies keep their phase. The amplitudes stay until the result is clipped to
    [0, 1]. 0 is the grey image.

    Source: Geirhos et al., Generalisation in humans and deep neural networks, NeurIPS 2018, as in its
    code; conditions 0, 30, 60, 90, 120, 150 and 180. Odd sides, which that code does not take, are ours.
    """

    width: Annotated[float, Field(ge=0, le=180)]  # largest shift in degrees

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"width": 60}, {"width": 180}, {"width": 0})

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        grey = luminance(batch.pixels)
        if self.width == 0:
            return batch.with_pixels(shown(grey))
        height, width = grey.shape[2:]
        drawn = draws.uniform("phase", 1, height, width // 2 + 1)
        largest = math.radians(self.width)

        def move(spectrum: Tensor, rows: slice) -> Tensor:
            return spectra.turned(spectrum, spectra.odd((drawn[rows] * 2 - 1) * largest, width))

        return batch.with_pixels(shown(spectra.changed(grey, move)))


@perturbations.register("power_equalisation", version=1)
@dataclass(frozen=True, kw_only=True)
class PowerEqualisation:
    """Give the grey image the amplitude spectrum that photographs have on average; its phases stay.

    Measures whether a model reads categories off the spectrum. Every image gets the same amplitudes, also the
    same mean, 0.4545; the result is clipped to [0, 1]. At sizes other than 224 pixels a frequency (in cycles
    per image) keeps its share of the contrast.

    Source: Geirhos et al., Generalisation in humans and deep neural networks, NeurIPS 2018, as in its
    code. There the amplitudes are the mean over all images of the experiment; here they come from a formula
    of 7 numbers fitted to that published mean. Amplitudes differ by 6 % on average over octaves (by 62 % at
    most, at high frequencies); for photographs the two results correlate by 0.999 and differ by 0.0075 in
    the root mean square, 4 % of the contrast.
    """

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        grey = luminance(batch.pixels)
        target = _mean_amplitude(int(grey.shape[2]), int(grey.shape[3])).to(grey.device)
        levelled = spectra.changed(grey, lambda spectrum, _: spectra.with_amplitude(spectrum, target))
        return batch.with_pixels(shown(levelled))


def _mean_amplitude(height: int, width: int) -> Tensor:
    """The amplitudes of a spectrum (h, w // 2 + 1), as torch.fft.rfft2 of pixels in [0, 1] has them."""
    import torch

    rows = (torch.fft.fftfreq(height, dtype=torch.float64) * height).abs()[:, None]
    columns = (torch.fft.rfftfreq(width, dtype=torch.float64) * width)[None, :]
    distance = torch.hypot(rows, columns)
    distance[0, 0] = 1.0
    log = distance.log()
    near = (_FEW_ROWS[0] + _FEW_ROWS[1] * log) / (1 + rows)
    near = near + (_FEW_COLUMNS[0] + _FEW_COLUMNS[1] * log) / (1 + columns)
    amplitude = (_LEVEL + _SLOPE * log + _CURVE * log.square() + near).exp()
    amplitude[0, 0] = _MEAN
    scaled: Tensor = (amplitude * (height * width)).float()
    return scaled
