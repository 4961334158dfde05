"""`robobench submit --check`: whether a result that was handed in holds together, without data and models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from robobench.checks.problem import Problem, reason, short
from robobench.checks.submission_attacks import (
    fallen,
    look_at_attack,
    look_at_clean,
    look_at_ladders,
    look_at_rise,
    look_at_smaller,
)
from robobench.checks.submission_files import Files, MadeModel, look_at_files, read_json
from robobench.checks.submission_protocol import Keys, look_at_makers, look_at_protocol
from robobench.checks.submission_rows import NEEDED, Cell, Labels, look_at_rows
from robobench.engine.record import ModelRecord, RunRecord, from_json
from robobench.engine.verified import images_by_cell
from robobench.errors import RobobenchError, StoreError
from robobench.proportions import clopper_pearson
from robobench.rowfiles import Coded, as_array
from robobench.store import Store
from robobench.types import CLEAN, CellFailure, Condition

_LEVEL = 0.999  # of the interval around a clean accuracy that the author declares
_COLUMNS = (*NEEDED, "fooled", "linf", "l2", "inherited")


@dataclass(frozen=True)
class Report:
    """What was found. record: of the run that was looked at, where it can be read."""

    problems: tuple[Problem, ...]
    record: RunRecord | None = None
    rows: int = 0
    keys: Keys = field(default_factory=Keys)

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if not p.warning)


def check(root: Path, suite: str | None = None) -> Report:
    """Look a results folder over: its files, its protocol, and its rows as far as those before allow.

    suite: of which suite's newest run; by default the newest run. Raises StoreError for what is no results
    folder; whatever is wrong inside of one is a problem in the report.
    """
    store = Store.open(root)
    root = store.root
    files = look_at_files(root)
    record, more = _run(root, suite)
    problems = [*files.problems, *more]
    if record is None:
        return Report(tuple(problems))
    if not files.sound:
        return Report(tuple(problems), record)
    found, keys = look_at_protocol(record)
    problems += found
    problems += look_at_makers(record, files.made, files.cells)
    strange = sorted(files.cells - {c for m in record.models for c in m.cells.values()})
    if strange:
        problems.append(
            Problem("rows", "cells of the run only", f"{len(strange)} others, as {short(strange[0])}")
        )
    if any(not p.warning for p in found):
        return Report(tuple(problems), record, 0, keys)
    looker = _Looker(store, record, files)
    try:
        problems += looker.look()
    except RobobenchError as error:
        problems.append(Problem("rows", "rows that can be read", reason(error, root)))
    return Report(tuple(problems), record, looker.rows, keys)


def _run(root: Path, suite: str | None) -> tuple[RunRecord | None, list[Problem]]:
    """The run that is asked for, and what is the matter with there being none, or several."""
    records, problems = [], []
    for path in sorted((root / "runs").glob("*.json")):
        try:
            records.append(from_json(read_json(path)))
        except StoreError:
            continue  # is among the problems of the files
    chosen = sorted((r for r in records if suite in (None, r.suite)), key=lambda r: r.turn)
    if not chosen:
        named = "a run" if suite is None else f"a run of {suite!r}"
        problems.append(Problem("runs", named, "none that can be read"))
    if len(records) > 1:
        what = f"{len(records)}; looked at is the newest{'' if suite is None else f' of {suite!r}'}"
        problems.append(Problem("runs", "one run", what, warning=True))
    return (chosen[-1] if chosen else None), problems


@dataclass
class _Looker:
    """Goes through the rows, model by model."""

    store: Store
    record: RunRecord
    files: Files
    rows: int = 0
    labels: Labels = field(default_factory=Labels)

    def look(self) -> Iterator[Problem]:
        """Every problem with the rows. Raises RobobenchError for rows that cannot be read."""
        excused = {f.cell for f in self._failures() if f.unsupported}
        for model in self.record.models:
            found: dict[str, Cell] = {}
            coded = self.store.coded(set(model.cells.values()), _COLUMNS)
            yield from self._complete(model, coded, excused)
            for condition in self.record.conditions:
                cell = self._cell(model, condition, coded)
                if cell is None:
                    continue
                problems = list(self._alone(cell, condition))
                if any(p.expected.startswith("the column") for p in problems):
                    yield from problems
                    continue
                found[condition.name] = cell
                yield from (*problems, *self._beside(model, cell, condition, found))
            yield from look_at_ladders(found, self.record.conditions)
            yield from _declared(model, found)
            yield from self._pictures(model, found)
        companions = {c.data for c in self.record.conditions if c.companion}  # some images of another order
        for data in self.record.data:
            if data.name not in companions:
                yield from self.labels.look_at_order(data, self.record.seed)

    def _failures(self) -> Sequence[CellFailure]:
        return self.store.failures({c for m in self.record.models for c in m.cells.values()})

    def _complete(self, model: ModelRecord, coded: Coded, excused: set[str]) -> Iterator[Problem]:
        """Every image just once: what is there twice cannot be read, see `Store.coded`."""
        wanted = images_by_cell(self.record, model)
        names = {
            key: name for name, key in reversed(list(model.cells.items()))
        }  # equal conditions are one cell
        for key, name in names.items():
            where = f"{model.name}, {name}"
            there = {coded.images[i] for i in coded.places.get(key, ())}
            self.rows += len(there)
            lacking, strange = wanted[key] - there, there - wanted[key]
            if lacking:
                got = f"{len(lacking)} missing, as {short(min(lacking))!r}"
                known = key in excused
                why = " (the model cannot do this by its build)" if known else ""
                yield Problem(where, f"rows of {len(wanted[key])} images", got + why, warning=known)
            if strange:
                got = f"{len(strange)} others, as {short(min(strange))!r}"
                yield Problem(where, "rows of the run's images only", got)

    def _cell(self, model: ModelRecord, condition: Condition, coded: Coded) -> Cell | None:
        key = model.cells[condition.name]
        if key not in coded.tables:
            return None
        table = coded.tables[key]
        data = next(d for d in self.record.data if d.name == condition.data)
        images = np.array([coded.images[i] for i in coded.places[key]], np.str_)
        columns = {name: as_array(table[name]) for name in table.column_names}
        return Cell(f"{model.name}, {condition.name}", data, images, columns)

    def _alone(self, cell: Cell, condition: Condition) -> Iterator[Problem]:
        yield from look_at_rows(cell)
        if condition.attack is not None:
            yield from look_at_attack(cell, condition)

    def _warned(self) -> Iterator[MadeModel]:
        """Models about which something was seen while they ran."""
        return (m.provenance.model for m in self.files.made if m.provenance.model.warning)

    def _beside(
        self, model: ModelRecord, cell: Cell, condition: Condition, found: dict[str, Cell]
    ) -> Iterator[Problem]:
        """A cell beside those of the same model that came before it."""
        yield from self.labels.look(cell)
        if condition.attack is None:
            return
        if condition.lower and condition.lower[-1] in found:
            yield from look_at_smaller(cell, found[condition.lower[-1]])
        clean = next(
            (found[c.name] for c in self.record.conditions
             if c.data == condition.data and not c.steps and c.name in found), None
        )  # fmt: skip
        if clean is not None and len(condition.steps) == 1:
            doubted = model.digest in {m.digest for m in self._warned()}  # its answers may be random
            yield from (replace(p, warning=doubted) for p in look_at_clean(cell, clean))
        elif clean is not None:
            yield from look_at_rise(cell, clean)

    def _pictures(self, model: ModelRecord, found: dict[str, Cell]) -> Iterator[Problem]:
        """Kept attacked images: whole, in range, and fallen where their rows say so."""
        files = self.store.image_files(model.cells.values())
        for condition in self.record.conditions:
            cell = found.get(condition.name)
            for path in files[model.cells[condition.name]] if cell is not None else ():
                kept = self.store.images(path)
                pixels = kept.pixels(kept.ids)
                where = f"{model.name}, {condition.name}: kept images"
                if not bool(np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
                    yield Problem(where, "pixels in [0, 1]", "others")
                fell = dict(zip(cell.images.tolist(), fallen(cell).tolist(), strict=True)) if cell else {}
                wrong = [i for i, down in zip(kept.ids, kept.fell, strict=True) if fell.get(i, down) != down]
                if wrong:
                    got = f"{len(wrong)} otherwise, as {short(wrong[0])!r}"
                    yield Problem(where, "to have fallen where the rows say so", got)


def _declared(model: ModelRecord, found: dict[str, Cell]) -> Iterator[Problem]:
    """The clean accuracy that the author declares beside the one measured."""
    cell = found.get(CLEAN)
    if cell is None or model.clean_accuracy is None:
        return
    right, n = int((cell.columns["hit"] == 0).sum()), cell.images.size
    low, high = (float(v) for v in clopper_pearson(right, n, _LEVEL))
    if not low <= model.clean_accuracy <= high:
        expected = f"about {model.clean_accuracy:.1%} right on clean images, as declared"
        yield Problem(cell.where, expected, f"{right / n:.1%} of {n} [{low:.1%}, {high:.1%}]", warning=True)
