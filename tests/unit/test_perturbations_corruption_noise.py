import math
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from robobench.errors import BadParameter
from robobench.perturbations.corruption import noise
from robobench.registry import perturbations
from robobench.types import ImageBatch
from tests.fakes import make_batch, make_draws

NAMES = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")
# typed in a second time, from the authors' scripts
TABLES = {
    "gaussian_noise": {
        "imagenet-224": (0.08, 0.12, 0.18, 0.26, 0.38),
        "imagenet-299": (0.09, 0.13, 0.19, 0.27, 0.4),
        "cifar": (0.04, 0.06, 0.08, 0.09, 0.1),
        "tiny-imagenet": (0.04, 0.08, 0.12, 0.15, 0.18),
    },
    "shot_noise": {
        "imagenet-224": (60, 25, 12, 5, 3),
        "imagenet-299": (50, 20, 10, 5, 3),
        "cifar": (500, 250, 100, 75, 50),
        "tiny-imagenet": (250, 100, 50, 30, 15),
    },
    "impulse_noise": {
        "imagenet-224": (0.03, 0.06, 0.09, 0.17, 0.27),
        "imagenet-299": (0.04, 0.07, 0.1, 0.18, 0.28),
        "cifar": (0.01, 0.02, 0.03, 0.05, 0.07),
        "tiny-imagenet": (0.01, 0.02, 0.05, 0.08, 0.14),
    },
    "speckle_noise": {
        "imagenet-224": (0.15, 0.2, 0.35, 0.45, 0.6),
        "imagenet-299": (0.16, 0.21, 0.36, 0.46, 0.61),
        "cifar": (0.06, 0.1, 0.12, 0.16, 0.2),
        "tiny-imagenet": (0.15, 0.2, 0.25, 0.3, 0.35),
    },
}
SIDES = {"imagenet-224": 224, "imagenet-299": 299, "cifar": 32, "tiny-imagenet": 64}
RATES = sorted({rate for levels in TABLES["shot_noise"].values() for rate in levels})


def build(name, severity=3, **params):
    return perturbations.build(f"corruption.{name}", {"severity": severity, **params})


def flat(value, images=2, side=128):
    """Images of one grey, with a place for 3 * side**2 numbers each."""
    pixels = torch.full((images, 3, side, side), value)
    return ImageBatch(pixels, tuple(map(str, range(images))), torch.zeros(images, dtype=torch.int64))


def on_levels(batch):
    return batch.with_pixels((batch.pixels * 255).round() / 255)


def applied(name, value, severity):
    """What the corruption makes of one grey, neither clipped nor quantised, and its parameter."""
    step, batch = build(name, severity, table="imagenet-224"), flat(value)
    level = TABLES[name]["imagenet-224"][severity - 1]
    return step.apply(batch.pixels, level, make_draws(batch)).double(), level


# Tables


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("table", SIDES)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_each_severity_has_the_published_parameter(name, table, severity):
    batch = make_batch(1, 8)
    assert build(name, severity, table=table).level(batch.pixels) == TABLES[name][table][severity - 1]


@pytest.mark.parametrize("name", NAMES)
def test_a_size_without_severities_needs_a_table(name):
    batch = make_batch(2, 32)
    with pytest.raises(BadParameter, match="table: the images are 32x32"):
        build(name)(batch, make_draws(batch))
    wide = make_batch(1, 224, width=225)
    with pytest.raises(BadParameter, match="table"):
        build(name)(wide, make_draws(wide))
    square = make_batch(1, 224)
    draws = make_draws(square)
    named = build(name, table="imagenet-224")(square, draws)
    assert torch.equal(build(name)(square, draws).pixels, named.pixels)


# Gaussian and speckle noise


@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise"])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_normal_noise_has_the_stated_moments(name, severity):
    value = 0.25
    out, sigma = applied(name, value, severity)
    spread = sigma * (value if name == "speckle_noise" else 1.0)
    n = out.numel()
    assert out.mean().item() == pytest.approx(value, abs=5 * spread / math.sqrt(n))
    assert out.std().item() == pytest.approx(spread, rel=5 / math.sqrt(2 * n))
    assert stats.kstest(((out - value) / spread).flatten().numpy(), "norm").pvalue > 1e-4


