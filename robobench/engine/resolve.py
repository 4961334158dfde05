"""Suite + models -> who and what exactly: identities and keys. No torch, no decoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from robobench import registry
from robobench.contracts import LoadedModel
from robobench.engine.demands import check_demands, check_extra, check_truth
from robobench.engine.sets import DataSet, Excluded, data_set, through_view, with_companions
from robobench.engine.splits import check_apart, split
from robobench.errors import ModelError
from robobench.keys import digest
from robobench.specs import parse_spec
from robobench.suite.expand import SELF
from robobench.suite.load import substitute
from robobench.suite.suite import BASE, DataEntry, ModelEntry, PreparationEntry, Suite
from robobench.types import Cell, Condition, Json, ModelId, Step

PRECISION = "float32"


@dataclass(frozen=True)
class ResolvedModel:
    """A model's identity and how to get it. spec: as it was asked for; None for a module in memory.

    holds_weights: whether other weights are another identity, see `robobench.contracts.ModelSource`.
    """

    id: ModelId
    load: Callable[[str], LoadedModel]
    spec: str | None = None
    holds_weights: bool = True


@dataclass(frozen=True)
class Resolved:
    """A suite with its models and data at hand. asked_data, asked_limit: what it was resolved with."""

    suite: Suite
    models: tuple[ResolvedModel, ...]
    data: Mapping[str, DataSet]
    conditions: tuple[Condition, ...]
    helpers: Mapping[str, ResolvedModel]  # models that only preparations name, by SPEC
    revisions: Mapping[str, str] = field(default_factory=dict)  # of the files that preparations read
    splits: Mapping[str, DataSet] = field(default_factory=dict)  # what preparations of a split are made from
    asked_data: str | None = None
    asked_limit: int | None = None

    def ids(self, condition: Condition) -> tuple[str, ...]:
        return self.data[condition.data].prefix(condition.limit)

    @property
    def fingerprint(self) -> str:
        """What must be equal for two results to stand on one board."""
        return fingerprint(
            self.suite.digest,
            {n: (d.identity, digest(d.ids)) for n, d in self.data.items()},
            {n: (d.identity, digest(d.ids)) for n, d in self.splits.items()},
        )

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


def fingerprint(
    suite: str, data: Mapping[str, tuple[str, str]], splits: Mapping[str, tuple[str, str]]
) -> str:
    """The digest of a protocol: of its suite, and for each data set of what and which its images are."""
    sets = {n: list(pair) for n, pair in data.items()}
    made_from = {f"preparation {n}": list(pair) for n, pair in splits.items()}
    return digest(suite, sets | made_from, PRECISION)


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
    conditions = with_companions(suite, sets)
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
    asked = data.title if isinstance(data, DataEntry) else data
    return Resolved(suite, found, sets, conditions, helpers, revisions(suite), own, asked, limit)


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
    holds_weights = getattr(source, "holds_weights", True)
    return ResolvedModel(who, lambda device: source.load(who, device), entry.spec, holds_weights)


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
    return cell_key(resolved.suite, model.digest, data.identity, condition, steps, lower)


def cell_key(
    suite: Suite,
    model: str,
    data: str,
    condition: Condition,
    steps: Sequence[Mapping[str, Any]],
    lower: Sequence[str],
) -> str:
    """The key of a cell.

    model, data: their digests. steps: as they enter keys. lower: the keys of the smaller levels.
    """
    kept = {} if suite.store is None else {"store": suite.store}
    return digest(
        kept
        | {
            "model": model,
            "data": data,
            "steps": steps,
            "worst_of": condition.worst_of,
            "lower": lower,
            "lot": suite.lot if condition.attack else None,
            "seed": suite.seed,
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


def _check_distinct(models: Sequence[ResolvedModel]) -> None:
    names: dict[str, str] = {}
    for model in models:
        if model.id.name in names:
            same = "twice" if names[model.id.name] == model.id.digest else "for two models"
            raise ModelError(f"the name {model.id.name!r} is given {same}: name them apart, or leave one out")
        names[model.id.name] = model.id.digest
