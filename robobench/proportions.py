"""Shares of images, alone and in pairs: intervals, tests, and the images that a verdict takes.

Two models that answer the same images differ only where exactly one of them is right. Everything here goes
by those counts: `first`, the images that only the first model has right, `second`, those that only the
second has, out of n. The difference of the two accuracies is (first - second) / n.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robobench.stats import LEVEL

Floats = NDArray[np.float64]

ALPHA = 0.05  # how often a test may claim what is not so
POWER = 0.8  # how often a test should find what is so
_HALVINGS = 60  # of [-1, 1]: below what float64 tells apart
_MOST = 10**12  # images; what needs more is out of reach


def clopper_pearson(k: ArrayLike, n: ArrayLike, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The exact interval of a proportion: k right out of n. Arrays broadcast; n = 0 gives NaN.

    It covers the true share in at least `level` of all samples, whatever the share, and is wider than
    Wilson's for that: the ends are the shares at which k or more, and k or fewer, have probability
    (1 - level) / 2 (C. J. Clopper and E. S. Pearson, Biometrika 26, 1934). Raises ValueError unless
    0 <= k <= n.

    >>> low, high = clopper_pearson(8, 10)
    >>> round(float(low), 4), round(float(high), 4)
    (0.4439, 0.9748)
    >>> [edge.round(4).tolist() for edge in clopper_pearson(0, [10, 0])]
    [[0.0, nan], [0.3085, nan]]
    """
    from scipy.special import betaincinv

    hits, trials = np.broadcast_arrays(np.asarray(k, np.float64), np.asarray(n, np.float64))
    if bool(((hits < 0) | (hits > trials)).any()):
        raise ValueError(f"clopper_pearson: expected 0 <= k <= n, got k={k!r}, n={n!r}")
    tail = (1 - _probability(level, "level")) / 2
    low = np.where(hits > 0, betaincinv(np.maximum(hits, 1), trials - hits + 1, tail), 0.0)
    misses = np.maximum(trials - hits, 1)
    high = np.where(hits < trials, betaincinv(hits + 1, misses, 1 - tail), 1.0)
    known = trials > 0
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def mcnemar(first: ArrayLike, second: ArrayLike) -> Floats:
    """The exact two-sided McNemar test: how surprising the counts are if both models are equally good.

    Then each image that one model has right and the other has not falls to either with probability 1/2:
    twice the binomial tail of the smaller count, at most 1 (Q. McNemar, Psychometrika 12, 1947, in its
    exact form). No such image gives 1. Counts are whole; arrays broadcast.

    >>> mcnemar([10, 3, 0], [2, 3, 0]).round(4).tolist()
    [0.0386, 1.0, 1.0]
    """
    one, two = np.broadcast_arrays(*_counts(first, second))
    fewer = np.minimum(one, two).astype(np.int64)
    pairs = zip(fewer.ravel().tolist(), (one + two).astype(np.int64).ravel().tolist(), strict=True)
    tails = np.array([_fair_tail(k, n) for k, n in pairs], np.float64).reshape(fewer.shape)
    both: Floats = np.minimum(1.0, 2 * tails)
    return both


