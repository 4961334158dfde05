"""Robustness against speed: which models nobody beats in both, and how surely the others are beaten."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from robobench.leaderboard.board import Entry, Leaderboard
from robobench.leaderboard.text import DASH, listed, shown
from robobench.speed import Speed

Place = Literal["line", "near", "off"]
Axis = Literal["images/s", "MACs"]
Setting = tuple[str, str, int]


@dataclass(frozen=True)
class Point:
    """A ranked model with what it costs. index: its place on the board."""

    index: int
    entry: Entry
    speed: Speed


@dataclass(frozen=True)
class Front:
    """Models in the plane of a score and a cost, measured alike.

    axis: images a second where models share hardware, precision and batch size, else multiply-accumulates of
    one image, which no machine changes. setting: what they share. places: of each point, `line` when no
    other point is at least as good in both by the plain numbers, and better in one; `off` when some other is
    surely better in both: its interval of the score does not touch this one's, nor does that of the images a
    second (MACs are exact); `near` in between. A model that is not `off` is on the front.
    """

    axis: Axis
    setting: Setting | None
    points: tuple[Point, ...]
    places: tuple[Place, ...]
    beaten_by: tuple[int | None, ...]  # the index of a model that is surely better in both
    higher_is_better: bool
    elsewhere: tuple[str, ...]  # models that were measured in another setting only

    def cost(self, point: Point) -> float:
        """Where a point is on the axis."""
        return _cost(self.axis, point.speed)

    @property
    def stairs(self) -> tuple[Point, ...]:
        """The points of the drawn line, from the best score to the cheapest."""
        chosen = [p for p, place in zip(self.points, self.places, strict=True) if place == "line"]
        sign = -1 if self.higher_is_better else 1
        return tuple(sorted(chosen, key=lambda p: (sign * p.entry.score.value, p.index)))


def front_of(board: Leaderboard) -> Front | None:
    """The front of a board's ranked models, None where none was measured.

    Of several settings the one that most ranked models share is taken. Where no two share one, but two have
    MACs, those are the axis.
    """
    able = [(i, e) for i, e in enumerate(board.entries) if e.rank is not None and _sound(e)]
    if not able:
        return None
    counts = Counter(s for _, e in able for s in {speed.setting for speed in _sound(e)})
    setting = min(counts, key=lambda s: (-counts[s], s))
    axis: Axis = "images/s"
    points = _points(able, setting)
    counted = tuple(p for p in _points(able, None) if p.speed.macs)
    if len(points) < 2 <= len(counted):
        axis, points = "MACs", counted
    seen = {p.index for p in points}
    beaten = tuple(_beaten_by(axis, p, points, board.higher_is_better) for p in points)
    places: tuple[Place, ...] = tuple(
        "off" if by is not None else "line" if _on_line(axis, p, points, board.higher_is_better) else "near"
        for p, by in zip(points, beaten, strict=True)
    )
    return Front(
        axis=axis,
        setting=setting if axis == "images/s" else None,
        points=points,
        places=places,
        beaten_by=beaten,
        higher_is_better=board.higher_is_better,
        elsewhere=tuple(e.name for i, e in able if i not in seen),
    )


def word(front: Front, index: int) -> str:
    """Where a model is, in the table."""
    found = [k for k, p in enumerate(front.points) if p.index == index]
    if not found:
        return DASH
    by = front.beaten_by[found[0]]
    if by is not None:
        return f"off it, beaten by {next(shown(p.entry.name) for p in front.points if p.index == by)}"
    return "on the line" if front.places[found[0]] == "line" else "not surely off it"


def headline(front: Front) -> str:
    """Which models are on the front, and which of them only perhaps."""
    named = {p: _names(front, p) for p in ("line", "near")}
    rest = len(front.points) - len(named["line"]) - len(named["near"])
    text = f"On the front: {_and(named['line'], 8)}."
    if named["near"]:
        one = len(named["near"]) == 1
        text += (
            f" {_and(named['near'], 4)} {'lies' if one else 'lie'} behind the line, but no model is surely "
            f"{_cheaper(front)} and surely better."
        )
    if rest:
        text += f" {rest} {'model is' if rest == 1 else 'models are'} off it."
    return text


def rule(front: Front) -> str:
    """What the axes are, where they were measured, and when a model is off the front."""
    off = (
        f"A model is off the front only when another is surely {_cheaper(front)} and surely better: their "
        "intervals of the score do not touch"
        + (", nor do those of the images a second." if front.axis == "images/s" else "; MACs are exact.")
    )
    return f"{where(front)} {off}"


CHART_RULE = "The line goes by the plain numbers. A marker's area grows with the model's parameters."


def where(front: Front) -> str:
    """The hardware and how it was measured; for MACs, why not speed."""
    left = ""
    if front.elsewhere:
        names = listed([shown(n) for n in front.elsewhere])
        left = f" Measured otherwise only, and left out: {names}."
    if front.setting is None:
        return (
            "MACs (multiply-accumulates of matrix products, convolutions and attention) of one image at each "
            f"model's own input size; no two models' speeds were measured alike.{left}"
        )
    hardware, precision, batch = front.setting
    torch = ", ".join(sorted({shown(p.speed.torch) for p in front.points} - {""}))
    repeats = sorted({p.speed.repeats for p in front.points})
    times = "–".join(str(n) for n in dict.fromkeys((repeats[0], repeats[-1])))
    return (
        f"Measured on {shown(hardware)}: {shown(precision)}, batches of {batch}, each model at its own input "
        f"size{f', torch {torch}' if torch else ''}; median of {times} repeats with its 95 % interval.{left}"
    )


def speed_in(entry: Entry, setting: Setting | None) -> Speed | None:
    """A model's newest measurement in a setting; without a setting, its newest one."""
    fit = [s for s in _sound(entry) if setting in (None, s.setting)]
    return fit[-1] if fit else None


