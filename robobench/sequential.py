"""Intervals that hold at every look: how far a share, or a difference, is known while images still come in.

A fixed-n interval holds for one n that was chosen before. Looked at again and again until it pleases, it
errs far more often than it says. A confidence sequence is a row of intervals, one for each n, that are all
right at once with the probability they claim. So a run may stop whenever its interval is narrow enough, for
whatever reason, and be taken up again, and the interval at the end still holds.

Both sequences here have one root. Let x_1, x_2, ... be what the images give: right or wrong (1 or 0), or
which of two models alone is right (1, -1, 0 for neither). Given the images before it, x_i has some mean
m_i; the means may differ, as classes do, and may come in any order. For a fixed mu with 1 + mu x > 0,

    prod (1 + mu x_i) / prod (1 + mu m_i)

starts at 1, is never negative, and has expectation 1 at every step given the past: a martingale. The
logarithm is concave, so prod (1 + mu m_i) <= (1 + mu m)^n with m the mean of m_1 ... m_n, and

    W_n(m) = sum over mu of w(mu) prod (1 + mu x_i) / (1 + mu m)^n        (weights that sum to 1)

is at most a martingale, at every n and not only at some. By Ville's inequality it exceeds 1 / alpha at any
time with a probability of at most alpha. The interval after n images holds all m with W_n(m) < 1 / alpha.
W_n is convex in m and at most 1 at the mean of the x_i, so this is an interval around what was measured.

What it covers is the mean of the m_i of the images visited so far. Images come in rounds that hold each
class once (`engine.sets.visiting_order`), so at the end of each round this is the mean over all classes,
though no two images are drawn alike; inside a round it lies off by what the few images of an unfinished
round can change, a share of (images of that round) / n at most. Where some classes have fewer images than
others, later rounds lack them, and the interval is about the mix of classes that has been visited, as with
any limit.

The numbers mu are fixed, spread evenly on a logarithmic scale: some make W large for great deviations after
few images, some for small ones after many. This costs about a factor of 1.7 in width against an interval at
an n fixed before, from a hundred images to some hundred thousand, whereas a single mu, or a smooth prior
such as the beta distribution, is good around one n and wider elsewhere. No number here depends on the width
that is aimed at, so aiming at a smaller one later is covered too.

Source: J. Ville, Etude critique de la notion de collectif, 1939; H. Robbins, Statistical methods related to
the law of the iterated logarithm, Annals of Mathematical Statistics 41, 1970; S. R. Howard, A. Ramdas, J.
McAuliffe and J. Sekhon, Time-uniform, nonparametric, nonasymptotic confidence sequences, Annals of
Statistics 49, 2021; I. Waudby-Smith and A. Ramdas, Estimating means of bounded random variables by betting,
JRSS B 86, 2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robobench.stats import LEVEL

Floats = NDArray[np.float64]

_SHARE = np.exp(np.linspace(math.log(0.01), math.log(4.0), 48))  # of log(1 + mu), for shares
_DIFFERENCE = np.exp(np.linspace(math.log(0.01), math.log(0.95), 36))  # of mu, for differences
_HALVINGS = 32  # of the range of a bound: 2e-10, far below any width that matters


def share_sequence(k: ArrayLike, n: ArrayLike, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The confidence sequence of a share: the interval after n images, k of them right; arrays broadcast.

    All intervals, for n = 1, 2, ..., hold at once with probability `level`. k may be a sum of values in
    [0, 1] instead of a count; the interval is then wider than it need be. n = 0 gives [0, 1]. Raises
    ValueError unless 0 <= k <= n.

    >>> low, high = share_sequence([50, 760, 38000], [100, 1000, 50000])
    >>> low.round(4).tolist(), high.round(4).tolist()
    ([0.3363, 0.7128, 0.7535], [0.6637, 0.8035, 0.7664])
    """
    hits, count = np.broadcast_arrays(np.asarray(k, np.float64), np.asarray(n, np.float64))
    if bool(((hits < 0) | (hits > count)).any()):
        raise ValueError(f"share_sequence: expected 0 <= k <= n, got k={k!r}, n={n!r}")
    nodes = np.concatenate([np.expm1(_SHARE), np.expm1(-_SHARE)])
    gains = hits[..., None] * np.log1p(nodes)
    centre = np.where(count > 0, hits / np.maximum(count, 1), 0.5)
    return _interval(nodes, gains, count, centre, np.zeros_like(centre), level)


