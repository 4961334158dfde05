"""What a tracker is told of a model: parameters, numbers with a step along their ladder, and doubts."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from robobench.leaderboard.board import Entry, Leaderboard, SuiteInfo
from robobench.leaderboard.text import shown
from robobench.types import Score

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_. -]")  # MLflow allows the least: these, / and :
_LONGEST_PART = 80
_LONGEST_VALUE = 500


@dataclass(frozen=True)
class Number:
    """A value of a metric. step: the place along a ladder, from 0; 0 for a single number."""

    name: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class Told:
    """One model of a board.

    suite, model, values and doubts are text on one line; names of numbers are safe for paths, and so is
    place, which no other model of the board has.
    """

    suite: str
    model: str
    place: str
    params: Mapping[str, str]
    numbers: tuple[Number, ...]
    doubts: tuple[str, ...]


def told(board: Leaderboard, entry: Entry) -> Told:
    """What trackers are told of an entry. Undefined numbers are left out."""
    names = [e.name for e in board.entries]
    numbers = tuple(n for n in _numbers(board, entry) if math.isfinite(n.value))
    doubts = (*entry.flags, *(f"{h.condition}: {h.said}" for h in entry.health if not h.ok))
    return Told(
        suite=_text(board.suite.name),
        model=_text(entry.name),
        place=dict(zip(names, distinct(names), strict=True))[entry.name],
        params={k: _text(v) for k, v in _params(board.suite, entry) if v},
        numbers=numbers,
        doubts=tuple(_text(d) for d in doubts),
    )


def _params(suite: SuiteInfo, entry: Entry) -> Iterator[tuple[str, str]]:
    yield "model", entry.name
    yield "family", entry.family or ""
    yield "parameters", "" if entry.parameters is None else str(entry.parameters)
    yield "weights", entry.weights
    yield "suite", suite.name
    yield "fingerprint", suite.fingerprint
    yield "seed", str(suite.seed)
    yield "view", suite.view
    yield "score", f"{suite.score.name}: {suite.score.formula} of {suite.score.of}"
    yield "command", suite.command
    for d in suite.data:
        yield safe(f"data.{d.name}"), f"{d.title}, {d.images} images"
    for name in ("device", "precision", "time", "commit"):
        yield name, entry.provenance.get(name, "")
    for package, version in suite.versions.items():
        yield safe(f"version.{package}"), version


def _numbers(board: Leaderboard, entry: Entry) -> Iterator[Number]:
    """Score, summaries, and each ladder's levels in the suite's order; every number with its interval."""
    yield from _three(f"score/{safe(entry.score.name)}", entry.score, 0)
    for summary in entry.summaries:
        yield from _three(f"summary/{safe(summary.name)}", summary, 0)
    names = [*(level.condition for level in board.references), *(ladder.name for ladder in board.ladders)]
    columns = [*((level,) for level in board.references), *(ladder.levels for ladder in board.ladders)]
    for part, levels in zip(distinct(names), columns, strict=True):
        for step, level in enumerate(levels):
            cell = entry.cells.get(level.condition)
            for score in () if cell is None or not cell.complete else cell.scores:
                yield from _three(f"{safe(score.name)}/{part}", score, step)
    yield Number("doubts", float(len(entry.flags) + sum(not h.ok for h in entry.health)))


def _three(name: str, score: Score, step: int) -> Iterator[Number]:
    for part, value in (("", score.value), (".low", score.low), (".high", score.high)):
        yield Number(name + part, value, step)


def safe(name: str) -> str:
    r"""A part of a metric's name that every tracker takes and no path climbs by: no /, no control, not `..`.

    >>> safe("PGD-20 eps=8/255"), safe("../../x"), safe("..")
    ('PGD-20 eps_8_255', '.._.._x', '_')
    """
    text = _FORBIDDEN.sub("_", name).strip()
    text = text if text.strip(".") else "_"
    if len(text) <= _LONGEST_PART:
        return text
    mark = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{text[: _LONGEST_PART - len(mark) - 1]}-{mark}"


def distinct(names: Iterable[str]) -> list[str]:
    """Safe parts for different names; those that would fall together are numbered.

    >>> distinct(["a=1", "a_1", "b"])
    ['a_1', 'a_1-2', 'b']
    """
    found: list[str] = []
    for name in names:
        part, k = safe(name), 2
        while part.casefold() in (f.casefold() for f in found):
            part, k = f"{safe(name)}-{k}", k + 1
        found.append(part)
    return found


def _text(value: str) -> str:
    line = shown(value)
    return line if len(line) <= _LONGEST_VALUE else line[: _LONGEST_VALUE - 1] + "…"