def rate(value: float) -> str:
    """Images a second, or any count, with three digits.

    >>> rate(2.345), rate(1234.5), rate(25_123)
    ('2.35', '1,230', '25,100')
    """
    if not math.isfinite(value) or value <= 0:
        return DASH
    digits = max(0, 2 - math.floor(math.log10(value)))
    whole = 10 ** max(0, math.floor(math.log10(value)) - 2)
    return f"{round(value / whole) * whole:,}" if not digits else f"{value:.{digits}f}"


def macs(value: float | None) -> str:
    """Multiply-accumulates, three digits.

    >>> macs(4_089_184_256), macs(2_300_000), macs(None)
    ('4.09 G', '2.30 M', '–')
    """
    if not value:
        return DASH
    sign, size = next(((s, z) for s, z in (("G", 1e9), ("M", 1e6)) if value >= z), ("k", 1e3))
    return f"{rate(value / size)} {sign}"


def memory(value: int | None) -> str:
    """Bytes as MB.

    >>> memory(123_456_789), memory(None)
    ('123 MB', '–')
    """
    return f"{rate(value / 1e6)} MB" if value else DASH


def _points(able: Sequence[tuple[int, Entry]], setting: Setting | None) -> tuple[Point, ...]:
    found = ((i, e, speed_in(e, setting)) for i, e in able)
    return tuple(Point(i, e, s) for i, e, s in found if s is not None)


def _sound(entry: Entry) -> tuple[Speed, ...]:
    """The measurements that can be true: a board's file may say anything."""
    return tuple(s for s in entry.speeds if s.sound)


def _cost(axis: Axis, speed: Speed) -> float:
    return speed.images_per_second if axis == "images/s" else float(speed.macs or math.nan)


def _beaten_by(axis: Axis, point: Point, points: Sequence[Point], higher: bool) -> int | None:
    return next((o.index for o in points if _surely_better(axis, o, point, higher)), None)


def _surely_better(axis: Axis, a: Point, b: Point, higher: bool) -> bool:
    """Whether a beats b in both, beyond the intervals."""
    one, other = a.entry.score, b.entry.score
    score = one.low > other.high if higher else one.high < other.low
    if axis == "images/s":
        return score and a.speed.low > b.speed.high
    return score and _cost(axis, a.speed) < _cost(axis, b.speed)


def _on_line(axis: Axis, point: Point, points: Sequence[Point], higher: bool) -> bool:
    """Whether no other is at least as good in both and better in one, by the plain numbers."""

    def worth(p: Point) -> tuple[float, float]:
        score, cost = p.entry.score.value, _cost(axis, p.speed)
        return (score if higher else -score), (cost if axis == "images/s" else -cost)

    mine = worth(point)
    return not any(o != mine and o[0] >= mine[0] and o[1] >= mine[1] for o in map(worth, points))


def _cheaper(front: Front) -> str:
    return "faster" if front.axis == "images/s" else "cheaper"


def _names(front: Front, place: Place) -> list[str]:
    order = sorted(
        (p for p, at in zip(front.points, front.places, strict=True) if at == place), key=lambda p: p.index
    )
    return [shown(p.entry.name) for p in order]


def _and(names: Sequence[str], most: int) -> str:
    if len(names) > most:
        return listed(names, most)
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
