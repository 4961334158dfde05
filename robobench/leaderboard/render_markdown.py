"""A leaderboard as Markdown for GitHub."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from robobench.leaderboard import verified
from robobench.leaderboard.board import Entry, Ladder, Leaderboard, Level
from robobench.leaderboard.front import front_of, macs, rate, rule, speed_in, word
from robobench.leaderboard.front import headline as front_headline
from robobench.leaderboard.gallery import CLASSES_RULE
from robobench.leaderboard.matrix import RULE, matrices
from robobench.leaderboard.scatter import fit_of
from robobench.leaderboard.text import (
    DASH,
    HEALTH_RULE,
    columns_rule,
    count,
    coverage,
    drops,
    failed,
    falls,
    headline,
    health,
    images,
    interval_rule,
    level_name,
    mark,
    mark_rule,
    marks,
    number,
    problems,
    protocol,
    ranks,
    shown,
    span,
    summary_heads,
    tie_rule,
    unit_sign,
)
from robobench.types import Score

_MOST_CLASSES = 5
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&#!$])")


def to_markdown(board: Leaderboard) -> str:
    """Main table, a table for each ladder, further metrics, problems and the protocol."""
    parts = [
        f"# {escaped(board.suite.title)}",
        escaped(board.suite.description),
        f"**{escaped(headline(board))}**",
        _main(board),
        escaped(f"{mark_rule(board)} {columns_rule(board)} {interval_rule(board)} {tie_rule(board)}".strip()),
        escaped(verified.rule(board)),
        _summaries(board),
        *(_ladder(board, ladder) for ladder in board.ladders),
        _front(board),
        _fitted(board),
        *_matrices(board),
        *_further(board),
        _hurt(board),
        _health(board),
        _list("Beware", [f"**{escaped(m)}** {escaped(what)}" for m, what in problems(board)]),
        _list(
            "Failures",
            [f"**{escaped(m)}**, {escaped(c)}: {escaped(what)}" for m, c, what in failed(board)],
        ),
        _list(
            "Verified",
            [f"**{escaped(e.name)}**: {escaped(verified.details(e))}" for e in board.entries if e.verified],
        ),
        _list("Protocol", [f"**{escaped(k)}**: {escaped(v)}" for k, v in protocol(board)]),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def escaped(text: str) -> str:
    r"""Text that Markdown and HTML leave as it is: no markup, no table cell, no link.

    >>> print(escaped("a_b|<i>"))
    a\_b\|\<i\>
    """
    plain = _SPECIAL.sub(r"\\\1", shown(text))
    plain = plain.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")
    return re.sub(r"^(\s*\d*)([-+.)])(?=\s|$)", r"\1\\\2", plain)  # would start a list


def _main(board: Leaderboard) -> str:
    suite, of = board.suite, board.suite.score.of
    sign = next((unit_sign(e.score.unit) for e in board.entries), "")
    heads = ["Rank", "Ties", "Model", f"{suite.score.name} ({sign})"]
    heads += [f"{r.condition} ({images([r])})" for r in board.references]
    heads += [f"{ladder.name} ({images(ladder.levels)})" for ladder in board.ladders]
    heads += ["Family", "Params"]
    said = [verified.word(board, e) for e in board.entries]
    heads += ["Verified"] if any(said) else []
    rows = []
    for e, word_ in zip(board.entries, said, strict=True):
        rows.append(
            [
                ranks(e),
                " ".join(e.ties) or DASH,
                escaped(e.name),
                (f"**{_number(e.score)}**" if e.rank is not None else _number(e.score)) + marks(board, e),
                *(_cell(e, r, of) for r in board.references),
                *(_number(e.ladders[v.name]) + mark(e, v.levels) for v in board.ladders),
                escaped(e.family or DASH),
                count(e.parameters),
                *([f"{verified.CHECK} {word_}" if e.verified else word_] if word_ else []),
            ]
        )
    return _table([escaped(h) for h in heads], rows, left=(2,))


def _summaries(board: Leaderboard) -> str:
    """The suite's further numbers, a row for each model."""
    heads = summary_heads(board)
    if not heads:
        return ""
    rows = [[escaped(e.name), *(_number(s) for s in e.summaries)] for e in board.entries]
    return "\n\n".join(["## Summaries", _table([escaped(h) for h in ("Model", *heads)], rows, left=(0,))])


def _ladder(board: Leaderboard, ladder: Ladder) -> str:
    of = board.suite.score.of
    along = f" along {ladder.along}" if ladder.along else ""
    heads = ["Model", *(f"{level_name(ladder, v)} ({images([v])})" for v in ladder.levels)]
    rows = [[escaped(e.name), *(_cell(e, v, of) for v in ladder.levels)] for e in board.entries]
    parts = [f"## {escaped(ladder.name + along)}", _table([escaped(h) for h in heads], rows, left=(0,))]
    own = [(e.name, e.cells[ladder.levels[0].condition].clean) for e in board.entries]
    values = "; ".join(f"{escaped(name)} {_number(s)}" for name, s in own if s is not None)
    if values:
        parts.append(f"Clean on the same images: {values}.")
    fallen = drops(board, ladder)
    return "\n\n".join([*parts, escaped(fallen)] if fallen else parts)


