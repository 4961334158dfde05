"""Weather between the camera and what it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robobench.perturbations.camera.severity import Camera, Steps, fixed, pixels
from robobench.registry import perturbations


@perturbations.register("rain", version=1)
@dataclass(frozen=True, kw_only=True)
class Rain(Camera):
    """Draw streaks of rain over the picture and darken it.

    Measures robustness to rain. Streaks one pixel wide, all with one slant, at places drawn per image:
    at 224 pixels 56, 74, 224, 224 or 448 of them, 6, 8, 10, 12 or 14 % of the shorter side long and 110, 120,
    130, 150 or 170 levels bright; the picture then keeps 95, 90, 85, 80 or 75 % of its light.
    Small images are drawn on at about 224 pixels and averaged down.

    Own: the severities; the transform is albumentations' RandomRain.
    """

    fine: ClassVar[bool] = True

    def steps(self, level: int, side: int) -> Steps:
        slant = 0.06 * side
        streaks = {
            "rain_type": ("drizzle", "default", "heavy", "heavy", "torrential")[level],
            "drop_length": pixels((0.06, 0.08, 0.1, 0.12, 0.14)[level], side),
            "drop_color": ((110, 120, 130, 150, 170)[level],) * 3,
            "slant_range": (-slant, slant),
            "blur_value": 1,
            "brightness_coefficient": (0.95, 0.9, 0.85, 0.8, 0.75)[level],
        }
        return (("RandomRain", streaks),)


@perturbations.register("snow", version=1)
@dataclass(frozen=True, kw_only=True)
class Snow(Camera):
    """Whiten what is dark in the picture, as snow that covers the ground.

    Measures robustness to snow on things; corruption.snow is snow that falls. Lightness below 85, 91, 100,
    110 or 129 levels is multiplied by 1.5, 1.8, 2, 2.2 or 2.5. No randomness.

    Own: the severities; the transform is albumentations' RandomSnow (method bleach).
    """

    def steps(self, level: int, side: int) -> Steps:
        reach = fixed((0.0, 0.05, 0.12, 0.2, 0.35)[level])
        gain = (1.5, 1.8, 2.0, 2.2, 2.5)[level]
        return (("RandomSnow", {"method": "bleach", "snow_point_range": reach, "brightness_coeff": gain}),)
