"""The weather of ImageNet-C: snow, frost, fog, and spatter on the lens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.codecs import quantised
from robobench.colour import grey
from robobench.draws import Draws
from robobench.filters import gaussian
from robobench.keys import digest, file_digest
from robobench.perturbations.corruption.blur import angles, motion
from robobench.perturbations.corruption.frost_textures import first_images, photographs, textures
from robobench.perturbations.corruption.plasma import plasma, plasma_side
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
_WATER = (175, 238, 238)  # pale turquoise, in 8-bit levels
_MUD = (63, 42, 20)
_MUD_FLOOR = 0.8  # thinner mud is none
_DROP_WIDTH = 20.0  # distance from an edge, in pixels, beyond which a drop looks the same
_DROP_LIGHT = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))  # an emboss filter: light from the top left


@perturbations.register("snow", version=1)
@dataclass(frozen=True, kw_only=True)
class Snow(Corruption):
    """Let it snow, and pale the colours.

    Measures reliance on parts that something small and bright covers. Flakes are enlarged normal noise
    above a threshold, truncated to 8 bits, blurred along a line at an angle drawn from [-135, -45)
    degrees, and rounded to 8 bits; they are added twice, once turned by 180 degrees. Before that the
    image is mixed with a whitened one. Of an image that is not a square both sides of the noise are
    enlarged by the same factor.

    Raises BadParameter when the images are not of 224 pixels and no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.1, with the parameters of the published code.
    """

    levels: ClassVar[Levels] = {  # mean, standard deviation, zoom, threshold, radius, sigma, share kept
        "imagenet-224": (
            (0.1, 0.3, 3.0, 0.5, 10, 4.0, 0.8),
            (0.2, 0.3, 2.0, 0.5, 12, 4.0, 0.7),
            (0.55, 0.3, 4.0, 0.9, 12, 8.0, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8.0, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12.0, 0.55),
        ),
        "tiny-imagenet": (
            (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.8),
            (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.6),
        ),
        "cifar": (
            (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
            (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
        ),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(
        self,
        pixels: Tensor,
        level: tuple[float, float, float, float, int, float, float],
        draws: Draws,
    ) -> Tensor:
        mean, deviation, zoom, threshold, radius, sigma, kept = level
        height, width = int(pixels.shape[2]), int(pixels.shape[3])
        # only the middle of the noise is seen: as much as the smallest zoom of any severity shows
        widest = min(other[2] for other in self.table_levels(pixels))
        middle = [int(np.ceil(side / widest)) for side in (height, width)]
        noise = draws.normal("flakes", *middle)[:, None] * deviation + mean
        layer = flakes(noise, height, width, zoom, threshold)
        layer = motion(layer, radius, sigma, angles(draws, -135.0, -45.0))
        return snowed(pixels, quantised(layer.clamp_(0.0, 1.0), "round"), kept)


@perturbations.register("frost", version=1)
@dataclass(frozen=True, kw_only=True)
class Frost(Corruption):
    """Lay frost over an image, as on a window, with generated textures.

    Measures reliance on parts that something bright and patterned covers. A random part of one of five
    frost textures is added to the darkened image. The textures are drawn by a generator of our own, the
    same for everybody; at 64 and 32 pixels they are shrunk to 0.3 and 0.2 of their size. ImageNet-C used
    photographs, which cannot be passed on: results with generated textures are a frost of our own and not
    comparable with stored ImageNet-C frost. With `textures` they come from the first five image files, in
    alphabetical order, of a folder (the published code's, for example), and are enlarged where they are
    smaller than the images.

    Raises BadParameter when the images are not of 224 pixels and no table is named, DataError when the
    folder is missing or holds no image, or one that cannot be read.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.1, with the parameters of the published code, which draws from five
    of its six photographs. The generated textures are our own.
    """

    textures: str | None = None  # a folder of frost photographs; generated textures when not given

    levels: ClassVar[Levels] = {  # share of the image, share of the texture, size of the texture
        "imagenet-224": (
            (1.0, 0.4, 1.0),
            (0.8, 0.6, 1.0),
            (0.7, 0.7, 1.0),
            (0.65, 0.7, 1.0),
            (0.6, 0.75, 1.0),
        ),
        "tiny-imagenet": (
            (1.0, 0.3, 0.3),
            (0.9, 0.4, 0.3),
            (0.8, 0.45, 0.3),
            (0.75, 0.5, 0.3),
            (0.7, 0.55, 0.3),
        ),
        "cifar": ((1.0, 0.2, 0.2), (1.0, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    }
    paths: ClassVar[tuple[str, ...]] = ("textures",)
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def revision(self) -> str | None:
        """Digest of the photographs; None for generated textures. Raises DataError."""
        return (
            None if self.textures is None else digest([file_digest(p) for p in first_images(self.textures)])
        )

    def apply(self, pixels: Tensor, level: tuple[float, float, float], draws: Draws) -> Tensor:
        kept, added, size = level
        height, width = int(pixels.shape[2]), int(pixels.shape[3])

        def make() -> Tensor:
            if self.textures is None:
                found = textures(size, height, width)
            else:
                found = photographs(self.textures, size, height, width)
            return cropped(found, draws.uniform("crop", 3), height, width).to(pixels.device)

        frost = draws.shared(f"crop {self.textures} {size} {height}x{width}", make)
        return (pixels * kept).add_(frost, alpha=added)


@perturbations.register("fog", version=1)
@dataclass(frozen=True, kw_only=True)
class Fog(Corruption):
    """Veil an image with a cloudy grey.

    Measures reliance on contrast. Clouds from diamond-square noise are added and the sum is scaled back,
    so that the greatest possible value is the brightest of the image. The clouds cover the next power of
    two of the longer side; their top left part of the size of the image is used.

    Raises BadParameter when the images are not of 224 pixels and no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.1, with the parameters of the published code.
    """

    levels: ClassVar[Levels] = {  # how much is added, how fast the clouds become smooth
        "imagenet-224": ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
        "imagenet-299": ((1.5, 2.0), (2.0, 2.0), (2.5, 1.8), (2.5, 1.6), (3.0, 1.5)),
        "tiny-imagenet": ((0.4, 3.0), (0.7, 3.0), (1.0, 2.5), (1.5, 2.0), (2.0, 1.75)),
        "cifar": ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, level: tuple[float, float], draws: Draws) -> Tensor:
        amount, decay = level
        height, width = int(pixels.shape[2]), int(pixels.shape[3])
        side = plasma_side(height, width)
        clouds = draws.shared(f"plasma {decay} {side}", lambda: clouds_of(draws, side, decay))
        return fogged(pixels, clouds[:, :height, :width].to(pixels.device), amount)


@perturbations.register("spatter", version=1)
@dataclass(frozen=True, kw_only=True)
class Spatter(Corruption):
    """Spatter the lens with drops of water, from severity 4 on with mud.

    Measures reliance on parts that drops cover. Drops lie where smoothed normal noise exceeds a threshold.
    Water is lit along its edges (by 8-bit operations of OpenCV, on the CPU) and added in a pale turquoise;
    mud hides what is behind it. One of the validation corruptions. An image without any drop stays as it is.

    Raises BadParameter when the images are not of 224 pixels and no table is named.

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, appendix A, with the parameters of the published code.
    """

    levels: ClassVar[Levels] = {  # mean, standard deviation, smoothing, threshold, strength, mud
        "imagenet-224": (
            (0.65, 0.3, 4.0, 0.69, 0.6, False),
            (0.65, 0.3, 3.0, 0.68, 0.6, False),
            (0.65, 0.3, 2.0, 0.68, 0.5, False),
            (0.65, 0.3, 1.0, 0.65, 1.5, True),
            (0.67, 0.4, 1.0, 0.65, 1.5, True),
        ),
        "imagenet-299": (
            (0.65, 0.3, 4.0, 0.69, 0.9, False),
            (0.65, 0.3, 3.5, 0.68, 0.9, False),
            (0.65, 0.3, 3.0, 0.68, 0.8, False),
            (0.65, 0.3, 1.2, 0.65, 1.8, True),
            (0.67, 0.4, 1.2, 0.65, 1.8, True),
        ),
        "tiny-imagenet": (
            (0.62, 0.1, 0.7, 0.7, 0.6, False),
            (0.65, 0.1, 0.8, 0.7, 0.6, False),
            (0.65, 0.3, 1.0, 0.69, 0.6, False),
            (0.65, 0.1, 0.7, 0.68, 0.6, True),
            (0.65, 0.1, 0.5, 0.67, 0.6, True),
        ),
        "cifar": (
            (0.62, 0.1, 0.7, 0.7, 0.5, False),
            (0.65, 0.1, 0.8, 0.7, 0.5, False),
            (0.65, 0.3, 1.0, 0.69, 0.5, False),
            (0.65, 0.1, 0.7, 0.69, 0.6, True),
            (0.65, 0.1, 0.5, 0.68, 0.6, True),
        ),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(
        self, pixels: Tensor, level: tuple[float, float, float, float, float, bool], draws: Draws
    ) -> Tensor:
        mean, deviation, sigma, threshold, strength, mud = level
        height, width = int(pixels.shape[2]), int(pixels.shape[3])
        smooth = draws.shared(
            f"smoothed {sigma} {height}x{width}",
            lambda: gaussian(draws.normal("liquid", height, width)[:, None], sigma),
        )
        liquid = smooth * deviation + mean
        if mud:
            return muddied(pixels, liquid, threshold, strength)
        return wetted(pixels, liquid, threshold, strength)


def flakes(noise: Tensor, height: int, width: int, zoom: float, threshold: float) -> Tensor:
    """Snowflakes (b, 1, height, width) on 8-bit levels: enlarged noise, where it is above a threshold.

    noise: (b, 1, h, w), the middle of a field of the image's size, or all of it.
    """
    import torch

    rows, columns = (
        torch.from_numpy(zoomed_places(side, zoom) - (side - given) // 2).float().to(noise.device)
        for side, given in ((height, noise.shape[2]), (width, noise.shape[3]))
    )
    grid = rows[:, None].expand(height, width), columns[None, :].expand(height, width)
    large = sample(noise, *grid, border="nearest")
    return quantised(at_least(large, threshold).clamp_(0.0, 1.0))


def snowed(pixels: Tensor, layer: Tensor, kept: float) -> Tensor:
    """Pixels mixed with whitened ones, plus flakes (b, 1, h, w) and the same turned by 180 degrees."""
    import torch

    whitened = torch.maximum(pixels, grey(pixels).mul_(1.5).add_(0.5))
    return whitened.mul_(1.0 - kept).add_(pixels, alpha=kept).add_(layer + layer.flip(2, 3))


def cropped(frost: Sequence[Tensor], uniform: Tensor, height: int, width: int) -> Tensor:
    """Parts (b, 3, height, width) in [0, 1] of frost textures, each (3, h, w) uint8.

    uniform: (b, 3) in [0, 1), for which texture, how far down and how far to the right.
    """
    import torch

    parts = []
    for which, down, across in uniform.tolist():
        texture = frost[int(which * len(frost))]
        top = int(down * max(1, texture.shape[1] - height))
        left = int(across * max(1, texture.shape[2] - width))
        parts.append(texture[:, top : top + height, left : left + width])
    return torch.stack(parts).float().div_(255.0)


def clouds_of(draws: Draws, side: int, decay: float) -> Tensor:
    """Clouds (b, side, side) of the images, on the CPU."""
    import torch

    return torch.from_numpy(plasma(draws.uniform("plasma", side, side).cpu().numpy(), decay))


def fogged(pixels: Tensor, clouds: Tensor, amount: float) -> Tensor:
    """Pixels plus `amount` times clouds (b, h, w), scaled so that the brightest value is kept."""
    brightest = pixels.amax((1, 2, 3), keepdim=True)
    return pixels.add(clouds[:, None], alpha=amount).mul_(brightest / (brightest + amount))


def wetted(pixels: Tensor, liquid: Tensor, threshold: float, strength: float) -> Tensor:
    """Pixels with water drops where liquid (b, 1, h, w) is at least the threshold."""
    import torch

    # beyond 255 levels begin again at 0, as they do where the published code ran
    given = (at_least(liquid, threshold) * 255.0).to(torch.int32).to(torch.uint8).cpu().numpy()[:, 0]
    light = torch.from_numpy(np.stack([drops(one) for one in given]))[:, None].to(pixels.device)
    colour = pixels.new_tensor(_WATER).div_(255.0).mul_(strength)
    return torch.addcmul(pixels, light, colour[:, None, None])


def drops(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How bright drops of water are, (h, w) in [0, 1], from the amount of water in 8-bit levels."""
    import cv2

    edges = cv2.Canny(levels, 50, 150)
    distance = np.minimum(cv2.distanceTransform(255 - edges, cv2.DIST_L2, 5), np.float32(_DROP_WIDTH))
    depth = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    relief = cv2.blur(cv2.filter2D(depth, cv2.CV_8U, np.array(_DROP_LIGHT, np.float32)), (3, 3))
    light = levels * relief.astype(np.float32)
    return np.asarray(light / max(float(light.max()), 1.0), np.float32)


def muddied(pixels: Tensor, liquid: Tensor, threshold: float, sigma: float) -> Tensor:
    """Pixels behind mud where liquid (b, 1, h, w) is above the threshold, its edge softened by `sigma`."""
    mud = gaussian((liquid > threshold).float(), sigma)
    mud = at_least(mud, _MUD_FLOOR)
    colour = pixels.new_tensor(_MUD).div_(255.0)
    return (pixels * (1.0 - mud)).addcmul_(mud, colour[:, None, None])


def at_least(values: Tensor, threshold: float) -> Tensor:
    """Values above a threshold, and 0 for the others."""
    from torch.nn.functional import threshold as cut

    return cut(values, threshold, 0.0)
