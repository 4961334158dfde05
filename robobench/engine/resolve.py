"""Suite + models -> who and what exactly: identities, ids and visiting orders. No torch, no decoding."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from robobench import registry
from robobench.contracts import DataSource, LoadedModel
from robobench.draws import image_key
from robobench.engine.demands import check_demands, check_extra, check_truth
from robobench.engine.splits import check_apart, split
from robobench.errors import DataError, ModelError
from robobench.keys import digest
from robobench.specs import parse_spec, public_path
from robobench.suite.expand import SELF
from robobench.suite.load import substitute
from robobench.suite.suite import BASE, DataEntry, ModelEntry, PreparationEntry, Suite
from robobench.types import CLEAN, Cell, Condition, DataIndex, Json, LabelSpace, ModelId, Step, View

PRECISION = "float32"

Excluded = Callable[[str], Mapping[str, str]]  # data revision -> images that cannot be decoded


@dataclass(frozen=True)
class ResolvedModel:
    """A model's identity and how to get it."""

    id: ModelId
    load: Callable[[str], LoadedModel]


@dataclass(frozen=True)
class DataSet:
    """A data set as the conditions see it.

    visiting: all ids in visiting order. order: its prefix that is evaluated, undecodable ones
    included. view: None where each model has its own. everything: all ids of the source, for donors.
    accepted, facts: as in `DataIndex`, both by id.
    """

    name: str
    title: str
    source: DataSource
    space: LabelSpace
    revision: str
    view: View | None
    visiting: tuple[str, ...]
    order: tuple[str, ...]
    labels: Mapping[str, int]
    excluded: Mapping[str, str]
    everything: tuple[str, ...]
    sized: bool = False  # models are asked at the size of this view, or do not take part
    accepted: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    truth: str | None = None  # digest of these two, where there are any

    @property
    def ids(self) -> tuple[str, ...]:
        """What is evaluated: the order without images that cannot be decoded."""
        return tuple(i for i in self.order if i not in self.excluded) if self.excluded else self.order

    def prefix(self, limit: int | None) -> tuple[str, ...]:
        """A condition's own images: a prefix of the order."""
        if limit is None:
            return self.ids
        return tuple(i for i in self.order[:limit] if i not in self.excluded)

    @property
    def identity(self) -> str:
        """Digest of what the images and their read-out are; of no limit."""
        space = {k: v for k, v in asdict(self.space).items() if k not in ("parent", "within")}
        known = () if self.truth is None else (self.truth,)
        return digest(self.revision, space, self.view, *known)


@dataclass(frozen=True)
class Resolved:
    """A suite with its models and data at hand."""

    suite: Suite
    models: tuple[ResolvedModel, ...]
    data: Mapping[str, DataSet]
    conditions: tuple[Condition, ...]
    helpers: Mapping[str, ResolvedModel]  # models that only preparations name, by SPEC
    revisions: Mapping[str, str] = field(default_factory=dict)  # of the files that preparations read
    splits: Mapping[str, DataSet] = field(default_factory=dict)  # what preparations of a split are made from

    def ids(self, condition: Condition) -> tuple[str, ...]:
        return self.data[condition.data].prefix(condition.limit)

    @property
    def fingerprint(self) -> str:
        """What must be equal for two results to stand on one board."""
        sets = {n: [d.identity, digest(d.ids)] for n, d in self.data.items()}
        made_from = {f"preparation {n}": [d.identity, digest(d.ids)] for n, d in self.splits.items()}
        return digest(self.suite.digest, sets | made_from, PRECISION)

    def made_from(self, entry: PreparationEntry, data: DataSet) -> DataSet:
        """The images a preparation is made from when it is used on these: its split, seen as they are."""
        split = self.splits.get(entry.name)
        if split is None:
            return data
        return replace(split, view=data.view, sized=True) if data.sized else split

    def preparation_key(self, entry: PreparationEntry, model: ModelId, data: DataSet) -> str:
        """Digest of what a preparation depends on; one over a whole split depends on its images too."""
        data = self.made_from(entry, data)
        who = None if entry.model is None else self.preparing_model(entry, model).digest
        if data.view is None and who != model.digest:  # it sees images as the evaluated model does
            who = digest(who, model.digest)
        split = None if per_image(entry) else digest(data.ids)
        suite = self.suite
        params = entry.params
        if entry.name in self.revisions:  # what is in the files counts, not where they lie
            said = {k: v for k, v in params.items() if k not in ("path", "images")}
            params = {**said, "files": self.revisions[entry.name]}
        return digest(entry.plugin, entry.version, params, who, data.identity, split, suite.seed, suite.lot)

    def preparing_model(self, entry: PreparationEntry, model: ModelId) -> ModelId:
        return model if entry.model == SELF else self.helpers[str(entry.model)].id


