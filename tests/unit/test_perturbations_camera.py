"""Camera: five severities that differ and get worse, at any size, from the same draws."""

from __future__ import annotations

import math
from itertools import pairwise

import albumentations
import numpy as np
import pytest
import torch
from scipy import ndimage

from robobench.codecs import to_uint8
from robobench.perturbations.camera.light import COOL, WARM
from robobench.perturbations.camera.severity import odd, pixels
from robobench.registry import perturbations
from robobench.types import ImageBatch
from tests.fakes import make_draws

NAMES = sorted(n for n in perturbations.names() if n.startswith("camera."))
STILL = {
    "chromatic_aberration",
    "lens_distortion",
    "overexposure",
    "snow",
    "oversharpening",
    "local_contrast",
}
STILL |= {"posterise", "low_resolution", "webp", "defocus"}


def photos(side, n=4, width=None):
    """Smooth pictures with an edge: unlike noise, they show how strong a fault is."""
    generator = np.random.default_rng(3)
    images = []
    for _ in range(n):
        soft = ndimage.gaussian_filter(generator.random((3, side, width or side)), (0, side / 12, side / 12))
        soft = 0.1 + 0.7 * (soft - soft.min()) / (soft.max() - soft.min())
        soft[:, side // 3 : side // 2, side // 4 : 2 * side // 3] *= 0.5
        images.append(soft)
    found = torch.from_numpy(np.stack(images)).float()
    return ImageBatch((found * 255).round() / 255, tuple(f"img{i}" for i in range(n)), torch.zeros(n).long())


def run(name, batch, severity):
    return perturbations.build(name, {"severity": severity})(batch, make_draws(batch, name))


@pytest.mark.parametrize("side", [28, 64, 224])
@pytest.mark.parametrize("name", NAMES)
def test_severities_are_distinct_and_get_worse(name, side):
    batch = photos(side, 4 if side < 224 else 2)
    levels = [run(name, batch, s).pixels for s in range(1, 6)]
    assert all(torch.equal((v * 255).round() / 255, v) for v in levels)
    for one, other in pairwise(levels):
        assert ((one - other).flatten(1).abs().amax(1) > 0).all()
    change = [float((v - batch.pixels).abs().mean()) * 255 for v in levels]
    assert change[0] > 0
    assert change[4] > 1.5 * change[0]
    assert all(b > 0.93 * a for a, b in pairwise(change)), change


@pytest.mark.parametrize("name", NAMES)
def test_any_shape_of_image_is_taken(name):
    for height, width in ((28, 41), (60, 33), (299, 225)):
        out = run(name, photos(height, 1, width), 5).pixels
        assert out.shape == (1, 3, height, width)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_random_differs_between_images_and_what_is_not_does_not(name):
    one = photos(64, 1)
    twice = ImageBatch(one.pixels.repeat(12, 1, 1, 1), tuple("abcdefghijkl"), torch.zeros(12).long())
    out = run(name, twice, 4).pixels
    assert (out == out[:1]).all() == (name.removeprefix("camera.") in STILL)


def test_severities_share_their_draws():
    """The places of shadows, and of the drops that a lighter rain has, are the same at every severity."""
    batch = photos(224, 1)
    dark = [(run("camera.shadow", batch, s).pixels < batch.pixels - 0.01).any(1) for s in (1, 3, 5)]
    assert (dark[0] & ~dark[2]).sum() == 0
    assert (dark[1] & ~dark[2]).sum() == 0
    angles = []
    for length in (5, 29):
        shake = albumentations.MotionBlur(
            blur_limit=(length, length),
            allow_shifted=False,
            angle_range=(0, 360),
            direction_range=(0, 0),
            p=1,
        )
        shake.set_random_seed(make_draws(batch, "camera.shake").seeds("transform")[0])
        shake(image=np.zeros((40, 40, 3), np.uint8))
        kernel = shake.get_applied_params()["kernel"]
        y, x = np.nonzero(kernel)
        far = np.argmax(np.hypot(y - length // 2, x - length // 2))
        angles.append(math.atan2(y[far] - length // 2, x[far] - length // 2) % math.pi)
    assert abs(angles[0] - angles[1]) < 0.4 or abs(angles[0] - angles[1]) > math.pi - 0.4


def test_a_shaken_picture_stays_in_its_place():
    batch = photos(65, 6)
    batch.pixels.zero_()[:, :, 32, 32] = 1.0
    for severity in (1, 3, 5):
        out = run("camera.shake", batch, severity).pixels[:, 0].double().numpy()
        for image in out:
            assert np.allclose(ndimage.center_of_mass(image), 32, atol=0.6)


def test_overexposure_is_a_gain_and_snow_leaves_what_is_light():
    batch = photos(32)
    for severity, gain in enumerate((1.2, 1.45, 1.8, 2.3, 3.0), 1):
        out = run("camera.overexposure", batch, severity).pixels
        assert (out - (batch.pixels * gain).clamp(max=1)).abs().max() < 1.01 / 255
    batch.pixels.fill_(0.6)
    batch.pixels[:, :, :, :16] = 0.2
    snow = run("camera.snow", batch, 5).pixels
    assert (snow[..., 16:] - 0.6).abs().max() < 1.5 / 255
    assert (snow[..., :16] - 0.5).abs().max() < 1.5 / 255


def test_posterise_keeps_upper_bits():
    batch = photos(32)
    given = to_uint8(batch.pixels)
    for severity in range(1, 6):
        out = to_uint8(run("camera.posterise", batch, severity).pixels)
        assert (out == given & (0xFF << (severity + 2) & 0xFF)).all()


def test_low_light_is_darker_and_noisy():
    batch = photos(64)
    out = run("camera.low_light", batch, 3).pixels
    expected = batch.pixels**2.2
    assert float((out - expected).mean()) == pytest.approx(0, abs=0.01)
    bright = expected > 0.15
    assert float((out - expected)[bright].std()) == pytest.approx(0.035, rel=0.1)


def test_photon_noise_grows_with_light():
    batch = photos(64)
    stds = []
    for value in (0.25, 0.85):
        batch.pixels.fill_(value)
        stds.append(float(run("camera.sensor_noise", batch, 1).pixels.std()))
    # sqrt(x^2.2 * 0.01) in linear light, through the slope of the gamma curve there, and 0.01 of read-out
    for value, std in zip((0.25, 0.85), stds, strict=True):
        linear = math.sqrt(value**2.2 * 0.01) / (2.2 * value**1.2)
        assert std == pytest.approx(math.hypot(linear, 0.01), rel=0.25)


def test_white_balance_goes_both_ways_and_keeps_green():
    batch = photos(32, 40)
    for severity in (1, 5):
        out = run("camera.white_balance", batch, severity)
        kelvin = out.facts["temperature"]
        assert set(kelvin.tolist()) == {WARM[severity - 1], COOL[severity - 1]}
        assert torch.equal(out.pixels[:, 1], batch.pixels[:, 1])
        red, blue = ((out.pixels - batch.pixels)[:, c].mean((1, 2)) for c in (0, 2))
        assert ((red > 0) == (kelvin < 6500)).all()
        assert ((blue > 0) == (kelvin > 6500)).all()
    first = run("camera.white_balance", batch, 1).facts["temperature"] < 6500
    assert torch.equal(first, run("camera.white_balance", batch, 4).facts["temperature"] < 6500)


def test_rain_on_a_small_picture_is_thinner_than_a_pixel():
    batch = photos(28)
    batch.pixels.fill_(0.4)
    out = run("camera.rain", batch, 1).pixels
    kept = (0.4 * 255).__round__() * 0.95 / 255
    assert (out.amax((1, 2, 3)) < kept + 0.6 * 110 / 255).all()
    assert len(out.unique()) > 10


def test_lengths_in_pixels():
    assert [pixels(0.02, s) for s in (28, 224, 299)] == [1, 4, 6]
    assert [odd(0.06, s) for s in (28, 224, 299)] == [3, 13, 17]
