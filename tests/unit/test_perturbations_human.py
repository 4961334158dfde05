"""The stimuli with human data, against numpy and scipy versions of their published steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from robobench.errors import BadParameter
from robobench.perturbations.human import colour, eidolon
from robobench.registry import perturbations
from tests.fakes import make_batch, make_draws

GREY = np.array([0.2125, 0.7154, 0.0721])


def applied(batch, name, **params):
    return perturbations.build(name, params)(batch, make_draws(batch, name)).pixels


def grey(pixels):
    """(b, h, w) float64."""
    return np.einsum("bchw,c->bhw", pixels.double().numpy(), GREY)


def planes(pixels):
    """(b, h, w) of an image that must be grey."""
    assert torch.equal(pixels[:, 0], pixels[:, 1])
    assert torch.equal(pixels[:, 0], pixels[:, 2])
    return pixels[:, 0].double().numpy()


def test_greyscale_is_the_luminance():
    batch = make_batch(2, 9, width=7)
    np.testing.assert_allclose(planes(applied(batch, "human.greyscale")), grey(batch.pixels), atol=1e-6)


@pytest.mark.parametrize("level", [1, 0.3, 0.01, 0])
def test_contrast_is_scaled_around_mid_grey(level):
    batch = make_batch(2, 9)
    expected = (1 - level) / 2 + level * grey(batch.pixels)
    np.testing.assert_allclose(planes(applied(batch, "human.contrast", level=level)), expected, atol=1e-6)


def test_uniform_noise_is_uniform_and_added_to_the_faint_image():
    batch = make_batch(2, 64)
    faint = 0.35 + 0.3 * grey(batch.pixels)
    noise = planes(applied(batch, "human.uniform_noise", width=0.2)) - faint
    assert np.abs(noise).max() <= 0.2 + 1e-6
    assert noise.mean() == pytest.approx(0, abs=0.005)
    np.testing.assert_allclose(
        np.quantile(noise, [0.1, 0.25, 0.75, 0.9]), [-0.16, -0.1, 0.1, 0.16], atol=0.01
    )
    assert not np.allclose(noise[0], noise[1])
    much = planes(applied(batch, "human.uniform_noise", width=0.9))
    np.testing.assert_allclose(much, np.clip(faint + noise * 4.5, 0, 1), atol=1e-5)


def test_salt_and_pepper_take_half_of_the_amount_each():
    batch = make_batch(2, 64)
    faint = 0.35 + 0.3 * grey(batch.pixels)
    some, more = (planes(applied(batch, "human.salt_and_pepper", amount=a)) for a in (0.2, 0.5))
    assert (some == 1).mean() == pytest.approx(0.1, abs=0.01)
    assert (some == 0).mean() == pytest.approx(0.1, abs=0.01)
    clean = (some != 0) & (some != 1)
    np.testing.assert_allclose(some[clean], faint[clean], atol=1e-6)
    assert (more[~clean] == some[~clean]).all()


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_rotation_is_counter_clockwise(angle):
    batch = make_batch(2, 9)
    expected = np.rot90(grey(batch.pixels), angle // 90, (1, 2))
    np.testing.assert_allclose(planes(applied(batch, "human.rotation", angle=angle)), expected, atol=1e-6)


def test_only_a_square_turns_by_a_quarter():
    batch = make_batch(1, 8, width=12)
    assert applied(batch, "human.rotation", angle=180).shape == batch.pixels.shape
    with pytest.raises(BadParameter, match="expected 0 or 180 for images of 8x12"):
        applied(batch, "human.rotation", angle=90)


@pytest.mark.parametrize(("side", "std"), [(224, 3), (224, 0), (112, 15), (56, 40)])
def test_filters_are_gaussian_before_the_mean_grey(side, std):
    batch = make_batch(1, side)
    image = grey(batch.pixels)[0]
    blurred = ndimage.gaussian_filter(image, std * side / 224, mode="constant", cval=0.4423)
    found = planes(applied(batch, "human.low_pass", std=std))[0]
    np.testing.assert_allclose(found, blurred, atol=2e-6)
    if std:
        fine = image - blurred
        expected = np.clip(fine + 0.4423 - fine.mean(), 0, 1)
        np.testing.assert_allclose(planes(applied(batch, "human.high_pass", std=std))[0], expected, atol=3e-6)


def test_high_pass_of_inf_filters_nothing():
    batch = make_batch(2, 9)
    np.testing.assert_allclose(
        planes(applied(batch, "human.high_pass", std="inf")), grey(batch.pixels), atol=1e-6
    )


@pytest.mark.parametrize("size", [(16, 16), (15, 15), (12, 17)])
def test_phase_scrambling_is_antisymmetric_noise_on_the_phases(size):
    batch = make_batch(2, size[0], width=size[1])
    batch = batch.with_pixels(0.5 + 0.02 * (batch.pixels - 0.5))
    before, after = (
        np.fft.fft2(grey(batch.pixels)),
        np.fft.fft2(planes(applied(batch, "human.phase_scrambling", width=90))),
    )
    np.testing.assert_allclose(np.abs(after), np.abs(before), rtol=1e-2, atol=2e-5)
    moved = np.degrees(np.angle(after / before))
    assert 80 < np.abs(moved).max() < 91
    opposite = np.roll(moved[:, ::-1, ::-1], (1, 1), (1, 2))
    np.testing.assert_allclose(opposite, -moved, atol=0.5)
    for axis, side in enumerate(size, 1):
        if side % 2 == 0:
            np.testing.assert_allclose(moved.take(side // 2, axis), 0, atol=1)
    assert np.abs(moved[:, 1, 1:3]).min() > 0.1
    shown = planes(applied(batch, "human.phase_scrambling", width=0))
    np.testing.assert_allclose(shown, grey(batch.pixels), atol=1e-6)


# Amplitudes of the mean spectrum published with the stimuli (224 x 224): (row, column) from the middle
PUBLISHED = {
    (0, 0): 22803.91,
    (0, 1): 2166.96,
    (1, 0): 2787.43,
    (1, 1): 1350.94,
    (0, 4): 546.68,
    (4, 0): 716.86,
    (3, 4): 298.62,
    (10, 10): 76.45,
    (0, 20): 89.67,
    (20, 0): 124.01,
    (30, -40): 16.43,
    (60, 60): 9.53,
}


def test_power_equalisation_gives_every_image_the_published_mean_spectrum():
    """The images are so faint that only their phases matter; the spectrum is of an image that may be clipped."""
    batch = make_batch(1, 224)
    target = perturbations.get("human.power_equalisation").cls.__call__.__globals__["_mean_amplitude"](
        224, 224
    )
    for (row, column), published in PUBLISHED.items():
        found = float(target[row, column]) if column >= 0 else float(target[-row, -column])
        assert found == pytest.approx(published, rel=0.2), (row, column)
    out = np.fft.rfft2(planes(applied(batch, "human.power_equalisation"))[0])
    before = np.fft.rfft2(grey(batch.pixels)[0])
    clipped = np.fft.irfft2(target.numpy() * np.exp(1j * np.angle(before))).clip(0, 1)
    np.testing.assert_allclose(np.fft.irfft2(out), clipped, atol=1e-5)
    assert 0.4 < clipped.mean() < 0.5


def test_power_equalisation_means_the_same_contrast_at_any_size():
    for size in ((224, 224), (64, 64), (28, 28), (60, 90)):
        out = planes(applied(make_batch(2, size[0], width=size[1]), "human.power_equalisation"))
        assert 0.12 < out.std() < 0.25, size


def opposite_colour(rgb):
    """The published steps for one colour, with the curve as given here."""
    cones, opponent = np.array(colour._CONES), np.array(colour._OPPONENT)
    even = np.linspace(0, 1, len(colour._LIGHT))
    light = np.interp(rgb, even, colour._LIGHT)
    contrast = opponent @ (cones @ light - colour._GREY)
    contrast[1:] *= -1
    found = np.linalg.solve(cones, np.linalg.solve(opponent, contrast) + colour._GREY)
    return np.interp(np.clip(found, 0, 1), colour._LIGHT, even)


def test_false_colour_is_the_published_transform_of_every_pixel():
    batch = make_batch(1, 12)
    found = applied(batch, "human.false_colour")[0].double().numpy()
    for y in range(12):
        for x in range(12):
            expected = opposite_colour(batch.pixels[0, :, y, x].double().numpy())
            np.testing.assert_allclose(found[:, y, x], expected, atol=4e-3)


def test_false_colour_leaves_grey_and_undoes_itself():
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64).contiguous()
    grey_batch = make_batch(1, 64).with_pixels(ramp)
    torch.testing.assert_close(applied(grey_batch, "human.false_colour"), ramp, atol=5e-3, rtol=0)
    pale = make_batch(1, 16)
    pale = pale.with_pixels(0.5 + 0.1 * (pale.pixels - 0.5))
    twice = pale.with_pixels(applied(pale, "human.false_colour"))
    assert float((twice.pixels - pale.pixels).abs().max()) > 0.02
    torch.testing.assert_close(applied(twice, "human.false_colour"), pale.pixels, atol=5e-3, rtol=0)
    red = make_batch(1, 2).with_pixels(torch.tensor([0.8, 0.5, 0.5]).view(1, 3, 1, 1).expand(1, 3, 2, 2))
    out = applied(red, "human.false_colour")[0, :, 0, 0]
    assert out[0] < out[1]
    assert out[0] < out[2]


# Eidolons


def toolbox_noise(sigma, generator, side=512):
    """A plane of blurred noise as the toolbox makes it, by Fourier transforms of the whole plane."""
    white = generator.normal(size=(side, side))
    white *= 127.5 / np.abs(white).max()
    away = np.minimum(np.arange(side), side - np.arange(side))
    line = np.exp(-(away**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    blurred = np.fft.ifft2(np.fft.fft2(white) * np.fft.fft2(np.outer(line, line))).real
    return blurred - blurred.mean() / blurred.std()


@pytest.mark.parametrize("sigma", [2**-0.5, 2.0, 10.0, 32.0])
def test_noise_has_the_height_and_smoothness_of_the_toolbox(sigma):
    batch = make_batch(8, 4)
    generator = np.random.default_rng(0)
    ours = [
        eidolon._smooth(make_draws(batch.select([i])), "noise", [sigma], (256, 256), 1.0)[0].double().numpy()
        for i in range(8)
    ]
    found = np.concatenate(ours)
    theirs = np.stack([toolbox_noise(sigma, generator) for _ in range(4)])

    def lag(values, step):
        values = values - values.mean((1, 2), keepdims=True)
        return [
            (values[:, step:] * values[:, :-step]).mean() / values.var(),
            (values[:, :, step:] * values[:, :, :-step]).mean() / values.var(),
        ]

    slack = 0.03 + 0.005 * sigma  # broad noise has few independent places
    assert found.std((1, 2)).mean() == pytest.approx(theirs.std((1, 2)).mean(), rel=0.05 + 0.005 * sigma)
    step = max(1, round(sigma))
    np.testing.assert_allclose(lag(found, step), np.exp(-((step / sigma) ** 2) / 4), atol=slack)
    np.testing.assert_allclose(lag(theirs, step), np.exp(-((step / sigma) ** 2) / 4), atol=slack)


def test_noise_moves_as_a_whole_as_much_as_in_the_toolbox():
    """The toolbox subtracts the mean over the standard deviation, which moves planes at random.

    In one place that adds to the noise of standard deviation a * e the mean of 512 x 512 numbers over e, where e
    is what a blur by sigma leaves of white noise: a third more at sigma 32.
    """
    batch, sigma = make_batch(64, 4), 32.0
    values = np.concatenate(
        [
            eidolon._smooth(make_draws(batch.select([i])), "n", [sigma], (1, 1), 1.0)[0].flatten().numpy()
            for i in range(64)
        ]
    )
    left = 1 / (2 * np.sqrt(np.pi) * sigma)
    expected = np.hypot(127.5 / 4.74 * left, 1 / 512 / left)
    assert expected > 1.3 * 127.5 / 4.74 * left
    assert values.std() == pytest.approx(expected, rel=0.15)


def test_weights_of_a_lattice_are_those_of_a_blur_everywhere():
    """What lies between the points of a coarse lattice is as high and as smooth as on them."""
    lattice = eidolon._Lattice(11.3, (64, 64))
    assert lattice.step == 8
    weights = lattice._weights(0).astype(np.float64)
    together = weights @ weights.T
    away = np.arange(64)[:, None] - np.arange(64)[None, :]
    np.testing.assert_allclose(together, np.exp(-((away / 11.3) ** 2) / 4), atol=2e-3)


def test_common_displacements_carry_finer_scales_along():
    draws = make_draws(make_batch(1, 4))
    moves = eidolon.Eidolon(reach=1, coherence=1)._moves(draws, (224, 224), 1.0)
    alone = eidolon._smooth(draws, "common", eidolon._SCALES, (224, 224), 1.0)
    for k, move in enumerate(moves):
        expected = sum(alone[j].double() * 2 ** ((j - 1) / 2) / 64 for j in range(k, 12))
        np.testing.assert_allclose(move, expected.numpy(), atol=1e-5)
    assert moves[0].std() > 2 * moves[11].std()


def test_coherence_mixes_the_two_displacements():
    draws = make_draws(make_batch(1, 4))
    own, mixed, common = (
        eidolon.Eidolon(reach=1, coherence=c)._moves(draws, (32, 32), 1.0) for c in (0, 0.3, 1)
    )
    for k in range(12):
        np.testing.assert_allclose(mixed[k], 0.7 * own[k] + 0.3 * common[k], atol=1e-6)


def test_a_layer_is_read_where_it_was_displaced_to():
    generator = np.random.default_rng(0)
    layer = generator.random((7, 10)).astype(np.float32)
    move = generator.normal(0, 5, (2, 7, 10)).astype(np.float32)
    found = eidolon._displaced(layer, move)
    mirrored = np.pad(layer, ((7, 7), (10, 10)), mode="symmetric")
    for y in range(7):
        for x in range(10):
            row = np.floor(np.clip(y + move[0, y, x], -3, 9))
            column = np.floor(np.clip(x + move[1, y, x], -5, 14))
            assert found[y, x] == mirrored[int(row) + 7, int(column) + 10]


def test_an_eidolon_of_no_reach_is_the_luma_a_little_blurred():
    batch = make_batch(2, 224)
    luma = np.einsum("bchw,c->bhw", batch.pixels.double().numpy(), [0.299, 0.587, 0.114])
    expected = ndimage.gaussian_filter(luma, (0, 0.5**0.5, 0.5**0.5), mode="reflect")
    for coherence in (0, 1):
        found = planes(applied(batch, "human.eidolon", reach=0, coherence=coherence))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_eidolons_go_further_from_the_image_with_reach():
    coarse = torch.nn.functional.interpolate(make_batch(1, 8).pixels, (64, 64), mode="bicubic").clamp(0, 1)
    batch = make_batch(1, 64).with_pixels(coarse)
    for coherence in (0, 0.3, 1):
        still, *moved = (applied(batch, "human.eidolon", reach=r, coherence=coherence) for r in (0, 2, 8, 32))
        away = [float((m - still).abs().mean()) for m in moved]
        assert 0 < away[0] < away[1] < away[2]
