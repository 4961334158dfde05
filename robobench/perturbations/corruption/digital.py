"""Brightness, contrast, colour, blocks and compression of ImageNet-C. Nothing here is random."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from robobench.codecs import from_uint8, jpeg, to_uint8
from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.perturbations.corruption.severity import Corruption, Levels, rounding
from robobench.registry import perturbations

if TYPE_CHECKING:
    from torch import Tensor

_TINY = 1e-30  # a divisor in place of 0, far below any difference between pixels
_EXAMPLES: tuple[Mapping[str, Any], ...] = (
    {"severity": 1, "table": "imagenet-224"},
    {"severity": 5, "table": "imagenet-224", "quantise": "round"},
    {"severity": 3, "table": "cifar", "quantise": "none"},
    {"severity": 2, "table": "tiny-imagenet", "jpeg_quality": 85},
)


@perturbations.register("brightness", version=1)
@dataclass(frozen=True, kw_only=True)
class Brightness(Corruption):
    """Raise the brightness, as daylight does.

    A constant is added to the HSV value V = max(R, G, B), which is clipped to 1; hue and saturation stay. All
    channels are therefore scaled by the new V over the old one, and black becomes grey.

    Raises BadParameter at a size other than 224 when no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.1, and the authors' scripts for each size.
    """

    levels: ClassVar[Levels] = {
        "imagenet-224": (0.1, 0.2, 0.3, 0.4, 0.5),
        "cifar": (0.05, 0.1, 0.15, 0.2, 0.3),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, level: float, draws: Draws) -> Tensor:
        import torch

        out = pixels.clamp(min=_TINY)  # so that black, too, has a ratio, the same in all channels
        value = _over_channels(out, torch.maximum)
        return out.mul_((value + level).clamp_(max=1.0).div_(value))


@perturbations.register("contrast", version=1)
@dataclass(frozen=True, kw_only=True)
class Contrast(Corruption):
    """Lower the contrast, as flat light does.

    (x - mean) * c + mean, with the mean of each channel over the image.

    Raises BadParameter at a size other than 224 when no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.1, and the authors' scripts for each size.
    """

    levels: ClassVar[Levels] = {
        "imagenet-224": (0.4, 0.3, 0.2, 0.1, 0.05),
        "cifar": (0.75, 0.5, 0.4, 0.3, 0.15),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, level: float, draws: Draws) -> Tensor:
        import torch

        # image by image: the order of a sum must not depend on batch or memory layout
        mean = torch.stack([p.contiguous().mean((1, 2), keepdim=True) for p in pixels])
        return (pixels * level).add_(mean.mul_(1.0 - level))


@perturbations.register("saturate", version=1)
@dataclass(frozen=True, kw_only=True)
class Saturate(Corruption):
    """Take colour out of an image, or put more in than it had.

    The HSV saturation S becomes clip(S * factor + offset, 0, 1); hue and value stay. Grey has hue 0, and so
    turns red where the offset is above 0. One of the four validation corruptions.

    Raises BadParameter at a size other than 224 when no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, appendix, and the authors' scripts for each size.
    """

    levels: ClassVar[Levels] = {
        "imagenet-224": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        "tiny-imagenet": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        "cifar": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, level: tuple[float, float], draws: Draws) -> Tensor:
        import torch

        factor, offset = level
        value = _over_channels(pixels, torch.maximum)
        spread = value - _over_channels(
            pixels, torch.minimum
        )  # S * V; a channel lies below V by its share of it
        wanted = torch.minimum((spread * factor).add_(value * offset), value)
        gain = wanted / spread.clamp(min=_TINY)
        out = (value - pixels).mul_(gain).neg_().add_(value)
        if offset > 0:
            out[:, 1:].sub_(torch.where(spread == 0, wanted, 0.0))
        return out


@perturbations.register("jpeg_compression", version=1)
@dataclass(frozen=True, kw_only=True)
class JpegCompression(Corruption):
    """Compress with JPEG at a low quality.

    Pillow's encoder and decoder, chroma at half resolution. Works on 8-bit images: float pixels are
    quantised before (with `quantise: none`, truncated).

    Raises BadParameter at a size other than 224 when no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.1, and the authors' scripts for each size.
    """

    levels: ClassVar[Levels] = {
        "imagenet-224": (25, 18, 15, 10, 7),
        "imagenet-299": (23, 16, 13, 8, 5),
        "tiny-imagenet": (65, 58, 50, 40, 25),
        "cifar": (80, 65, 58, 50, 40),
    }
    eight_bit: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, level: int, draws: Draws) -> Tensor:
        return jpeg(pixels, level, rounding(self.quantise))


@perturbations.register("pixelate", version=1)
@dataclass(frozen=True, kw_only=True)
class Pixelate(Corruption):
    """Show an image in coarse pixels, as a small one that is blown up.

    Box-resized to int(c * side) pixels per side and back, by Pillow. Works on 8-bit images: float pixels
    are quantised before (with `quantise: none`, truncated).

    Raises BadParameter at a size other than 224 when no table is named, and where a side would have no
    pixel left.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.1, and the authors' scripts for each size.
    """

    levels: ClassVar[Levels] = {
        "imagenet-224": (0.6, 0.5, 0.4, 0.3, 0.25),
        "imagenet-299": (0.5, 0.4, 0.3, 0.25, 0.2),
        "tiny-imagenet": (0.9, 0.8, 0.7, 0.6, 0.5),
        "cifar": (0.95, 0.9, 0.85, 0.75, 0.65),
    }
    eight_bit: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, level: float, draws: Draws) -> Tensor:
        from PIL import Image

        height, width = pixels.shape[2:]
        small = int(width * level), int(height * level)
        if not all(small):
            raise BadParameter(
                f"corruption.pixelate: the images are {height}x{width}, and at {level} of their sides no "
                "pixel is left: use larger images or a milder severity",
                ("severity",),
            )
        back = _upwards(small, (width, height))
        images = to_uint8(pixels, rounding(self.quantise))
        for image in images:
            coarse = Image.fromarray(image).resize(small, Image.Resampling.BOX)
            image[:] = np.asarray(coarse.resize((width, height), back))
        return from_uint8(images, pixels)


def _upwards(small: tuple[int, int], large: tuple[int, int]) -> int:
    """Pillow's filter for enlarging: BOX, or NEAREST where it gives the same, which is ten times as fast.

    Both give each fine pixel the coarse one that its centre lies in, and may differ only where a centre
    lies on a border: some (2 i + 1) / (2 * fine) = k / coarse.
    """
    from PIL import Image

    on_border = any(s // gcd(s, n) % 2 == 0 for s, n in zip(small, large, strict=True))
    return Image.Resampling.BOX if on_border else Image.Resampling.NEAREST


def _over_channels(pixels: Tensor, choose: Callable[..., Tensor]) -> Tensor:
    """The largest or the least of the three channels (b, 1, h, w), a new tensor; faster than a reduction."""
    red, green, blue = pixels.unbind(1)
    chosen = choose(red, green)
    return choose(chosen, blue, out=chosen)[:, None]
