"""`robobench doctor`: whether a model is fit to be measured on some data."""

from __future__ import annotations

from typing import Annotated

import typer

from robobench.cli import options
from robobench.errors import ExitCode


def doctor(
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", metavar="SPEC", help="The model to look at.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", metavar="SPEC", help="The data it will be measured on.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=2, help="Images to look with.")] = 64,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 or mps.")] = "cpu",
    json: options.Json = False,
) -> int:
    """Check an installation, a model and its data before hours are spent on them.

    Without --model only the installation is looked at. With it: does it load, is the input [0, 1] with
    one normalisation, do outputs fit the labels, are they logits, is it in eval mode, does the batch
    change an answer, does the gradient reach the pixels, and is the clean accuracy above chance.
    """
    from robobench.checks.doctor import examine, examine_installation
    from robobench.cli.table import frame_table, print_json
    from robobench.engine.local import usable_device

    findings = examine_installation()
    where = usable_device(device) or "cpu"
    for spec in model or ():
        name, rest = options.split_name(spec)
        findings += examine(rest, data or "digits:mnist", limit=limit, device=where, name=name)
    if json:
        print_json(findings)
    else:
        frame_table(
            ["", "check", "found"],
            [("ok" if f.ok else "warn" if f.warning else "FAIL", f.check, f.found) for f in findings],
        )
    return ExitCode.OK if all(f.ok or f.warning for f in findings) else ExitCode.CHECK
