"""A suite: frozen, checked, with every condition spelled out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from robobench.keys import digest, plain
from robobench.types import Condition, Json, View

BASE = "base"  # the name of a suite's own data set among the data sets of its conditions


@dataclass(frozen=True)
class DataEntry:
    """A data set of a suite: a source by name, with checked parameters still as written, and its view."""

    name: str
    source: str
    params: Mapping[str, Json]
    limit: int | None = None
    view: View | None = None  # a condition's own, before the source's and the suite's
    same_as_base: bool = False  # the base data set, whichever it is, through that view

    @property
    def identity(self) -> Mapping[str, Json]:
        """What changes numbers; an option that is not used is not in it, so that old digests stay."""
        said = {"name": self.name, "source": self.source, "params": dict(self.params), "limit": self.limit}
        return said if self.view is None else {**said, "view": plain(self.view)}

    @property
    def title(self) -> str:
        rest = {k: v for k, v in self.params.items() if k != "path"}
        query = "&".join(f"{k}={v}" for k, v in sorted(rest.items()))
        return f"{self.source}:{self.params.get('path', '')}" + (f"?{query}" if query else "")


@dataclass(frozen=True)
class ModelEntry:
    """A model as a suite or a user names it. `trusted`: named by the user, so its code may run."""

    spec: str
    name: str | None = None
    family: str | None = None
    clean_accuracy: float | None = None
    citation: str | None = None
    trusted: bool = False


@dataclass(frozen=True)
class PreparationEntry:
    """A preparation of a suite. `model` is a SPEC, `self` for the evaluated model, or None.

    data: the data set it is made from; skip, limit: that part of the base's visiting order; where all three
    are None it is made from the images it is used on.
    """

    name: str
    plugin: str
    version: int
    params: Mapping[str, Json]
    model: str | None
    data: DataEntry | None = None
    skip: int | None = None
    limit: int | None = None

    @property
    def has_split(self) -> bool:
        """Whether it says which images it is made from."""
        return not (self.data is None and self.skip is None and self.limit is None)

    @property
    def identity(self) -> Mapping[str, Json]:
        """What changes numbers; a split that is not named is not in it, so that old digests stay."""
        said: dict[str, Json] = {
            "name": self.name,
            "plugin": self.plugin,
            "version": self.version,
            "params": dict(self.params),
            "model": self.model,
        }
        if self.data is not None:
            said["data"] = dict(self.data.identity)
        if self.skip is not None or self.limit is not None:
            said["split"] = [self.skip or 0, self.limit]
        return said


@dataclass(frozen=True)
class ScoreSpec:
    """Which number ranks the models. formula: `name` or `name?key=value`."""

    name: str
    formula: str
    over: str
    of: str


@dataclass(frozen=True)
class SummarySpec:
    """A number that is shown beside the score: a formula, `name` or `name?key=value`, of a metric."""

    name: str
    formula: str
    of: str


@dataclass(frozen=True)
class Suite:
    """Data + view + conditions + metrics + score + default models."""

    name: str
    title: str
    data: tuple[DataEntry, ...]  # the base first, then the shifts
    view: View | None  # None: each model's own
    conditions: tuple[Condition, ...]
    metrics: tuple[str, ...]
    score: ScoreSpec
    models: tuple[ModelEntry, ...] = ()
    preparations: tuple[PreparationEntry, ...] = ()
    seed: int = 0
    lot: int = 32
    description: str = ""
    citation: str | None = None
    origin: str = field(default="", compare=False)  # where it was read, for messages
    summaries: tuple[SummarySpec, ...] = ()
    store: str | None = None  # `logits` where every class's logit is kept with the rows
    version: int = 1  # goes up when numbers, or what they mean, change under the same name

    @property
    def digest(self) -> str:
        """Changes with anything that changes a number or its meaning; not with titles or models."""
        unused = {"summaries": (), "store": None, "version": 1}
        later = {k: getattr(self, k) for k, v in unused.items() if getattr(self, k) != v}
        return digest(
            [d.identity for d in self.data],
            self.view,
            self.conditions,
            self.metrics,
            self.score,
            [p.identity for p in self.preparations],
            self.seed,
            self.lot,
            *([later] if later else []),  # options that are not used leave old digests as they were
        )

    def entry(self, name: str) -> DataEntry:
        return next(d for d in self.data if d.name == name)
