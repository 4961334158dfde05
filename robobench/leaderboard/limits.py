"""Curves of accuracy against what an attack may spend, where a suite asks for it at several limits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl

from robobench.leaderboard.board import Entry, Leaderboard, Level
from robobench.params import read_radius
from robobench.types import Score

METRIC = "attack.accuracy_within"
_SAID = {"l2": "l2 distance", "linf": "linf distance", "queries": "queries"}


@dataclass(frozen=True)
class LimitCurve:
    """One condition, and the metrics that are the points of its curve, smallest limit first."""

    level: Level
    along: str
    limits: tuple[str, ...]
    metrics: tuple[str, ...]

    def points(self, entry: Entry) -> list[tuple[int, Score]]:
        """(position, score) where the score is defined."""
        cell = entry.cells[self.level.condition]
        found = [(place, cell.score(name)) for place, name in enumerate(self.metrics)]
        return [(place, s) for place, s in found if cell.complete and math.isfinite(s.value)]


def limit_curves(board: Leaderboard) -> tuple[LimitCurve, ...]:
    """For each attack whose accuracy depends on the limit, and each kind of limit, its curve.

    Levels of a ladder have none: an image that fell at a smaller one keeps what it took there.
    """
    levels = [level for ladder in board.ladders if ladder.along is None for level in ladder.levels]
    found = [
        LimitCurve(level, _SAID[kind], limits, names)
        for level in levels
        for kind, limits, names in _asked(board.suite.metrics)
    ]
    return tuple(c for c in found if any(_falls(c.points(entry)) for entry in board.entries))


def _asked(metrics: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """(kind of limit, limits, metrics) where a suite has the metric at two limits or more of one kind."""
    kinds: dict[str, list[tuple[float, str, str]]] = {}
    for name in metrics:
        plugin, _, query = name.partition("?")
        given = parse_qsl(query)
        if plugin == METRIC and len(given) == 1 and given[0][0] in _SAID:
            ((kind, limit),) = given
            kinds.setdefault(kind, []).append((read_radius(limit), limit, name))
    for kind, limits in kinds.items():
        if len(limits) > 1:
            _, texts, names = zip(*sorted(limits), strict=True)
            yield kind, texts, names


def _falls(points: list[tuple[int, Score]]) -> bool:
    return len({s.value for _, s in points}) > 1
