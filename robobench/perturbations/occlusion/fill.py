"""Covering: what the hidden pixels of an image are filled with, and how many they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.filters import gaussian
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

Fill = Literal["black", "grey", "mean", "noise", "blur", "donor"]
BLUR = 1 / 16  # standard deviation of the blur, as a share of the shorter side: 14 pixels at 224
REACH = 3.0  # where the blur's kernel ends, in standard deviations


class Filling:
    """A plug-in that fills what it hides.

    `black`, `grey` (0.5), `mean` (the image's own mean colour), `noise` (uniform in [0, 1], drawn per
    image, the same at every level), `blur` (the image itself, blurred by a Gaussian whose standard
    deviation is 1/16 of the shorter side) or `donor` (another image of the data set, at the same place).
    """

    fill: Fill

    @property
    def wants(self) -> tuple[str, ...]:
        """Another image, where that is what covers."""
        return ("donor",) if self.fill == "donor" else ()


def cover(batch: ImageBatch, hidden: Tensor, fill: Fill, draws: Draws, name: str) -> Tensor:
    """The pixels of a batch, filled where `hidden` (b, 1, h, w), float32 zeros and ones, is one.

    Raises BadParameter in the name of a plug-in when the donor images are missing.
    """
    # Multiplied rather than chosen, which is several times faster; x * 1 + y * 0 is x to the last bit.
    out = batch.pixels * (1 - hidden)
    if fill == "black":
        return out
    if fill == "grey":
        return out.add_(hidden, alpha=0.5)
    return out.addcmul_(_shade(batch, fill, draws, name), hidden)


def share(hidden: Tensor) -> Tensor:
    """The share of the pixels that is hidden, (b,) float32: whole numbers, so no order of a sum matters."""
    return hidden.flatten(1).double().mean(1).float()


def _shade(batch: ImageBatch, fill: Fill, draws: Draws, name: str) -> Tensor:
    """What shows where a pixel is hidden: (b, 3, h, w), or one colour (b, 3, 1, 1)."""
    import torch

    pixels = batch.pixels
    if fill == "mean":  # image by image: the order of a sum must not depend on batch or memory layout
        return torch.stack([p.contiguous().mean((1, 2), keepdim=True) for p in pixels])
    if fill == "noise":
        return draws.uniform("fill", *pixels.shape[1:])
    if fill == "blur":
        sigma = BLUR * min(pixels.shape[2:])
        return gaussian(pixels, sigma, truncate=REACH, border="reflect").clamp_(0, 1)
    donor = batch.inputs.get("donor")
    if donor is None or donor.shape != pixels.shape:
        got = "none" if donor is None else str(tuple(donor.shape))
        raise BadParameter(
            f"{name}: fill: expected donor images of shape {tuple(pixels.shape)}, got {got}; the "
            'engine gives them as the input "donor" of a data set of at least two images',
            ("fill",),
        )
    return donor
