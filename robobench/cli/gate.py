"""`robobench baseline` and `robobench gate`: has a model become worse? For people's CI, without torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robobench.cli import options

if TYPE_CHECKING:
    from robobench.leaderboard.board import BoardInput
    from robobench.leaderboard.gate import Report
    from robobench.leaderboard.policy import Policy

SuiteOption = Annotated[
    str | None, typer.Option("--suite", metavar="NAME", help="Of which suite; by default the newest run's.")
]


def baseline(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model of the results folder, by its name.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The file; commit it.")],
    suite: SuiteOption = None,
    out: options.Out = options.RESULTS,
) -> int:
    """Keep a model's answers, a few bytes an image, for later models to be held against."""
    from robobench.leaderboard.baseline import write_baseline
    from robobench.leaderboard.collect import newest_run
    from robobench.leaderboard.text import shown
    from robobench.store import Store

    store = Store.open(out)
    rows = write_baseline(store, newest_run(store, suite), model, to)
    typer.echo(f"{to}: {rows:,} answers of {shown(model)}, {to.stat().st_size / 1024:.0f} KiB")
    return 0


def gate(
    baseline: Annotated[Path, typer.Argument(metavar="BASELINE", help="A file of `robobench baseline`.")],
    candidate: Annotated[
        str, typer.Argument(metavar="CANDIDATE", help="A model of the results folder, or another such file.")
    ],
    policy: options.GatePolicy = None,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="For a run with --against: settled after how many images?")
    ] = False,
    out: options.Out = options.RESULTS,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML.")] = None,
    github: Annotated[
        bool,
        typer.Option(
            "--github", help="Annotations, and a step summary and outputs where GitHub asks for them."
        ),
    ] = False,
    inconclusive: Annotated[
        Literal["pass", "fail"] | None,
        typer.Option("--inconclusive", help="What comes of an inconclusive gate, instead of the policy's."),
    ] = None,
    json: options.Json = False,
) -> int:
    """Fail when a candidate is worse than a baseline; pass when a drop of the margin is excluded.

    Both have answered the same images of one suite. Each condition, each ladder and the score are tested; the
    exit code is 3 for a candidate that is held back. Where the images can decide neither, the gate is
    inconclusive and the policy says what comes of it (`inconclusive: pass` or `fail`).

    With --sequential the images count in the order in which they were computed, and a line is settled as
    soon as it can be, which lets `robobench run SUITE --against BASELINE` stop there.
    """
    from robobench.atomic import place_text
    from robobench.cli.table import print_json
    from robobench.leaderboard.gate_json import to_values
    from robobench.leaderboard.gate_text import sentence, to_junit, workflow_commands
    from robobench.leaderboard.policy import Policy, load_policy

    rule = load_policy(policy) if policy else Policy()
    if inconclusive is not None:
        rule = rule.model_copy(update={"inconclusive": inconclusive})
    found = _judged(baseline, candidate, out, rule, sequential)
    if junit is not None:
        place_text(junit, to_junit(found))
    if github:
        for line in workflow_commands(found):
            typer.echo(line)
        _tell_github(found)
    if json:
        print_json(to_values(found))
    else:
        _print(found)
        typer.echo(sentence(found))
    return found.exit_code


def _baseline(path: Path) -> BoardInput:
    from robobench.leaderboard.baseline import read_baseline
    from robobench.leaderboard.collect import collect

    kept = read_baseline(path)
    return collect(kept.record, kept)


def _judged(baseline: Path, name: str, out: Path, rule: Policy, sequential: bool) -> Report:
    from robobench.leaderboard.baseline import read_baseline
    from robobench.leaderboard.gate import gate as judge
    from robobench.leaderboard.gate_sequential import gate_in_sequence

    one, two = _baseline(baseline), _candidate(baseline, name, out, sequential)
    if not sequential:
        return judge(one, two, rule)
    orders = {d.name: d.order for d in read_baseline(baseline).record.data}
    return gate_in_sequence(one, two, orders, rule)


def _candidate(baseline: Path, name: str, out: Path, sequential: bool) -> BoardInput:
    """A model of the newest run of the baseline's suite, or another baseline."""
    from dataclasses import replace

    from robobench.errors import RobobenchError, UnknownName, nearest
    from robobench.leaderboard.baseline import read_baseline
    from robobench.leaderboard.collect import collect, newest_run
    from robobench.leaderboard.text import shown
    from robobench.store import Store

    if Path(name).is_file():
        return _baseline(Path(name))
    store = Store.open(out)
    record = newest_run(store, read_baseline(baseline).record.suite)
    chosen = tuple(m for m in record.models if m.name == name)
    if not chosen:
        known = [m.name for m in record.models]
        raise UnknownName(f"{out}: no model {name!r} in the run of {record.suite}; {nearest(name, known)}")
    if chosen[0].gated and not sequential:
        raise RobobenchError(
            f"{name} ran only until a gate was settled: judge it with --sequential, or finish its run with "
            f"`robobench run {record.suite}`"
        )
    if sequential and not chosen[0].gated:
        typer.echo(
            f"{shown(name)}: no line was looked at early: no --against ended its run, so all its images were "
            "computed; the looks are gone through afterwards",
            err=True,
        )
    return collect(replace(record, models=chosen), store)


def _tell_github(found: Report) -> None:
    """A step's summary and its outputs, into the files that GitHub names."""
    from robobench.leaderboard.gate_text import to_outputs, to_summary

    for variable, text in (("GITHUB_STEP_SUMMARY", to_summary(found)), ("GITHUB_OUTPUT", to_outputs(found))):
        if os.environ.get(variable):
            with Path(os.environ[variable]).open("a", encoding="utf-8") as file:
                file.write(text)


def _print(found: Report) -> None:
    from robobench.cli.table import frame_table
    from robobench.leaderboard.gate_text import HEADS, row

    frame_table(HEADS, [row(c) for c in found.checks])