def difference_sequence(
    wins: ArrayLike, losses: ArrayLike, n: ArrayLike, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """The confidence sequence of a difference of two shares on the same images; arrays broadcast.

    wins: images that only the first model has right; losses: only the second; n: all images that both were
    shown. The interval is of the first one's share minus the second's, in [-1, 1]. It is without 0 exactly
    when the sequential sign test of wins against losses rejects, in which images that both models have right
    or both have wrong do not count. Raises ValueError unless wins + losses <= n.

    >>> low, high = difference_sequence(60, 20, 1000)
    >>> round(float(low), 4), round(float(high), 4)
    (0.0115, 0.0712)
    """
    up, down, count = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (wins, losses, n)))
    if bool(((up < 0) | (down < 0) | (up + down > count)).any()):
        raise ValueError(
            f"difference_sequence: expected wins + losses <= n, got wins={wins!r}, losses={losses!r}, n={n!r}"
        )
    nodes = np.concatenate([_DIFFERENCE, -_DIFFERENCE])
    gains = up[..., None] * np.log1p(nodes) + down[..., None] * np.log1p(-nodes)
    centre = np.where(count > 0, (up - down) / np.maximum(count, 1), 0.0)
    return _interval(nodes, gains, count, centre, np.full_like(centre, -1.0), level)