def resolve(
    suite: Suite,
    models: Sequence[ModelEntry | ResolvedModel] = (),
    *,
    data: str | DataEntry | None = None,
    limit: int | None = None,
    allow_code: bool = False,
    excluded: Excluded = lambda _: {},
) -> Resolved:
    """Find every model and data set. Raises ModelError, DataError and UnknownName.

    models: instead of the suite's. data: a SPEC instead of the suite's base data. limit: at most so
    many images of each data set.
    """
    chosen = models or suite.models
    if not chosen:
        raise ModelError(f"suite {suite.name!r} names no models: give some with --model SPEC")
    found = tuple(m if isinstance(m, ResolvedModel) else identify(m, allow_code) for m in chosen)
    _check_distinct(found)
    sets: dict[str, DataSet] = {}
    for entry in suite.data:
        if entry.same_as_base:
            sets[entry.name] = through_view(sets[BASE], entry)
        else:
            sets[entry.name] = data_set(suite, entry, data, limit, excluded)
    conditions = _with_companions(suite, sets)
    check_demands(conditions, {n: d.space for n, d in sets.items()})
    check_truth(conditions, sets)
    for made in suite.preparations:
        check_extra(registry.find_preparation(made.plugin).cls, f"preparation {made.name!r}: {made.plugin}")
    named = {p.model for p in suite.preparations} - {None, SELF}
    helpers = {str(spec): identify(ModelEntry(str(spec)), allow_code) for spec in named}
    own = {
        entry.name: split(entry, sets[BASE], lambda asked: data_set(suite, asked, excluded=excluded))
        for entry in suite.preparations
        if entry.has_split
    }
    check_apart(own, sets, conditions)
    return Resolved(suite, found, sets, conditions, helpers, revisions(suite), own)


def preparation(entry: PreparationEntry) -> Any:
    """A preparation, with the environment variables in its parameters looked up."""
    return registry.build_preparation(entry.plugin, substitute(entry.params), strict=False)


def per_image(entry: PreparationEntry) -> bool:
    """Whether a preparation makes something for each image; an attack does."""
    plugin = registry.find_preparation(entry.plugin)
    return plugin.kind == registry.attacks.kind or bool(plugin.cls.per_image)


def revisions(suite: Suite) -> dict[str, str]:
    """Digests of the files of those preparations that read some. Raises DataError."""
    return {
        entry.name: str(preparation(entry).revision())
        for entry in suite.preparations
        if hasattr(registry.find_preparation(entry.plugin).cls, "revision")
    }


def identify(entry: ModelEntry, allow_code: bool) -> ResolvedModel:
    """Who a model is, by its source, and how to load it. Raises UnknownName and ModelError."""
    spec = parse_spec(entry.spec, code_source="python")
    source = registry.models.build(spec.source)
    who: ModelId = source.identify(spec, allow_code=allow_code or entry.trusted)
    who = replace(
        who,
        name=entry.name or who.name,
        family=entry.family or who.family,
        clean_accuracy=entry.clean_accuracy if entry.clean_accuracy is not None else who.clean_accuracy,
        citation=entry.citation or who.citation,
    )
    return ResolvedModel(who, lambda device: source.load(who, device))


def cells(resolved: Resolved) -> tuple[Cell, ...]:
    """Every model under every condition."""
    found = []
    for model in resolved.models:
        keys: dict[str, str] = {}
        for condition in resolved.conditions:
            lower = tuple(keys[name] for name in condition.lower)
            keys[condition.name] = _cell_key(resolved, model.id, condition, lower)
            found.append(Cell(keys[condition.name], model.id, condition, lower))
    return tuple(found)


def _cell_key(resolved: Resolved, model: ModelId, condition: Condition, lower: tuple[str, ...]) -> str:
    data = resolved.data[condition.data]
    prepared = {entry.name: entry for entry in resolved.suite.preparations}
    steps = [
        {
            "name": s.name,
            "version": s.version,
            "params": step_params(s),
            "inputs": {k: resolved.preparation_key(prepared[v], model, data) for k, v in s.inputs.items()},
        }
        for s in condition.steps
    ]
    kept = {} if resolved.suite.store is None else {"store": resolved.suite.store}
    return digest(
        kept
        | {
            "model": model.digest,
            "data": data.identity,
            "steps": steps,
            "worst_of": condition.worst_of,
            "lower": lower,
            "lot": resolved.suite.lot if condition.attack else None,
            "seed": resolved.suite.seed,
            "precision": PRECISION,
        }
    )


def step_params(step: Step) -> Mapping[str, Json]:
    """A step's parameters as they enter keys: of files that it reads the content counts, not the place."""
    cls = registry.find_step(step.name).cls
    revision = registry.instance_of(step).revision() if hasattr(cls, "revision") else None
    if revision is None:
        return step.params
    return {**{k: v for k, v in step.params.items() if k not in cls.paths}, "files": revision}


@lru_cache(maxsize=8)  # the 95 stored sets of a corruption benchmark have the same images
def visiting_order(ids: tuple[str, ...], labels: tuple[int, ...], seed: int) -> tuple[str, ...]:
    """A seeded, class-balanced order: every prefix holds each class as evenly as the data allow.

    Within a class, images come in the order of a keyed hash of their id; the classes take turns, in
    an order that is drawn anew for every round.
    """
    by_class: dict[int, list[str]] = defaultdict(list)
    for image, label in zip(ids, labels, strict=True):
        by_class[label].append(image)
    for members in by_class.values():
        members.sort(key=lambda i: (image_key(seed, "order", 0, 0, "image", i), i))
    ranked = (
        (turn, image_key(seed, "order", 0, turn, "class", str(label)), label, image)
        for label, members in by_class.items()
        for turn, image in enumerate(members)
    )
    return tuple(image for *_, image in sorted(ranked))


