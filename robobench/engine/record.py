"""The protocol of a run as data: what its results are scored from later, without models, data or torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from robobench.engine.provenance import versions
from robobench.engine.resolve import Resolved, cells, fingerprint
from robobench.engine.sets import DataSet
from robobench.engine.stopping import StopRule
from robobench.errors import StoreError
from robobench.keys import canonical, digest, is_name, plain
from robobench.registry import find_preparation
from robobench.specs import public_path
from robobench.suite.expand import SELF
from robobench.suite.suite import BASE, PreparationEntry, ScoreSpec, Suite, SummarySpec
from robobench.typed_json import checked, value
from robobench.types import Condition, Json, Yardstick, finite

FORMAT = 4
_RADII = ("eps", "alpha")  # parameters that are written in steps of 8 bits


@dataclass(frozen=True)
class DataRecord:
    """A data set of a run. order: its images in visiting order; excluded: those that cannot be decoded.

    identity: digest of what its images and their read-out are; answers, truth: of two parts of that, the
    label space, and the images' facts and acceptable classes. Empty in records of formats before 4.
    """

    name: str
    title: str
    space: str
    classes: int
    revision: str
    view: str
    order: tuple[str, ...]
    excluded: tuple[str, ...]
    identity: str = ""
    answers: str = ""
    truth: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        """What is evaluated: the order without images that cannot be decoded."""
        gone = set(self.excluded)
        return tuple(i for i in self.order if i not in gone)


@dataclass(frozen=True)
class SplitRecord:
    """What a preparation was made from: digests of what those images are, and of which they are."""

    identity: str
    images: str
    revision: str
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """What a run can be made again from.

    suite: spelled out, its `${VARIABLES}` as they were written. data: the SPEC in place of the suite's own
    data. limit: images of each data set at most.
    """

    suite: Suite
    data: str | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Stop:
    """Why a model saw a part of a data set only: how many images of its order, and the rule that ended it.

    precision: what was aimed at; None where a gate was settled.
    """

    images: int
    precision: float | None
    rule: str


@dataclass(frozen=True)
class ModelRecord:
    """A model of a run and the keys of its cells by condition name. stopped: by data set.

    spec: as it was asked for, None for a module in memory. precision: at which it could stop early.
    """

    name: str
    digest: str
    family: str | None
    clean_accuracy: float | None
    citation: str | None
    cells: Mapping[str, str]
    stopped: Mapping[str, Stop] = field(default_factory=dict)
    spec: str | None = None
    precision: float | None = None

    @property
    def gated(self) -> bool:
        """Whether it ran only until a gate was settled."""
        return any(s.precision is None for s in self.stopped.values())


@dataclass(frozen=True)
class SourceRecord:
    """The model that a condition's images were made against, where it is named, and how they were made."""

    model: str
    digest: str
    made: str


@dataclass(frozen=True)
class RunRecord:
    """Everything a board needs besides the rows. `turn` grows with each run, the newest has the largest."""

    fingerprint: str
    suite: str
    title: str
    description: str
    citation: str | None
    suite_digest: str
    seed: int
    lot: int
    metrics: tuple[str, ...]
    score: ScoreSpec
    conditions: tuple[Condition, ...]
    data: tuple[DataRecord, ...]
    models: tuple[ModelRecord, ...]
    command: str
    yardsticks: Mapping[str, Yardstick] = field(default_factory=dict)  # by condition
    sources: Mapping[str, SourceRecord] = field(default_factory=dict)  # by condition
    turn: int = 0
    format: int = FORMAT
    summaries: tuple[SummarySpec, ...] = ()
    recipe: Recipe | None = None  # none in formats before 4
    splits: Mapping[str, SplitRecord] = field(default_factory=dict)  # by preparation
    class_names: tuple[str, ...] = ()  # of the base's label space; none in formats before 4

    @property
    def protocol(self) -> str | None:
        """The fingerprint, computed again; None where a record of an older format lacks what it needs."""
        if not all(d.identity for d in self.data):
            return None
        data = {d.name: (d.identity, digest(d.ids)) for d in self.data}
        return fingerprint(
            self.suite_digest, data, {n: (s.identity, s.images) for n, s in self.splits.items()}
        )

    def images(self, condition: Condition, model: ModelRecord | None = None) -> tuple[str, ...]:
        """The images that a condition should have; of a model up to where it stopped."""
        data = next(d for d in self.data if d.name == condition.data)
        gone = set(data.excluded)
        stop = None if model is None else model.stopped.get(condition.data)
        order = (
            data.order[: condition.limit] if stop is None else data.order[: stop.images][: condition.limit]
        )
        return tuple(i for i in order if i not in gone)


