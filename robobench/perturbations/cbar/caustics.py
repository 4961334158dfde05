"""The image seen through water: bent and lit by a pattern of caustics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from robobench.draws import Draws
from robobench.filters import gaussian, padded
from robobench.perturbations.cbar.strength import (
    BarCorruption,
    Strengths,
    fields,
    lines_of,
    side_of,
    spread,
)
from robobench.registry import perturbations
from robobench.warp import sample

if TYPE_CHECKING:
    from torch import Tensor

_TURN = 6.28318530718
_START = -250.0  # where the pattern's angles begin
_TURNS = 40  # whole turns that bring them near 0, where float32 is fine
_ETA = 4.0  # index of refraction
_STEEP = 1 - 1e-3  # a normal nearer to upright than this does not bend the view


@perturbations.register("caustic_refraction", version=1)
@dataclass(frozen=True, kw_only=True)
class CausticRefraction(BarCorruption):
    """See the image through the surface of water, bent and lit by caustics.

    Measures robustness to wavy distortion with bright and dark bands. A caustic pattern (five turns of a
    folded sine at a time U[0.5, 2), repeated every U[0.75, 1.25) sides, smoothed by a Gaussian of one
    pixel) is the height of a surface; light that falls straight is refracted by its slope with index 4 and
    read from there, bilinearly, black outside. At strength v the lens is 0.05 v sides thick, and the slopes
    along both axes, the one along columns with its sign changed, are added as light with weight 0.2 v. As
    in the published code heights beyond the image are 0, which bends its margin strongly, and where the
    surface is nearly level (cosine over 0.999) the view is not bent at all.

    Raises BadParameter where the table has to be named.

    Source: Mintun et al., On Interaction Between Augmentations and Corruptions in Natural Corruption
    Robustness, NeurIPS 2021, section 5 and the published ImageNet-C-bar code (caustic_refraction).
    """

    strengths: ClassVar[Strengths] = {"imagenet": (2.35, 3.2, 4.9, 6.6, 9.15)}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"severity": 1, "table": "imagenet"},
        {"severity": 3, "table": "imagenet", "quantise": "none"},
        {"severity": 5, "table": "imagenet", "jpeg_quality": 85},
    )

    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        time = spread(draws, "time", 0.5, 2.0).tolist()
        size = spread(draws, "size", 0.75, 1.25).mul(side_of(pixels)).tolist()
        rows, columns = lines_of(pixels)

        def surface(i: int) -> Tensor:
            heights = _caustics(rows / size[i], columns / size[i], time[i])
            return _refraction(gaussian(heights[None, None], 1.0, border="reflect")[0, 0])

        down, across, light = fields(draws, pixels, surface).unbind(1)
        lens = strength * 0.05 * side_of(pixels)
        # to thousandths of a pixel, as the published code does
        to_rows, to_columns = (
            (place + (way * (lens * 1000)).round_().div_(1000)).float()
            for place, way in ((rows, down), (columns, across))
        )
        seen = sample(pixels, to_rows, to_columns, border="zero")
        return seen + light[:, None] * (strength * 0.2)


def _caustics(rows: Tensor, columns: Tensor, time: float) -> Tensor:
    """The pattern (h, w) float32 in [0, 1], at places counted in repeats, (h, 1) and (1, w).

    Only lengths see the angles themselves; sines see them moved by whole turns. The sines of sums are
    taken apart, so that each turn needs four of them instead of six.
    """
    import torch

    angles = [v.remainder(1.0) * _TURN + _START for v in (rows, columns)]
    far = [(v * 0.005).float() for v in angles]
    near = [(v + _TURNS * 2 * math.pi).float() for v in angles]
    i, j = near
    c = torch.ones((), device=rows.device)
    for n in range(5):
        t = time * (1.0 - 3.5 / (n + 1))
        cos, sin = math.cos(t), math.sin(t)
        ci, si, cj, sj = i.cos(), i.sin(), j.cos(), j.sin()
        # cos(t - i) + sin(t + j), sin(t - j) + cos(t + i)
        i = near[0] + (cos * ci + sin * si + sin * cj + cos * sj)
        j = near[1] + (sin * cj - cos * sj + cos * ci - sin * si)
        s, k = (i + t).sin_(), (j + t).cos_()
        c = c + (s * k).abs_() / ((far[0] * k).square_() + (far[1] * s).square_()).sqrt_().clamp_min_(1e-30)
    return (1.17 - (c / 5.0).pow_(1.4)).abs_().pow_(8.0).clamp_max_(1.0)


def _refraction(heights: Tensor) -> Tensor:
    """(3, h, w): where a lens one pixel thick lets each pixel be seen from, down and across, and its light.

    For a normal with upright part z and level part s = sqrt(1 - z^2), refraction moves the view along the
    level part by s (sqrt(1 - s^2 / eta^2) - z / eta).
    """
    import torch

    around = padded(heights[None, None], 1, 1, "zero")[0, 0]
    down, across = around[2:, 1:-1] - around[:-2, 1:-1], around[1:-1, 2:] - around[1:-1, :-2]
    upright = (down.square() + across.square()).add_(1.0).rsqrt_()
    bend = (1 - (1 - upright.square()) / _ETA**2).sqrt_() - upright / _ETA
    bend = torch.where(upright >= _STEEP, 0.0, bend * upright)
    return torch.stack([down * bend, across * bend, down - across])
