"""Frequency perturbations against numpy's full transform, and what must hold of the spectra."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from robobench.errors import BadParameter
from robobench.registry import perturbations
from robobench.types import ImageBatch
from tests.fakes import make_batch, make_draws

SIZES = [(16, 16), (15, 15), (12, 17), (18, 14)]


def faint(size=(16, 16), n=3, strength=0.02):
    """Images around mid-grey, so low in contrast that nothing is clipped."""
    batch = make_batch(n, size[0], width=size[1])
    return batch.with_pixels(0.5 + strength * (batch.pixels - 0.5))


def applied(batch: ImageBatch, name: str, **params) -> torch.Tensor:
    return perturbations.build(name, params)(batch, make_draws(batch, name)).pixels


def spectrum(pixels: torch.Tensor) -> np.ndarray:
    return np.fft.fft2(pixels.double().numpy())


def distances(height: int, width: int) -> np.ndarray:
    short = min(height, width)
    down, across = np.fft.fftfreq(height) * short, np.fft.fftfreq(width) * short
    return np.sqrt(down[:, None] ** 2 + across[None, :] ** 2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mask", ["ideal", "gaussian"])
@pytest.mark.parametrize("name", ["frequency.low_pass", "frequency.high_pass"])
def test_passes_multiply_the_spectrum(name, mask, size):
    batch, radius = make_batch(2, size[0], width=size[1]), 3.5
    distance = distances(*size)
    keep = (distance <= radius).astype(float) if mask == "ideal" else np.exp(-(distance**2) / (2 * radius**2))
    if name == "frequency.high_pass":
        keep = 1 - keep
        keep[0, 0] = 1
    expected = np.fft.ifft2(spectrum(batch.pixels) * keep).real.clip(0, 1)
    found = applied(batch, name, radius=radius, mask=mask)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("mask", ["ideal", "gaussian"])
def test_low_and_high_add_up_to_the_image_and_its_mean(mask):
    batch = faint((14, 18))
    low, high = (applied(batch, f"frequency.{n}", radius=3, mask=mask) for n in ("low_pass", "high_pass"))
    mean = batch.pixels.mean((2, 3), keepdim=True)
    torch.testing.assert_close(low + high, batch.pixels + mean, atol=1e-6, rtol=0)


def test_the_radius_itself_is_kept_and_a_wide_circle_keeps_all():
    batch = faint()
    wave = 0.5 + 0.2 * torch.cos(2 * math.pi * 3 * torch.arange(16) / 16).expand(1, 3, 16, 16)
    one = ImageBatch(wave.contiguous(), ("a",), torch.zeros(1, dtype=torch.int64))
    torch.testing.assert_close(applied(one, "frequency.low_pass", radius=3), one.pixels, atol=1e-6, rtol=0)
    flat = torch.full_like(wave, 0.5)
    torch.testing.assert_close(applied(one, "frequency.low_pass", radius=2.99), flat, atol=1e-6, rtol=0)
    torch.testing.assert_close(applied(one, "frequency.high_pass", radius=3), flat, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        applied(batch, "frequency.low_pass", radius=12), batch.pixels, atol=1e-6, rtol=0
    )


def test_radii_of_a_rectangle_are_per_shorter_side():
    """Four cycles over 32 columns are two over the 16 pixels of the shorter side."""
    wave = 0.5 + 0.2 * torch.cos(2 * math.pi * 4 * torch.arange(32) / 32).expand(1, 3, 16, 32)
    one = ImageBatch(wave.contiguous(), ("a",), torch.zeros(1, dtype=torch.int64))
    kept, gone = (applied(one, "frequency.low_pass", radius=r) for r in (2, 1.9))
    assert float((kept - one.pixels).abs().max()) < 1e-6
    assert float((gone - 0.5).abs().max()) < 1e-6


def shifts(before: torch.Tensor, after: torch.Tensor) -> np.ndarray:
    """By how many degrees the phases have moved, in (-180, 180]."""
    return np.degrees(np.angle(spectrum(after) / spectrum(before)))


@pytest.mark.parametrize("size", SIZES)
def test_phase_scrambling_keeps_amplitudes_and_moves_phases_within_the_amount(size):
    batch = faint(size)
    out = applied(batch, "frequency.phase_scramble", amount=60)
    np.testing.assert_allclose(np.abs(spectrum(out)), np.abs(spectrum(batch.pixels)), rtol=1e-2, atol=2e-5)
    moved = shifts(batch.pixels, out)
    inner = moved[..., 1 : size[0] // 2, 1 : (size[1] - 1) // 2 + 1]
    assert 58 < np.abs(moved).max() < 61
    assert inner.std() == pytest.approx(60 / math.sqrt(3), rel=0.15)
    assert abs(inner.mean()) < 12
    np.testing.assert_allclose(moved[:, 0], moved[:, 1], atol=1)  # channels move together
    assert not np.allclose(moved[0], moved[1], atol=5)  # images do not


def test_phases_move_in_proportion_to_the_amount():
    batch = faint()
    half, whole = (
        shifts(batch.pixels, applied(batch, "frequency.phase_scramble", amount=a)) for a in (30, 60)
    )
    np.testing.assert_allclose(2 * half, whole, atol=1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("slope", [0, 1, 1.7])
def test_power_equalisation_gives_the_target_spectrum(size, slope):
    batch = faint(size)
    out = applied(batch, "frequency.power_equalise", slope=slope)
    distance = distances(*size)
    distance[0, 0] = 1
    levelled = np.abs(spectrum(out)) * distance**slope
    levelled[..., 0, 0] = levelled[..., 0, 1]
    np.testing.assert_allclose(
        levelled, levelled[..., :1, 1:2].repeat(size[0], -2).repeat(size[1], -1), rtol=5e-3
    )
    torch.testing.assert_close(out.mean((2, 3)), batch.pixels.mean((2, 3)), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        out.std((2, 3), correction=0), batch.pixels.std((2, 3), correction=0), atol=0, rtol=1e-3
    )
    assert np.abs(shifts(batch.pixels, out)).max() < 1


@pytest.mark.parametrize("size", SIZES)
def test_fourier_noise_is_one_frequency_of_the_given_norm(size):
    batch, (row, column), norm = faint(size, n=8), (2, -3), 1.5
    change = (applied(batch, "frequency.noise", row=row, column=column, norm=norm) - batch.pixels).double()
    np.testing.assert_allclose(change.norm(dim=(2, 3)).numpy(), norm, rtol=1e-4)
    power = np.abs(np.fft.fft2(change.numpy())) ** 2
    here = power[..., row % size[0], column % size[1]] + power[..., -row % size[0], -column % size[1]]
    np.testing.assert_allclose(here / power.sum((-2, -1)), 1, atol=1e-5)
    signs = torch.sign((change * change[:1, :1]).sum((2, 3)))
    assert {float(s) for s in signs.flatten()} == {-1.0, 1.0}
    assert len({tuple(s.tolist()) for s in signs}) > 2  # each image and channel has its own


def test_fourier_noise_draws_the_same_signs_for_all_frequencies():
    batch = faint(n=8)
    bright = applied(batch, "frequency.noise", row=0, column=0, norm=1.0) - batch.pixels
    wave = applied(batch, "frequency.noise", row=0, column=8, norm=1.0) - batch.pixels
    assert torch.equal(bright.mean((2, 3)) > 0, wave[..., 0, 0] > 0)


def test_a_frequency_beyond_the_pixels_is_refused():
    batch = make_batch(1, 16, width=20)
    with pytest.raises(
        BadParameter, match=r"frequency\.noise: row: expected at most 8 cycles .* 16x20, got -9"
    ):
        applied(batch, "frequency.noise", row=-9, column=0, norm=1.0)
    with pytest.raises(BadParameter, match="column: expected at most 10 cycles"):
        applied(batch, "frequency.noise", row=0, column=11, norm=1.0)


@pytest.mark.parametrize("size", SIZES)
def test_band_noise_lies_in_its_band_and_has_its_standard_deviation(size):
    batch = faint(size)
    noise = (applied(batch, "frequency.band_noise", low=2, high=5, std=0.05) - batch.pixels).double()
    np.testing.assert_allclose(noise.std((2, 3), correction=0).numpy(), 0.05, rtol=1e-4)
    assert float((noise[:, :1] - noise).abs().max()) < 1e-6
    power = np.abs(np.fft.fft2(noise[:, 0].numpy())) ** 2
    distance = distances(*size)
    outside = (distance < 2 - 1e-6) | (distance >= 5 - 1e-6)
    assert power[:, outside].sum() < 1e-6 * power.sum()
    inside = power[:, ~outside]
    present = inside > 1e-3 * inside.max()
    assert present.mean() > 0.9  # but for the highest row or column, all there and alike
    assert inside[present].std() < 1e-2 * inside[present].mean()


def test_band_noise_is_the_same_at_every_strength():
    batch = faint()
    weak, strong = (applied(batch, "frequency.band_noise", low=2, high=5, std=s) for s in (0.02, 0.06))
    torch.testing.assert_close(3 * (weak - batch.pixels), strong - batch.pixels, atol=1e-5, rtol=0)


def test_an_empty_band_is_refused():
    with pytest.raises(BadParameter, match="high: expected more than low=5, got 4"):
        perturbations.build("frequency.band_noise", {"low": 5, "high": 4, "std": 0.1})
    with pytest.raises(BadParameter, match="images of 16x16 have no frequency from 30 to 40"):
        applied(make_batch(1, 16), "frequency.band_noise", low=30, high=40, std=0.1)
