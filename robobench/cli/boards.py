"""`robobench leaderboard` and `robobench query`: what the results say, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robobench.cli import options
from robobench.errors import ExitCode


def leaderboard(
    suite: Annotated[
        str | None, typer.Argument(metavar="[SUITE]", help="Of which suite; by default the latest run's.")
    ] = None,
    out: options.Out = options.RESULTS,
    format_: Annotated[
        str, typer.Option("--format", "-f", help="table, markdown, csv, json or html.")
    ] = "table",
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="DIR", help="Write all formats into a folder, as leaderboards/ holds them."
        ),
    ] = None,
) -> int:
    """Rank the models of a results folder again, from its rows."""
    from robobench.cli.table import board_table
    from robobench.leaderboard.build import build
    from robobench.leaderboard.collect import collect, newest_run
    from robobench.leaderboard.publish import publish
    from robobench.leaderboard.render import render
    from robobench.store import Store

    store = Store.open(out)
    board = build(collect(newest_run(store, suite), store))
    if to is not None:
        typer.echo(f"page: {publish(board, to) / 'index.html'}")
    elif format_ == "table":
        board_table(board)
    else:
        typer.echo(render(board, format_))
    return ExitCode.FAILED_CELLS if board.broken else ExitCode.OK


def query(
    sql: Annotated[
        str, typer.Argument(metavar="SQL", help="DuckDB SQL over `cells`, `rows` and `all_rows`.")
    ],
    out: options.Out = options.RESULTS,
    json: options.Json = False,
) -> int:
    """Ask the rows with SQL, as in: select model, condition, avg(hit = 0) from rows group by all.

    `cells` names what each cell is, `rows` holds the rows of the recorded runs, `all_rows` everything.
    """
    from robobench.checks.query import ask
    from robobench.cli.table import frame_table, print_json
    from robobench.store import Store

    columns, rows = ask(Store.open(out), sql)
    if json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        frame_table(columns, rows)
    return ExitCode.OK
