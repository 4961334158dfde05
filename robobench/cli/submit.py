"""`robobench submit`: a run as a folder to hand in, and whether such a folder holds together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robobench.cli import options
from robobench.errors import ExitCode, RobobenchError

if TYPE_CHECKING:
    from robobench.checks.problem import Problem
    from robobench.checks.submission import Report


def submit(
    suite: Annotated[
        str | None, typer.Argument(metavar="[SUITE]", help="Of which suite; by default the newest run's.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="A new folder: it gets the run, whole.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option("--check", metavar="RESULT", help="Look a results folder over, as it was handed in."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="NAME", help="Only this model of the run; repeatable."),
    ] = None,
    out: options.Out = options.RESULTS,
    json: options.Json = False,
) -> int:
    """Write a run as a small results folder to hand in, or check one that was handed in.

    With --to: rows, protocol, what made them and kept images of one run, without paths. With --check:
    whether everything in a folder is what it says, as far as that can be told without data and models:
    files, fingerprint, keys, completeness, and whether the numbers can be true together. The exit code is 3
    where an error was found. `robobench verify RESULT` computes a sample of the rows again.
    """
    if (to is None) == (check is None):
        raise RobobenchError("give either --to DIR, to write a submission, or --check RESULT, to check one")
    if check is not None:
        return _check(check, suite, json=json)
    from robobench.checks.submit import submit as write
    from robobench.cli.table import count, print_json
    from robobench.leaderboard.collect import columns, newest_run
    from robobench.store import Store

    store = Store.open(out)
    record = newest_run(store, suite)
    done = write(store, record, Path(str(to)), columns(record), model or ())
    if json:
        print_json({"folder": str(done.folder), "models": done.models, "rows": done.rows, "bytes": done.size})
    else:
        size = f"{done.size / 2**20:.1f} MiB" if done.size >= 2**20 else f"{done.size / 2**10:.0f} KiB"
        typer.echo(f"{done.folder}: {count(done.models, 'model')}, {done.rows:,} rows, {size}")
    return ExitCode.OK


def _check(result: Path, suite: str | None, *, json: bool) -> int:
    from robobench.checks.submission import check as look
    from robobench.cli.table import count, frame_table, print_json

    found = look(result, suite)
    if json:
        print_json(_as_json(found))
    else:
        if found.problems:
            frame_table(("", "where", "expected", "got"), [_row(p) for p in found.problems])
        errors, warnings = len(found.errors), len(found.problems) - len(found.errors)
        typer.echo(f"{result}: {count(errors, 'error')}, {count(warnings, 'warning')}")
        if found.record is not None and found.rows:
            typer.echo(
                f"{count(len(found.record.models), 'model')}, {found.rows:,} rows; {found.keys.computed} of "
                f"{found.keys.all} keys computed again; `robobench verify {result}` computes rows again"
            )
    return ExitCode.CHECK if found.errors else ExitCode.OK


def _row(problem: Problem) -> tuple[str, ...]:
    return ("warning" if problem.warning else "ERROR", problem.where, problem.expected, problem.got)


def _as_json(found: Report) -> dict[str, Any]:
    from dataclasses import asdict

    record = found.record
    return {
        "suite": None if record is None else record.suite,
        "fingerprint": None if record is None else record.fingerprint,
        "models": [] if record is None else [m.name for m in record.models],
        "rows": found.rows,
        "keys": asdict(found.keys),
        "errors": [asdict(p) for p in found.errors],
        "warnings": [asdict(p) for p in found.problems if p.warning],
    }
