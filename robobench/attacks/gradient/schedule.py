"""When Auto-PGD looks back, and in which balls it runs: fixed before the first step.

Source: Croce and Hein, Reliable Evaluation of Adversarial Robustness, ICML 2020; for l1 Croce and Hein, Mind
the Box, ICML 2021.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

_LEGS = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))  # of larger_eps: radius in units of eps, share of the steps


@dataclass(frozen=True)
class Schedule:
    """What is done once the k-th point of an image has been seen, as columns over k."""

    begins: tuple[bool, ...]  # it is the first point of a run
    window: tuple[int, ...]  # how many steps are looked back at; 0 where it is no checkpoint
    ends: tuple[bool, ...]  # it is the last point of a run that another one follows
    radius: tuple[float, ...]  # of the run's ball, in units of eps

    @property
    def asks(self) -> int:
        """The points whose gradient is needed: all but the last."""
        return len(self.begins) - 1


@lru_cache(maxsize=64)
def schedule_of(steps: int, norm: str, larger_eps: bool) -> Schedule:
    """The schedule of one start: a run, or three in shrinking balls (`larger_eps`)."""
    lengths = [math.ceil(share * steps) for _, share in _LEGS[:2]]
    runs = [(1.0, steps)]
    if larger_eps:
        runs = list(zip((r for r, _ in _LEGS), (*lengths, steps - sum(lengths)), strict=True))
    begins: list[bool] = []
    window: list[int] = []
    ends: list[bool] = []
    radius: list[float] = []
    for number, (size, n) in enumerate(runs):
        begins += [True] + [False] * n
        window += _regular(n) if norm == "l1" else _shrinking(n)
        ends += [False] * n + [number + 1 < len(runs)]
        radius += [size] * (n + 1)
    return Schedule(tuple(begins), tuple(window), tuple(ends), tuple(radius))


def _shrinking(n: int) -> list[int]:
    """Windows of 22 % of the steps, each 3 % shorter than the one before, down to 6 %."""
    size, shorter, least = (max(int(share * n), 1) for share in (0.22, 0.03, 0.06))
    found, at = [0] * (n + 1), size
    while at <= n:
        found[at] = size
        size = max(size - shorter, least)
        at += size
    return found


def _regular(n: int) -> list[int]:
    """Windows of 4 % of the steps."""
    size = max(int(0.04 * n), 1)
    return [size if k and k % size == 0 else 0 for k in range(n + 1)]
