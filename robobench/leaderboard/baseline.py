"""One model's answers as a small file that can be committed: what a later model is held against."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robobench import rowfiles
from robobench.atomic import place
from robobench.engine.recipe import public
from robobench.engine.record import RunRecord, from_json, to_json
from robobench.errors import StoreError, UnknownName, nearest
from robobench.leaderboard.beside import stored_columns
from robobench.leaderboard.score import LABEL, build_metrics
from robobench.store import Store
from robobench.types import CellFailure

FORMAT = 1
_KEY = b"robobench.baseline"
_PARQUET = b"PAR1"  # what such a file begins with
_MAKE = "`robobench baseline MODEL --to FILE` makes one from a results folder"


@dataclass(frozen=True)
class Baseline:
    """A baseline as a store of one run: `collect` reads it like one."""

    path: Path
    record: RunRecord
    made: tuple[dict[str, Any], ...]

    def coded(self, cells: Iterable[str], columns: Collection[str] | None = None) -> rowfiles.Coded:
        """The rows of some cells, see `Store.coded`."""
        try:
            return rowfiles.by_cell([self.path], frozenset(cells), columns)
        except StoreError:
            raise _damaged(self.path) from None

    def provenance(self) -> list[dict[str, Any]]:
        """What made the rows."""
        return list(self.made)

    def failures(self, cells: Iterable[str]) -> list[CellFailure]:
        """None: a baseline with failures is not written."""
        return []

    @property
    def asides(self) -> None:
        """Nothing: a baseline holds answers, and is held against rather than ranked."""


def write_baseline(store: Store, record: RunRecord, model: str, path: Path) -> int:
    """Write a model's answers, as far as the suite's score and summaries go by them: a few bytes an image.

    The labels go along: gates that are looked at early have to know how even the classes are. Returns the
    number of rows. Raises UnknownName for a model that the run does not have, and StoreError where rows are
    missing or a gate has ended the run.
    """
    import pyarrow as pa

    who = next((m for m in record.models if m.name == model), None)
    if who is None:
        known = [m.name for m in record.models]
        raise UnknownName(
            f"{store.root}: no model {model!r} in the run of {record.suite}; {nearest(model, known)}"
        )
    if who.gated:
        raise StoreError(
            f"{model} ran only until a gate was settled, and a baseline needs all images: finish its run "
            f"first, with `robobench run {record.suite}` without --against"
        )
    kept = tuple(c for c in record.conditions if not c.check)
    names = tuple(dict.fromkeys((record.score.of, *(s.of for s in record.summaries))))
    columns = stored_columns(build_metrics(names).values()) | {LABEL}
    cells = dict.fromkeys(who.cells[c.name] for c in kept)
    coded = store.coded(cells, columns)
    for condition in kept:
        there = coded.places.get(who.cells[condition.name], ())
        wanted = len(record.images(condition, who))
        if len(there) < wanted:
            raise StoreError(
                f"{model} has {len(there)} of {wanted} rows under {condition.name!r}: finish the run first, "
                f"with `robobench run {record.suite}`"
            )
    images = pa.array(coded.images, pa.string())
    tables = [
        coded.tables[cell]
        .add_column(0, rowfiles.IMAGE, pa.DictionaryArray.from_arrays(pa.array(coded.places[cell]), images))
        .add_column(0, rowfiles.CELL, pa.array([cell] * len(coded.places[cell])).dictionary_encode())
        for cell in cells
    ]
    whole = pa.concat_tables(tables, promote_options="default").unify_dictionaries().combine_chunks()
    alone = public(replace(record, models=(who,), metrics=names, conditions=kept, yardsticks={}, sources={}))
    made = [p for p in store.provenance() if p["provenance"]["model"]["digest"] == who.digest]
    latest = max(made, key=lambda p: str(p["provenance"]["time"]), default=None)
    said = {"format": FORMAT, "record": to_json(alone), "made": [latest] if latest else []}
    whole = whole.replace_schema_metadata({_KEY: json.dumps(said, sort_keys=True).encode()})
    place(path, lambda part: rowfiles.write(whole, part))
    return int(whole.num_rows)


def read_baseline(path: Path) -> Baseline:
    """A baseline again. Raises StoreError for another file, a damaged one, and a newer format."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.is_dir():
        raise StoreError(f"{path} is a folder, and a baseline is a file: {_MAKE}")
    if not path.is_file():
        raise StoreError(f"{path}: no such file: make it with `robobench baseline MODEL --to {path}`")
    with rowfiles.readable(path), path.open("rb") as file:
        parquet = file.read(len(_PARQUET)) == _PARQUET
    if not parquet:
        raise StoreError(f"{path} is not a baseline: {_MAKE}")
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError):
        raise _damaged(path) from None
    if _KEY not in metadata:
        raise StoreError(f"{path} is not a baseline: {_MAKE}")
    try:
        said = json.loads(metadata[_KEY])
        version = said["format"]
        if version != FORMAT:
            raise StoreError(f"{path}: a baseline of format {version}, this robobench reads {FORMAT}")
        return Baseline(path, from_json(said["record"]), tuple(said["made"]))
    except (KeyError, TypeError, ValueError):
        raise _damaged(path) from None


def _damaged(path: Path) -> StoreError:
    return StoreError(
        f"{path}: the baseline is damaged: take it from version control, or make it anew; {_MAKE}"
    )
