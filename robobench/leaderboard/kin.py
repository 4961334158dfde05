"""Which images are behind some cells, and which data sets show the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robobench.leaderboard.score import IMAGE, size
from robobench.types import Condition, Rows


def union(ids: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """All distinct ids, sorted."""
    different: list[NDArray[Any]] = []
    for some in ids:
        if not any(some is d or np.array_equal(some, d) for d in different[-2:]):
            different.append(some)
    if len(different) == 1:
        return different[0]
    return np.unique(np.concatenate(different)) if different else np.zeros(0, np.str_)


def kin(conditions: Sequence[Condition], rows: Sequence[Sequence[Rows]]) -> dict[str, str]:
    """For each data set the first one that it has images in common with, directly or through others.

    A stored corrupted set shows the clean images again, at every severity. Such sets are resampled
    together: drawn apart, their errors would seem independent and a mean over them far too certain.
    """
    groups: dict[str, tuple[list[str], NDArray[Any]]] = {}
    for data in dict.fromkeys(c.data for c in conditions):
        here = [i for i, c in enumerate(conditions) if c.data == data]
        ids = union([of[i][IMAGE] for of in rows for i in here if size(of[i])])
        near = [first for first, (_, theirs) in groups.items() if _overlap(ids, theirs)]
        merged = [groups.pop(first) for first in near]
        members = [name for names, _ in merged for name in names]
        groups[near[0] if near else data] = ([*members, data], union([*(i for _, i in merged), ids]))
    return {name: first for first, (names, _) in groups.items() for name in names}


def _overlap(one: NDArray[Any], two: NDArray[Any]) -> bool:
    """Whether two sorted lists of ids have one in common."""
    same = one is two or np.array_equal(one, two)  # the usual case, without a sort
    return bool(one.size) if same else bool(np.intersect1d(one, two, assume_unique=True).size)


def distinct(cells: Sequence[tuple[str, Rows]]) -> int:
    """How many images are behind some cells, an image of two unrelated data sets counted twice."""
    sets = {data for data, _ in cells}
    return sum(union([r[IMAGE] for d, r in cells if d == data and size(r)]).size for data in sets)
