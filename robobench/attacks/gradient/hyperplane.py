"""The nearest point of a box that lies on a hyperplane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_TINY = 1e-30  # keeps a hyperplane without direction from being divided by 0
_FAR = 1e30  # stands for a change without limit


def onto_hyperplane(points: Tensor, normal: Tensor, rise: Tensor, norm: str) -> Tensor:
    """The smallest change of points in [0, 1] by which the function with this gradient rises so much.

    points, normal: (b, 3, h, w). rise: (b,), how much the sum of normal * change has to be; negative where
    the function has to fall. norm: `linf`, `l2` or `l1`, by which the change is the smallest that stays in
    [0, 1]. Where the box is too small for the rise, the change goes as far as the box allows. Values that
    the function does not depend on stay as they are.

    Source: Croce and Hein, Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack,
    ICML 2020, section 2.2.
    """
    import torch

    flat, wanted = normal.flatten(1), rise.to(normal.dtype)
    scale = flat.abs().amax(dim=1).clamp_(min=_TINY)  # one image's gradients may be smaller than any square
    flat = flat / scale[:, None]
    sense = flat.sign() * torch.where(wanted < 0, -1.0, 1.0)[:, None]
    here = points.flatten(1)
    room = torch.where(sense > 0, 1 - here, here).clamp_(min=0)
    gain, wanted = flat.abs(), (wanted.abs() / scale).clamp_(max=_FAR)
    if norm == "l1":
        moved = _largest_first(gain, room, wanted)
    else:
        moved = _together(gain, gain if norm == "l2" else gain.sign(), room, wanted)
    return (sense * moved).view_as(points)


def _together(gain: Tensor, speed: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """All values move at their speeds until the gain is as wanted; one at the end of its room stops there.

    A value that has stopped never moves again, so the time follows from who has: a few rounds, each of which
    finds more of them, and none that changes what is settled.
    """
    import torch

    rate, most = gain * speed, gain * room
    stopped = torch.zeros_like(room, dtype=torch.bool)
    while True:
        left = wanted - most.where(stopped, 0.0).sum(dim=1)
        time = left.clamp_(min=0) / rate.where(~stopped, 0.0).sum(dim=1)
        reach = speed * time.nan_to_num(nan=_FAR).clamp_(max=_FAR)[:, None]
        more = stopped | (room < reach)
        if torch.equal(more, stopped):
            return torch.minimum(reach, room)
        stopped = more


def _largest_first(gain: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """Values move to the end of their room one after the other, those that gain most first."""
    import torch

    order = gain.argsort(dim=1, descending=True, stable=True)
    each, space = gain.gather(1, order), room.gather(1, order)
    most = (each * space).to(_fine(gain))
    left = wanted[:, None] - (most.cumsum(dim=1) - most)
    moved = torch.minimum((left.clamp_(min=0) / each.clamp(min=_TINY)).to(space.dtype), space)
    return torch.zeros_like(room).scatter_(1, order, moved.where(each > 0, 0.0))


def _fine(values: Tensor) -> Any:
    import torch

    return torch.float32 if values.device.type == "mps" else torch.float64