@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise", "shot_noise", "impulse_noise"])
def test_noise_is_independent_in_space_channels_and_images(name):
    out, _ = applied(name, 0.4, 4)
    out = out.clamp(0, 1)
    for one, other in (
        (out[..., 1:], out[..., :-1]),
        (out[..., 1:, :], out[..., :-1, :]),
        (out[:, 1:], out[:, :-1]),
        (out[1:], out[:-1]),
    ):
        r = np.corrcoef(one.flatten(), other.flatten())[0, 1]
        assert abs(r) < 5 / math.sqrt(one.numel())


@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise"])
def test_severities_differ_in_strength_alone(name):
    mild, small = applied(name, 0.5, 1)
    severe, large = applied(name, 0.5, 5)
    torch.testing.assert_close((mild - 0.5) / small, (severe - 0.5) / large, atol=2e-5, rtol=1e-5)


# Impulse noise


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_impulses_are_half_white_half_black_and_spare_the_rest(severity):
    batch = on_levels(make_batch(2, 128))
    out = build("impulse_noise", severity, table="imagenet-224")(batch, make_draws(batch)).pixels
    share = TABLES["impulse_noise"]["imagenet-224"][severity - 1]
    n = out.numel()
    for kind in (0.0, 1.0):
        count = (out == kind).sum().item()
        assert stats.binomtest(count, n, share / 2).pvalue > 1e-4
    hit = (out == 0) | (out == 1)
    assert torch.equal(out[~hit], batch.pixels[~hit])
    # channel elements, not pixels
    assert stats.binomtest(hit.all(1).sum().item(), n // 3, share**3).pvalue > 1e-4


def test_impulses_of_a_milder_severity_stay():
    batch = on_levels(make_batch(2, 64))
    draws = make_draws(batch)
    ladder = [build("impulse_noise", s, table="imagenet-224")(batch, draws).pixels for s in range(1, 6)]
    for mild, severe in pairwise(ladder):
        hit = mild != batch.pixels
        assert torch.equal(severe[hit], mild[hit])
        assert (severe != batch.pixels).sum() > hit.sum()


# Shot noise


def words_of(n, seed=0):
    """Words for n counts, the ends of the range among them."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(-(2**31), 2**31, (n,), generator=generator).int()
    # of every eighth, one of the outermost 2**-10, where the cells hold several counts
    words[1::8] = words[1::8] % 2**22 - 2**31
    words[2::8] = 2**31 - 1 - words[2::8] % 2**22
    words[:4] = torch.tensor([-(2**31), 2**31 - 1, 0, -1])
    return words


def quantiles(pixels, rate, words):
    """The counts by scipy, from the uniform number that a word stands for."""
    u = ((words.numpy().astype(np.int64) >> 2) + 2**29 + 0.5) / 2**30
    return stats.poisson.ppf(u, pixels.double().numpy() * rate)


@pytest.mark.parametrize("rate", RATES)
def test_counts_on_the_levels_are_the_poisson_quantiles(rate):
    level = torch.arange(256).repeat(120)
    words = words_of(len(level))
    counts = noise.poisson(level.float() / 255, rate, words)
    assert (counts.numpy() == quantiles(level.double() / 255, rate, words)).all()


@pytest.mark.parametrize("level", [1, 40, 255])
@pytest.mark.parametrize("rate", [3, 60, 500])
def test_a_count_goes_up_at_the_very_place_of_its_step(level, rate):
    chance = stats.poisson.cdf(np.arange(rate * 2 + 20), level / 255 * rate)
    step = np.ceil(chance * 2**30 - 0.5).astype(np.int64)
    step = np.unique(step[(step > 0) & (step < 2**30)])
    places = np.concatenate([step, step - 1])
    words = torch.from_numpy((places - 2**29) * 4).int()
    counts = noise.poisson(torch.full((len(words),), level / 255), rate, words).numpy()
    assert (counts == np.searchsorted(chance, (places + 0.5) / 2**30, side="right")).all()
    assert (counts[: len(step)] > counts[len(step) :]).all()


@pytest.mark.parametrize("rate", [3, 25, 60, 500])
def test_counts_between_the_levels_are_the_poisson_quantiles(rate):
    pixels = torch.rand(6000, generator=torch.Generator().manual_seed(rate))
    pixels[:7] = torch.tensor([0.0, 1.0, 0.5, 0.3 / 255, 254.7 / 255, 1e-7, 1 - 1e-5])
    words = words_of(len(pixels), seed=1)
    counts = noise.poisson(pixels, rate, words).numpy()
    # a pixel within a thousandth of a level is that level
    nearest = (pixels.double() * 255).round()
    near = (pixels.double() * 255 - nearest).abs() < 1e-3
    exact = torch.where(near, nearest / 255, pixels.double())
    assert (counts == quantiles(exact, rate, words)).all()


def test_a_pixel_on_a_level_does_not_feel_others_off_it():
    pixels = torch.arange(256).float() / 255
    words = words_of(256)
    alone = noise.poisson(pixels, 60, words)
    mixed = pixels.clone()
    mixed[::2] = (mixed[::2] + 0.5 / 255).clamp(max=1)
    assert torch.equal(noise.poisson(mixed, 60, words)[1::2], alone[1::2])


def test_the_largest_count_is_far_into_the_tail():
    white, end = torch.ones(1), torch.tensor([2**31 - 1]).int()
    largest = int(noise.poisson(white, 60, end))
    assert largest == 113
    assert stats.poisson.sf(largest, 60) < 2**-30
    assert int(noise.poisson(white, 60, torch.tensor([-(2**31)]).int())) == 19


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("value", [0.0, 0.1, 40 / 255, 1.0])
def test_shot_noise_has_the_moments_ofpoisson(severity, value):
    out, rate = applied("shot_noise", value, severity)
    n = out.numel()
    mean = value * rate
    assert out.mean().item() == pytest.approx(value, abs=5 * math.sqrt(value / rate / n))
    spread = math.sqrt((mean + 2 * mean**2) / n) / rate**2  # of the variance of n Poisson numbers
    assert out.var().item() == pytest.approx(value / rate, abs=5 * spread)
    assert torch.equal((out * rate).round(), (out.float() * rate).round().double())


def test_brighter_pixels_and_higher_rates_count_more_photons():
    words = words_of(20_000, seed=2)
    before = torch.zeros(len(words)).int()
    for value in (0.0, 0.1, 30.5 / 255, 0.5, 0.75, 1.0):
        counts = noise.poisson(torch.full((len(words),), value), 25, words)
        assert (counts >= before).all()
        before = counts
    some = torch.rand(len(words), generator=torch.Generator().manual_seed(3))
    counts = [noise.poisson(some, rate, words) for rate in (3, 5, 12, 25, 60)]
    assert all((a <= b).all() for a, b in pairwise(counts))


# All four


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quantised", [False, True])
def test_rectangular_images_get_the_same_alone_and_in_a_batch(name, quantised):
    """At a size that no vector register divides."""
    batch = make_batch(5, 31, width=37)
    batch = on_levels(batch) if quantised else batch
    step = build(name, 4, table="imagenet-224", quantise="none")
    whole = step(batch, make_draws(batch)).pixels
    assert whole.shape == batch.pixels.shape
    assert not torch.equal(whole[:, :, :, :31], batch.pixels[:, :, :, :31])
    for row in range(5):
        one = batch.select([row])
        assert torch.equal(step(one, make_draws(one)).pixels[0], whole[row])


@pytest.mark.parametrize("name", NAMES)
def test_levels_are_made_as_asked_for(name):
    batch = on_levels(make_batch(2, 32))
    draws = make_draws(batch)

    def out(**params):
        return build(name, 3, table="cifar", **params)(batch, draws).pixels

    exact = out(quantise="none").double() * 255
    for how, shift in (("truncate", 1e-4), ("round", 0.5)):
        wanted = exact + shift
        clear = (wanted - wanted.round()).abs() > 5e-5
        assert clear.double().mean() > 0.6  # shot noise at a rate of 100 lies on many steps
        assert torch.equal((out(quantise=how) * 255).round().double()[clear], wanted.floor()[clear])
    stored = (out(jpeg_quality=85) * 255).round()
    for image, before in zip(stored, out(), strict=True):
        array = (before * 255).round().byte().permute(1, 2, 0).numpy()
        assert np.array_equal(image.permute(1, 2, 0).numpy(), through_jpeg(array, 85))


def through_jpeg(array, quality):
    file = BytesIO()
    Image.fromarray(array).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("name", NAMES)
def test_severities_share_what_was_drawn(name):
    """One ladder draws once, and gets what each severity gets alone."""
    batch = on_levels(make_batch(2, 32))
    memo = {}
    for severity in range(1, 6):
        step = build(name, severity, table="tiny-imagenet")
        with_memo = step(batch, make_draws(batch, memo=memo)).pixels
        assert torch.equal(with_memo, step(batch, make_draws(batch)).pixels)
    assert len(memo) == 1
