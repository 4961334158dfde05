"""The protocol of a run as data: what its results are scored from later, without models, data or torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any

from robobench.engine.provenance import versions
from robobench.engine.resolve import Resolved, cells
from robobench.engine.stopping import RULE, Stopping
from robobench.keys import canonical, plain
from robobench.registry import find_preparation
from robobench.specs import public_path
from robobench.suite.expand import SELF
from robobench.suite.suite import BASE, PreparationEntry, ScoreSpec, SummarySpec
from robobench.types import Condition, Json, Step, Yardstick, finite

FORMAT = 3
_RADII = ("eps", "alpha")  # parameters that are written in steps of 8 bits


@dataclass(frozen=True)
class DataRecord:
    """A data set of a run. order: its images in visiting order; excluded: those that cannot be decoded."""

    name: str
    title: str
    space: str
    classes: int
    revision: str
    view: str
    order: tuple[str, ...]
    excluded: tuple[str, ...]


@dataclass(frozen=True)
class Stop:
    """Why a model saw a part of a data set only: how many images of its order, and the rule that ended it."""

    images: int
    precision: float
    rule: str


@dataclass(frozen=True)
class ModelRecord:
    """A model of a run and the keys of its cells by condition name. stopped: by data set."""

    name: str
    digest: str
    family: str | None
    clean_accuracy: float | None
    citation: str | None
    cells: Mapping[str, str]
    stopped: Mapping[str, Stop] = field(default_factory=dict)


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

    def images(self, condition: Condition, model: ModelRecord | None = None) -> tuple[str, ...]:
        """The images that a condition should have; of a model up to where it stopped."""
        data = next(d for d in self.data if d.name == condition.data)
        gone = set(data.excluded)
        stop = None if model is None else model.stopped.get(condition.data)
        order = (
            data.order[: condition.limit] if stop is None else data.order[: stop.images][: condition.limit]
        )
        return tuple(i for i in order if i not in gone)


def record_of(resolved: Resolved, command: str, stopping: Stopping | None = None) -> RunRecord:
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
        data=tuple(
            DataRecord(
                name=d.name,
                title=d.title,
                space=d.space.name,
                classes=len(d.space.classes),
                revision=d.revision,
                view="each model's own" if d.view is None else str(d.view),
                order=d.order,
                excluded=tuple(sorted(set(d.excluded) & set(d.order))),
            )
            for d in sorted(resolved.data.values(), key=lambda d: (d.name != BASE, d.name))
        ),
        models=tuple(
            ModelRecord(
                m.id.name,
                m.id.digest,
                m.id.family,
                m.id.clean_accuracy,
                m.id.citation,
                keys[m.id.digest],
                _stops(m.id.digest, stopping),
            )
            for m in resolved.models
        ),
        command=command,
        sources=_sources(resolved),
        summaries=suite.summaries,
    )


def _stops(model: str, stopping: Stopping | None) -> dict[str, Stop]:
    """Where a model stopped, by data set."""
    if stopping is None:
        return {}
    ends = {data: end for (who, data), end in stopping.ends.items() if who == model}
    return {data: Stop(end, stopping.precision, RULE) for data, end in ends.items() if end is not None}


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
    """The record again. Raises KeyError or TypeError for something else."""
    values = {k: v for k, v in content.items() if k != "versions"}
    values["score"] = ScoreSpec(**values["score"])
    values["metrics"] = tuple(values["metrics"])
    values["summaries"] = tuple(SummarySpec(**s) for s in values.get("summaries", ()))
    values["conditions"] = tuple(_condition(c) for c in values["conditions"])
    data: dict[str, DataRecord] = {}
    for given in values["data"]:
        order = given["order"]
        order = data[order].order if isinstance(order, str) else tuple(order)
        excluded = tuple(given["excluded"])
        data[given["name"]] = DataRecord(**{**given, "order": order, "excluded": excluded})
    values["data"] = tuple(data.values())
    values["models"] = tuple(
        ModelRecord(**{**m, "stopped": {n: Stop(**s) for n, s in m.get("stopped", {}).items()}})
        for m in values["models"]
    )
    values["sources"] = {n: SourceRecord(**s) for n, s in values.get("sources", {}).items()}
    values["yardsticks"] = {
        n: Yardstick(math.inf if y["psnr"] is None else y["psnr"],
                     math.nan if y["ssim"] is None else y["ssim"], y["images"])
        for n, y in values.get("yardsticks", {}).items()
    }  # fmt: skip
    return RunRecord(**values)


def merged(old: RunRecord | None, new: RunRecord) -> RunRecord:
    """The models of both, a name standing for its newest model; everything else as it is now."""
    if old is None:
        return new
    mine = {v for m in new.models for v in (m.digest, m.name)}
    kept = (m for m in old.models if m.digest not in mine and m.name not in mine)
    return replace(new, models=(*kept, *new.models))


def _condition(content: Mapping[str, Json]) -> Condition:
    values: dict[str, Any] = dict(content)
    values["steps"] = tuple(Step(**s) for s in values["steps"])
    values["lower"] = tuple(values["lower"])
    return Condition(**values)
