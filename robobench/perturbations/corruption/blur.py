"""The blurs of ImageNet-C: defocus, frosted glass, motion, zoom and Gaussian."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.codecs import quantised
from robobench.draws import Draws
from robobench.filters import Taps, correlate, disk, gaussian, padded
from robobench.perturbations.corruption.severity import Corruption, Levels
from robobench.registry import perturbations
from robobench.warp import sample, zoomed_places

if TYPE_CHECKING:
    from torch import Tensor

_EXAMPLES: tuple[Mapping[str, Any], ...] = (
    {"severity": 1, "table": "tiny-imagenet"},
    {"severity": 3, "table": "cifar", "quantise": "round"},
    {"severity": 3, "table": "imagenet-224", "quantise": "none"},
    {"severity": 5, "table": "imagenet-224"},
)
_DIRECT = 121  # a kernel of more weights is cheaper in the frequency domain
_FFT_STEP = 64  # transforms of multiples of it have small factors only


@perturbations.register("gaussian_blur", version=1)
@dataclass(frozen=True, kw_only=True)
class GaussianBlur(Corruption):
    """Blur by a Gaussian.

    Measures reliance on fine detail. The standard deviation is 1 to 6 pixels at 224; the kernel ends at
    four of them and the border repeats the outermost pixel. One of the validation corruptions.

    Raises BadParameter when the images are not of 224 pixels and no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, appendix A, with the parameters of the published code.
    """

    levels: ClassVar[Levels] = {
        "imagenet-224": (1.0, 2.0, 3.0, 4.0, 6.0),
        "imagenet-299": (1.5, 2.5, 3.5, 4.5, 6.5),
        "tiny-imagenet": (0.5, 0.75, 1.0, 1.25, 1.5),
        "cifar": (0.4, 0.6, 0.7, 0.8, 1.0),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, level: float, draws: Draws) -> Tensor:
        return gaussian(pixels, level)


@perturbations.register("defocus_blur", version=1)
@dataclass(frozen=True, kw_only=True)
class DefocusBlur(Corruption):
    """Blur by a disk, as a lens out of focus does.

    Measures reliance on fine detail. The disk has a radius of 3 to 10 pixels at 224 and a soft edge; the
    border mirrors the image.

    Raises BadParameter when the images are not of 224 pixels and no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.1, with the parameters of the published code.
    """

    levels: ClassVar[Levels] = {
        "imagenet-224": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "imagenet-299": ((4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)),
        "tiny-imagenet": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        "cifar": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, level: tuple[float, float], draws: Draws) -> Tensor:
        return defocused(pixels, *level)


@perturbations.register("glass_blur", version=1)
@dataclass(frozen=True, kw_only=True)
class GlassBlur(Corruption):
    """Blur, move every pixel by a few places, and blur again, as frosted glass does.

    Measures reliance on fine detail and exact places. Pixels are visited from the bottom right to the top
    left, once or more; each takes on the value that its neighbour has by then, at a distance drawn from
    -reach to reach - 1 along both axes. The image is truncated to 8 bits between the blurs. A frame of the
    width of the reach (one less at the bottom and the right) stays in place.

    Raises BadParameter when the images are not of 224 pixels and no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.1, as the published code behaves: what looks like a swap of two
    pixels there overwrites one of them.
    """

    levels: ClassVar[Levels] = {  # standard deviation, reach, passes
        "imagenet-224": ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "imagenet-299": ((0.8, 1, 3), (1.0, 3, 1), (1.1, 2, 4), (1.2, 4, 2), (1.6, 5, 2)),
        "tiny-imagenet": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        "cifar": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, level: tuple[float, int, int], draws: Draws) -> Tensor:
        sigma, reach, passes = level
        steps = glass_steps(draws, reach, passes, int(pixels.shape[2]), int(pixels.shape[3]))
        blurred = quantised(gaussian(pixels, sigma).clamp_(0.0, 1.0))
        return gaussian(displaced(blurred, steps, reach), sigma)


@perturbations.register("motion_blur", version=1)
@dataclass(frozen=True, kw_only=True)
class MotionBlur(Corruption):
    """Blur along a line at an angle drawn from [-45, 45) degrees.

    Measures reliance on fine detail. The line has 2 * radius + 1 samples, each a whole number of pixels
    away, weighted by one half of a Gaussian: the picture also moves. The border repeats the outermost
    pixel.

    Unless `quantise` is `none` the result is rounded to 8 bits, also where it is `truncate`: the published
    code does this step by ImageMagick, which gives back whole levels, the nearest ones.

    Raises BadParameter when the images are not of 224 pixels and no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.1, with the parameters of the published code; the line is that of
    ImageMagick's motion blur.
    """

    levels: ClassVar[Levels] = {  # radius, standard deviation
        "imagenet-224": ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
        "imagenet-299": ((12, 4.0), (17, 6.0), (17, 9.0), (17, 13.0), (22, 16.0)),
        "tiny-imagenet": ((10, 1.0), (10, 1.5), (10, 2.0), (10, 2.5), (12, 3.0)),
        "cifar": ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, level: tuple[int, float], draws: Draws) -> Tensor:
        moved = motion(pixels, *level, angles(draws, -45.0, 45.0))
        return moved if self.quantise == "none" else quantised(moved.clamp_(0.0, 1.0), "round")


@perturbations.register("zoom_blur", version=1)
@dataclass(frozen=True, kw_only=True)
class ZoomBlur(Corruption):
    """Average an image with enlarged copies of its middle, as a camera that moves forward does.

    Measures reliance on fine detail, most of all away from the middle. The zoom factors begin at 1, so
    that the image itself counts twice, and reach 1.11 to 1.30 at 224 pixels. Of an image that is not a
    square both sides are enlarged by the same factor, each cut to its own length.

    Raises BadParameter when the images are not of 224 pixels and no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.1, with the parameters of the published code.
    """

    levels: ClassVar[Levels] = {  # how many factors, how far apart
        "imagenet-224": ((12, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03)),
        "tiny-imagenet": ((7, 0.01), (12, 0.01), (16, 0.01), (21, 0.01), (26, 0.01)),
        "cifar": ((7, 0.01), (12, 0.01), (16, 0.01), (21, 0.01), (26, 0.01)),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, level: tuple[int, float], draws: Draws) -> Tensor:
        return zoomed(pixels, zoom_factors(*level))


def defocused(pixels: Tensor, radius: float, soft: float) -> Tensor:
    """Pixels (b, c, h, w) correlated with a soft disk; small disks directly, large ones by Fourier."""
    import torch

    kernel = _soft_disk(radius, soft)
    if kernel.size <= _DIRECT:
        return correlate(pixels, kernel, border="mirror")
    height, width = pixels.shape[2:]
    reach = len(kernel) // 2
    tall, wide = (math.ceil((n + 2 * reach) / _FFT_STEP) * _FFT_STEP for n in (height, width))
    filtering = _response(radius, soft, tall, wide).to(pixels.device)
    out = torch.empty_like(pixels)
    # image by image, so that the order of its sums cannot depend on the batch
    for image, into in zip(pixels, out, strict=True):
        around = padded(image[None], reach, reach, "mirror")[0]
        spectrum = torch.fft.rfft2(around, s=(tall, wide)).mul_(filtering)
        into.copy_(torch.fft.irfft2(spectrum, s=(tall, wide))[:, :height, :width])
    return out


@lru_cache(maxsize=32)
def _soft_disk(radius: float, soft: float) -> Taps:
    """The kernel without the empty frame around it."""
    kernel = disk(radius, soft)
    filled = np.flatnonzero(kernel.max(0) > 1e-12)
    inside = slice(int(filled[0]), int(filled[-1]) + 1)
    return np.ascontiguousarray(kernel[inside, inside])


@lru_cache(maxsize=8)
def _response(radius: float, soft: float, tall: int, wide: int) -> Tensor:
    """What correlation with the disk multiplies a (tall, wide) spectrum by."""
    import torch

    kernel = torch.from_numpy(_soft_disk(radius, soft))
    spectrum: Tensor = torch.fft.rfft2(kernel, s=(tall, wide))
    return spectrum.conj().resolve_conj().to(torch.complex64)


def glass_steps(
    draws: Draws, reach: int, passes: int, height: int, width: int
) -> Sequence[tuple[Tensor, Tensor]]:
    """For each pass and pixel the steps down and across, int32 (b, h, w), uniform in [-reach, reach)."""
    steps = []
    for i in range(passes):
        words = draws.bits(f"steps {i}", height, width)
        # sixteen bits each; a shift that copies the sign is undone by the mask
        down, across = words.bitwise_right_shift(16).bitwise_and_(0xFFFF), words.bitwise_and(0xFFFF)
        for part in (down, across):
            part.mul_(2 * reach).bitwise_right_shift_(16).sub_(reach)
        steps.append((down, across))
    return steps


def displaced(pixels: Tensor, steps: Sequence[tuple[Tensor, Tensor]], reach: int) -> Tensor:
    """Pixels (b, c, h, w) after passes over their inner part that overwrite each by a neighbour.

    steps: for each pass how far down and across the neighbour is, integers (b, h, w) in [-reach, reach).
    A pass visits rows reach + 1 ... h - reach and columns likewise, the last ones first, and reads what
    earlier visits have written.
    """
    import torch

    height, width = int(pixels.shape[2]), int(pixels.shape[3])
    source = None
    for down, across in steps:
        found = _sources(down, across, reach, height, width)
        source = found if source is None else source.index_select(0, found)
    if source is None:
        return pixels.clone()
    first = torch.arange(len(pixels), dtype=torch.int32, device=source.device) * (height * width)
    inside = (source.view(len(pixels), -1) - first[:, None]).long()[:, None]
    return pixels.flatten(2).gather(2, inside.expand(-1, pixels.shape[1], -1)).view(pixels.shape)


def _sources(down: Tensor, across: Tensor, reach: int, height: int, width: int) -> Tensor:
    """Where in the flattened batch each pixel's value after one pass was before it, int32 (b * h * w,).

    A pixel whose neighbour comes later in reading order was visited after it: it takes what that one took.
    Others take the old value. So pixels point to pixels until one takes an old value, and following all
    pointers at once twice as far each time finds every end in a few rounds.
    """
    import torch

    here = torch.arange(down.numel(), dtype=torch.int32, device=down.device)
    neighbour = here.view(down.shape).clone()
    inner = (slice(None), slice(reach + 1, height - reach + 1), slice(reach + 1, width - reach + 1))
    neighbour[inner] += down[inner] * width + across[inner]
    neighbour = neighbour.flatten()
    pointer = torch.maximum(neighbour, here)
    while True:
        further = pointer.index_select(0, pointer)
        if torch.equal(further, pointer):
            return neighbour.index_select(0, pointer)
        pointer = further


def angles(draws: Draws, low: float, high: float) -> tuple[float, ...]:
    """One angle per image in degrees, uniform in [low, high)."""
    return tuple(low + (high - low) * float(u) for u in draws.uniform("angle"))


def motion(pixels: Tensor, radius: int, sigma: float, angles: Sequence[float]) -> Tensor:
    """Pixels (b, c, h, w) blurred along a line at each image's angle in degrees; not rounded."""
    import torch

    height, width = pixels.shape[2:]
    frame = 2 * radius
    around = padded(pixels, frame, frame, "nearest")
    out = torch.zeros_like(pixels)
    for image, into, angle in zip(around, out, angles, strict=True):
        for (down, across), weight in line(radius, sigma, angle).items():
            top, left = frame + down, frame + across
            into.add_(image[:, top : top + height, left : left + width], alpha=weight)
    return out


