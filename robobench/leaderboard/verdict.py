"""What the difference of two numbers on the same images says: better, worse, equivalent, or cannot tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robobench.leaderboard.score import Scaled
from robobench.proportions import (
    ALPHA,
    difference_power,
    equivalence_power,
    equivalent,
    holm,
    images_needed,
    mcnemar,
    paired_interval,
)
from robobench.stats import difference_interval, tail

Floats = NDArray[np.float64]
Verdict = Literal["better", "worse", "equivalent", "cannot tell"]

BETTER: Verdict = "better"
WORSE: Verdict = "worse"
EQUIVALENT: Verdict = "equivalent"
CANNOT_TELL: Verdict = "cannot tell"
VERDICTS = (BETTER, WORSE, EQUIVALENT, CANNOT_TELL)


@dataclass(frozen=True)
class Line:
    """Two models under one condition, or in one number over many.

    first, second, difference (first - second) and its interval low to high are in `unit`. p: of no
    difference, p_equivalent: of a difference of the margin or more, both adjusted over the table that the
    line stands in. verdict: of the first model. enough: about how many images would tell, where these
    cannot; None where no number would, or where none is needed. only_first, only_second: the images that
    one model alone has right, where the values are right or wrong.
    """

    name: str
    metric: str
    unit: str
    higher_is_better: bool
    n: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    p_equivalent: float
    verdict: Verdict
    enough: int | None = None
    only_first: int | None = None
    only_second: int | None = None


@dataclass(frozen=True)
class Subject:
    """Whose numbers, of how many images, stand side by side."""

    name: str
    metric: str
    scale: Scaled
    n: int
    first: float
    second: float

    @property
    def difference(self) -> float:
        return self.first - self.second


Power = Callable[[int, float], float]  # of the number of images and alpha


@dataclass(frozen=True)
class Evidence:
    """A line before its table is known. powers: of the test of a difference, and of equivalence."""

    subject: Subject
    low: float
    high: float
    p: float
    p_equivalent: float
    powers: tuple[Power, Power]
    counts: tuple[int, int] | None = None


def margin_in(unit: str, margin: float) -> float:
    """A margin, which is a share, in a unit: a hundredth of a share is 1 of what is counted in per cent.

    >>> margin_in("fraction", 0.01), margin_in("% of AlexNet", 0.01), margin_in("nats", 0.01)
    (0.01, 1.0, 0.01)
    """
    return 100 * margin if unit.startswith("%") else margin


def of_shares(subject: Subject, only_first: int, only_second: int, margin: float) -> Evidence:
    """Of right and wrong answers to the same images, by the images that one model alone has right."""
    n = subject.n
    low, high = paired_interval(only_first, only_second, n)
    return Evidence(
        subject,
        float(low),
        float(high),
        p=float(mcnemar(only_first, only_second)),
        p_equivalent=float(equivalent(only_first, only_second, n, margin)),
        powers=_of_disagreement(only_first / n, only_second / n, margin),
        counts=(only_first, only_second),
    )


def of_samples(subject: Subject, samples: Floats, margin: float) -> Evidence:
    """Of two numbers on n images, by their difference on the same resampled images: samples (r,)."""
    gap, limit = subject.difference, margin_in(subject.scale.unit, margin)
    below = float(tail(gap, samples, 0.0))
    if math.isnan(below):
        return _unmoved(subject, limit)
    low, high = difference_interval(gap, samples)
    spread = float(np.nanstd(samples)) * math.sqrt(subject.n)
    return Evidence(
        subject,
        float(low),
        float(high),
        p=2 * min(below, 1 - below),
        p_equivalent=max(float(tail(gap, samples, -limit)), 1 - float(tail(gap, samples, limit))),
        powers=(_finding(gap, spread), _fitting(gap, spread, limit)),
    )


def _unmoved(subject: Subject, limit: float) -> Evidence:
    """The same where no resample differs, because every image says the same.

    A difference of shares is taken as that of so many images which one model alone has right. In other units
    resampling knows no interval, and only the sign of the difference can be tested.
    """
    n, gap = subject.n, subject.difference
    if subject.scale.unit != "fraction" or abs(gap) > 1:
        p = float(mcnemar(n if gap else 0, 0))
        never: Power = lambda n, alpha: 0.0  # noqa: E731
        return Evidence(subject, math.nan, math.nan, p, 1.0, (never, never))
    ahead, behind = n * max(gap, 0.0), n * max(-gap, 0.0)
    low, high = paired_interval(ahead, behind, n)
    return Evidence(
        subject,
        float(low),
        float(high),
        p=float(mcnemar(math.floor(ahead), math.floor(behind))),
        p_equivalent=float(equivalent(ahead, behind, n, limit)),
        powers=_of_disagreement(ahead / n, behind / n, limit),
    )


def _of_disagreement(first: float, second: float, margin: float) -> tuple[Power, Power]:
    """The powers of McNemar's and the equivalence test, if each model alone is right so often."""
    return (
        lambda n, alpha: difference_power(first, second, n, alpha),
        lambda n, alpha: equivalence_power(first, second, n, margin, alpha),
    )


