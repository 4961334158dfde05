"""The random corruptions of ImageNet-C have the distributions of the reference, which numpy drives here.

Every image is one observation: a statistic of each of n images of ours is compared with that of n images
of the reference by Welch's t, whose limit of 5 is exceeded by chance once in 2e5 comparisons (58 degrees of
freedom). Counts are compared with their exact chances by Pearson's chi-square, and samples with a
distribution by Kolmogorov and Smirnov's distance, both at a chance of 1e-6. Where pixels are independent,
so are their counts; elsewhere they are not, and only whole images are compared. Seeds are fixed.

Severities need not be ordered in anything: snow 2 is harder than snow 3 for most models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from robobench.draws import Draws
from robobench.registry import perturbations
from robobench.types import ImageBatch
from tests.parity import imagenet_c as reference
from tests.parity.imagenet_c_tables import CIFAR, IMAGENET, TABLES, TINY

torch.set_num_threads(1)
LIMIT = 5.0  # of Welch's t
RARE = 1e-6  # the chance at which chi-square and Kolmogorov-Smirnov tests reject
COUNT = 30  # images on either side
SIDE = 64
Arguments = dict[str, Any]
Statistic = Callable[[np.ndarray], float]


# --- images of both sides ------------------------------------------------------------------------------


@cache
def scene() -> np.ndarray:
    """Two ramps and a random channel, away from 0 and 255: places and colours can be told from it."""
    y, x = np.mgrid[:SIDE, :SIDE]
    third = np.random.default_rng(0).integers(60, 190, (SIDE, SIDE))
    return np.stack([40 + 2.5 * x, 40 + 2.5 * y, third], axis=-1).astype(np.uint8)


def ours(name: str, table: str, severity: int, image: np.ndarray, count: int, **more: Any) -> np.ndarray:
    """(count, h, w, 3): one image under that many draws, not quantised, clipped to [0, 1]."""
    plugin, pixels, draws = _parts(name, table, severity, image, count, **more)
    batch = ImageBatch(pixels, draws.ids, torch.zeros(count, dtype=torch.int64))
    return plugin(batch, draws).pixels.permute(0, 2, 3, 1).double().numpy()


def unclipped(name: str, table: str, severity: int, image: np.ndarray, count: int) -> np.ndarray:
    plugin, pixels, draws = _parts(name, table, severity, image, count)
    return plugin.apply(pixels, plugin.level(pixels), draws).permute(0, 2, 3, 1).double().numpy()


def _parts(
    name: str, table: str, severity: int, image: np.ndarray, count: int, **more: Any
) -> tuple[Any, torch.Tensor, Draws]:
    given = {"severity": severity, "table": table, "quantise": "none", **more}
    one = torch.from_numpy(image).permute(2, 0, 1).float().div(255)
    draws = Draws(11, f"corruption.{name}", tuple(f"{severity} {i}" for i in range(count)))
    return perturbations.build(f"corruption.{name}", given), one.repeat(count, 1, 1, 1), draws


def random_arguments(name: str, level: Any, side: int, rng: np.random.Generator) -> Arguments:
    """What the published code draws, by numpy."""
    square = (side, side)
    if name in ("gaussian_noise", "speckle_noise"):
        return {"noise": rng.standard_normal((*square, 3))}
    if name == "shot_noise":
        return {"chance": rng.random((*square, 3))}
    if name == "impulse_noise":
        return {"chance": rng.random((*square, 3)), "white": rng.random((*square, 3)) < 0.5}
    if name == "glass_blur":
        _, reach, rounds = level
        return {k: rng.integers(-reach, reach, (rounds, *square)) for k in ("across", "down")} | {
            "nudge": 0.0
        }
    if name == "motion_blur":
        return {"angle": rng.uniform(-45, 45)}
    if name == "snow":
        return {"noise": rng.standard_normal(square), "angle": rng.uniform(-135, -45), "nudge": 0.0}
    if name == "fog":
        return {"chance": rng.uniform(-1, 1, square)}
    if name == "elastic_transform":
        return {
            k: rng.uniform(-1, 1, s) for k, s in (("anchors", (3, 2)), ("across", square), ("down", square))
        }
    return {"noise": rng.standard_normal(square)}  # spatter


def theirs(name: str, level: Any, image: np.ndarray, count: int) -> np.ndarray:
    rng = np.random.default_rng(23)
    function = getattr(reference, name)
    made = [
        function(image / 255, level, **random_arguments(name, level, len(image), rng)) for _ in range(count)
    ]
    return np.stack(made)


# --- statistics of one image ---------------------------------------------------------------------------


def autocorrelation(down: int, across: int) -> Statistic:
    """Of the change of the image at a distance of some pixels; 0 where nothing changed."""

    def value(change: np.ndarray) -> float:
        centred = change - change.mean((0, 1))
        height, width = change.shape[:2]
        product = (centred[down:, across:] * centred[: height - down, : width - across]).mean()
        return float(product / max((centred**2).mean(), 1e-12))

    return value


STATISTICS: dict[str, Statistic] = {
    "mean": lambda change: float(change.mean()),
    "mean of red": lambda change: float(change[..., 0].mean()),
    "mean of green": lambda change: float(change[..., 1].mean()),
    "standard deviation": lambda change: float(change.std()),
    "ninetieth percentile": lambda change: float(np.quantile(np.abs(change), 0.9)),
    "autocorrelation one right": autocorrelation(0, 1),
    "autocorrelation one down": autocorrelation(1, 0),
    "autocorrelation five right": autocorrelation(0, 5),
    "autocorrelation five down": autocorrelation(5, 0),
}


def welch(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many standard errors apart the means are; 0 where both are the same constant."""
    a, b = np.asarray(ours), np.asarray(theirs)
    error = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    return abs(a.mean() - b.mean()) / max(error, 1e-7)


