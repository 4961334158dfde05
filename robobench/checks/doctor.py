"""What can be wrong with a model or its data, looked for before hours are spent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from robobench.contracts import LoadedModel, Model
from robobench.engine.frames import batches, open_frames
from robobench.engine.provenance import versions
from robobench.engine.resolve import DataSet, identify, resolve
from robobench.engine.sweep import PROBABILITIES, look_like_probabilities
from robobench.errors import ModelError, RobobenchError
from robobench.specs import parse_spec
from robobench.stats import wilson
from robobench.suite.suite import BASE, DataEntry, ModelEntry, ScoreSpec, Suite
from robobench.types import CLEAN, Condition, ImageBatch, ModelId, View

if TYPE_CHECKING:
    from torch import Tensor

CLOSE = 1e-4  # logits of one image in batches of different size, float32


@dataclass(frozen=True)
class Finding:
    """One check: did it hold, and what was seen. A warning does not make the command fail."""

    check: str
    ok: bool
    found: str
    warning: bool = False


def examine_installation() -> list[Finding]:
    """Whether torch, torchvision and timm work together."""
    from robobench.models.runtime import import_timm

    shown = ", ".join(f"{k} {v}" for k, v in versions().items())
    try:
        import_timm()
    except RobobenchError as error:
        return [Finding("installation", False, str(error))]
    return [Finding("installation", True, shown)]


def examine(spec: str, data: str, *, limit: int, device: str, name: str | None = None) -> list[Finding]:
    """Look at a model on some images. A check that cannot go on ends the list with its reason."""
    findings: list[Finding] = []
    try:
        findings.extend(_examine(spec, data, limit, device, name))
    except RobobenchError as error:
        findings.append(Finding(name or spec, False, str(error)))
    except Exception as error:  # a model's own code may raise anything; finding that out is the point
        findings.append(Finding(name or spec, False, f"{type(error).__name__}: {error}"))
    return findings


def _examine(spec: str, data: str, limit: int, device: str, name: str | None) -> Iterator[Finding]:
    entry = ModelEntry(spec, name=name, trusted=True)
    who = identify(entry, allow_code=True).id
    probe = Suite(
        name="doctor",
        title="doctor",
        data=(DataEntry(BASE, parse_spec(data).source, {}),),
        view=None,
        conditions=(Condition(CLEAN, CLEAN, BASE),),
        metrics=("accuracy.top1",),
        score=ScoreSpec("clean", "mean", "ladders", "accuracy.top1"),
    )
    resolved = resolve(probe, [entry], data=data, limit=limit, allow_code=True)
    sets = resolved.data[BASE]
    loaded = resolved.models[0].load(device)
    yield Finding("loads", True, f"{who.name}: {loaded.card.family}, {loaded.card.parameters:,} parameters")
    loaded.check_frozen()
    yield Finding("eval mode", True, "no part is in training mode")
    model = loaded.reading(sets.space)
    batch = _images(sets, loaded, device)
    yield Finding("data", True, f"{len(batch)} images of {sets.title}, {tuple(batch.pixels.shape[2:])} px")
    yield from _answers(model, batch, who)
    yield from _gradient(model, batch)
    loaded.check_frozen()
    yield Finding("state", True, "weights and buffers are as they were loaded")


def _images(data: DataSet, model: LoadedModel, device: str) -> ImageBatch:
    view = data.view or model.card.view or View()
    frames = open_frames(data, view, None)
    found = next(batches(frames, data.ids, data.labels, len(data.ids), device), None)
    if found is None:
        raise ModelError(f"{data.title}: not one image can be decoded")
    return found


def _answers(model: Model, batch: ImageBatch, who: ModelId) -> Iterator[Finding]:
    import torch

    with torch.inference_mode():
        logits = model(batch)
        again = model(batch)
        single = torch.cat([model(batch.select([r])) for r in range(min(8, len(batch)))])
        dark = model(batch.with_pixels(batch.pixels * 0.5))
    finite = bool(torch.isfinite(logits).all())
    yield Finding("finite", finite, "all logits are finite" if finite else "some logits are NaN or infinite")
    yield _probabilities(logits)
    gap = float((logits - again).abs().max())
    yield Finding("repeats", gap == 0.0, f"the same images twice differ by {gap:.3g}", warning=gap < CLOSE)
    gap = float((logits[: len(single)] - single).abs().max())
    yield Finding("batch size", gap < CLOSE, f"alone and together differ by {gap:.3g} (limit {CLOSE:g})")
    changed = float((logits - dark).abs().max())
    yield Finding("sees pixels", changed > 0, f"half the brightness moves the logits by {changed:.3g}")
    right = int((logits.argmax(dim=1) == batch.labels).sum())
    low, high = (float(v) for v in wilson(right, len(batch)))
    chance = 1 / logits.shape[1]
    shown = f"{right} of {len(batch)} right ({100 * low:.0f} to {100 * high:.0f} %)"
    yield Finding("above chance", low > chance, f"{shown}; chance is {100 * chance:.1f} %", warning=True)
    if who.clean_accuracy is not None:
        inside = low <= who.clean_accuracy <= high
        yield Finding("clean accuracy", inside, f"{shown}; declared {100 * who.clean_accuracy:.1f} %")


def _probabilities(logits: Tensor) -> Finding:
    """Outputs that are never negative and sum to one are probabilities: log-losses come out wrong."""
    if look_like_probabilities(logits):
        return Finding("logits", False, PROBABILITIES, warning=True)
    return Finding("logits", True, f"from {float(logits.min()):.2f} to {float(logits.max()):.2f}")


def _gradient(model: Model, batch: ImageBatch) -> Iterator[Finding]:
    import torch

    loss = partial(torch.nn.functional.cross_entropy, reduction="none")
    few = batch.select(range(min(8, len(batch))))
    try:
        _, gradient = model.gradient(few, loss)
    except RobobenchError as error:
        yield Finding("gradient", False, f"none: {error}; white-box attacks cannot run", warning=True)
        return
    flat = int((gradient.flatten(1) == 0).all(dim=1).sum())
    yield Finding("gradient", flat == 0, f"zero for {flat} of {len(few)} images", warning=True)