def paired_interval(
    first: ArrayLike, second: ArrayLike, n: ArrayLike, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """The score interval of a difference of paired proportions, (first - second) / n. n = 0 gives NaN.

    All differences that a score test would not reject, its variance taken at the difference in question
    (T. Tango, Statistics in Medicine 17, 1998). Unlike the normal interval it stays inside [-1, 1] and
    holds for few images, and for images that the models never disagree on. Arrays broadcast.

    >>> low, high = paired_interval(10, 2, 100)
    >>> round(float(low), 4), round(float(high), 4)
    (0.0143, 0.158)
    >>> low, high = paired_interval(0, 0, 100)
    >>> round(float(low), 4), round(float(high), 4)
    (-0.037, 0.037)
    """
    one, two, trials = np.broadcast_arrays(*_counts(first, second, n), np.asarray(n, np.float64))
    z = _quantile(0.5 + _probability(level, "level") / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = np.where(trials > 0, (one - two) / trials, np.nan)

    def edge(sign: float) -> Floats:
        inside, outside = middle, np.full_like(middle, sign)
        for _ in range(_HALVINGS):
            tried = (inside + outside) / 2
            kept = np.abs(_statistic(one, two, trials, tried)) <= z
            inside, outside = np.where(kept, tried, inside), np.where(kept, outside, tried)
        return np.asarray(np.where(np.abs(outside - sign) < 1e-15, sign, inside) + 0 * middle, np.float64)

    return edge(-1.0), edge(1.0)


def noninferior(first: ArrayLike, second: ArrayLike, n: ArrayLike, margin: float) -> Floats:
    """One-sided p-value against "the first model is worse by the margin or more".

    Tango's score test of first - second > -margin n, with half an image of continuity correction; that
    correction keeps its false alarms below 5 % where the plain score test exceeds them (by exact sums
    over the trinomial distribution). n = 0 gives NaN.

    >>> noninferior([5, 5], [5, 5], [100, 1000], margin=0.02).round(4).tolist()
    [0.3202, 0.0]
    """
    one, two, trials = np.broadcast_arrays(*_counts(first, second, n), np.asarray(n, np.float64))
    t = _statistic(one, two, trials, np.float64(-_margin(margin)), correction=0.5)
    return np.where(trials > 0, _upper_tail(t), np.nan)


def equivalent(first: ArrayLike, second: ArrayLike, n: ArrayLike, margin: float) -> Floats:
    """p-value against "the models differ by the margin or more", in either direction.

    Two one-sided tests (D. J. Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987): the
    larger p-value of `noninferior` with the models in both orders.

    >>> equivalent([5, 0], [5, 0], [1000, 300], margin=0.02).round(4).tolist()
    [0.0, 0.0117]
    """
    return np.maximum(noninferior(first, second, n, margin), noninferior(second, first, n, margin))


def holm(p: ArrayLike) -> Floats:
    """p-values adjusted for a table of tests: below alpha, they are wrong anywhere in it at most so often.

    The k-th smallest of m is multiplied by m - k + 1, and never less than the one before it (S. Holm,
    Scandinavian Journal of Statistics 6, 1979). NaN is no test and stays NaN.

    >>> holm([0.01, 0.04, 0.03, float("nan")]).round(4).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    given = np.asarray(p, np.float64)
    out = np.full(given.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(given))
    order = tests[np.argsort(given[tests], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    out[order] = np.minimum(1.0, np.maximum.accumulate(given[order] * factors))
    return out


def difference_power(first: float, second: float, n: float, alpha: float = ALPHA) -> float:
    """How often McNemar's test finds a difference among n images: `first` and `second` are shares.

    By the normal distribution, with one image of continuity correction for the exact test; only claims in
    the right direction count.

    >>> round(difference_power(0.06, 0.03, 1000), 2)
    0.86
    """
    ahead, behind = max(first, second), min(first, second)
    return _power(ahead, behind, n, 0.0, alpha / 2, correction=1.0)


def noninferiority_power(first: float, second: float, n: float, margin: float, alpha: float = ALPHA) -> float:
    """How often `noninferior` stays below alpha, where the true shares are `first` and `second`.

    >>> round(noninferiority_power(0.05, 0.05, 2000, margin=0.02), 2)
    0.87
    """
    return _power(first, second, n, _margin(margin), alpha, correction=0.5)


def equivalence_power(first: float, second: float, n: float, margin: float, alpha: float = ALPHA) -> float:
    """How often `equivalent` stays below alpha, where the true shares are `first` and `second`.

    >>> round(equivalence_power(0.05, 0.05, 2000, margin=0.02), 2)
    0.74
    """
    one = noninferiority_power(first, second, n, margin, alpha)
    two = noninferiority_power(second, first, n, margin, alpha)
    return max(0.0, one + two - 1)


def images_needed(power: Callable[[int], float], wanted: float = POWER) -> int | None:
    """The fewest images from which on a test has the power that is wanted; None where none suffice.

    power: of the number of images, rising with it.

    >>> images_needed(lambda n: equivalence_power(0.05, 0.05, n, margin=0.02))
    2228
    >>> images_needed(lambda n: difference_power(0.05, 0.05, n)) is None
    True
    """
    most = 1
    while power(most) < wanted:
        most *= 2
        if most > _MOST:
            return None
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if power(middle) >= wanted else (middle, most)
    return most


@lru_cache(maxsize=4096)
def _fair_tail(k: int, n: int) -> float:
    """How likely k heads or fewer are in n throws of a fair coin. Boards are built without SciPy."""
    throws = np.arange(1, k + 1, dtype=np.float64)
    ways = np.concatenate([[0.0], np.cumsum(np.log((n - throws + 1) / throws))])  # logs of n over i
    most = ways.max()
    return float(np.exp(most - n * math.log(2.0)) * np.exp(ways - most).sum())


def _statistic(first: Floats, second: Floats, n: Floats, difference: Any, correction: float = 0.0) -> Floats:
    """Tango's score statistic of a supposed difference, moved towards 0 by a part of an image."""
    excess = first - second - n * difference
    excess = np.sign(excess) * np.maximum(np.abs(excess) - correction, 0.0)
    variance = n * _variance(first, second, n, difference)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(variance > 1e-15, excess / np.sqrt(variance), np.sign(excess) * np.inf)
    return np.where(np.abs(excess) < 1e-12, 0.0, t)


def _variance(first: Any, second: Any, n: Any, difference: Any) -> Floats:
    """The variance of one image's difference, if the true difference were that and all else as likely.

    2 q + d (1 - d) with q the most likely share of images that only the second model has right: the root
    of 2 n q^2 + (-first - second + (2 n - first + second) d) q - second d (1 - d).
    """
    b = -first - second + (2 * n - first + second) * difference
    c = -second * difference * (1 - difference)
    root = np.sqrt(np.maximum(b * b - 8 * n * c, 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        q = np.where(b > 0, -2 * c / (root + b), (root - b) / (4 * n))  # neither loses digits
    q = np.maximum(q, np.maximum(0.0, -difference))
    return np.asarray(np.maximum(2 * q + difference * (1 - difference), 0.0), np.float64)


def _power(first: float, second: float, n: float, margin: float, alpha: float, correction: float) -> float:
    """The power of the score test of a difference above -margin."""
    null, spread = _spreads(first, second, margin)
    reach = math.sqrt(n) * (first - second + margin - correction / n) - _quantile(1 - alpha) * null
    if spread == 0:
        return 1.0 if reach > 0 else 0.0
    return NormalDist().cdf(reach / spread)


@lru_cache(maxsize=64)
def _spreads(first: float, second: float, margin: float) -> tuple[float, float]:
    """The standard deviations of one image's difference: at the edge of what is tested, and in truth."""
    if min(first, second) < 0 or first + second > 1 + 1e-12:
        raise ValueError(f"expected shares of images, together at most 1, got {first!r} and {second!r}")
    null = float(_variance(first, second, 1.0, np.float64(-margin)))
    return math.sqrt(null), math.sqrt(max(first + second - (first - second) ** 2, 0.0))


def _counts(first: ArrayLike, second: ArrayLike, n: ArrayLike | None = None) -> tuple[Floats, Floats]:
    one, two = np.broadcast_arrays(np.asarray(first, np.float64), np.asarray(second, np.float64))
    most = np.inf if n is None else np.asarray(n, np.float64)
    if bool(((one < 0) | (two < 0) | (one + two > most + 1e-9)).any()):
        raise ValueError(
            f"expected counts of images, together at most n, got first={first!r}, second={second!r}, n={n!r}"
        )
    return one, two


def _margin(margin: float) -> float:
    if not 0 < margin < 1:
        raise ValueError(f"margin: expected a difference between 0 and 1, got {margin!r}")
    return margin


def _probability(value: float, name: str) -> float:
    if not 0 < value < 1:
        raise ValueError(f"{name}: expected a number between 0 and 1, got {value!r}")
    return value


def _quantile(share: float) -> float:
    return NormalDist().inv_cdf(share)


def _upper_tail(z: Floats) -> Floats:
    """How likely a standard normal value is above each z."""
    from scipy.special import ndtr

    return np.asarray(ndtr(-z), np.float64)
