"""What C-bar corruptions say about their tables, and the statistics of what they draw."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import norm

from robobench.errors import BadParameter
from robobench.registry import perturbations
from robobench.types import ImageBatch
from tests.fakes import make_batch, make_draws

IMAGENET_ONLY = (
    "caustic_refraction",
    "cocentric_sine_waves",
    "perlin_noise",
    "plasma_noise",
    "single_frequency_greyscale",
)
CIFAR_ONLY = (
    "circular_motion_blur",
    "lines",
    "pinch_and_twirl",
    "ripple",
    "transverse_chromatic_abberation",
)
BOTH = ("blue_noise_sample", "brownish_noise", "checkerboard_cutout", "inverse_sparkles", "sparkles")
ALL = [
    *[(n, "imagenet") for n in (*IMAGENET_ONLY, *BOTH)],
    *[(n, "cifar") for n in (*CIFAR_ONLY, *BOTH)],
]


def build(name: str, severity: int = 3, **params: Any) -> Any:
    return perturbations.build(f"cbar.{name}", {"severity": severity, **params})


def flat(n: int, side: int, value: float, width: int | None = None) -> ImageBatch:
    batch = make_batch(n, side, width=width)
    return batch.with_pixels(torch.full_like(batch.pixels, value))


def seen(name: str, batch: ImageBatch, severity: int = 3, memo: Any = None, **params: Any) -> torch.Tensor:
    """The pixels after a corruption, not quantised."""
    step = build(name, severity, quantise="none", **params)
    return step(batch, make_draws(batch, f"cbar.{name}", memo=memo)).pixels


# Tables


@pytest.mark.parametrize("name", BOTH)
def test_the_size_names_the_table(name: str) -> None:
    small, large = flat(1, 32, 0.5).pixels, flat(1, 224, 0.5).pixels
    step = build(name, 2)
    assert step.strength(small) == build(name, 2, table="cifar").strength(large)
    assert step.strength(large) == build(name, 2, table="imagenet").strength(small)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (224, 32), (224, 256)])
def test_at_another_size_the_table_is_named(height: int, width: int) -> None:
    batch = flat(1, height, 0.5, width)
    with pytest.raises(BadParameter, match=rf"table: the images are {height}x{width}, .*: name the one") as e:
        build("sparkles")(batch, make_draws(batch))
    assert e.value.path == ("table",)
    build("sparkles", table="cifar")(batch, make_draws(batch))


@pytest.mark.parametrize(
    ("names", "missing", "own", "side"),
    [(IMAGENET_ONLY, "cifar", "imagenet", 32), (CIFAR_ONLY, "imagenet", "cifar", 224)],
)
def test_a_corruption_that_a_table_lacks_says_so(
    names: tuple[str, ...], missing: str, own: str, side: int
) -> None:
    batch = flat(1, side, 0.5)
    for name in names:
        with pytest.raises(BadParameter, match=rf"^cbar\.{name}: table: expected {own}, .*, got {missing}"):
            build(name, table=missing)
        with pytest.raises(BadParameter, match=rf"the {missing} set, the default at .* name {own} to use"):
            build(name)(batch, make_draws(batch))


@pytest.mark.parametrize(("name", "table"), ALL)
def test_images_too_small_for_a_pattern_are_refused(name: str, table: str) -> None:
    batch = make_batch(1, 11, width=30)
    with pytest.raises(BadParameter, match=re.escape("expected images of at least 12x12 pixels, got 11x30")):
        build(name, table=table)(batch, make_draws(batch))


@pytest.mark.parametrize(("name", "table"), ALL)
@pytest.mark.parametrize("shape", [(12, 12), (20, 37), (41, 24)])
def test_images_that_are_not_square_work_too(name: str, table: str, shape: tuple[int, int]) -> None:
    batch = make_batch(2, shape[0], width=shape[1])
    out = seen(name, batch, 5, table=table)
    assert out.shape == batch.pixels.shape
    assert torch.isfinite(out).all()
    assert not torch.equal(out, batch.pixels)


@pytest.mark.parametrize(("name", "table"), ALL)
def test_the_severities_of_a_ladder_share_what_they_draw(name: str, table: str) -> None:
    batch, memo = make_batch(6, 48), {}
    levels = [seen(name, batch, s, memo, table=table) for s in range(1, 6)]
    alone = [seen(name, batch, s, table=table) for s in range(1, 6)]
    assert all(torch.equal(a, b) for a, b in zip(levels, alone, strict=True))
    change = [(level - batch.pixels).abs().mean().item() for level in levels]
    assert len(set(change)) == 5
    if name not in (*CIFAR_ONLY, "caustic_refraction"):  # what moves noise does not change it more and more
        assert change == sorted(change)


@pytest.mark.parametrize(("name", "table"), ALL)
def test_images_get_draws_of_their_own(name: str, table: str) -> None:
    batch = flat(8, 24, 0.5)
    ramp = torch.linspace(0.1, 0.9, 24).expand(8, 3, 24, 24)
    out = seen(name, batch.with_pixels(ramp), 5, table=table)
    different = len({image.numpy().tobytes() for image in out})
    few = {"circular_motion_blur": 1, "transverse_chromatic_abberation": 6}
    assert different == few.get(name, 8) or (name in few and 1 < different <= few[name])


# Levels


def test_what_comes_out_lies_on_levels() -> None:
    batch = make_batch(2, 32)
    for name, table in ALL:
        exact = seen(name, batch, 4, table=table) * 255
        levels = build(name, 4, table=table)(batch, make_draws(batch, f"cbar.{name}")).pixels * 255
        expected = (exact + 0.5).floor() if name.startswith("transverse") else (exact + 1e-4).floor()
        assert torch.equal(levels.round(), expected), name
        torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)


def test_fringes_equal_scipy_on_8_bit_images() -> None:
    batch = make_batch(3, 32)
    levels = (batch.pixels * 255).round()
    batch = batch.with_pixels(levels / 255)
    draws = make_draws(batch, "cbar.transverse_chromatic_abberation")
    out = build("transverse_chromatic_abberation", 5)(batch, draws).pixels * 255
    for i, order in enumerate(draws.permutation("colours", 3).tolist()):
        for n, colour in enumerate(order):
            plane = levels[i, colour].numpy().astype(np.uint8)
            zoomed = ndimage.zoom(plane, 1 + n * 0.25, prefilter=False)
            edge = (len(zoomed) - 32) // 2
            kept = zoomed[edge : edge + 32, edge : edge + 32].astype(int)
            assert (
                np.abs(out[i, colour].round().numpy() - kept) > 0
            ).mean() < 0.01  # a half may go either way


def test_jpeg_is_what_stores_the_result() -> None:
    from robobench.codecs import jpeg

    batch = make_batch(2, 32)
    draws = make_draws(batch)
    stored = build("brownish_noise", 2, jpeg_quality=85)(batch, draws).pixels
    assert torch.equal(stored, jpeg(seen_as(build("brownish_noise", 2, quantise="none"), batch), 85))


def seen_as(step: Any, batch: ImageBatch) -> torch.Tensor:
    return step(batch, make_draws(batch)).pixels


# Statistics


def spectrum(noise: torch.Tensor) -> torch.Tensor:
    """Power averaged over images, channels and directions, by whole cycles per image."""
    side = noise.shape[-1]
    power = torch.fft.fft2(noise.double()).abs().square().mean((0, 1))
    along = torch.fft.fftfreq(side) * side
    ring = torch.hypot(along[:, None], along[None]).round().long()
    total = torch.zeros(int(ring.max()) + 1, dtype=torch.float64).index_add_(
        0, ring.flatten(), power.flatten()
    )
    return total / torch.bincount(ring.flatten())


def test_brownish_noise_falls_with_the_square_of_the_frequency() -> None:
    batch = flat(64, 32, 0.5)
    noise = seen("brownish_noise", batch, 1, table="imagenet") - 0.5
    power = spectrum(noise)
    for low, high in ((2, 4), (3, 9), (4, 12)):
        expected = ((high**2 + 1) / (low**2 + 1)) ** 2
        assert power[low] / power[high] == pytest.approx(expected, rel=0.25)


def test_brownish_noise_has_the_published_deviation_and_a_mean_of_its_own() -> None:
    batch = flat(64, 32, 0.5)
    noise = seen("brownish_noise", batch, 1, table="imagenet") - 0.5
    size = 6.4 / 255
    torch.testing.assert_close(
        noise.flatten(2).std(2, correction=0), torch.full((64, 3), size), rtol=1e-3, atol=0
    )
    assert noise.mean((2, 3)).abs().mean() > 0.2 * size  # an image gets brighter, darker or tinted
    red, green = noise[:, 0].flatten(1), noise[:, 1].flatten(1)
    together = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(red, green, strict=True)])
    assert together.mean().abs() < 4 * together.std() / 8  # channels know nothing of each other


def test_blue_noise_blackens_a_normal_share_of_pixels_evenly() -> None:
    batch = flat(64, 32, 0.5)
    for severity, v in enumerate((0.8, 1.6, 2.4, 4.0, 5.6), 1):
        black = seen("blue_noise_sample", batch, severity, table="imagenet") == 0
        assert (black[:, 0] == black[:, 1]).all()
        assert black.float().mean().item() == pytest.approx(norm.cdf(0.3 * v - 2.5), abs=0.01)
    power = spectrum(black.double() - black.double().mean((2, 3), keepdim=True))
    assert power[1:4].mean() < 0.7 * power[12:16].mean()  # of white noise as much


def test_the_checkerboard_covers_half_of_the_chosen_share() -> None:
    batch = flat(300, 32, 0.25)
    for severity, v in enumerate((2.0, 3.0, 4.0, 5.0, 6.0), 1):
        covered = seen("checkerboard_cutout", batch, severity, table="imagenet") != 0.25
        assert covered.float().mean().item() == pytest.approx(v / 20, abs=0.02)


def test_lines_are_as_many_as_the_strength_says() -> None:
    batch = flat(4, 32, 0.0)
    for severity, count in enumerate((1, 3, 4, 6, 8), 1):
        out = seen("lines", batch, severity, table="cifar")
        assert out.amax().item() == pytest.approx(128 / 255, abs=1e-6)
        # a line leaves at most about two pixels' worth per row or column of its 32 steps
        assert 0.2 * count < (out[:, 0].sum((1, 2)) / (128 / 255) / 32).mean().item() < 1.5 * count


def test_perlin_noise_is_never_darker_than_half() -> None:
    black = flat(8, 64, 0.0)
    for severity, v in ((1, 4.6), (5, 8.8)):
        out = seen("perlin_noise", black, severity, table="imagenet") / (0.05 * v)
        assert out.min().item() == pytest.approx(0.5, abs=0.02)
        assert 0.6 < out.mean().item() < 0.9
        assert out.amax().item() <= 1 + 1e-6


def test_waves_have_the_published_amplitude() -> None:
    batch = flat(32, 64, 0.5)
    wave = seen("single_frequency_greyscale", batch, 3, table="imagenet") - 0.5
    assert wave.abs().amax().item() == pytest.approx(2 * 19.6 / 255, rel=1e-3)
    assert wave.square().mean().sqrt().item() == pytest.approx(2 * 19.6 / 255 / 2**0.5, rel=0.1)
    rings = seen("cocentric_sine_waves", batch, 3, table="imagenet") - 0.5
    assert rings.amin().item() >= -8 * 12.8 / 255 / 2 - 1e-6
    assert rings.std().item() == pytest.approx(8 * 12.8 / 255 / 12**0.5, rel=0.05)  # of a uniform number


def test_stars_lie_where_they_are_drawn() -> None:
    batch = flat(6, 64, 0.0)
    draws = make_draws(batch, "cbar.sparkles")
    bright = seen("sparkles", batch, 1, table="imagenet")[:, 0]
    for i, middles in enumerate((draws.uniform("middles", 5, 2) * 64).tolist()):
        for y, x in middles:
            assert bright[i, min(round(y), 63), min(round(x), 63)] > 0.7
    assert bright.mean() < 0.2
    lonely = seen("inverse_sparkles", batch, 5, table="imagenet")[:, 0]
    middles = make_draws(batch, "cbar.inverse_sparkles").uniform("middle", 2) * 32 + 16
    for i, (y, x) in enumerate(middles.tolist()):
        assert lonely[i, round(y), round(x)] < 0.3
        corners = lonely[i, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.amax() > 0.9
