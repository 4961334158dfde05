"""Whether pixels and labels mean to a network what they mean to the data: normalisation and class order.

Both show in the same way: read otherwise, the same network is right far more often.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import comb
from typing import TYPE_CHECKING, Any

from robobench.checks.finding import Finding
from robobench.contracts import Model
from robobench.errors import ModelError
from robobench.types import ImageBatch, LabelSpace

if TYPE_CHECKING:
    from torch import Tensor

LUCK = 1e-3  # a better reading may come by chance so often
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, eq=False)
class _Scale:
    """What a network is given for black and for white, per channel: (3, 1, 1)."""

    black: Tensor
    white: Tensor

    def pixels(self, given: Tensor) -> Tensor:
        """Back to [0, 1]."""
        return (given - self.black) / (self.white - self.black)

    def network(self, pixels: Tensor) -> Tensor:
        return self.black + pixels * (self.white - self.black)

    def like(self, other: _Scale) -> bool:
        span = (self.white - self.black).abs().max()
        gap = max((self.black - other.black).abs().max(), (self.white - other.white).abs().max())
        return bool((gap < 0.01 * span).item())

    def __str__(self) -> str:
        low, high = (v.flatten().tolist() for v in (self.black, self.white))
        if max(low) - min(low) < 1e-3 and max(high) - min(high) < 1e-3:
            return f"{low[0]:.2f} to {high[0]:.2f}"
        return (
            ", ".join(f"{a:.2f} to {b:.2f}" for a, b in zip(low, high, strict=True)) + " (red, green, blue)"
        )


def normalisation(model: Model, batch: ImageBatch) -> Finding:
    """Whether the network is given pixels as it was trained on them.

    What it is given for black and for white is seen at its door. The accuracy is then compared with what
    it would be for other common scales, and with red and blue swapped.
    """
    import torch

    own = _scale(model, batch)
    if own is None:
        return Finding("normalisation", True, "not seen: the network is not given images of three channels")
    shown = f"the network is given {own} for pixels from black to white"
    with torch.inference_mode():
        right = model(batch).argmax(dim=1) == batch.labels
        found = []
        for name, change in _alternatives(own):
            with _given(model, change):
                found.append((model(batch).argmax(dim=1) == batch.labels, name))
    best, name = max(found, key=lambda pair: int(pair[0].sum()))
    if not surely_more(best, right):
        return Finding("normalisation", True, shown)
    return Finding(
        "normalisation",
        False,
        f"{shown}, and is right about {int(right.sum())} of {len(batch)} images; with {name} it would be "
        f"about {int(best.sum())}: correct the model's mean and std, or the normalisation inside of it",
    )


def class_order(space: LabelSpace, logits: Tensor, labels: Tensor) -> Finding:
    """Whether the network numbers its classes as the data do.

    The orders that class folders are commonly numbered by are tried, and any fixed renumbering: it is
    learned on one half of the images and judged on the other.
    """
    answers = logits.argmax(dim=1).cpu()
    labels = labels.cpu()
    right = answers == labels
    readings = [(table[answers] == labels, name) for name, table in _orders(space.classes)]
    readings.append((_renumbered(answers, labels, len(space.classes)), "some other fixed renumbering"))
    best, name = max(readings, key=lambda pair: int(pair[0].sum()))
    if 2 * int(best.sum()) < len(labels) or not surely_more(best, right):
        return Finding("class order", True, "no other numbering of the classes fits better")
    return Finding(
        "class order",
        False,
        f"{int(right.sum())} of {len(labels)} answers are right, {int(best.sum())} would be after {name}: "
        f"the model numbers its classes otherwise than the data ({_example(answers, labels, space)}); give "
        f"the data the model's order, or the model the data's",
    )


def surely_more(one: Tensor, other: Tensor) -> bool:
    """Whether the first is right on more of the same images than the second, beyond chance (sign test)."""
    wins, losses = int((one & ~other).sum()), int((other & ~one).sum())
    n = wins + losses
    return sum(comb(n, k) for k in range(wins, n + 1)) < LUCK * 2.0**n


def _scale(model: Model, batch: ImageBatch) -> _Scale | None:
    """What the network is given for a black and for a white image, or None when it cannot be told."""
    import torch

    seen: list[Tensor] = []

    def note(given: Tensor) -> Tensor:
        seen.append(given)
        return given

    first = batch.select([0])
    with torch.inference_mode(), _given(model, note):
        for value in (0.0, 1.0):
            model(first.with_pixels(torch.full_like(first.pixels, value)))
    if len(seen) != 2 or any(s.ndim != 4 or s.shape[1] != 3 for s in seen):
        return None
    black, white = (s[0].mean(dim=(1, 2)).view(3, 1, 1) for s in seen)
    if bool((black == white).any()):
        raise ModelError("black and white look the same to the network: the pixels do not reach it")
    return _Scale(black, white)


def _alternatives(own: _Scale) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    import torch

    def of(mean: Any, std: Any) -> _Scale:
        m, s = (torch.as_tensor(v, dtype=torch.float32).view(-1, 1, 1).to(own.black) for v in (mean, std))
        return _Scale((0 - m) / s * torch.ones_like(own.black), (1 - m) / s * torch.ones_like(own.black))

    scales = {
        "pixels from 0 to 1 as they are": of([0.0], [1.0]),
        "pixels from 0 to 255": of([0.0], [1 / 255]),
        "mean 0.5 and std 0.5": of([0.5], [0.5]),
        "ImageNet's mean and std": of(*IMAGENET),
    }
    for name, scale in scales.items():
        if not own.like(scale):
            yield name, partial(_rescaled, own, scale)
    yield "red and blue swapped", partial(_swapped, own)


def _rescaled(own: _Scale, other: _Scale, given: Tensor) -> Tensor:
    return other.network(own.pixels(given))


def _swapped(own: _Scale, given: Tensor) -> Tensor:
    return own.network(own.pixels(given).flip(1))


@contextmanager
def _given(model: Model, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While open, the network is given something else than it would be."""

    def replaced(_module: Any, arguments: Any) -> Any:
        return (change(arguments[0]), *arguments[1:]) if arguments else None

    hook = model.module.register_forward_pre_hook(replaced)
    try:
        yield
    finally:
        hook.remove()


