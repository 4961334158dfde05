"""What a run can tell before it is run: the differences it resolves, and the images that a wish takes."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from robobench.engine.plan import Plan, borders
from robobench.engine.resolve import Resolved
from robobench.engine.stopping import Stopping
from robobench.errors import RobobenchError
from robobench.proportions import POWER, difference_power, images_needed
from robobench.sequential import images_for_precision
from robobench.types import Cell

TYPICAL, UNRELATED = 0.1, 0.5
DISCORDANT = (TYPICAL, UNRELATED)  # shares of images that one of two models alone has right
RULE = (
    "Differences of two models on the same images that are found with 80 % power (McNemar's test, two-sided, "
    "5 %, one pair chosen beforehand): where 10 % of the images are right in one of them only, as is usual "
    "of models of like accuracy, and where it is 50 %, as of models of 50 % with unrelated errors."
)
EXPECTED = (
    "Images expected with --precision: from the shares measured so far, or at most, from a share of 50 %; "
    "a model goes on until its hardest cell on a data set is known."
)


_HALVINGS = 40  # of the range of a difference


def images_for_difference(difference: float, discordant: float) -> int:
    """Images on which McNemar's test finds a difference of two models with 80 % power.

    discordant: the share of images that one of the two alone has right. Raises ValueError unless
    0 < difference <= discordant <= 1.

    >>> images_for_difference(0.01, 0.1), images_for_difference(0.05, 0.1)
    (8046, 351)
    """
    if not 0 < difference <= discordant <= 1:
        raise ValueError(
            f"images_for_difference: expected 0 < difference <= discordant <= 1, got {difference!r}, "
            f"{discordant!r}"
        )
    return images_needed(lambda n: _power(difference, discordant, n)) or 0  # any difference is found at last


def smallest_difference(images: int, discordant: float) -> float:
    """The smallest difference that so many images find with 80 % power.

    NaN where they do not even find one as large as the discordant share.

    >>> round(smallest_difference(images_for_difference(0.02, 0.1), 0.1), 4), smallest_difference(10, 0.1)
    (0.02, nan)
    """
    if images < 1 or _power(discordant, discordant, images) < POWER:
        return math.nan
    low, high = 0.0, discordant
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _power(middle, discordant, images) >= POWER else (middle, high)
    return high


def _power(difference: float, discordant: float, images: int) -> float:
    return difference_power((discordant + difference) / 2, (discordant - difference) / 2, images)


@dataclass(frozen=True)
class CellPlan:
    """What a cell can tell.

    smallest: by share of discordant images, the smallest difference that its images resolve. alone: images
    until the cell by itself is known to +- the precision asked for; together: until all cells of the model's
    data set are, as far as the images go.
    """

    cell: Cell
    images: int
    missing: int
    smallest: Mapping[float, float]
    alone: int | None = None
    together: int | None = None


def images_taken(difference: float) -> Mapping[float, int]:
    """The images that a difference takes, by share of discordant ones. Raises RobobenchError."""
    if not 0 < difference < 1:
        raise RobobenchError(
            f"--difference {difference:g}: expected a share between 0 and 1, as in 0.01 for 1 point"
        )
    return {d: images_for_difference(difference, max(d, difference)) for d in DISCORDANT}


def prospects(resolved: Resolved, planned: Plan, stopping: Stopping | None = None) -> tuple[CellPlan, ...]:
    """What each cell of a plan can tell."""
    alone = {} if stopping is None else _alone(planned, stopping)
    together = {} if stopping is None else _together(resolved, planned, stopping, alone)
    found = []
    for cell in planned.cells:
        images = planned.wanted[cell.key]
        limit = cell.condition.limit
        place = (cell.model.digest, cell.condition.data)
        goes = min(together[place], limit or together[place]) if place in together else None
        found.append(
            CellPlan(
                cell,
                images,
                planned.missing[cell.key],
                {d: smallest_difference(images, d) for d in DISCORDANT} if images else {},
                alone.get(cell.key),
                goes,
            )
        )
    return tuple(found)


def _alone(planned: Plan, stopping: Stopping) -> dict[str, int]:
    """Images for each cell that is judged."""
    known = stopping.shares()
    keys = [cell.key for cell in planned.cells if not cell.condition.check]
    counts = images_for_precision([known.get(key, 0.5) for key in keys], stopping.precision)
    return dict(zip(keys, counts.tolist(), strict=True))


def _together(
    resolved: Resolved, planned: Plan, stopping: Stopping, alone: Mapping[str, int]
) -> dict[tuple[str, str], int]:
    """Where each model is expected to stop on each data set: at a border, or at the end of the images."""
    starts, ends = borders(resolved), stopping.ends
    most: dict[tuple[str, str], int] = {}
    for cell in planned.cells:
        if cell.key in alone:
            place = (cell.model.digest, cell.condition.data)
            most[place] = max(
                most.get(place, 0), min(alone[cell.key], cell.condition.limit or alone[cell.key])
            )
    found = {}
    for place, images in most.items():
        order = len(resolved.data[place[1]].order)
        at = bisect_left(starts[place], images)
        found[place] = ends[place] or (starts[place][at] if at < len(starts[place]) else order)
    return found
