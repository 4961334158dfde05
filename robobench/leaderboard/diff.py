"""`robobench diff`: in which fields two results differ, and their scores where in none that counts.

A results folder, a baseline and a board of either are read for what they know: runs are compared field by
field, down to the parameter of a step; where one side is a rendered board, by what a board says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robobench.engine.differences import Difference, differences, walk
from robobench.engine.record import RunRecord
from robobench.errors import StoreError
from robobench.leaderboard.baseline import read_baseline
from robobench.leaderboard.board import Leaderboard, Level
from robobench.leaderboard.build import build
from robobench.leaderboard.collect import RowSource, collect, newest_run
from robobench.leaderboard.render import FILES
from robobench.leaderboard.render_json import from_json
from robobench.store import BOARD, MANIFEST, Store
from robobench.types import Score

_KINDS = f"a results folder, the folder of a board, a {FILES['json']} or a baseline"


@dataclass(frozen=True)
class Side:
    """One of the two. rendered: a board, where there are no rows; else record and source are there.

    partial: a baseline, which keeps a part of the protocol.
    """

    name: str
    record: RunRecord | None = None
    source: RowSource | None = None
    rendered: Leaderboard | None = None
    partial: bool = False

    @property
    def fingerprint(self) -> str:
        return self.board.suite.fingerprint if self.record is None else self.record.fingerprint

    @property
    def board(self) -> Leaderboard:
        """As it was rendered, or built from the rows."""
        if self.rendered is not None:
            return self.rendered
        if self.record is None or self.source is None:
            raise StoreError(f"{self.name}: neither rows nor a board")
        return build(collect(self.record, self.source))

    @property
    def made(self) -> Mapping[str, Any]:
        """Versions, hardware and devices behind the rows."""
        if self.rendered is not None:
            return {"versions": dict(self.rendered.suite.versions), "hardware": self.rendered.suite.hardware}
        if self.record is None or self.source is None:
            return {}
        digests = {m.digest for m in self.record.models}
        found = [r["provenance"] for r in self.source.provenance()]
        mine = [p for p in found if p["model"]["digest"] in digests]
        packages = sorted({k for p in mine for k in p["versions"]})
        return {
            "versions": {k: _said({str(p["versions"].get(k, "none")) for p in mine}) for k in packages},
            "hardware": _said({str(p["hardware"]) for p in mine}, "; "),
        }


@dataclass(frozen=True)
class Pair:
    """A model's score in both; None where it is not there."""

    model: str
    first: Score | None
    second: Score | None


@dataclass(frozen=True)
class Diff:
    """What differs. pairs: scores by model, empty where the protocols differ."""

    first: str
    second: str
    fingerprints: tuple[str, str]
    differences: tuple[Difference, ...]
    pairs: tuple[Pair, ...] = ()

    @property
    def same(self) -> bool:
        """Whether both can stand on one board."""
        return self.fingerprints[0] == self.fingerprints[1]


def load(path: Path, suite: str | None = None) -> Side:
    """A results folder, the folder of a board, its JSON, or a baseline. Raises RobobenchError."""
    name = str(path)
    if not path.exists():
        raise StoreError(f"{path}: there is nothing: expected {_KINDS}")
    for folder in (path, path / BOARD):
        if (folder / MANIFEST).is_file():
            store = Store.open(folder)
            return Side(name, newest_run(store, suite), store)
    if path.is_dir():
        path = path / FILES["json"]
    if path.suffix == ".json":
        return Side(name, rendered=_rendered(path))
    kept = read_baseline(path)
    return Side(name, kept.record, kept, partial=True)


def _rendered(path: Path) -> Leaderboard:
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(f"{path}: cannot be read ({error}): expected {_KINDS}") from None
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from None


def diff(first: Side, second: Side) -> Diff:
    """Compare two results. Raises StoreError for rows that cannot be read."""
    found = [*_protocol(first, second), *walk(first.made, second.made)]
    prints = (first.fingerprint, second.fingerprint)
    if prints[0] == prints[1]:  # what one of them does not keep is no difference
        found = [d for d in found if not d.protocol]
        return Diff(first.name, second.name, prints, tuple(found), tuple(_pairs(first.board, second.board)))
    return Diff(first.name, second.name, prints, tuple(found))


def _protocol(first: Side, second: Side) -> tuple[Difference, ...]:
    if first.record is not None and second.record is not None:
        one, two = first.record, second.record
        if first.partial or second.partial:
            one, two = _part(one), _part(two)
        return differences(one, two)
    said = tuple(walk(_tree(first.board), _tree(second.board)))
    if first.fingerprint != second.fingerprint and not any(d.protocol for d in said):
        said += (Difference(("fingerprint",), first.fingerprint, second.fingerprint, True),)
    return tuple(sorted(said, key=lambda d: not d.protocol))


def _part(record: RunRecord) -> RunRecord:
    """A run as far as a baseline keeps it: no health checks, no metric that the score is not made of."""
    kept = tuple(c for c in record.conditions if not c.check)
    return replace(record, conditions=kept, metrics=())


def _tree(board: Leaderboard) -> Mapping[str, Any]:
    """The protocol of a board as nested fields."""
    suite = board.suite
    return {
        "suite": suite.name,
        "title": suite.title,
        "description": suite.description,
        "citation": suite.citation,
        "command": suite.command,
        "seed": suite.seed,
        "metrics": list(suite.metrics),
        "score": {k: getattr(suite.score, k) for k in ("name", "formula", "over", "of")},
        "summaries": {s.name: {"formula": s.formula, "of": s.of} for s in suite.summaries},
        "view": suite.view,
        "data": {
            d.name: {
                "title": d.title,
                "label space": d.label_space,
                "revision": d.digest,
                "images": d.images,
                "excluded": list(d.excluded),
            }
            for d in suite.data
        },
        "conditions": dict(_conditions(board)),
        "models": {e.name: {"weights": e.weights, "family": e.family} for e in board.entries},
    }


def _conditions(board: Leaderboard) -> Iterator[tuple[str, Mapping[str, Any]]]:
    images = {d.name: d.images for d in board.suite.data}
    for level in board.references:
        yield level.condition, _level(level, None, images)
    for ladder in board.ladders:
        for level in ladder.levels:
            yield level.condition, _level(level, ladder.along, images)


def _level(level: Level, along: str | None, images: Mapping[str, int]) -> Mapping[str, Any]:
    """A condition; its number of images where it is not that of its data."""
    steps = {f"step {i + 1}": text for i, text in enumerate(level.steps)}
    limit = None if level.expected == images.get(level.data) else level.expected
    return {"along": along, "level": level.label, "data": level.data, "images": limit} | steps


def _pairs(first: Leaderboard, second: Leaderboard) -> Iterator[Pair]:
    one, two = ({e.name: e.score for e in board.entries} for board in (first, second))
    for name in dict.fromkeys((*one, *two)):
        yield Pair(name, one.get(name), two.get(name))


def _said(values: set[str], between: str = ", ") -> str:
    return between.join(sorted(values))
