"""`robobench rerun`: a run again, from its own record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robobench.cli import options
from robobench.errors import ExitCode, RobobenchError

if TYPE_CHECKING:
    from robobench.checks.rerun import Repeat
    from robobench.engine.record import RunRecord
    from robobench.engine.resolve import Resolved
    from robobench.store import Store
    from robobench.suite.suite import ModelEntry

_AGAIN = "-again"


def rerun(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="A results folder.")],
    suite: Annotated[
        str | None,
        typer.Option("--suite", metavar="NAME", help="Of which suite; by default the newest run's."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", metavar="NAME=SPEC", help="Where a model of the run is on this machine."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", metavar="SPEC", help="Where its data are on this machine.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Another results folder; by default RESULT-again."),
    ] = None,
    batch_size: options.BatchSize = 64,
    device: options.Device = None,
    allow_code: options.CodeOfResult = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Finish an interrupted rerun of your own in --out: rows there are believed."
        ),
    ] = False,
    json: options.Json = False,
) -> int:
    """Repeat a run from its own record into another folder, and say whether its rows came out the same.

    Models and data must be those of the run, which their digests say. The exit code is 3 where an answer
    differs by more than rounding, or a row is in one of the two only; 4 where cells failed. Attacks take the
    same steps on the same kind of machine; to judge them on another one, use `robobench verify`.

    The other folder must be new or empty, since rows that lie there are not computed: a folder that came with
    the result would agree with it.
    """
    from robobench.checks.rerun import repeats
    from robobench.engine.local import usable_device
    from robobench.engine.recipe import again
    from robobench.leaderboard.collect import newest_run
    from robobench.store import Store

    store = Store.open(result)
    other = Path(f"{str(result).rstrip('/')}{_AGAIN}") if out is None else out
    if other.exists() and other.resolve() in (result.resolve(), store.root.resolve()):
        raise RobobenchError(f"--out {other}: is the result itself: choose another folder")
    if not resume and other.exists() and not (other.is_dir() and next(other.iterdir(), None) is None):
        raise RobobenchError(
            f"--out {other}: there is something already, and rows there would not be computed: choose a new "
            "folder, or finish an interrupted rerun of your own with --resume"
        )
    record = newest_run(store, suite)
    where = usable_device(device)
    resolved = again(record, data=data, models=entries(record, model or ()), allow_code=allow_code)
    target = Store.open(other, create=True)
    before = _rows(record, target)
    computed, broken = _compute(record, resolved, target, where, batch_size)
    found = list(repeats(record, store, target))
    same = all(r.same for r in found)
    if json:
        _print_json(record, target, computed, before, found)
    else:
        _print(target, computed, before, found)
    if broken:
        return ExitCode.FAILED_CELLS
    return ExitCode.OK if same else ExitCode.CHECK


def entries(record: RunRecord, given: Sequence[str]) -> list[ModelEntry]:
    """`NAME=SPEC` as models of a run; a SPEC alone is its only model. Raises RobobenchError."""
    from robobench.suite.suite import ModelEntry

    found = []
    for text in given:
        name, spec = options.split_name(text)
        if name is None and len(record.models) != 1:
            names = ", ".join(m.name for m in record.models)
            raise RobobenchError(f"--model {text}: expected NAME=SPEC; the run has the models {names}")
        found.append(ModelEntry(spec, name=name or record.models[0].name, trusted=True))
    return found


def _rows(record: RunRecord, store: Store) -> int:
    """How many rows of a run a folder has."""
    return sum(len(ids) for ids in store.have({c for m in record.models for c in m.cells.values()}).values())


def _compute(
    record: RunRecord, resolved: Resolved, store: Store, device: str | None, batch_size: int
) -> tuple[int, int]:
    """Run the models, each with the precision that it had: rows that were computed, cells that failed."""
    from robobench import api
    from robobench.cli.progress import Bar
    from robobench.cli.table import failure_lines

    rows = broken = 0
    precisions = {m.digest: m.precision for m in record.models}
    for precision in dict.fromkeys(precisions.values()):
        models = tuple(m for m in resolved.models if precisions[m.id.digest] == precision)
        with Bar() as progress:
            done = api.execute(
                replace(resolved, models=models), store, command=record.command, device=device,
                batch_size=batch_size, fail_fast=False, progress=progress, precision=precision,
            )  # fmt: skip
        rows += done.outcome.rows
        broken += len(done.outcome.broken)
        if done.outcome.interrupted:
            raise KeyboardInterrupt
        for line in failure_lines(done):
            typer.secho(line, fg="yellow", err=True)
    return rows, broken


def _counts(found: Sequence[Repeat]) -> dict[str, int]:
    names = ("images", "other", "ties", "alone")
    return {name: sum(getattr(r, name) for r in found) for name in names}


def _print_json(record: RunRecord, store: Store, computed: int, before: int, found: Sequence[Repeat]) -> None:
    from dataclasses import asdict

    from robobench.cli.table import print_json

    total: dict[str, Any] = {
        "fingerprint": record.fingerprint, "out": str(store.root), "computed": computed, "before": before,
    }  # fmt: skip
    cells = [asdict(r) | {"same": r.same} for r in found]
    print_json({**total, **_counts(found), "same": all(r.same for r in found), "cells": cells})


def _print(store: Store, computed: int, before: int, found: Sequence[Repeat]) -> None:
    from robobench.cli.table import frame_table

    other = [r for r in found if r.other or r.alone]
    heads = ("", "model", "condition", "rows", "other answer", "of them ties", "in one only", "logp")
    if other:
        frame_table(heads, [_row(r) for r in other])
    n = _counts(found)
    kind = "" if n["other"] == 0 else f", {n['ties']:,} of them between classes equal to rounding"
    lone = f"; {n['alone']:,} rows are in one of the two only" if n["alone"] else ""
    typer.echo(f"{n['other']:,} of {n['images']:,} answers differ{kind}{lone}")
    there = f", {before:,} were there before and were not computed" if before else ""
    typer.echo(f"computed {computed:,} rows{there}; results: {store.root}")


def _row(r: Repeat) -> tuple[str, ...]:
    numbers = (r.images, r.other, r.ties, r.alone)
    return (
        "ok" if r.same else "DIFFERS",
        r.model,
        r.condition,
        *(f"{n:,}" for n in numbers),
        f"{r.logp:.1e}",
    )
