"""Rows that a search stands behind: what can be said of each, and whether more fall than was claimed.

On one machine a search ends at the same pixels. On another, differences of rounding lead it elsewhere, so
that single images stand in one run and fall in the other; then as often this way as that way. A claim is
refuted when clearly more images that it says stand have fallen than the other way round.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robobench.checks.verify_rows import Columns, Fault, number, whole
from robobench.tasks.classification import LOGITS

ALPHA = 0.01  # how often an honest claim may be refuted, over all tests on a model
POWER = 0.8  # how often false rows of the share that `Counts.power` names are seen
WRONG, FELL, STANDS = "wrong before the attack", "fell", "stands"


@dataclass(frozen=True)
class Pair:
    """An image under a searched condition: whether it is claimed to stand, and whether it stands here.

    Images that one and the same change is shown on have one name: what they say is said once.
    """

    ladder: str
    image: str
    claimed: bool
    ours: bool
    condition: str = ""


@dataclass(frozen=True)
class Counts:
    """What the pairs of a model say. Images, not rows: the levels of a ladder are no separate witnesses.

    fell: claimed to stand and fell here; stood: the other way round. p: the smallest p-value of all pairs,
    of each ladder's and of each condition's, times the number of these tests; where: the name of the ladder
    or condition that it is of, empty for all, with what fell and stood there. standing: images that are
    claimed to stand. power: the share of them that would have been refuted with a chance of 80 %, had they
    fallen; NaN where even all of them would not.
    """

    fell: int
    stood: int
    p: float
    standing: int
    power: float
    where: str = ""
    there: tuple[int, int] = (0, 0)

    @property
    def refuted(self) -> bool:
        return self.p <= ALPHA


def weigh(pairs: Sequence[Pair]) -> Counts:
    """The exact sign test of "as many fall here as were claimed to fall", on images that differ.

    Each image counts once, by the sign of the sum over its rows; under an honest claim either sign has the
    same chance, whatever the rows of one image have to do with each other. That sum hides an image whose
    rows were forged at some levels behind one honest difference at another, so each condition, where an
    image has one row, is tested too. One-sided, corrected by Bonferroni over the whole, its ladders and
    conditions.

    >>> def some(n, claimed, ours):
    ...     return [Pair("PGD", f"{i}{claimed}", claimed, ours) for i in range(n)]
    >>> weigh(some(50, True, True) + some(8, True, False) + some(1, False, True)).fell
    8
    >>> round(weigh(some(8, True, False) + some(1, False, True)).p, 4)
    0.0195
    """
    signs = [(name, _signs(part)) for name, part in _parts(pairs)]
    tails = [upper_tail(fell, fell + stood) for _, (fell, stood) in signs]
    where, there = signs[tails.index(min(tails))]
    fell, stood = signs[0][1]
    standing = len({p.image for p in pairs if p.claimed})
    return Counts(
        fell, stood, min(1.0, len(tails) * min(tails)), standing, _power(standing, stood, len(tails)),
        where, there,
    )  # fmt: skip


def _parts(pairs: Sequence[Pair]) -> list[tuple[str, list[Pair]]]:
    """What is tested, with its name: all pairs, each ladder's, each condition's; what is the same once."""
    found = [("", list(pairs))]
    for kind in ("ladder", "condition"):
        parts: dict[str, list[Pair]] = {}
        for pair in pairs:
            parts.setdefault(getattr(pair, kind), []).append(pair)
        found += [(name, part) for name, part in sorted(parts.items()) if all(part != p for _, p in found)]
    return found


def _signs(pairs: Iterable[Pair]) -> tuple[int, int]:
    """How many images stand more often than here, and how many less often."""
    sums: dict[str, int] = defaultdict(int)
    for pair in pairs:
        sums[pair.image] += int(pair.claimed) - int(pair.ours)
    return sum(v > 0 for v in sums.values()), sum(v < 0 for v in sums.values())


def upper_tail(k: int, n: int) -> float:
    """The chance of k or more heads in n throws of a coin.

    >>> upper_tail(0, 0), upper_tail(7, 7), upper_tail(8, 10)
    (1.0, 0.0078125, 0.0546875)
    """
    from scipy.special import betainc

    return float(betainc(k, n - k + 1, 0.5)) if k > 0 else 1.0


def _power(standing: int, noise: int, tests: int) -> float:
    """The smallest share of the standing images whose fall would have been seen with a chance of `POWER`."""
    from scipy.special import betaincinv

    needed = next((k for k in range(1, standing + 1) if tests * upper_tail(k, k + noise) <= ALPHA), None)
    return float("nan") if needed is None else float(betaincinv(needed, standing - needed + 1, POWER))


def states(columns: Columns, n: int, *, attacked: bool) -> list[str]:
    """What a row says of its image. Without an attack, on prepared images, it stands or it fell."""
    hit = whole(columns.get("hit"), n)
    fooled = whole(columns.get("fooled"), n) == 1
    return [
        STANDS if h == 0 else FELL if f or not attacked else WRONG
        for h, f in zip(hit.tolist(), fooled.tolist(), strict=True)
    ]


def contradictions(claimed: Columns, ours: Columns, *, attacked: bool) -> list[Fault | None]:
    """For each row what cannot be, whatever a search found: another label, right and fooled at once."""
    n = len(ours["label"])
    label, hit, top1 = (whole(claimed.get(name), n) for name in ("label", "hit", "top1"))
    fooled = whole(claimed.get("fooled"), n)
    found: list[Fault | None] = []
    for r in range(n):
        if label[r] != ours["label"][r]:
            found.append(Fault("label", str(label[r]), str(ours["label"][r]), np.nan, 0.0))
        elif attacked and (fooled[r] not in (0, 1) or (fooled[r] == 1 and hit[r] == 0)):
            found.append(Fault("fooled", str(fooled[r]), f"hit = {hit[r]}", np.nan, 0.0))
        elif attacked and (top1[r] == label[r]) != (hit[r] == 0):
            found.append(Fault("hit", str(hit[r]), f"top1 = {top1[r]}, label = {label[r]}", np.nan, 0.0))
        else:
            found.append(None)
    return found


def alike(claimed: Columns, ours: Columns) -> NDArray[np.bool_]:
    """(n,) whether what the search found is as claimed to the last bit that matters: it took the same way."""
    n = len(ours["label"])
    same = np.ones(n, bool)
    for name, values in ours.items():
        if name == LOGITS or values.dtype.kind not in "iubf":
            continue
        if values.dtype.kind == "f":
            said, mine = number(claimed.get(name), n), values.astype(np.float64)
            close = np.abs(said - mine) <= 1e-3 * np.maximum(1.0, np.abs(mine))
            same &= close | (np.isnan(said) & np.isnan(mine))
        else:
            same &= whole(claimed.get(name), n) == values.astype(np.int64)
    return same
