"""Columns of an image's clean answer beside its own, for metrics that compare the two."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from robobench.leaderboard.score import IMAGE, size
from robobench.types import Rows

CLEAN_COLUMN = "clean_"  # the column `clean_top1` is `top1` of the clean cell, for the same image


def originals(columns: Collection[str]) -> frozenset[str]:
    """The columns whose clean values are asked for.

    >>> sorted(originals(["hit", "clean_hit", "clean_top1"]))
    ['hit', 'top1']
    """
    return frozenset(c.removeprefix(CLEAN_COLUMN) for c in columns if c.startswith(CLEAN_COLUMN))


def beside_clean(own: Rows, clean: Rows, columns: Collection[str]) -> Rows:
    """A cell's rows with the clean values of some columns; NaN for an image without a clean answer.

    Both are sorted by image id.

    >>> own = {IMAGE: np.array(["a", "bb", "c", "d"]), "top1": np.array([5, 8, 6, 7])}
    >>> clean = {IMAGE: np.array(["a", "b", "c"]), "top1": np.array([5, 1, 2])}
    >>> beside_clean(own, clean, ["top1"])["clean_top1"].tolist()
    [5.0, nan, 2.0, nan]
    """
    if not size(own) or IMAGE not in own:
        return own
    ids, known = own[IMAGE], clean.get(IMAGE, np.zeros(0, np.str_))
    place = np.searchsorted(known, ids)
    there = place < known.size
    there[there] = known[place[there]] == ids[there]
    found = dict(own)
    for column in columns:
        values = np.full(ids.size, np.nan)
        if column in clean:
            values[there] = clean[column][place[there]]
        found[CLEAN_COLUMN + column] = values
    return found
