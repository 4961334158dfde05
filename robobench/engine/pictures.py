"""What the conditions of a suite make of its images, before any model sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from robobench.engine.frames import Frames, batches, to_pixels
from robobench.engine.sets import DataSet
from robobench.engine.steps import Applied, Memo, donors
from robobench.types import Condition, ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

Inputs = Callable[[Condition, ImageBatch], Mapping[str, "Tensor"]]  # prepared tensors, `preparation/input`
Picture = tuple[Condition, ImageBatch, ImageBatch]  # a condition, images before it, the same after it


def pictures(
    data: DataSet,
    frames: Frames,
    conditions: Sequence[Condition],
    ids: Sequence[str],
    *,
    seed: int,
    device: str = "cpu",
    batch_size: int = 16,
    inputs: Inputs = lambda condition, batch: {},
) -> Iterator[Picture]:
    """The images of a data set before and after each condition, batch by batch.

    Interventions and attacks, which need a model, leave images as they are here.
    """
    works = [Applied(c, seed) for c in conditions]
    for batch in batches(frames, ids, data.labels, batch_size, device):
        memo: Memo = {}
        for work in works:
            given = dict(inputs(work.condition, batch))
            if work.wants_donor:
                given["donor"] = donor_pixels(work, batch, data, frames)
            yield work.condition, batch, work.perturb(batch, given, memo=memo)


def donor_pixels(work: Applied, batch: ImageBatch, data: DataSet, frames: Frames) -> Tensor:
    """For each image another one of the whole data set, as its view shows it: (b, 3, h, w)."""
    step = next(s for s, p in work.parts if "donor" in getattr(p, "wants", ()))
    wanted = donors(work.draws(step, batch, 0, None), data.everything)
    return to_pixels(np.stack([frames.frame(i) for i in wanted]), str(batch.pixels.device))
