"""What a gate judges: the conditions, the groups and the score of a suite, each with its margin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import Formula
from robobench.errors import RobobenchError
from robobench.leaderboard.board import SuiteInfo
from robobench.leaderboard.policy import Policy
from robobench.registry import build_formula
from robobench.types import Condition

CONDITION = "condition"
GROUP = "group"
SCORE = "score"
_SAME = 1e-9  # how exactly a formula has to be linear
_TRIALS = 8


@dataclass(frozen=True)
class LineSpec:
    """A line before anything is measured. places: of its conditions; margin: as a share."""

    kind: str
    name: str
    places: tuple[int, ...]
    margin: float

    def weights(self, suite: SuiteInfo, conditions: Sequence[Condition]) -> NDArray[np.float64] | None:
        """How much each condition counts in the line, (conditions,); None where it is no weighted sum."""
        if self.kind == SCORE:
            return _weights(build_formula(suite.score.formula), conditions)
        out = np.zeros(len(conditions))
        out[list(self.places)] = 1 / len(self.places)
        return out


def line_specs(suite: SuiteInfo, conditions: Sequence[Condition], policy: Policy) -> tuple[LineSpec, ...]:
    """The lines of a gate, floors aside. Raises RobobenchError for a group that fits no condition."""
    found = []
    if policy.conditions:
        for i, c in enumerate(conditions):
            if not c.companion:
                found.append(LineSpec(CONDITION, c.name, (i,), policy.margin_of(c.name)))
    found += _groups(suite, conditions, policy)
    scored = tuple(i for i, c in enumerate(conditions) if not c.clean)
    if scored:
        found.append(LineSpec(SCORE, suite.score.name, scored, policy.margin_of(suite.score.name)))
    return tuple(found)


def _groups(suite: SuiteInfo, conditions: Sequence[Condition], policy: Policy) -> Iterator[LineSpec]:
    """The policy's groups, or the ladders with more than one level."""
    for name, group in policy.groups.items():
        places = [
            i for i, c in enumerate(conditions) if any(fnmatchcase(c.name, p) for p in group.conditions)
        ]
        if not places:
            raise RobobenchError(
                f"the policy's group {name!r} fits no condition of {suite.name!r}; there are: "
                f"{', '.join(c.name for c in conditions)}"
            )
        yield LineSpec(GROUP, name, tuple(places), group.margin or policy.margin_of(name))
    if policy.groups:
        return
    ladders: dict[str, list[int]] = {}
    for i, c in enumerate(conditions):
        if not c.clean:
            ladders.setdefault(c.ladder, []).append(i)
    for name, levels in ladders.items():
        if len(levels) > 1:
            yield LineSpec(GROUP, name, tuple(levels), policy.margin_of(name))


def _weights(formula: Formula, conditions: Sequence[Condition]) -> NDArray[np.float64] | None:
    """The weights of a formula that is a weighted sum of the conditions' values plus a constant."""
    width = len(conditions)
    trials = np.random.Generator(np.random.PCG64(0)).random((_TRIALS, width))
    given = np.concatenate([np.zeros((1, width)), np.eye(width), trials])
    found = np.asarray(formula(given, conditions), np.float64)
    weights = found[1 : width + 1] - found[0]
    linear = bool(np.isfinite(found).all()) and np.allclose(
        found[width + 1 :], found[0] + trials @ weights, rtol=_SAME, atol=_SAME
    )
    return weights if linear and weights.any() else None
