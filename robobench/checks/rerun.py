"""`robobench rerun`: the rows of a run beside those that the same run gave again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robobench.engine.record import ModelRecord, RunRecord
from robobench.engine.verified import images_by_cell
from robobench.rowfiles import Coded, as_array
from robobench.store import Store

ANSWER = "top1"
_BEST = ("logp_top1", "logp_top2")
TIE = 1e-4  # nats: two classes that are closer may change places with the machine


@dataclass(frozen=True)
class Repeat:
    """One cell made twice: how many images have rows in both, in one of the two, and another answer.

    ties: of the other answers those between two classes that were equal up to rounding. logp: the largest
    change of the best class's log-probability where the answer is the same.
    """

    model: str
    condition: str
    images: int
    alone: int
    other: int
    ties: int
    logp: float

    @property
    def same(self) -> bool:
        """Nothing is missing and no answer differs by more than rounding."""
        return not self.alone and self.other == self.ties


def repeats(record: RunRecord, store: Store, again: Store) -> Iterator[Repeat]:
    """Every cell of a run beside the same cell in another results folder. Raises StoreError."""
    for model in record.models:
        wanted = images_by_cell(record, model)
        first, second = (s.coded(set(wanted), (ANSWER, *_BEST)) for s in (store, again))
        for condition in record.conditions:
            yield _repeat(model, condition.name, wanted[model.cells[condition.name]], first, second)


def _repeat(
    model: ModelRecord, condition: str, wanted: frozenset[str], first: Coded, second: Coded
) -> Repeat:
    key = model.cells[condition]
    (ids, one), (others, two) = (_rows(coded, key, wanted) for coded in (first, second))
    common, ours, theirs = np.intersect1d(ids, others, assume_unique=True, return_indices=True)
    alone = ids.size + others.size - 2 * common.size
    if not common.size:
        return Repeat(model.name, condition, 0, alone, 0, 0, 0.0)
    said, now = ({k: v[rows] for k, v in c.items()} for c, rows in ((one, ours), (two, theirs)))
    other = said[ANSWER] != now[ANSWER]
    close = np.minimum(*(np.nan_to_num(np.abs(c[_BEST[0]] - c[_BEST[1]]), nan=1.0) for c in (said, now)))
    moved = np.abs(said[_BEST[0]].astype(np.float64) - now[_BEST[0]])[~other]
    return Repeat(
        model.name, condition, int(common.size), alone, int(other.sum()),
        int((other & (close <= TIE)).sum()), float(np.nanmax(moved, initial=0.0)),
    )  # fmt: skip


def _rows(coded: Coded, key: str, wanted: frozenset[str]) -> tuple[NDArray[np.str_], dict[str, NDArray[Any]]]:
    """A cell's images, of those that the run goes by, and its columns."""
    if key not in coded.tables:
        return np.array([], np.str_), {}
    ids = [coded.images[i] for i in coded.places[key]]
    mine = np.fromiter((i in wanted for i in ids), bool, len(ids))
    table = coded.tables[key]
    columns = {name: as_array(table[name])[mine] for name in table.column_names}
    return np.array(ids, np.str_)[mine], columns
