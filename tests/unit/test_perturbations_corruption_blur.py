"""The blurs of ImageNet-C, against slow loops, scipy and OpenCV."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.perturbations.corruption.blur import (
    DefocusBlur,
    GaussianBlur,
    GlassBlur,
    MotionBlur,
    ZoomBlur,
    _enlarged,
    angles,
    defocused,
    displaced,
    glass_steps,
    line,
    motion,
    zoom_factors,
    zoomed,
)
from tests.fakes import make_batch, make_draws

STREAM = "corruption.test"
TABLES = {
    GaussianBlur: {
        "imagenet-224": [1, 2, 3, 4, 6],
        "imagenet-299": [1.5, 2.5, 3.5, 4.5, 6.5],
        "cifar": [0.4, 0.6, 0.7, 0.8, 1],
        "tiny-imagenet": [0.5, 0.75, 1, 1.25, 1.5],
    },
    DefocusBlur: {
        "imagenet-224": [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
        "imagenet-299": [(4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)],
        "cifar": [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
        "tiny-imagenet": [(0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)],
    },
    GlassBlur: {
        "imagenet-224": [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
        "imagenet-299": [(0.8, 1, 3), (1, 3, 1), (1.1, 2, 4), (1.2, 4, 2), (1.6, 5, 2)],
        "cifar": [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
        "tiny-imagenet": [(0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)],
    },
    MotionBlur: {
        "imagenet-224": [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
        "imagenet-299": [(12, 4), (17, 6), (17, 9), (17, 13), (22, 16)],
        "cifar": [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
        "tiny-imagenet": [(10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)],
    },
}
# The first and the last factor after 1, and how many there are
ZOOMS = {
    "imagenet-224": [
        (1.01, 1.11, 12),
        (1.01, 1.15, 16),
        (1.02, 1.20, 11),
        (1.02, 1.24, 13),
        (1.03, 1.30, 11),
    ],
    "imagenet-299": [
        (1.01, 1.11, 12),
        (1.01, 1.15, 16),
        (1.02, 1.20, 11),
        (1.02, 1.24, 13),
        (1.03, 1.30, 11),
    ],
    "cifar": [(1.01, 1.06, 7), (1.01, 1.11, 12), (1.01, 1.15, 16), (1.01, 1.20, 21), (1.01, 1.25, 26)],
    "tiny-imagenet": [
        (1.01, 1.06, 7),
        (1.01, 1.11, 12),
        (1.01, 1.15, 16),
        (1.01, 1.20, 21),
        (1.01, 1.25, 26),
    ],
}
BLURS = (GaussianBlur, DefocusBlur, GlassBlur, MotionBlur, ZoomBlur)


def noise(height: int = 20, width: int = 27, images: int = 2) -> Tensor:
    return make_batch(images, height, width=width).pixels


def levels_of(kind: type, table: str, side: int = 8) -> list:
    pixels = torch.zeros(1, 3, side, side)
    return [kind(severity=s, table=table).level(pixels) for s in range(1, 6)]


@pytest.mark.parametrize("kind", TABLES)
def test_parameters_are_those_of_the_tables(kind):
    for table, wanted in TABLES[kind].items():
        assert levels_of(kind, table) == wanted


def test_zoom_factors_are_what_the_ranges_hold():
    """Their ends are not among them, but for rounding: 1.11 is in arange(1, 1.11, 0.01)."""
    for table, wanted in ZOOMS.items():
        for level, (second, last, count) in zip(levels_of(ZoomBlur, table), wanted, strict=True):
            factors = zoom_factors(*level)
            assert factors[0] == 1
            assert len(factors) == count
            np.testing.assert_allclose([factors[1], factors[-1]], [second, last], rtol=1e-12)
    for level, (stop, step) in zip(
        levels_of(ZoomBlur, "imagenet-224"),
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        strict=True,
    ):
        assert np.array_equal(zoom_factors(*level), np.arange(1, stop, step))


@pytest.mark.parametrize("kind", BLURS)
def test_severities_change_the_image_more_and_more_at_224(kind):
    """And none is the identity; the table need not be named there."""
    coarse = torch.nn.functional.interpolate(noise(56, 56, 1), 224, mode="bilinear")
    batch = make_batch(1, 224).with_pixels(coarse)
    draws = make_draws(batch, STREAM, memo={})
    changes = [
        float((kind(severity=s)(batch, draws).pixels - batch.pixels).square().mean()) for s in range(1, 6)
    ]
    assert changes[0] > 1e-5
    if kind is GlassBlur:  # a longer reach comes with fewer passes
        changes = [changes[i] for i in (0, 2, 4)]
    if kind is ZoomBlur:  # more copies at smaller steps are not more blur
        changes = [changes[i] for i in (0, 1, 3)]
    assert all(b > a for a, b in pairwise(changes))


@pytest.mark.parametrize("kind", BLURS)
def test_another_size_needs_a_table(kind):
    batch = make_batch(1, 32)
    with pytest.raises(BadParameter, match="32x32"):
        kind(severity=1)(batch, make_draws(batch, STREAM))


@pytest.mark.parametrize("kind", BLURS)
@pytest.mark.parametrize("shape", [(28, 28), (32, 48), (61, 40)])
def test_any_rectangle_works(kind, shape):
    batch = make_batch(2, shape[0], width=shape[1])
    for table in ("imagenet-224", "cifar"):
        out = kind(severity=5, table=table)(batch, make_draws(batch, STREAM)).pixels
        assert out.shape == batch.pixels.shape
        assert not torch.equal(out[0], batch.pixels[0])


# Gaussian and defocus


@pytest.mark.parametrize("sigma", [0.4, 1, 2.5, 6])
def test_gaussian_is_scipys(sigma):
    batch = make_batch(2, 33, width=46)
    wanted = scipy.ndimage.gaussian_filter(
        batch.pixels.double().numpy(), (0, 0, sigma, sigma), mode="nearest"
    )
    level = {1: ("imagenet-224", 1), 6: ("imagenet-224", 5), 0.4: ("cifar", 1), 2.5: ("imagenet-299", 2)}[
        sigma
    ]
    step = GaussianBlur(severity=level[1], table=level[0], quantise="none")
    out = step(batch, make_draws(batch, STREAM)).pixels.numpy()
    assert np.abs(out - wanted).max() < 1e-6


@pytest.mark.parametrize(
    "level", [(0.3, 0.4), (1.5, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5), (12, 0.5)]
)
def test_defocus_is_opencvs_filter_with_a_soft_disk(level):
    """Directly, and by Fourier for the larger ones."""
    radius, soft = level
    reach = 8 if radius <= 8 else radius
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = (x**2 + y**2 <= radius**2) / np.sum(x**2 + y**2 <= radius**2)
    kernel = cv2.GaussianBlur(kernel, (3, 3) if radius <= 8 else (5, 5), sigmaX=soft)
    pixels = noise(40, 61)
    wanted = scipy.ndimage.correlate(pixels.double().numpy(), kernel[None, None], mode="mirror")
    assert np.abs(defocused(pixels, radius, soft).numpy() - wanted).max() < 2e-6


def test_defocus_of_an_image_smaller_than_the_disk():
    """A disk that touches its grid weighs a little more than 1, because the smoothing mirrors it."""
    flat = torch.full((1, 3, 7, 9), 0.4)
    weight = float(defocused(flat, 10, 0.5)[0, 0, 0, 0]) / 0.4
    torch.testing.assert_close(defocused(flat, 10, 0.5), flat * weight)
    assert 1.005 < weight < 1.02
    torch.testing.assert_close(defocused(flat, 4, 0.5), flat)


# Glass


def glass_loop(pixels: np.ndarray, steps: list[tuple[np.ndarray, np.ndarray]], reach: int) -> np.ndarray:
    """The published loop on one image (h, w, c), the assignment that is no swap included."""
    x = pixels.copy()
    height, width = x.shape[:2]
    for down, across in steps:
        for h in range(height - reach, reach, -1):
            for w in range(width - reach, reach, -1):
                other = h + down[h, w], w + across[h, w]
                x[h, w], x[other] = x[other], x[h, w]
    return x


@pytest.mark.parametrize(("reach", "passes"), [(1, 1), (1, 2), (2, 3), (4, 2)])
@pytest.mark.parametrize("shape", [(20, 27), (31, 16)])
def test_glass_is_the_published_loop(reach, passes, shape):
    pixels = noise(*shape, images=3)
    draws = Draws(0, STREAM, ("a", "b", "c"))
    steps = glass_steps(draws, reach, passes, *shape)
    out = displaced(pixels, steps, reach)
    for i, image in enumerate(pixels):
        of_image = [(down[i].numpy(), across[i].numpy()) for down, across in steps]
        wanted = glass_loop(image.permute(1, 2, 0).numpy(), of_image, reach)
        assert np.array_equal(out[i].permute(1, 2, 0).numpy(), wanted)
    assert not torch.equal(out, pixels)


def test_glass_overwrites_instead_of_swapping():
    x = np.arange(12.0).reshape(2, 2, 3)
    x[0, 0], x[1, 1] = x[1, 1], x[0, 0]
    assert x[0, 0].tolist() == x[1, 1].tolist() == [9, 10, 11]
    # one visited pixel, (2, 2) of 4x4 with a reach of 1 and steps of 0 elsewhere, that looks up and left
    pixels = torch.arange(48.0).view(1, 3, 4, 4)
    down, across = torch.zeros(2, 1, 4, 4, dtype=torch.int32)
    down[0, 2, 2] = across[0, 2, 2] = -1
    out = displaced(pixels, [(down, across)], 1)
    wanted = pixels.clone()
    wanted[..., 2, 2] = pixels[..., 1, 1]
    assert torch.equal(out, wanted)


def test_glass_follows_a_long_chain_of_neighbours():
    """Every pixel looks at the next one to its right: all take the value of the last that is visited first."""
    side = 70
    pixels = noise(side, side, 1)
    down, across = torch.zeros(1, side, side, dtype=torch.int32), torch.ones(1, side, side, dtype=torch.int32)
    out = displaced(pixels, [(down, across)], 2)
    for row in range(3, side - 1):
        assert (out[0, :, row, 3 : side - 1] == pixels[0, :, row, side - 1 :]).all()


def test_glass_leaves_a_frame():
    pixels = noise(30, 30, 1)
    out = displaced(pixels, glass_steps(Draws(0, STREAM, ("a",)), 4, 2, 30, 30), 4)
    moved = (out != pixels).any(1)[0]
    assert not moved[:5].any()
    assert not moved[:, :5].any()
    assert not moved[27:].any()
    assert moved[5].any()
    assert moved[26].any()


def test_glass_of_an_image_without_an_inner_part_is_a_blur():
    pixels = noise(5, 6, 1)
    assert torch.equal(displaced(pixels, glass_steps(Draws(0, STREAM, ("a",)), 4, 2, 5, 6), 4), pixels)


def test_glass_blurs_truncates_and_blurs_again():
    batch = make_batch(1, 24)
    step = GlassBlur(severity=4, table="imagenet-224", quantise="none")
    draws = make_draws(batch, STREAM)
    x = batch.pixels[0].permute(1, 2, 0).double().numpy()
    x = np.uint8(scipy.ndimage.gaussian_filter(x, (1.1, 1.1, 0), mode="nearest") * 255)
    steps = [(d[0].numpy(), a[0].numpy()) for d, a in glass_steps(draws, 3, 2, 24, 24)]
    x = scipy.ndimage.gaussian_filter(glass_loop(x, steps, 3) / 255, (1.1, 1.1, 0), mode="nearest")
    assert np.abs(step(batch, draws).pixels[0].permute(1, 2, 0).numpy() - x).max() < 1e-6


def test_glass_steps_are_uniform_and_shared_by_severities():
    draws = Draws(0, STREAM, ("a",))
    for reach in (1, 3):
        (down, across), (later, _) = glass_steps(draws, reach, 2, 200, 200)
        for part in (down, across):
            values, counts = part.unique(return_counts=True)
            assert values.tolist() == list(range(-reach, reach))
            share = counts / counts.sum() * 2 * reach
            assert (share - 1).abs().max() < 0.05
        for one, other in ((down, across), (down, later)):
            assert abs(np.corrcoef(one.flatten(), other.flatten())[0, 1]) < 0.02
    near, far = (glass_steps(draws, reach, 1, 50, 50)[0][0] for reach in (1, 2))
    assert torch.equal(near, far.div(2, rounding_mode="floor"))


# Motion


def motion_loop(image: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    height, width = image.shape[1:]
    weights = [np.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)]
    out = np.zeros(image.shape)
    for i, weight in enumerate(weights):
        dy = int(np.ceil(i * np.sin(np.deg2rad(angle)) - 0.5))
        dx = int(np.ceil(i * np.cos(np.deg2rad(angle)) - 0.5))
        for y in range(height):
            for x in range(width):
                out[:, y, x] += (
                    weight * image[:, np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)]
                )
    return out / sum(weights)


@pytest.mark.parametrize("turn", [-45.0, -20.3, 0.0, 44.9, -135.0, -90.0, -47.5])
def test_motion_is_the_mean_along_a_line(turn):
    pixels = noise(11, 17, 1)
    out = motion(pixels, 6, 4.0, [turn])
    assert np.abs(out[0].numpy() - motion_loop(pixels[0].double().numpy(), 6, 4.0, turn)).max() < 1e-6


def test_motion_moves_each_image_along_its_own_angle():
    pixels = noise(16, 16, 2)
    out = motion(pixels, 4, 3.0, [30.0, -30.0])
    for i, turn in enumerate((30.0, -30.0)):
        assert torch.equal(out[i], motion(pixels[i : i + 1], 4, 3.0, [turn])[0])


def test_line_weights_add_up_to_one_and_fall():
    for turn in (-45, 0, 17, 45):
        weights = list(line(15, 8.0, turn).values())
        assert abs(sum(weights) - 1) < 1e-12
    assert sorted(line(5, 2.0, 0).values(), reverse=True) == list(line(5, 2.0, 0).values())
    assert len(line(20, 15.0, 45)) == 29  # of 41 samples along the diagonal, some share a pixel


def test_motion_angles_lie_in_their_range():
    ids = tuple(map(str, range(2000)))
    found = np.array(angles(Draws(0, STREAM, ids), -45.0, 45.0))
    assert found.min() >= -45
    assert found.max() < 45
    assert abs(found.mean()) < 2
    assert abs(found.std() - 90 / 12**0.5) < 1


def test_motion_is_rounded_to_levels_as_imagemagick_does():
    batch = make_batch(2, 32)
    draws = make_draws(batch, STREAM)
    plain = MotionBlur(severity=2, table="cifar", quantise="none")(batch, draws).pixels
    wanted = (plain * 255).round() / 255
    for how in ("truncate", "round"):
        out = MotionBlur(severity=2, table="cifar", quantise=how)(batch, draws).pixels
        torch.testing.assert_close(out, wanted)
    assert not torch.allclose(plain, wanted, atol=1e-4)


# Zoom


def zoom_by_scipy(image: np.ndarray, factor: float) -> np.ndarray:
    """The published crop, enlarge and trim, with the width treated like the height."""
    sides = image.shape[1:]
    middles = [int(np.ceil(side / factor)) for side in sides]
    starts = [(side - middle) // 2 for side, middle in zip(sides, middles, strict=True)]
    inner = image[:, starts[0] : starts[0] + middles[0], starts[1] : starts[1] + middles[1]]
    large = np.stack([scipy.ndimage.zoom(plane, factor, order=1) for plane in inner])
    trims = [(a - b) // 2 for a, b in zip(large.shape[1:], sides, strict=True)]
    return large[:, trims[0] : trims[0] + sides[0], trims[1] : trims[1] + sides[1]]


@pytest.mark.parametrize("table", ["imagenet-224", "tiny-imagenet"])
@pytest.mark.parametrize("shape", [(32, 32), (41, 58), (224, 224)])
def test_zoom_is_scipys(table, shape):
    pixels = noise(*shape, images=1)
    exact = pixels[0].double().numpy()
    for level in levels_of(ZoomBlur, table)[-1:]:
        factors = zoom_factors(*level)
        wanted = (exact + sum(zoom_by_scipy(exact, f) for f in factors)) / (len(factors) + 1)
        assert np.abs(zoomed(pixels, factors)[0].numpy() - wanted).max() < 2e-6


def test_zoom_is_the_same_by_products_and_place_by_place():
    """The first is what a CPU does, the second what other devices do."""
    pixels = noise(30, 47)
    for factor in (1.01, 1.13, 1.3):
        alone = 2 * zoomed(pixels, [factor]) - pixels
        torch.testing.assert_close(_enlarged(pixels, factor), alone, atol=2e-5, rtol=0)


def test_zoom_counts_the_image_twice():
    pixels = noise(16, 16, 1)
    torch.testing.assert_close(zoomed(pixels, [1.0]), pixels)
    other = zoomed(pixels, [1.5]) * 2 - pixels
    torch.testing.assert_close(zoomed(pixels, [1.0, 1.5]), (2 * pixels + other) / 3, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", BLURS)
def test_levels_of_a_shared_memo_are_what_they_are_alone(kind):
    batch = make_batch(2, 32)
    shared = make_draws(batch, STREAM, memo={})
    for severity in range(1, 6):
        step = kind(severity=severity, table="tiny-imagenet")
        assert torch.equal(step(batch, shared).pixels, step(batch, make_draws(batch, STREAM)).pixels)
