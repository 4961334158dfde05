"""The elastic transform of ImageNet-C, against OpenCV's and scipy's steps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch

from robobench.errors import BadParameter
from robobench.perturbations.corruption.elastic import ElasticTransform, bent, smoothed, stretched
from tests.fakes import make_batch, make_draws

STREAM = "corruption.test"
SHARES = {  # of the side that stands first
    "imagenet-224": (244, [(2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)]),
    "imagenet-299": (360, [(2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)]),
    "cifar": (32, [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)]),
    "tiny-imagenet": (64, [(0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)]),
}  # fmt: skip


def test_parameters_are_those_of_the_tables():
    for table, (side, shares) in SHARES.items():
        pixels = torch.zeros(1, 3, 8, 8)
        levels = [ElasticTransform(severity=s, table=table).level(pixels) for s in range(1, 6)]
        np.testing.assert_allclose(levels, np.array(shares) * side)


@pytest.mark.parametrize("shape", [(32, 32), (41, 64)])
def test_stretching_is_opencvs_affine_map_of_three_points(shape):
    """OpenCV's own result is interpolated exactly from version 5 on."""
    batch = make_batch(2, shape[0], width=shape[1])
    moves = torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(4)) * 6 - 3
    out = stretched(batch.pixels, moves)
    height, width = shape
    x, y, third = width // 2, height // 2, min(shape) // 3
    before = np.float32([[x + third, y + third], [x + third, y - third], [x - third, y - third]])
    for image, move, found in zip(batch.pixels, moves, out, strict=True):
        matrix = cv2.getAffineTransform(before, before + move.numpy())
        wanted = cv2.warpAffine(
            image.permute(1, 2, 0).numpy(), matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101
        )
        assert np.abs(found.permute(1, 2, 0).numpy() - wanted).max() < 1e-4


def test_stretching_by_nothing_is_the_identity_and_by_one_pixel_a_shift():
    pixels = make_batch(1, 20, width=30).pixels
    torch.testing.assert_close(stretched(pixels, torch.zeros(1, 3, 2)), pixels, atol=1e-5, rtol=0)
    moved = stretched(pixels, torch.tensor([1.0, 0.0]).expand(1, 3, 2))
    torch.testing.assert_close(moved[..., 1:], pixels[..., :-1], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[..., 0], pixels[..., 1], atol=1e-5, rtol=0)  # mirrored, the edge once


def test_stretching_onto_a_line_gives_pixels_of_the_image():
    """The map of three points onto a line has no inverse, near it a huge one; nothing hangs or is NaN."""
    pixels = make_batch(1, 20).pixels
    for off in (0.0, 1e-10, 1e-3):
        out = stretched(pixels, torch.tensor([[[0, 0], [off - 6, 6], [0, 0]]], dtype=torch.float64))
        assert out.isfinite().all()
        assert out.min() >= pixels.min() - 1e-6
        assert out.max() <= pixels.max() + 1e-6


@pytest.mark.parametrize("sigma", [0.64, 2.44, 6.4, 19.5, 170.8])
@pytest.mark.parametrize("shape", [(32, 32), (25, 40)])
def test_smoothing_is_scipys_with_reflection(sigma, shape):
    """By a filter and, where it reaches far, by a matrix; also when it reaches beyond several reflections."""
    field = torch.rand(2, 2, *shape, generator=torch.Generator().manual_seed(5)) * 2 - 1
    wanted = scipy.ndimage.gaussian_filter(
        field.double().numpy(), (0, 0, sigma, sigma), mode="reflect", truncate=3
    )
    assert np.abs(smoothed(field, sigma).numpy() - wanted).max() < 1e-6


def test_bending_reads_from_displaced_places_reflected_at_the_border():
    pixels = make_batch(2, 18, width=25).pixels
    generator = torch.Generator().manual_seed(6)
    down, across = (torch.randn(2, 18, 25, generator=generator) * 4 for _ in range(2))
    out = bent(pixels, down, across)
    y, x = np.mgrid[:18, :25]
    for i in range(2):
        places = y + down[i].numpy(), x + across[i].numpy()
        for channel in range(3):
            wanted = scipy.ndimage.map_coordinates(
                pixels[i, channel].double().numpy(), places, order=1, mode="reflect"
            )
            assert np.abs(out[i, channel].numpy() - wanted).max() < 1e-5


@pytest.mark.parametrize("shape", [(64, 64), (70, 96)])
def test_every_severity_differs_and_shares_its_draws(shape):
    batch = make_batch(2, shape[0], width=shape[1])
    shared = make_draws(batch, STREAM, memo={})
    seen = [batch.pixels]
    for severity in range(1, 6):
        step = ElasticTransform(severity=severity, table="tiny-imagenet")
        out = step(batch, shared).pixels
        assert torch.equal(out, step(batch, make_draws(batch, STREAM)).pixels)
        assert not any(torch.equal(out, other) for other in seen)
        seen.append(out)


def test_the_first_field_moves_across_and_the_second_down():
    batch = make_batch(1, 64)
    draws = make_draws(batch, STREAM)
    moves = (draws.uniform("anchors", 3, 2) * 2 - 1) * 0.03 * 64
    across, down = smoothed(draws.uniform("fields", 2, 64, 64) * 2 - 1, 0.03 * 64).unbind(1)
    wanted = bent(stretched(batch.pixels, moves), 6.4 * down, 6.4 * across)
    out = ElasticTransform(severity=4, table="tiny-imagenet", quantise="none")(batch, draws).pixels
    torch.testing.assert_close(out, wanted, atol=1e-5, rtol=0)


def test_a_table_for_larger_images_is_refused():
    batch = make_batch(1, 32)
    with pytest.raises(
        BadParameter, match=r"a third of images of 32x32, got one .* up to 48\.8 pixels"
    ) as error:
        ElasticTransform(severity=2, table="imagenet-224")(batch, make_draws(batch, STREAM))
    assert error.value.path == ("table",)
