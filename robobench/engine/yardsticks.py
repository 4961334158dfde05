"""How far each condition takes images from the clean ones: a yardstick of severity without a model.

Measured once per data, view and condition on the first 64 images of the visiting order, whatever the limit
of a run, and kept with the results.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from robobench.engine.frames import Frames, open_frames, to_pixels
from robobench.engine.pictures import pictures
from robobench.engine.resolve import Resolved, step_params
from robobench.engine.sets import DataSet
from robobench.errors import RobobenchError
from robobench.keys import digest
from robobench.store import Store
from robobench.suite.suite import BASE
from robobench.types import Condition, ImageBatch, View, Yardstick

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

IMAGES = 64
_VERSION = 1


def yardsticks(
    resolved: Resolved, store: Store, device: str, cache: Path | None, begin: Callable[[], None]
) -> Mapping[str, Yardstick]:
    """The mean PSNR and SSIM of each condition that changes the pixels of clean images.

    Left out are those whose pixels depend on a model (attacks, interventions, prepared inputs, `view:
    native`), those of other images than the base's, and those that cannot be computed. `begin` is called
    before the first one is. Raises StoreError.
    """
    found: dict[str, Yardstick] = {}
    lacking: dict[str, list[Condition]] = defaultdict(list)
    for condition in resolved.conditions:
        if _measurable(condition, resolved):
            key = _key(condition, resolved)
            kept = store.asides.yardstick(key)
            if kept is None:
                lacking[condition.data].append(condition)
            else:
                found[condition.name] = kept
    if lacking:
        begin()
    for name, conditions in lacking.items():
        for condition, value in _measured(resolved, name, conditions, device, cache):
            store.asides.put_yardstick(_key(condition, resolved), value)
            found[condition.name] = value
    return {name: value for name, value in found.items() if value.images}


def _measurable(condition: Condition, resolved: Resolved) -> bool:
    data, base = resolved.data[condition.data], resolved.data[BASE]
    if condition.clean or None in (data.view, base.view) or (data.sized and not condition.steps):
        return False
    if any(step.kind != "perturbation" or step.inputs for step in condition.steps):
        return False
    return data.revision == base.revision or set(_ids(data)) <= base.labels.keys()


def _view(data: DataSet) -> View:
    """The view of a measurable condition's data, which is never each model's own."""
    return data.view or View()


def _ids(data: DataSet) -> tuple[str, ...]:
    return tuple(i for i in data.visiting if i not in data.excluded)[:IMAGES]


def _key(condition: Condition, resolved: Resolved) -> str:
    data, base = resolved.data[condition.data], resolved.data[BASE]
    steps = [[s.name, s.version, step_params(s)] for s in condition.steps]
    return digest(
        "yardstick", _VERSION, data.revision, data.view, base.revision, base.view, steps,
        resolved.suite.seed, _ids(data),
    )  # fmt: skip


def _measured(
    resolved: Resolved, name: str, conditions: Sequence[Condition], device: str, cache: Path | None
) -> Iterator[tuple[Condition, Yardstick]]:
    """One data set's conditions. What fails here fails in the rows too, which say why."""
    data = resolved.data[name]
    frames = open_frames(data, _view(data), cache)
    for condition in conditions:
        with suppress(RobobenchError, RuntimeError, ValueError):
            yield condition, _of(condition, data, frames, resolved, device, cache)


def _of(
    condition: Condition,
    data: DataSet,
    frames: Frames,
    resolved: Resolved,
    device: str,
    cache: Path | None,
) -> Yardstick:
    """The means; over no images where there is nothing of the same size to compare with."""
    import torch

    from robobench.fidelity import psnr, ssim

    base = resolved.data[BASE]
    clean = None
    if data.revision != base.revision:
        clean = open_frames(base, _view(base), cache)
    noise, likeness = [], []
    for _, before, after in pictures(
        data, frames, [condition], _ids(data), seed=resolved.suite.seed, device=device
    ):
        other = before.pixels if clean is None else _stored_clean(clean, after)
        if other is None:
            return Yardstick(float("nan"), float("nan"), 0)
        noise.append(psnr(after.pixels, other).cpu())
        likeness.append(ssim(after.pixels, other).cpu())
    if not noise:
        return Yardstick(float("nan"), float("nan"), 0)
    decibels = torch.cat(noise)
    finite = decibels[decibels.isfinite()]  # an image that is unchanged has no ratio
    ratio = float(finite.mean()) if len(finite) else float("inf")
    return Yardstick(ratio, float(torch.cat(likeness).mean()), len(decibels))


def _stored_clean(clean: Frames, after: ImageBatch) -> Tensor | None:
    """The clean images of the same ids, where they have the same size."""
    kept, pixels = clean.read(after.ids)
    if kept != after.ids or pixels.shape[1:3] != tuple(after.pixels.shape[2:]):
        return None
    return to_pixels(pixels, str(after.pixels.device))
