"""What the stimuli of this folder share: the grey they are made from and the size they were shown at."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 224  # pixels of the published stimuli; lengths are given for this size
BACKGROUND = 0.4423  # the grey behind an image: the mean of all the images of the experiments


def luminance(pixels: Tensor) -> Tensor:
    """(b, 1, h, w): 0.2125 R + 0.7154 G + 0.0721 B (ITU-R BT.709), as skimage.color.rgb2gray."""
    red, green, blue = pixels.unbind(1)
    return (0.2125 * red + 0.7154 * green + 0.0721 * blue)[:, None]


def in_pixels(length: float, pixels: Tensor) -> float:
    """A length of the published stimuli in images of another size: it scales with their shorter side."""
    return length * min(int(pixels.shape[2]), int(pixels.shape[3])) / SIDE


def shown(grey: Tensor) -> Tensor:
    """A grey image (b, 1, h, w), clipped to [0, 1], as three equal channels."""
    return grey.clamp(0, 1).expand(-1, 3, -1, -1).contiguous()
