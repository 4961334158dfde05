"""`robobench preview`: what a suite or a perturbation does to images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robobench.cli import options
from robobench.errors import ExitCode, RobobenchError


def preview(
    name: Annotated[str, typer.Argument(metavar="SUITE|PERTURBATION", help="A suite or a perturbation.")],
    data: options.Data = None,
    images: Annotated[int, typer.Option("--images", "-n", min=1, max=32, help="How many images.")] = 2,
    to: Annotated[
        Path, typer.Option("--to", "-o", metavar="DIR", help="Where NAME.png and NAME.html are written.")
    ] = Path("previews"),
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="SPEC", help="For conditions whose inputs a model prepares."),
    ] = None,
    set_: options.Settings = None,
) -> int:
    """Picture every condition: a contact sheet (PNG) and a page with a slider for each ladder (HTML).

    `robobench preview imagenet-c` shows a suite, `robobench preview corruption.fog` one perturbation, with
    `--set table=cifar` for its parameters. Images that are not at hand are replaced by sample photos
    or digits. Attacks and interventions need a model and are not pictured.
    """
    from robobench.checks.contact_sheet import contact_sheet
    from robobench.checks.preview import preview as make
    from robobench.checks.preview_page import preview_page
    from robobench.cli.table import count

    shown = make(name, data=data, images=images, model=model, settings=options.settings(set_))
    stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name.replace("/", "-")
    sheet, page = to / f"{stem}.png", to / f"{stem}.html"
    try:
        to.mkdir(parents=True, exist_ok=True)
        sheet.write_bytes(contact_sheet(shown))
        page.write_text(preview_page(shown), encoding="utf-8")
    except OSError as error:
        raise RobobenchError(
            f"{to}: cannot be written to: {error.strerror or error}; choose another folder with --to"
        ) from None
    for note in shown.notes:
        typer.echo(note)
    for condition, why in shown.left_out:
        typer.echo(f"not pictured: {condition}: {why}")
    for strip in shown.strips:
        for one, two in strip.alike:
            typer.echo(f"{strip.name}: the levels {one} and {two} show the same pixels")
    typer.echo(f"{count(len(shown.strips), 'ladder')}, {count(len(shown.images), 'image')}: {sheet}, {page}")
    return ExitCode.OK
