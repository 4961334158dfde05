"""Models with one fault each, for the doctor: a sound digit classifier, and what is wrong around it.

Factories as a user writes them: `tests.sick_models:NAME` is a model SPEC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from robobench.models import zoo
from robobench.models.handle import Described


def _sound() -> nn.Module:
    module = zoo.architecture("vit")
    module.load_state_dict(load_file(zoo.WEIGHTS / "vit.safetensors"))
    return module


class _With(nn.Module):
    """The sound model with something done to its logits; it also sees the pixels the network is given."""

    def __init__(self, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.sound, self.change = _sound(), change

    def forward(self, given: Tensor) -> Tensor:
        return self.change(self.sound(given), given)


def _described(module: nn.Module, **other: Any) -> Described:
    return Described(module, **{"mean": zoo.MEAN, "std": zoo.STD, "family": "vit"} | other)


def _changed(change: Callable[[Tensor, Tensor], Tensor]) -> Described:
    return _described(_With(change))


def sound() -> Described:
    return _described(_sound())


def no_normalisation() -> Described:
    return _described(_sound(), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def normalised_twice() -> Described:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sound = _sound()

        def forward(self, given: Tensor) -> Tensor:
            return self.sound((given - 0.5) / 0.5)

    return _described(Twice())


def other_order() -> Described:
    """Four of the ten classes have changed places."""
    return _changed(lambda logits, _: logits[:, [0, 1, 7, 3, 2, 5, 6, 9, 8, 4]])


def counted_from_one() -> Described:
    return _changed(lambda logits, _: logits.roll(1, dims=1))


def training() -> Described:
    class Training(_With):
        def train(self, mode: bool = True) -> Training:
            return super().train(True)

    return _described(Training(lambda logits, _: logits))


def random() -> Described:
    return _changed(lambda logits, _: logits + 0.01 * torch.randn(logits.shape))


def slightly_random() -> Described:
    return _changed(lambda logits, _: logits + 1e-5 * torch.rand(logits.shape))


def company() -> Described:
    """Who else is in the batch counts, as with batch norm in training mode."""
    return _changed(lambda logits, given: logits + 0.1 * given.mean() * torch.arange(10.0) / 10)


def not_finite() -> Described:
    return _changed(lambda logits, given: logits / (given[:, :1, 14, 14] > 0).float())


def blind() -> Described:
    return _changed(lambda logits, _: torch.arange(10.0).expand(len(logits), 10) + 0 * logits)


def probabilities() -> Described:
    return _changed(lambda logits, _: logits.softmax(dim=1))


def guessing() -> Described:
    """Always the same answer, and yet the pixels reach the logits."""
    return _changed(lambda logits, _: 0.1 * logits + 10 * torch.eye(10)[3])


def no_gradient() -> Described:
    return _changed(lambda logits, _: logits.detach())


def broken_gradient() -> Described:
    """The slope of a root at 0 is infinite, times 0 it is not a number; the value is 0."""
    return _changed(lambda logits, given: logits + 0 * (given * 0).sum((1, 2, 3)).sqrt()[:, None])


def rounded() -> Described:
    return _changed(lambda logits, _: (logits * 4).round() / 4)


def saturated() -> Described:
    return _changed(lambda logits, _: logits * 1000)


def misleading() -> Described:
    """The right answers, and the gradient of something else."""
    return _changed(lambda logits, _: 2 * logits.detach() - logits)


def counting() -> Described:
    """A buffer that every forward pass writes to."""

    class Counting(_With):
        def __init__(self) -> None:
            super().__init__(lambda logits, _: logits)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, given: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(given)

    return _described(Counting())


def two_classes() -> Described:
    return _changed(lambda logits, _: logits[:, :2])


def wrong_shape() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
