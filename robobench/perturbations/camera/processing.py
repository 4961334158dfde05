"""What cameras and phones do to a picture after taking it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robobench.perturbations.camera.severity import Camera, Steps, fixed, pixels
from robobench.registry import perturbations


@perturbations.register("oversharpening", version=1)
@dataclass(frozen=True, kw_only=True)
class Oversharpening(Camera):
    """Sharpen the picture far too much.

    Measures robustness to what phones do to detail. 20, 35, 50, 75 or 100 % of the picture give way
    to the picture under a 3x3 Laplacian sharpening kernel. No randomness.

    Own: the severities; the transform is albumentations' Sharpen (method kernel, lightness 1).
    """

    def steps(self, level: int, side: int) -> Steps:
        share = fixed((0.2, 0.35, 0.5, 0.75, 1.0)[level])
        return (("Sharpen", {"alpha": share, "lightness": fixed(1.0)}),)


@perturbations.register("local_contrast", version=1)
@dataclass(frozen=True, kw_only=True)
class LocalContrast(Camera):
    """Raise the contrast of every region, as overdone HDR pictures have it.

    Measures robustness to tone mapping. Lightness is equalised in 4 x 4 tiles with a clip limit of 1.2, 1.6,
    2.2, 3.5 or 7; small images are enlarged to about 224 pixels for it, because tiles need many pixels. No
    randomness.

    Own: the severities; the transform is albumentations' CLAHE.
    """

    fine: ClassVar[bool] = True

    def steps(self, level: int, side: int) -> Steps:
        limit = fixed((1.2, 1.6, 2.2, 3.5, 7.0)[level])
        return (("CLAHE", {"clip_limit": limit, "tile_grid_size": (4, 4)}),)


@perturbations.register("posterise", version=1)
@dataclass(frozen=True, kw_only=True)
class Posterise(Camera):
    """Keep only the upper bits of every channel.

    Measures robustness to banding. Bits kept: 5, 4, 3, 2 or 1, the lower ones becoming 0. No randomness.

    Own: the severities; the transform is albumentations' Posterize.
    """

    def steps(self, level: int, side: int) -> Steps:
        return (("Posterize", {"num_bits": 5 - level}),)


@perturbations.register("low_resolution", version=1)
@dataclass(frozen=True, kw_only=True)
class LowResolution(Camera):
    """Shrink the picture and enlarge it again, as digital zoom does.

    Measures robustness to missing detail. The sides shrink to 50, 35, 25, 18 or 12 % by averaging and grow
    again bilinearly; unlike corruption.pixelate there are no visible squares. No randomness.

    Own: the severities; the transform is albumentations' Downscale.
    """

    def steps(self, level: int, side: int) -> Steps:
        # of whole pixels: else OpenCV would shift the picture
        share = fixed(pixels((0.5, 0.35, 0.25, 0.18, 0.12)[level], side) / side)
        area, linear = 3, 1  # OpenCV's numbers for these interpolations
        ways = {"downscale": area, "upscale": linear}
        return (("Downscale", {"scale_range": share, "interpolation_pair": ways}),)


@perturbations.register("webp", version=1)
@dataclass(frozen=True, kw_only=True)
class WebP(Camera):
    """Store the picture as WebP at a low quality.

    Measures robustness to the compression of the web; corruption.jpeg_compression is that of cameras.
    Quality 30, 15, 8, 3 or 1. No randomness.

    Own: the severities; the transform is albumentations' ImageCompression, with OpenCV's encoder.
    """

    def steps(self, level: int, side: int) -> Steps:
        quality = fixed((30, 15, 8, 3, 1)[level])
        return (("ImageCompression", {"compression_type": "webp", "quality_range": quality}),)
