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
    """Pixels in [0, 1] on the 256 levels k / 255, as float32.

    `truncate` takes the level below, as numpy's conversion to uint8 does; `round` the nearest one. A value
    less than 1e-4 of a level below a step counts as the step, so that float32 images that already lie on
    the levels stay what they are.
    """
    return (pixels * 255.0).add_(_SLACK if how == "truncate" else 0.5).floor_().clamp_(0, 255).div_(255.0)


def to_uint8(pixels: Tensor, how: Rounding = "truncate") -> NDArray[np.uint8]:
    """(b, 3, h, w) in [0, 1] as a (b, h, w, 3) uint8 array on the CPU; see `quantised`."""
    import torch

    steps = (pixels * 255.0).add_(_SLACK if how == "truncate" else 0.5).clamp_(0, 255.5)
    return np.asarray(steps.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy())


def from_uint8(images: NDArray[np.uint8], like: Tensor) -> Tensor:
    """(b, h, w, 3) uint8 as (b, 3, h, w) float32 in [0, 1], on the device of `like`."""
    import torch

    return torch.from_numpy(images).to(like.device).permute(0, 3, 1, 2).contiguous().float().div_(255.0)


def jpeg(pixels: Tensor, quality: int, how: Rounding = "truncate") -> Tensor:
    """Each image of a batch through Pillow's JPEG at a quality of 1 to 100, chroma at half resolution."""
    from PIL import Image

    done = []
    for image in to_uint8(pixels, how):
        with BytesIO() as file:
            Image.fromarray(image).save(file, "JPEG", quality=quality)
            done.append(np.asarray(Image.open(file)))
    return from_uint8(np.stack(done), pixels)
