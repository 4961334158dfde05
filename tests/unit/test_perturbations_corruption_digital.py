import colorsys
from fractions import Fraction
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from robobench.codecs import from_uint8, to_uint8
from robobench.errors import BadParameter
from robobench.perturbations.corruption import digital
from robobench.registry import perturbations
from robobench.types import ImageBatch
from tests.fakes import make_batch, make_draws

NAMES = ("brightness", "contrast", "saturate", "jpeg_compression", "pixelate")
ALL = ("imagenet-224", "imagenet-299", "cifar", "tiny-imagenet")
# typed in a second time, from the authors' scripts
TABLES = {
    "brightness": {
        **dict.fromkeys(ALL, (0.1, 0.2, 0.3, 0.4, 0.5)),
        "cifar": (0.05, 0.1, 0.15, 0.2, 0.3),
    },
    "contrast": {
        **dict.fromkeys(ALL, (0.4, 0.3, 0.2, 0.1, 0.05)),
        "cifar": (0.75, 0.5, 0.4, 0.3, 0.15),
    },
    "saturate": {
        **dict.fromkeys(ALL, ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))),
        "cifar": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        "tiny-imagenet": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
    },
    "jpeg_compression": {
        "imagenet-224": (25, 18, 15, 10, 7),
        "imagenet-299": (23, 16, 13, 8, 5),
        "cifar": (80, 65, 58, 50, 40),
        "tiny-imagenet": (65, 58, 50, 40, 25),
    },
    "pixelate": {
        "imagenet-224": (0.6, 0.5, 0.4, 0.3, 0.25),
        "imagenet-299": (0.5, 0.4, 0.3, 0.25, 0.2),
        "cifar": (0.95, 0.9, 0.85, 0.75, 0.65),
        "tiny-imagenet": (0.9, 0.8, 0.7, 0.6, 0.5),
    },
}


def build(name, severity=3, **params):
    return perturbations.build(f"corruption.{name}", {"severity": severity, **params})


def batch_of(pixels):
    return ImageBatch(pixels, tuple(map(str, range(len(pixels)))), torch.zeros(len(pixels)).long())


def stored(n, height, width, seed=0):
    """8-bit images (n, h, w, 3) with smooth parts and noisy ones, black, white and greys among them."""
    random = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(height), np.arange(width))[None, :, :, None]
    images = (
        ramp * random.integers(1, 9, (n, 1, 1, 3)) + random.integers(0, 40, (n, height, width, 3))
    ) % 256
    images[:, :2] = random.integers(0, 256, (n, 2, width, 1))
    images[:, 2, : width // 3], images[:, 2, width // 3 : width // 2] = 0, 255
    images[:, 3] = 128 + random.integers(0, 3, (n, width, 3))  # nearly grey, and often two channels alike
    return images.astype(np.uint8)


def run(name, images, severity, table, **params):
    """(n, h, w, 3) float64 in [0, 255], from 8-bit images."""
    pixels = from_uint8(images, torch.empty(0))
    batch = batch_of(pixels)
    out = build(name, severity, table=table, **params)(batch, make_draws(batch)).pixels
    return out.double().permute(0, 2, 3, 1).numpy() * 255


# Tables


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("table", ALL)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_each_severity_has_the_published_parameter(name, table, severity):
    batch = make_batch(1, 8)
    assert build(name, severity, table=table).level(batch.pixels) == TABLES[name][table][severity - 1]


@pytest.mark.parametrize("name", NAMES)
def test_a_size_without_severities_needs_a_table(name):
    batch = make_batch(1, 64)
    with pytest.raises(BadParameter, match="table: the images are 64x64"):
        build(name)(batch, make_draws(batch))


# Colour, against the definitions in double precision


def brighter(rgb, add):
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
    return colorsys.hsv_to_rgb(hue, saturation, min(max(value + add, 0), 1))


def more_colour(rgb, level):
    factor, add = level
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
    return colorsys.hsv_to_rgb(hue, min(max(saturation * factor + add, 0), 1), value)


def less_contrast(images, c):
    x = images / 255
    return np.array([[(v - m) * c + m for v, m in zip(i, [i.mean((0, 1))] * len(i), strict=True)] for i in x])


def defined(name, images, level):
    """In [0, 255], not quantised."""
    if name == "contrast":
        return less_contrast(images, level) * 255
    one = brighter if name == "brightness" else more_colour
    flat = [one(rgb, level) for rgb in (images.reshape(-1, 3) / 255).tolist()]
    return np.clip(np.array(flat).reshape(images.shape), 0, 1) * 255


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturate"])
@pytest.mark.parametrize("table", ["imagenet-224", "cifar", "tiny-imagenet"])
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_colours_are_those_of_the_definition(name, table, severity):
    images = stored(2, 23, 31)
    wanted = defined(name, images, TABLES[name][table][severity - 1])
    exact = run(name, images, severity, table, quantise="none")
    assert np.abs(exact - wanted).max() < 1e-4 * 255
    assert np.abs(exact - wanted).max() < 0.01
    for how, shift in (("truncate", 0.0), ("round", 0.5)):
        levels = run(name, images, severity, table, quantise=how).round()
        clear = np.abs(wanted + shift - np.round(wanted + shift)) > 0.01
        assert clear.mean() > 0.1  # a whole factor of saturation leads to steps
        assert (levels[clear] == np.floor(wanted + shift)[clear]).all()


@pytest.mark.parametrize("name", ["brightness", "saturate"])
def test_every_combination_of_extreme_channels(name):
    """Ties, black, white, grey and the smallest differences, where the formulas divide by almost nothing."""
    some = [0, 1, 2, 127, 128, 254, 255]
    images = np.array(np.meshgrid(some, some, some)).reshape(3, -1).T.reshape(1, 49, 7, 3).astype(np.uint8)
    for severity, level in enumerate(TABLES[name]["tiny-imagenet"], 1):
        exact = run(name, images, severity, "tiny-imagenet", quantise="none")
        assert np.abs(exact - defined(name, images, level)).max() < 0.01


def test_grey_turns_red_where_saturation_is_added():
    batch = batch_of(torch.full((1, 3, 4, 4), 0.5))
    out = build("saturate", 5, table="imagenet-224", quantise="none")(batch, make_draws(batch)).pixels
    torch.testing.assert_close(out[0, :, 0, 0], torch.tensor([0.5, 0.4, 0.4]))


def test_brightness_keeps_hue_and_saturation_where_nothing_is_clipped():
    batch = batch_of(torch.tensor([0.4, 0.2, 0.1]).view(1, 3, 1, 1).expand(1, 3, 8, 8))
    out = build("brightness", 4, table="imagenet-224", quantise="none")(batch, make_draws(batch)).pixels
    torch.testing.assert_close(out[0, :, 0, 0], torch.tensor([0.8, 0.4, 0.2]))


# Through Pillow


@pytest.mark.parametrize("table", ALL)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_jpeg_is_pillows(table, severity):
    images = stored(2, 40, 56)
    out = run("jpeg_compression", images, severity, table)
    for got, image in zip(out, images, strict=True):
        file = BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=TABLES["jpeg_compression"][table][severity - 1])
        assert np.array_equal(got.round(), np.asarray(Image.open(file)))
        assert np.abs(got - got.round()).max() < 1e-4