def signed_sequence(values: ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """The confidence sequence of a mean of values in [-1, 1], after all of the given ones.

    For -1, 0 and 1 it is that of `difference_sequence`. No values give [-1, 1]. Raises ValueError for a value
    outside, or NaN.

    >>> low, high = signed_sequence([1] * 60 + [-1] * 20 + [0] * 920)
    >>> round(low, 4), round(high, 4)
    (0.0115, 0.0712)
    """
    given = _signed(values)
    nodes = np.concatenate([_DIFFERENCE, -_DIFFERENCE])
    kinds, counts = np.unique(given, return_counts=True)
    gains = np.asarray(np.log1p(np.outer(kinds, nodes)).T @ counts, np.float64)
    n = np.asarray(given.size, np.float64)
    centre = np.asarray(given.mean() if given.size else 0.0)
    low, high = _interval(nodes, gains, n, centre, np.asarray(-1.0), level)
    return float(low), float(high)


@dataclass
class Doubt:
    """How little sense it makes, as images come in, that the mean of what they give reaches a limit.

    Values in [-1, 1], and a limit between; the wealth W(limit) from the top of this file over the negative mu
    alone. While the mean of the m_i so far is at the limit or above, it is at most a martingale: it exceeds
    1 / alpha at any time with a probability of at most alpha. So a mean below the limit may be claimed at the
    first such time. To doubt that a mean is as low as a limit, turn the signs of both.
    """

    limit: float
    n: int = 0
    _gains: Floats = field(default_factory=lambda: np.zeros(_DIFFERENCE.size), repr=False)

    def add(self, values: ArrayLike) -> Floats:
        """The logarithm of W after each of these values. Raises ValueError for one outside [-1, 1], or NaN.

        >>> doubt = Doubt(0.02)
        >>> doubt.add([0] * 300).round(1)[[99, 199, 299]].tolist()
        [0.6, 1.6, 3.0]
        >>> int(np.argmax(doubt.add([0] * 300) > np.log(100))) + 300
        396
        """
        if not -1 < self.limit < 1:
            raise ValueError(f"limit: expected a number between -1 and 1, got {self.limit!r}")
        kinds, which = np.unique(_signed(values), return_inverse=True)
        gains = self._gains + np.log1p(np.outer(kinds, -_DIFFERENCE))[which].cumsum(axis=0)
        n = self.n + np.arange(1, which.size + 1)
        if which.size:
            self.n, self._gains = int(n[-1]), gains[-1]
        terms = gains - np.outer(n, np.log1p(-_DIFFERENCE * self.limit))
        top = terms.max(axis=1, initial=-np.inf)
        return np.asarray(top + np.log(np.exp(terms - top[:, None]).mean(axis=1)), np.float64)


def reach(k: ArrayLike, n: ArrayLike, level: float = LEVEL) -> Floats:
    """How far the end of the interval that is farther off lies from the measured share; NaN for n = 0.

    At most this far from k / n lies the true share, at every n at once, with probability `level`.

    >>> reach([50, 760, 38000], [100, 1000, 50000]).round(4).tolist()
    [0.1637, 0.0472, 0.0065]
    """
    low, high = share_sequence(k, n, level)
    count = np.asarray(n, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.asarray(k, np.float64) / count
    return np.maximum(share - low, high - share)


def images_for_precision(share: ArrayLike, precision: float, level: float = LEVEL) -> NDArray[np.int64]:
    """How many images it takes until shares of these sizes are known to +- precision.

    That is how far a run goes which happens to measure just this share. Raises ValueError unless
    0 <= share <= 1 and 0 < precision < 1.

    >>> images_for_precision([0.5, 0.76, 0.98], 0.01).tolist(), int(images_for_precision(0.76, 0.05))
    ([28511, 21136, 2882], 897)
    """
    shares = np.asarray(share, np.float64)
    if not (bool(((shares >= 0) & (shares <= 1)).all()) and 0 < precision < 1):
        raise ValueError(
            f"images_for_precision: expected a share in [0, 1] and a precision in (0, 1), got {share!r}, "
            f"{precision!r}"
        )
    low, high = np.zeros(shares.shape, np.int64), np.ones(shares.shape, np.int64)
    while bool((wide := reach(shares * high, high, level) > precision).any()):
        low, high = np.where(wide, high, low), np.where(wide, 2 * high, high)
    while bool((high - low > 1).any()):
        middle = np.maximum((low + high) // 2, 1)
        wide = reach(shares * middle, middle, level) > precision
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    return high


def _signed(values: ArrayLike) -> Floats:
    given = np.asarray(values, np.float64)
    if not bool((np.abs(given) <= 1).all()):
        raise ValueError(f"expected values in [-1, 1], got {float(given[~(np.abs(given) <= 1)][0])!r}")
    return given


def _interval(
    nodes: Floats, gains: Floats, n: Floats, centre: Floats, floor: Floats, level: float
) -> tuple[Floats, Floats]:
    """Where the mixed wealth stays below 1 / alpha, by bisection on either side of the measured mean.

    nodes: (m,) mu. gains: (..., m) log of the product of 1 + mu x. Of each bracket the outer end is given, so
    that rounding never makes an interval too small.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, got {level!r}")
    limit = -math.log1p(-level) + math.log(nodes.size)  # the weights are equal

    def inside(mean: Floats) -> NDArray[np.bool_]:
        terms = gains - n[..., None] * np.log1p(nodes * mean[..., None])
        top = terms.max(axis=-1)
        return np.asarray(top + np.log(np.exp(terms - top[..., None]).sum(axis=-1)) < limit)

    ends = []
    for end in (floor, np.ones_like(centre)):
        near, far = centre.copy(), end.copy()
        whole = inside(far)
        for _ in range(_HALVINGS):
            middle = (near + far) / 2
            good = inside(middle)
            near, far = np.where(good, middle, near), np.where(good, far, middle)
        ends.append(np.where(whole, end, far))
    return ends[0], ends[1]
