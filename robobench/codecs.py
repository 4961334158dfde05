"""Float pixels to 8 bits and back, and through the codecs that lose something on the way."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Rounding = Literal["truncate", "round"]
_SLACK = 1e-4  # of a level: k/255 as float32, times 255, may fall just short of k


def quantised(pixels: Tensor, how: Rounding = "truncate") -> Tensor:
    """Pixels on the 256 levels k / 255, as float32; what lies beyond [0, 1] is clipped.

    `truncate` takes the level below, as numpy's conversion to uint8 does; `round` the nearest one. A value
    less than 1e-4 of a level below a step counts as the step, so that float32 images that already lie on
    the levels stay what they are.
    """
    return _to_steps_(pixels * 255.0, how).floor_().div_(255.0)


def quantise_(pixels: Tensor, how: Rounding = "truncate") -> Tensor:
    """`quantised` in place, for a tensor that nobody else holds."""
    return _to_steps_(pixels.mul_(255.0), how).floor_().div_(255.0)


def to_uint8(pixels: Tensor, how: Rounding = "truncate") -> NDArray[np.uint8]:
    """(b, 3, h, w) as a (b, h, w, 3) uint8 array on the CPU; see `quantised`."""
    import cv2
    import torch

    steps = _to_steps_(pixels * 255.0, how)
    # numpy's cast and OpenCV's interleaving are each several times as fast as torch's on a CPU
    on_cpu = steps.device.type == "cpu"
    planes = steps.numpy().astype(np.uint8) if on_cpu else steps.to(torch.uint8).cpu().numpy()
    out = np.empty((len(planes), *planes.shape[2:], 3), np.uint8)
    for image, of_image in zip(out, planes, strict=True):
        image[:] = cv2.merge(list(of_image))
    return out


def from_uint8(images: NDArray[np.uint8], like: Tensor) -> Tensor:
    """(b, h, w, 3) uint8 as (b, 3, h, w) float32 in [0, 1], on the device of `like`."""
    import cv2
    import torch

    planes = np.empty((len(images), 3, *images.shape[1:3]), np.uint8)
    for of_image, image in zip(planes, images, strict=True):
        of_image[:] = cv2.split(image)
    return torch.from_numpy(planes).to(like.device).float().div_(255.0)


def _to_steps_(scaled: Tensor, how: Rounding) -> Tensor:
    """Pixels times 255 become numbers whose whole part is the level."""
    return scaled.add_(_SLACK if how == "truncate" else 0.5).clamp_(0.0, 255.5)


def jpeg(pixels: Tensor, quality: int, how: Rounding = "truncate") -> Tensor:
    """Each image of a batch through Pillow's JPEG at a quality of 1 to 100, chroma at half resolution."""
    from PIL import Image

    images = to_uint8(pixels, how)
    for image in images:
        with BytesIO() as file:
            Image.fromarray(image).save(file, "JPEG", quality=quality)
            image[:] = np.asarray(Image.open(file, formats=("JPEG",)))
    return from_uint8(images, pixels)
