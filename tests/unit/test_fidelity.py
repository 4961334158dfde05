"""PSNR and SSIM against plain loops over windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robobench import fidelity


def luma(image: np.ndarray) -> np.ndarray:
    return 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]


def plain_ssim(one: np.ndarray, two: np.ndarray) -> float:
    """The definition, window by window."""
    x, y = luma(one), luma(two)
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.outer(line, line) / np.outer(line, line).sum()
    values = []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            a, b = x[row : row + 11, column : column + 11], y[row : row + 11, column : column + 11]
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            both = (weights * (a - mean_a) * (b - mean_b)).sum()
            top = (2 * mean_a * mean_b + 1e-4) * (2 * both + 9e-4)
            values.append(top / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4)))
    return float(np.mean(values))


def pair(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(3, 3, height, width, generator=generator)
    noise = torch.randn(3, 3, height, width, generator=generator)
    return (clean + noise * torch.tensor([0.0, 0.05, 0.3]).view(3, 1, 1, 1)).clamp(0, 1), clean


@pytest.mark.parametrize("size", [(11, 11), (17, 24), (28, 28)])
def test_ssim_is_the_mean_over_windows(size):
    changed, clean = pair(*size)
    found = fidelity.ssim(changed, clean)
    expected = [
        plain_ssim(a.double().numpy(), b.double().numpy()) for a, b in zip(changed, clean, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert found[0] == 1
    assert found[0] > found[1] > found[2]


def test_ssim_of_an_image_smaller_than_its_window_is_undefined():
    assert fidelity.ssim(*pair(10, 40)).isnan().all()


def test_psnr_is_its_formula_and_infinite_for_equal_images():
    changed, clean = pair(12, 9)
    expected = [
        10 * np.log10(1 / np.mean((a.double() - b.double()).numpy() ** 2))
        for a, b in zip(changed[1:], clean[1:], strict=True)
    ]
    assert fidelity.psnr(changed, clean)[1:].tolist() == pytest.approx(expected, rel=1e-6)
    assert fidelity.psnr(changed, clean)[0] == float("inf")


def test_an_image_is_measured_alone():
    changed, clean = pair(20, 20)
    for measure in (fidelity.ssim, fidelity.psnr):
        assert measure(changed[1:2], clean[1:2]) == measure(changed, clean)[1]
