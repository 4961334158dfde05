"""What one curve comes to: the area under a ladder, where it has lost half, and the worst of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.errors import BadParameter, nearest
from robobench.params import number_of
from robobench.registry import build_metric, formulas
from robobench.types import CLEAN, Condition

Floats = NDArray[np.float64]


@formulas.register("area", version=1)
@dataclass(frozen=True)
class Area:
    """The area under a ladder: the metric's mean over the severities between its first and last level.

    Trapezoids over the levels, put in the order of their numbers and scaled to [0, 1]: a constant curve
    has its own value as area. Unlike the mean of the levels it weighs each by how far its neighbours are, so
    levels may stand close together where a curve bends. Levels that are no numbers (nor fractions such as
    8/255) are one step apart, in their order. A ladder of one level has that level's value. A missing (NaN)
    level makes it undefined. In the unit of the metric, and better in the same direction.

    Own: the trapezoidal rule; as a summary of accuracy over severity it has no single source.

    >>> from robobench.types import Condition
    >>> cells = [Condition(f"a {x}", "a", "base", along="eps", level=x) for x in (0, 1, 4)]
    >>> Area(ladder="a")(np.array([[1.0, 0.6, 0.2]]), cells).round(6).tolist()
    [0.5]
    """

    ladder: str  # which ladder, by its name in the suite

    def __call__(self, values: Floats, conditions: Sequence[Condition]) -> Floats:
        places = _levels(conditions, self.ladder)
        if not places:
            return np.full(values.shape[0], np.nan)
        if len(places) == 1:
            return np.asarray(values[:, places[0]], np.float64)
        x = _severities([conditions[i] for i in places])
        order = np.argsort(x, kind="stable")
        share = (x[order] - x.min()) / (x.max() - x.min())
        return np.asarray(np.trapezoid(values[:, places][:, order], share, axis=1), np.float64)

    def check(self, conditions: Sequence[Condition], metric: str) -> None:
        """Raise BadParameter unless there is such a ladder."""
        _check_ladder(conditions, self.ladder)


@formulas.register("half", version=1)
@dataclass(frozen=True)
class HalfLife:
    """The severity at which a ladder's curve has first fallen to half of the clean value.

    Along the levels in the order of the suite, from mild to strong, with straight lines between them. In the
    units of the ladder's parameter; levels that are no numbers count as 1, 2, 3 ... The first level itself
    where the curve is down to half there already: the true place may be milder still. NaN where it never
    falls so far, where the clean value is not above 0, and where a level up to that place is missing; its
    interval is that of the resamples in which it does fall. Higher is better, lower where `descending`.

    Own: the half-life of a curve; as a summary of accuracy over severity it has no single source.

    >>> from robobench.types import Condition
    >>> cells = [Condition("clean", "clean", "base")] + [
    ...     Condition(f"a {x}", "a", "base", along="eps", level=x) for x in (1, 2, 4)]
    >>> HalfLife(ladder="a")(np.array([[0.8, 0.7, 0.6, 0.2], [0.8, 0.8, 0.7, 0.5]]), cells).tolist()
    [3.0, nan]
    """

    ladder: str  # which ladder, by its name in the suite
    clean: str = CLEAN  # the condition whose value is halved
    descending: bool = False  # whether stronger levels have smaller numbers, as a contrast has

    unit: ClassVar[str] = "level"

    @property
    def higher_is_better(self) -> bool:
        return not self.descending

    def __call__(self, values: Floats, conditions: Sequence[Condition]) -> Floats:
        out = np.full(values.shape[0], np.nan)
        places = _levels(conditions, self.ladder)
        clean = [i for i, c in enumerate(conditions) if c.name == self.clean]
        if not places or len(clean) != 1:
            return out
        x = _severities([conditions[i] for i in places])
        curve, half = values[:, places], values[:, clean[0]] / 2
        down = curve <= half[:, None]
        known = np.isfinite(curve) & (half > 0)[:, None]
        for row in np.flatnonzero(down.any(axis=1)):
            at = int(down[row].argmax())
            if not known[row, : at + 1].all():
                continue
            out[row] = x[at] if at == 0 else _crossing(x, curve[row], half[row], at)
        return out

    def check(self, conditions: Sequence[Condition], metric: str) -> None:
        """Raise BadParameter unless there is such a ladder, from mild to strong, and the metric falls."""
        _check_ladder(conditions, self.ladder)
        if not build_metric(metric).higher_is_better:
            raise BadParameter(f"{metric} is better when lower, so it does not fall: take another `of`")
        if self.clean != CLEAN and not self.clean.startswith(f"{CLEAN}@"):
            raise BadParameter(f"clean: expected `clean` or `clean@LABEL SPACE`, got {self.clean!r}")
        x = _severities([conditions[i] for i in _levels(conditions, self.ladder)])
        if bool((np.diff(x) * (-1 if self.descending else 1) <= 0).any()):
            way, mend = ("fall", "leave out") if self.descending else ("rise", "set")
            raise BadParameter(
                f"from mild to strong the levels of {self.ladder!r} should {way}: order them so, or "
                f"{mend} `descending: true`"
            )


@formulas.register("worst", version=1)
@dataclass(frozen=True)
class WorstCase:
    """The worst case over conditions: the value of the one where the model does worst.

    The smallest value among all conditions but clean ones, or among the levels of one ladder. A missing
    (NaN) condition makes it undefined. The smallest of several measured values is on average below the
    smallest of the true ones, the more so the more conditions are close to it. In the unit of the metric, and
    better in the same direction.

    Own: a minimum.

    >>> from robobench.types import Condition
    >>> cells = [Condition(name, name, "base") for name in ("clean", "a", "b")]
    >>> WorstCase()(np.array([[0.1, 0.6, 0.4]]), cells).tolist()
    [0.4]
    """

    ladder: str = ""  # one ladder by its name; all conditions where it is empty
    largest: bool = False  # whether large values are bad ones, as of a metric that is better when lower

    def __call__(self, values: Floats, conditions: Sequence[Condition]) -> Floats:
        places = [i for i, c in enumerate(conditions) if self._counts(c)]
        if not places:
            return np.full(values.shape[0], np.nan)
        some = values[:, places]
        return np.asarray(some.max(axis=1) if self.largest else some.min(axis=1), np.float64)

    def _counts(self, condition: Condition) -> bool:
        if condition.clean or condition.companion or condition.check:
            return False
        return not self.ladder or condition.ladder == self.ladder

    def check(self, conditions: Sequence[Condition], metric: str) -> None:
        """Raise BadParameter unless there is such a ladder, and `largest` goes with the metric."""
        if self.ladder:
            _check_ladder(conditions, self.ladder)
        if build_metric(metric).higher_is_better == self.largest:
            better, value = ("lower", "true") if not self.largest else ("higher", "false")
            raise BadParameter(f"{metric} is better when {better}: set `largest: {value}`")


def _crossing(x: Floats, curve: Floats, half: float, at: int) -> float:
    """Where the line from the level before reaches down to half."""
    above, below = float(curve[at - 1]), float(curve[at])
    return float(x[at - 1] + (x[at] - x[at - 1]) * (above - half) / (above - below))


def _levels(conditions: Sequence[Condition], ladder: str) -> list[int]:
    """Where the levels of a ladder stand, in the order of the suite."""
    return [i for i, c in enumerate(conditions) if c.ladder == ladder and not (c.clean or c.check)]


def _severities(levels: Sequence[Condition]) -> Floats:
    """The numbers of a ladder's levels, (levels,): their places from 1 on where some are none, or equal."""
    found = [number_of(c.level) for c in levels]
    numbers = [v for v in found if v is not None]
    if len(numbers) < len(found) or len(set(numbers)) < len(found):
        return np.arange(1.0, len(levels) + 1)
    return np.asarray(numbers, np.float64)


def _check_ladder(conditions: Sequence[Condition], ladder: str) -> None:
    known = list(dict.fromkeys(c.ladder for c in conditions if not c.clean))
    if ladder not in known:
        raise BadParameter(f"no ladder is called {ladder!r}; {nearest(ladder, known)}", ("ladder",))
