"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from robobench.keys import plain
from robobench.leaderboard.matrix import matrices
from robobench.leaderboard.text import (
    DASH,
    MARK,
    mark,
    mark_rule,
    marks,
    number,
    span,
    stopped,
    summary_heads,
)
from robobench.types import finite

if TYPE_CHECKING:
    from robobench.api import Results
    from robobench.checks.planning import CellPlan
    from robobench.engine.plan import Plan
    from robobench.engine.resolve import Resolved
    from robobench.leaderboard.board import Entry, Leaderboard
    from robobench.leaderboard.matrix import Matrix
    from robobench.registry import Plugin
    from robobench.suite.suite import Suite
    from robobench.types import Score

_FIXED, _NUMBER = 30, 7  # characters: of rank, model, score and interval at the least; of one number


def print_json(value: Any) -> None:
    """JSON on standard output, keys in the order given; in ASCII, so that no name steers a terminal."""
    import sys

    sys.stdout.write(json.dumps(plain(value), indent=1) + "\n")


def without_nan(value: Any) -> Any:
    """The same value with null for every number that is undefined."""
    if isinstance(value, Mapping):
        return {k: without_nan(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(v) for v in value]
    return finite(value) if isinstance(value, float) else value


def count(n: int, thing: str) -> str:
    """A number of things in words.

    >>> count(1, "model"), count(1200, "model")
    ('1 model', '1,200 models')
    """
    return f"{n:,} {thing}" + ("" if n == 1 else "s")


def board_table(board: Leaderboard) -> None:
    """The ranking with its intervals, as wide as the terminal."""
    console = _console()
    heads = ["#", "model", "family", *(r.condition for r in board.references)]
    heads += [*(ladder.name for ladder in board.ladders), board.suite.score.name, "95 %"]
    title = _clean(board.suite.title)
    table = Table(
        title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold underline"
    )
    for head in heads:
        table.add_column(_clean(head), justify="left" if head in ("model", "family") else "right")
    table.columns[-1].no_wrap = True
    for entry in board.entries:
        table.add_row(*_board_row(board, entry))
    crowded = _FIXED + _NUMBER * (len(board.references) + len(board.ladders)) > console.width
    if crowded:  # numbers would be cut
        first = 3 + len(board.references)
        del table.columns[first : first + len(board.ladders)]
    if console.width < table.__rich_measure__(console, console.options).maximum:
        del table.columns[2]  # the family is the first to go
    console.print(table)
    ladders = (
        f"The {len(board.ladders)} ladders do not fit in here: the page and the other formats have them."
        if crowded
        else "Each ladder is the mean of its levels."
    )
    notes = ["Shares in %.", ladders, *_score_note(board)]
    if any(entry.rank and entry.rank[0] != entry.rank[1] for entry in board.entries):
        notes.append("Ranks like 1-2 are ties: these images cannot tell the models apart.")
    if any(entry.rank is None for entry in board.entries):
        notes.append("A model without a rank is incomplete.")
    if mark_rule(board):
        notes.append(mark_rule(board))
    console.print(" ".join(notes), style="dim")
    if stopped(board):
        console.print(_clean(f"Stopped early: {stopped(board)}"))
    _doubts(console, board)
    _summaries(console, board)
    for matrix in matrices(board):
        _matrix_table(console, matrix)


def _doubts(console: Console, board: Leaderboard) -> None:
    """What is the matter with the attacks, one line a model and reason."""
    for entry in board.entries:
        for said in dict.fromkeys(h.said for h in entry.health if not h.ok):
            console.print(_clean(f"{MARK} {entry.name}: {said}"), style="yellow")


def _summaries(console: Console, board: Leaderboard) -> None:
    """The suite's further numbers with their intervals."""
    heads = summary_heads(board)
    if not heads:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold underline")
    table.add_column("model")
    for head in heads:
        table.add_column(_clean(head), justify="right")
    for entry in board.entries:
        numbers = (f"{_percent(s)} {span(s)}".strip() for s in entry.summaries)
        table.add_row(_clean(entry.name), *(escape(n) for n in numbers))
    console.print()
    console.print(table)


def _matrix_table(console: Console, matrix: Matrix) -> None:
    """One rate of transferred images: a line for each source, a column for each target."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold underline")
    for head in ("source", *matrix.targets):
        table.add_column(_clean(head), justify="left" if head == "source" else "right")
    for i, source in enumerate(matrix.sources):
        scores = [matrix.score(i, j) for j in range(len(matrix.targets))]
        table.add_row(_clean(source), *(DASH if s is None else _percent(s) for s in scores))
    console.print()
    console.print(_clean(f"{matrix.rate} ({matrix.sign}): {matrix.title}"), style="italic")
    console.print(table)


def _score_note(board: Leaderboard) -> list[str]:
    """What the score is counted in, and which way it runs, where that is not plain."""
    unit = next((e.score.unit for e in board.entries), "fraction")
    said = "" if unit == "fraction" else f" is in {unit}"
    said += "" if board.higher_is_better else f"{',' if said else ' is'} better when lower"
    return [f"{_clean(board.suite.score.name)}{said}."] if said else []


def _console() -> Console:
    """Standard output; where it is no terminal, wide enough for a board."""
    import sys

    return Console() if sys.stdout.isatty() else Console(width=120)


def _board_row(board: Leaderboard, entry: Entry) -> list[str]:
    metric = board.suite.score.of
    cells = [
        _percent(entry.cells[r.condition].score(metric)) if r.condition in entry.cells else DASH
        for r in board.references
    ]
    ladders = [
        _percent(entry.ladders[la.name]) + mark(entry, la.levels) if la.name in entry.ladders else DASH
        for la in board.ladders
    ]
    rank = DASH if entry.rank is None else "-".join(str(r) for r in dict.fromkeys(entry.rank))
    total = entry.score
    interval = (
        DASH if total.low != total.low else f"{_percent(total, total.low)}{DASH}{_percent(total, total.high)}"
    )
    return [
        rank,
        _clean(entry.name),
        entry.family or "",
        *cells,
        *ladders,
        _percent(total) + marks(board, entry),
        interval,
    ]


def _percent(score: Score, value: float | None = None) -> str:
    """A score's value, or one of its bounds; undefined is a dash."""
    shown = score.value if value is None else value
    return number(shown, score.unit)


def failure_lines(results: Results) -> list[str]:
    """What went wrong in a run, one line a cause."""
    lines = [
        f"left out, cannot be decoded: {_clean(reason)}" for reason in results.outcome.undecodable.values()
    ]
    lines += [_clean(f"warning: {model}: {text}") for model, text in results.outcome.warnings.items()]
    causes: dict[tuple[str, str, str, str], list[str]] = {}
    for entry in results.leaderboard.failures:
        what = "not supported" if entry.unsupported else "failed"
        causes.setdefault((what, entry.model, entry.reason, entry.hint), []).append(entry.condition)
    for (what, model, reason, hint), conditions in causes.items():
        where = conditions[0] if len(conditions) == 1 else f"{len(conditions)} conditions"
        lines.append(_clean(f"{what}: {model}, {where}: {reason}" + (f" ({hint})" if hint else "")))
    return lines


def plan_table(
    resolved: Resolved,
    planned: Plan,
    found: Sequence[CellPlan],
    difference: float | None = None,
    precision: float | None = None,
) -> None:
    """Images wanted and missing for each condition, summed over the models, and what they can tell."""
    from robobench.checks.planning import DISCORDANT, EXPECTED, RULE, images_taken

    taken = {} if difference is None else images_taken(difference)
    table = Table(
        title=f"{_clean(resolved.suite.title)}, {count(len(resolved.models), 'model')}", title_justify="left"
    )
    heads = ["condition", "data", "images", "in the store", "missing"]
    heads += [f"resolves at {d:.0%}" for d in DISCORDANT]
    if precision is not None:
        heads.append(f"expected for ±{precision:g}")
    for name in heads:
        table.add_column(name, justify="left" if name in ("condition", "data") else "right")
    table.columns[0].no_wrap = True
    for condition in resolved.conditions:
        mine = [p for p in found if p.cell.condition.name == condition.name]
        wanted, missing = sum(p.images for p in mine), sum(p.missing for p in mine)
        cells = [_clean(condition.name), _clean(resolved.data[condition.data].title)]
        cells += [f"{wanted:,}", f"{wanted - missing:,}", f"{missing:,}"]
        cells += [_points([p.smallest.get(d, math.nan) for p in mine]) for d in DISCORDANT]
        if precision is not None:
            cells.append(_images([p.together for p in mine if p.together is not None]))
        table.add_row(*cells)
    console = _console()
    console.print(table)
    for share, images in taken.items():
        console.print(f"A difference of {difference:g} takes {count(images, 'image')} at {share:.0%}.")
    console.print(RULE if precision is None else f"{RULE} {EXPECTED}", style="dim")
    console.print(
        f"{len(planned.items):,} work items, {'at most ' if precision is not None else ''}{planned.cost:,} "
        f"forward passes (a backward one counts as two); fingerprint {resolved.fingerprint}"
    )


def _points(shares: Sequence[float]) -> str:
    """Differences in points, the range over the models where they are not the same."""
    known = sorted({f"{100 * v:.1f}" for v in shares if v == v}, key=float)
    return "–".join(dict.fromkeys((known[0], known[-1]))) if known else DASH


def _images(counts: Sequence[int]) -> str:
    """Numbers of images, the range over the models where they are not the same."""
    return "–".join(f"{n:,}" for n in dict.fromkeys((min(counts), max(counts)))) if counts else DASH


def listing(found: Mapping[str, Mapping[str, str]]) -> None:
    """Names with one line each, by kind."""
    console = _console()
    for kind, names in found.items():
        table = Table(title=kind, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column("name", no_wrap=True, style="bold")
        table.add_column("what")
        for name, summary in names.items():
            table.add_row(_clean(name), _clean(summary))
        console.print(table)
        console.print()


def plugin_page(plugin: Plugin) -> None:
    """A plug-in's documentation and parameters."""
    console = _console()
    console.print(f"[bold]{escape(plugin.name)}[/bold]  {plugin.kind}, version {plugin.version}")
    for paragraph in (inspect.getdoc(plugin.cls) or "").split("\n\n"):
        console.print(Text(" ".join(paragraph.split("\n"))), end="\n\n")
    table = Table(title="parameters", title_justify="left")
    for name in ("name", "type", "default", "what"):
        table.add_column(name)
    from robobench.params import explained
    from robobench.registry import schema

    notes = explained(plugin.cls)
    shapes = schema(plugin.cls).model_json_schema().get("properties", {})  # type: ignore[arg-type]
    for item in fields(plugin.cls):
        if item.init:
            default = (
                "required" if item.default is MISSING and item.default_factory is MISSING else item.default
            )
            shown = "" if default is MISSING else str(default)
            shape = escape(_shape(shapes.get(item.name, {})))
            table.add_row(item.name, shape, escape(shown), escape(notes.get(item.name, "")))
    console.print(table)


def _shape(shape: Mapping[str, Any]) -> str:
    """A JSON schema in a few words: type, choices and limits."""
    if "anyOf" in shape:
        return " or ".join(_shape(s) for s in shape["anyOf"])
    if "enum" in shape:
        return ", ".join(map(str, shape["enum"]))
    if "const" in shape:
        return str(shape["const"])
    words = {"minimum": ">=", "maximum": "<=", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
    limits = [f"{sign} {shape[key]}" for key, sign in words.items() if key in shape]
    return " ".join([str(shape.get("type", "any")), ", ".join(limits)]).strip()


def suite_page(suite: Suite) -> None:
    """A suite's conditions, spelled out."""
    console = _console()
    console.print(f"[bold]{escape(suite.name)}[/bold]  {escape(suite.title)}")
    if suite.description:
        console.print(escape(suite.description))
    facts = {
        "data": ", ".join(d.title for d in suite.data),
        "view": "each model's own" if suite.view is None else str(suite.view),
        "models": ", ".join(m.name or m.spec for m in suite.models) or "none: give --model",
        "metrics": ", ".join(suite.metrics),
        "score": f"{suite.score.name}: {suite.score.formula} over {suite.score.over} of {suite.score.of}",
        "seed": str(suite.seed),
        "digest": suite.digest,
    }
    for key, value in facts.items():
        console.print(f"{key}: {escape(value)}")
    table = Table(title="conditions", title_justify="left")
    for name in ("name", "ladder", "steps", "limit"):
        table.add_column(name)
    for condition in suite.conditions:
        steps = "; ".join(
            f"{s.name} " + ", ".join(f"{k}={v}" for k, v in s.params.items()) for s in condition.steps
        )
        limit = str(condition.limit or "")
        table.add_row(_clean(condition.name), _clean(condition.ladder), _clean(steps), limit)
    console.print(table)


def frame_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """The answer of a query."""
    table = Table()
    for name in columns:
        table.add_column(_clean(name))
    for row in rows:
        table.add_row(*(DASH if value is None else _clean(str(value)) for value in row))
    _console().print(table)


def _clean(text: str) -> str:
    """Text that can neither mark up nor steer the terminal."""
    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))
