"""Grey over the image: the cells of a turned checkerboard, or lines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

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

_GREY = 128 / 255
_CELLS = 40  # cells per axis with a draw of their own, more than an image can hold


@perturbations.register("checkerboard_cutout", version=1)
@dataclass(frozen=True, kw_only=True)
class CheckerboardCutout(BarCorruption):
    """Cover cells of one colour of a turned checkerboard with grey.

    Measures robustness to missing squares. The board is turned by U[0, 2 pi) about the top left pixel, its
    cells are squares of U[0.1, 0.25) of the side, at least one pixel. At strength v each cell of one colour
    is covered by the level 128 with probability v / 10; along `severity` the covered cells nest. As in the
    published code the two rows of cells that meet at the turning point share their draws, and so do the
    two columns.

    Raises BadParameter where the table has to be named.

    Source: Mintun et al., On Interaction Between Augmentations and Corruptions in Natural Corruption
    Robustness, NeurIPS 2021, section 5 and the published ImageNet-C-bar code (checkerboard_cutout).
    """

    strengths: ClassVar[Strengths] = {
        "imagenet": (2.0, 3.0, 4.0, 5.0, 6.0),
        "cifar": (1.0, 2.0, 3.0, 4.0, 5.0),
    }
    nested: ClassVar[str | None] = "severity"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"severity": 3, "table": "imagenet", "quantise": "none"},
        {"severity": 5, "table": "imagenet", "quantise": "none"},
        {"severity": 5, "table": "cifar"},
    )

    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        import torch

        angle = spread(draws, "angle", 0.0, 2 * math.pi).tolist()
        cell = spread(draws, "cell", 0.1, 0.25).mul(side_of(pixels)).clamp_min(1.0).tolist()
        chances = draws.uniform("cells", _CELLS, _CELLS)
        rows, columns = lines_of(pixels)

        def board(i: int) -> Tensor:
            cos, sin = math.cos(angle[i]), math.sin(angle[i])
            down, across = (cos * rows + sin * columns) / cell[i], (cos * columns - sin * rows) / cell[i]
            same = down.floor().remainder_(2) == across.floor().remainder_(2)
            place = [v.trunc().long().remainder_(_CELLS) for v in (down, across)]
            return torch.where(same, chances[i][place[0], place[1]], 1.0)[None]

        covered = fields(draws, pixels, board) < strength / 10
        return torch.where(covered, _GREY, pixels)


@perturbations.register("lines", version=1)
@dataclass(frozen=True, kw_only=True)
class Lines(BarCorruption):
    """Draw grey lines across the image.

    Measures robustness to thin occluders. At strength v there are floor(0.1 v side) antialiased lines one
    pixel wide, of the level 128, from one side before to one side behind a point that is uniform in the
    image. Their directions are uniform around an angle U[0, 2 pi), within plus and minus pi times U[0.1, 1).
    Along `severity` lines are added. Ends are cut to whole pixels. The published code cuts to whole levels
    after every line, here it is done once; that is less than one level per crossing.

    Raises BadParameter where the table has to be named.

    Source: Mintun et al., On Interaction Between Augmentations and Corruptions in Natural Corruption
    Robustness, NeurIPS 2021, section 5 and the published CIFAR-10-C-bar code (lines); pixels as by Zingl,
    A Rasterizing Algorithm for Drawing Curves, 2012 (scikit-image's line_aa).
    """

    strengths: ClassVar[Strengths] = {"cifar": (0.5, 1.0, 1.5, 2.0, 2.5)}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"severity": 1, "table": "cifar"},
        {"severity": 3, "table": "cifar", "quantise": "none"},
        {"severity": 5, "table": "cifar", "jpeg_quality": 85},
    )

    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        import torch

        side = side_of(pixels)
        count = int(strength / 10 * side)
        angle = spread(draws, "angle", 0.0, 2 * math.pi).tolist()
        variation = spread(draws, "angle variation", 0.1, 1.0).tolist()
        each = draws.uniform("lines", max(count, 1), 3).double().cpu().numpy()[:, :count]
        height, width = (int(v) for v in pixels.shape[2:])
        clear = np.ones((len(pixels), 1, height, width), np.float32)
        for i, lines in enumerate(each):
            for row, column, turn in lines:
                a = angle[i] + 2 * math.pi * variation[i] * (turn - 0.5)
                down, across = side * math.cos(a), side * math.sin(a)
                start = int(height * row - down), int(width * column - across)
                end = int(height * row + down), int(width * column + across)
                _draw(clear[i, 0], start, end)
        shown = torch.from_numpy(clear).to(pixels.device)
        return pixels * shown + _GREY * (1 - shown)


def _draw(clear: NDArray[np.float32], start: tuple[int, int], end: tuple[int, int]) -> None:
    """Multiply what an antialiased line leaves of each pixel into `clear`.

    Zingl's loop in closed form. Along its longer axis the line takes one pixel per step, the one before if
    its distance is less than one pixel, and where it moves sideways the one it leaves; a pixel is covered
    by one minus its distance. None comes twice.
    """
    way = end[0] - start[0], end[1] - start[1]
    steep = abs(way[0]) > abs(way[1])
    longer, shorter = (abs(v) for v in (way if steep else way[::-1]))
    steps = np.arange(longer + 1)
    at = ((2 * steps + 1) * shorter) // (2 * max(longer, 1))
    moved = np.flatnonzero(np.diff(at))
    along = np.concatenate([steps, steps[:-1], moved + 1])
    beside = np.concatenate([at, at[:-1] + 1, at[moved]])
    distance = np.abs(beside * longer - along * shorter) / max(math.hypot(longer, shorter), 1.0)
    if not steep:
        along, beside = beside, along
    rows = start[0] + along * (1 if way[0] > 0 else -1)
    columns = start[1] + beside * (1 if way[1] > 0 else -1)
    height, width = clear.shape
    inside = (distance < 1) & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    clear[rows[inside], columns[inside]] *= distance[inside].astype(np.float32)