def _matrices(board: Leaderboard) -> Iterator[str]:
    """Sources and targets of transferred images, a table for each rate."""
    found = matrices(board)
    for matrix in found:
        heads = ["Source ↓ target →", *matrix.targets]
        rows = [
            [escaped(source), *(escaped(matrix.text(i, j)) for j in range(len(matrix.targets)))]
            for i, source in enumerate(matrix.sources)
        ]
        title = f"## {escaped(f'{matrix.rate} ({matrix.sign}): {matrix.title}')}"
        yield "\n\n".join([title, escaped(matrix.how), _table([escaped(h) for h in heads], rows, left=(0,))])
    if found:
        yield escaped(RULE)


def _front(board: Leaderboard) -> str:
    """Score against speed, where that was measured."""
    front = front_of(board)
    if front is None:
        return ""
    heads = ["Model", board.suite.score.name, "Images/s", "MACs", "Params", "Front"]
    rows = []
    for i, e in enumerate(board.entries):
        speed = speed_in(e, front.setting)
        measured = [DASH, DASH] if speed is None else [
            f"{rate(speed.images_per_second)} \\[{rate(speed.low)}, {rate(speed.high)}\\]", macs(speed.macs)
        ]  # fmt: skip
        rows.append(
            [escaped(e.name), _number(e.score), *measured, count(e.parameters), escaped(word(front, i))]
        )
    table = _table([escaped(h) for h in heads], rows, left=(0, 5))
    said = escaped(f"{front_headline(front)} {rule(front)}")
    return "\n\n".join(["## Score against speed", table, said])


def _fitted(board: Leaderboard) -> str:
    """How far each model is from the line of the board's models, where there is one."""
    fit = fit_of(board)
    if fit is None:
        return ""
    heads = [
        "Model",
        "clean (%)",
        f"{board.suite.score.name} (%)",
        "Promised by the line (%)",
        "Above it (points)",
    ]
    rows = [
        [
            escaped(pair.entry.name), _number(pair.clean), _number(pair.total),
            f"{number(promised, 'fraction')} \\[{number(low, 'fraction')}, {number(high, 'fraction')}\\]",
            f"{above:+.1f}",
        ]
        for pair, promised, low, high, above in fit.distances
    ]  # fmt: skip
    table = _table([escaped(h) for h in heads], rows, left=(0,))
    return "\n\n".join(["## Distance to the line", table, escaped(fit.rule)])


def _further(board: Leaderboard) -> Iterator[str]:
    """The metrics besides the composite's, one table each: a row for each condition."""
    levels = [*board.references, *(v for ladder in board.ladders for v in ladder.levels)]
    for metric in board.suite.metrics:
        if metric == board.suite.score.of or not board.entries:
            continue
        unit = next(iter(board.entries)).cells[levels[0].condition].score(metric).unit
        heads = ["Condition", "n", *(e.name for e in board.entries)]
        rows = [
            [escaped(v.condition), str(v.expected), *(_cell(e, v, metric) for e in board.entries)]
            for v in levels
        ]
        table = _table([escaped(h) for h in heads], rows, left=(0,))
        title = html.escape(shown(f"{metric} ({unit_sign(unit)})"))
        yield f"<details><summary>{title}</summary>\n\n{table}\n\n</details>"


def _cell(entry: Entry, level: Level, metric: str) -> str:
    cell = entry.cells[level.condition]
    part = coverage(cell)
    return _number(cell.score(metric)) + mark(entry, [level]) + (f" ({part})" if part else "")


def _hurt(board: Leaderboard) -> str:
    """The classes that models lose most."""
    if not board.classes:
        return ""
    heads = ["Class", "n", "clean (%)", "under the conditions (%)"]
    rows = [
        [escaped(c.name), str(c.hurt.n), _number(c.clean), _number(c.hurt)]
        for c in board.classes[:_MOST_CLASSES]
    ]
    return "\n\n".join(
        ["## Most hurt classes", _table([escaped(h) for h in heads], rows, left=(0,)), escaped(CLASSES_RULE)]
    )


def _health(board: Leaderboard) -> str:
    heads, rows = health(board)
    if not rows:
        return ""
    table = _table([escaped(h) for h in heads], [[escaped(v) for v in row] for row in rows], left=(0, 1))
    said = " ".join([HEALTH_RULE, *falls(board)])
    return f"<details><summary>Health of the attacks</summary>\n\n{table}\n\n{escaped(said)}\n\n</details>"


def _number(score: Score) -> str:
    return f"{number(score.value, score.unit)} {span(score)}".strip().replace("[", "\\[").replace("]", "\\]")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    line = "|".join(":---" if i in left else "---:" for i in range(len(heads)))
    return "\n".join([f"| {' | '.join(heads)} |", f"|{line}|", *(f"| {' | '.join(r)} |" for r in rows)])


def _list(title: str, items: Sequence[str]) -> str:
    return "\n".join([f"## {title}", "", *(f"- {i}" for i in items)]) if items else ""
