"""Light and colour: too little, too much, of another colour, unevenly spread, and the noise of the sensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robobench.codecs import from_uint8, to_uint8
from robobench.draws import Draws
from robobench.perturbations.albumentations import make
from robobench.perturbations.camera.severity import Camera, Graded, Steps, fixed
from robobench.registry import perturbations
from robobench.types import ImageBatch

WARM = (5500, 5000, 4500, 4000, 3500)
COOL = (7500, 8500, 10000, 12000, 15000)


@perturbations.register("sensor_noise", version=1)
@dataclass(frozen=True, kw_only=True)
class SensorNoise(Camera):
    """Add the noise of a sensor at a high sensitivity: of the photons, and of reading them out.

    Measures robustness to noise as cameras make it. Photon noise is Poisson noise in linear light of scale
    0.01, 0.03, 0.07, 0.13 or 0.22; read-out noise is Gaussian with a standard deviation of 0.01, 0.02, 0.03,
    0.04 or 0.055, for each channel.

    Own: the severities and the combination; the transforms are albumentations' ShotNoise and GaussNoise.
    """

    def steps(self, level: int, side: int) -> Steps:
        photons = fixed((0.01, 0.03, 0.07, 0.13, 0.22)[level])
        read = fixed((0.01, 0.02, 0.03, 0.04, 0.055)[level])
        return ("ShotNoise", {"scale_range": photons}), ("GaussNoise", {"std_range": read})


@perturbations.register("low_light", version=1)
@dataclass(frozen=True, kw_only=True)
class LowLight(Camera):
    """Darken the picture and add noise, as a photograph in too little light.

    Measures robustness to dusk and to dark rooms. Values are raised to the power of 1.4, 1.8, 2.2, 2.7 or
    3.3; then Gaussian noise is added with a standard deviation of 0.015, 0.025, 0.035, 0.045 or 0.06.

    Own: the severities and the combination; the transforms are albumentations' RandomGamma and GaussNoise.
    """

    def steps(self, level: int, side: int) -> Steps:
        power = fixed((140.0, 180.0, 220.0, 270.0, 330.0)[level])  # in per cent
        noise = fixed((0.015, 0.025, 0.035, 0.045, 0.06)[level])
        return ("RandomGamma", {"gamma_limit": power}), ("GaussNoise", {"std_range": noise})


@perturbations.register("overexposure", version=1)
@dataclass(frozen=True, kw_only=True)
class Overexposure(Camera):
    """Make everything brighter by a factor; what would be above white is lost.

    Measures robustness to blown-out highlights. The factor is 1.2, 1.45, 1.8, 2.3 or 3. No randomness.

    Own: the severities; the transform is albumentations' RandomBrightnessContrast (its contrast, a factor).
    """

    def steps(self, level: int, side: int) -> Steps:
        gain = fixed((0.2, 0.45, 0.8, 1.3, 2.0)[level])
        return (("RandomBrightnessContrast", {"brightness_limit": fixed(0.0), "contrast_limit": gain}),)


@perturbations.register("uneven_light", version=1)
@dataclass(frozen=True, kw_only=True)
class UnevenLight(Camera):
    """Darken the picture in soft blotches, as light that falls through leaves.

    Measures robustness to uneven light. A cloudy pattern drawn per image takes away up to 30, 45, 60, 75 or
    90 % of the light.

    Own: the severities; the transform is albumentations' PlasmaShadow (roughness 0.5).
    """

    def steps(self, level: int, side: int) -> Steps:
        depth = fixed((0.3, 0.45, 0.6, 0.75, 0.9)[level])
        return (("PlasmaShadow", {"shadow_intensity_range": depth, "roughness": 0.5}),)


@perturbations.register("shadow", version=1)
@dataclass(frozen=True, kw_only=True)
class Shadow(Camera):
    """Cast two hard-edged shadows over the picture.

    Measures robustness to shadows. Two five-cornered polygons drawn per image lose 30, 45, 60, 75 or 90 % of
    their light.

    Own: the severities; the transform is albumentations' RandomShadow.
    """

    def steps(self, level: int, side: int) -> Steps:
        depth = fixed((0.3, 0.45, 0.6, 0.75, 0.9)[level])
        shape = {"shadow_roi": (0.0, 0.0, 1.0, 1.0), "num_shadows_limit": (2, 2), "shadow_dimension": 5}
        return (("RandomShadow", {"shadow_intensity_range": depth, **shape}),)


@perturbations.register("white_balance", version=1)
@dataclass(frozen=True, kw_only=True)
class WhiteBalance(Graded):
    """Tint the picture warm or cool, as a camera that is wrong about the colour of the light.

    Measures robustness to colour casts. By chance an image is seen under black-body light of 5500, 5000,
    4500, 4000 or 3500 K, or of 7500, 8500, 10000, 12000 or 15000 K, where about 6500 K is white; green stays
    as it is. Records `temperature` in K.

    Own: the severities; the colours are those of albumentations' PlanckianJitter (mode blackbody).
    """

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        import torch

        jitter = make("PlanckianJitter", {"mode": "blackbody"})
        cool = draws.integers("cool", 0, 2).bool()
        kelvin = torch.where(cool, COOL[self.severity - 1], WARM[self.severity - 1])
        images = to_uint8(batch.pixels, "round")
        tinted = [jitter.apply(i, temperature=t) for i, t in zip(images, kelvin.tolist(), strict=True)]
        return batch.with_pixels(from_uint8(np.stack(tinted), batch.pixels), temperature=kelvin.float())
