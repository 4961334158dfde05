"""`robobench diff`: which field keeps two results apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robobench.cli import options
from robobench.errors import ExitCode

if TYPE_CHECKING:
    from robobench.leaderboard.diff import Diff, Pair
    from robobench.types import Score

_WHAT = "A results folder, the folder of a board, a leaderboard.json or a baseline."


def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help=_WHAT)],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    suite: Annotated[
        str | None,
        typer.Option("--suite", metavar="NAME", help="Of which suite; by default each one's newest run."),
    ] = None,
    json: options.Json = False,
) -> int:
    """Name every field in which two results differ, and say whether it keeps them off one board.

    Where the protocols are the same, the models' scores follow side by side and the exit code is 0; where
    they are not, it is 3.
    """
    from robobench.cli.table import print_json, without_nan
    from robobench.leaderboard.diff import diff as compare
    from robobench.leaderboard.diff import load

    found = compare(load(first, suite), load(second, suite))
    if json:
        print_json(without_nan(_as_json(found)))
    else:
        _print(found)
    return ExitCode.OK if found.same else ExitCode.CHECK


def _as_json(found: Diff) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "same": found.same,
        "fingerprints": list(found.fingerprints),
        "differences": [{"field": d.field, **asdict(d)} for d in found.differences],
        "scores": [asdict(p) for p in found.pairs],
    }


def _print(found: Diff) -> None:
    from robobench.cli.table import count, frame_table
    from robobench.engine.differences import in_words

    if found.differences:
        rows = [
            ("yes" if d.protocol else "no", d.field, in_words(d.first), in_words(d.second))
            for d in found.differences
        ]
        frame_table(("protocol", "field", found.first, found.second), rows)
    if found.same:
        if found.pairs:
            frame_table(("model", found.first, found.second, "difference"), [_row(p) for p in found.pairs])
        typer.echo(f"one protocol, {found.fingerprints[0]}: the two can stand on one board")
        return
    apart = sum(d.protocol for d in found.differences)
    typer.echo(
        f"two protocols, {' and '.join(found.fingerprints)}, {count(apart, 'field')} apart: their numbers "
        "are not comparable"
    )


def _row(pair: Pair) -> tuple[str, ...]:
    from robobench.leaderboard.text import DASH, number, unit_sign

    if pair.first is None or pair.second is None:
        change = DASH
    else:
        gap = pair.second.value - pair.first.value
        sign = "+" if gap > 0 else ""
        change = f"{sign}{number(gap, pair.first.unit)} {unit_sign(pair.first.unit)}"
    return pair.model, _said(pair.first), _said(pair.second), change


def _said(score: Score | None) -> str:
    from robobench.leaderboard.text import DASH, said

    return DASH if score is None else said(score)
