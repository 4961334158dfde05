"""Rows of attacks beside those of the clean images and of smaller budgets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from robobench.checks.problem import Problem
from robobench.checks.submission_rows import Cell, Flags
from robobench.engine.lots import TOLERANCE, slack
from robobench.params import number_of
from robobench.proportions import mcnemar
from robobench.registry import instance_of
from robobench.types import Condition

_NEEDED = ("fooled", "linf", "l2")
_MEASURED = ("linf", "l2")  # the lengths that rows have
_TIE = 1e-4  # nats: closer than that, an answer may change from one way of computing it to another
_SURE = 1e-4  # p-value of a rise that chance does not make


def look_at_attack(cell: Cell, condition: Condition) -> Iterator[Problem]:
    """An attack's rows by themselves: who fell is wrong, who was not attacked is where he was."""
    lacking = list(cell.lacking(_NEEDED))
    if lacking:
        yield from lacking
        return
    c = cell.columns
    fooled, wrong = c["fooled"].astype(bool), c["hit"] != 0
    moved = (c["linf"] != 0) | (c["l2"] != 0)
    yield from cell.blame(fooled & ~wrong, "an image that fell to have a wrong answer", "hit")
    yield from cell.blame(
        ~fooled & wrong & moved,
        "an image that was wrong before the attack to be left alone",
        "hit",
        *_MEASURED,
    )
    if "inherited" in c:
        yield from cell.blame(
            c["inherited"].astype(bool) & ~fooled, "what a smaller budget felled to have fallen"
        )
    for name in _MEASURED:
        yield from cell.blame(~(c[name] >= 0), f"a length {name} of at least 0", name)
    step = condition.attack
    attack = None if step is None else instance_of(step)
    if attack is not None and attack.norm in _MEASURED:
        most = attack.eps + slack(attack) + TOLERANCE
        expected = f"{attack.norm} of at most {attack.eps:.6g}, the budget"
        yield from cell.blame(c[attack.norm] > most, expected, attack.norm)


def look_at_clean(cell: Cell, clean: Cell) -> Iterator[Problem]:
    """An attack on clean images: it is given those that are right, and leaves the others as they are."""
    ours, theirs = _common(cell, clean)
    c, said = cell.columns, clean.columns
    close = np.abs(said["logp_top1"].astype(np.float64) - said["logp_top2"])[theirs] <= _TIE
    right = said["hit"][theirs] == 0
    fell = c["fooled"].astype(bool)[ours] | (c["hit"][ours] == 0)  # was right before the attack
    wrong = np.zeros(cell.images.size, bool)
    wrong[ours] = (right != fell) & ~close
    yield from cell.blame(wrong, "just the images with a right clean answer to be attacked", "hit", "fooled")


def look_at_smaller(cell: Cell, smaller: Cell) -> Iterator[Problem]:
    """What fell at a smaller budget has fallen at a larger one."""
    ours, theirs = _common(cell, smaller)
    wrong = np.zeros(cell.images.size, bool)
    fell = smaller.columns["fooled"].astype(bool)[theirs] & ~cell.columns["fooled"].astype(bool)[ours]
    wrong[ours] = fell | ((cell.columns["hit"][ours] == 0) & (smaller.columns["hit"][theirs] != 0))
    yield from cell.blame(wrong, f"what fell under {smaller.where} to have fallen here", "hit")


def look_at_ladders(cells: Mapping[str, Cell], conditions: Sequence[Condition]) -> Iterator[Problem]:
    """Attacks whose larger budgets do not inherit: no clear rise of the accuracy with the budget."""
    ladders: dict[str, list[tuple[float, Condition]]] = {}
    for condition in conditions:
        level = number_of(condition.level)
        alone = condition.attack is not None and not condition.lower and condition.along == "eps"
        if alone and level is not None and condition.name in cells:
            ladders.setdefault(condition.ladder, []).append((level, condition))
    for levels in ladders.values():
        ordered = [c for _, c in sorted(levels, key=lambda pair: pair[0])]
        for below, above in pairwise(ordered):
            yield from _rise(cells[above.name], cells[below.name], f"the smaller {below.name!r}")


def look_at_rise(cell: Cell, clean: Cell) -> Iterator[Problem]:
    """Whether a model is clearly better under an attack than on clean images."""
    yield from _rise(cell, clean, "clean images")


def _rise(cell: Cell, other: Cell, name: str) -> Iterator[Problem]:
    ours, theirs = _common(cell, other)
    mine, before = cell.columns["hit"][ours] == 0, other.columns["hit"][theirs] == 0
    gained, lost = int((mine & ~before).sum()), int((~mine & before).sum())
    p = float(mcnemar(gained, lost))
    if gained > lost and p < _SURE:
        got = f"{gained} images won and {lost} lost, p = {p:.1g}"
        yield Problem(cell.where, f"no better answers than on {name}", got, warning=True)


def _common(one: Cell, two: Cell) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the images that both have stand in each."""
    _, ours, theirs = np.intersect1d(one.images, two.images, assume_unique=True, return_indices=True)
    return ours, theirs


def fallen(cell: Cell) -> Flags:
    """Which rows say that the image fell."""
    return np.asarray(cell.columns["fooled"], bool)
