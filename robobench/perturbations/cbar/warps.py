"""The image bent: by ripples, or pinched and twirled in the cells of a grid."""

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
from robobench.warp import sample

if TYPE_CHECKING:
    from torch import Tensor

_EXAMPLES: tuple[Mapping[str, Any], ...] = (
    {"severity": 1, "table": "cifar"},
    {"severity": 3, "table": "cifar", "quantise": "none"},
    {"severity": 5, "table": "cifar", "jpeg_quality": 85},
)


@perturbations.register("ripple", version=1)
@dataclass(frozen=True, kw_only=True)
class Ripple(BarCorruption):
    """Move rows and columns along waves, so that the image is squeezed and stretched.

    Measures robustness to local changes of scale. The pixel in row y is read from row
    y + a sin(2 pi y / w + p), columns likewise; wavelengths w are U[0.1, 0.3) sides and phases p uniform,
    one for each axis. At strength v the amplitude a is 0.0025 v sides. Read bilinearly, black outside.

    Raises BadParameter where the table has to be named.

    Source: Mintun et al., On Interaction Between Augmentations and Corruptions in Natural Corruption
    Robustness, NeurIPS 2021, section 5 and the published CIFAR-10-C-bar code (ripple).
    """

    strengths: ClassVar[Strengths] = {"cifar": (5.5, 6.0, 6.5, 7.5, 8.0)}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        side = side_of(pixels)
        lengths = spread(draws, "wavelengths", 0.1, 0.3, 2) * side
        phases = spread(draws, "phases", 0.0, 2 * math.pi, 2)
        places = lines_of(pixels)

        def wave(axis: int) -> Tensor:
            def one(i: int) -> Tensor:
                return (places[axis] * (2 * math.pi) / lengths[i, axis] + phases[i, axis]).sin()

            return places[axis] + 0.0025 * strength * side * fields(draws, pixels, one, f"waves {axis}")

        height, width = (int(v) for v in pixels.shape[2:])
        rows, columns = (wave(axis).float().expand(-1, height, width) for axis in (0, 1))
        return sample(pixels, rows, columns, border="zero")


@perturbations.register("pinch_and_twirl", version=1)
@dataclass(frozen=True, kw_only=True)
class PinchAndTwirl(BarCorruption):
    """Pinch and twirl the image inside a disk in each cell of a grid.

    Measures robustness to local distortion. There are 3 cells per side (5 at 224 pixels) of floor(side / 3)
    pixels, from the top left; what is left over stays. In a disk of radius r, half a cell, the pixel at
    distance d from its middle is read from d sin(pi d / 2 r)^-a, turned by an angle t (1 - d / r)^2. At
    strength v, a is 0.04 v + 0.1 and t is 9 v degrees, its sign drawn for each cell. Read bilinearly. As
    in the published code the disk's middle lies half a cell behind the first pixel's, half a pixel off the
    cell's own.

    Raises BadParameter where the table has to be named.

    Source: Mintun et al., On Interaction Between Augmentations and Corruptions in Natural Corruption
    Robustness, NeurIPS 2021, section 5 and the published CIFAR-10-C-bar code (pinch_and_twirl).
    """

    strengths: ClassVar[Strengths] = {"cifar": (5.5, 6.0, 6.5, 8.5, 10.0)}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = _EXAMPLES

    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        height, width = (int(v) for v in pixels.shape[2:])
        side = side_of(pixels)
        per_side = 5 if side == 224 else 3
        cell = side // per_side
        counts = [per_side if v == side else v // cell for v in (height, width)]
        signs = (draws.integers("signs", 0, 2, *counts) * 2 - 1).double()[:, :, None, :, None]
        still, along, turned = _disk(cell, 0.04 * strength + 0.1, math.pi / 20 * strength, pixels.device)
        rows, columns = (v.expand(len(pixels), height, width).clone() for v in lines_of(pixels))
        for to, grid in ((rows, 0), (columns, 1)):
            # where the disk does not reach, `along` and `turned` are 0
            moves = along[grid][None, :, None, :] + signs * turned[grid][None, :, None, :]
            moves = moves + still[grid][None, :, None, :]
            to[:, : counts[0] * cell, : counts[1] * cell] += moves.flatten(3, 4).flatten(1, 2)
        return sample(pixels, rows.float(), columns.float(), border="zero")


def _disk(cell: int, amount: float, angle: float, device: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Down and across (2, cell, cell): minus the place of a pixel, what is added to it, and with the sign."""
    import torch

    radius = cell / 2
    line = torch.arange(cell, dtype=torch.float64, device=device) - radius
    place = torch.stack(torch.meshgrid(line, line, indexing="ij"))
    distance = place.square().sum(0).sqrt()
    inside = (distance <= radius) & (distance >= 0.0005)
    share = torch.where(inside, distance / radius, 1.0)
    pinched = place * (share * (math.pi / 2)).sin().pow(-amount)
    twirl = angle * (1 - share).square()
    turned = torch.stack([-pinched[1], pinched[0]]) * twirl.sin()
    return -place * inside, pinched * twirl.cos() * inside, turned * inside