def _finding(gap: float, spread: float) -> Callable[[int, float], float]:
    """How often n images show a difference, where one image's share in it varies by `spread`."""
    normal = NormalDist()

    def power(n: int, alpha: float) -> float:
        return normal.cdf(math.sqrt(n) * abs(gap) / spread - normal.inv_cdf(1 - alpha / 2))

    return power


def _fitting(gap: float, spread: float, limit: float) -> Callable[[int, float], float]:
    """How often n images show that a difference is within the limit."""
    normal = NormalDist()

    def power(n: int, alpha: float) -> float:
        reach, z = math.sqrt(n) / spread, normal.inv_cdf(1 - alpha)
        sides = [normal.cdf((limit + sign * gap) * reach - z) for sign in (-1, 1)]
        return max(0.0, sum(sides) - 1)

    return power


def judge(table: Sequence[Evidence], alpha: float = ALPHA) -> tuple[Line, ...]:
    """The lines of a table with their verdicts.

    Both p-values are adjusted by Holm's method over the table, so each kind of claim is wrong anywhere in it
    in at most alpha of all tables. What is shown to lie within the margin is equivalent, also where it is
    surely not 0. What would tell: the fewest images with which one of the two tests succeeds in 80 of 100
    cases if things are as they look, at the level that the line still has to meet.
    """
    p, apart = holm([e.p for e in table]), holm([e.p_equivalent for e in table])
    levels = [alpha / max(1, int((found >= alpha).sum())) for found in (p, apart)]
    return tuple(_line(e, p[i], apart[i], levels, alpha) for i, e in enumerate(table))


def _line(e: Evidence, p: float, apart: float, levels: Sequence[float], alpha: float) -> Line:
    of, verdict = e.subject, _verdict(e.subject, p, apart, alpha)
    return Line(
        name=of.name,
        metric=of.metric,
        unit=of.scale.unit,
        higher_is_better=of.scale.higher_is_better,
        n=of.n,
        first=of.first,
        second=of.second,
        difference=of.difference,
        low=e.low,
        high=e.high,
        p=float(p),
        p_equivalent=float(apart),
        verdict=verdict,
        enough=_enough(e, levels) if verdict == CANNOT_TELL else None,
        only_first=e.counts[0] if e.counts else None,
        only_second=e.counts[1] if e.counts else None,
    )


def _verdict(of: Subject, p: float, apart: float, alpha: float) -> Verdict:
    if apart < alpha:
        return EQUIVALENT
    if p < alpha:
        return BETTER if (of.difference > 0) == of.scale.higher_is_better else WORSE
    return CANNOT_TELL


def _enough(e: Evidence, levels: Sequence[float]) -> int | None:
    """The fewest images that would tell, more than there are."""
    found = [images_needed(partial(_at, power, level)) for power, level in zip(e.powers, levels, strict=True)]
    known = [n for n in found if n is not None]
    return max(min(known), e.subject.n + 1) if known else None


def _at(power: Power, alpha: float, n: int) -> float:
    return power(n, alpha)
