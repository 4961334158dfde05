"""Renderings and transfers, against plain versions and drawings whose answer is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from robobench.errors import BadParameter, DataError
from robobench.registry import perturbations
from robobench.types import ImageBatch
from tests.fakes import make_batch, make_draws

LUMA = np.array([0.299, 0.587, 0.114])


def applied(batch, name, **params):
    return perturbations.build(name, params)(batch, make_draws(batch, name)).pixels


def of(plane) -> ImageBatch:
    """One grey image."""
    pixels = torch.as_tensor(np.asarray(plane), dtype=torch.float32).expand(1, 3, -1, -1).contiguous()
    return ImageBatch(pixels, ("img/a.png",), torch.zeros(1, dtype=torch.int64))


def disc(side=64, radius=18, inside=0.9, outside=0.2):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.where(np.hypot(y, x) <= radius, inside, outside)


@pytest.mark.parametrize("amount", [0.25, 1])
def test_greyscale_moves_channels_towards_the_luma(amount):
    batch = make_batch(2, 9)
    pixels = batch.pixels.double().numpy()
    luma = np.einsum("bchw,c->bhw", pixels, LUMA)[:, None]
    expected = (1 - amount) * pixels + amount * luma
    np.testing.assert_allclose(applied(batch, "style.greyscale", amount=amount).numpy(), expected, atol=1e-6)


def test_a_sketch_is_the_quotient_of_two_blurs():
    batch = make_batch(2, 112)
    luma = np.einsum("bchw,c->bhw", batch.pixels.double().numpy(), LUMA)
    fine, coarse = (ndimage.gaussian_filter(luma, (0, s / 2, s / 2), mode="reflect") for s in (1, 6))
    expected = np.clip((fine + 1 / 255) / (coarse + 1 / 255), 0, 1) ** 3
    found = applied(batch, "style.sketch", sigma=6, strength=3)
    np.testing.assert_allclose(found[:, 1].numpy(), expected, atol=1e-4)


def test_a_sketch_of_a_flat_area_is_paper_whatever_its_brightness():
    for level in (0.0, 0.3, 1.0):
        assert float(applied(of(np.full((32, 32), level)), "style.sketch").min()) > 0.999
    drawn = applied(of(disc(side=224, radius=60)), "style.sketch")[0, 0]
    assert float(drawn[112, 112]) > 0.999  # inside
    assert float(drawn[112, 20]) > 0.999  # outside
    assert float(drawn.min()) < 0.5  # along the contour


def test_edges_are_thin_lines_on_the_contour():
    side, radius = 224, 60
    found = applied(of(disc(side, radius)), "style.edges", density=0.02)[0, 0].numpy()
    assert set(np.unique(found)) == {0.0, 1.0}
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    black = np.hypot(y, x)[found == 0]
    assert abs(black - radius).max() < 2.5
    assert 0.8 * 2 * np.pi * radius < len(black) < 1.3 * 2 * np.pi * radius


def test_the_density_of_edges_sets_the_thresholds_of_canny():
    batch = make_batch(1, 48)
    levels = np.round(np.einsum("bchw,c->bhw", batch.pixels.double().numpy(), LUMA)[0] * 255)
    size = np.hypot(*(ndimage.sobel(levels, axis, mode="reflect") for axis in (0, 1)))
    strong = np.sort(size.flatten())[-round(0.1 * size.size)]  # a tenth of the gradients is larger
    expected = cv2.Canny(levels.astype(np.uint8), 0.4 * strong, strong, L2gradient=True) == 0
    found = applied(batch, "style.edges", density=0.1, sigma=0)[0, 0].numpy()
    inner = (slice(3, -3), slice(3, -3))  # Canny's own border is another
    assert (found[inner] != expected[inner]).mean() < 0.01


def test_wider_lines_and_more_edges_are_darker():
    batch = make_batch(2, 64)
    thin, wide = (applied(batch, "style.edges", width=w) for w in (1, 12))
    assert bool((wide <= thin).all())
    assert float(wide.mean()) < float(thin.mean())
    few, many = (float(applied(batch, "style.edges", density=d).mean()) for d in (0.02, 0.3))
    assert many < few
    assert float(applied(of(np.full((32, 32), 0.4)), "style.edges").min()) == 1.0


@pytest.mark.parametrize("levels", [(0.9, 0.2), (0.2, 0.9)])
def test_a_silhouette_is_black_where_the_object_is(levels):
    batch = of(disc(inside=levels[0], outside=levels[1]))
    step = perturbations.build("style.silhouette", {"sigma": 0})
    out = step(batch, make_draws(batch))
    assert torch.equal(out.pixels[0, 0], torch.as_tensor(disc(inside=0, outside=1), dtype=torch.float32))
    assert float(out.facts["filled"]) == pytest.approx(np.mean(disc(inside=1, outside=0)))


def test_a_silhouette_splits_by_otsus_threshold():
    """The threshold of the largest variance between the two sides, by trying all."""
    batch = make_batch(1, 40)
    levels = np.round(np.einsum("bchw,c->bhw", batch.pixels.double().numpy(), LUMA)[0] * 255)
    between = [
        (levels <= t).mean()
        * (levels > t).mean()
        * (levels[levels <= t].mean() - levels[levels > t].mean()) ** 2
        for t in range(int(levels.min()), int(levels.max()))
    ]
    split = levels > levels.min() + int(np.argmax(between))
    edge = np.concatenate([split[0], split[-1], split[1:-1, 0], split[1:-1, -1]])
    found = applied(batch, "style.silhouette", sigma=0)[0, 0].numpy()
    np.testing.assert_array_equal(found, split if edge.mean() > 0.5 else ~split)


def test_a_mask_silhouette_is_black_under_the_mask():
    batch = make_batch(3, 16)
    mask = torch.linspace(0, 1, 16).expand(3, 16, 16)
    given = ImageBatch(batch.pixels, batch.ids, batch.labels, {"mask": mask})
    out = perturbations.build("style.mask_silhouette", {})(given, make_draws(given))
    assert torch.equal(out.pixels, (mask < 0.5).float()[:, None].expand(-1, 3, -1, -1))
    assert out.facts["filled"].tolist() == [0.5] * 3
    with pytest.raises(BadParameter, match=r"expected an input mask of shape \(3, 16, 16\), got none"):
        applied(batch, "style.mask_silhouette")
    bad = ImageBatch(batch.pixels, batch.ids, batch.labels, {"mask": mask.clone().fill_(float("nan"))})
    with pytest.raises(DataError, match=r"mask of image 'img/000\.png' holds NaN"):
        applied(bad, "style.mask_silhouette")


def test_a_cartoon_has_few_lightnesses_and_keeps_edges():
    batch = of(disc(side=96, radius=30))
    noise = torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    noisy = batch.with_pixels((batch.pixels + 0.03 * noise).clamp(0, 1))
    found = applied(noisy, "style.cartoon", levels=5, outline=0)[0].permute(1, 2, 0).contiguous().numpy()
    lightness = cv2.cvtColor(found, cv2.COLOR_RGB2LAB)[..., 0]
    assert np.abs(lightness - 25 * np.round(lightness / 25)).max() < 0.3  # OpenCV's conversion is that exact
    assert len(np.unique(np.round(lightness))) <= 3
    inside = disc(side=96, radius=28, inside=1, outside=0) > 0
    outside = disc(side=96, radius=32, inside=0, outside=1) > 0
    assert lightness[inside].min() > lightness[outside].max()


def test_a_cartoon_has_dark_outlines():
    batch = of(disc(side=224, radius=60))
    plain, drawn = (applied(batch, "style.cartoon", outline=o) for o in (0, 1))
    assert bool((drawn <= plain + 1e-6).all())
    darker = ((plain - drawn)[0, 0] > 0.05).numpy()
    y, x = np.mgrid[:224, :224] - 111.5
    assert darker.any()
    assert abs(np.hypot(y, x)[darker] - 60).max() < 8


def test_texture_moves_patches_inside_their_cells():
    batch = make_batch(3, 26, width=37)  # cells of 12 x 18, patches of 4 x 6, a border of 1 and 0 or 1
    out = applied(batch, "style.texture", cells="2x2", patches=3)
    order = make_draws(batch, "style.texture").bits("patches", 4, 9).argsort(dim=2, stable=True)
    expected = batch.pixels.clone()
    for i in range(3):
        for cell in range(4):
            for patch in range(9):
                source = int(order[i, cell, patch])
                here, there = (
                    (
                        slice(1 + 12 * (cell // 2) + 4 * (p // 3), 1 + 12 * (cell // 2) + 4 * (p // 3) + 4),
                        slice(18 * (cell % 2) + 6 * (p % 3), 18 * (cell % 2) + 6 * (p % 3) + 6),
                    )
                    for p in (patch, source)
                )
                expected[i][:, here[0], here[1]] = batch.pixels[i][:, there[0], there[1]]
    assert torch.equal(out, expected)
    assert not torch.equal(order[0, 0], order[0, 1])


def test_patches_smaller_than_pixels_are_refused():
    with pytest.raises(BadParameter, match="expected at most 16 columns of patches in images of 32x16"):
        applied(make_batch(1, 32, width=16), "style.texture", cells=4, patches="2x5")


def with_donor(batch, strength=1.0):
    donor = 0.5 + strength * (
        torch.rand(batch.pixels.shape, generator=torch.Generator().manual_seed(5)) - 0.5
    )
    return ImageBatch(batch.pixels, batch.ids, batch.labels, {"donor": donor})


def lab(pixels):
    return np.stack(
        [cv2.cvtColor(p.permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2LAB) for p in pixels]
    )


def test_colour_transfer_gives_the_donors_means_and_deviations():
    pale = make_batch(2, 24, width=30)
    pale = pale.with_pixels(0.5 + 0.2 * (pale.pixels - 0.5))
    batch = with_donor(pale, 0.3)
    found, wanted, own = (
        lab(p) for p in (applied(batch, "style.colour_transfer"), batch.inputs["donor"], batch.pixels)
    )
    np.testing.assert_allclose(found.mean((1, 2)), wanted.mean((1, 2)), atol=0.1)
    np.testing.assert_allclose(found.std((1, 2)), wanted.std((1, 2)), rtol=0.02)
    half = lab(applied(batch, "style.colour_transfer", amount=0.5))
    np.testing.assert_allclose(half, (own + found) / 2, atol=0.5)  # OpenCV's conversion is that exact


def test_colour_transfer_moves_an_image_without_contrast():
    batch = with_donor(of(np.full((16, 16), 0.3)), 0.3)
    found = lab(applied(batch, "style.colour_transfer"))
    np.testing.assert_allclose(found, found[:, :1, :1].repeat(16, 1).repeat(16, 2), atol=0.01)
    np.testing.assert_allclose(found.mean((1, 2)), lab(batch.inputs["donor"]).mean((1, 2)), atol=0.3)


@pytest.mark.parametrize("beta", [0, 0.1, 0.26, 0.5])
@pytest.mark.parametrize("size", [(16, 16), (15, 15), (12, 17)])
def test_amplitude_transfer_exchanges_a_window_of_the_spectrum(beta, size):
    batch = with_donor(make_batch(2, size[0], width=size[1]))
    own, other = (np.fft.fft2(p.double().numpy()) for p in (batch.pixels, batch.inputs["donor"]))
    reach, mixed = int(np.floor(min(size) * beta)), own.copy()
    for y in range(size[0]):
        for x in range(size[1]):
            if max(min(y, size[0] - y), min(x, size[1] - x)) <= reach:
                mixed[..., y, x] = np.abs(other[..., y, x]) * np.exp(1j * np.angle(own[..., y, x]))
    expected = np.fft.ifft2(mixed).real.clip(0, 1)
    found = applied(batch, "style.amplitude_transfer", beta=beta)
    np.testing.assert_allclose(found.numpy(), expected, atol=3e-6)


@pytest.mark.parametrize("name", ["style.colour_transfer", "style.amplitude_transfer"])
def test_a_transfer_without_a_donor_is_refused(name):
    with pytest.raises(
        BadParameter, match=rf"^{name}: expected donor images of shape \(1, 3, 16, 16\), got none"
    ):
        applied(make_batch(1, 16), name)


@pytest.mark.parametrize(
    "name",
    [
        "sketch",
        "edges",
        "silhouette",
        "cartoon",
        "colour_transfer",
        "amplitude_transfer",
        "greyscale",
        "texture",
    ],
)
def test_rectangles_and_odd_sides_work(name):
    batch = with_donor(make_batch(2, 33, width=47))
    out = applied(batch, f"style.{name}")
    assert out.shape == batch.pixels.shape
    assert torch.isfinite(out).all()
