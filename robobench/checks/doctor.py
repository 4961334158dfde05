"""What can be wrong with a model or its data, looked for before hours are spent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from robobench.checks.doctor_cost import attacks_of, classes, cost, follows_gradients, measured
from robobench.checks.doctor_gradient import gradients
from robobench.checks.doctor_input import class_order, normalisation
from robobench.checks.finding import Finding
from robobench.contracts import LoadedModel, Model
from robobench.engine.frames import batches, open_frames
from robobench.engine.provenance import versions
from robobench.engine.resolve import resolve
from robobench.engine.sets import DataSet
from robobench.engine.sweep import PROBABILITIES, are_probabilities
from robobench.errors import ModelError, RobobenchError
from robobench.specs import parse_spec
from robobench.stats import wilson
from robobench.suite.load import load_suite
from robobench.suite.suite import BASE, DataEntry, ModelEntry, ScoreSpec, Suite
from robobench.types import CLEAN, Condition, ImageBatch, View

if TYPE_CHECKING:
    from torch import Tensor

DIGITS = "digits:mnist"
CLOSE = 1e-4  # of the spread of the logits, where that is above 1: float32 in batches of different size


def examine_installation() -> list[Finding]:
    """Whether torch, torchvision and timm work together."""
    from robobench.models.runtime import import_timm

    shown = ", ".join(f"{k} {v}" for k, v in versions().items())
    try:
        import_timm()
    except RobobenchError as error:
        return [Finding("installation", False, str(error))]
    return [Finding("installation", True, shown)]


def examine(
    model: ModelEntry,
    data: str | None,
    *,
    limit: int,
    device: str,
    suite: str | None = None,
    out: Path = Path(),
    allow_code: bool = False,
) -> list[Finding]:
    """Look at a model on some images. A check that cannot go on ends the list with its reason.

    data: a SPEC; by default that of the suite, or digits. suite: what the model is going to be measured
    under: says how long that takes, and holds the model to what its attacks need.
    """
    findings: list[Finding] = []
    name = model.name or model.spec
    try:
        findings.extend(_examine(model, data, limit, device, suite, out, allow_code))
    except RobobenchError as error:
        findings.append(Finding("examination", False, str(error)))
    except Exception as error:  # a model's own code may raise anything; finding that out is the point
        findings.append(Finding("examination", False, f"{type(error).__name__}: {error}"))
    return [replace(f, model=name) for f in findings]


def models_of(suite: str) -> tuple[ModelEntry, ...]:
    """The models that a suite names. Raises UnknownName, SuiteError."""
    return load_suite(suite).models


def _examine(
    entry: ModelEntry,
    data: str | None,
    limit: int,
    device: str,
    suite: str | None,
    out: Path,
    allow_code: bool,
) -> Iterator[Finding]:
    if suite is None:
        data = data or DIGITS
        resolved = resolve(_plainest(data), [entry], data=data, limit=limit, allow_code=allow_code)
    else:
        resolved = resolve(load_suite(suite), [entry], data=data, allow_code=allow_code)
    sets, who = resolved.data[BASE], resolved.models[0]
    loaded = who.load(device)
    yield Finding(
        "loads", True, f"{who.id.name}: {loaded.card.family}, {loaded.card.parameters:,} parameters"
    )
    yield _eval_mode(loaded)
    model = loaded.reading(sets.space)
    started = time.perf_counter()
    batch = _images(sets, loaded, device, limit)
    reading = (time.perf_counter() - started) / len(batch)
    yield Finding("data", True, f"{len(batch)} images of {sets.title}, {tuple(batch.pixels.shape[2:])} px")
    logits = _logits(model, batch)
    alive = list(_alive(model, batch, logits))
    yield from alive
    if not all(f.ok for f in alive):
        return
    same = list(_steady(model, batch, logits))
    yield from same
    yield _probabilities(logits)
    yield from _accuracy(model, batch, logits, sets, who.id.clean_accuracy)
    under = resolved if suite is not None else None
    if under is None:  # the attacks of a suite have been looked at when it was resolved
        yield classes(len(sets.space.classes))
    needed = under is not None and any(
        follows_gradients(attack, len(sets.space.classes)) for _, attack in attacks_of(under)
    )
    yield from gradients(model, batch, needed=needed, steady=same[0].ok)
    yield _state(loaded)
    if under is not None:
        yield from cost(under, measured(model, batch, under.suite.lot, reading), batch, out)


def _plainest(data: str) -> Suite:
    """Clean images and nothing else."""
    return Suite(
        name="doctor",
        title="doctor",
        data=(DataEntry(BASE, parse_spec(data).source, {}),),
        view=None,
        conditions=(Condition(CLEAN, CLEAN, BASE),),
        metrics=("accuracy.top1",),
        score=ScoreSpec("clean", "mean", "ladders", "accuracy.top1"),
    )


def _eval_mode(loaded: LoadedModel) -> Finding:
    try:
        loaded.check_frozen()
    except ModelError as error:
        return Finding("eval mode", False, str(error))
    return Finding("eval mode", True, "no part is in training mode")


def _state(loaded: LoadedModel) -> Finding:
    """Whether all that was asked so far left the model as it was; training mode has a check of its own."""
    try:
        loaded.check_frozen()
    except ModelError as error:
        if "eval mode" not in str(error):
            return Finding("state", False, str(error))
    return Finding("state", True, "weights and buffers are as they were loaded")


def _images(data: DataSet, model: LoadedModel, device: str, limit: int) -> ImageBatch:
    view = data.view or model.card.view or View()
    frames = open_frames(data, view, None)
    found = next(batches(frames, data.ids[:limit], data.labels, limit, device), None)
    if found is None:
        raise ModelError(f"{data.title}: not one image can be decoded")
    return found


def _logits(model: Model, batch: ImageBatch) -> Tensor:
    import torch

    with torch.inference_mode():
        return model(batch)


def _alive(model: Model, batch: ImageBatch, logits: Tensor) -> Iterator[Finding]:
    """Without these nothing else can be judged."""
    import torch

    finite = bool(torch.isfinite(logits).all())
    yield Finding("finite", finite, "all logits are finite" if finite else "some logits are NaN or infinite")
    if finite:
        dark = _logits(model, batch.with_pixels(batch.pixels * 0.5))
        changed = float((logits - dark).abs().max())
        yield Finding("sees pixels", changed > 0, f"half the brightness moves the logits by {changed:.3g}")


def _steady(model: Model, batch: ImageBatch, logits: Tensor) -> Iterator[Finding]:
    """The same images give the same answers: asked twice, and whoever else is in the batch."""
    import torch

    limit = CLOSE * max(1.0, float(logits.std()))
    gap = float((logits - _logits(model, batch)).abs().max())
    shown = f"the same images twice differ by {gap:.3g}"
    if gap:
        shown += (
            ": the forward pass is random; attack it with eot above 1, and expect other numbers each time"
        )
    yield Finding("repeats", gap == 0.0, shown, warning=gap < limit)
    if gap >= limit:
        return
    few = range(min(8, len(batch)))
    gap = float(
        (logits[: len(few)] - torch.cat([_logits(model, batch.select([r])) for r in few])).abs().max()
    )
    yield Finding("batch size", gap < limit, f"alone and together differ by {gap:.3g} (limit {limit:.3g})")


def _accuracy(
    model: Model, batch: ImageBatch, logits: Tensor, data: DataSet, declared: float | None
) -> Iterator[Finding]:
    """Is it right as often as it should be, and if not, what would make it so."""
    scale = normalisation(model, batch)
    yield scale
    order = class_order(data.space, logits, batch.labels) if scale.ok else None
    if order is not None:
        yield order
    explained = order is None or not order.ok
    right = int((logits.argmax(dim=1) == batch.labels).sum())
    low, high = (float(v) for v in wilson(right, len(batch)))
    chance = 1 / logits.shape[1]
    shown = f"{right} of {len(batch)} right ({100 * low:.0f} to {100 * high:.0f} %)"
    above = f"{shown}; chance is {100 * chance:.1f} %"
    yield Finding("above chance", low > chance or explained, above, warning=True)
    if declared is not None:
        inside = low <= declared <= high or explained
        yield Finding("clean accuracy", inside, f"{shown}; declared {100 * declared:.1f} %")


def _probabilities(logits: Tensor) -> Finding:
    """Outputs that are never negative and sum to one are probabilities: log-losses come out wrong."""
    if bool(are_probabilities(logits).all()):
        return Finding("logits", False, PROBABILITIES, warning=True)
    return Finding("logits", True, f"from {float(logits.min()):.2f} to {float(logits.max()):.2f}")
