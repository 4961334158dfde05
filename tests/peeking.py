"""Runs that are looked at again and again: how often an interval is wrong at any look.

Import as `from tests.peeking import ...`. Answers are made up with fixed seeds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from robobench.engine.sets import visiting_order

Interval = Callable[..., tuple[NDArray[np.float64], NDArray[np.float64]]]


def iid(share: float, runs: int, n: int, seed: int) -> NDArray[np.bool_]:
    """(runs, n) answers, all images alike."""
    return np.random.default_rng(seed).random((runs, n), np.float32) < share


def in_rounds(shares: NDArray[np.float64], runs: int, n: int, seed: int) -> tuple[NDArray, NDArray]:
    """(runs, n) answers of classes with these shares, in visiting order; and the share at each place."""
    labels = tuple(np.tile(np.arange(shares.size), -(-n // shares.size)).tolist())
    ids = tuple(f"i{k:06d}" for k in range(len(labels)))
    where = dict(zip(ids, labels, strict=True))
    there = shares[np.array([where[i] for i in visiting_order(ids, labels, seed)])[:n]]
    return np.random.default_rng(seed).random((runs, n), np.float32) < there, there


def mean_so_far(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    return shares.cumsum() / np.arange(1, shares.size + 1)


def ever_wrong(answers: NDArray, truth: NDArray | float, looks: NDArray, interval: Interval) -> float:
    """The share of runs in which the interval misses the truth at any look."""
    right = counts(answers, looks)
    least, most = counts_inside(interval, np.broadcast_to(truth, looks.shape), looks)
    return float(((right < least) | (right > most)).any(axis=1).mean())


def counts(answers: NDArray, looks: NDArray) -> NDArray[np.int64]:
    """(runs, looks) right answers at each look."""
    return np.asarray(answers.cumsum(axis=1, dtype=np.int32)[:, looks - 1])


def counts_inside(interval: Interval, truth: NDArray, looks: NDArray) -> tuple[NDArray, NDArray]:
    """The fewest and the most right answers whose interval holds the truth: both ends rise with the count."""

    def first(enough: Callable[[NDArray], NDArray]) -> NDArray:
        low, high = np.full(looks.shape, -1), looks + 1  # not yet, at last
        while (high - low > 1).any():
            middle = np.clip((low + high) // 2, 0, looks)
            good = enough(middle) | (low + 1 >= high)
            low, high = np.where(good, low, middle), np.where(good & (low + 1 < high), middle, high)
        return high

    return (
        first(lambda k: interval(k, looks)[1] >= truth),
        first(lambda k: interval(k, looks)[0] > truth) - 1,
    )


def at_each(function: Callable, *given: NDArray) -> list[NDArray]:
    """A function of counts over large arrays of them, in which few are different."""
    flat, back = np.unique(np.stack([c.ravel() for c in given]), axis=1, return_inverse=True)
    return [np.asarray(v)[back.ravel()].reshape(given[0].shape) for v in np.atleast_2d(function(*flat))]
