"""What a run that was handed in says of itself: whether its digests are those of its own fields."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from robobench.checks.problem import Problem, reason, short
from robobench.checks.submission_files import Made
from robobench.engine.record import DataRecord, ModelRecord, RunRecord
from robobench.engine.resolve import PRECISION, cell_key
from robobench.errors import BadSpec, RobobenchError
from robobench.keys import plain
from robobench.registry import find_step
from robobench.specs import parse_spec
from robobench.suite.load import parse_suite, suite_names
from robobench.suite.saved import faults
from robobench.suite.suite import BASE, Suite
from robobench.types import CLEAN, Condition

CODE = "python"  # the source of models that are a file's or package's function
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_VERSIONS = ("python", "robobench", "torch")  # without which nobody can repeat a run


@dataclass(frozen=True)
class Keys:
    """How many cell keys could be computed again, of how many. The others go by what only the data tell."""

    computed: int = 0
    all: int = 0


def look_at_protocol(record: RunRecord) -> tuple[list[Problem], Keys]:
    """The problems of a record with itself, and how many of its keys could be looked at."""
    found = [*_form(record), *_names(record), *_data(record)]
    if record.recipe is None:
        found.append(
            Problem("run", "a recipe, that it can be made again from", f"none, in format {record.format}")
        )
        return found, Keys(0, sum(len(m.cells) for m in record.models))
    suite = record.recipe.suite
    wrong = [Problem("suite", "what can be carried out here", reason(error)) for error in faults(suite)]
    wrong = wrong or list(_suite(record, suite))
    if wrong:
        return [*found, *wrong, *_digests(record, suite)], Keys(0, sum(len(m.cells) for m in record.models))
    again, keys = _keys(record, suite)
    return [*found, *_digests(record, suite), *again], keys


def _form(record: RunRecord) -> Iterator[Problem]:
    """Names that are there once; every model has a cell for each condition; a word on what is stopped."""
    for what, names in {
        "models": [m.name for m in record.models],
        "digests of models": [m.digest for m in record.models],
        "conditions": [c.name for c in record.conditions],
        "data sets": [d.name for d in record.data],
    }.items():
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice or not names:
            yield Problem("run", f"{what}, each once", f"{short(twice[0])!r} twice" if twice else "none")
    conditions = {c.name for c in record.conditions}
    sets = {d.name for d in record.data}
    for model in record.models:
        if set(model.cells) != conditions:
            other = sorted(set(model.cells) ^ conditions)
            yield Problem(model.name, "a cell for each condition", f"another set, as to {short(other[0])!r}")
        for name, stop in model.stopped.items():
            if name not in sets or stop.images < 1 or stop.precision != model.precision:
                yield Problem(model.name, "to have stopped as its precision says", f"{name} at {stop.images}")
        yield from _loadable(model)
    for condition in record.conditions:
        if condition.data not in sets:
            yield Problem(condition.name, "a data set of the run", short(condition.data))


def _loadable(model: ModelRecord) -> Iterator[Problem]:
    """A word on a model that not everybody can load."""
    if model.spec is None:
        yield Problem(model.name, "a SPEC", "a module in memory: nobody else can run it", warning=True)
        return
    try:
        code = parse_spec(model.spec, code_source=CODE).source == CODE
    except BadSpec:
        return
    if code:
        said = f"{short(model.spec)}: needs --allow-code and the file"
        yield Problem(model.name, "a model that anybody can load", said, warning=True)


def _names(record: RunRecord) -> Iterator[Problem]:
    """Names and texts that a board shows: none leads out of a folder or hides what it says."""
    shown = {"suite": record.suite, "title": record.title, "description": record.description}
    shown |= {f"model {i + 1}": m.name for i, m in enumerate(record.models)}
    hard = {"suite": record.suite}
    hard |= {f"model {i + 1}": m.name for i, m in enumerate(record.models) if not _is_spec(m)}
    for where, text in hard.items():
        if ".." in text or any(c in "/\\" for c in text):
            yield Problem(f"run: {where}", "a name without '/', '\\' and '..'", short(text))
    shown |= {f"condition {i + 1}": c.name for i, c in enumerate(record.conditions)}
    shown |= {f"title of data {i + 1}": d.title for i, d in enumerate(record.data)}
    shown |= {f"class {i + 1}": name for i, name in enumerate(record.class_names)}
    for where, text in shown.items():
        if any(unicodedata.category(c) in _UNSEEN and c not in "\n\t" for c in text):
            serious = where in hard or where.startswith("model ")
            said = short(ascii(text))
            yield Problem(f"run: {where}", "no control characters", said, warning=not serious)
    yield from _shipped(record)


def _is_spec(model: ModelRecord) -> bool:
    """Whether a model is called by its SPEC, which may hold '/' as in `hf:owner/name`."""
    named = model.spec is not None and model.name.partition("?")[0] == model.spec.partition("?")[0]
    return named and ".." not in model.name


def _shipped(record: RunRecord) -> Iterator[Problem]:
    """A suite that is called like a shipped one is that one."""
    path = suite_names().get(record.suite)
    if path is None:
        return
    try:
        own = parse_suite(path.read_text(encoding="utf-8"), path.name)
    except (OSError, RobobenchError):
        return
    if own.digest != record.suite_digest:
        said = f"another one, {short(record.suite_digest)}"
        yield Problem("run: suite", f"the suite {own.name!r} as it is here, {own.digest}", said, warning=True)


def _data(record: RunRecord) -> Iterator[Problem]:
    if not record.data or record.data[0].name != BASE:
        yield Problem("run", f"its own data first, called {BASE!r}", "another order")
    for data in record.data:
        where = f"data {data.name!r}"
        if len(set(data.order)) < len(data.order) or not data.order:
            yield Problem(where, "every image once", f"{len(data.order)} with {len(set(data.order))} names")
        if not set(data.excluded) <= set(data.order):
            yield Problem(where, "excluded images to be among its own", short(data.excluded))
        limit = None if record.recipe is None else record.recipe.limit
        if limit is not None and len(data.order) > limit:
            yield Problem(where, f"at most {limit} images", str(len(data.order)))
        if data.classes < 1:
            yield Problem(where, "at least one class", str(data.classes))


def _suite(record: RunRecord, suite: Suite) -> Iterator[Problem]:
    """The record says the same as the suite that it can be made again from."""
    for name in ("title", "description", "citation", "seed", "lot", "metrics", "score", "summaries"):
        said, recipe = getattr(record, name), getattr(suite, name)
        if plain(said) != plain(recipe):
            yield Problem(f"run: {name}", f"{short(recipe)}, as its suite says", short(said))
    if record.suite != suite.name:
        yield Problem("run: suite", suite.name, short(record.suite))
    own = [c for c in record.conditions if not c.companion]
    for said, recipe in zip(own, suite.conditions, strict=False):
        if plain(said) != plain(recipe):
            yield Problem(f"condition {said.name!r}", "what its suite says", "something else")
    for extra in record.conditions:
        if extra.companion and (extra.steps or extra.ladder != CLEAN):
            yield Problem(f"condition {extra.name!r}", "untouched images beside a shift", "something else")
    if len(own) != len(suite.conditions):
        yield Problem("run", f"{len(suite.conditions)} conditions of its suite", str(len(own)))
    asked = {e.name for e in suite.data}
    for name in sorted(asked - {d.name for d in record.data}):
        yield Problem("run", f"the suite's data set {name!r}", "none of that name")


def _digests(record: RunRecord, suite: Suite) -> Iterator[Problem]:
    if suite.digest != record.suite_digest:
        yield Problem(
            "run: suite_digest",
            f"{suite.digest}, the digest of its suite (where that names a path instead of a ${{VARIABLE}}, "
            "cutting the path has changed it)",
            short(record.suite_digest),
        )
    protocol = record.protocol
    if protocol is None:
        yield Problem("run: data", "the digests that the fingerprint is made of", "none")
    elif protocol != record.fingerprint:
        yield Problem("run: fingerprint", f"{protocol}, of its own fields", short(record.fingerprint))


def _keys(record: RunRecord, suite: Suite) -> tuple[list[Problem], Keys]:
    found, computed = [], 0
    sets = {d.name: d for d in record.data}
    for model in record.models:
        for condition in record.conditions:
            data = sets.get(condition.data)
            key = None if data is None else _key(suite, model, data, condition)
            computed += key is not None
            if key is not None and key != model.cells.get(condition.name):
                said = short(model.cells.get(condition.name))
                found.append(Problem(f"{model.name}, {condition.name}", f"the cell {key}", said))
    return found, Keys(computed, len(record.models) * len(record.conditions))


def _key(suite: Suite, model: ModelRecord, data: DataRecord, condition: Condition) -> str | None:
    """A cell's key, where it goes by nothing but the record: no preparation, no file that a step reads."""
    if not data.identity or not set(condition.lower) <= set(model.cells):
        return None
    if any(s.inputs or hasattr(find_step(s.name).cls, "revision") for s in condition.steps):
        return None
    steps = [
        {"name": s.name, "version": s.version, "params": s.params, "inputs": {}} for s in condition.steps
    ]
    lower = [model.cells[name] for name in condition.lower]
    return cell_key(suite, model.digest, data.identity, condition, steps, lower)


