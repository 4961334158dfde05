"""Colour spaces of RGB batches (b, 3, h, w) in [0, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def grey(pixels: Tensor) -> Tensor:
    """Luma (b, 1, h, w): 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), what OpenCV and Pillow call grey."""
    red, green, blue = pixels.unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]


def to_hsv(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in [0, 1), saturation and value in [0, 1], each (b, h, w), as skimage.color.rgb2hsv.

    Grey has hue and saturation 0.
    """
    import torch

    red, green, blue = pixels.unbind(1)
    value, least = pixels.amax(1), pixels.amin(1)
    spread = value - least
    safe = torch.where(spread > 0, spread, 1.0)
    saturation = torch.where(value > 0, spread / torch.where(value > 0, value, 1.0), 0.0)
    hue = torch.where(red == value, (green - blue) / safe, 4.0 + (red - green) / safe)
    hue = torch.where((green == value) & (red != value), 2.0 + (blue - red) / safe, hue)
    hue = torch.where(spread > 0, (hue / 6.0).remainder(1.0), 0.0)
    return hue, saturation, value


def from_hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """(b, 3, h, w) RGB from hue (one turn is 1), saturation and value; the inverse of `to_hsv`."""
    import torch

    # channel n falls with its distance from its own hue, as a clipped triangle
    planes = []
    for n in (5.0, 3.0, 1.0):
        k = (n + hue * 6.0).remainder(6.0)
        planes.append(value - value * saturation * torch.minimum(k, 4.0 - k).clamp(0.0, 1.0))
    return torch.stack(planes, dim=1)
