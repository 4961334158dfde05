"""Fourier transforms of real images, against numpy's transform of the full plane and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from robobench import spectra

SIZES = [(6, 6), (5, 8), (8, 5), (7, 7), (4, 10)]


def random_pixels(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def frequency(index, side):
    """The signed frequency of a row or a column of the full plane."""
    return index if index <= side // 2 else index - side


@pytest.mark.parametrize("size", SIZES)
def test_radii_are_distances_in_cycles_per_shorter_side(size):
    height, width = size
    found = spectra.radii(height, width, torch.zeros(1))
    short = min(size)
    expected = [
        [math.hypot(frequency(y, height) * short / height, x * short / width) for x in range(width // 2 + 1)]
        for y in range(height)
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_radii_of_whole_numbers_are_exact():
    for side in (28, 32, 64, 224):
        found = spectra.radii(side, side, torch.zeros(1))
        assert found[3, 4] == 5.0
        assert found[-3, 0] == 3.0


@pytest.mark.parametrize("size", SIZES)
def test_scaled_multiplies_the_full_plane(size):
    height, width = size
    pixels = random_pixels(2, 3, height, width)
    gain = 1 / (1 + spectra.radii(height, width, pixels))
    short = min(size)
    full = np.array(
        [
            [
                1
                / (1 + math.hypot(frequency(y, height) * short / height, frequency(x, width) * short / width))
                for x in range(width)
            ]
            for y in range(height)
        ]
    )
    expected = np.fft.ifft2(np.fft.fft2(pixels.double().numpy()) * full)
    assert np.abs(expected.imag).max() < 1e-12
    np.testing.assert_allclose(spectra.scaled(pixels, gain).numpy(), expected.real, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_multiplicity_gives_parseval(size):
    pixels = random_pixels(*size)
    power = torch.fft.rfft2(pixels).abs().square()
    counted = (power * spectra.multiplicity(size[1], pixels)).sum() / pixels.numel()
    assert float(counted) == pytest.approx(float(pixels.square().sum()), rel=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_odd_phases_belong_to_real_images(size):
    """Turned spectra are those of the images they give; all but the highest frequencies are turned."""
    height, width = size
    pixels = random_pixels(height, width)
    phases = spectra.odd(random_pixels(height, width // 2 + 1, seed=1) - 0.5, width)
    turned = spectra.turned(torch.fft.rfft2(pixels), phases)
    again = torch.fft.rfft2(torch.fft.irfft2(turned, s=size))
    torch.testing.assert_close(again, turned, atol=1e-5, rtol=1e-5)
    for y in range(height):
        for x in range(width // 2 + 1):
            highest = 2 * y == height or 2 * x == width
            assert (phases[y, x] == 0) == (highest or (y, x) == (0, 0))


def test_with_amplitude_keeps_phases_and_gives_absent_frequencies_phase_zero():
    spectrum = torch.tensor([3 + 4j, 0j, -2 + 0j])
    found = spectra.with_amplitude(spectrum, torch.tensor([10.0, 2.0, 1.0]))
    torch.testing.assert_close(found, torch.tensor([6 + 8j, 2 + 0j, -1 + 0j]))


@pytest.mark.parametrize("size", SIZES)
def test_basis_images_are_orthonormal(size):
    """One of each pair of opposite frequencies: as many as there are real dimensions, less their other phase."""
    height, width = size
    pairs = {
        min((r % height, c % width), (-r % height, -c % width)) for r in range(height) for c in range(width)
    }
    images = torch.stack(
        [spectra.basis(height, width, r, c, torch.zeros(1)).flatten() for r, c in sorted(pairs)]
    )
    torch.testing.assert_close(images @ images.T, torch.eye(len(pairs)), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2), (-3, 1), (2, -3), (3, 0), (0, -4)])
def test_basis_is_the_real_part_of_two_opposite_frequencies(row, column):
    height, width = 6, 8
    plane = np.zeros((height, width), complex)
    here, there = (row % height, column % width), (-row % height, -column % width)
    if here == there:
        plane[here] = 1
    else:
        plane[here], plane[there] = 0.5 + 0.5j, 0.5 - 0.5j
    expected = np.fft.ifft2(plane).real * math.sqrt(height * width)
    np.testing.assert_allclose(
        spectra.basis(height, width, row, column, torch.zeros(1)).numpy(), expected, atol=1e-6
    )


@pytest.mark.parametrize("size", [(7, 9), (33, 35), (28, 30), (31, 64)])
def test_an_image_does_not_depend_on_its_company(size):
    pixels = random_pixels(5, 3, *size)
    gain = torch.rand(size[0], size[1] // 2 + 1)
    whole = spectra.scaled(pixels, gain)
    for i in range(5):
        assert torch.equal(spectra.scaled(pixels[i : i + 1], gain)[0], whole[i])
