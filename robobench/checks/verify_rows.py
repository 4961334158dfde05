"""Whether a claimed row can be the row of these logits, rounding allowed for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robobench.errors import StoreError
from robobench.tasks.classification import KEPT, LOGITS
from robobench.types import OUTLIER_HIT

Floats = NDArray[np.float64]
Columns = Mapping[str, NDArray[Any]]

# How far a logit may lie from the same logit computed elsewhere, as a share of the largest distance of the
# row's logits from their mean: rounding grows with the numbers that are summed up. The largest seen on 300
# digits and 20 photos over seven models: 1.4e-6 between batches of 1, 7 and 64 in float32; 3e-3 for float16
# and 3e-2 for bfloat16 against float32. Other kernels and devices sum in yet another order, hence the room.
ROUNDING = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 1e-1}
_LEAST = 0.1  # logits whose distances are smaller count as so far apart: float32 holds no finer logarithms
_SHARES = ("logp_top1", "logp_top2", "logp_label")
_TOPS = tuple(f"top{i + 1}" for i in range(KEPT))


@dataclass(frozen=True)
class Fault:
    """What is the matter with one row.

    column: in what it is not as claimed. claimed, found: its value in the two. gap: where the answer differs,
    how far (nats) the claimed one stands behind the first in our logits; else the difference, NaN where
    there is none. room: how much of it rounding may take.
    """

    column: str
    claimed: str
    found: str
    gap: float
    room: float


def rounding(*precisions: str) -> float:
    """The larger tolerance of some precisions, see `ROUNDING`. Raises StoreError for another precision.

    >>> rounding("float32", "bfloat16")
    0.1
    """
    unknown = [p for p in precisions if p not in ROUNDING]
    if unknown:
        raise StoreError(f"precision {unknown[0]!r} of the rows: expected one of {', '.join(ROUNDING)}")
    return max(ROUNDING[p] for p in precisions)


def judge(claimed: Columns, ours: Columns, right: NDArray[np.int64], tolerance: float) -> list[Fault | None]:
    """For each row what is wrong with the claim, None for a row that is as claimed.

    claimed, ours: columns of the same images in the same order, ours with `logits` (n, classes). right:
    (n, k) the acceptable classes, filled up with -1. An answer is accepted when logits that are within
    the tolerance of ours have it; every other number when it is within what that tolerance makes of it.
    """
    logits = np.asarray(ours[LOGITS], np.float64)
    found: list[Fault | None] = [None] * len(logits)
    for check in (_answers, _hits, _numbers):
        for row, fault in check(claimed, ours, logits, right, room_of(logits, tolerance)):
            found[row] = found[row] or fault
    return found


def room_of(logits: Floats, tolerance: float) -> Floats:
    """(n,) how far two logits of a row may move against each other, in nats."""
    known = np.where(_sound(logits)[:, None], logits, 0.0)
    spread = np.abs(known - known.mean(axis=1, keepdims=True)).max(axis=1, initial=0.0)
    found: Floats = 2 * tolerance * np.maximum(_LEAST, spread)
    return found


def _sound(logits: Floats) -> NDArray[np.bool_]:
    """(n,) whether every logit of a row is finite."""
    return np.asarray(np.isfinite(logits).all(axis=1))


def _answers(
    claimed: Columns, ours: Columns, logits: Floats, right: NDArray[np.int64], room: Floats
) -> list[tuple[int, Fault]]:
    """The classes that came first: each must be able to stand where it is claimed to."""
    sound = _sound(logits)
    found = []
    for place, name in enumerate(_TOPS):
        said, mine = whole(claimed.get(name), len(logits)), np.asarray(ours[name])
        there = sound & (said >= 0) & (said < logits.shape[1])
        level = np.where(
            there, np.take_along_axis(logits, np.where(there, said, 0)[:, None], 1)[:, 0], np.nan
        )
        before = (logits > (level + room)[:, None]).sum(axis=1)
        upto = (logits >= (level - room)[:, None]).sum(axis=1)
        fine = np.where(there, (before <= place) & (upto > place), said == mine)
        gap = np.where(there, logits.max(axis=1) - level, np.nan)
        found += [
            (int(r), Fault(name, _text(claimed.get(name), r), str(mine[r]), float(gap[r]), float(room[r])))
            for r in np.flatnonzero(~fine).tolist()
        ]
    return found


def _hits(
    claimed: Columns, ours: Columns, logits: Floats, right: NDArray[np.int64], room: Floats
) -> list[tuple[int, Fault]]:
    """The label itself, and how many classes stand before the right one."""
    n = len(logits)
    label, hit = whole(claimed.get("label"), n), whole(claimed.get("hit"), n)
    sound = _sound(logits)
    own = np.where(right >= 0, np.take_along_axis(logits, np.maximum(right, 0), axis=1), -np.inf).max(axis=1)
    fewest = (logits > (own + room)[:, None]).sum(axis=1)
    most = (logits >= (own - room)[:, None]).sum(axis=1) - 1
    fixed = ~sound | (np.asarray(ours["hit"]) == OUTLIER_HIT)  # not a matter of rounding
    fine = np.where(fixed, hit == np.asarray(ours["hit"]), (fewest <= hit) & (hit <= most))
    first = np.where(sound, logits.max(axis=1) - own, np.nan)
    found = [
        (int(r), Fault("label", _text(claimed.get("label"), r), str(ours["label"][r]), np.nan, 0.0))
        for r in np.flatnonzero(label != np.asarray(ours["label"])).tolist()
    ]
    found += [
        (
            int(r),
            Fault("hit", _text(claimed.get("hit"), r), str(ours["hit"][r]), float(first[r]), float(room[r])),
        )
        for r in np.flatnonzero(~fine).tolist()
    ]
    return found


def _numbers(
    claimed: Columns, ours: Columns, logits: Floats, right: NDArray[np.int64], room: Floats
) -> list[tuple[int, Fault]]:
    """Probabilities, facts, and logits where they are claimed."""
    allowed = {name: room for name in _SHARES} | {"sum_p2": 2 * room * np.asarray(ours["sum_p2"], np.float64)}
    for name in ours:
        if name.startswith("x_"):
            allowed[name] = (room / 2) * np.maximum(1.0, np.abs(np.asarray(ours[name], np.float64)))
    found = []
    for name, slack in allowed.items():
        said, mine = number(claimed.get(name), len(logits)), np.asarray(ours[name], np.float64)
        same = np.abs(said - mine) <= slack
        fine = np.where(np.isnan(said) | np.isnan(mine), np.isnan(said) & np.isnan(mine), same)
        found += [
            (
                int(r),
                Fault(
                    name, f"{said[r]:.6g}", f"{mine[r]:.6g}", float(abs(said[r] - mine[r])), float(slack[r])
                ),
            )
            for r in np.flatnonzero(~fine).tolist()
        ]
    return found + (_logits(claimed[LOGITS], logits, room) if LOGITS in claimed else [])


def _logits(said: NDArray[Any], mine: Floats, room: Floats) -> list[tuple[int, Fault]]:
    """Stored logits: what is not finite must not be so in ours either."""
    if said.shape != mine.shape or said.dtype.kind != "f":
        return [(r, Fault(LOGITS, str(said.shape), str(mine.shape), np.nan, 0.0)) for r in range(len(mine))]
    sound = _sound(mine)
    with np.errstate(invalid="ignore"):
        gap = np.abs(said - mine).max(axis=1)
    fine = np.where(sound, gap <= room, ~np.isfinite(said).all(axis=1))
    return [
        (int(r), Fault(LOGITS, "other numbers", "", float(gap[r]), float(room[r])))
        for r in np.flatnonzero(~fine).tolist()
    ]


def whole(values: NDArray[Any] | None, n: int) -> NDArray[np.int64]:
    """Whole numbers of a claimed column; what is none, or is not there, becomes one that nothing has."""
    nothing = np.iinfo(np.int64).min
    if values is None or values.shape != (n,) or values.dtype.kind not in "iubf":
        return np.full(n, nothing)
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    fine = np.isfinite(values) & (np.floor(values) == values) & (np.abs(values) < 2**53)
    return np.where(fine, np.where(fine, values, 0).astype(np.int64), nothing)


def number(values: NDArray[Any] | None, n: int) -> Floats:
    """Numbers of a claimed column, NaN where there are none."""
    if values is None or values.shape != (n,) or values.dtype.kind not in "iubf":
        return np.full(n, np.nan)
    return values.astype(np.float64)


def _text(values: NDArray[Any] | None, row: int) -> str:
    """A claimed value as a short text, or that there is none."""
    return "nothing" if values is None or row >= len(values) else str(values[row])[:40]
