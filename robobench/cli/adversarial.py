"""`robobench adversarial`: the attacked images that a run has kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robobench.cli import options
from robobench.errors import ExitCode, RobobenchError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robobench.checks.adversarial import Stock, Verdict
    from robobench.engine.resolve import Resolved
    from robobench.store import Store


def adversarial(
    suite: options.Suite,
    model: options.Models = None,
    data: options.Data = None,
    limit: options.Limit = None,
    out: options.Out = options.RESULTS,
    check: Annotated[
        bool, typer.Option("--check", help="Ask the models about every kept image again.")
    ] = False,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Where the page SUITE.html is written.")
    ] = None,
    images: Annotated[
        int, typer.Option("--images", min=1, max=200, help="Images of each condition on the page.")
    ] = 8,
    device: Annotated[str, typer.Option("--device", help="For --check: cpu, cuda, cuda:1 or mps.")] = "cpu",
    set_: options.Settings = None,
    allow_code: options.AllowCode = False,
    json: options.Json = False,
) -> int:
    """Look at the attacked images that `robobench run SUITE --keep-images fallen` has kept.

    Alone it says what is there; take the options of the run, so that the same rows are meant. With --check
    the models are asked about the kept images again: answers, lengths of the change and the budget must be
    as the rows say, else the exit code is 3. With --to it makes a page of the clean images, the changes
    enlarged ten times, and the attacked images; no model is needed for that.
    """
    from robobench.checks.adversarial import check as ask_again
    from robobench.checks.adversarial import survey
    from robobench.cli.run import read_suite, resolved_suite
    from robobench.engine.local import usable_device
    from robobench.store import Store

    chosen = read_suite(suite, set_)
    store = Store.open(out)
    resolved = resolved_suite(chosen, model, data, limit, allow_code, store)
    stocks = survey(resolved, store)
    _refuse_nothing(resolved, store, stocks)
    where = usable_device(device) or "cpu"
    verdicts = list(ask_again(resolved, store, stocks, where)) if check else []
    page = _page(resolved, store, stocks, images, to) if to is not None else None
    if json:
        _print_json(stocks, verdicts, page)
    else:
        _print(stocks, verdicts, page)
    return ExitCode.OK if all(v.same for v in verdicts) else ExitCode.CHECK


def _refuse_nothing(resolved: Resolved, store: Store, stocks: Sequence[Stock]) -> None:
    """Raise StoreError where there is nothing to look at, with what is the matter."""
    from robobench.checks.adversarial import unknown_models

    if any(s.where or s.faults for s in stocks):
        return
    again = f"`robobench run {resolved.suite.name} --keep-images fallen` makes some"
    if any(s.fell for s in stocks):
        raise StoreError(
            f"{store.root}: its attacks were run without keeping images, and what has rows is not computed "
            f"again: {again}, into a new folder with --out DIR"
        )
    if stocks:
        raise StoreError(f"{store.root}: no image has fallen to an attack of {resolved.suite.name!r} there")
    changed = unknown_models(resolved, store)
    if changed:
        raise StoreError(
            f"{store.root}: the rows of {', '.join(changed)} there are of another state of the model, the "
            f"data or the suite, or from other options than these: {again} for the present one"
        )
    raise StoreError(f"{store.root}: no rows of attacks of {resolved.suite.name!r} there: {again}")


def _page(resolved: Resolved, store: Store, stocks: Sequence[Stock], images: int, to: Path) -> Path:
    from robobench.checks.gallery import gallery, page

    path = to / f"{resolved.suite.name}.html"
    text = page(resolved.suite.title, gallery(resolved, store, stocks, images))
    try:
        to.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RobobenchError(
            f"{to}: cannot be written to: {error.strerror or error}; choose another folder with --to"
        ) from None
    return path


def _print_json(stocks: Sequence[Stock], verdicts: Sequence[Verdict], page: Path | None) -> None:
    from dataclasses import asdict

    from robobench.cli.table import print_json

    found = [
        {
            "model": s.cell.model.name,
            "condition": s.cell.condition.name,
            "images": s.images,
            "attacked": len(s.rows),
            "fell": s.fell,
            "kept": len(s.where),
            "lacking": len(s.lacking),
            "bytes": s.size,
            "faults": s.faults,
        }
        for s in stocks
    ]
    again = [asdict(v) | {"same": v.same} for v in verdicts]
    print_json({"images": found, "check": again, "page": None if page is None else str(page)})


def _print(stocks: Sequence[Stock], verdicts: Sequence[Verdict], page: Path | None) -> None:
    from robobench.cli.table import count, frame_table

    if verdicts:
        heads = ["", "model", "condition", "images", "clean", "answer", "fooled", "length", "budget", "logp"]
        frame_table(heads, [_verdict_row(v) for v in verdicts])
        said = "all as the rows say" if all(v.same for v in verdicts) else "not as the rows say"
        typer.echo(f"asked again about {count(sum(v.images for v in verdicts), 'image')}: {said}")
        ties = sum(v.ties for v in verdicts)
        if ties:
            typer.echo(f"{count(ties, 'answer')} changed between classes that were equal to rounding")
    else:
        heads = ["model", "condition", "rows", "attacked", "fell", "kept", "MiB"]
        frame_table(heads, [_stock_row(s) for s in stocks])
    for line in dict.fromkeys([*_lacking(stocks), *(f for v in verdicts for f in v.faults)]):
        typer.secho(line, fg="yellow", err=True)
    if page is not None:
        typer.echo(f"page: {page}")


def _verdict_row(v: Verdict) -> tuple[str, ...]:
    parts = (v.images, v.clean, v.answer, v.fooled, v.distance, v.budget)
    return ("ok" if v.same else "FAIL", v.model, v.condition, *map(str, parts), f"{v.logp:.1e}")


def _stock_row(s: Stock) -> tuple[str, ...]:
    numbers = (s.images, len(s.rows), s.fell, len(s.where))
    return (s.cell.model.name, s.cell.condition.name, *(f"{n:,}" for n in numbers), f"{s.size / 2**20:.2f}")


def _lacking(stocks: Sequence[Stock]) -> list[str]:
    lines = [fault for s in stocks for fault in s.faults]
    for s in stocks:
        if s.lacking:
            lines.append(lacking_line(s))
    return lines


def lacking_line(stock: Stock) -> str:
    """Rows that were computed without keeping their images, and what to do."""
    which = f"{stock.cell.model.name}, {stock.cell.condition.name}"
    return (
        f"{which}: {len(stock.lacking):,} of {stock.fell:,} fallen images have rows and no kept pixels. What "
        "has rows is not computed again: for these too, run with --keep-images into a new folder (--out DIR)"
    )
