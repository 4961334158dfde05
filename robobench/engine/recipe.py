"""A run made ready again from its own record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from robobench.engine.differences import differences
from robobench.engine.record import Recipe, RunRecord, record_of
from robobench.engine.resolve import Resolved, resolve
from robobench.engine.sets import Excluded
from robobench.errors import ModelError, RobobenchError, UnknownName, nearest
from robobench.keys import canonical
from robobench.specs import public_path, without_paths
from robobench.suite.saved import check_saved
from robobench.suite.suite import BASE, DataEntry, ModelEntry, PreparationEntry
from robobench.types import Condition


def again(
    record: RunRecord,
    *,
    data: str | None = None,
    models: Sequence[ModelEntry] = (),
    allow_code: bool = False,
    excluded: Excluded | None = None,
) -> Resolved:
    """Resolve a run from its record: the same models on the same images under the same suite.

    data: a SPEC, where the run's own data lie elsewhere on this machine; `${VARIABLES}` come from the
    environment. models: of models of the record where they are here, by their name. allow_code: let code run
    that the record names; what `models` name and trust may run anyway. excluded: images that cannot be
    decoded; by default those that the record names.

    Raises RobobenchError, with the field, where what is found here is not what the record was made with.
    """
    recipe = recipe_of(record)
    check_saved(recipe.suite)
    resolved = resolve(
        recipe.suite,
        _entries(record, models),
        data=recipe.data if data is None else data,
        limit=recipe.limit,
        allow_code=allow_code,
        excluded=_excluded(record) if excluded is None else excluded,
    )
    _check_same(record, resolved)
    _check_shown(record, recipe, resolved, other=data is not None)
    return resolved


def recipe_of(record: RunRecord) -> Recipe:
    """What a run is made again from. Raises RobobenchError for a record of before recipes were kept."""
    if record.recipe is None:
        raise RobobenchError(
            f"the run of {record.suite!r} is recorded in format {record.format}, which keeps no recipe: make "
            f"it again with `{record.command}`"
        )
    return record.recipe


def public(record: RunRecord) -> RunRecord:
    """A record as it may be published: absolute paths are cut to their last part, here and in its recipe."""
    models = tuple(replace(m, spec=None if m.spec is None else public_path(m.spec)) for m in record.models)
    conditions = tuple(_public_condition(c) for c in record.conditions)
    recipe = record.recipe
    if recipe is not None:
        suite = replace(
            recipe.suite,
            data=tuple(_public_data(d) for d in recipe.suite.data),
            conditions=tuple(_public_condition(c) for c in recipe.suite.conditions),
            models=tuple(replace(m, spec=public_path(m.spec)) for m in recipe.suite.models),
            preparations=tuple(_public_preparation(p) for p in recipe.suite.preparations),
        )
        data = None if recipe.data is None else public_path(recipe.data)
        recipe = replace(recipe, suite=suite, data=data)
    return replace(record, models=models, conditions=conditions, recipe=recipe)


def _public_condition(condition: Condition) -> Condition:
    return replace(
        condition, steps=tuple(replace(s, params=without_paths(s.params)) for s in condition.steps)
    )


def _public_data(entry: DataEntry) -> DataEntry:
    return replace(entry, params=without_paths(entry.params))


def _public_preparation(entry: PreparationEntry) -> PreparationEntry:
    return replace(
        entry,
        params=without_paths(entry.params),
        model=None if entry.model is None else public_path(entry.model),
        data=None if entry.data is None else _public_data(entry.data),
    )


def _entries(record: RunRecord, given: Sequence[ModelEntry]) -> list[ModelEntry]:
    """The record's models, as it names them, each from where it is here."""
    here = {str(m.name): m for m in given}
    known = [m.name for m in record.models]
    for name in here:
        if name not in known:
            raise UnknownName(f"the run of {record.suite!r} has no model {name!r}; {nearest(name, known)}")
    found = []
    for model in record.models:
        mine = here.get(model.name)
        spec = model.spec if mine is None else mine.spec
        if spec is None:
            raise ModelError(
                f"{model.name}: was a module in memory, or is of an older record: say where it is with "
                f"--model {model.name}=SPEC"
            )
        found.append(
            ModelEntry(
                spec, model.name, model.family, model.clean_accuracy, model.citation,
                trusted=mine is not None and mine.trusted,
            )
        )  # fmt: skip
    return found


def _excluded(record: RunRecord) -> Excluded:
    """The images that the record says cannot be decoded, by revision."""
    gone: dict[str, set[str]] = {}
    for data in record.data:
        gone.setdefault(data.revision, set()).update(data.excluded)
    for split in record.splits.values():
        gone.setdefault(split.revision, set()).update(split.excluded)

    def of(revision: str) -> Mapping[str, str]:
        return dict.fromkeys(gone.get(revision, ()), "cannot be decoded, as its record says")

    return of


def _check_same(record: RunRecord, resolved: Resolved) -> None:
    """Raises RobobenchError with the first field that differs."""
    other = [
        d
        for d in differences(record, record_of(resolved, record.command))
        if d.protocol or (d.path[0] == "models" and d.path[-1] == "digest")
    ]
    if record.fingerprint == resolved.fingerprint and not other:
        return
    said = "; ".join(str(d) for d in other[:3]) or "the record's fingerprint is not that of its own fields"
    raise RobobenchError(
        f"what is found here is not what the run of {record.suite!r} was made with (record, here): {said}"
    )


def _check_shown(record: RunRecord, recipe: Recipe, resolved: Resolved, *, other: bool) -> None:
    """Names that a board shows and no digest holds: those of classes and of data sets. Raises RobobenchError.

    other: the base's data were said to lie elsewhere, so that they may be called something else.
    """
    names = resolved.data[BASE].space.classes
    if record.class_names and record.class_names != names:
        said, here = next(
            (pair for pair in zip(record.class_names, names, strict=False) if pair[0] != pair[1]),
            (str(len(record.class_names)), str(len(names))),
        )
        raise RobobenchError(f"class names of the run of {record.suite!r} (record, here): {said!r}, {here!r}")
    movable = _movable(recipe) | ({BASE} if other else set())
    titles = {d.name: (d.title, resolved.data[d.name].title) for d in record.data}
    base = titles[BASE]
    for name, (said, here) in titles.items():
        moved = name in movable or ((said, here) == base and BASE in movable)
        if said != here and not (moved and ((other and (said, here) == base) or _kind(said) == _kind(here))):
            raise RobobenchError(
                f"data > {name} > title of the run of {record.suite!r} (record, here): {said!r}, {here!r}"
            )


def _movable(recipe: Recipe) -> set[str]:
    """The data sets that lie where a `${VARIABLE}` says."""
    found = {e.name for e in recipe.suite.data if "${" in canonical(e.params)}
    if recipe.data is not None:
        return found - {BASE} | ({BASE} if "${" in recipe.data else set())
    return found


def _kind(title: str) -> tuple[str, str]:
    """The title of a data set without where it lies: its source and parameters."""
    return title.partition(":")[0], title.partition("?")[2]
