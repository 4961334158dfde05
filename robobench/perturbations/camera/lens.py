"""Faults of lens and shutter: blur, colour fringes, bent lines, light in the lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robobench.perturbations.camera.severity import Camera, Steps, fixed, odd, pixels
from robobench.registry import perturbations


@perturbations.register("shake", version=1)
@dataclass(frozen=True, kw_only=True)
class Shake(Camera):
    """Blur the picture along a line, as a hand that moves while the shutter is open.

    Measures robustness to camera shake. The line has a direction drawn per image and a length of 2.2, 4, 6,
    9 or 13 % of the shorter side. Unlike corruption.motion_blur it is even and does not move the picture.
    Small images are blurred at about 224 pixels and averaged down.

    Own: the severities; the transform is albumentations' MotionBlur.
    """

    fine: ClassVar[bool] = True

    def steps(self, level: int, side: int) -> Steps:
        length = odd((0.022, 0.04, 0.06, 0.09, 0.13)[level], side)
        centred = {"allow_shifted": False, "angle_range": (0.0, 360.0), "direction_range": (0.0, 0.0)}
        return (("MotionBlur", {"blur_limit": fixed(length), **centred}),)


@perturbations.register("defocus", version=1)
@dataclass(frozen=True, kw_only=True)
class Defocus(Camera):
    """Blur the picture with a disk, as a lens out of focus.

    Measures robustness to wrong focus at any size of image. The disk has a radius of 0.9, 1.4, 2.2, 3.1 or
    4.5 % of the shorter side. Small images are blurred at about 224 pixels and averaged down.

    Own: the severities; the transform is albumentations' Defocus (alias_blur 0.1), the disk of ImageNet-C,
    whose own severities are those of corruption.defocus_blur.
    """

    fine: ClassVar[bool] = True

    def steps(self, level: int, side: int) -> Steps:
        radius = pixels((0.009, 0.014, 0.022, 0.031, 0.045)[level], side)
        return (("Defocus", {"radius": fixed(radius), "alias_blur": fixed(0.1)}),)


@perturbations.register("chromatic_aberration", version=1)
@dataclass(frozen=True, kw_only=True)
class ChromaticAberration(Camera):
    """Enlarge red and blue against green towards the corners: purple and green fringes.

    Measures robustness to a simple lens. Both coefficients of the radial distortion of red and blue are
    0.02, 0.05, 0.1, 0.15 or 0.22. No randomness.

    Own: the severities; the transform is albumentations' ChromaticAberration (mode green_purple).
    """

    def steps(self, level: int, side: int) -> Steps:
        bend = fixed((0.02, 0.05, 0.1, 0.15, 0.22)[level])
        return (
            ("ChromaticAberration", {"primary_distortion_limit": bend, "secondary_distortion_limit": bend}),
        )


@perturbations.register("lens_distortion", version=1)
@dataclass(frozen=True, kw_only=True)
class LensDistortion(Camera):
    """Bend straight lines outwards and shrink the picture to its middle, as a wide-angle lens.

    Measures robustness to barrel distortion. The distortion coefficient is 0.08, 0.16, 0.28, 0.45 or 0.7;
    beyond its edge the picture is mirrored. No randomness.

    Own: the severities; the transform is albumentations' OpticalDistortion (mode camera).
    """

    def steps(self, level: int, side: int) -> Steps:
        bend = fixed((0.08, 0.16, 0.28, 0.45, 0.7)[level])
        return (("OpticalDistortion", {"distort_limit": bend, "border_mode": 4}),)  # 4: BORDER_REFLECT_101


@perturbations.register("sun_flare", version=1)
@dataclass(frozen=True, kw_only=True)
class SunFlare(Camera):
    """Put the sun into the upper part of the picture, with reflections in the lens.

    Measures robustness to glare. Centre, direction, number (4 to 8) and colour of the reflections are drawn
    per image; the glow around the sun has a radius of 0.45, 0.65, 0.85, 1.1 or 1.4 times the shorter side.
    Small images are drawn on at about 224 pixels and averaged down.

    Own: the severities; the transform is albumentations' RandomSunFlare (method overlay).
    """

    fine: ClassVar[bool] = True

    def steps(self, level: int, side: int) -> Steps:
        radius = pixels((0.45, 0.65, 0.85, 1.1, 1.4)[level], side)
        place = {"flare_roi": (0.1, 0.0, 0.9, 0.4), "num_flare_circles_range": (4, 8)}
        return (("RandomSunFlare", {"src_radius": radius, **place}),)
