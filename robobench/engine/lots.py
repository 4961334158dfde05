"""Attacks at work: lots of one fixed shape, refilled from the images that still stand.

Every forward and backward pass under an attack has the same batch size, whatever `--batch-size` says
and whoever has fallen, so that an attack's rows are the same on one machine at any batch size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from robobench.contracts import Loss, Model
from robobench.draws import Draws
from robobench.errors import AttackError
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 1e-6  # of budget and range: float32 rounding at pixel scale


@dataclass(frozen=True)
class Attacked:
    """What an attack made of some images, and what it took; one value per image."""

    pixels: Tensor
    queries: Tensor  # forward passes
    grad_zero: Tensor  # share of the steps whose gradient was zero everywhere; NaN where there was none
    loss_gain: Tensor  # largest loss that was seen minus the first; NaN where not known
    fell: Tensor  # bool: the attack saw the model wrong about these pixels; False where it did not look
    stage: Tensor  # which attack of an ensemble the image fell to, 0 for the first; -1 while it stands
    blind: Tensor  # bool: it fell to a stage without gradients, after one with gradients had failed

    def select(self, rows: Sequence[int]) -> Attacked:
        """Some of the images, in the given order."""
        import torch

        at = torch.as_tensor(list(rows), dtype=torch.int64)
        place = at.to(self.pixels.device)
        parts = (self.queries, self.grad_zero, self.loss_gain, self.fell, self.stage, self.blind)
        return Attacked(self.pixels[place], *(p[at] for p in parts))


def padded(rows: Sequence[int], lot: int) -> Iterator[tuple[list[int], int]]:
    """Rows in lots of one size, the last filled up by repetition; with how many are real."""
    for start in range(0, len(rows), lot):
        real = list(rows[start : start + lot])
        yield (real * lot)[:lot] if len(real) < lot else real, len(real)


def predict(model: Model, batch: ImageBatch, rows: Sequence[int], lot: int) -> Tensor:
    """Logits (len(rows), classes) of some rows, by lots."""
    import torch

    found = []
    with torch.no_grad():
        for members, real in padded(rows, lot):
            found.append(model(batch.select(members))[:real])
    return torch.cat(found)


def check_budget(attack: Any, clean: Tensor, pixels: Tensor) -> None:
    """Raise AttackError unless every image is finite, in [0, 1] and inside the attack's budget."""
    import torch

    name = type(attack).__name__
    if not torch.isfinite(pixels).all():
        raise AttackError(f"{name}: gave pixels that are not finite")
    low, high = (float(v) for v in pixels.aminmax())
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise AttackError(f"{name}: gave pixels in [{low:.6g}, {high:.6g}], expected [0, 1]")
    if attack.norm is None:
        return
    reached = float(distance(clean, pixels, attack.norm).max())
    if reached > attack.eps + slack(attack):
        raise AttackError(
            f"{name}: moved an image by {reached:.8g} in {attack.norm}, budget {attack.eps:.8g}"
        )


def within_budget(attack: Any, clean: Tensor, pixels: Tensor) -> Tensor:
    """(b,) bool: the pixels are finite, in [0, 1] and inside the attack's budget; all of them without one."""
    import torch

    flat = pixels.flatten(1)
    fine = torch.isfinite(flat).all(dim=1) & (flat.amin(dim=1) >= -TOLERANCE)
    fine &= flat.amax(dim=1) <= 1 + TOLERANCE
    if attack.norm is None:
        return fine
    fine &= distance(clean, pixels, attack.norm) <= attack.eps + slack(attack)
    return fine


def slack(attack: Any) -> float:
    """How far rounding may take an image over its budget."""
    return TOLERANCE * (max(1.0, attack.eps) if attack.norm in ("l2", "l1") else 1)


def distance(clean: Tensor, pixels: Tensor, norm: str) -> Tensor:
    """(b,) distance of images by `linf`, `l2`, `l1` (over all values) or `l0` (share of changed pixels)."""
    gap = pixels - clean
    size: Tensor
    if norm == "l0":
        size = (gap != 0).any(dim=1).flatten(1).float().mean(dim=1)
    elif norm == "linf":
        size = gap.flatten(1).abs().amax(dim=1)
    else:
        size = gap.flatten(1).double().norm(p=int(norm[1:]), dim=1).float()
    return size


def run_whole(
    attack: Any, model: Model, batch: ImageBatch, rows: Sequence[int], draws: Draws, lot: int
) -> Attacked:
    """An attack that cannot be stopped early runs on the same lots whoever stands in them.

    One that attacks each image alone is given the images that stand and no others.
    """
    import torch

    wanted = set(rows)
    parts: dict[int, Tensor] = {}
    counts: dict[int, int] = {}
    alone = getattr(attack, "alone", False)
    for members, real in padded(rows if alone else range(len(batch)), lot):
        if alone:
            del members[real:]
        elif not wanted.intersection(members[:real]):
            continue
        counted = _Counted(model)
        inside = batch.select(members)
        found = attack(counted, inside, draws.select(inside.ids))
        if found.shape != inside.pixels.shape:
            raise AttackError(f"{type(attack).__name__}: gave pixels of shape {tuple(found.shape)}")
        asked = counted.queries(inside.ids)
        for place in range(real):
            parts[members[place]] = found[place].detach()
            counts[members[place]] = asked[place]
    pixels = torch.stack([parts[r] for r in rows])
    unknown = torch.full((len(rows),), float("nan"))
    fell = torch.zeros(len(rows), dtype=torch.bool)
    stage = torch.full((len(rows),), -1)
    queries = torch.tensor([counts[r] for r in rows])
    return Attacked(pixels, queries, unknown, unknown, fell, stage, torch.zeros_like(fell))


@dataclass
class _Counted:
    """A model that counts what it is asked about, image by image."""

    inner: Model
    named: Counter[str] = field(default_factory=Counter)
    unnamed: int = 0  # questions that do not say which image they are about

    @property
    def module(self) -> Any:
        return self.inner.module

    def __call__(self, batch: ImageBatch) -> Tensor:
        self._note(batch)
        return self.inner(batch)

    def gradient(self, batch: ImageBatch, loss: Loss) -> tuple[Tensor, Tensor]:
        self._note(batch)
        return self.inner.gradient(batch, loss)

    def queries(self, ids: Sequence[str]) -> list[int]:
        """For each image of a lot; one that fills it up several times has its share, rounded up."""
        copies = Counter(ids)
        common = -(-self.unnamed // len(ids))
        return [-(-self.named[i] // copies[i]) + common for i in ids]

    def _note(self, batch: ImageBatch) -> None:
        self.named.update(batch.ids)
        self.unnamed += len(batch.pixels) - len(batch.ids)

    def read(self, outputs: Tensor) -> Tensor:
        return self.inner.read(outputs)

    def taps(self, *names: str) -> Any:
        return self.inner.taps(*names)
