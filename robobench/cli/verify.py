"""`robobench verify`: whether a result holds when some of it is computed again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robobench.cli import options
from robobench.errors import ExitCode, RobobenchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robobench.checks.verify import Disagreement, Verdict
    from robobench.engine.record import RunRecord
    from robobench.store import Store
    from robobench.suite.suite import ModelEntry

_MOST = 20  # disagreements of a model that are printed; --json has all


def verify(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="A results folder: of a run, a submission or a board.")
    ],
    suite: Annotated[
        str | None,
        typer.Option("--suite", metavar="NAME", help="Of which suite; by default the newest run's."),
    ] = None,
    fraction: Annotated[
        float,
        typer.Option(
            "--fraction", "-f", metavar="SHARE", help="The share of each model's rows to compute again."
        ),
    ] = 0.05,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME[=SPEC]",
            help="Only this model; with a SPEC, where it is on this machine. Give it again for more.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", metavar="SPEC", help="Where the run's own data are on this machine."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, metavar="N", help="Draw the rows of an earlier verification again."),
    ] = None,
    batch_size: options.BatchSize = 64,
    device: options.Device = None,
    allow_code: options.CodeOfResult = False,
    json: options.Json = False,
) -> int:
    """Compute a random sample of a result's rows again and hold them against what it claims.

    Rows are drawn now, with a seed that whoever made the result could not know: a twentieth of each model's,
    and more until false answers, were they 1 % of the rows, would be caught with a chance of 99 %. A row is
    false when rounding cannot explain how it differs: in the answer, the label, the probabilities, the
    facts. One false row fails the model.

    On another machine an attack takes another way, so its rows are judged together: the model fails when
    clearly more images fall again than it claims. They do not count towards the 99 %. Attacked images that
    the result kept (`run --keep-images`) are asked about again, one by one.

    The outcome is written into RESULT, where boards find it: an entry is `verified` as long as its rows stay
    as they are. No code that the result names runs without --allow-code. Exit code: 0 all models passed, 3
    one did not, else 4 where rows could not be computed again.
    """  # fmt: skip
    from robobench.checks.sample import fresh_seed
    from robobench.checks.verify import verify as check
    from robobench.cli.progress import Bar
    from robobench.cli.table import print_json, without_nan
    from robobench.engine.local import best_device, usable_device
    from robobench.engine.recipe import again
    from robobench.leaderboard.collect import newest_run
    from robobench.store import Store

    if not 0 < fraction <= 1:
        raise RobobenchError(f"--fraction {fraction:g}: expected a share above 0 and at most 1, as in 0.05")
    store = Store.open(result)
    record, entries = _chosen(newest_run(store, suite), model)
    resolved = again(record, data=data, models=entries, allow_code=allow_code)
    with store.writing():
        pass  # before hours are spent: can the outcome be written there?
    drawn = fresh_seed() if seed is None else seed
    where = usable_device(device) or best_device()
    with Bar() as progress:
        verdicts = check(
            record, resolved, store, fraction=fraction, seed=drawn, device=where, batch_size=batch_size,
            progress=progress,
        )  # fmt: skip
    with store.writing():
        for one in verdicts:
            # what came with the folder does not stay beside a verification that could not decide
            outcome = one.found.to_json() if one.decided else None
            store.asides.put_verified(one.found.fingerprint, one.found.model, outcome)
    if json:
        print_json(without_nan({"seed": drawn, "models": [_plain(v) for v in verdicts]}))
    else:
        _print(record, store, verdicts, drawn)
    return _exit_code(verdicts)


def _exit_code(verdicts: Sequence[Verdict]) -> int:
    if any(v.decided and not v.found.passed for v in verdicts):
        return ExitCode.CHECK
    return ExitCode.FAILED_CELLS if any(v.open for v in verdicts) else ExitCode.OK


def _chosen(record: RunRecord, given: Sequence[str] | None) -> tuple[RunRecord, list[ModelEntry]]:
    """The record with the models that are asked for, and where those are. Raises UnknownName."""
    from robobench.checks.verify import selected
    from robobench.errors import UnknownName, nearest
    from robobench.suite.suite import ModelEntry

    names: list[str] = []
    entries = []
    known = sorted((m.name for m in record.models), key=len, reverse=True)
    for text in given or ():
        name = next((n for n in known if text == n or text.startswith(f"{n}=")), None)
        if name is None:
            raise UnknownName(f"--model {text}: the run has no such model; {nearest(text, known)}")
        names.append(name)
        if text != name:
            entries.append(ModelEntry(text[len(name) + 1 :], name=name, trusted=True))
    return selected(record, names), entries


def _plain(verdict: Verdict) -> dict[str, Any]:
    """A verdict for programs."""
    return {
        "model": verdict.name,
        "verdict": _word(verdict),
        **asdict(verdict.found),
        "disagreements": [
            {"condition": d.condition, "image": d.image, **asdict(d.fault)} for d in verdict.disagreements
        ],
        "kept_images": verdict.pictures,
        "not_computed": list(verdict.open),
    }


def _word(verdict: Verdict) -> str:
    return "undecided" if not verdict.decided else "passed" if verdict.found.passed else "failed"


_HEADS = ("", "model", "rows", "drawn", "chance", "attack rows", "drawn", "as claimed", "false")


def _row(verdict: Verdict) -> tuple[str, ...]:
    found = verdict.found
    return (
        {"passed": "ok", "failed": "FAIL"}.get(_word(verdict), "open"), verdict.name, f"{found.rows:,}",
        f"{found.drawn:,}", f"{_percent(found.chance)}", f"{found.searched:,}", f"{found.searched_drawn:,}",
        f"{found.same:,}", f"{found.disagree:,}",
    )  # fmt: skip


def _percent(chance: float) -> str:
    """A chance that is not certain does not look so.

    >>> _percent(0.9912), _percent(0.99996), _percent(1.0)
    ('99.1 %', '> 99.9 %', '100 %')
    """
    return "100 %" if chance == 1 else "> 99.9 %" if chance > 0.999 else f"{chance:.1%}".replace("%", " %")


def _print(record: RunRecord, store: Store, verdicts: Sequence[Verdict], seed: int) -> None:
    from robobench.cli.table import frame_table
    from robobench.leaderboard.text import shown

    frame_table(_HEADS, [_row(v) for v in verdicts])
    for verdict in verdicts:
        for line in _lines(verdict):
            typer.secho(shown(line), fg="yellow", err=True)
    typer.echo(
        "chance: of having caught 1 % of false answers among the rows that are judged one by one; attack "
        "rows are not among them"
    )
    for verdict in verdicts:
        for line in _about_attacks(verdict):
            typer.echo(shown(line))
    typer.echo(f"{shown(record.suite)}, drawn with --seed {seed}; written into {store.root / 'verified'}")


def _lines(verdict: Verdict) -> Iterator[str]:
    """What is the matter with a model."""
    for fault in verdict.found.faults:
        yield f"{verdict.name}: {fault}"
    for one in verdict.disagreements[:_MOST]:
        yield f"{verdict.name}, {_sentence(one)}"
    if len(verdict.disagreements) > _MOST:
        yield f"{verdict.name}: and {len(verdict.disagreements) - _MOST:,} more false rows (--json has all)"
    for reason in verdict.open:
        yield f"{verdict.name}: could not be computed again: {reason}"
    if not verdict.found.passed:
        here = verdict.found.versions
        other = [f"{k} {v}, here {here.get(k, 'none')}" for k, v in sorted(verdict.versions.items())]
        changed = [
            text for text in other if text.split(", here ")[0].split(" ", 1)[1] != text.split(", here ")[1]
        ]
        if changed:
            yield f"{verdict.name}: its rows were made with other versions: {'; '.join(changed)}"


def _sentence(one: Disagreement) -> str:
    """A false row in words."""
    fault = one.fault
    text = f"{one.condition}, {one.image}: {fault.column} is claimed {fault.claimed}, found {fault.found}"
    if fault.gap != fault.gap:
        return text
    return f"{text}; {fault.gap:.3g} apart, rounding explains {fault.room:.2g}"


def _about_attacks(verdict: Verdict) -> Iterator[str]:
    """What is known of the rows behind which there is a search."""
    found, name = verdict.found, verdict.name
    if not found.searched_drawn:
        return
    if found.same == found.searched_drawn:
        yield f"{name}: attack rows: all {found.same:,} as claimed"
        return
    text = (
        f"{name}: attack rows: {found.same:,} of {found.searched_drawn:,} came out exactly as claimed. Of "
        "the others only the label and whether the image stands can be judged; log-probabilities, queries "
        f"and distances without kept images cannot. {found.fell:,} images are claimed to stand and fell "
        f"here, {found.stood:,} the other way round (p = {found.p:.2g})"
    )
    if found.power == found.power:
        text += (
            f"; had {found.power:.0%} of the {verdict.counts.standing:,} images that are claimed to stand "
            "been false, that would have been found four times in five"
        )
    yield text + "."