def _orders(names: tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    """Ways to number the classes: what the answer i would mean."""
    import torch

    k = len(names)
    orders: dict[str, list[int]] = {
        "sorting the class names as text": sorted(range(k), key=lambda i: names[i]),
        "sorting the class names without regard to case": sorted(range(k), key=lambda i: names[i].lower()),
        "counting the classes backwards": list(range(k))[::-1],
        "counting the classes from 1 instead of 0": [(i - 1) % k for i in range(k)],
        "counting the classes from 0 instead of 1": [(i + 1) % k for i in range(k)],
    }
    if all(name.isdecimal() for name in names):
        orders["sorting the class names as numbers"] = sorted(range(k), key=lambda i: int(names[i]))
    for name, order in orders.items():
        table = torch.tensor(order)
        yield name, table
        if name.startswith("sorting"):  # the data may be the ones that are sorted
            yield name, table.argsort()


def _renumbered(answers: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Which answers are right after the renumbering that suits the other half of the images best."""
    import torch
    from scipy.optimize import linear_sum_assignment

    right = torch.zeros(len(labels), dtype=torch.bool)
    half = torch.arange(len(labels)) // classes % 2 == 0  # classes take turns in the visiting order
    for judged in (half, ~half):
        counts = torch.zeros(classes, classes)
        counts.index_put_(
            (answers[~judged], labels[~judged]), torch.ones(int((~judged).sum())), accumulate=True
        )
        table = torch.as_tensor(linear_sum_assignment(-counts.numpy())[1])
        right[judged] = table[answers[judged]] == labels[judged]
    return right


def _example(answers: Tensor, labels: Tensor, space: LabelSpace) -> str:
    """The commonest mistake, in words."""
    wrong = [(int(y), int(a)) for y, a in zip(labels, answers, strict=True) if y != a]
    label, answer = max(sorted(set(wrong)), key=wrong.count)
    times = wrong.count((label, answer))
    return f"{space.classes[label]!r} is answered by {space.classes[answer]!r} {times} times"
