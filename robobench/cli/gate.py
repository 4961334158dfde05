"""`robobench baseline` and `robobench gate`: has a model become worse? For people's CI, without torch."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robobench.cli import options

if TYPE_CHECKING:
    from robobench.leaderboard.board import BoardInput
    from robobench.leaderboard.gate import Check, Report

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
    from robobench.store import Store

    store = Store.open(out)
    rows = write_baseline(store, newest_run(store, suite), model, to)
    typer.echo(f"{to}: {rows:,} answers of {model}, {to.stat().st_size / 1024:.0f} KiB")
    return 0


def gate(
    baseline: Annotated[Path, typer.Argument(metavar="BASELINE", help="A file of `robobench baseline`.")],
    candidate: Annotated[
        str, typer.Argument(metavar="CANDIDATE", help="A model of the results folder, or another such file.")
    ],
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="gate.yaml: margins, alpha, groups, floors."),
    ] = None,
    out: options.Out = options.RESULTS,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML.")] = None,
    github: Annotated[
        bool, typer.Option("--github", help="Annotations, and a step summary where GitHub asks for one.")
    ] = False,
    json: options.Json = False,
) -> int:
    """Fail when a candidate is worse than a baseline; pass when a drop of the margin is excluded.

    Both have answered the same images of one suite. Each condition, each ladder and the score are tested; the
    exit code is 3 for a candidate that is held back. Where the images can decide neither, the gate is
    inconclusive and the policy says what comes of it (`inconclusive: pass` or `fail`).
    """
    from robobench.atomic import place_text
    from robobench.cli.table import print_json, without_nan
    from robobench.leaderboard.gate import gate as judge
    from robobench.leaderboard.gate_text import sentence, to_junit, to_summary, workflow_commands
    from robobench.leaderboard.policy import Policy, load_policy

    rule = load_policy(policy) if policy else Policy()
    found = judge(_baseline(baseline), _candidate(baseline, candidate, out), rule)
    if junit is not None:
        place_text(junit, to_junit(found))
    if github:
        for line in workflow_commands(found):
            typer.echo(line)
        if os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
                file.write(to_summary(found))
    if json:
        print_json({**without_nan(asdict(found)), "exit_code": found.exit_code})
    else:
        _print(found)
        typer.echo(sentence(found))
    return found.exit_code


def _baseline(path: Path) -> BoardInput:
    from robobench.leaderboard.baseline import read_baseline
    from robobench.leaderboard.collect import collect

    kept = read_baseline(path)
    return collect(kept.record, kept)


def _candidate(baseline: Path, name: str, out: Path) -> BoardInput:
    """A model of the newest run of the baseline's suite, or another baseline."""
    from dataclasses import replace

    from robobench.errors import UnknownName, nearest
    from robobench.leaderboard.baseline import read_baseline
    from robobench.leaderboard.collect import collect, newest_run
    from robobench.store import Store

    if Path(name).is_file():
        return _baseline(Path(name))
    store = Store.open(out)
    record = newest_run(store, read_baseline(baseline).record.suite)
    chosen = tuple(m for m in record.models if m.name == name)
    if not chosen:
        known = [m.name for m in record.models]
        raise UnknownName(f"{out}: no model {name!r} in the run of {record.suite}; {nearest(name, known)}")
    return collect(replace(record, models=chosen), store)


def _print(found: Report) -> None:
    from robobench.cli.table import frame_table

    frame_table(_HEADS, [_row(c) for c in found.checks])


_HEADS = ("", "images", "baseline", "candidate", "drop", "95 % interval", "margin", "power", "verdict")


def _row(check: Check) -> tuple[str, ...]:
    from robobench.leaderboard.gate_text import points, power_of
    from robobench.leaderboard.text import DASH, number

    name = check.name if check.kind == "condition" else f"{check.kind}: {check.name}"
    ends = f"[{points(check.low, check.unit)}, {points(check.high, check.unit)}]"
    return (
        name, f"{check.n:,}", number(check.baseline, check.unit), number(check.candidate, check.unit),
        points(check.drop, check.unit), DASH if check.low != check.low else ends,
        number(check.margin, check.unit), power_of(check), check.verdict,
    )  # fmt: skip
