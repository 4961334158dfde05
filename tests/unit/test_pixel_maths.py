"""Filters, resampling, colour and 8-bit conversion against scipy, OpenCV, Pillow and colorsys."""

from __future__ import annotations

import colorsys
import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from robobench import codecs, colour, filters, warp

SHAPES = [(30, 41), (9, 5)]


def images(height: int, width: int, n: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(height * width))


def planes(pixels: torch.Tensor, function) -> np.ndarray:
    return np.stack([[function(plane.double().numpy()) for plane in image] for image in pixels])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("border", ["nearest", "reflect", "mirror"])
@pytest.mark.parametrize("sigma", [0.3, 1.5, 6.0])
def test_gaussian_is_scipys(shape, border, sigma):
    pixels = images(*shape)
    expected = planes(pixels, lambda p: ndimage.gaussian_filter(p, sigma, mode=border))
    found = filters.gaussian(pixels, sigma, border=border)
    assert np.abs(found.numpy() - expected).max() < 1e-6
    assert (
        np.abs(
            found.numpy() - planes(pixels, lambda p: ndimage.gaussian_filter(p, sigma * 1.1, mode=border))
        ).max()
        > 1e-6
    )


@pytest.mark.parametrize("border", ["nearest", "reflect", "mirror", "zero"])
def test_correlate_is_scipys_and_the_same_by_torch(border):
    pixels, kernel = images(20, 31), np.random.default_rng(0).normal(size=(5, 7))
    mode = {"zero": "constant"}.get(border, border)
    expected = planes(pixels, lambda p: ndimage.correlate(p, kernel, mode=mode))
    assert np.abs(filters.correlate(pixels, kernel, border=border).numpy() - expected).max() < 1e-5
    assert np.abs(filters._correlated(pixels, kernel, border).numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("border", ["nearest", "reflect", "mirror"])
def test_padding_goes_on_as_numpy_does_also_beyond_the_image(border):
    pixels = images(4, 3)
    mode = {"nearest": "edge", "reflect": "symmetric", "mirror": "reflect"}[border]
    expected = np.pad(pixels.numpy(), ((0, 0), (0, 0), (9, 9), (11, 11)), mode=mode)
    assert np.array_equal(filters.padded(pixels, 9, 11, border).numpy(), expected)


@pytest.mark.parametrize(
    ("radius", "soft"), [(3, 0.1), (8, 0.5), (10, 0.5), (12, 0.5), (0.3, 0.4), (1.5, 0.1)]
)
def test_disk_is_a_circle_smoothed_by_opencv(radius, soft):
    line = np.arange(-8, 9) if radius <= 8 else np.arange(-radius, radius + 1)
    filled = (line[:, None] ** 2 + line[None] ** 2 <= radius**2).astype(np.float32)
    size = (3, 3) if radius <= 8 else (5, 5)
    expected = cv2.GaussianBlur(filled / filled.sum(), size, soft)
    assert np.abs(filters.disk(radius, soft) - expected).max() < 1e-7


@pytest.mark.parametrize("border", ["nearest", "mirror", "reflect", "zero"])
def test_sampling_between_pixels_is_scipys_and_the_same_by_torch(border):
    pixels = images(20, 31)
    generator = torch.Generator().manual_seed(1)
    rows, columns = (torch.rand(2, 12, 14, generator=generator) * (side + 16) - 8 for side in (20, 31))
    mode = {"zero": "grid-constant"}.get(border, border)
    expected = np.stack(
        [
            [
                ndimage.map_coordinates(plane, [y.double(), x.double()], order=1, mode=mode)
                for plane in image.double().numpy()
            ]
            for image, y, x in zip(pixels, rows, columns, strict=True)
        ]
    )
    assert np.abs(warp.sample(pixels, rows, columns, border=border).numpy() - expected).max() < 1e-5
    assert np.abs(warp._gathered(pixels, rows, columns, border).numpy() - expected).max() < 1e-5
    one = warp.sample(pixels[:, :1], rows, columns, border=border)
    assert np.abs(one.numpy() - expected[:, :1]).max() < 1e-5


def test_a_quarter_turn_is_numpys():
    pixels = images(17, 17)
    turned = warp.affine(pixels, warp.rotation(torch.tensor([90.0, -90.0]), 17, 17))
    expected = np.stack([np.rot90(pixels[0].numpy(), 1, (1, 2)), np.rot90(pixels[1].numpy(), -1, (1, 2))])
    assert np.abs(turned.numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("factor", [1.0, 1.06, 1.11, 1.3, 2.5, 4.5])
@pytest.mark.parametrize("side", [64, 224])
def test_zoomed_places_are_those_of_scipys_zoom(side, factor):
    image = np.random.default_rng(0).random((side, side))
    middle = int(np.ceil(side / factor))
    start = (side - middle) // 2
    grown = ndimage.zoom(image[start : start + middle, start : start + middle], factor, order=1)
    trim = (grown.shape[0] - side) // 2
    at = torch.from_numpy(warp.zoomed_places(side, factor)).float()
    found = warp.sample(
        torch.from_numpy(image).float()[None, None],
        at[:, None].expand(side, side),
        at[None].expand(side, side),
    )
    assert np.abs(found[0, 0].numpy() - grown[trim : trim + side, trim : trim + side]).max() < 3e-5


def test_hsv_is_that_of_the_standard_library_and_back():
    pixels = images(8, 9)
    pixels[0, :, 0] = 0.5  # grey
    pixels[0, :, 1] = 0.0
    pixels[0, 1:, 2] = 0.0  # pure red
    pixels[1, 0, 0] = pixels[1, 1, 0]  # two equal channels
    hue, saturation, value = colour.to_hsv(pixels)
    for image in range(2):
        for y in range(8):
            for x in range(9):
                expected = colorsys.rgb_to_hsv(*pixels[image, :, y, x].tolist())
                found = [float(v[image, y, x]) for v in (hue, saturation, value)]
                assert found == pytest.approx(expected, abs=1e-5)
    assert (colour.from_hsv(hue, saturation, value) - pixels).abs().max() < 1e-5


def test_grey_is_opencvs():
    pixels = images(8, 9)
    expected = cv2.cvtColor(pixels[0].permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2GRAY)
    assert np.abs(colour.grey(pixels)[0, 0].numpy() - expected).max() < 1e-6


def test_levels_stay_what_they_are_and_others_go_down_or_to_the_nearest():
    levels = torch.arange(256).float().div(255).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    for how in ("truncate", "round"):
        assert torch.equal(codecs.quantised(levels, how), levels)
        assert (codecs.to_uint8(levels, how)[0, :, :, 0].ravel() == np.arange(256)).all()
    between = torch.full((1, 3, 2, 2), 10.7 / 255)
    assert (codecs.to_uint8(between, "truncate") == 10).all()
    assert (codecs.to_uint8(between, "round") == 11).all()
    assert torch.equal(codecs.quantised(between, "truncate") * 255, torch.full((1, 3, 2, 2), 10.0))
    assert (codecs.to_uint8(torch.full((1, 3, 2, 2), 1.0), "round") == 255).all()
    assert torch.equal(codecs.from_uint8(codecs.to_uint8(levels), levels), levels)


def test_jpeg_is_pillows():
    pixels = codecs.quantised(ndimage_blurred(images(40, 56, 1)))
    image = Image.fromarray((pixels[0].permute(1, 2, 0) * 255).round().byte().numpy())
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    expected = np.asarray(Image.open(file))
    found = codecs.to_uint8(codecs.jpeg(pixels, 30))[0]
    assert np.array_equal(found, expected)
    assert not np.array_equal(codecs.to_uint8(codecs.jpeg(pixels, 33))[0], expected)


def ndimage_blurred(pixels: torch.Tensor) -> torch.Tensor:
    return filters.gaussian(pixels, 2.0)
