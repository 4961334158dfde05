"""What a results folder claims of rows and of what made them; any of it may be false."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robobench.checks.verify_rows import Columns, whole
from robobench.errors import StoreError
from robobench.rowfiles import Coded, as_array
from robobench.store import Store
from robobench.types import Cell

if TYPE_CHECKING:
    import pyarrow as pa

AT_ONCE = 16  # cells whose rows are read together
_STATES = ("hit", "fooled")


@dataclass(frozen=True)
class Made:
    """What a folder says of how a model's rows came about: one value, or several that contradict it."""

    weights: frozenset[str]
    precisions: frozenset[str]
    versions: Mapping[str, str]

    @classmethod
    def of(cls, store: Store, model: str) -> Made:
        """Of the model with this digest. Raises StoreError for a record that is none."""
        weights, precisions, versions = set(), set(), {}
        for record in store.provenance():
            try:
                said = record["provenance"]
                if said["model"]["digest"] == model:
                    weights.add(str(said["model"]["weights"]))
                    precisions.add(str(said["precision"]))
                    versions = {str(k): str(v) for k, v in said["versions"].items()}
            except (KeyError, TypeError, AttributeError) as error:
                raise StoreError(f"{store.root}: a record of what made rows lacks {error}") from None
        return cls(frozenset(weights), frozenset(precisions), versions)


def columns_of(
    store: Store, drawn: Mapping[str, frozenset[str]]
) -> Iterator[tuple[str, tuple[str, ...], Columns]]:
    """Cell by cell the drawn rows that are there: their images, sorted, and columns. Raises StoreError."""
    keys = sorted(drawn)
    for start in range(0, len(keys), AT_ONCE):
        coded = store.coded(keys[start : start + AT_ONCE])
        for key in keys[start : start + AT_ONCE]:
            if key in coded.tables:
                yield key, *_chosen(coded, key, drawn[key])


def _chosen(coded: Coded, key: str, wanted: frozenset[str]) -> tuple[tuple[str, ...], Columns]:
    import pyarrow as pa

    ids = [coded.images[i] for i in coded.places[key]]
    rows = [r for r, image in enumerate(ids) if image in wanted]
    table = coded.tables[key].take(pa.array(rows, pa.int64()))
    found = {name: _array(table[name]) for name in table.column_names}
    return tuple(ids[r] for r in rows), {name: v for name, v in found.items() if v is not None}


def _array(column: pa.ChunkedArray) -> NDArray[Any] | None:
    """A column of numbers, of one value or equally many in each row; None for anything else."""
    try:
        values = as_array(column)
    except (ValueError, TypeError, NotImplementedError):
        return None
    return values if values.dtype.kind in "iubf" else None


def rows_at(columns: Columns, rows: Sequence[int]) -> Columns:
    """Some rows of some columns."""
    at = np.asarray(rows, np.int64)
    return {name: values[at] for name, values in columns.items()}


def impossible(store: Store, cells: Iterable[Cell]) -> list[str]:
    """Of all rows of attack ladders, not only drawn ones: what an attack can never leave behind.

    An image that fell at a smaller budget has fallen at every larger one. Raises StoreError.
    """
    ladders = [c for c in cells if c.condition.attack is not None]
    coded = store.coded({c.key for c in ladders}, _STATES)
    found = []
    for cell in ladders:
        below = cell.lower[-1] if cell.lower else None
        if cell.key in coded.tables and below in coded.tables:
            fallen = _with(coded, str(below), 1)
            rising = sorted(fallen & _with(coded, cell.key, 0))
            if rising:
                found.append(
                    f"{len(rising)} images stand under {cell.condition.name!r} that fell at the smaller "
                    f"budget before, as {rising[0]!r}"
                )
    return found


def _with(coded: Coded, key: str, fooled: int) -> set[str]:
    """The images of a cell that fell, or that did not and are right."""
    table, places = coded.tables[key], coded.places[key]
    said = {n: whole(_array(table[n]) if n in table.column_names else None, len(places)) for n in _STATES}
    mine = (said["fooled"] == 1) if fooled else (said["hit"] == 0)
    return {coded.images[i] for i in places[mine]}
