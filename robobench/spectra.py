"""Images in the frequency domain: real two-dimensional Fourier transforms, image by image on a CPU.

A spectrum is what torch.fft.rfft2 gives: (..., h, w // 2 + 1) complex, without the frequencies that follow
from the pixels being real. Frequencies are in cycles per shorter side of the image, so that a square
image has cycles per image and circles in the frequency plane are circles on the image too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_NOTHING = 1e-30  # an amplitude that may be divided by must not be smaller


def changed(pixels: Tensor, change: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """Pixels (b, c, h, w) whose spectra went through `change`, not clipped.

    change: is given spectra (n, c, h, w // 2 + 1) and the rows of the batch that they belong to. On a CPU
    these are single images: there the last bit of a transform, an angle or a sum may depend on where in
    a batch a number lies.
    """
    import torch

    b, _, height, width = pixels.shape
    step = 1 if pixels.device.type == "cpu" else max(b, 1)
    out = torch.empty(pixels.shape, dtype=pixels.dtype, device=pixels.device)
    for start in range(0, b, step):
        rows = slice(start, start + step)
        spectrum = change(torch.fft.rfft2(pixels[rows].clone()), rows)
        out[rows] = torch.fft.irfft2(spectrum, s=(height, width))
    return out


def scaled(pixels: Tensor, gain: Tensor) -> Tensor:
    """Pixels (b, c, h, w) whose frequencies are multiplied by a real gain (h, w // 2 + 1)."""
    return changed(pixels, lambda spectrum, _: spectrum * gain)


def radii(height: int, width: int, like: Tensor) -> Tensor:
    """How far each frequency of a spectrum is from 0, (h, w // 2 + 1) float32 on the device of `like`.

    Numbers that a square root may turn out just below are exact: the frequency (3, 4) is at 5.0.
    """
    import torch

    short = min(height, width)
    down = torch.fft.fftfreq(height, dtype=torch.float64) * short
    across = torch.fft.rfftfreq(width, dtype=torch.float64) * short
    return torch.hypot(down[:, None], across[None, :]).float().to(like.device)


def multiplicity(width: int, like: Tensor) -> Tensor:
    """How many frequencies of the full plane each column of a spectrum stands for, (w // 2 + 1,) float32.

    >>> import torch
    >>> multiplicity(6, torch.zeros(1)).tolist(), multiplicity(5, torch.zeros(1)).tolist()
    ([1.0, 2.0, 2.0, 1.0], [1.0, 2.0, 2.0])
    """
    import torch

    count = torch.full((width // 2 + 1,), 2.0, device=like.device)
    count[0] = 1.0
    if width % 2 == 0:
        count[-1] = 1.0
    return count


def odd(values: Tensor, width: int) -> Tensor:
    """Values (..., h, w // 2 + 1) made into phases that a real image can have: opposite at -f, 0 at 0.

    Where a side is even its highest frequency is its own opposite: the whole row, and column, is 0.
    """
    out = values.clone()
    height = int(values.shape[-2])
    half = (height - 1) // 2
    out[..., height - half :, 0] = -out[..., 1 : half + 1, 0].flip(-1)
    out[..., 0, 0] = 0.0
    if height % 2 == 0:
        out[..., height // 2, :] = 0.0
    if width % 2 == 0:
        out[..., width // 2] = 0.0
    return out


def turned(spectrum: Tensor, phases: Tensor) -> Tensor:
    """Spectra whose phases are moved on by so many radians; the amplitudes stay."""
    import torch

    return spectrum * torch.polar(torch.ones_like(phases), phases)


def with_amplitude(spectrum: Tensor, amplitude: Tensor) -> Tensor:
    """Spectra with other amplitudes and the same phases; a frequency that is not there has phase 0."""
    import torch

    size = spectrum.abs()
    return torch.where(size > _NOTHING, spectrum * (amplitude / size), amplitude)


def basis(height: int, width: int, row: int, column: int, like: Tensor) -> Tensor:
    """The real Fourier basis image of a frequency, (h, w) float32 of Euclidean norm 1.

    row, column: cycles down and across; (row, column) and (-row, -column) differ in phase only. Images of
    different pairs are orthogonal.
    """
    import torch

    # whole turns are taken off in integers, so that high frequencies are as exact as low ones
    down = (torch.arange(height) * row % height).double() / height
    across = (torch.arange(width) * column % width).double() / width
    turn = 2 * math.pi * (down[:, None] + across[None, :])
    wave = (turn.cos() - turn.sin()) / math.sqrt(height * width)
    return wave.float().to(like.device)