def different(ours: np.ndarray, theirs: np.ndarray, image: np.ndarray) -> dict[str, float]:
    """The statistics whose means are more than LIMIT standard errors apart."""
    found = {}
    for name, statistic in STATISTICS.items():
        t = welch(*([statistic(one - image / 255) for one in side] for side in (ours, theirs)))
        if t > LIMIT:
            found[name] = round(t, 1)
    return found


CASES = [
    (name, table, severity)
    for name, table in (
        ("gaussian_noise", IMAGENET), ("speckle_noise", IMAGENET), ("shot_noise", IMAGENET),
        ("impulse_noise", IMAGENET), ("glass_blur", IMAGENET), ("motion_blur", IMAGENET), ("snow", IMAGENET),
        ("fog", IMAGENET), ("spatter", IMAGENET), ("elastic_transform", TINY),
    )
    for severity in (1, 3, 5)
]  # fmt: skip


@pytest.mark.parametrize(("name", "table", "severity"), CASES)
def test_change_of_the_image(name, table, severity):
    level = TABLES[name][table][severity - 1]
    found = ours(name, table, severity, scene(), COUNT)
    wanted = theirs(name, level, scene(), COUNT)
    assert different(found, wanted, scene()) == {}
    assert len({one.tobytes() for one in found}) > COUNT // 2  # few angles give the same line of whole pixels


@pytest.mark.parametrize(
    ("name", "table", "entry"),
    [("gaussian_noise", IMAGENET, 0), ("shot_noise", IMAGENET, 0), ("impulse_noise", IMAGENET, 0),
     ("speckle_noise", IMAGENET, 0), ("snow", IMAGENET, 0), ("spatter", IMAGENET, 3), ("glass_blur", IMAGENET, 0)],
)  # fmt: skip
def test_a_distribution_that_is_off_by_a_tenth_is_noticed(name, table, entry):
    level = TABLES[name][table][2]
    values = list(level) if isinstance(level, tuple) else [level]
    values[entry] *= 1.1
    wrong = tuple(values) if isinstance(level, tuple) else values[0]
    assert different(ours(name, table, 3, scene(), COUNT), theirs(name, wrong, scene(), COUNT), scene()) != {}


# --- noise, pixel by pixel -----------------------------------------------------------------------------


