"""What a suite takes with a model: time from its plan and measured passes, room on the disk from its rows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robobench import registry
from robobench.checks.finding import Finding
from robobench.contracts import Ensemble, Model
from robobench.engine.plan import plan
from robobench.engine.resolve import Resolved
from robobench.engine.steps import Applied
from robobench.errors import RobobenchError
from robobench.losses import cross_entropy
from robobench.types import Condition, ImageBatch, WorkItem

ROW = 48  # bytes of one image under one condition, as stored
ATTACK_ROW = 80  # the same under an attack
AT_LEAST = 0.2  # seconds that a measurement lasts
PERTURBED = 4  # images that each perturbation is timed on


@dataclass(frozen=True)
class Pace:
    """Seconds for one image: a forward pass, a forward and a backward pass, and the way into memory."""

    forward: float
    both: float
    reading: float


def attacks_of(resolved: Resolved) -> Iterator[tuple[Condition, Any]]:
    """The conditions that attack, and their attack."""
    for condition in resolved.conditions:
        if condition.attack is not None:
            yield condition, registry.instance_of(condition.attack)


def follows_gradients(attack: Any, classes: int) -> bool:
    """Whether an attack, or any stage of it, needs gradients; a library's attack counts as one that does."""
    if isinstance(attack, Ensemble):
        return any(follows_gradients(stage, classes) for stage in attack.stages(max(classes, needs(attack))))
    return bool(getattr(attack, "white", True))


def needs(attack: Any) -> int:
    """How few classes an attack can work with."""
    least = getattr(attack, "classes", 2)
    return least if isinstance(least, int) else 2


def classes(count: int) -> Finding:
    """Whether there are as many classes as installed attacks need. A suite's own are checked with it."""
    found = {name: needs(registry.attacks.get(name).cls) for name in registry.attacks.names()}
    said = ", ".join(f"{name} needs {least}" for name, least in found.items() if least > count)
    if not said:
        return Finding("classes", True, f"{count}, as many as every attack needs")
    return Finding("classes", False, f"{count} only: {said}", warning=True)


def measured(model: Model, batch: ImageBatch, size: int, reading: float) -> Pace:
    """The pace of a model at the size of batch that is used."""
    full = batch.select((list(range(len(batch))) * size)[:size])
    forward = _seconds(lambda: _forward(model, full)) / size
    try:
        both = _seconds(lambda: model.gradient(full, cross_entropy)[1].cpu()) / size
    except RobobenchError:  # a model without gradients: said by another check
        both = 3 * forward
    return Pace(forward, both, reading)


def cost(resolved: Resolved, pace: Pace, batch: ImageBatch, out: Path) -> Iterator[Finding]:
    """How long the suite takes with one model on this machine, and how much room its rows take.

    An estimate from above where there are attacks: what falls early costs less than planned.
    """
    items = plan(resolved, {}).items
    calm = sum(item.cost for item in items if not _attacks(item))
    work = {
        "reading": pace.reading * sum(len(d.ids) for d in resolved.data.values()),
        "perturbations": _perturbing(resolved, batch),
        "model": pace.forward * calm,
        "attacks": sum(_attacking(item, pace) for item in items if _attacks(item)),
    }
    parts = ", ".join(f"{name} {spoken(seconds)}" for name, seconds in work.items() if seconds >= 1)
    most = "at most " if work["attacks"] else "about "
    more = "; preparations come on top" if resolved.suite.preparations else ""
    speed = f"{1 / pace.forward:,.0f} images a second forward, {1 / pace.both:,.0f} with a gradient"
    yield Finding("time", True, f"{most}{spoken(sum(work.values()))} ({parts or speed}){more}; {speed}")
    rows = sum(len(ids) * (ATTACK_ROW if _attacks(i) else ROW) for i in items for ids in i.missing.values())
    free = shutil.disk_usage(next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())).free
    shown = f"about {sized(rows)} of rows, {sized(free)} are free"
    yield Finding("disk", rows < free, shown if rows < free else f"{shown}: choose another --out")


def spoken(seconds: float) -> str:
    """A duration with as much precision as an estimate has.

    >>> spoken(42.3), spoken(600), spoken(9000), spoken(400000)
    ('42 s', '10 min', '2.5 h', '4.6 days')
    """
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"


def sized(count: float) -> str:
    """Bytes in decimal units.

    >>> sized(900), sized(2_500_000), sized(3e12)
    ('1 kB', '2.5 MB', '3000.0 GB')
    """
    if count < 1e6:
        return f"{max(count / 1e3, 1):.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def _attacks(item: WorkItem) -> bool:
    return item.cells[0].condition.attack is not None


def _attacking(item: WorkItem, pace: Pace) -> float:
    """A plan counts a backward pass as two forward ones; an attack without gradients makes none."""
    step = item.cells[0].condition.attack
    white = follows_gradients(registry.instance_of(step), 10) if step is not None else False
    return item.cost * (pace.both / 3 if white else pace.forward)


def _perturbing(resolved: Resolved, batch: ImageBatch) -> float:
    """Seconds that all perturbations of the suite take, timed on a few images; those with inputs left out."""
    few = batch.select(range(min(PERTURBED, len(batch))))
    total = 0.0
    for condition in resolved.conditions:
        work = Applied(condition, resolved.suite.seed)
        plain = not any(getattr(part, "wants", ()) for _, part in work.parts)
        if plain and any(step.kind == "perturbation" for step, _ in work.parts):
            started = time.perf_counter()
            work.perturb(few, {})
            each = (time.perf_counter() - started) / len(few)
            total += each * len(resolved.ids(condition)) * condition.worst_of
    return total


def _forward(model: Model, batch: ImageBatch) -> Any:
    import torch

    with torch.inference_mode():
        return model(batch).cpu()


def _seconds(work: Callable[[], Any]) -> float:
    """Of one run, after one to warm up: the median of several."""
    work()
    times: list[float] = []
    while len(times) < 3 or sum(times) < AT_LEAST:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]