def look_at_makers(record: RunRecord, made: Sequence[Made], there: Collection[str]) -> Iterator[Problem]:
    """What made the rows: of each model one set of weights, with all that it takes to do it again.

    there: the cells that have rows.
    """
    revisions = {d.revision for d in record.data}
    for model in record.models:
        mine = [m for m in made if m.provenance.model.digest == model.digest]
        weights = {m.provenance.model.weights for m in mine}
        if len(weights) != 1 or "" in weights:
            yield Problem(model.name, "one digest of its weights", short(sorted(weights) or "none"))
        lacking = set(model.cells.values()).intersection(there) - {c for m in mine for c in m.cells}
        if lacking:
            names = [n for n, cell in model.cells.items() if cell in lacking]
            yield Problem(model.name, "what made every cell", f"nothing about {short(names[0])!r}")
        for one in mine:
            yield from _maker(model.name, record, revisions, one)


def _maker(name: str, record: RunRecord, revisions: set[str], made: Made) -> Iterator[Problem]:
    said = made.provenance
    for version in _VERSIONS:
        if not said.versions.get(version):
            yield Problem(name, f"the version of {version}", "none")
    for what, expected, got in (
        ("precision", PRECISION, said.precision),
        ("seed", str(record.seed), str(said.seed)),
    ):
        if expected != got:
            yield Problem(f"{name}: {what}", expected, short(got))
    if said.data.revision not in revisions:
        yield Problem(f"{name}: data", "a revision of the run's data", short(said.data.revision))
    try:
        then = datetime.fromisoformat(said.time)
        late = then.astimezone(UTC) > datetime.now(UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        late = True
    if late:
        yield Problem(f"{name}: time", "a time (ISO 8601) that has been", short(said.time))
    for what in ("device", "hardware"):
        if not getattr(said, what):
            yield Problem(f"{name}: {what}", "what it ran on", "nothing")
