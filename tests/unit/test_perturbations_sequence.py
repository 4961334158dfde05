"""Sequences: every frame against a plain version of the published steps, run in order where they had one."""

from __future__ import annotations

import colorsys
import math

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from robobench.errors import BadParameter
from robobench.perturbations.sequence.look import running
from robobench.registry import perturbations
from robobench.types import ImageBatch
from tests.fakes import make_batch, make_draws

FULL, CROP = 256, 224
EDGE = (FULL - CROP) // 2
NAMES = sorted(n for n in perturbations.names() if n.startswith("sequence."))


def run(name, batch, memo=None, number=0, **params):
    draws = make_draws(batch, f"sequence.{name}", memo=memo).at(number)
    return perturbations.build(f"sequence.{name}", params)(batch, draws).pixels


def picture(side=FULL, seed=0):
    """A picture with soft and sharp parts, (side, side, 3) uint8."""
    generator = np.random.default_rng(seed)
    soft = ndimage.gaussian_filter(generator.random((side, side, 3)), (3, 3, 0))
    soft = (soft - soft.min()) / (soft.max() - soft.min())
    soft[side // 3 : side // 2, side // 4 : side // 2] = (0.9, 0.1, 0.2)
    return np.uint8(soft * 255)


def as_batch(image):
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    return ImageBatch(pixels.contiguous(), ("img",), torch.zeros(1, dtype=torch.int64))


def levels(pixels):
    return (pixels[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def crop(image):
    return image[EDGE : EDGE + CROP, EDGE : EDGE + CROP]


def torchvision_affine(image, angle=0.0, shift=0, scale=1.0, shear=0.0, resample=Image.BILINEAR):
    """The map that torchvision 0.2 gave to Pillow, by inverting its matrix."""
    a, s = math.radians(angle), math.radians(shear)
    forward = scale * np.array([[math.cos(a), -math.sin(a + s)], [math.sin(a), math.cos(a + s)]])
    middle = np.array([image.shape[1] / 2 + 0.5, image.shape[0] / 2 + 0.5])
    back = np.linalg.inv(forward)
    rows = np.column_stack([back, middle - back @ (middle + np.array([shift, 0]))])
    size = image.shape[1], image.shape[0]
    return np.array(Image.fromarray(image).transform(size, Image.Transform.AFFINE, rows.ravel(), resample))


def alike(found, expected, inside=slice(None), share=0.995):
    """The same levels, but for a few that rounding puts on the next."""
    found, expected = (v[inside, inside].astype(int) for v in (found, expected))
    assert np.abs(found - expected).max() <= 1
    assert (found == expected).mean() >= share


MIDDLE = slice(45, CROP - 45)  # where frames that show what is outside of the crop show none of it


@pytest.mark.parametrize("frame", [0, 7, 15, 23, 30])
@pytest.mark.parametrize("name", ["rotate", "shear", "scale", "translate"])
def test_moved_frames_are_those_of_pillow_inside(name, frame):
    image = picture()
    by = {
        "rotate": {"angle": frame - 15},
        "shear": {"shear": frame - 15},
        "scale": {"scale": (40 + 2.5 * frame) / 100},
        "translate": {"shift": frame - 20, "resample": Image.NEAREST},
    }[name]
    found = levels(run(name, as_batch(crop(image)), frame=frame))
    inside = MIDDLE
    if name == "scale" and frame < 24:
        reach = int(CROP / 2 * (0.4 + 0.025 * frame)) - 2
        inside = slice(CROP // 2 - reach, CROP // 2 + reach)
    alike(found, crop(torchvision_affine(image, **by)), inside, share=0.99)


@pytest.mark.parametrize(("name", "by"), [("rotate", "angle"), ("shear", "shear"), ("scale", "scale")])
def test_moved_frames_of_cifar_are_those_of_pillow(name, by):
    image = picture(32)
    for frame in (0, 4, 22, 30):
        amount = (70 + 2 * frame) / 100 if name == "scale" else frame - 15
        expected = torchvision_affine(image, **{by: amount})
        found = levels(run(name, as_batch(image), frame=frame, table="cifar"))
        alike(found, expected, share=0.97)


def test_translated_frames_of_cifar_are_those_of_pillow():
    image = picture(32)
    for frame in range(16):
        expected = torchvision_affine(image, shift=frame - 7, resample=Image.NEAREST)
        assert (levels(run("translate", as_batch(image), frame=frame, table="cifar")) == expected).all()


def tilted(image, degrees):
    """The chain of 4x4 matrices that the published frames were made with."""
    h, w = image.shape[:2]
    f, c, s = math.hypot(h, w), math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    flat = np.array([[1, 0, -w / 2], [0, 1, -h / 2], [0, 0, 1], [0, 0, 1]])
    pitch = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    yaw = np.array([[c, 0, -s, 0], [0, 1, 0, 0], [s, 0, c, 0], [0, 0, 0, 1]])
    away = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, f], [0, 0, 0, 1]])
    camera = np.array([[f, 0, w / 2, 0], [0, f, h / 2, 0], [0, 0, 1, 0]])
    return cv2.warpPerspective(image, camera @ away @ pitch @ yaw @ flat, (w, h))


@pytest.mark.parametrize("frame", [0, 8, 15, 30])
def test_tilted_frames_are_those_of_opencv(frame):
    image = picture()
    alike(
        levels(run("tilt", as_batch(crop(image)), frame=frame)), crop(tilted(image, frame - 15)), MIDDLE, 0.98
    )
    small = picture(32)
    expected = tilted(small, 0.75 * (frame - 15))
    alike(levels(run("tilt", as_batch(small), frame=frame, table="cifar")), expected, share=0.98)


def test_zoom_blur_is_the_running_mean_of_zooms():
    image = picture()
    total = crop(image) / 255
    for frame in range(1, 31):
        total = total + crop(torchvision_affine(image, scale=1 + 0.004 * frame)) / 255
        if frame in (1, 12, 30):
            found = levels(run("zoom_blur", as_batch(crop(image)), frame=frame))
            alike(found, np.uint8(total / (frame + 1) * 255 + 1e-4), share=0.98)


@pytest.mark.parametrize("frame", [0, 9, 15, 30])
@pytest.mark.parametrize(("table", "step"), [("imagenet-224", 0.02), ("cifar", 0.015)])
def test_brightness_adds_to_the_value(frame, table, step):
    image = picture(16)
    image[0, :4] = [(0, 0, 0), (255, 255, 255), (0, 90, 0), (7, 7, 7)]
    expected = np.empty_like(image)
    for place in np.ndindex(16, 16):
        h, s, v = colorsys.rgb_to_hsv(*(image[place] / 255))
        rgb = colorsys.hsv_to_rgb(h, s, min(max(v + step * (frame - 15), 0), 1))
        expected[place] = [int(c * 255 + 1e-4) for c in rgb]
    alike(levels(run("brightness", as_batch(image), frame=frame, table=table)), expected)


@pytest.mark.parametrize(
    ("table", "first", "step", "truncate"), [("imagenet-224", 0.25, 0.035, 6), ("cifar", 0.3, 0.015, 7)]
)
def test_gaussian_blur_is_that_of_scipy(table, first, step, truncate):
    image = picture(40)
    for frame in (0, 13, 30):
        sigma = (first + step * frame,) * 2 + (0,)
        expected = ndimage.gaussian_filter(image / 255, sigma, mode="nearest", truncate=truncate)
        found = levels(run("gaussian_blur", as_batch(image), frame=frame, table=table))
        alike(found, np.uint8(255 * expected + 1e-4))


def smeared(layer, radius, sigma, angle):
    """A motion blur sample by sample; layer (h, w) in levels, rounded."""
    h, w = layer.shape
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    total = np.zeros((h, w))
    for i, weight in enumerate(weights / weights.sum()):
        turn = math.radians(angle)
        down, across = math.ceil(i * math.sin(turn) - 0.5), math.ceil(i * math.cos(turn) - 0.5)
        rows = np.clip(np.arange(h) + down, 0, h - 1)
        columns = np.clip(np.arange(w) + across, 0, w - 1)
        total += weight * layer[np.ix_(rows, columns)]
    return np.floor(total + 0.5)


@pytest.mark.parametrize(
    ("table", "radius", "sigma", "angle", "frames"),
    [
        ("imagenet-224", 10, 3, lambda i: 4 * (i - 30), (0, 11, 30)),
        ("cifar", 6, 1.8, lambda i: 9 * (i - 20), (3, 20)),
    ],
)
def test_motion_blur_turns(table, radius, sigma, angle, frames):
    image = picture(36)
    for frame in frames:
        expected = np.stack([smeared(image[..., c], radius, sigma, angle(frame)) for c in range(3)], axis=2)
        alike(levels(run("motion_blur", as_batch(image), frame=frame, table=table)), expected)


@pytest.mark.parametrize(
    ("side", "table", "zoom", "radius", "sigma"), [(48, "imagenet-224", 3, 14, 4), (32, "cifar", 2, 10, 2)]
)
def test_snow_is_one_layer_whose_blur_turns(side, table, zoom, radius, sigma):
    image = picture(side)
    batch = as_batch(image)
    middle = side // zoom
    noise = (
        make_draws(batch, "sequence.snow").normal("flakes", middle, middle)[0].double().numpy() * 0.3 + 0.05
    )
    layer = ndimage.zoom(noise, zoom, order=1)
    assert layer.shape == (side, side)
    layer[layer < 0.5] = 0
    layer = np.floor(np.clip(layer, 0, 1) * 255)
    x = image / 255
    white = np.maximum(x, (x @ [0.299, 0.587, 0.114])[..., None] * 1.5 + 0.5)
    for frame in (0, 17, 30):
        snow = smeared(layer, radius, sigma, 4 * frame - 150)[..., None] / 255
        expected = np.clip(0.85 * x + 0.15 * white + snow + np.rot90(snow, 2), 0, 1) * 255
        found = levels(run("snow", batch, frame=frame, table=table))
        alike(found, np.uint8(expected + 1e-4), share=0.98)


@pytest.mark.parametrize(
    ("table", "mean", "deviation", "sigma", "threshold", "weights"),
    [
        ("imagenet-224", 0.65, 0.27, 3.7, 0.69, [0.05, 0.1, 0.15, 0.7]),
        ("cifar", 0.6, 0.265, 1.75, 0.7, [0.2, 0.8]),
    ],
)
def test_spatter_runs_down_frame_by_frame(table, mean, deviation, sigma, threshold, weights):
    image = picture(64)
    batch = as_batch(image)
    noise = make_draws(batch, "sequence.spatter").normal("liquid", 64, 64)[0].double().numpy()
    layer = ndimage.gaussian_filter(noise * deviation + mean, sigma, mode="nearest")
    layer[layer < threshold] = 0
    assert layer.any()
    for frame in range(31):
        if frame in (0, 1, 14, 30):
            wet = (layer * 255).astype(np.uint8)
            edge = cv2.distanceTransform(255 - cv2.Canny(wet, 50, 150), cv2.DIST_L2, 5)
            depth = cv2.equalizeHist(cv2.blur(np.minimum(edge, 20), (3, 3)).astype(np.uint8))
            kernel = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
            light = cv2.blur(cv2.filter2D(depth, cv2.CV_8U, kernel), (3, 3)).astype(np.float32) * wet
            light = light / max(light.max(), 1e-9) * 0.6
            expected = np.clip(image / 255 + light[..., None] * [175 / 255, 238 / 255, 238 / 255], 0, 1)
            found = levels(run("spatter", batch, frame=frame, table=table))
            alike(found, np.uint8(expected * 255 + 1e-4), share=0.97)
        layer = np.apply_along_axis(lambda column: np.convolve(column, weights, mode="same"), 0, layer)


def test_running_down_loses_what_leaves_the_picture():
    once = running(6, (0.05, 0.1, 0.15, 0.7), 1)
    column = np.array([0, 1.0, 0, 0, 0, 0])
    np.testing.assert_allclose(once @ column, [0.05, 0.1, 0.15, 0.7, 0, 0], atol=1e-7)
    assert running(6, (0.05, 0.1, 0.15, 0.7), 30).sum() < 1e-3


STRENGTHS = {
    "gaussian_noise": {"imagenet-224": (0.03, 0.05, 0.08), "cifar": (0.02, 0.04, 0.06)},
    "speckle_noise": {"imagenet-224": (0.05, 0.1, 0.15), "cifar": (0.05, 0.07, 0.1)},
    "shot_noise": {"imagenet-224": (300, 120, 60), "cifar": (700, 400, 200)},
}


@pytest.mark.parametrize("difficulty", [1, 2, 3])
@pytest.mark.parametrize("table", ["imagenet-224", "cifar"])
@pytest.mark.parametrize("name", STRENGTHS)
def test_noise_has_the_published_strength(name, table, difficulty):
    grey = 0.4
    batch = make_batch(2, 64)
    batch.pixels.fill_(102 / 255)
    strength = STRENGTHS[name][table][difficulty - 1]
    expected = {"gaussian_noise": strength, "speckle_noise": grey * strength}.get(name) or math.sqrt(
        grey / strength
    )
    noise = run(name, batch, frame=3, table=table, difficulty=difficulty) - grey
    assert float(noise.std()) == pytest.approx(math.hypot(expected, 1 / 255 / math.sqrt(12)), rel=0.03)
    assert float(noise.mean()) == pytest.approx(
        -0.5 / 255, abs=4 * expected / math.sqrt(noise.numel()) + 1e-4
    )


@pytest.mark.parametrize("name", STRENGTHS)
def test_noise_of_frames_and_repetitions_is_independent(name):
    batch = make_batch(1, 48)
    memo = {}
    seen = [run(name, batch, memo, n, frame=f, table="imagenet-224") for n in (0, 1) for f in (1, 2, 30)]
    noise = torch.stack([(s - batch.pixels).flatten() for s in seen])
    apart = torch.corrcoef(noise) - torch.eye(6)
    assert apart.abs().max() < 0.06
    assert torch.equal(run(name, batch, frame=0, table="cifar"), batch.pixels)


def test_other_frames_share_their_draws():
    """Snow and drops are one layer per image: the memo of one frame serves the next."""
    batch = make_batch(2, 32)
    for name in ("snow", "spatter"):
        memo = {}
        for frame in (0, 9, 30):
            again = run(name, batch, memo, frame=frame, table="cifar")
            assert torch.equal(again, run(name, batch, frame=frame, table="cifar"))
        assert len(memo) == 2


@pytest.mark.parametrize("name", NAMES)
def test_neighbouring_frames_differ_little_and_far_ones_more(name):
    if "noise" in name:
        return
    batch = as_batch(picture(64))
    frames = [run(name.removeprefix("sequence."), batch, frame=f, table="imagenet-224") for f in (17, 18, 29)]
    near, far = ((frames[0] - other).abs().mean() for other in frames[1:])
    assert 0 < near < far


def test_a_table_is_named_at_other_sizes_than_224():
    for name in NAMES:
        step = perturbations.build(name, {"frame": 3})
        batch = make_batch(1, 32)
        with pytest.raises(BadParameter, match="table: the images are 32x32"):
            step(batch, make_draws(batch))
        if "blur" not in name:
            batch = make_batch(1, 224)
            assert torch.equal(
                step(batch, make_draws(batch)).pixels,
                perturbations.build(name, {"frame": 3, "table": "imagenet-224"})(
                    batch, make_draws(batch)
                ).pixels,
            )


def test_frames_beyond_the_last_are_refused():
    for name, last in (("translate", 15), ("motion_blur", 20)):
        perturbations.build(f"sequence.{name}", {"frame": last, "table": "cifar"})
        with pytest.raises(BadParameter, match=f"frame: expected at most {last}"):
            perturbations.build(f"sequence.{name}", {"frame": last + 1, "table": "cifar"})
    perturbations.build("sequence.translate", {"frame": 40})
    with pytest.raises(BadParameter, match="frame"):
        perturbations.build("sequence.rotate", {"frame": 31})
