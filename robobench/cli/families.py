"""`robobench families`: whether families of models differ beyond clean accuracy and size, without torch."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from robobench.cli import options
from robobench.errors import ExitCode, RobobenchError


def families(
    suite: Annotated[
        str | None, typer.Argument(metavar="[SUITE]", help="Of which suite; by default the latest run's.")
    ] = None,
    out: options.Out = options.RESULTS,
    trained: Annotated[
        list[str] | None,
        typer.Option(
            "--trained", metavar="MODEL=LABEL", help="What a model was trained on, to hold it equal."
        ),
    ] = None,
    json: options.Json = False,
) -> int:
    """Compare ViT, CNN, MLP and hybrid models at equal clean accuracy, size and training data."""
    from robobench.cli.table import frame_table, print_json, without_nan
    from robobench.leaderboard.build import build
    from robobench.leaderboard.collect import collect, newest_run
    from robobench.leaderboard.families import compare_families, members_of
    from robobench.leaderboard.text import DASH, number, shown
    from robobench.store import Store

    store = Store.open(out)
    board = build(collect(newest_run(store, suite), store))
    members = members_of(board, _labels(trained or (), [e.name for e in board.entries]))
    found = compare_families(members, higher_is_better=board.higher_is_better)
    if json:
        print_json(without_nan(asdict(found)))
        return ExitCode.OK
    unit = next((e.score.unit for e in board.entries), "fraction")
    typer.echo("models: " + shown(", ".join(f"{n} {f}" for f, n in found.models.items()) or "none"))
    typer.echo("held equal: " + (", ".join(found.covariates) or "nothing"))
    for name, why in found.left_out.items():
        typer.echo(shown(f"left out: {name} ({why})"))
    rows = [
        (d.first, d.second, d.verdict, number(d.value, unit),
         DASH if d.low != d.low else f"[{number(d.low, unit)}, {number(d.high, unit)}]",
         DASH if d.p != d.p else f"{d.p:.3f}", d.why)
        for d in found.differences
    ]  # fmt: skip
    frame_table(["family", "against", "verdict", board.suite.score.name, "95 %", "p (Holm)", "why"], rows)
    return ExitCode.OK


def _labels(pairs: list[str] | tuple[()], names: list[str]) -> dict[str, str]:
    """`MODEL=LABEL` pairs. Raises RobobenchError."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, label = pair.rpartition("=")
        if not equals or not label or name not in names:
            raise RobobenchError(f"--trained {pair}: expected MODEL=LABEL with one of {', '.join(names)}")
        found[name] = label
    return found