def line(radius: int, sigma: float, angle: float) -> Mapping[tuple[int, int], float]:
    """The weight of each place (down, across) that a motion blur reads, adding up to 1.

    Sample i of 2 * radius + 1 lies i pixels along the angle (degrees, clockwise as the image is seen),
    rounded to whole pixels, halves down; samples at one place are added up.

    >>> line(1, 100.0, 0.0).keys()
    dict_keys([(0, 0), (0, 1), (0, 2)])
    """
    i = np.arange(2 * radius + 1)
    weights = np.exp(-(i**2) / (2.0 * sigma**2))
    weights /= weights.sum()
    turn = math.radians(angle)
    down, across = (np.ceil(i * part - 0.5).astype(int) for part in (math.sin(turn), math.cos(turn)))
    found: dict[tuple[int, int], float] = {}
    for place, weight in zip(zip(down.tolist(), across.tolist(), strict=True), weights.tolist(), strict=True):
        found[place] = found.get(place, 0.0) + weight
    return found


def zoom_factors(count: int, step: float) -> NDArray[np.float64]:
    """1, 1 + step, ... as numpy.arange computes them: a last bit can decide how many pixels are cut."""
    return np.asarray(1.0 + np.arange(count) * ((1.0 + step) - 1.0), np.float64)


