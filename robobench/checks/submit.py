"""One run of a results folder as a small results folder of its own: what is handed in, or published."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import numpy as np

from robobench import rowfiles
from robobench.atomic import disk
from robobench.engine.recipe import public
from robobench.engine.record import ModelRecord, RunRecord, to_json
from robobench.errors import StoreError, UnknownName, nearest
from robobench.keys import canonical
from robobench.specs import public_path, without_paths
from robobench.store import MANIFEST, Store
from robobench.tasks.classification import LOGITS
from robobench.types import CellFailure

if TYPE_CHECKING:
    import pyarrow as pa

AT_ONCE = 64  # cells whose rows are in memory together before they are joined


@dataclass(frozen=True)
class Submission:
    """What was written: how many models and rows, and the bytes of all files."""

    folder: Path
    models: int
    rows: int
    size: int


def submit(
    store: Store, record: RunRecord, to: Path, needed: Collection[str], models: Sequence[str] = ()
) -> Submission:
    """Write a run as a results folder that needs no other file: rows, what made them, protocol, images.

    needed: the columns that its board goes by; of the others only the logits are left out, the one column
    that is not small. models: only these. Paths are cut to their last part. The folder must be new or empty:
    it appears whole or not at all.

    Raises StoreError where rows are missing, and UnknownName for a model that the run does not have.
    """
    record = public(_chosen(record, models))
    _check_new(store, to)
    parts = [_rows(store, record, m, needed) for m in record.models]
    with disk(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        half = Path(mkdtemp(prefix=f".{to.name}.", suffix=".part", dir=to.parent))
        half.chmod(0o755)
    try:
        made = Store.open(half, create=True)
        with made.writing():
            _write(store, made, record, parts)
        (half / ".lock").unlink(missing_ok=True)
        with disk(to):
            half.rename(to)
    finally:
        shutil.rmtree(half, ignore_errors=True)  # nothing once it has its name
    size = sum(p.stat().st_size for p in to.rglob("*") if p.is_file())
    return Submission(to, len(record.models), sum(p.num_rows for p in parts), size)


def _chosen(record: RunRecord, names: Sequence[str]) -> RunRecord:
    known = [m.name for m in record.models]
    for name in names:
        if name not in known:
            raise UnknownName(f"the run of {record.suite!r} has no model {name!r}; {nearest(name, known)}")
    return replace(record, models=tuple(m for m in record.models if not names or m.name in names))


def _check_new(store: Store, to: Path) -> None:
    if to.exists() and to.resolve() == store.root.resolve():
        raise StoreError(f"{to}: is the results folder itself: choose another one with --to")
    if to.exists() and not (to.is_dir() and next(to.iterdir(), None) is None):
        raise StoreError(f"{to}: there is something already: choose a new folder with --to, or remove it")
    inside = next((p for p in to.resolve().parents if (p / MANIFEST).is_file()), None)
    if inside is not None:
        raise StoreError(f"{to}: lies within the results folder {inside.name}: choose another one with --to")


def _rows(store: Store, record: RunRecord, model: ModelRecord, needed: Collection[str]) -> pa.Table:
    """All rows of a model that the run goes by, each once. Raises StoreError where some are missing."""
    import pyarrow as pa

    excused = {f.cell for f in _failures(store, record) if f.unsupported}
    wanted: dict[str, set[str]] = {}
    for condition in record.conditions:
        wanted.setdefault(model.cells[condition.name], set()).update(record.images(condition, model))
    tables = []
    cells = sorted(wanted)
    for start in range(0, len(cells), AT_ONCE):
        coded = store.coded(cells[start : start + AT_ONCE])
        for cell in cells[start : start + AT_ONCE]:
            there = cell in coded.tables
            mine = [i for i in coded.places[cell] if coded.images[i] in wanted[cell]] if there else []
            name = next(c.name for c in record.conditions if model.cells[c.name] == cell)
            if len(mine) < len(wanted[cell]) and cell not in excused:
                raise StoreError(
                    f"{model.name} has {len(mine):,} of {len(wanted[cell]):,} rows under {name!r}: finish "
                    f"the run first, with `{record.command}`"
                )
            if mine:
                tables.append(_whole(coded, cell, mine, needed, {"model": model.name, "condition": name}))
    if not tables:
        raise StoreError(
            f"{store.root}: no rows of {model.name} there: run it first, with `{record.command}`"
        )
    return pa.concat_tables(tables, promote_options="default").unify_dictionaries().combine_chunks()


def _whole(
    coded: rowfiles.Coded, cell: str, mine: Sequence[int], needed: Collection[str], names: Mapping[str, str]
) -> pa.Table:
    """Some of a cell's rows with all their columns, as a row file holds them, under the run's names."""
    import pyarrow as pa

    rows = np.flatnonzero(np.isin(coded.places[cell], np.array(mine, np.int32)))
    table = coded.tables[cell].take(pa.array(rows))
    if LOGITS in table.column_names and LOGITS not in needed:
        table = table.drop_columns([LOGITS])
    table = table.drop_columns([name for name in names if name in table.column_names])
    table = table.add_column(0, rowfiles.IMAGE, pa.array([coded.images[i] for i in mine], pa.string()))
    for name, value in {
        "condition": names["condition"],
        "model": names["model"],
        rowfiles.CELL: cell,
    }.items():
        table = table.add_column(0, name, pa.array([value] * len(mine)).dictionary_encode())
    return table


def _write(store: Store, made: Store, record: RunRecord, parts: Sequence[pa.Table]) -> None:
    import pyarrow as pa

    cells = {key for m in record.models for key in m.cells.values()}
    files = store.image_files(cells)
    images = [(cell, path) for cell, paths in sorted(files.items()) for path in paths if path.is_file()]
    described = {
        cell: {**said, "spec": public_path(str(said["spec"]))}
        for cell, said in store.describe().items()
        if cell in cells
    }
    whole = pa.concat_tables(parts, promote_options="default").unify_dictionaries().combine_chunks()
    made.take_over(whole, list(_made(store, cells, images)), described, images)
    for failure in _failures(store, record):
        reason, hint = public_path(failure.reason), public_path(failure.hint)
        made.put_failure(replace(failure, reason=reason, hint=hint))
    for data in record.data:
        gone = {i: why for i, why in store.excluded(data.revision).items() if i in data.excluded}
        made.exclude(data.revision, {i: public_path(why) for i, why in gone.items()})
    for model in record.models:
        for speed in store.asides.speeds(model.digest):
            made.asides.put_speed(model.digest, speed)
    made.asides.put_pictures(record.fingerprint, store.asides.pictures(record.fingerprint))
    (raw,) = (r for r in store.runs() if r["fingerprint"] == record.fingerprint)
    made.put_run(record.fingerprint, {**to_json(record), "versions": raw.get("versions", {})})


def _failures(store: Store, record: RunRecord) -> list[CellFailure]:
    """What a model cannot do by its build; every other failure leaves rows missing."""
    found = store.failures({key for m in record.models for key in m.cells.values()})
    return [f for f in found if f.unsupported]


def _made(
    store: Store, cells: Collection[str], images: Sequence[tuple[str, Path]]
) -> Iterator[Mapping[str, Any]]:
    """What made the rows of some cells; records that differ in their time only are one, the latest."""
    there = {(cell, path.name) for cell, path in images}
    joined: dict[str, dict[str, Any]] = {}
    for record in sorted(store.provenance(), key=lambda r: str(r["provenance"]["time"])):
        mine = sorted(set(record["cells"]) & set(cells))
        if not mine:
            continue
        made = without_paths(record["provenance"])
        kept = {c: n for c, n in record.get("kept", {}).items() if (c, n) in there}
        same = canonical([{k: v for k, v in made.items() if k != "time"}, kept])
        before = joined.get(same, {"cells": [], "images": 0})
        joined[same] = {
            "provenance": made,
            "cells": sorted({*mine, *before["cells"]}),
            "images": record["images"] + before["images"],
            **({"kept": kept} if "kept" in record else {}),
        }
    yield from joined.values()
