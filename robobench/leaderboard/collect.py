"""From a run's record and the store to what a leaderboard is built from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robobench.engine.record import ModelRecord, RunRecord, from_json
from robobench.errors import StoreError, UnknownName, nearest
from robobench.leaderboard.board import (
    BoardInput,
    DataInfo,
    ModelInput,
    Source,
    SuiteInfo,
)
from robobench.specs import public_path
from robobench.store import Store
from robobench.types import CellFailure, Rows

if TYPE_CHECKING:
    import pyarrow as pa


def newest_run(store: Store, suite: str | None = None) -> RunRecord:
    """The latest run in a store, or the latest of a suite. Raises StoreError and UnknownName."""
    runs = store.runs()
    if not runs:
        raise StoreError(f"{store.root}: no run has been recorded there yet")
    chosen = [r for r in runs if suite in (None, r["suite"])]
    if not chosen:
        raise UnknownName(
            f"{store.root}: no run of suite {suite!r}; {nearest(str(suite), {r['suite'] for r in runs})}"
        )
    return from_json(chosen[-1])


def collect(record: RunRecord, store: Store) -> BoardInput:
    """Everything a board needs, read from the store. Raises StoreError."""
    tables = store.rows({key for m in record.models for key in m.cells.values()})
    made = store.provenance()
    expected = {c.name: len(record.images(c)) for c in record.conditions}
    models = tuple(_model(record, m, tables, made, store) for m in record.models)
    return BoardInput(
        suite=_suite(record, made),
        conditions=record.conditions,
        models=models,
        expected=expected,
        yardsticks=record.yardsticks,
        sources=_sources(record),
    )


def _sources(record: RunRecord) -> dict[str, Source]:
    """What images were made against, by condition; a model of the board is called as it is there."""
    names = {m.digest: m.name for m in record.models}
    return {
        condition: Source(names.get(source.digest, source.model), source.made)
        for condition, source in record.sources.items()
    }


def _model(
    record: RunRecord, model: ModelRecord, tables: Mapping[str, pa.Table], made: Sequence[Any], store: Store
) -> ModelInput:
    rows = {}
    for condition in record.conditions:
        images = record.images(condition)
        table = tables.get(model.cells[condition.name])
        if table is not None:
            rows[condition.name] = _columns(table, images)
    mine = [p["provenance"] for p in made if p["provenance"]["model"]["digest"] == model.digest]
    latest = max(mine, key=lambda p: p["time"], default=None)
    known = latest["model"] if latest else {}
    return ModelInput(
        name=model.name,
        rows=rows,
        family=model.family or known.get("family"),
        parameters=known.get("parameters"),
        citation=model.citation,
        clean_accuracy=model.clean_accuracy,
        weights=known.get("weights", ""),
        provenance=_facts(latest) if latest else {},
        failures=_failures(record, model, tables, store),
        warnings=tuple(sorted({p["model"]["warning"] for p in mine if p["model"].get("warning")})),
    )


def _failures(
    record: RunRecord, model: ModelRecord, tables: Mapping[str, pa.Table], store: Store
) -> tuple[CellFailure, ...]:
    """What failed and is still wanted, as it may be published: under this run's names, without paths."""
    lacking: dict[str, tuple[str, set[str]]] = {}
    for condition in record.conditions:
        key = model.cells[condition.name]
        there = set(tables[key]["image_id"].to_pylist()) if key in tables else set()
        lacking[key] = (condition.name, set(record.images(condition)) - there)
    found = []
    for entry in store.failures(model.cells.values()):
        name, images = lacking[entry.cell]
        ids = tuple(sorted(images.intersection(entry.ids)))
        if ids:
            reason, hint = public_path(entry.reason), public_path(entry.hint)
            found.append(CellFailure(entry.cell, model.name, name, ids, reason, hint, entry.unsupported))
    return tuple(found)


def _facts(latest: Mapping[str, Any]) -> dict[str, str]:
    packages = ", ".join(f"{k} {v}" for k, v in sorted(latest["versions"].items()))
    facts = {
        "device": f"{latest['device']} ({latest['hardware']})",
        "precision": latest["precision"],
        "view": latest["data"]["view"],
        "versions": packages,
        "commit": latest["commit"] or "",
        "time": latest["time"],
    }
    return {k: v for k, v in facts.items() if v}


def _suite(record: RunRecord, made: Sequence[Any]) -> SuiteInfo:
    digests = {m.digest for m in record.models}
    mine = [p["provenance"] for p in made if p["provenance"]["model"]["digest"] in digests]
    latest = max(mine, key=lambda p: p["time"], default=None)
    hardware = sorted({p["hardware"] for p in mine})
    return SuiteInfo(
        name=record.suite,
        title=record.title,
        description=record.description,
        citation=record.citation or "",
        fingerprint=record.fingerprint,
        metrics=record.metrics,
        score=record.score,
        summaries=record.summaries,
        data=tuple(
            DataInfo(d.name, d.title, len(d.order) - len(d.excluded), d.space, d.revision, d.excluded)
            for d in record.data
        ),
        view=record.data[0].view,
        seed=record.seed,
        command=record.command,
        versions=latest["versions"] if latest else {},
        hardware="; ".join(hardware),
        date=latest["time"][:10] if latest else "",
    )


def _columns(table: pa.Table, images: Sequence[str]) -> Rows:
    """A cell's columns as arrays, of the wanted images, in their order of id."""
    wanted = set(images)
    ids = np.array(table["image_id"].to_pylist(), object)
    keep = np.array([i in wanted for i in ids], bool)
    columns: dict[str, NDArray[Any]] = {"image_id": ids[keep]}
    for name in table.column_names:
        if name not in ("image_id", "cell", "model", "condition"):
            columns[name] = table[name].to_numpy()[keep]
    return columns
