"""Auto-PGD once more, as the papers and the authors' implementation tell it: one image at a time.

Written apart from the plug-in, with lists and Python numbers where that has tensors of many images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

Loss = Callable[[Tensor], Tensor]  # logits (1, k) -> loss (1,)


@dataclass
class Walk:
    """Where one image went, and what was seen there."""

    points: list[Tensor] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)  # of the step that led away from each point


def into_ball(image: Tensor, point: Tensor, eps: float, norm: str) -> Tensor:
    gap = point - image
    if norm == "linf":
        gap = gap.clamp(-eps, eps)
    elif float(gap.norm()) > eps:
        gap = gap * (eps / float(gap.norm()))
    return (image + gap).clamp(0, 1)


def checkpoints(steps: int) -> list[int]:
    """After so many steps it is looked back: the paper's w_j, from p_0 = 0 and p_1 = 0.22 on."""
    found, window = [], max(int(0.22 * steps), 1)
    while sum(found) + window <= steps:
        found.append(window)
        window = max(window - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
    return [sum(found[: i + 1]) for i in range(len(found))]


def walk(
    net: Callable[[Tensor], Tensor],
    image: Tensor,
    start: Tensor,
    eps: float,
    norm: str,
    loss: Loss,
    steps: int,
    rho: float = 0.75,
) -> Walk:
    """Auto-PGD from a start, (3, h, w) each; to the last step, whoever has been fooled on the way."""

    def look(point: Tensor) -> tuple[float, Tensor]:
        leaf = point[None].clone().requires_grad_()
        value = loss(net(leaf))
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return float(value.detach()), gradient[0]

    done = Walk([start])
    value, gradient = look(start)
    history: list[float] = [0.0]  # the first step's loss is compared with 0
    best = (value, start, gradient)
    here = came_from = start
    size, last_best, just_halved, last_check = 2 * eps, value, True, 0
    done.losses.append(value)
    for step in range(1, steps + 1):
        done.sizes.append(size)
        way = gradient.sign() if norm == "linf" else gradient / (gradient.norm() + 1e-12)
        aim = into_ball(image, here + size * way, eps, norm)
        if step > 1:
            aim = into_ball(image, here + 0.75 * (aim - here) + 0.25 * (here - came_from), eps, norm)
        came_from, here = here, aim
        value, gradient = look(here)
        done.points.append(here)
        done.losses.append(value)
        history.append(value)
        if value > best[0]:
            best = (value, here, gradient)
        if step in checkpoints(steps):
            window = history[last_check:]
            rises = sum(b > a for a, b in pairwise(window))
            few = rises <= rho * (step - last_check)
            idle = not just_halved and last_best >= best[0]
            just_halved, last_best, last_check = few or idle, best[0], step
            if just_halved:
                size /= 2
                _, here, gradient = best
    return done


def into_l1_ball(image: Tensor, point: Tensor, eps: float) -> Tensor:
    """The nearest point of ball and range: all changes shrink by what bisection finds."""
    gap = point - image
    room = torch.where(gap > 0, 1 - image, image)

    def shrunk(amount: float) -> Tensor:
        return torch.minimum((gap.abs() - amount).clamp(min=0), room) * gap.sign()

    low, high = 0.0, float(gap.abs().max())
    if float(shrunk(0.0).abs().sum()) <= eps:
        return image + shrunk(0.0)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if float(shrunk(middle).abs().sum()) > eps else (low, middle)
    return image + shrunk(high)


def walk_l1(
    net: Callable[[Tensor], Tensor],
    image: Tensor,
    noise: Tensor,
    runs: list[tuple[float, int]],
    loss: Loss,
) -> Walk:
    """The l1 form, through several balls (radius, steps). With one alone, it begins as the original does."""
    done = Walk()
    here = into_l1_ball(image, image + noise, runs[0][0])
    for radius, steps in runs:
        here = into_l1_ball(image, here, radius)
        values, share = image.numel(), 0.2
        changed = float(values)
        if len(runs) > 1:
            changed = float((here != image).sum())
            share = changed / values / 1.5
        best: tuple[float, Tensor, Tensor] | None = None
        size = radius
        for step in range(steps + 1):
            leaf = here[None].clone().requires_grad_()
            found = loss(net(leaf))
            (gradient,) = torch.autograd.grad(found.sum(), leaf)
            value, slope = float(found.detach()), gradient[0]
            done.points.append(here)
            done.losses.append(value)
            if best is None or value > best[0]:
                best = (value, here, slope)
            if step and step % max(int(0.04 * steps), 1) == 0:
                now = float((best[1] != image).sum())
                share = now / values / 1.5
                if now / changed < 0.95:
                    size, (_, here, slope) = radius, best
                else:
                    size = max(size / 1.5, radius / 10)
                changed = now
            least = slope.abs().flatten().sort().values[int(max(min((1 - share) * values, values - 1), 0))]
            signs = slope.sign() * (slope.abs() >= least)
            here = into_l1_ball(image, here + size * signs / (signs.abs().sum() + 1e-10), radius)
        assert best is not None
        here = best[1]
    return done
