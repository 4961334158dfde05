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
_CHUNK_WORDS = 4_000_000  # resampled positions drawn, or weights widened to float64, at a time
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
    for rows in _chunks(r, n):
        size = rows.stop - rows.start
        words = np.asarray(stream.random_raw(size * ((n + 1) // 2)), np.uint64)
        halves = np.stack([words >> np.uint64(32), words & np.uint64(0xFFFFFFFF)], axis=1)
        drawn = (halves.reshape(size, -1)[:, :n] * np.uint64(n)) >> np.uint64(32)
        flat = drawn.astype(np.int64) + np.arange(size)[:, None] * n
        counts[rows] = np.bincount(flat.ravel(), minlength=size * n).reshape(size, n)
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
    out = np.empty((weights.shape[0], values.shape[1]))
    for rows in _chunks(*weights.shape):
        block = weights[rows].astype(np.float64, copy=False)
        drawn = np.repeat(block.sum(axis=1)[:, None], values.shape[1], axis=1)
        drawn[:, partial] = block @ known[:, partial].astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            out[rows] = (block @ filled) / drawn
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


def _chunks(rows: int, width: int) -> Iterator[slice]:
    """Row ranges of a (rows, width) matrix, small enough to be widened in memory."""
    step = max(1, _CHUNK_WORDS // max(1, width))
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))
