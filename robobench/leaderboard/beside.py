"""Columns of other answers to the same image beside its own, and other images' rows behind a cell's own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from robobench.contracts import Metric
from robobench.leaderboard.score import IMAGE, OWN, size
from robobench.registry import find_step
from robobench.types import Condition, Rows

CLEAN_COLUMN = "clean_"  # the column `clean_top1` is `top1` of the clean cell, for the same image
REFERENCE_COLUMN = "reference_"  # `reference_top1` is `top1` of the frame that a frame is compared with
_FRAME = "frame"


def originals(columns: Collection[str], prefix: str = CLEAN_COLUMN) -> frozenset[str]:
    """The columns whose clean (or reference) values are asked for.

    >>> sorted(originals(["hit", "clean_hit", "clean_top1", "reference_top1"]))
    ['hit', 'top1']
    """
    return frozenset(c.removeprefix(prefix) for c in columns if c.startswith(prefix))


def stored_columns(metrics: Iterable[Metric]) -> frozenset[str]:
    """The columns of the rows that metrics go by, directly or through another answer to the same image."""
    needs = frozenset(c for m in metrics for c in m.needs)
    return needs | originals(needs) | originals(needs, REFERENCE_COLUMN)


def beside(own: Rows, other: Rows, columns: Collection[str], prefix: str = CLEAN_COLUMN) -> Rows:
    """A cell's rows with another cell's values of some columns; NaN for an image that the other lacks.

    Both are sorted by image id.

    >>> own = {IMAGE: np.array(["a", "bb", "c", "d"]), "top1": np.array([5, 8, 6, 7])}
    >>> clean = {IMAGE: np.array(["a", "b", "c"]), "top1": np.array([5, 1, 2])}
    >>> beside(own, clean, ["top1"])["clean_top1"].tolist()
    [5.0, nan, 2.0, nan]
    """
    if not size(own) or IMAGE not in own:
        return own
    ids, known = own[IMAGE], other.get(IMAGE, np.zeros(0, np.str_))
    place = np.searchsorted(known, ids)
    there = place < known.size
    there[there] = known[place[there]] == ids[there]
    found = dict(own)
    for column in columns:
        values = np.full(ids.size, np.nan)
        if column in other:
            values[there] = other[column][place[there]]
        found[prefix + column] = values
    return found


def reference_of(condition: Condition, conditions: Sequence[Condition]) -> str | None:
    """The frame of a sequence that a frame is compared with: the first or the one before it.

    Which of the two, the plug-in says. None for a first frame, and for what is no frame of a sequence.
    """
    if condition.along != _FRAME or not condition.steps:
        return None
    rule = next(
        (r for s in condition.steps if (r := getattr(find_step(s.name).cls, "reference", None))), None
    )
    if rule is None:
        return None
    frames = {float(str(c.level)): c.name for c in conditions if c.ladder == condition.ladder}
    earlier = sorted(f for f in frames if f < float(str(condition.level)))
    if not earlier:
        return None
    return frames[min(frames) if rule == "first" else earlier[-1]]


def judged(metric: Metric, condition: Condition, conditions: Sequence[Condition]) -> bool:
    """Whether a metric can say something of a condition: one that compares frames not of a first frame."""
    if not originals(metric.needs, REFERENCE_COLUMN):
        return True
    return reference_of(condition, conditions) is not None


def pooled(own: Rows, clean: Rows, needs: Collection[str]) -> Rows:
    """A cell's rows followed by those of the clean cell, and a column that says which are its own.

    No rows when one of the two has none, or lacks a column.
    """
    wanted = [c for c in needs if c != OWN]
    if not (size(own) and size(clean) and set(wanted) <= own.keys() & clean.keys()):
        return {}
    found: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {
        c: np.concatenate([own[c], clean[c]]) for c in wanted
    }
    return {**found, OWN: np.arange(size(own) + size(clean)) < size(own)}


def same_rows(cells: Mapping[str, Rows], name: str | None) -> Rows:
    """The rows of a condition, none where there is no such condition."""
    return {} if name is None else cells.get(name, {})
