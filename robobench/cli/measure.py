"""`robobench show NAME... --measure`: how fast models are on this machine, kept with the results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import typer

from robobench.cli import options
from robobench.errors import ExitCode, ModelError, RobobenchError, UnknownName, nearest
from robobench.suite.suite import ModelEntry


def measure_models(
    names: Sequence[str], *, device: str | None, batch_size: int, out: Path, allow_code: bool, json: bool
) -> int:
    """Measure the models of suites, and models by their SPEC, one after the other.

    Each is kept as soon as it is measured. Raises RobobenchError when one fails, after the others.
    """
    from robobench.cli.table import count, frame_table, print_json
    from robobench.engine.local import best_device, usable_device
    from robobench.engine.measure import measure
    from robobench.engine.resolve import identify
    from robobench.leaderboard.front import macs, memory, rate
    from robobench.leaderboard.text import DASH
    from robobench.leaderboard.text import count as size
    from robobench.store import Store

    where = usable_device(device) or best_device()
    models = [identify(entry, allow_code) for entry in _entries(names)]
    store = Store.open(out, create=True)
    found, failed = [], []
    with store.writing():  # a run that goes on beside would be in the way of both
        for turn, model in enumerate(models, 1):
            who = model.id
            typer.echo(f"measuring {_plain(who.name)} on {where} ({turn} of {len(models)})", err=True)
            try:
                loaded = model.load(where)
                speed = measure(loaded, where, batch_size=batch_size)
            except RobobenchError as error:
                failed.append(f"{who.name}: {error}")
                continue
            store.asides.put_speed(who.digest, speed)
            found.append((who, loaded.card.parameters, speed))
            del loaded
    if json:
        print_json([{"model": asdict(w), "parameters": p, "speed": asdict(s)} for w, p, s in found])
    elif found:
        heads = ["model", "parameters", "MACs", "input", "images/s", "95 %", "memory"]
        rows = [
            (w.name, size(p), macs(s.macs), f"{s.side}x{s.side}", rate(s.images_per_second),
             f"[{rate(s.low)}, {rate(s.high)}]", memory(s.peak_memory))
            for w, p, s in found
        ]  # fmt: skip
        shown = [i for i, head in enumerate(heads) if head != "memory" or any(r[i] != DASH for r in rows)]
        frame_table([heads[i] for i in shown], [[row[i] for i in shown] for row in rows])
        speed = found[-1][2]
        typer.echo(f"{speed.hardware}; {speed.precision}, batches of {speed.batch_size}, torch {speed.torch}")
        typer.echo(f"kept in {out}: `robobench leaderboard --out {out}` shows score against speed")
    if failed:
        raise ModelError(f"{count(len(failed), 'model')} could not be measured: " + "; ".join(failed))
    return ExitCode.OK


def _entries(names: Sequence[str]) -> Iterator[ModelEntry]:
    """The models that are meant: those of a suite, or the one of a SPEC. Raises UnknownName."""
    from robobench.suite.load import load_suite, suite_names

    for given in names:
        name, spec = options.split_name(given)
        if given in suite_names() or given.endswith((".yaml", ".yml")):
            suite = load_suite(given)
            if not suite.models:
                raise RobobenchError(f"suite {given!r} names no models: give their SPECs to --measure")
            yield from suite.models
        elif ":" in spec:
            yield ModelEntry(spec, name=name, trusted=True)
        else:
            raise UnknownName(
                f"{given!r} is neither a suite nor a model SPEC such as timm:resnet50; "
                f"{nearest(given, suite_names())}"
            )


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
