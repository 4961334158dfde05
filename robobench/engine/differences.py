"""Where the protocols of two runs differ: by field, and whether that keeps them off one board."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robobench.engine.record import DataRecord, ModelRecord, RunRecord
from robobench.keys import canonical, digest, plain
from robobench.types import Json

Tree = Mapping[str, Any]

_LONGEST = 70  # letters of a value in a sentence
_FREE = frozenset(  # what a fingerprint does not go by
    {"suite", "title", "description", "citation", "command", "models", "versions", "hardware", "device"}
)


@dataclass(frozen=True)
class Difference:
    """A field of two protocols and its values. None: not there. protocol: the fingerprint goes by it."""

    path: tuple[str, ...]
    first: Json
    second: Json
    protocol: bool

    @property
    def field(self) -> str:
        """Where it is, from the outside in."""
        return " > ".join(self.path)

    def __str__(self) -> str:
        return f"{self.field}: {in_words(self.first)}, {in_words(self.second)}"


def in_words(value: Json) -> str:
    """A value as a short text; of a branch only that it is there."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "there"
    text = value if isinstance(value, str) else canonical(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def differences(first: RunRecord, second: RunRecord) -> tuple[Difference, ...]:
    """Every field in which two runs differ, those that the fingerprint goes by first.

    A record of an older format knows less; what one of the two does not know is not compared. Where digests
    differ and no field says why, the digest is the field.
    """
    one, two = tree(first), tree(second)
    if first.recipe is None or second.recipe is None:
        one, two = _known(one), _known(two)
    found = [d for d in walk(one, two) if not _only_longer(d, first, second)]
    if first.suite_digest != second.suite_digest and not any(_of_suite(d) for d in found):
        found.append(Difference(("suite digest",), first.suite_digest, second.suite_digest, True))
    if first.fingerprint != second.fingerprint and not any(d.protocol for d in found):
        found.append(Difference(("fingerprint",), first.fingerprint, second.fingerprint, True))
    return tuple(sorted(found, key=lambda d: not d.protocol))


def tree(record: RunRecord) -> Tree:
    """A run's protocol as nested fields, named for people. None: not known."""
    suite = None if record.recipe is None else record.recipe.suite
    asked = {} if suite is None else {e.name: e.identity for e in suite.data}
    return {
        "suite": record.suite,
        "title": record.title,
        "description": record.description,
        "citation": record.citation,
        "command": record.command,
        "seed": record.seed,
        "lot": record.lot,
        "metrics": list(record.metrics),
        "score": plain(record.score),
        "summaries": {s.name: plain(s) for s in record.summaries},
        "view as written": None if suite is None else plain(suite.view) or "each model's own",
        "store": None if suite is None else suite.store or "answers",
        "suite version": None if suite is None else suite.version,
        "order of conditions": [c.name for c in record.conditions],
        "conditions": {c.name: _condition(plain(c)) for c in record.conditions},
        "order of data": None if suite is None else [e.name for e in suite.data],
        "data": {d.name: _data(d, asked.get(d.name)) for d in record.data},
        "preparations": None if suite is None else {p.name: plain(p.identity) for p in suite.preparations},
        "order of preparations": None if suite is None else [p.name for p in suite.preparations],
        "splits": {n: plain(s) for n, s in record.splits.items()},
        "models": {m.name: _model(m) for m in record.models},
    }


def _condition(said: dict[str, Any]) -> dict[str, Any]:
    """The fields of a condition, its steps by their place."""
    steps = {f"step {i + 1}": step for i, step in enumerate(said["steps"])}
    return {k: v for k, v in said.items() if k not in ("name", "steps")} | steps


def _data(data: DataRecord, asked: Mapping[str, Json] | None) -> dict[str, Any]:
    return {
        "as written": None if asked is None else plain(asked),
        "title": data.title,
        "label space": data.space,
        "classes": data.classes,
        "revision": data.revision,
        "view": data.view,
        "images": len(data.ids),
        "order of images": digest(data.ids),
        "excluded": list(data.excluded),
        "digest of the label space": data.answers or None,
        "digest of facts and acceptable classes": None if not data.identity else data.truth or "none",
    }


def _model(model: ModelRecord) -> dict[str, Any]:
    return {
        "digest": model.digest,
        "spec": model.spec,
        "family": model.family,
        "clean accuracy": model.clean_accuracy,
        "citation": model.citation,
        "precision": model.precision,
        "stopped": {name: stop.images for name, stop in model.stopped.items()},
    }


def walk(first: Any, second: Any, path: tuple[str, ...] = ()) -> Iterator[Difference]:
    """The fields at which two trees part; of a branch that only one has, the branch."""
    if first == second:
        return
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in dict.fromkeys((*first, *second)):
            yield from walk(first.get(key), second.get(key), (*path, key))
    elif not _names_of_other_branches(path, first, second):
        yield Difference(path, plain(first), plain(second), _counts(path))


def _names_of_other_branches(path: tuple[str, ...], first: Any, second: Any) -> bool:
    """Whether an order differs only because one side has other names: the names are a difference already."""
    ordered = path[-1].startswith("order of") and isinstance(first, Sequence) and isinstance(second, Sequence)
    return ordered and not isinstance(first, str) and set(first) != set(second)


def _counts(path: tuple[str, ...]) -> bool:
    """Whether the fingerprint goes by a field."""
    if path[0] == "data":
        return path[-1] != "title"
    return path[0] not in _FREE


def _of_suite(difference: Difference) -> bool:
    """Whether a field is one that the suite's digest goes by."""
    root = difference.path[0]
    return difference.protocol and (root not in ("data", "splits") or "as written" in difference.path)


def _only_longer(difference: Difference, first: RunRecord, second: RunRecord) -> bool:
    """Whether other images are just more images of the same order, which their number says."""
    if difference.path[0] != "data" or difference.path[-1] != "order of images":
        return False
    one, two = (
        next(d.order for d in record.data if d.name == difference.path[1]) for record in (first, second)
    )
    return len(one) != len(two) and one[: len(two)] == two[: len(one)]


def _known(said: Any) -> Any:
    """A tree without what only newer records know."""
    if not isinstance(said, Mapping):
        return said
    newer = {
        "as written", "view as written", "store", "suite version", "order of data", "preparations",
        "order of preparations", "splits", "digest of the label space",
        "digest of facts and acceptable classes", "spec", "precision",
    }  # fmt: skip
    return {
        name: {k: _known(v) for k, v in branch.items()} if isinstance(branch, Mapping) else branch
        for name, branch in said.items()
        if name not in newer
    }
