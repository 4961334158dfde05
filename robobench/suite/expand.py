"""From the form of a suite to its conditions: ladders unrolled, plug-ins found, parameters checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from pydantic import ValidationError

from robobench.errors import BadParameter, nearest
from robobench.keys import canonical, plain
from robobench.registry import (
    Plugin,
    build_preparation,
    build_step,
    data,
    find_preparation,
    find_step,
    schema,
)
from robobench.specs import public_path
from robobench.suite.health import companions
from robobench.suite.numbers import check_formulas, check_numbers, score_of, summaries_of
from robobench.suite.schema import ConditionPart, DataPart, StepPart, SuitePart, ViewPart
from robobench.suite.suite import (
    BASE,
    DataEntry,
    ModelEntry,
    PreparationEntry,
    Suite,
)
from robobench.suite.yaml_lines import Document, Path
from robobench.types import CLEAN, Condition, Json, Step, View

SELF = "self"


def expand_suite(part: SuitePart, document: Document) -> Suite:
    """Spell a suite out. Raises SuiteError with the line of what is wrong."""
    expander = _Expander(part, document)
    check_numbers(part, document)
    conditions = expander.conditions()
    check_formulas(part, document, conditions)
    return Suite(
        name=part.name,
        title=part.title,
        description=part.description,
        citation=part.citation,
        data=expander.data,
        view=None if isinstance(part.view, str) else expander.view(part.view, {}, ("view",)),
        conditions=conditions,
        metrics=part.metric_names,
        score=score_of(part),
        summaries=summaries_of(part),
        store=None if part.store == "summary" else part.store,
        version=part.version,
        models=tuple(ModelEntry(m.spec, m.name, m.family, m.clean_accuracy, m.citation) for m in part.models),
        preparations=expander.preparations,
        seed=part.seed,
        lot=part.lot,
        origin=document.name,
    )


@dataclass(frozen=True)
class _Built:
    """A step with its instance, as the checks need it."""

    step: Step
    instance: Any


class _Expander:
    def __init__(self, part: SuitePart, document: Document) -> None:
        self.part = part
        self.document = document
        self._data = [self._data_entry(BASE, part.data, ("data",))]
        self.preparations = tuple(self._preparation(name) for name in part.preparations)

    @property
    def data(self) -> tuple[DataEntry, ...]:
        return tuple(self._data)

    def conditions(self) -> tuple[Condition, ...]:
        found = [Condition(name=CLEAN, ladder=CLEAN, data=BASE)]
        for i, part in enumerate(self.part.conditions):
            ladder = list(self._ladder(part, ("conditions", i)))
            if ladder[0].ladder in (BASE, CLEAN) or ladder[0].ladder.startswith(f"{CLEAN}@"):
                raise self.document.error(
                    ("conditions", i), f"the name {ladder[0].ladder!r} is taken by robobench: choose another"
                )
            taken = {c.ladder for c in found}
            if ladder[0].ladder in taken:
                raise self.document.error(
                    ("conditions", i),
                    f"two conditions are called {ladder[0].ladder!r}: give one of them a `name:`",
                )
            found.extend(ladder)
        return tuple(found)

    def _ladder(self, part: ConditionPart, path: Path) -> Iterator[Condition]:
        along, levels = next(iter(part.ladder.items()), (None, (None,)))
        name = part.name or self._default_name(part)
        rungs = []
        for j, level in enumerate(levels):
            built = self._steps(part, along, level, path, j)
            where = self._where(part, name, along, level, path, j)
            rungs.append(
                (
                    built,
                    Condition(
                        name=name if along is None else f"{name} {along}={level}",
                        ladder=name,
                        data=where,
                        steps=tuple(b.step for b in built),
                        along=along,
                        level=level,
                        limit=part.limit,
                        worst_of=part.worst_of,
                    ),
                )
            )
        shapes = [canonical([[s.params for s in c.steps], c.data]) for _, c in rungs]
        if len(set(shapes)) < len(shapes):
            raise self.document.error((*path, "ladder"), f"ladder {along}: a level is given twice")
        self._check_worst_of(part, rungs[0][0], path)
        ladder = tuple(_with_lower(rungs, along))
        yield from ladder
        if part.health:
            yield from self._companions(ladder, path)

    def _companions(self, levels: tuple[Condition, ...], path: Path) -> Iterator[Condition]:
        """The conditions that find out how far an attack's levels can be believed."""
        for level in levels:
            if level.attack is None:
                raise self.document.error((*path, "health"), "health looks at an attack, and there is none")
            yield from companions(level, level.attack, last=level is levels[-1])

    def _check_worst_of(self, part: ConditionPart, built: list[_Built], path: Path) -> None:
        if part.worst_of > 1 and (not built or any(b.step.kind == "attack" for b in built)):
            raise self.document.error(
                (*path, "worst_of"),
                "worst_of repeats random perturbations; an attack has `restarts` instead",
            )

    def _default_name(self, part: ConditionPart) -> str:
        steps = "+".join(s.use for s in part.steps)
        if part.shift is None:
            return steps or "view"
        where = public_path(DataEntry("", part.shift.source, dict(part.shift.params)).title)
        return f"shift {where}" + (f" {steps}" if steps else "")

    def _steps(
        self, part: ConditionPart, along: str | None, level: Any, path: Path, rung: int
    ) -> list[_Built]:
        where = [(*path, "compose", k) if part.compose else path for k in range(len(part.steps))]
        plugins = [self._find(s, w) for s, w in zip(part.steps, where, strict=True)]
        target = self._target(part, plugins, along, path)
        seen: Counter[str] = Counter()
        built = []
        for k, (step, plugin) in enumerate(zip(part.steps, plugins, strict=True)):
            params = dict(step.with_)
            if k == target and along is not None:
                if along in params:
                    raise self.document.error(
                        (*path, "ladder"), f"{along!r} stands in `with` and in `ladder`"
                    )
                params[along] = level
            on_ladder = (*path, "ladder", along, rung) if k == target and along else None
            built.append(self._build(step, plugin, params, seen[plugin.name], where[k], on_ladder))
            seen[plugin.name] += 1
        self._check_order(built, path)
        return built

    def _build(
        self, part: StepPart, plugin: Plugin, params: Mapping[str, Any], occurrence: int, path: Path,
        on_ladder: Path | None,
    ) -> _Built:  # fmt: skip
        try:
            instance = build_step(plugin, params)
        except BadParameter as error:
            at = (*path, "with", *error.path)
            if on_ladder and error.path and error.path[0] == on_ladder[-2]:
                at = on_ladder
            raise self.document.error(at, str(error)) from None
        wants = tuple(w for w in getattr(instance, "wants", ()) if w != "donor")
        self._check_inputs(part, plugin, wants, path)
        values = canonical_params(instance)
        step = Step(plugin.kind, plugin.name, plugin.version, values, occurrence, dict(part.inputs))  # type: ignore[arg-type]
        return _Built(step, instance)

    def _check_inputs(self, part: StepPart, plugin: Plugin, wants: tuple[str, ...], path: Path) -> None:
        for want in wants:
            if want not in part.inputs:
                raise self.document.error(
                    path,
                    f"{plugin.name} needs the input {want!r}: add `inputs: {{{want}: NAME}}` with the name "
                    "of a preparation of this suite",
                )
        for name, prepared in part.inputs.items():
            if name not in wants:
                raise self.document.error((*path, "inputs", name), f"{plugin.name} takes no input {name!r}")
            if prepared not in self.part.preparations:
                known = ", ".join(self.part.preparations) or "none"
                raise self.document.error(
                    (*path, "inputs", name), f"no preparation is called {prepared!r} (there are: {known})"
                )

    def _check_order(self, built: list[_Built], path: Path) -> None:
        rank = {"perturbation": 0, "intervention": 1, "attack": 2}
        kinds = [b.step.kind for b in built]
        if [rank[k] for k in kinds] != sorted(rank[k] for k in kinds):
            raise self.document.error(
                path, f"the order is perturbations, interventions, then the attack; got {', '.join(kinds)}"
            )
        if kinds.count("attack") > 1:
            raise self.document.error(path, "a condition has at most one attack")

    def _find(self, step: StepPart, path: Path) -> Plugin:
        plugin: Plugin = self.document.asking((*path, "use"), lambda: find_step(step.use))
        return plugin

    def _target(
        self, part: ConditionPart, plugins: list[Plugin], along: str | None, path: Path
    ) -> int | None:
        """Which step the ladder varies; None for a parameter of the shift."""
        if along is None:
            return None
        having = [k for k, p in enumerate(plugins) if along in {f.name for f in fields(p.cls)}]
        if len(having) > 1:
            raise self.document.error(
                (*path, "ladder"), f"{along!r} is a parameter of several steps: a ladder varies one"
            )
        if having:
            return having[0]
        if part.shift is not None or part.view is not None:
            return None
        if len(plugins) == 1:
            return 0  # build says which parameters there are
        raise self.document.error((*path, "ladder"), f"no step has the parameter {along!r}")

    def _where(
        self, part: ConditionPart, name: str, along: str | None, level: Any, path: Path, rung: int
    ) -> str:
        """The name of a condition's data set, which is added when it is a new one."""
        if part.view is None:
            return BASE if part.shift is None else self._shift(part.shift, name, along, level, path, rung)
        of_view = along is not None and self._is_of_view(part, along)
        if of_view and along in part.view.model_fields_set:
            raise self.document.error((*path, "ladder"), f"{along!r} stands in `view` and in `ladder`")
        view = self.view(part.view, {str(along): level} if of_view else {}, (*path, "view"))
        label = f"{name} {along}={level}" if of_view else name
        if part.shift is not None:
            label = self._shift(part.shift, label, None if of_view else along, level, path, rung)
            self._data = [replace(d, view=view) if d.name == label else d for d in self._data]
            return label
        self._data.append(replace(self._data[0], name=label, view=view, same_as_base=True))
        return label

    def _is_of_view(self, part: ConditionPart, along: str) -> bool:
        """Whether a ladder varies the view: its parameter is no step's, nor the shift's."""
        if any(along in {f.name for f in fields(find_step(s.use).cls)} for s in part.steps):
            return False
        if part.shift is None:
            return True
        source = schema(data.get(part.shift.source).cls)  # type: ignore[arg-type]
        return along in ViewPart.model_fields and along not in source.model_fields

    def view(self, part: ViewPart, more: Mapping[str, Any], path: Path) -> View:
        """A view with what a ladder adds to it."""
        try:
            written = {**part.model_dump(exclude_unset=True), **more}
            return ViewPart.model_validate(written, strict=True).value()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = str(first["loc"][-1]) if first["loc"] else ""
            if first["type"] == "extra_forbidden":
                known = nearest(key, ViewPart.model_fields)
                raise self.document.error(path, f"no step and no view has {key!r}; {known}") from None
            where = f"view.{key}" if key else "view"
            raise self.document.error(path, f"{where}: {first['msg']}, got {first['input']!r}") from None
        except ValueError as error:
            raise self.document.error(path, f"view: {error}") from None

    def _shift(self, shift: DataPart, name: str, along: str | None, level: Any, path: Path, rung: int) -> str:
        varies = along is not None and all(
            along not in {f.name for f in fields(find_step(s.use).cls)}
            for s in self.part.conditions[int(path[-1])].steps
        )
        params = {**shift.params, along: level} if varies and along else shift.params
        label = f"{name} {along}={level}" if varies else name
        if all(d.name != label for d in self._data):
            part = DataPart(source=shift.source, limit=shift.limit, params=params)
            self._data.append(self._data_entry(label, part, (*path, "shift")))
        return label

    def _data_entry(self, name: str, part: DataPart, path: Path) -> DataEntry:
        plugin = self.document.asking(path, lambda: data.get(part.source))
        known = schema(plugin.cls).model_fields
        for key in part.params:
            if key not in known:
                raise self.document.error(
                    (*path, key),
                    f"data source {part.source!r} has no parameter {key!r}; it has {', '.join(known)}",
                )
        if not _has_variable(part.params):
            self.document.asking(path, lambda: data.build(part.source, part.params))
        return DataEntry(name, part.source, dict(part.params), part.limit)

    def _preparation(self, name: str) -> PreparationEntry:
        part = self.part.preparations[name]
        path = ("preparations", name)
        plugin = self.document.asking((*path, "use"), lambda: find_preparation(part.use))
        instance = self.document.asking((*path, "with"), lambda: build_preparation(part.use, part.with_))
        attack = plugin.kind == "attack"
        if attack and getattr(instance, "wants", ()):
            raise self.document.error(path, f"{part.use} needs inputs, which a preparation is not given")
        if (attack or instance.needs_model) and part.model is None:
            raise self.document.error(
                path, f"{part.use} needs a model: add `model: {SELF}` (the evaluated one) or a SPEC"
            )
        params = canonical_params(instance)
        split = None if part.data is None else self._data_entry(name, part.data, (*path, "data"))
        entry = PreparationEntry(
            name, plugin.name, plugin.version, params, part.model, split, part.skip, part.limit
        )
        if entry.has_split and (attack or instance.per_image):
            raise self.document.error(
                path,
                f"{part.use} makes something for each image it is used on: it takes no `data`, `skip` or "
                "`limit` of its own",
            )
        return entry


def canonical_params(instance: Any) -> Mapping[str, Json]:
    """A plug-in's parameters as plain values: however they were written, equal ones are equal."""
    return {f.name: plain(getattr(instance, f.name)) for f in fields(instance) if f.init}


def _has_variable(params: Mapping[str, Any]) -> bool:
    return any(isinstance(v, str) and "${" in v for v in params.values())


def _with_lower(rungs: list[tuple[list[_Built], Condition]], along: str | None) -> Iterator[Condition]:
    """Along its budget, an attack at one level inherits the failures of every smaller level."""
    attack = rungs[0][0][-1] if rungs[0][0] else None
    nested = attack and attack.step.kind == "attack" and getattr(attack.instance, "nested", None)
    if not (nested and nested == along):
        yield from (condition for _, condition in rungs)
        return
    by_budget = sorted(rungs, key=lambda rung: getattr(rung[0][-1].instance, str(along)))
    lower: tuple[str, ...] = ()
    for _, condition in by_budget:
        yield replace(condition, lower=lower)
        lower = (*lower, condition.name)
