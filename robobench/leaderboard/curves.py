"""Where a curve begins to fall: the first level of a ladder at which a model is surely worse than clean.

A level counts when its paired difference to the clean condition, on the same images, is below zero at 5 %
after Holm's correction over the ladder's levels: by the exact McNemar test where the metric says right or
wrong of each image, else by paired resamples. Finding none does not say that there is none: few images find
little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import Metric
from robobench.keys import canonical
from robobench.leaderboard.score import IMAGE, Resampling, evaluate, paired_shares, sample_cells, size
from robobench.leaderboard.work import Work, compared_with
from robobench.proportions import ALPHA, holm, mcnemar
from robobench.stats import tail
from robobench.types import Condition, Rows

Floats = NDArray[np.float64]

NONE = "none"  # no level is surely worse
_SIDE = 0.5  # the chance of an image to fall to either side: a sign test's floor for what resamples claim


@dataclass(frozen=True)
class Rung:
    """A level against clean. worse: by how much, above 0 for a worse one. p: two-sided; NaN if not known."""

    label: str
    worse: float
    p: float


def first_drop(rungs: Sequence[Rung], alpha: float = ALPHA) -> str | None:
    """The label of the first level that is surely worse, `none` where no level is.

    rungs: in the ladder's order. The p-values are corrected over all of them. None where a level that is not
    known could be the first.

    >>> first_drop([Rung("1", 0.01, 0.4), Rung("2", 0.05, 0.02), Rung("3", 0.2, 1e-6)])
    '2'
    >>> first_drop([Rung("1", 0.01, 0.4), Rung("2", 0.05, 0.03), Rung("3", -0.2, 1e-6)])
    'none'
    """
    adjusted = holm([r.p for r in rungs])
    for rung, p in zip(rungs, adjusted, strict=True):
        if math.isnan(p) or math.isnan(rung.worse):
            return None
        if p < alpha and rung.worse > 0:
            return rung.label
    return NONE if rungs else None


def first_drops(work: Work, model: int, alpha: float = ALPHA) -> dict[str, str | None]:
    """`first_drop` of each ladder of a model, in the metric of the suite's score.

    None for a ladder whose levels are not complete, share no images with a clean condition, or have a
    metric that says nothing of clean images.
    """
    board = work.board
    where = {c.name: i for i, c in enumerate(board.conditions)}
    found: dict[str, list[Rung]] = {}
    for i, condition in enumerate(board.conditions):
        if condition.clean or condition.check:
            continue
        other = where.get(str(compared_with(condition, board)))
        rung = _rung(work, model, i, other, _label(condition))
        found.setdefault(condition.ladder, []).append(rung)
    return {ladder: first_drop(rungs, alpha) for ladder, rungs in found.items()}


def _rung(work: Work, model: int, place: int, clean: int | None, label: str) -> Rung:
    """A condition against the clean one."""
    of = work.board.suite.score.of
    metric, rows = work.metrics[of], work.rows[model]
    unknown = Rung(label, math.nan, math.nan)
    if clean is None or getattr(metric, "with_clean", False) or not work.measured[model][place].complete:
        return unknown
    data = work.kin[work.board.conditions[place].data]
    if work.kin[work.board.conditions[clean].data] != data:
        return unknown
    own, other = _on_common_images(rows[place], rows[clean], metric)
    if not size(own) or size(own) < size(rows[place]):
        return unknown
    worse, p = paired(of, metric, own, other, work.resampling, data)
    return Rung(label, worse, p)


def paired(
    name: str, metric: Metric, own: Rows, clean: Rows, resampling: Resampling, data: str = ""
) -> tuple[float, float]:
    """How much worse a metric is in rows than in others of the same images, and the two-sided p-value."""
    sign = 1.0 if metric.higher_is_better else -1.0
    after, before = evaluate(name, metric, own), evaluate(name, metric, clean)
    shares = paired_shares(metric, before, after)
    if shares is not None:
        lost = sign * (shares[0] - shares[1])
        return float(lost.mean()), float(mcnemar(int((lost > 0).sum()), int((lost < 0).sum())))
    moved = size(own)
    if isinstance(after, np.ndarray) and isinstance(before, np.ndarray):
        both = ~(np.isnan(after) | np.isnan(before))
        if not both.any():
            return math.nan, math.nan
        lost = sign * (before[both] - after[both])
        worse = float(lost.mean())
        moved = int((lost != 0).sum())
    else:
        worse = sign * float(np.mean(before) - np.mean(after))
    if not math.isfinite(worse):
        return math.nan, math.nan
    ids = own[IMAGE]
    samples = sample_cells(name, metric, [own, clean], ids, resampling.weights(ids.size, data))
    return worse, _p_value(worse, sign * (samples[:, 1] - samples[:, 0]), moved)


def _p_value(worse: float, samples: Floats, moved: int) -> float:
    """Two-sided, from paired resamples. Never below what a sign test of the images that moved could say."""
    if not np.isfinite(samples).all():
        return math.nan
    least = min(1.0, 2 * _SIDE**moved)
    if float(np.ptp(samples)) <= 1e-12:
        return 1.0 if abs(worse) <= 1e-12 else least
    one, other = (float(tail(s * worse, s * samples, 0.0)) for s in (1.0, -1.0))
    return min(1.0, max(least, 2 * min(one, other)))


def _on_common_images(own: Rows, clean: Rows, metric: Metric) -> tuple[Rows, Rows]:
    """Both rows on the images that both have, sorted as they are; none where a column is lacking."""
    if not all(set(metric.needs) <= set(r) and IMAGE in r for r in (own, clean)):
        return {}, {}
    if own[IMAGE].size == clean[IMAGE].size and bool((own[IMAGE] == clean[IMAGE]).all()):
        return own, clean
    some = [np.isin(one[IMAGE], two[IMAGE]) for one, two in ((own, clean), (clean, own))]
    first, second = ({k: v[keep] for k, v in r.items()} for r, keep in zip((own, clean), some, strict=True))
    return first, second


def _label(condition: Condition) -> str:
    """A level as the suite writes it; a condition that is no level by its name."""
    if condition.along is None:
        return condition.name
    return condition.level if isinstance(condition.level, str) else canonical(condition.level)