def plain(level: int, side: int = SIDE) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize(("name", "scale"), [("gaussian_noise", 1.0), ("speckle_noise", 128 / 255)])
def test_normal_noise_has_its_moments_and_no_correlation(name, scale, severity):
    """Moments of n standard normal numbers z vary by sqrt(1/n), sqrt(2/n), sqrt(15/n), sqrt(96/n)."""
    sigma = scale * TABLES[name][IMAGENET][severity - 1]
    z = (unclipped(name, IMAGENET, severity, plain(128), 10) - 128 / 255) / sigma
    n = z.size
    for power, (moment, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96)], start=1):
        assert abs((z**power).mean() - moment) < LIMIT * math.sqrt(variance / n)
    assert stats.kstest(z.ravel()[:50_000], "norm").pvalue > RARE
    for one, other in (
        (z[:, 1:], z[:, :-1]),
        (z[:, :, 1:], z[:, :, :-1]),
        (z[..., 1:], z[..., :-1]),
        (z[1:], z[:-1]),
    ):
        assert abs((one * other).mean()) < LIMIT / math.sqrt(one.size)  # a product has variance 1


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_salt_and_pepper_shares(severity):
    """A share p of n values varies by sqrt(p (1 - p) / n)."""
    amount = TABLES["impulse_noise"][IMAGENET][severity - 1]
    found = ours("impulse_noise", IMAGENET, severity, plain(128), 10)
    n = found.size
    for value in (0.0, 1.0):
        share = amount / 2
        assert abs((found == value).mean() - share) < LIMIT * math.sqrt(share * (1 - share) / n)
    assert np.isin(np.rint(255 * found), (0, 128, 255)).all()
    hit = np.abs(found - 128 / 255) > 0.1
    together = amount**2  # neighbours and channels are independent
    for one, other in (
        (hit[:, 1:], hit[:, :-1]),
        (hit[:, :, 1:], hit[:, :, :-1]),
        (hit[..., 1:], hit[..., :-1]),
    ):
        assert abs((one & other).mean() - together) < LIMIT * math.sqrt(3 * together / one.size)


@pytest.mark.parametrize("level", [1, 26, 128, 255])
@pytest.mark.parametrize(("table", "severity"), [(IMAGENET, 1), (IMAGENET, 3), (IMAGENET, 5), (CIFAR, 1)])
def test_photons_arepoisson(table, severity, level):
    """Moments as for normal numbers, Poisson's own being mean m and variance m, with fourth moment m + 3 m^2."""
    rate = TABLES["shot_noise"][table][severity - 1]
    counts = unclipped("shot_noise", table, severity, plain(level), 8) * rate
    assert np.abs(counts - np.rint(counts)).max() < 1e-3
    counts, mean = np.rint(counts).ravel(), rate * level / 255
    n = counts.size
    assert abs(counts.mean() - mean) < LIMIT * math.sqrt(mean / n)
    assert abs(((counts - mean) ** 2).mean() - mean) < LIMIT * math.sqrt((mean + 2 * mean**2) / n)
    # bins of single counts that are expected at least ten times, and two for the rest below and above
    usual = [k for k in range(int(mean + 40 + 10 * math.sqrt(mean))) if n * stats.poisson.pmf(k, mean) >= 10]
    low, high = usual[0], usual[-1]
    seen = [(counts < low).sum(), *((counts == k).sum() for k in usual), (counts > high).sum()]
    chance = [stats.poisson.cdf(low - 1, mean), *stats.poisson.pmf(usual, mean), stats.poisson.sf(high, mean)]
    kept = [(s, n * c) for s, c in zip(seen, chance, strict=True) if n * c >= 3]
    statistic = sum((s - e) ** 2 / e for s, e in kept)
    assert statistic < stats.chi2.isf(RARE, len(kept) - 1)


# --- directions and places -----------------------------------------------------------------------------


