"""Whether a suite read from a result file can be carried out here: its plug-ins and their parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from robobench.errors import BadParameter, RobobenchError, StoreError
from robobench.keys import plain
from robobench.registry import (
    build_formula,
    build_metric,
    build_preparation,
    data,
    find_preparation,
    find_step,
    instance_of,
)
from robobench.suite.expand import SELF, canonical_params
from robobench.suite.suite import BASE, PreparationEntry, Suite
from robobench.types import Condition, Json, Step

_ORDER = ("perturbation", "intervention", "attack")


def check_saved(suite: Suite) -> None:
    """Raise what the first fault is: UnknownName, BadParameter, or StoreError for what no suite says."""
    for fault in faults(suite):
        raise fault


def faults(suite: Suite) -> Iterator[RobobenchError]:
    """Everything that keeps a suite from being carried out with the plug-ins that are installed here."""
    for check in _checks(suite):
        try:
            check()
        except RobobenchError as error:
            yield error


def _checks(suite: Suite) -> Iterator[Callable[[], Any]]:
    yield partial(_names, suite)
    for entry in suite.data:
        yield partial(data.get, entry.source)
    for prepared in suite.preparations:
        yield partial(_preparation, prepared)
    for condition in suite.conditions:
        yield partial(_condition, suite, condition)
        yield from (partial(_step, condition.name, step) for step in condition.steps)
    of, formulas = [suite.score.of], [suite.score.formula]
    of += [s.of for s in suite.summaries]
    formulas += [s.formula for s in suite.summaries]
    yield from (partial(build_metric, name) for name in dict.fromkeys((*suite.metrics, *of)))
    yield from (partial(build_formula, name) for name in dict.fromkeys(formulas))


def _names(suite: Suite) -> None:
    """Names are there once, numbers are above 0, the base comes first."""
    for what, names in {
        "data sets": [d.name for d in suite.data],
        "conditions": [c.name for c in suite.conditions],
        "preparations": [p.name for p in suite.preparations],
    }.items():
        twice = [n for n, count in Counter(names).items() if count > 1]
        if twice:
            raise StoreError(f"suite: two {what} are called {twice[0]!r}")
    if not suite.data or suite.data[0].name != BASE or suite.data[0].same_as_base:
        raise StoreError(f"suite: expected its own data first, called {BASE!r}")
    limits = [d.limit for d in suite.data] + [c.limit for c in suite.conditions]
    limits += [p.limit for p in suite.preparations]
    counts = [suite.lot, *(c.worst_of for c in suite.conditions), *(v for v in limits if v is not None)]
    if min(counts) < 1:
        raise StoreError("suite: expected `lot`, every `limit` and every `worst_of` above 0")
    if suite.store not in (None, "logits"):
        raise StoreError(f"suite: expected `store` to be logits or nothing, got {suite.store!r}")


def _condition(suite: Suite, condition: Condition) -> None:
    where = f"condition {condition.name!r}"
    if condition.data not in {d.name for d in suite.data}:
        raise StoreError(f"{where}: no data set of the suite is called {condition.data!r}")
    names = [c.name for c in suite.conditions]
    lacking = set(condition.lower) - set(names[: names.index(condition.name)])
    if lacking:
        raise StoreError(f"{where}: no condition before it is called {min(lacking)!r}")
    ranks = [_ORDER.index(s.kind) for s in condition.steps]
    if ranks != sorted(ranks) or ranks.count(_ORDER.index("attack")) > 1:
        raise StoreError(f"{where}: expected perturbations, interventions, then at most one attack")
    seen: Counter[str] = Counter()
    for step in condition.steps:
        if step.occurrence != seen[step.name]:
            raise StoreError(
                f"{where}: {step.name} is its use number {seen[step.name]}, not {step.occurrence}"
            )
        seen[step.name] += 1
        unknown = set(step.inputs.values()) - {p.name for p in suite.preparations}
        if unknown:
            raise StoreError(f"{where}: no preparation of the suite is called {min(unknown)!r}")


def _step(where: str, step: Step) -> None:
    plugin = find_step(step.name)
    here = f"condition {where!r}: {step.name}"
    if plugin.kind != step.kind:
        raise StoreError(f"{here}: is the {plugin.kind} of that name, not a {step.kind}")
    _same_version(here, step.version, plugin.version)
    instance = instance_of(step)
    _same_params(here, step.params, canonical_params(instance))
    wanted = {w for w in getattr(instance, "wants", ()) if w != "donor"}
    if wanted != set(step.inputs):
        raise StoreError(f"{here}: expected the inputs {sorted(wanted)}, got {sorted(step.inputs)}")


def _preparation(entry: PreparationEntry) -> None:
    plugin = find_preparation(entry.plugin)
    here = f"preparation {entry.name!r}: {entry.plugin}"
    _same_version(here, entry.version, plugin.version)
    instance = build_preparation(entry.plugin, entry.params, strict=False)
    _same_params(here, entry.params, canonical_params(instance))
    if entry.model is None and (plugin.kind == "attack" or instance.needs_model):
        raise StoreError(f"{here}: needs a model, `{SELF}` or a SPEC")
    if entry.data is not None:
        data.get(entry.data.source)


def _same_version(where: str, saved: int, installed: int) -> None:
    if saved != installed:
        raise StoreError(
            f"{where}: the result was made with version {saved} of it, version {installed} is installed, and "
            "its numbers are others: install the robobench that the result names"
        )


def _same_params(where: str, saved: Mapping[str, Json], read: Mapping[str, Json]) -> None:
    """Spelled-out parameters are complete and canonical: what is read from them says the same again."""
    kept, again = plain(saved), plain(read)
    wrong = [k for k in sorted({*kept, *again}) if kept.get(k) != again.get(k) or k not in kept]
    if wrong:
        raise BadParameter(
            f"{where}: {wrong[0]}: expected {again.get(wrong[0])!r}, as it is spelled out, "
            f"got {kept.get(wrong[0])!r}",
            (wrong[0],),
        )
