"""`robobench compare`: two models of a results folder, paired image by image, without torch."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from robobench.cli import options
from robobench.errors import ExitCode

if TYPE_CHECKING:
    from robobench.leaderboard.compare import Comparison
    from robobench.leaderboard.verdict import Line


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A model of the results folder, by its name.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The model that it is compared with.")],
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite", metavar="NAME", help="Of which suite; by default of the newest run with both."
        ),
    ] = None,
    out: options.Out = options.RESULTS,
    margin: Annotated[
        float,
        typer.Option(
            "--margin", min=1e-6, max=0.999, help="A difference that does not matter: 0.01 is one point."
        ),
    ] = 0.01,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", metavar="NAME", help="What conditions are compared in; by default what is scored."
        ),
    ] = None,
    json: options.Json = False,
) -> int:
    """Say whether A is better than B, worse, equivalent within a margin, or whether that cannot be told.

    Both are compared on the images that both have answered: accuracy by McNemar's exact test, everything else
    by the difference on the same resampled images. Over the conditions p-values are adjusted by Holm's
    method. Where the images cannot tell, it says how many would.
    """
    from robobench.cli.table import print_json, without_nan
    from robobench.leaderboard.compare import compare as compare_pair
    from robobench.leaderboard.compare import stored_pair
    from robobench.leaderboard.compare_text import sentence
    from robobench.store import Store

    board = stored_pair(Store.open(out), first, second, suite)
    found = compare_pair(board, margin=margin, metric=metric)
    if json:
        print_json({**without_nan(asdict(found)), "verdict": sentence(found)})
    else:
        _print(found)
    return ExitCode.OK


def _print(found: Comparison) -> None:
    from robobench.cli.table import frame_table
    from robobench.leaderboard.compare_text import rule, sentence
    from robobench.leaderboard.text import shown

    typer.echo(f"{shown(found.title)}: A = {shown(found.first)}, B = {shown(found.second)}")
    numbers = (*([found.score] if found.score else ()), *found.summaries)
    frame_table(_HEADS, [_row(line) for line in (*found.conditions, *numbers)])
    for name, reason in found.skipped.items():
        typer.secho(shown(f"not compared: {name}: {reason}"), fg="yellow", err=True)
    typer.echo(f"{rule(found)}\n\n{sentence(found)}")


_HEADS = ("", "images", "A", "B", "A - B", "95 % interval", "p", "A is", "would tell")


def _row(line: Line) -> tuple[str, ...]:
    from robobench.leaderboard.compare_text import bracket, rounded_up, signed
    from robobench.leaderboard.text import DASH, number

    values = [number(v, line.unit) for v in (line.first, line.second)]
    would = f"{rounded_up(line.enough):,}" if line.enough else DASH if line.verdict == "cannot tell" else ""
    p = "<0.001" if line.p < 0.001 else f"{line.p:.3f}"
    gap = signed(line.difference, line.unit)
    return (line.name, f"{line.n:,}", *values, gap, bracket(line), p, line.verdict, would)