def record_of(resolved: Resolved, command: str, stopping: StopRule | None = None) -> RunRecord:
    """The record of a resolved suite, and of where its models stopped."""
    suite = resolved.suite
    keys: dict[str, dict[str, str]] = {}
    for cell in cells(resolved):
        keys.setdefault(cell.model.digest, {})[cell.condition.name] = cell.key
    return RunRecord(
        fingerprint=resolved.fingerprint,
        suite=suite.name,
        title=suite.title,
        description=suite.description,
        citation=suite.citation,
        suite_digest=suite.digest,
        seed=suite.seed,
        lot=suite.lot,
        metrics=suite.metrics,
        score=suite.score,
        conditions=resolved.conditions,
        data=tuple(_data(d) for d in sorted(resolved.data.values(), key=lambda d: (d.name != BASE, d.name))),
        models=tuple(
            ModelRecord(
                m.id.name,
                m.id.digest,
                m.id.family,
                m.id.clean_accuracy,
                m.id.citation,
                keys[m.id.digest],
                _stops(m.id.digest, stopping),
                m.spec,
                None if stopping is None else stopping.precision,
            )
            for m in resolved.models
        ),
        command=command,
        sources=_sources(resolved),
        summaries=suite.summaries,
        recipe=Recipe(replace(suite, origin=""), resolved.asked_data, resolved.asked_limit),
        splits={
            n: SplitRecord(d.identity, digest(d.ids), d.revision, tuple(sorted(d.excluded)))
            for n, d in resolved.splits.items()
        },
        class_names=resolved.data[BASE].space.classes,
    )


def _data(data: DataSet) -> DataRecord:
    return DataRecord(
        name=data.name,
        title=data.title,
        space=data.space.name,
        classes=len(data.space.classes),
        revision=data.revision,
        view="each model's own" if data.view is None else str(data.view),
        order=data.order,
        excluded=tuple(sorted(set(data.excluded) & set(data.order))),
        identity=data.identity,
        answers=digest(data.answers),
        truth=data.truth or "",
    )


def _stops(model: str, stopping: StopRule | None) -> dict[str, Stop]:
    """Where a model stopped, by data set."""
    if stopping is None:
        return {}
    ends = {data: end for (who, data), end in stopping.ends.items() if who == model}
    return {
        data: Stop(end, stopping.precision, stopping.rule) for data, end in ends.items() if end is not None
    }


def _sources(resolved: Resolved) -> dict[str, SourceRecord]:
    """Of conditions whose perturbations show what a named model was used to make."""
    entries = {e.name: e for e in resolved.suite.preparations if e.model not in (None, SELF)}
    found = {}
    for condition in resolved.conditions:
        steps = [s for s in condition.steps if s.kind == "perturbation"]
        used = [entries[name] for s in steps for name in s.inputs.values() if name in entries]
        if used:
            who = resolved.helpers[str(used[0].model)].id
            found[condition.name] = SourceRecord(who.name, who.digest, _made(used[0]))
    return found


def _made(entry: PreparationEntry) -> str:
    """A preparation in words: its name, and the parameters that are not at their defaults."""
    options = fields(find_preparation(entry.plugin).cls)
    usual = {f.name: plain(f.default) for f in options if f.default is not MISSING}
    said = [f"{k}: {_said(k, v)}" for k, v in entry.params.items() if k not in usual or v != usual[k]]
    if entry.data is not None:
        said.append(f"on {public_path(entry.data.title)}")
    return f"{entry.plugin} v{entry.version}" + (f" ({', '.join(said)})" if said else "")


def _said(name: str, value: Json) -> str:
    """A radius in steps of 8 bits, as it is mostly written; everything else as it is."""
    if name in _RADII and isinstance(value, float):
        steps = round(value * 255)
        if steps and math.isclose(value * 255, steps):
            return f"{steps}/255"
    return value if isinstance(value, str) else canonical(value)


