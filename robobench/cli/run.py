"""`robobench run` and `robobench plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from robobench.cli import options
from robobench.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from robobench.api import Results
    from robobench.checks.planning import CellPlan
    from robobench.engine.resolve import Resolved
    from robobench.leaderboard.gate_stopping import Against
    from robobench.store import Store
    from robobench.suite.suite import Suite


def run(
    suite: options.Suite,
    model: options.Models = None,
    data: options.Data = None,
    limit: options.Limit = None,
    out: options.Out = options.RESULTS,
    batch_size: options.BatchSize = 64,
    device: options.Device = None,
    set_: options.Settings = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first failure instead of going on.")
    ] = False,
    keep_images: options.KeepImages = None,
    precision: options.Precision = None,
    show_images: options.ShowImages = False,
    against: options.Against = None,
    policy: options.GatePolicy = None,
    track: options.Track = None,
    allow_code: options.AllowCode = False,
    json: options.Json = False,
) -> int:
    """Evaluate models under a suite and rank them.

    Only what the results folder lacks is computed: run the same command again after an interruption, with
    one more --model or with a smaller --precision, and the rest is taken from there.
    """
    from robobench import api
    from robobench.cli.progress import Bar
    from robobench.engine.local import usable_device
    from robobench.engine.stopping import share_metric
    from robobench.store import Store
    from robobench.tracking.track import tracker_of

    held, trackers = _held(against, policy), [tracker_of(t) for t in track or ()]
    chosen = read_suite(suite, set_)
    store = Store.open(out, create=True)
    resolved = resolved_suite(chosen, model, data, limit, allow_code, store)
    if precision is not None:
        share_metric(resolved, precision)  # before anything is said
    if not json:
        _say_what(resolved)
    if keep_images is not None:
        _say_what_lacks_images(resolved, store)
    with Bar() as progress:
        results = api.execute(
            resolved,
            store,
            command=_command(suite, model, data, limit, set_, precision, against),
            device=usable_device(device),
            batch_size=batch_size,
            fail_fast=fail_fast,
            progress=progress,
            keep_images=keep_images,
            precision=precision,
            show_images=show_images,
            against=held,
        )
    code = _finish(results, json=json)
    if not results.outcome.interrupted:
        for said in results.tell(trackers):
            typer.secho(f"warning: {said}", fg="yellow", err=True)
    return code


def _held(against: Path | None, policy: Path | None) -> Against | None:
    """What the run is held against. Raises RobobenchError for a policy alone."""
    from robobench.errors import RobobenchError
    from robobench.leaderboard.gate_stopping import Against
    from robobench.leaderboard.policy import Policy, load_policy

    if against is None:
        if policy is not None:
            raise RobobenchError(f"--policy {policy}: a policy is for --against BASELINE, which is missing")
        return None
    return Against(against, load_policy(policy) if policy else Policy())


def plan(
    suite: options.Suite,
    model: options.Models = None,
    data: options.Data = None,
    limit: options.Limit = None,
    out: options.Out = options.RESULTS,
    difference: Annotated[
        float | None,
        typer.Option(
            "--difference", metavar="D", help="Say how many images a difference of D takes, as 0.01."
        ),
    ] = None,
    precision: options.Precision = None,
    set_: options.Settings = None,
    allow_code: options.AllowCode = False,
    json: options.Json = False,
) -> int:
    """Say what a run would compute and what its images can tell, without computing it."""
    from robobench.checks.planning import images_taken, prospects
    from robobench.cli.table import plan_table, print_json
    from robobench.engine.plan import plan as make_plan
    from robobench.engine.resolve import cells
    from robobench.engine.stopping import Stopping
    from robobench.store import Store

    chosen = read_suite(suite, set_)
    store = Store.open(out) if (out / "robobench.json").is_file() else None
    resolved = resolved_suite(chosen, model, data, limit, allow_code, store)
    stopping = None if precision is None else Stopping.of(resolved, store, precision)
    have = store.have(c.key for c in cells(resolved)) if store else {}
    planned = make_plan(resolved, have, None if stopping is None else stopping.ends)
    found = prospects(resolved, planned, stopping)
    if json:
        taken = None if difference is None else images_taken(difference)
        print_json(_plan_json(resolved.fingerprint, planned.cost, found, taken))
    else:
        plan_table(resolved, planned, found, difference, precision)
    return ExitCode.OK


def _plan_json(
    fingerprint: str, passes: int, found: Sequence[CellPlan], taken: Mapping[float, int] | None
) -> dict[str, Any]:
    """A plan for programs; what hangs on the share of discordant images is named by it."""
    from robobench.types import finite

    per_cell = []
    for p in found:
        entry: dict[str, Any] = {
            "model": p.cell.model.name,
            "condition": p.cell.condition.name,
            "images": p.images,
            "missing": p.missing,
            "smallest_difference": {f"{d:g}": finite(v) for d, v in p.smallest.items()},
        }
        if p.together is not None:
            entry["expected_images"] = p.together
            entry["images_for_precision"] = p.alone
        per_cell.append(entry)
    needed = {} if taken is None else {"images_for_difference": {f"{d:g}": n for d, n in taken.items()}}
    return {"fingerprint": fingerprint, "passes": passes, **needed, "cells": per_cell}


def read_suite(name: str, pairs: list[str] | None) -> Suite:
    """A suite with the settings of the command line."""
    from robobench.suite.load import load_suite

    return load_suite(name, options.settings(pairs))


def resolved_suite(
    suite: Suite,
    models: list[str] | None,
    data: str | None,
    limit: int | None,
    allow_code: bool,
    store: Store | None,
) -> Resolved:
    """A suite with the models and data of the command line."""
    from robobench.engine.resolve import resolve
    from robobench.suite.suite import ModelEntry

    entries = []
    for text in models or ():
        name, spec = options.split_name(text)
        entries.append(ModelEntry(spec, name=name, trusted=True))
    known = store.excluded if store else (lambda _: {})
    return resolve(suite, entries, data=data, limit=limit, allow_code=allow_code, excluded=known)


def _command(
    suite: str,
    models: list[str] | None,
    data: str | None,
    limit: int | None,
    pairs: list[str] | None,
    precision: float | None,
    against: Path | None,
) -> str:
    """The command as a board shows it: without absolute paths."""
    from robobench.specs import public_path

    parts = ["robobench run", public_path(suite)]
    parts += [f"--model {public_path(m)}" for m in models or ()]
    parts += [f"--data {public_path(data)}"] if data else []
    parts += [f"--limit {limit}"] if limit else []
    parts += [f"--precision {precision:g}"] if precision else []
    parts += [f"--against {public_path(str(against))}"] if against else []
    parts += [f"--set {public_path(pair)}" for pair in pairs or ()]
    return " ".join(parts)


def _say_what(resolved: Resolved) -> None:
    from robobench.cli.table import count

    suite = resolved.suite
    sizes = ", ".join(f"{len(d.ids):,} of {d.title}" for d in resolved.data.values() if "@" not in d.name)
    typer.echo(f"{suite.title}", err=True)
    models, conditions = count(len(resolved.models), "model"), count(len(resolved.conditions), "condition")
    typer.echo(f"{models}, {conditions}; images: {sizes}", err=True)


def _say_what_lacks_images(resolved: Resolved, store: Store) -> None:
    """Rows from before, whose images were not kept: they stay as they are."""
    from robobench.checks.adversarial import survey
    from robobench.cli.adversarial import lacking_line

    for stock in survey(resolved, store):
        if stock.lacking:
            typer.secho(lacking_line(stock), fg="yellow", err=True)


def _finish(results: Results, *, json: bool) -> int:
    """Show the board, write the page, and say what went wrong, if anything."""
    from robobench.cli.table import board_table, failure_lines
    from robobench.leaderboard.publish import publish
    from robobench.leaderboard.render import render

    board = results.leaderboard
    folder = publish(board, results.store.root / "boards" / results.record.suite)
    if json:
        typer.echo(render(board, "json"))
    else:
        board_table(board)
        rows, failed = results.outcome.rows, results.outcome.failures
        nothing = "nothing could be computed" if failed else "nothing was left to compute"
        done = f"computed {rows:,} rows" if rows else nothing
        typer.echo(f"{done}; results: {results.store.root}")
        typer.echo(f"page: {folder / 'index.html'}")
    for line in failure_lines(results):
        typer.secho(line, fg="yellow", err=True)
    if results.outcome.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED_CELLS if board.broken or results.outcome.broken else ExitCode.OK
