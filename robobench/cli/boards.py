"""`robobench leaderboard` and `robobench query`: what the results say, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from robobench.cli import options
from robobench.errors import ExitCode, RobobenchError

BUILD = "build"


def leaderboard(
    suite: Annotated[
        str | None, typer.Argument(metavar="[SUITE]", help="Of which suite; by default the latest run's.")
    ] = None,
    out: options.Out = options.RESULTS,
    format_: Annotated[
        str,
        typer.Option(
            "--format", "-f", help="table, or badge, bibtex, card, csv, html, json, latex or markdown."
        ),
    ] = "table",
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="DIR", help="Write all formats into a folder, as leaderboards/ holds them."
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Draw figures for a paper into a folder."),
    ] = None,
    as_: Annotated[
        Literal["svg", "pdf", "png"] | None,
        typer.Option("--as", help="With --figures: what they are saved as; by default SVG."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="With `build`: change nothing, exit with 3 when a file is stale.")
    ] = False,
) -> int:
    """Rank the models of a results folder again, from its rows.

    `robobench leaderboard build [--to DIR]` scores and renders every published board below DIR
    (leaderboards/ by default) again, and the index over them; with `--check` it only says which files are not
    what their numbers render to.
    """
    if check and suite != BUILD:
        raise RobobenchError(
            "--check belongs to `robobench leaderboard build`, which renders published boards"
        )
    if as_ is not None and figures is None:
        raise RobobenchError(f"--as {as_} belongs to --figures DIR, which draws figures into a folder")
    if suite == BUILD and figures is not None:
        raise RobobenchError("--figures draws the board of a results folder, not published ones")
    if suite == BUILD:
        return _build(Path("leaderboards") if to is None else to, check=check)
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
    if figures is not None:
        from robobench.leaderboard.figures import save_figures

        for path in save_figures(board, figures, as_ or "svg"):
            typer.echo(f"figure: {path}")
    if to is None and figures is None:
        board_table(board) if format_ == "table" else typer.echo(render(board, format_))
    return ExitCode.FAILED_CELLS if board.broken else ExitCode.OK


def _build(root: Path, *, check: bool) -> int:
    from robobench.leaderboard.publish import INDEX, rebuild, stale
    from robobench.leaderboard.text import shown

    if check:
        old = stale(root)
        for name in old:
            typer.echo(f"{root / name}: is not what its data render to")
        typer.echo(f"{len(old)} files are stale: run `robobench leaderboard build`" if old else "up to date")
        return ExitCode.CHECK if old else ExitCode.OK
    boards = rebuild(root)
    for name, board in boards.items():
        typer.echo(f"{shown(name)}: {len(board.entries)} models, protocol {board.suite.fingerprint}")
    typer.echo(f"index: {root / INDEX}")
    return ExitCode.OK


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
