"""What attacks climb: losses of one image each, larger where the model is nearer to being wrong.

logits (b, classes), labels and targets (b,) int64 -> (b,), differentiable in the logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_TINY = 1e-12  # keeps the ratio of equal logits finite, as in the original


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the log probability of the label."""
    import torch

    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The best wrong logit minus the label's: above 0 when the model is wrong."""
    import torch

    wrong = logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    return wrong - _own(logits, labels)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """The difference of logits ratio: the margin over the distance of the first logit to the third.

    Does not change when all logits are scaled or shifted. Needs three classes. Source: Croce and Hein,
    Reliable Evaluation of Adversarial Robustness, ICML 2020, equation 6.
    """
    best = logits.topk(3, dim=1).values
    return margin(logits, labels) / (best[:, 0] - best[:, 2] + _TINY)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The difference of logits ratio towards a target class. Needs four classes.

    Source: Croce and Hein, ICML 2020, equation 7.
    """
    best = logits.topk(4, dim=1).values
    spread = best[:, 0] - (best[:, 2] + best[:, 3]) / 2
    return (_own(logits, targets) - _own(logits, labels)) / (spread + _TINY)


def _own(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]
