"""Stars of white rays: five small ones over the image, or white all around a big one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from robobench.draws import Draws
from robobench.perturbations.cbar.strength import (
    BarCorruption,
    Strengths,
    fields,
    lines_of,
    side_of,
    spread,
)
from robobench.registry import perturbations

if TYPE_CHECKING:
    from torch import Tensor

_STARS = 5
_RAYS = 50, 200  # from, below
_VARIATION = 0.25  # standard deviation of a ray's length, in lengths
_EXAMPLES: tuple[Mapping[str, Any], ...] = (
    {"severity": 1, "table": "imagenet"},
    {"severity": 5, "table": "imagenet", "quantise": "none"},
    {"severity": 3, "table": "cifar", "jpeg_quality": 85},
)


@perturbations.register("sparkles", version=1)
@dataclass(frozen=True, kw_only=True)
class Sparkles(BarCorruption):
    """Five white stars with rays of random lengths.

    Measures robustness to glints. Each middle is uniform in the image; a star has 50 to 199 rays with
    normal lengths, at strength v of mean r = 0.01 v sides and standard deviation r / 4, at least one pixel.
    A pixel at distance d in the direction of a ray of length l (interpolated between neighbours) is covered
    by (1 - (f - 1/2)^2) l^2 / d^2, at most 1, where f in [0, 1) is its place between the two rays.

    Raises BadParameter where the table has to be named.

    Source: Mintun et al., On Interaction Between Augmentations and Corruptions in Natural Corruption
    Robustness, NeurIPS 2021, section 5 and the published ImageNet-C-bar code (sparkles).
    """

    strengths: ClassVar[Strengths] = {
        "imagenet": (1.0, 2.0, 3.0, 5.0, 6.0),
        "cifar": (0.7, 3.5, 5.6, 6.3, 7.0),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        import torch

        middles = spread(draws, "middles", 0.0, 1.0, _STARS, 2)
        counts = draws.integers("rays", *_RAYS, _STARS)
        lengths = draws.normal("lengths", _STARS, _RAYS[1]) * _VARIATION + 1
        radius = strength * 0.01 * side_of(pixels)
        rows, columns = lines_of(pixels)
        height, width = rows.numel(), columns.numel()

        def star(i: int, n: int) -> Tensor:
            row, column = middles[i, n, 0] * height, middles[i, n, 1] * width
            return _star(rows - row, columns - column, int(counts[i, n]))

        def stars(i: int) -> Tensor:
            return torch.stack([star(i, n) for n in range(_STARS)])

        places = fields(draws, pixels, stars)  # (b, stars, 2, h, w)
        clear = torch.ones_like(pixels[:, :1])
        for i in range(len(pixels)):
            for n in range(_STARS):
                reach = (lengths[i, n, : int(counts[i, n])] * radius).clamp_min(1.0)
                between, nearness = places[i, n]
                clear[i, 0] *= 1 - _lit(between, nearness, reach, 1.0)
        return 1 - (1 - pixels) * clear


@perturbations.register("inverse_sparkles", version=1)
@dataclass(frozen=True, kw_only=True)
class InverseSparkles(BarCorruption):
    """White everywhere but in one star.

    Measures robustness to a view that narrows. The middle is uniform in the middle half of both axes, the
    star has 50 to 199 rays of normal length, mean a quarter side and standard deviation a sixteenth. A
    pixel at distance d in the direction of a ray of length l (interpolated between neighbours) keeps the
    share (1 - (f - 1/2)^2) (l^2 / d^2)^(0.13 v) of its distance from white, at most all, where f in [0, 1)
    is its place between the two rays and v the strength.

    Raises BadParameter where the table has to be named.

    Source: Mintun et al., On Interaction Between Augmentations and Corruptions in Natural Corruption
    Robustness, NeurIPS 2021, section 5 and the published ImageNet-C-bar code (inverse_sparkles).
    """

    strengths: ClassVar[Strengths] = {
        "imagenet": (1.0, 2.0, 4.0, 9.0, 10.0),
        "cifar": (1.0, 1.5, 2.5, 4.5, 5.0),
    }
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        import torch

        middles = spread(draws, "middle", 0.25, 0.75, 2)
        counts = draws.integers("rays", *_RAYS)
        lengths = (draws.normal("lengths", _RAYS[1]) * _VARIATION + 1) * (0.25 * side_of(pixels))
        rows, columns = lines_of(pixels)
        height, width = rows.numel(), columns.numel()

        def star(i: int) -> Tensor:
            return _star(rows - middles[i, 0] * height, columns - middles[i, 1] * width, int(counts[i]))

        places = fields(draws, pixels, star)  # (b, 2, h, w)
        kept = torch.stack(
            [
                _lit(between, nearness, lengths[i, : int(counts[i])], 0.13 * strength)
                for i, (between, nearness) in enumerate(places)
            ]
        )
        return 1 - kept[:, None] * (1 - pixels)


def _star(down: Tensor, across: Tensor, rays: int) -> Tensor:
    """(2, h, w): in which direction a pixel lies, counted in rays, and one over its squared distance."""
    import torch

    shape = down.numel(), across.numel()
    down, across = down.float().expand(shape), across.float().expand(shape)
    direction = torch.atan2(across, down).add_(math.pi).mul_(rays / (2 * math.pi))
    return torch.stack([direction, (down.square() + across.square()).add_(1e-4).reciprocal_()])


def _lit(direction: Tensor, nearness: Tensor, lengths: Tensor, power: float) -> Tensor:
    """How strongly (h, w) a star lights its surroundings, in [0, 1]."""
    import torch

    whole = direction.floor()
    between = direction - whole
    ray = whole.long().flatten() % len(lengths)
    rise = torch.cat([lengths[1:], lengths[:1]]) - lengths
    length = lengths.index_select(0, ray).view(direction.shape)
    length.addcmul_(between, rise.index_select(0, ray).view(direction.shape))
    light = length.square_().mul_(nearness)
    if power != 1.0:
        light.pow_(power)
    return light.mul_(1 - (between - 0.5).square_()).clamp_(0.0, 1.0)