@pytest.mark.parametrize(
    ("table", "height", "width"),
    [
        ("imagenet-224", 224, 224),
        ("imagenet-299", 299, 299),
        ("tiny-imagenet", 64, 64),
        ("cifar", 32, 32),
        ("imagenet-224", 97, 299),
        ("imagenet-299", 30, 40),
    ],
)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_pixels_are_pillows_boxes(table, height, width, severity):
    images = stored(2, height, width)
    c = TABLES["pixelate"][table][severity - 1]
    out = run("pixelate", images, severity, table)
    for got, image in zip(out, images, strict=True):
        small = Image.fromarray(image).resize((int(width * c), int(height * c)), Image.Resampling.BOX)
        wanted = np.asarray(small.resize((width, height), Image.Resampling.BOX))
        assert np.array_equal(got.round(), wanted)


def test_nearest_stands_in_for_box_only_where_no_centre_lies_on_a_border():
    for fine in (28, 32, 64, 75, 96, 224, 299):
        for coarse in range(1, fine + 1):
            border = any(Fraction(2 * i + 1, 2 * fine) * coarse % 1 == 0 for i in range(fine))
            how = digital._upwards((coarse, coarse), (fine, fine))
            assert how == (Image.Resampling.BOX if border else Image.Resampling.NEAREST)
            if not border:
                row = Image.fromarray(np.arange(coarse, dtype=np.int32)[None])
                both = [np.asarray(row.resize((fine, 1), f)) for f in (how, Image.Resampling.BOX)]
                assert np.array_equal(*both)


@pytest.mark.parametrize("name", ["jpeg_compression", "pixelate"])
def test_float_pixels_are_quantised_first(name):
    batch = make_batch(2, 32)
    for how, before in (("truncate", "truncate"), ("round", "round"), ("none", "truncate")):
        step = build(name, 3, table="cifar", quantise=how)
        levels = from_uint8(to_uint8(batch.pixels, before), batch.pixels)
        first = batch.with_pixels(levels)
        assert torch.equal(step(batch, make_draws(batch)).pixels, step(first, make_draws(first)).pixels)


def test_an_image_of_which_nothing_is_left_is_refused():
    batch = make_batch(1, 32, width=3)
    with pytest.raises(BadParameter, match=r"corruption.pixelate: the images are 32x3, and at 0.25"):
        build("pixelate", 5, table="imagenet-224")(batch, make_draws(batch))


# All five


@pytest.mark.parametrize("name", NAMES)
def test_rectangular_images_get_the_same_alone_and_in_a_batch(name):
    """At a size that no vector register divides, and from memory that is not in one piece."""
    batch = make_batch(5, 31, width=37)
    step = build(name, 4, table="imagenet-224", quantise="none")
    whole = step(batch, make_draws(batch)).pixels
    assert whole.shape == batch.pixels.shape
    strided = batch.pixels.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(step(batch.with_pixels(strided), make_draws(batch)).pixels, whole)
    for row in range(5):
        one = batch.select([row])
        assert torch.equal(step(one, make_draws(one)).pixels[0], whole[row])


@pytest.mark.parametrize("name", NAMES)
def test_severities_are_distinct_and_grow(name):
    images = stored(1, 64, 64)
    ladder = [run(name, images, s, "tiny-imagenet") for s in range(1, 6)]
    changes = [np.abs(out - images).mean() for out in ladder]
    assert len({c.round(6) for c in changes}) == 5
    if name != "saturate":  # less colour at first, then more
        assert changes == sorted(changes)


@pytest.mark.parametrize("name", NAMES)
def test_stored_as_jpeg(name):
    images = stored(1, 40, 40)
    plain = run(name, images, 2, "tiny-imagenet").round().astype(np.uint8)
    file = BytesIO()
    Image.fromarray(plain[0]).save(file, "JPEG", quality=85)
    out = run(name, images, 2, "tiny-imagenet", jpeg_quality=85)
    assert np.array_equal(out[0].round(), np.asarray(Image.open(file)))
