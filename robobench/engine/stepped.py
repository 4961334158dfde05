"""A stepped attack over many images: a place in the lot is given to the next image as soon as it is free."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from robobench.contracts import Model, Seen, State, SteppedAttack, Task
from robobench.draws import Draws
from robobench.engine.lots import Attacked, within_budget
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class _Slot:
    """A place in the lot: which row of the batch, its restart, and how far it is."""

    row: int
    restart: int
    step: int = 0


@dataclass
class Stepped:
    """A stepped attack at work on the rows of a batch.

    clean: the model's logits for the whole batch. stop: an image leaves the moment it falls.
    """

    attack: SteppedAttack
    model: Model
    batch: ImageBatch
    clean: Tensor
    draws: Draws
    lot: int
    task: Task
    stop: bool = True
    state: dict[str, Tensor] = field(default_factory=dict)
    slots: list[_Slot | None] = field(default_factory=list)

    def run(self, rows: Sequence[int]) -> Attacked:
        """Attack the given rows, in their order."""
        import torch

        n = len(self.batch)
        if hasattr(self.attack, "within"):
            self.model = self.attack.within(self.model)
        self.pixels = self.batch.pixels.clone()
        self.fell = torch.zeros(n, dtype=torch.bool)
        self.queries = torch.zeros(n, dtype=torch.int64)
        self.asked = torch.zeros(n, dtype=torch.int64)
        self.gradients = torch.zeros(n, dtype=torch.int64)
        self.zeros = torch.zeros(n)
        self.first = torch.full((n,), float("nan"))
        self.most = torch.full((n,), float("nan"))
        self.waiting = deque((row, 0) for row in rows)
        self.slots = [None] * self.lot
        self.origin: ImageBatch | None = None
        self.finished: list[tuple[_Slot, Tensor]] = []
        while self._fill():
            self._advance()
            self._judge(final=False)
        share = self.zeros / self.gradients.clamp(min=1)
        share[self.gradients == 0] = float("nan")
        stage = torch.where(self.fell, 0, -1)
        gain = torch.where(self.asked > 1, self.most - self.first, float("nan"))
        blind = torch.zeros_like(self.fell)
        return Attacked(self.pixels, self.queries, share, gain, self.fell, stage, blind).select(rows)

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
        import torch

        images = self.batch.select(rows)
        logits = self.clean[torch.as_tensor(rows, device=self.clean.device)]
        started = self.attack.start(images, logits, restart, self.draws.select(images.ids).at(restart))
        for name, values in started.items():
            if name not in self.state:
                self.state[name] = values[:1].expand(self.lot, *values.shape[1:]).clone()
            self.state[name][places] = values.to(self.state[name].dtype)
        for place, row in zip(places, rows, strict=True):
            self.slots[place] = _Slot(row, restart)
        self.origin = None

    def _free(self, place: int) -> None:
        self.slots[place] = None
        self.origin = None

    def _seated(self) -> ImageBatch:
        """The images of the lot, free places filled with one of them; kept while nobody comes or goes."""
        import torch

        if self.origin is None:
            filler = next(slot for slot in self.slots if slot is not None)
            self.origin = self.batch.select([(slot or filler).row for slot in self.slots])
            taken = [(place, slot.row) for place, slot in enumerate(self.slots) if slot is not None]
            self.places, self.rows = torch.tensor(taken).unbind(dim=1)
        return self.origin

    def _advance(self) -> None:
        """One forward pass over the lot, mostly one backward, and one step of those that still stand."""
        origin = self._seated()
        probe = self.attack.probe(origin, self.state)
        seen = ask(self.attack, self.model, origin, self.state, probe)
        down = self.task.fallen(seen.logits, origin.labels)
        if self.attack.norm is None or not self.stop:
            down = down & False
        elif bool(down.any()):
            down = down & within_budget(self.attack, origin.pixels, probe)
        self._note(seen)
        following = self.attack.step(origin, self.state, seen)
        fallen = down.tolist()
        for place, slot in enumerate(self.slots):
            if slot is not None and fallen[place]:
                self._keep(slot, probe[place], fell=True)
                self._free(place)
        self.state = _apart(following)
        self._retire(probe)

    def _retire(self, probe: Tensor) -> None:
        """Take out who has made every step, or says that it is done.

        Who ends where the model was just asked about stands: it is not asked again.
        """
        import torch

        done = self.state["done"].tolist() if "done" in self.state else [False] * self.lot
        kept = self.state.get("best", self.state["pixels"])
        asks = getattr(self.attack, "asks", self.attack.steps)
        for place, slot in enumerate(self.slots):
            if slot is not None:
                slot.step += 1
                if slot.step >= asks or done[place]:
                    self._free(place)
                    if self.attack.norm is not None and torch.equal(kept[place], probe[place]):
                        self._judged(slot, kept[place], fell=False)
                    else:
                        self.finished.append((slot, kept[place].clone()))

    def _note(self, seen: Seen) -> None:
        """What the health of the attack is judged by."""
        import torch

        places, rows = self.places, self.rows
        runs = getattr(self.attack, "eot", 1)
        self.queries[rows] += runs
        self.asked[rows] += 1
        if seen.gradient is not None:
            self.gradients[rows] += 1
            self.zeros[rows] += (seen.gradient.flatten(1) == 0).all(dim=1).cpu()[places].float()
        loss = seen.loss.detach().float().cpu()[places]
        self.first[rows] = torch.where(self.first[rows].isnan(), loss, self.first[rows])
        self.most[rows] = torch.fmax(self.most[rows], loss)

    def _keep(self, slot: _Slot, pixels: Tensor, *, fell: bool) -> None:
        self.pixels[slot.row] = pixels
        self.fell[slot.row] = fell

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
                self._judged(slot, pixels, fell=fell)

    def _judged(self, slot: _Slot, pixels: Tensor, *, fell: bool) -> None:
        """One restart is over. Who never falls is recorded where the first of them ended."""
        if fell or slot.restart == 0:
            self._keep(slot, pixels, fell=fell)
        starts = getattr(self.attack, "starts", self.attack.restarts)
        if not fell and slot.restart + 1 < starts:
            self.waiting.append((slot.row, slot.restart + 1))


def ask(attack: SteppedAttack, model: Model, origin: ImageBatch, state: State, probe: Tensor) -> Seen:
    """What the model says of the probe; of a randomised one the last of `eot` answers, and the mean slope."""
    import torch

    at = ImageBatch(probe, origin.ids, origin.labels, {**origin.inputs, **state})
    losses: list[Tensor] = []

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        losses.append(attack.loss(logits, labels, state))
        return losses[-1]

    logits: list[Tensor] = []
    gradients: list[Tensor] = []
    runs = getattr(attack, "eot", 1)
    for run in range(runs):
        who = model.again(run + 1) if runs > 1 and hasattr(model, "again") else model
        if attack.white and (not hasattr(attack, "looks") or attack.looks(state)):
            answer, gradient = who.gradient(at, loss)
            gradients.append(gradient)
        else:
            with torch.no_grad():
                answer = who(at)
                loss(answer, at.labels)
        logits.append(answer)
    return Seen(logits[-1], _mean([v.detach() for v in losses]), _mean(gradients) if gradients else None)


def _apart(state: State) -> dict[str, Tensor]:
    """A state whose tensors share no memory: images that come later are written into them."""
    own: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, values in state.items():
        shared = values.data_ptr() in taken or 0 in values.stride()
        own[name] = values.detach().clone() if shared else values.detach()
        taken.add(own[name].data_ptr())
    return own


def _mean(values: list[Tensor]) -> Tensor:
    import torch

    return values[0] if len(values) == 1 else torch.stack(values).mean(dim=0)