def _angles(images: np.ndarray) -> np.ndarray:
    """Where the light of a single white pixel in the middle has gone, in degrees, as `angle` counts."""
    y, x = (v - SIDE // 2 for v in np.mgrid[:SIDE, :SIDE])
    light = images.mean(-1)
    return np.rad2deg(np.arctan2(-(light * y).sum((1, 2)), -(light * x).sum((1, 2))))


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_angles_of_motion_blur(severity):
    """Steps of whole pixels move the direction by a degree or two; both sides share that."""
    image = plain(0)
    image[SIDE // 2, SIDE // 2] = 255
    found = _angles(ours("motion_blur", IMAGENET, severity, image, 300))
    wanted = _angles(theirs("motion_blur", TABLES["motion_blur"][IMAGENET][severity - 1], image, 300))
    assert -47 < found.min() < -42
    assert 42 < found.max() < 47
    assert stats.ks_2samp(found, wanted).pvalue > RARE
    assert stats.kstest(found, "uniform", (-45, 90)).pvalue > RARE


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_snow_falls_alike_after_half_a_turn(severity):
    found = ours("snow", IMAGENET, severity, plain(51), 3)
    assert np.abs(found - found[:, ::-1, ::-1]).max() < 1e-6
    assert found.std() > 0.01


def test_frost_crops_are_uniform(tmp_path):
    """Textures whose colours say which one, row and column; an offset of n is drawn below H - n."""
    height, width, side, count = 160, 200, 40, 600
    rows, columns = np.mgrid[:height, :width]
    for i in range(6):
        picture = np.stack([np.full_like(rows, 30 * i), rows, columns], axis=-1).astype(np.uint8)
        Image.fromarray(picture).save(Path(tmp_path) / f"{i}.png")
    found = ours("frost", IMAGENET, 1, plain(0, side), count, textures=str(tmp_path))
    which, top, left = (np.rint(found[:, 0, 0] / 0.4 * 255).astype(int) / (30, 1, 1)).T
    assert (
        np.abs(
            found[:, -1, -1] / 0.4 * 255 - np.stack([30 * which, top + side - 1, left + side - 1], 1)
        ).max()
        < 0.1
    )
    for offsets, end in ((which, 5), (top, height - side), (left, width - side)):
        assert offsets.min() >= 0
        assert offsets.max() < end
        bins = min(end, 10)
        seen = np.bincount((offsets * bins // end).astype(int), minlength=bins)
        sizes = np.bincount(np.arange(end) * bins // end, minlength=bins) / end
        assert stats.chisquare(seen, count * sizes).pvalue > RARE
    together, *_ = np.histogram2d(top, left, bins=4, range=((0, height - side), (0, width - side)))
    assert stats.chisquare(together.ravel()).pvalue > RARE


# --- clouds and glass ----------------------------------------------------------------------------------


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_clouds(severity):
    """Least 0, greatest 1, and the power of each octave of frequencies as in the reference."""
    thickness, decay = TABLES["fog"][IMAGENET][severity - 1]
    m = 128 / 255
    found = ours("fog", IMAGENET, severity, plain(128), COUNT)
    clouds = (found * (m + thickness) / m - m).mean(-1) / thickness
    assert np.abs(found - found[..., :1]).max() < 1e-6
    assert np.abs(clouds.min((1, 2))).max() < 1e-5
    assert np.abs(clouds.max((1, 2)) - 1).max() < 1e-5
    rng = np.random.default_rng(29)
    wanted = np.stack([reference.plasma(rng.uniform(-1, 1, (SIDE, SIDE)), decay) for _ in range(COUNT)])
    frequency = np.fft.fftfreq(SIDE) * SIDE
    radius = np.hypot(frequency[:, None], frequency)
    for low in (1, 2, 4, 8, 16):
        ring = (radius >= low) & (radius < 2 * low)
        powers = [np.log((np.abs(np.fft.fft2(c)) ** 2)[:, ring].mean(1)) for c in (clouds, wanted)]
        assert welch(*powers) < LIMIT, f"frequencies {low} to {2 * low}"


@pytest.mark.parametrize("table", [CIFAR, TINY])
def test_where_glass_takes_pixels_from(table):
    """At these severities the blur changes nothing, so that colours tell places. See the reference for the scan."""
    level = TABLES["glass_blur"][table][0]
    assert reference._gaussian(level[0], 4.0) == [1.0]
    side, count = 32, 60
    y, x = np.mgrid[:side, :side]
    image = np.stack([8 * x, 8 * y, 0 * x], axis=-1).astype(np.uint8)

    def shares(images: np.ndarray) -> np.ndarray:
        """(count, 5, 5): how often a pixel came from so many places down and across, per image."""
        steps = np.rint(images[..., :2] * 255 / 8).astype(int) - np.stack([x, y], axis=-1)
        across, down = (steps[:, 4:-4, 4:-4, i].reshape(count, -1) for i in (0, 1))
        return np.array([[((down == i) & (across == j)).mean(1) for j in range(-3, 2)] for i in range(-3, 2)])

    found = shares(ours("glass_blur", table, 1, image, count))
    wanted = shares(theirs("glass_blur", level, image, count))
    assert found.sum() / count > 0.98
    for i in range(5):
        for j in range(5):
            assert welch(found[i, j], wanted[i, j]) < LIMIT, f"{i - 3} down, {j - 3} across"
    assert found[3, 3].mean() > 0.2  # a quarter of the first steps stay
