"""Linear filters over batches of images: OpenCV plane by plane on a CPU, torch on other devices.

What a filter gives for an image never depends on the batch it is in. The borders are named as in
scipy.ndimage: for a row `a b c d`, `nearest` continues `d d d`, `reflect` (the edge twice) `d c b`,
`mirror` (the edge once) `c b a`, `zero` with zeros.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Border = Literal["nearest", "reflect", "mirror", "zero"]
Taps = NDArray[np.float64]


def gaussian(pixels: Tensor, sigma: float, *, truncate: float = 4.0, border: Border = "nearest") -> Tensor:
    """Each plane of (b, c, h, w) blurred by a normalised Gaussian, as scipy.ndimage.gaussian_filter does.

    sigma: in pixels; 0 changes nothing. The kernel ends floor(truncate * sigma + 0.5) pixels from its
    middle.
    """
    if sigma == 0:
        return pixels
    taps = gaussian_taps(sigma, truncate)
    return separable(pixels, taps, taps, border=border)


def gaussian_taps(sigma: float, truncate: float = 4.0) -> Taps:
    """The kernel of `gaussian`: an odd number of weights that add up to 1.

    >>> gaussian_taps(1.0, truncate=1.0).round(4).tolist()
    [0.2741, 0.4519, 0.2741]
    """
    reach = int(truncate * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(taps / taps.sum(), np.float64)


def separable(pixels: Tensor, down: Taps, across: Taps, *, border: Border) -> Tensor:
    """Each plane of (b, c, h, w) correlated with `down` along its columns and `across` along its rows.

    Both have an odd length.
    """
    import torch

    if pixels.device.type != "cpu":
        rows = _correlated(pixels, down[:, None], border)
        return _correlated(rows, across[None, :], border)
    import cv2

    around = _border(cv2, border)
    out = torch.empty(pixels.shape, dtype=torch.float32)
    narrow = np.asarray(across, np.float32), np.asarray(down, np.float32)
    for plane, into in _planes(pixels, out):
        cv2.sepFilter2D(plane, -1, *narrow, dst=into, borderType=around)
    return out


def correlate(pixels: Tensor, kernel: Taps, *, border: Border) -> Tensor:
    """Each plane of (b, c, h, w) correlated with a kernel (kh, kw) of odd sides, not flipped."""
    import torch

    if pixels.device.type != "cpu":
        return _correlated(pixels, kernel, border)
    import cv2

    out = torch.empty(pixels.shape, dtype=torch.float32)
    weights = np.asarray(kernel, np.float32)
    for plane, into in _planes(pixels, out):
        cv2.filter2D(plane, -1, weights, dst=into, borderType=_border(cv2, border))
    return out


def places(first: int, last: int, side: int, border: Literal["nearest", "reflect", "mirror"]) -> Tensor:
    """Where the positions first ... last - 1 of a line of `side` pixels are found, (last - first,) int64.

    >>> places(-2, 6, 4, "reflect").tolist(), places(-2, 6, 4, "mirror").tolist()
    ([1, 0, 0, 1, 2, 3, 3, 2], [2, 1, 0, 1, 2, 3, 2, 1])
    """
    import torch

    at = torch.arange(first, last)
    if border == "nearest":
        return at.clamp(0, side - 1)
    if border == "reflect":
        at = at.remainder(2 * side)
        return torch.where(at < side, at, 2 * side - 1 - at)
    period = max(2 * side - 2, 1)
    at = at.remainder(period)
    return torch.where(at < side, at, period - at)


def padded(pixels: Tensor, down: int, across: int, border: Border) -> Tensor:
    """(b, c, h, w) continued by `down` rows above and below and `across` columns left and right."""
    from torch.nn.functional import pad

    if border == "zero":
        return pad(pixels, (across, across, down, down))
    if border == "nearest":
        return pad(pixels, (across, across, down, down), mode="replicate")
    height, width = pixels.shape[2:]
    if border == "mirror" and down < height and across < width:
        return pad(pixels, (across, across, down, down), mode="reflect")
    rows = places(-down, height + down, height, border).to(pixels.device)
    columns = places(-across, width + across, width, border).to(pixels.device)
    return pixels.index_select(2, rows).index_select(3, columns)


def _planes(pixels: Tensor, out: Tensor) -> zip[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Every plane of the images, and where its result goes, as arrays over the same memory."""
    height, width = pixels.shape[2:]
    given = pixels.contiguous().view(-1, height, width).numpy()
    return zip(given, out.view(-1, height, width).numpy(), strict=True)


def _border(cv2: object, border: Border) -> int:
    names = {"nearest": "REPLICATE", "reflect": "REFLECT", "mirror": "REFLECT_101", "zero": "CONSTANT"}
    return int(getattr(cv2, f"BORDER_{names[border]}"))


def _correlated(pixels: Tensor, kernel: Taps, border: Border) -> Tensor:
    """By torch's convolution in full float32: TF32 would keep three digits only."""
    import torch
    from torch.nn.functional import conv2d

    b, channels, height, width = pixels.shape
    tall, wide = kernel.shape
    around = padded(pixels, tall // 2, wide // 2, border).reshape(
        b * channels, 1, -1, width + 2 * (wide // 2)
    )
    weights = torch.as_tensor(kernel, dtype=torch.float32, device=pixels.device)[None, None]
    with torch.backends.cudnn.flags(allow_tf32=False):
        return conv2d(around, weights).view(b, channels, height, width)


def disk(radius: float, soft: float) -> Taps:
    """The antialiased disk of ImageNet-C's defocus blur: a filled circle, smoothed.

    Up to a radius of 8 it lies on 17 x 17 pixels and is smoothed by 3 x 3 Gaussian weights of standard
    deviation `soft`, else on (2 * radius + 1) squared and by 5 x 5. The circle adds up to 1; beyond the
    grid the smoothing mirrors it, so that one that touches the grid adds up to 1.01 in the end.
    """
    reach, width = (8, 1) if radius <= 8 else (math.floor(radius), 2)
    line = np.arange(-reach, reach + 1)
    filled = (line[:, None] ** 2 + line[None, :] ** 2 <= radius**2).astype(np.float64)
    filled /= filled.sum()
    taps = gaussian_taps(soft, (width + 0.25) / soft)
    around = np.pad(filled, width, mode="reflect")
    rows = sum(t * around[i : i + len(line)] for i, t in enumerate(taps))
    return np.asarray(sum(t * rows[:, i : i + len(line)] for i, t in enumerate(taps)), np.float64)
