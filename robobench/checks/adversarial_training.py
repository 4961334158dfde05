"""The worst pixels around training images: what a network sees instead of them to become robust."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def worst(
    forward: Callable[[Tensor], Tensor],
    pixels: Tensor,
    labels: Tensor,
    *,
    eps: float,
    steps: int,
    stride: float,
    generator: Any,
) -> Tensor:
    """Pixels within eps of the given ones in every value, where the cross entropy is high.

    Projected gradient ascent by signs from one random point of the budget: the inner maximisation of Madry
    et al., "Towards deep learning models resistant to adversarial attacks", 2018, equation 2.1. A step is
    stride x eps long. `forward` gives logits for pixels in [0, 1].
    """
    import torch
    from torch.nn.functional import cross_entropy

    low, high = (pixels - eps).clamp_(min=0), (pixels + eps).clamp_(max=1)
    noise = torch.rand(pixels.shape, generator=generator)
    found = (pixels + (2 * noise - 1) * eps).clamp_(0, 1)
    for _ in range(steps):
        found.requires_grad_(True)
        loss: Any = cross_entropy(forward(found), labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, found)
        with torch.no_grad():
            moved = found + slope.sign() * (stride * eps)
            found = torch.minimum(torch.maximum(moved, low), high)
    return found.detach()


def standing(
    forward: Callable[[Tensor], Tensor],
    pixels: Tensor,
    labels: Tensor,
    *,
    eps: float,
    steps: int,
    stride: float,
    restarts: int,
    seed: int,
) -> int:
    """How many images a model still names rightly after every one of several such searches."""
    import torch

    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        right = forward(pixels).argmax(1) == labels
    for _ in range(restarts):
        rows = right.nonzero().flatten()
        for part in torch.split(rows, 100):
            found = worst(
                forward,
                pixels[part],
                labels[part],
                eps=eps,
                steps=steps,
                stride=stride,
                generator=draws,
            )
            with torch.no_grad():
                right[part] = forward(found).argmax(1) == labels[part]
    return int(right.sum())
