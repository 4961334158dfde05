"""Statistics of another image: its colours, and the amplitudes of its coarse frequencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench import spectra
from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


@perturbations.register("colour_transfer", version=1)
@dataclass(frozen=True, kw_only=True)
class ColourTransfer:
    """Give the image the colours of another one.

    Measures how much of an answer rests on the palette and the light of a scene. In CIE L*a*b* each channel
    is moved and stretched to the mean and the standard deviation it has in `inputs["donor"]`; `amount` of
    that change is made. A channel that is constant is moved only; results are clipped to [0, 1].

    Raises BadParameter when the donor images are missing.

    Own: after Reinhard et al., Color transfer between images, 2001, with L*a*b* in the place of their
    logarithmic opponent space.
    """

    amount: Annotated[float, Field(ge=0, le=1)] = 1.0  # share of the change; 1 takes on all of the colours

    wants: ClassVar[tuple[str, ...]] = ("donor",)
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"amount": 0.5}, {"amount": 0})

    @property
    def identity(self) -> bool:
        """Nothing of the change is made."""
        return self.amount == 0

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        import torch

        if self.identity:
            return batch
        own, other = (
            images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
            for images in (batch.pixels, _donor(batch, "style.colour_transfer"))
        )
        done = np.stack([self._transferred(*pair) for pair in zip(own, other, strict=True)])
        pixels = torch.from_numpy(done).permute(0, 3, 1, 2).contiguous().clamp_(0, 1)
        return batch.with_pixels(pixels.to(batch.pixels.device))

    def _transferred(self, image: NDArray[np.float32], donor: NDArray[np.float32]) -> NDArray[np.float32]:
        """One image (h, w, 3)."""
        import cv2

        own, other = (cv2.cvtColor(part, cv2.COLOR_RGB2LAB) for part in (image, donor))
        means, target = own.mean((0, 1), np.float64), other.mean((0, 1), np.float64)
        spread, wanted = own.std((0, 1), np.float64), other.std((0, 1), np.float64)
        stretch = np.divide(wanted, spread, out=np.ones(3), where=spread > 0)
        moved = (own - means) * stretch + target
        mixed = own + self.amount * (moved - own)
        return np.asarray(cv2.cvtColor(mixed.astype(np.float32), cv2.COLOR_LAB2RGB), np.float32)


@perturbations.register("amplitude_transfer", version=1)
@dataclass(frozen=True, kw_only=True)
class AmplitudeTransfer:
    """Give the coarse frequencies the amplitudes they have in another image; all phases stay.

    Measures robustness to the look of another scene (light, haze, large colours) under the same contours. In
    every channel the amplitudes at up to b cycles down and b across, b being the shorter side times `beta`,
    rounded down, become those of `inputs["donor"]`, the mean included; results are clipped to [0, 1]. At
    0.5 the whole spectrum of a square image is the donor's.

    Raises BadParameter when the donor images are missing.

    Source: Yang and Soatto, FDA: Fourier Domain Adaptation for Semantic Segmentation, CVPR 2020, as in its
    code, which takes beta of 0.01 to 0.1.
    """

    beta: Annotated[float, Field(ge=0, le=0.5)] = 0.05  # half width of the window, as a share of the side

    wants: ClassVar[tuple[str, ...]] = ("donor",)
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"beta": 0}, {"beta": 0.5})

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        import torch

        donor = _donor(batch, "style.amplitude_transfer")
        height, width = (int(side) for side in batch.pixels.shape[2:])
        reach = int(min(height, width) * self.beta + 1e-9)
        rows = (torch.fft.fftfreq(height) * height).round().abs() <= reach
        columns = torch.arange(width // 2 + 1) <= reach
        inside = (rows[:, None] & columns[None, :]).to(donor.device)

        def exchange(spectrum: Tensor, part: slice) -> Tensor:
            amplitude = torch.fft.rfft2(donor[part].clone()).abs()
            return torch.where(inside, spectra.with_amplitude(spectrum, amplitude), spectrum)

        return batch.with_pixels(spectra.changed(batch.pixels, exchange).clamp_(0, 1))


def _donor(batch: ImageBatch, name: str) -> Tensor:
    donor = batch.inputs.get("donor")
    if donor is None or donor.shape != batch.pixels.shape:
        got = "none" if donor is None else str(tuple(donor.shape))
        raise BadParameter(
            f"{name}: expected donor images of shape {tuple(batch.pixels.shape)}, got {got}; the engine "
            'gives them as the input "donor" of a data set of at least two images'
        )
    return donor.to(batch.pixels.device)
