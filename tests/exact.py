"""Exact sums over everything that two models can do on n images. Import as `from tests.exact import ...`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy
from scipy.stats import binom

Floats = NDArray[np.float64]


def paired_outcomes(n: int, first: float, second: float) -> tuple[Floats, Floats, Floats]:
    """(images only the first has right, images only the second has, how likely), all but 1e-11 of them.

    first, second: the shares of such images; the three counts are trinomial.
    """
    sides = [np.arange(binom.ppf(1e-12, n, p), binom.ppf(1 - 1e-12, n, p) + 1) for p in (first, second)]
    one, two = (side.ravel() for side in np.meshgrid(*sides, indexing="ij"))
    possible = (one >= 0) & (two >= 0) & (one + two <= n)
    one, two = one[possible], two[possible]
    rest = n - one - two
    ways = gammaln(n + 1) - gammaln(one + 1) - gammaln(two + 1) - gammaln(rest + 1)
    chance = ways + xlogy(one, first) + xlogy(two, second) + xlogy(rest, max(0.0, 1 - first - second))
    return one, two, np.exp(chance)
