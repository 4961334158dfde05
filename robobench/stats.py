"""How sure a number is: intervals of proportions, resampled images, and ranks that ties leave open.

A score is a function of images, so its uncertainty is that of drawing other images of the same kind.
Resampling draws whole images, the same ones for every model and every condition of a data set: what
two models share on an image cancels in their difference. The draws are the words of Philox4x64-10 in
counter mode, which NumPy keeps unchanged between versions (NEP 19), turned into positions by integer
arithmetic of our own; so an interval is the same on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 1000
_CHUNK_WORDS = 4_000_000  # weights widened to floats at a time
_CACHED_WORDS = 2**16  # positions drawn at a time: they stay in the processor's cache
_WHOLE = 2**24  # float32 holds every whole number below
_MOST_SKEWNESS = 1.5  # a single deciding image has 1; beyond that the expansion means nothing
_SIGN_TEST_IMAGES = 6  # 2 * (1/2)**6 = .031: the fewest images that can settle a difference at 95 %


def wilson(k: ArrayLike, n: ArrayLike, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The Wilson score interval of a proportion: k right out of n. Arrays broadcast; n = 0 gives NaN.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with p = k/n and z the normal quantile
    (E. B. Wilson, JASA 22, 1927). Raises ValueError unless 0 <= k <= n.

    >>> low, high = wilson(8, 10)
    >>> round(float(low), 4), round(float(high), 4)
    (0.4902, 0.9433)
    >>> [edge.round(4).tolist() for edge in wilson(0, [10, 0])]
    [[0.0, nan], [0.2775, nan]]
    """
    hits, trials = np.broadcast_arrays(np.asarray(k, np.float64), np.asarray(n, np.float64))
    if bool(((hits < 0) | (hits > trials)).any()):
        raise ValueError(f"wilson: expected 0 <= k <= n, got k={k!r}, n={n!r}")
    z = _quantile(level)
    with np.errstate(invalid="ignore", divide="ignore"):
        share, shrink = hits / trials, 1 + z**2 / trials
        centre = (share + z**2 / (2 * trials)) / shrink
        half = z * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / shrink
    known = trials > 0
    low = np.where(known, np.where(hits == 0, 0.0, centre - half), np.nan)
    high = np.where(known, np.where(hits == trials, 1.0, centre + half), np.nan)
    return low, high