def through_view(base: DataSet, entry: DataEntry) -> DataSet:
    """The base data set, seen through a condition's own view."""
    return replace(base, name=entry.name, view=entry.view, sized=True)


def data_set(
    suite: Suite,
    entry: DataEntry,
    override: str | DataEntry | None = None,
    limit: int | None = None,
    excluded: Excluded = lambda _: {},
) -> DataSet:
    """One data set of a suite, with the base's place taken by `override`. Raises DataError."""
    strict = True
    if override is not None and entry.name == BASE:
        if isinstance(override, str):
            spec = parse_spec(override)
            params: dict[str, Any] = dict(spec.params)
            own_limit = params.pop("limit", None)
            override = DataEntry(BASE, spec.source, {"path": spec.path, **params}, _limit(own_limit))
            strict = False
        entry = replace(override, limit=override.limit or entry.limit)
    values = substitute(entry.params)
    source: DataSource = registry.data.build(entry.source, values, strict=strict)
    index: DataIndex = source.index()
    order = visiting_order(index.ids, index.labels, suite.seed)
    limits = [v for v in (entry.limit, limit) if v is not None]
    return DataSet(
        name=entry.name,
        title=public_title(replace(entry, params=values)),
        source=source,
        space=index.space,
        revision=index.revision,
        view=next((v for v in (entry.view, index.view) if v is not None), suite.view),
        visiting=order,
        order=order[: min(limits)] if limits else order,
        labels=dict(zip(index.ids, index.labels, strict=True)),
        excluded={**index.excluded, **excluded(index.revision)},
        everything=tuple(sorted(index.ids)),
        sized=entry.view is not None,
        accepted=index.accepted,
        facts={k: dict(zip(index.ids, v, strict=True)) for k, v in index.facts.items()},
        truth=_truth(index),
    )


def _truth(index: DataIndex) -> str | None:
    """A digest of the facts of images and of the acceptable classes, where there are any."""
    if not (index.accepted or index.facts):
        return None
    facts = {k: [None if math.isnan(x) else x for x in v] for k, v in index.facts.items()}
    return digest(index.accepted, index.ids if facts else (), facts)


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdigit() or int(text) < 1:
        raise DataError(f"limit={text}: expected a number of images above 0")
    return int(text)


def public_title(entry: DataEntry) -> str:
    """A data set's SPEC without its machine."""
    path = public_path(str(entry.params.get("path", "")))
    return public_path(replace(entry, params={**entry.params, "path": path}).title)


def _with_companions(suite: Suite, sets: dict[str, DataSet]) -> tuple[Condition, ...]:
    """Beside each shift read out of a part of the base's label space: clean, on the same classes."""
    base = sets[BASE]
    extra = []
    for name in list(sets):
        shift = sets[name]
        label = f"{CLEAN}@{shift.space.name}"
        part = classes_within(shift.space)
        if shift.space.parent != base.space.name or part is None or label in sets:
            continue
        where = {output: c for c, outputs in part.items() for output in outputs}
        labels = {i: where[base.labels[i]] for i in base.visiting if base.labels[i] in where}
        order = tuple(i for i in base.order if i in labels)
        if not order:  # a small limit: nothing of the base lies in the shift's classes
            continue
        sets[label] = replace(
            base,
            name=label,
            space=shift.space,
            labels=labels,
            accepted=_within(base.accepted, labels, where),
            visiting=tuple(i for i in base.visiting if i in labels),
            order=order,
        )
        extra.append(Condition(name=label, ladder=CLEAN, data=label, companion=True))
    return (*suite.conditions, *extra)


def _within(
    accepted: Mapping[str, tuple[int, ...]], labels: Mapping[str, int], where: Mapping[int, int]
) -> dict[str, tuple[int, ...]]:
    """The acceptable classes of some images, as classes of another read-out; those outside of it are none."""
    return {
        image: tuple(dict.fromkeys(where[c] for c in classes if c in where))
        for image, classes in accepted.items()
        if image in labels
    }


def classes_within(space: LabelSpace) -> Mapping[int, tuple[int, ...]] | None:
    """The model outputs behind each class that images have; None where those are simply all."""
    if space.within is not None:
        groups = space.groups or tuple((c,) for c in range(space.outputs))
        return {c: groups[c] for c in space.within}
    return None if space.groups is None else dict(enumerate(space.groups))


def _check_distinct(models: Sequence[ResolvedModel]) -> None:
    names: dict[str, str] = {}
    for model in models:
        if model.id.name in names:
            same = "twice" if names[model.id.name] == model.id.digest else "for two models"
            raise ModelError(f"the name {model.id.name!r} is given {same}: name them apart, or leave one out")
        names[model.id.name] = model.id.digest