def to_json(record: RunRecord) -> dict[str, Any]:
    """As JSON types, with the versions of the packages that were there.

    A data set that is visited as an earlier one is has that one's name in place of its order: the 95 sets of
    ImageNet-C would otherwise write their 50,000 ids each.
    """
    first: dict[tuple[str, ...], str] = {}
    data = [
        {
            **asdict(replace(d, order=())),
            "order": d.order if first.setdefault(d.order, d.name) == d.name else first[d.order],
        }
        for d in record.data
    ]
    marks = {n: {k: v if isinstance(v, int) else finite(v) for k, v in asdict(y).items()}
             for n, y in record.yardsticks.items()}  # fmt: skip
    whole = asdict(replace(record, data=(), yardsticks={}))
    return {**whole, "data": data, "yardsticks": marks, "versions": dict(versions())}


def from_json(content: Mapping[str, Any]) -> RunRecord:
    """The record again. Raises StoreError for something else, and for a newer format."""
    values = {k: v for k, v in checked(content, dict, "run").items() if k != "versions"}
    version = checked(values.get("format"), int, "run.format")
    if version > FORMAT:
        raise StoreError(
            f"the record of a run in format {version}; this robobench reads formats up to {FORMAT}: "
            "upgrade it (`pip install -U robobench`)"
        )
    values["data"], orders = _without_orders(values.get("data"))
    record: RunRecord = value(values, RunRecord, "run")
    recipe = record.recipe
    if recipe is not None:  # nobody but the one at the command line can say that code may run
        models = tuple(replace(m, trusted=False) for m in recipe.suite.models)
        recipe = replace(recipe, suite=replace(recipe.suite, models=models, origin=""))
    marks = {n: replace(y, psnr=math.inf) if math.isnan(y.psnr) else y for n, y in record.yardsticks.items()}
    data = tuple(replace(d, order=orders[d.name]) for d in record.data)
    _check_keys(record)
    return replace(record, recipe=recipe, yardsticks=marks, data=data)


def _check_keys(record: RunRecord) -> None:
    """What names files in a results folder leads out of none. Raises StoreError."""
    keys = {"run.fingerprint": record.fingerprint}
    for i, model in enumerate(record.models):
        keys |= {f"run.models[{i}].cells.{n}": key for n, key in model.cells.items()}
    revisions = {f"run.data[{i}].revision": d.revision for i, d in enumerate(record.data)}
    revisions |= {f"run.splits.{n}.revision": s.revision for n, s in record.splits.items()}
    wrong = {where: key for where, key in keys.items() if not is_name(key)}
    # a plug-in's revision is any text
    wrong |= {where: text for where, text in revisions.items() if any(c in text for c in "/\\\0")}
    for where, text in wrong.items():
        raise StoreError(f"{where}: expected a key, got {text[:40]!r}")


def read_run(root: Path, run: Mapping[str, Any]) -> RunRecord:
    """One of the runs of a results folder. Raises StoreError, with its file."""
    try:
        return from_json(run)
    except StoreError as error:
        raise StoreError(f"{root / 'runs' / str(run.get('fingerprint'))}.json: {error}") from None


def _without_orders(given: Any) -> tuple[list[Any], dict[str, tuple[str, ...]]]:
    """The data sets without their orders, and those by name: equal ones are one tuple. Raises StoreError."""
    orders: dict[str, tuple[str, ...]] = {}
    rest = []
    for i, one in enumerate(checked(given, list, "run.data")):
        where = f"run.data[{i}]"
        name = checked(checked(one, dict, where).get("name"), str, f"{where}.name")
        order = one.get("order")
        if isinstance(order, str):
            if order not in orders:
                raise StoreError(f"{where}.order: no earlier data set is called {order!r}")
            orders[name] = orders[order]
        else:
            orders[name] = tuple(
                checked(v, str, f"{where}.order") for v in checked(order, (list, tuple), f"{where}.order")
            )
        rest.append({**one, "order": []})
    return rest, orders


def merged(old: RunRecord | None, new: RunRecord) -> RunRecord:
    """The models of both, a name standing for its newest model; everything else as it is now."""
    if old is None:
        return new
    mine = {v for m in new.models for v in (m.digest, m.name)}
    kept = (m for m in old.models if m.digest not in mine and m.name not in mine)
    return replace(new, models=(*kept, *new.models))
