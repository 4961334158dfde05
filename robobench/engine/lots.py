"""Attacks at work: lots of one fixed shape, refilled from the images that still stand.

Every forward and backward pass under an attack has the same batch size, whatever `--batch-size` says
and whoever has fallen, so that an attack's rows are the same on one machine at any batch size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from robobench.contracts import Loss, Model, SteppedAttack, Task
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
    grad_zero: Tensor  # share of the steps whose gradient was zero everywhere; NaN where not known
    loss_gain: Tensor  # loss at the last gradient minus loss at the first; NaN where not known


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


def run_attack(
    attack: Any, model: Model, batch: ImageBatch, rows: Sequence[int], draws: Draws, lot: int, task: Task
) -> Attacked:
    """Attack the given rows of a batch. Raises AttackError when a result leaves budget or range."""
    if isinstance(attack, SteppedAttack):
        result = _Stepped(attack, model, batch, draws, lot, task).run(rows)
    else:
        result = _whole_lots(attack, model, batch, rows, draws, lot)
    check_budget(attack, batch.select(rows).pixels, result.pixels)
    return result


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
    slack = TOLERANCE * (1 if attack.norm == "linf" else max(1.0, attack.eps))
    if reached > attack.eps + slack:
        raise AttackError(
            f"{name}: moved an image by {reached:.8g} in {attack.norm}, budget {attack.eps:.8g}"
        )


def distance(clean: Tensor, pixels: Tensor, norm: str) -> Tensor:
    """(b,) distance in [0, 1] pixel units: `linf` over all values, `l2` of the whole image."""
    gap = (pixels - clean).flatten(1)
    return gap.abs().amax(dim=1) if norm == "linf" else gap.double().norm(dim=1).float()


def _whole_lots(
    attack: Any, model: Model, batch: ImageBatch, rows: Sequence[int], draws: Draws, lot: int
) -> Attacked:
    """An attack that cannot be stopped early runs on the same lots whoever stands in them."""
    import torch

    wanted = set(rows)
    parts: dict[int, Tensor] = {}
    counts: dict[int, int] = {}
    for members, real in padded(range(len(batch)), lot):
        if not wanted.intersection(members[:real]):
            continue
        counted = _Counted(model)
        inside = batch.select(members)
        found = attack(counted, inside, draws.select(inside.ids))
        if found.shape != inside.pixels.shape:
            raise AttackError(f"{type(attack).__name__}: gave pixels of shape {tuple(found.shape)}")
        for place in range(real):
            parts[members[place]] = found[place].detach()
            counts[members[place]] = counted.passes
    pixels = torch.stack([parts[r] for r in rows])
    unknown = torch.full((len(rows),), float("nan"))
    return Attacked(pixels, torch.tensor([counts[r] for r in rows]), unknown, unknown)


@dataclass
class _Counted:
    """A model that counts its forward passes."""

    inner: Model
    passes: int = 0

    @property
    def module(self) -> Any:
        return self.inner.module

    def __call__(self, batch: ImageBatch) -> Tensor:
        self.passes += 1
        return self.inner(batch)

    def gradient(self, batch: ImageBatch, loss: Loss) -> tuple[Tensor, Tensor]:
        self.passes += 1
        return self.inner.gradient(batch, loss)

    def taps(self, *names: str) -> Any:
        return self.inner.taps(*names)


@dataclass
class _Slot:
    """A place in the lot: which row of the batch, its restart, and how far it is."""

    row: int
    restart: int
    step: int = 0


@dataclass
class _Stepped:
    """A stepped attack over many images. A place is given to the next image as soon as it is free."""

    attack: SteppedAttack
    model: Model
    batch: ImageBatch
    draws: Draws
    lot: int
    task: Task
    state: dict[str, Tensor] = field(default_factory=dict)
    slots: list[_Slot | None] = field(default_factory=list)

    def run(self, rows: Sequence[int]) -> Attacked:
        import torch

        n = len(self.batch)
        self.best = self.batch.pixels.clone()
        self.queries = torch.zeros(n, dtype=torch.int64)
        self.gradients = torch.zeros(n, dtype=torch.int64)
        self.zeros = torch.zeros(n)
        self.first = torch.full((n,), float("nan"))
        self.last = torch.full((n,), float("nan"))
        self.waiting = deque((row, 0) for row in rows)
        self.slots = [None] * self.lot
        self.finished: list[tuple[_Slot, Tensor]] = []
        while self._fill():
            self._advance()
            self._judge(final=False)
        index = torch.as_tensor(list(rows), dtype=torch.int64)
        share = self.zeros / self.gradients.clamp(min=1)
        share[self.gradients == 0] = float("nan")
        place = index.to(self.best.device)
        return Attacked(self.best[place], self.queries[index], share[index], (self.last - self.first)[index])

    def _fill(self) -> bool:
        """Give free places to waiting images; False when nothing is left to do."""
        free = [k for k, slot in enumerate(self.slots) if slot is None]
        while free and self.waiting:
            restart = self.waiting[0][1]
            group: list[int] = []
            while self.waiting and self.waiting[0][1] == restart and len(group) < len(free):
                group.append(self.waiting.popleft()[0])
            self._start(group, restart, [free.pop(0) for _ in group])
        if all(slot is None for slot in self.slots):
            self._judge(final=True)
            return bool(self.waiting) and self._fill()
        return True

    def _start(self, rows: list[int], restart: int, places: list[int]) -> None:
        images = self.batch.select(rows)
        started = self.attack.start(images, self.draws.select(images.ids).at(restart))
        for name, values in started.items():
            if name not in self.state:
                self.state[name] = values[:1].expand(self.lot, *values.shape[1:]).clone()
            self.state[name][places] = values
        for place, row in zip(places, rows, strict=True):
            self.slots[place] = _Slot(row, restart)

    def _advance(self) -> None:
        """One forward and one backward pass over the lot, and one step of those that still stand."""
        filler = next(slot for slot in self.slots if slot is not None)
        origin = self.batch.select([(slot or filler).row for slot in self.slots])
        at = ImageBatch(self.state["pixels"], origin.ids, origin.labels, origin.inputs)
        logits, gradient = self.model.gradient(at, self.attack.loss)
        down = self.task.fallen(logits, at.labels).tolist()
        flat = (gradient.flatten(1) == 0).all(dim=1).tolist()
        loss = self.attack.loss(logits, at.labels).detach().float().tolist()
        following = self.attack.step(origin, self.state, gradient)
        for place, slot in enumerate(self.slots):
            if slot is not None:
                self._note(slot, flat[place], loss[place])
                if down[place]:
                    self._keep(slot, self.state["pixels"][place])
                    self.slots[place] = None
        self.state = {name: values.detach().clone() for name, values in following.items()}
        for place, slot in enumerate(self.slots):
            if slot is not None:
                slot.step += 1
                if slot.step >= self.attack.steps:
                    self.finished.append((slot, self.state["pixels"][place].clone()))
                    self.slots[place] = None

    def _note(self, slot: _Slot, flat: bool, loss: float) -> None:
        row = slot.row
        self.queries[row] += 1
        self.gradients[row] += 1
        self.zeros[row] += flat
        if self.first[row].isnan():
            self.first[row] = loss
        self.last[row] = loss

    def _keep(self, slot: _Slot, pixels: Tensor) -> None:
        self.best[slot.row] = pixels

    def _judge(self, *, final: bool) -> None:
        """Look at finished images, a whole lot at a time; who stands gets the restarts that are left."""
        import torch

        while len(self.finished) >= self.lot or (final and self.finished):
            group = self.finished[: self.lot]
            del self.finished[: self.lot]
            full = (group * self.lot)[: self.lot]
            images = self.batch.select([slot.row for slot, _ in full])
            with torch.no_grad():
                logits = self.model(images.with_pixels(torch.stack([p for _, p in full])))
            down = self.task.fallen(logits, images.labels).tolist()
            for (slot, pixels), fell in zip(group, down, strict=False):
                self.queries[slot.row] += 1
                if fell or slot.restart == 0:
                    self._keep(slot, pixels)
                if not fell and slot.restart + 1 < self.attack.restarts:
                    self.waiting.append((slot.row, slot.restart + 1))