def resample_weights(n: int, r: int, seed: int | str) -> NDArray[np.uint16]:
    """How often each of n images is drawn in each of r resamples of size n: (r, n) multinomial counts.

    A pure function of its arguments: each draw is floor(u * n / 2**32) for the next 32-bit word u of
    the stream (an odd n leaves one word unused after each resample). No image is favoured by more than
    n / 2**32. Two data sets must get different seeds, or they are resampled alike.

    >>> weights = resample_weights(4, 3, seed=0)
    >>> weights.shape, weights.sum(axis=1).tolist()
    ((3, 4), [4, 4, 4])
    """
    if n < 1 or r < 1:
        raise ValueError(f"resample_weights: expected at least one image and one resample, got n={n}, r={r}")
    key = hashlib.blake2b(f"robobench resample {seed}".encode(), digest_size=16).digest()
    stream = np.random.Philox(key=int.from_bytes(key, "little"))
    counts = np.empty((r, n), np.uint16)
    for rows in _chunks(r, n, _CACHED_WORDS):
        size = rows.stop - rows.start
        words = np.asarray(stream.random_raw(size * ((n + 1) // 2)), np.uint64)
        halves = np.empty((words.size, 2), np.int64)
        halves[:, 0] = words >> np.uint64(32)
        halves[:, 1] = words & np.uint64(0xFFFFFFFF)
        drawn = halves.reshape(size, -1)[:, :n] * n
        drawn >>= 32
        drawn += np.arange(size)[:, None] * n
        counts[rows] = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
    return counts


def resampled_means(values: Floats, weights: NDArray[Any]) -> Floats:
    """Means over resampled images: values (n, c), weights (r, n) -> (r, c).

    NaN marks an image that a column does not have; it is left out of that column's sum and count, so
    columns over part of the images stay paired with the others. NaN where a resample drew none.

    >>> values = np.array([[1.0, 1.0], [0.0, np.nan]])
    >>> resampled_means(values, np.array([[2, 0], [1, 1], [0, 2]]))
    array([[1. , 1. ],
           [0.5, 1. ],
           [0. , nan]])
    """
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    partial = ~known.all(axis=0)
    shares = weights.dtype.kind in "iu" and bool(((filled == 0) | (filled == 1)).all())
    out = np.empty((weights.shape[0], values.shape[1]))
    for rows in _chunks(weights.shape[0], weights.shape[1], _CHUNK_WORDS):
        total = weights[rows].sum(axis=1, dtype=np.float64)
        # whole numbers that single precision still counts exactly, in half the time
        kind = np.float32 if shares and total.max() < _WHOLE else np.float64
        block = weights[rows].astype(kind, copy=False)
        drawn = np.repeat(total[:, None], values.shape[1], axis=1)
        drawn[:, partial] = block @ known[:, partial].astype(kind)
        with np.errstate(invalid="ignore", divide="ignore"):
            out[rows] = (block @ filled.astype(kind, copy=False)) / drawn
    return out


def interval(samples: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The percentile interval along the first axis: samples (r, ...) -> low (...), high (...).

    Resamples in which the value is undefined (NaN) are left out; NaN where it is undefined in all. An end
    among infinite ones is not finite.

    >>> low, high = interval(np.arange(101.0), level=0.5)
    >>> float(low), float(high)
    (25.0, 75.0)
    """
    tail = (1 - level) / 2
    columns = samples.reshape(samples.shape[0], -1)
    edges = np.full((2, columns.shape[1]), np.nan)
    whole = ~np.isnan(columns).any(axis=0)
    with np.errstate(invalid="ignore"):  # between two infinite ones
        if whole.any():
            edges[:, whole] = np.quantile(columns[:, whole], [tail, 1 - tail], axis=0)
        for index in np.flatnonzero(~whole):
            defined = columns[:, index][~np.isnan(columns[:, index])]
            if defined.size:
                edges[:, index] = np.quantile(defined, [tail, 1 - tail])
    low, high = edges.reshape(2, *samples.shape[1:])
    return low, high


def skewed_interval(point: ArrayLike, samples: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The interval of a score from its resamples, corrected for their skewness.

    point (...): the score of the images themselves; samples (r, ...): of resampled ones. Percentiles of
    resamples miss a rare error too often on one side: where one image in fifty is wrong, their 95 %
    interval is left by 6 or 7 in 100 data sets, mostly upwards. This one has the ends point + s h(+-z)
    with s, g and k the standard deviation, skewness and excess kurtosis of the samples and

        h(z) = z + g (2 z^2 + 1) / 6
             + z (g^2 ((2 z^2 + 1) / 9 - (2 z^2 + 1)^2 / 72 + (z^4 + 2 z^2 - 3) / 18) - k (z^2 - 3) / 12):

    the quantiles of a mean over its own standard error, expanded to the third order (P. Hall, The Bootstrap
    and Edgeworth Expansion, 1992). It is meant for scores that are means of images, and is the normal
    interval where the samples are normal. Resamples in which the score is undefined (NaN) are left out;
    where some are infinite, the percentiles are given.

    >>> errors = np.repeat([[1.0], [0.0]], [4, 196], axis=0)
    >>> samples = resampled_means(errors, resample_weights(200, 1000, seed=0))
    >>> [edge.round(3).tolist() for edge in skewed_interval(0.02, samples)]
    [[0.003], [0.052]]
    >>> [edge.round(3).tolist() for edge in wilson(4, 200)]
    [0.008, 0.05]
    """
    middle = np.asarray(point, np.float64)
    spread, moments = _moments(samples)
    z = _quantile(level)
    with np.errstate(invalid="ignore"):
        bent = [middle + spread * _bent(side, *moments) for side in (-z, z)]
    wild = np.isinf(samples).any(axis=0)
    low, high = (np.where(wild, *ends) for ends in zip(interval(samples, level), bent, strict=True))
    return low, high


def difference_interval(point: ArrayLike, samples: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The normal interval of the difference of two scores on the same resampled images: point -+ z s.

    Not corrected for skewness: that of a difference between models alike is 0, and the one that a few
    deciding images show by chance goes along with the error of the difference itself. Correcting for it
    would cover 91 instead of 95 in 100 where errors are rare. NaN where the resamples never differ.

    >>> low, high = difference_interval(0.02, np.array([0.01, 0.03, 0.01, 0.03]))
    >>> round(float(low), 4), round(float(high), 4)
    (0.0004, 0.0396)
    """
    middle, (spread, _) = np.asarray(point, np.float64), _moments(samples)
    half = _quantile(level) * np.where(spread > 0, spread, np.nan)
    return middle - half, middle + half


def tail(point: ArrayLike, samples: Floats, limit: float) -> Floats:
    """One-sided p-value against "the true difference is the limit or less", from one and its resamples.

    Below alpha where the lower end of `difference_interval` at the level 1 - 2 alpha is above the limit. NaN
    where the resamples never differ or some are infinite: they do not know how far the difference may move.

    >>> round(float(tail(0.0196, np.array([-0.01, 0.01]), 0.0)), 3)
    0.025
    """
    spread, _ = _moments(samples)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (limit - np.asarray(point, np.float64)) / np.where(spread > 0, spread, np.nan)
    known = np.where(np.isfinite(z), z, 0.0)
    chance = np.vectorize(NormalDist().cdf, otypes=[np.float64])(known)
    return np.where(np.isfinite(z), chance, np.nan)


def better(point: Floats, samples: Floats, *, images: int, level: float = LEVEL) -> NDArray[np.bool_]:
    """Which model's score is surely above which: point (m,), samples (r, m) -> (m, m) bool.

    samples[b, i] is the score of model i on resample b, the same images for all. Entry [i, j] is True
    when the interval of score i minus score j lies above 0. The intervals are joint: with probability
    `level` all pairs are covered at once, since their common width (in standard deviations of the
    difference) is the quantile of the largest deviation among all pairs (Romano and Wolf, Econometrica
    73, 2005; for ranks, Mogstad et al., Review of Economic Studies 91, 2024). A difference that no
    resample changes is believed from six `images` on, where a sign test would. NaN is never better.

    >>> rng = np.random.Generator(np.random.PCG64(0))
    >>> noise = rng.normal(size=(1000, 1))
    >>> point = np.array([2.0, 1.0, 0.9])
    >>> own = 0.1 * rng.normal(size=(1000, 3))
    >>> better(point, point + noise + own, images=100).tolist()
    [[False, True, True], [False, False, False], [False, False, False]]
    """
    models = point.shape[0]
    spread = np.zeros((models, models))
    largest = np.zeros(samples.shape[0])
    for i in range(models):
        rest = slice(i + 1, models)
        gap = samples[:, [i]] - samples[:, rest]
        spread[i, rest] = spread[rest, i] = _deviation(gap)
        moved = np.abs(gap - (point[i] - point[rest]))
        with np.errstate(invalid="ignore", divide="ignore"):
            steps = np.where(spread[i, rest] > 0, moved / spread[i, rest], 0.0)
        if steps.shape[1]:
            largest = np.fmax(largest, np.fmax.reduce(steps, axis=1))
    width = float(np.quantile(largest, level)) if largest.size else 0.0
    gaps = point[:, None] - point[None, :]
    with np.errstate(invalid="ignore"):
        clear = (gaps > 0) & (gaps > width * spread)
    return clear & ((spread > 0) | (images >= _SIGN_TEST_IMAGES))


def rank_ranges(above: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """The ranks each model may hold, from `better`: above[i, j] says that i is surely above j.

    From 1 + the number of models surely above it to m - the number surely below it.

    >>> rank_ranges(np.array([[0, 0, 1], [0, 0, 1], [0, 0, 0]], bool))
    ((1, 2), (1, 2), (3, 3))
    """
    models = above.shape[0]
    first = 1 + above.sum(axis=0)
    last = models - above.sum(axis=1)
    return tuple((int(a), int(b)) for a, b in zip(first, last, strict=True))


def tie_groups(above: NDArray[np.bool_]) -> tuple[tuple[int, ...], ...]:
    """Which models cannot be told apart, for models listed from best to worst.

    The longest runs of neighbours in which no model is surely above another. Runs may overlap - a tie
    is not transitive - and every model is in at least one (the bars of Demsar, JMLR 7, 2006).

    >>> tie_groups(np.array([[0, 0, 1], [0, 0, 0], [0, 0, 0]], bool))
    ((0, 1), (1, 2))
    """
    models, end = above.shape[0], 0
    groups: list[tuple[int, ...]] = []
    for start in range(models):
        stop = start + 1
        while stop < models and not (above[start:stop, stop].any() or above[stop, start:stop].any()):
            stop += 1
        if stop > end:
            groups.append(tuple(range(start, stop)))
            end = stop
    return tuple(groups)


def _moments(samples: Floats) -> tuple[Floats, tuple[Floats, Floats]]:
    """The standard deviation of resamples, and their skewness and excess kurtosis; 0 where none differs."""
    undefined = np.isnan(samples)
    count = np.maximum((~undefined).sum(axis=0), 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        moved = np.where(undefined, 0.0, samples - np.where(undefined, 0.0, samples).sum(axis=0) / count)
        spread = np.sqrt((moved**2).sum(axis=0) / count)
        spread = np.where(np.abs(moved).max(axis=0) <= 1e-12, 0.0, spread)  # what rounding leaves
        skewness = np.where(spread > 0, (moved**3).sum(axis=0) / count / spread**3, 0.0)
        kurtosis = np.where(spread > 0, (moved**4).sum(axis=0) / count / spread**4 - 3, 0.0)
    most = _MOST_SKEWNESS
    shape = np.clip(skewness, -most, most), np.clip(kurtosis, -(most**2), most**2)
    return np.where(undefined.all(axis=0), np.nan, spread), shape


def _bent(z: float, skewness: Floats, kurtosis: Floats) -> Floats:
    """h(z) of `skewed_interval`."""
    twice = 2 * z**2 + 1
    square = twice / 9 - twice**2 / 72 + (z**4 + 2 * z**2 - 3) / 18
    return np.asarray(
        z + skewness * twice / 6 + z * (skewness**2 * square - kurtosis * (z**2 - 3) / 12), np.float64
    )


def _quantile(level: float) -> float:
    """The z for which a standard normal value lies in [-z, z] with probability `level`."""
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, got {level!r}")
    return NormalDist().inv_cdf(0.5 + level / 2)


def _deviation(samples: Floats) -> Floats:
    """The standard deviation of each column, exactly 0 for one that never changes."""
    if samples.shape[1] == 0:
        return np.zeros(0)
    same = np.ptp(samples, axis=0) <= 1e-12  # what rounding leaves of a constant difference
    return np.where(same, 0.0, samples.std(axis=0))


def _chunks(rows: int, width: int, words: int) -> Iterator[slice]:
    """Row ranges of a (rows, width) matrix, each of about so many words or one row."""
    step = max(1, words // max(1, width))
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))
