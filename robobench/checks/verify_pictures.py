"""Attacked images that a result kept: whether they are inside the budget and answered as its rows claim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robobench.checks.adversarial import CHUNK, given_images
from robobench.checks.verify_claims import rows_at
from robobench.checks.verify_rows import Columns, Fault, judge, number
from robobench.contracts import LoadedModel
from robobench.engine.local import Local
from robobench.engine.lots import distance, predict, within_budget
from robobench.engine.resolve import Resolved
from robobench.engine.steps import Applied
from robobench.engine.sweep import Bench
from robobench.errors import DataError, StoreError
from robobench.lossless import Damaged, Kept
from robobench.store import Store
from robobench.tasks.classification import LOGITS
from robobench.types import Cell, ImageBatch, ModelId

if TYPE_CHECKING:
    from torch import Tensor

ROUNDING = 1e-5  # how far the length of the same change may differ, as a share of it, and at least in pixels


@dataclass(frozen=True)
class Pictures:
    """Asks a model again about the images of one attack."""

    cell: Cell
    model: ModelId
    loaded: LoadedModel
    resolved: Resolved
    store: Store
    local: Local
    tolerance: float

    def clean(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The logits of images as the attack was given them."""
        found: dict[str, NDArray[np.float32]] = {}
        for bench, given in self._given(ids):
            logits = self._logits(bench, given).cpu().numpy()
            found |= dict(zip(given.ids, logits, strict=True))
        return found

    def judged(self, ids: Sequence[str], claimed: Columns) -> tuple[dict[str, Fault | None], list[str]]:
        """For each claimed row whose picture was kept what is wrong with it; and files that are damaged.

        A picture of a smaller budget counts for an image that fell there.
        """
        where, lost = self._where(frozenset(ids))
        place = {image: r for r, image in enumerate(ids)}
        found: dict[str, Fault | None] = {}
        for path in dict.fromkeys(where.values()):
            mine = [i for i in ids if where.get(i) == path]
            try:
                kept = self.store.images(path)
                for bench, given in self._given(mine):
                    rows = rows_at(claimed, [place[i] for i in given.ids])
                    found |= dict(zip(given.ids, self._judge(bench, given, kept, rows), strict=True))
            except (StoreError, Damaged) as error:
                lost.append(str(error))
        return found, lost

    def _where(self, ids: frozenset[str]) -> tuple[dict[str, Path], list[str]]:
        """The file of each image's picture, the nearest budget's, and what cannot be read."""
        keys = (*self.cell.lower, self.cell.key)
        files = self.store.image_files(keys)
        found: dict[str, Path] = {}
        lost = []
        for key in keys:
            for path in (p for p in files[key] if p.exists()):
                try:
                    held = self.store.image_names(path)
                except StoreError as error:
                    lost.append(str(error))
                    continue
                found |= {i: path for i, fell in held.items() if i in ids and (key == self.cell.key or fell)}
        return found, lost

    def _given(self, ids: Sequence[str]) -> Iterator[tuple[Bench, ImageBatch]]:
        """The images as the attack was given them, some lots at a time."""
        if not ids:
            return
        data = self.resolved.data[self.cell.condition.data]
        bench, _ = self.local.bench(self.loaded, self.model, data, [self.cell], tuple(ids))
        for start in range(0, len(ids), CHUNK * bench.lot):
            with suppress(DataError):  # images that cannot be decoded are missed where rows are compared
                yield bench, given_images(self.cell, bench, ids[start : start + CHUNK * bench.lot])

    def _logits(self, bench: Bench, images: ImageBatch) -> Tensor:
        changed = Applied(self.cell.condition, bench.seed).changed(bench.read, bench.device)
        return predict(changed, images, range(len(images)), bench.lot)

    def _judge(self, bench: Bench, given: ImageBatch, kept: Kept, claimed: Columns) -> list[Fault | None]:
        import torch

        if kept.shape != tuple(given.pixels.shape[1:]):
            shape = str(tuple(given.pixels.shape[1:]))
            return [Fault("kept image", str(kept.shape)[:40], shape, np.nan, 0.0)] * len(given)
        pixels = torch.from_numpy(kept.pixels(given.ids)).to(given.pixels.device)
        attack = Applied(self.cell.condition, bench.seed).attack
        inside = within_budget(attack, given.pixels, pixels).cpu().numpy()
        safe = torch.where(pixels.isfinite(), pixels, 0.0).clamp(0.0, 1.0)
        logits = self._logits(bench, given.with_pixels(safe))
        columns = {**bench.task.record(logits, given.labels), LOGITS: logits.float().cpu().numpy()}
        right = given.labels.cpu().numpy()[:, None]
        faults = judge(claimed, columns, right, self.tolerance)
        for norm in ("linf", "l2"):
            size = distance(given.pixels, pixels, norm).double().cpu().numpy()
            said, slack = number(claimed.get(norm), len(given)), ROUNDING * np.maximum(1.0, size)
            for r in np.flatnonzero(~(np.abs(said - size) <= slack)):
                gap = float(abs(said[r] - size[r]))
                faults[r] = faults[r] or Fault(norm, f"{said[r]:.6g}", f"{size[r]:.6g}", gap, float(slack[r]))
        for r in np.flatnonzero(~inside):
            moved = float(distance(given.pixels, pixels, attack.norm or "linf")[r])
            room = float(getattr(attack, "eps", np.nan))
            faults[r] = Fault("kept image", "inside its budget", f"{moved:.6g} away", moved, room)
        return faults
