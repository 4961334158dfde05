"""`robobench doctor`: whether a model is fit to be measured on some data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robobench.cli import options
from robobench.errors import ExitCode, RobobenchError

if TYPE_CHECKING:
    from robobench.checks.finding import Finding
    from robobench.suite.suite import ModelEntry


def doctor(
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", metavar="SPEC", help="The model to look at.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            metavar="SPEC",
            help="The data it will be measured on. [default: the suite's, or digits]",
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            "-s",
            metavar="SUITE",
            help="The suite it will be measured under: estimates time and disk, and holds the model to what "
            "the suite's attacks need. Without --model its own models are looked at.",
        ),
    ] = None,
    clean_accuracy: Annotated[
        float | None,
        typer.Option(
            "--clean-accuracy",
            min=0,
            max=1,
            metavar="SHARE",
            help="What the model's author reports, as in 0.83; has to lie inside the interval found.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=2, help="Images to look with.")] = 64,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where results will go: is there room?")
    ] = options.RESULTS,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 or mps.")] = "cpu",
    allow_code: options.AllowCode = False,
    json: options.Json = False,
) -> int:
    """Check an installation, a model and its data before hours are spent on them.

    Without --model and --suite only the installation is looked at.

    With a model: does it load, is it in eval mode, are its outputs finite, do they depend on the pixels,
    repeat, and stay the same in any batch. Are they logits. Is the input normalised once and as the network
    was trained, are the classes numbered as in the data, is the clean accuracy above chance and what is
    declared. Are there enough classes for attacks, and a gradient that is finite, not zero, not lost in a
    saturated softmax, and along which the loss rises. Is the model as it was after all that.

    A failed check ends with exit code 3; a warning does not. What only attacks suffer from is a warning,
    unless --suite has such attacks.
    """  # fmt: skip
    from robobench.checks.doctor import examine, examine_installation, models_of
    from robobench.cli.table import print_json
    from robobench.engine.local import usable_device
    from robobench.suite.suite import ModelEntry

    given = [ModelEntry(spec, name=name, trusted=True) for name, spec in map(options.split_name, model or ())]
    entries = given or list(models_of(suite) if suite else ())
    entries = [_declared(entry, clean_accuracy, len(entries)) for entry in entries]
    where = usable_device(device) or "cpu"
    findings = examine_installation()
    for entry in entries:
        findings += examine(
            entry, data, limit=limit, device=where, suite=suite, out=out, allow_code=allow_code
        )
    if json:
        print_json(findings)
    else:
        _table(findings, several=len(entries) > 1)
    return ExitCode.OK if all(f.ok or f.warning for f in findings) else ExitCode.CHECK


def _declared(entry: ModelEntry, clean_accuracy: float | None, models: int) -> ModelEntry:
    if clean_accuracy is None:
        return entry
    if models > 1:
        raise RobobenchError(f"--clean-accuracy is of one model, {models} are looked at: give one --model")
    return replace(entry, clean_accuracy=clean_accuracy)


def _table(findings: list[Finding], *, several: bool) -> None:
    from robobench.cli.table import frame_table

    columns = ["", "model", "check", "found"] if several else ["", "check", "found"]
    rows = []
    for f in findings:
        state = "ok" if f.ok else "warn" if f.warning else "FAIL"
        rows.append((state, f.model, f.check, f.found) if several else (state, f.check, f.found))
    frame_table(columns, rows)
