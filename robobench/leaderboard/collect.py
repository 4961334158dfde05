"""From a run's record and the store to what a leaderboard is built from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robobench.asides import Asides
from robobench.engine.record import DataRecord, ModelRecord, RunRecord, Stop, read_run
from robobench.errors import StoreError, UnknownName, nearest
from robobench.leaderboard.beside import stored_columns
from robobench.leaderboard.board import (
    BoardInput,
    DataInfo,
    ModelInput,
    Source,
    SuiteInfo,
)
from robobench.leaderboard.health import asked_columns
from robobench.leaderboard.hurt import COLUMNS
from robobench.leaderboard.score import IMAGE, build_metrics
from robobench.leaderboard.verified import outcome
from robobench.rowfiles import Coded, Places, as_array
from robobench.specs import public_path
from robobench.store import Store
from robobench.types import CellFailure, Condition, Rows


class RowSource(Protocol):
    """Where rows and what made them come from: a store, or a baseline."""

    def coded(self, cells: Iterable[str], columns: Collection[str] | None = None) -> Coded: ...

    def provenance(self) -> list[dict[str, Any]]: ...

    def failures(self, cells: Iterable[str]) -> list[CellFailure]: ...

    @property
    def asides(self) -> Asides | None: ...


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
    return read_run(store.root, chosen[-1])


def collect(record: RunRecord, store: RowSource) -> BoardInput:
    """Everything a board needs, read from the store. Raises StoreError.

    Of the rows only the columns that the suite's metrics and the health checks of its attacks go by.
    """
    coded = store.coded({key for m in record.models for key in m.cells.values()}, columns(record))
    wanted = _Wanted(record, coded)
    made = store.provenance()
    return BoardInput(
        suite=_suite(record, made),
        conditions=record.conditions,
        models=tuple(_model(record, m, wanted, made, store) for m in record.models),
        expected={c.name: len(wanted.images(c)) for c in record.conditions},
        yardsticks=record.yardsticks,
        sources=_sources(record),
        classes=record.class_names,
        pictures=None if store.asides is None else store.asides.pictures(record.fingerprint),
    )


def columns(record: RunRecord) -> frozenset[str]:
    """The columns of the rows that a board goes by."""
    names = (*record.metrics, record.score.of, *(s.of for s in record.summaries))
    return stored_columns(build_metrics(names).values()) | asked_columns(record.conditions) | COLUMNS


@dataclass(frozen=True)
class _Wanted:
    """The wanted rows of cells as arrays. What cells over the same images have in common is made once."""

    record: RunRecord
    coded: Coded
    _images: dict[tuple[Any, ...], tuple[str, ...]] = field(default_factory=dict)
    _among: dict[tuple[Any, ...], NDArray[np.bool_]] = field(default_factory=dict)
    _ids: list[tuple[Places, NDArray[np.str_]]] = field(default_factory=list)

    def images(self, condition: Condition, model: ModelRecord | None = None) -> tuple[str, ...]:
        """The images that a condition should have, see `RunRecord.images`."""
        key = self._key(condition, model)
        if key not in self._images:
            self._images[key] = self.record.images(condition, model)
        return self._images[key]

    def rows(self, condition: Condition, model: ModelRecord) -> Rows | None:
        """A cell's columns, of the wanted images, in their order of id; None where there are no rows."""
        cell = model.cells[condition.name]
        if cell not in self.coded.tables:
            return None
        table, places = self.coded.tables[cell], self.coded.places[cell]
        keep = self._known(condition, model)[places]
        values = {name: as_array(table[name]) for name in table.column_names}
        if not keep.all():
            places, values = places[keep], {name: v[keep] for name, v in values.items()}
        return {IMAGE: self._text(places), **values}

    def _key(self, condition: Condition, model: ModelRecord | None) -> tuple[Any, ...]:
        """What the images of a condition depend on: equal keys, equal images."""
        data: DataRecord = next(d for d in self.record.data if d.name == condition.data)
        stop = None if model is None else model.stopped.get(condition.data)
        return id(data.order), data.excluded, condition.limit, None if stop is None else stop.images

    def _known(self, condition: Condition, model: ModelRecord) -> NDArray[np.bool_]:
        """Which of the stored images a condition should have."""
        key = self._key(condition, model)
        if key not in self._among:
            wanted = frozenset(self.images(condition, model))
            among = (i in wanted for i in self.coded.images)
            self._among[key] = np.fromiter(among, bool, len(self.coded.images))
        return self._among[key]

    def _text(self, places: Places) -> NDArray[np.str_]:
        """The ids at some places: one array for all cells that have the same."""
        for other, ids in reversed(self._ids):
            if np.array_equal(other, places):
                return ids
        found = np.array([self.coded.images[i] for i in places], np.str_)
        self._ids.append((places, found))
        return found


def _sources(record: RunRecord) -> dict[str, Source]:
    """What images were made against, by condition; a model of the board is called as it is there."""
    names = {m.digest: m.name for m in record.models}
    return {
        condition: Source(names.get(source.digest, source.model), source.made)
        for condition, source in record.sources.items()
    }


def _model(
    record: RunRecord, model: ModelRecord, wanted: _Wanted, made: Sequence[Any], store: RowSource
) -> ModelInput:
    found = {c.name: wanted.rows(c, model) for c in record.conditions}
    rows = {name: values for name, values in found.items() if values is not None}
    mine = [p["provenance"] for p in made if p["provenance"]["model"]["digest"] == model.digest]
    latest = max(mine, key=lambda p: p["time"], default=None)
    known, asides = latest["model"] if latest else {}, store.asides
    kept = None if asides is None else asides.verified(record.fingerprint, model.digest)
    verified, refuted = outcome(record, model, store, kept)
    return ModelInput(
        name=model.name,
        rows=rows,
        family=model.family or known.get("family"),
        parameters=known.get("parameters"),
        citation=model.citation,
        clean_accuracy=model.clean_accuracy,
        weights=known.get("weights", ""),
        provenance=_facts(latest) if latest else {},
        failures=_failures(record, model, wanted, store),
        warnings=(
            *sorted({p["model"]["warning"] for p in mine if p["model"].get("warning")}),
            *(_stopped(record, name, stop) for name, stop in model.stopped.items()),
            *refuted,
        ),
        expected={c.name: len(wanted.images(c, model)) for c in record.conditions if c.data in model.stopped},
        speeds=() if asides is None else asides.speeds(model.digest),
        verified=verified,
    )


def _stopped(record: RunRecord, name: str, stop: Stop) -> str:
    """That a model saw a part of a data set only, and why."""
    data = next(d for d in record.data if d.name == name)
    aim = "" if stop.precision is None else f"precision {stop.precision:g}: "
    return f"stopped at n = {stop.images:,} of {len(data.order):,} images of {data.title} ({aim}{stop.rule})"


def _failures(
    record: RunRecord, model: ModelRecord, wanted: _Wanted, store: RowSource
) -> tuple[CellFailure, ...]:
    """What failed and is still wanted, as it may be published: under this run's names, without paths."""
    conditions = {model.cells[c.name]: c for c in record.conditions}
    coded = wanted.coded
    found = []
    for entry in store.failures(conditions):
        condition = conditions[entry.cell]
        there = {coded.images[i] for i in coded.places.get(entry.cell, ())}
        ids = tuple(sorted((set(wanted.images(condition, model)) - there).intersection(entry.ids)))
        if ids:
            reason, hint = public_path(entry.reason), public_path(entry.hint)
            found.append(
                CellFailure(entry.cell, model.name, condition.name, ids, reason, hint, entry.unsupported)
            )
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
