"""A leaderboard as CSV: one row for each model, condition and metric, then ladders and scores."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator

from robobench.leaderboard.board import Entry, Leaderboard, Level
from robobench.leaderboard.front import Front, front_of, speed_in
from robobench.leaderboard.text import shown
from robobench.leaderboard.verified import word
from robobench.types import Score

COLUMNS = (
    "suite", "model", "family", "parameters", "rank_best", "rank_worst", "ties",
    "kind", "ladder", "condition", "along", "level", "data",
    "metric", "value", "low", "high", "n", "expected", "unit", "higher_is_better", "doubts", "source",
    "macs", "images_per_second", "measured_on", "verified",
)  # fmt: skip


def to_csv(board: Leaderboard) -> str:
    """Long format. Shares are fractions; what is undefined is an empty field.

    Text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    front = front_of(board)
    for entry in board.entries:
        cost = _cost(front, entry)
        for line in _lines(board, entry):
            writer.writerow([_field(v) for v in (*line, *cost, word(board, entry))])
    return out.getvalue()


def _cost(front: Front | None, entry: Entry) -> tuple[str | float | int | None, ...]:
    """What a model costs, as the front has it; where it is not on the front's machine, as measured last."""
    speed = speed_in(entry, front.setting if front else None) or speed_in(entry, None)
    if speed is None:
        return None, None, None
    hardware, precision, batch = speed.setting
    return speed.macs, speed.images_per_second, f"{hardware}; {precision}, batches of {batch}"


def _lines(board: Leaderboard, entry: Entry) -> Iterator[tuple[str | float | int | None, ...]]:
    best, worst = entry.rank or (None, None)
    head = (
        board.suite.name, entry.name, entry.family, entry.parameters, best, worst, " ".join(entry.ties),
    )  # fmt: skip
    places: list[tuple[str, str | None, Level]] = [("", None, level) for level in board.references]
    places += [(ladder.name, ladder.along, level) for ladder in board.ladders for level in ladder.levels]
    for ladder_name, along, level in places:
        cell = entry.cells[level.condition]
        where = (ladder_name, level.condition, along, level.label, level.data)
        doubts = "; ".join(entry.doubts([level.condition]))
        source = level.source.model if level.source else ""
        for score in cell.scores:
            yield (*head, "condition", *where, *_numbers(score, cell.expected), doubts, source)
        if cell.clean is not None:
            numbers = _numbers(cell.clean, cell.expected)
            yield (*head, "clean on the same images", *where, *numbers, "", source)
    levels = {ladder.name: [v.condition for v in ladder.levels] for ladder in board.ladders}
    for name, score in entry.ladders.items():
        doubts = "; ".join(entry.doubts(levels.get(name, ())))
        yield (*head, "ladder", name, "", "", "", "", *_numbers(score, None), doubts, "")
    for score in entry.summaries:
        yield (*head, "summary", "", "", "", "", "", *_numbers(score, None), "", "")
    doubts = "; ".join(entry.doubts(c for some in levels.values() for c in some))
    yield (*head, "score", "", "", "", "", "", *_numbers(entry.score, None), doubts, "")


def _numbers(score: Score, expected: int | None) -> tuple[str | float | int | None, ...]:
    return (
        score.name, score.value, score.low, score.high, score.n, expected, score.unit,
        "yes" if score.higher_is_better else "no",
    )  # fmt: skip


def _field(value: str | float | int | None) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if not isinstance(value, str):
        return repr(value)
    text = shown(value)
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text