def zoomed(pixels: Tensor, factors: Sequence[float] | NDArray[np.float64]) -> Tensor:
    """The mean of pixels (b, c, h, w) and their copies enlarged about the middle by each factor."""
    larger = tuple(float(f) for f in factors if f != 1)
    pixels = pixels.contiguous()
    total = pixels * (1.0 + len(factors) - len(larger))
    if larger and pixels.device.type == "cpu":
        _add_enlarged(pixels, larger, total)
    elif larger:
        for factor in larger:
            total += _enlarged(pixels, factor)
    return total.div_(len(factors) + 1)


def _enlarged(pixels: Tensor, factor: float) -> Tensor:
    import torch

    height, width = int(pixels.shape[2]), int(pixels.shape[3])
    rows, columns = (
        torch.from_numpy(zoomed_places(side, factor)).float().to(pixels.device) for side in (height, width)
    )
    grid = rows[:, None].expand(height, width), columns[None, :].expand(height, width)
    return sample(pixels, *grid, border="nearest")


def _add_enlarged(pixels: Tensor, factors: tuple[float, ...], total: Tensor) -> None:
    """Add all enlarged copies to `total`, by sparse products instead of looking up every place.

    An enlarged plane is R X C', R and C being sparse matrices that enlarge columns and rows. Every R X
    comes from one product, and the sum over the factors of C (R X)' from another.
    """
    import cv2

    height, width = int(pixels.shape[2]), int(pixels.shape[3])
    down, across = _enlarging(height, factors)[0], _enlarging(width, factors)[1]
    turned = np.empty((len(factors), width, height), np.float32)
    planes = pixels.contiguous().view(-1, height, width).numpy()
    for plane, into in zip(planes, total.view(-1, height, width).numpy(), strict=True):
        for tall, wide in zip((down @ plane).reshape(-1, height, width), turned, strict=True):
            cv2.transpose(tall, dst=wide)
        into += (across @ turned.reshape(-1, height)).T


@lru_cache(maxsize=16)
def _enlarging(side: int, factors: tuple[float, ...]) -> tuple[Any, Any]:
    """The sparse matrices that enlarge a line by each factor, below one another and side by side."""
    from scipy.sparse import csr_matrix, hstack, vstack

    matrices = []
    for factor in factors:
        places = zoomed_places(side, factor)
        first = np.clip(np.floor(places).astype(int), 0, max(side - 2, 0))
        second = np.minimum(first + 1, side - 1)
        weights = np.stack([1.0 - (places - first), places - first], axis=1)
        at = np.repeat(np.arange(side), 2), np.stack([first, second], axis=1).ravel()
        matrices.append(csr_matrix((weights.ravel(), at), shape=(side, side)).astype(np.float32))
    return vstack(matrices, format="csr"), hstack(matrices, format="csr")
