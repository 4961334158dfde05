"""Whether a candidate may take the place of a baseline: by condition, by group and in the score.

Each line has two one-sided tests on the same images. It *passes* when a drop of the margin or more is
excluded, or when no answer has changed; it *fails* when there surely is a drop and the first cannot be shown;
else it is *inconclusive*. The gate passes when every line does: each of them has to, so that needs no
correction. It fails when any line does, and those tests are corrected over the lines by Holm's method.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robobench.errors import ExitCode, RobobenchError
from robobench.leaderboard.board import BoardInput
from robobench.leaderboard.compare import pair_on_common_images
from robobench.leaderboard.kin import distinct
from robobench.leaderboard.policy import Policy
from robobench.leaderboard.score import IMAGE, Resampling, Scale, Scaled, evaluate
from robobench.leaderboard.verdict import margin_in
from robobench.leaderboard.work import Work
from robobench.proportions import difference_power, holm, mcnemar, noninferior, paired_interval
from robobench.registry import build_formula
from robobench.stats import RESAMPLES, difference_interval, tail

Floats = NDArray[np.float64]
Verdict = Literal["pass", "fail", "inconclusive"]

PASS: Verdict = "pass"  # noqa: S105 - a verdict
FAIL: Verdict = "fail"
INCONCLUSIVE: Verdict = "inconclusive"
FLOOR = "floor"
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Check:
    """One line of a gate.

    drop: how much worse the candidate is, above 0 for worse, with its interval; margin: in the same unit.
    p_pass: of a drop of the margin or more; p_fail: of no drop, corrected over the lines. power: how often a
    drop of twice the margin would have failed here. kind: condition, group, score or floor.
    """

    kind: str
    name: str
    unit: str
    n: int
    baseline: float
    candidate: float
    drop: float
    low: float
    high: float
    margin: float
    p_pass: float
    p_fail: float
    power: float
    verdict: Verdict
    changed: int | None = None  # images whose answer went from right to wrong or back


@dataclass(frozen=True)
class Report:
    """What a gate says. inconclusive: what the policy makes of that."""

    suite: str
    title: str
    fingerprint: str
    baseline: str
    candidate: str
    metric: str
    alpha: float
    correction: str
    inconclusive: str
    checks: tuple[Check, ...]
    verdict: Verdict

    @property
    def exit_code(self) -> int:
        """0 where the candidate is let through, 3 where it is not."""
        held = self.verdict == FAIL or (self.verdict == INCONCLUSIVE and self.inconclusive == "fail")
        return int(ExitCode.CHECK if held else ExitCode.OK)


def gate(baseline: BoardInput, candidate: BoardInput, policy: Policy, resamples: int = RESAMPLES) -> Report:
    """Judge a candidate, the only model of its board, by that of the baseline's board.

    Raises RobobenchError when the two were not made under one protocol, or have no images in common.
    """
    _check_protocol(baseline, candidate)
    names = (f"baseline {baseline.models[0].name}", f"candidate {candidate.models[0].name}")
    models = (
        replace(baseline.models[0], name=names[0], expected={}),
        replace(candidate.models[0], name=names[1], expected={}),
    )
    board, skipped = pair_on_common_images(replace(baseline, models=models))
    work = Work.of(
        replace(board, suite=replace(board.suite, metrics=())), Resampling(board.suite.seed, resamples)
    )
    if skipped:
        raise RobobenchError(
            f"the candidate has no rows under {', '.join(sorted(skipped))}: finish its run, or take these "
            "conditions out of the suite and make the baseline anew"
        )
    count = sum(1 for _ in _lines(work, policy, 1))
    drawn = tuple(_lines(work, policy, count if policy.correction == "holm" else 1))
    checks = (*_judged(drawn, policy), *_floors(drawn, policy))
    return Report(
        suite=board.suite.name,
        title=board.suite.title,
        fingerprint=board.suite.fingerprint,
        baseline=baseline.models[0].name,
        candidate=candidate.models[0].name,
        metric=board.suite.score.of,
        alpha=policy.alpha,
        correction=policy.correction,
        inconclusive=policy.inconclusive,
        checks=checks,
        verdict=_overall(checks),
    )


def _check_protocol(baseline: BoardInput, candidate: BoardInput) -> None:
    one, two = baseline.suite.fingerprint, candidate.suite.fingerprint
    if one != two:
        raise RobobenchError(
            f"the baseline was made under the protocol {one} of {baseline.suite.name!r}, the candidate under "
            f"{two} of {candidate.suite.name!r}: run the same suite on the same data, or make the baseline "
            "anew"
        )


def _lines(work: Work, policy: Policy, tests: int) -> Iterator[Check]:
    """Every line before its verdict. tests: that share alpha, as far as their power is concerned."""
    suite, conditions = work.board.suite, work.board.conditions
    if policy.conditions:
        for place, condition in enumerate(conditions):
            if not condition.companion:
                yield _condition(work, place, policy, tests)
    for name, places, margin in _groups(work, policy):
        values = work.values[suite.score.of][:, :, places].mean(axis=2)
        yield _composite(
            work, "group", name, work.metrics[suite.score.of], values, places, margin, policy.alpha / tests
        )
    formula = build_formula(suite.score.formula)
    totals = np.stack([formula(work.values[suite.score.of][:, m], conditions) for m in (0, 1)], axis=1)
    places = [i for i, c in enumerate(conditions) if not c.clean]
    scale = Scale.of(formula, work.metrics[suite.score.of])
    name = suite.score.name
    if places:
        yield _composite(
            work, "score", name, scale, totals, places, policy.margin_of(name), policy.alpha / tests
        )


def _groups(work: Work, policy: Policy) -> Iterator[tuple[str, list[int], float]]:
    """Name, conditions and margin of each group: the policy's, or the ladders with more than one level."""
    conditions = work.board.conditions
    for name, group in policy.groups.items():
        places = [
            i for i, c in enumerate(conditions) if any(fnmatchcase(c.name, p) for p in group.conditions)
        ]
        if not places:
            raise RobobenchError(
                f"the policy's group {name!r} fits no condition of {work.board.suite.name!r}; there are: "
                f"{', '.join(c.name for c in conditions)}"
            )
        yield name, places, group.margin or policy.margin_of(name)
    if policy.groups:
        return
    ladders: dict[str, list[int]] = {}
    for i, c in enumerate(conditions):
        if not c.clean:
            ladders.setdefault(c.ladder, []).append(i)
    for name, places in ladders.items():
        if len(places) > 1:
            yield name, places, policy.margin_of(name)


def _condition(work: Work, place: int, policy: Policy, tests: int) -> Check:
    """A condition; right and wrong answers by the images that one model alone has right."""
    of, name = work.board.suite.score.of, work.board.conditions[place].name
    metric, margin = work.metrics[of], policy.margin_of(name)
    said = [evaluate(of, metric, work.rows[m][place]) for m in (0, 1)]
    if metric.unit == "fraction" and all(isinstance(v, np.ndarray) for v in said):
        one, two = (np.asarray(v, np.float64) for v in said)
        known = ~(np.isnan(one) | np.isnan(two))
        one, two = one[known], two[known]
        if one.size and bool(np.isin([one, two], (0.0, 1.0)).all()):
            return _shares(name, metric.higher_is_better, one, two, margin, policy.alpha / tests)
    return _composite(
        work, "condition", name, metric, work.values[of][:, :, place], [place], margin, policy.alpha / tests
    )


def _shares(name: str, higher: bool, before: Floats, after: Floats, margin: float, alpha: float) -> Check:
    n = before.size
    gained, lost = int((after > before).sum()), int((after < before).sum())
    if not higher:
        gained, lost = lost, gained
    low, high = paired_interval(lost, gained, n)
    share = (gained + lost) / n
    apart = min(2 * margin, 1.0)
    shares = ((max(share, apart) + apart) / 2, (max(share, apart) - apart) / 2)
    return Check(
        "condition", name, "fraction", n, float(before.mean()), float(after.mean()), (lost - gained) / n,
        float(low), float(high), margin,
        p_pass=0.0 if not gained + lost else float(noninferior(gained, lost, n, margin)),
        p_fail=float(mcnemar(gained, lost)) / 2 if lost > gained else 1.0,
        power=difference_power(*shares, n, min(2 * alpha, 0.999)),
        verdict=INCONCLUSIVE, changed=gained + lost,
    )  # fmt: skip


def _composite(
    work: Work, kind: str, name: str, scale: Scaled, values: Floats, places: Sequence[int],
    margin: float, alpha: float,
) -> Check:  # fmt: skip
    """A number over many conditions, by the difference on the same resampled images: values (1 + r, 2)."""
    unit = scale.unit
    limit, sign = margin_in(unit, margin), 1.0 if scale.higher_is_better else -1.0
    n = distinct([(work.kin[work.board.conditions[i].data], work.rows[0][i]) for i in places])
    before, after = (float(v) for v in values[0])
    if not (math.isfinite(before) and math.isfinite(after)):
        raise RobobenchError(f"{name} is undefined for one of the two models, so a gate cannot judge it")
    drop, samples = sign * (before - after), sign * (values[1:, 0] - values[1:, 1])
    low, high = (float(v) for v in difference_interval(drop, samples))
    unchanged = _unchanged(work, places)
    p_pass, p_fail = 1 - float(tail(drop, samples, limit)), float(tail(drop, samples, 0.0))
    if math.isnan(p_pass):  # no resample differs: the drop is what it is, on every image alike
        p_pass, p_fail = (0.0, 1.0) if drop < limit and unchanged else (1.0, 1.0)
        low = high = drop
    spread = float(np.nanstd(samples))
    power = 1.0 if spread == 0 else _NORMAL.cdf(2 * limit / spread - _NORMAL.inv_cdf(1 - alpha))
    return Check(
        kind, name, unit, n, before, after, drop, low, high, limit,
        0.0 if unchanged else p_pass, 1.0 if unchanged else p_fail, power, INCONCLUSIVE,
    )  # fmt: skip


def _unchanged(work: Work, places: Sequence[int]) -> bool:
    """Whether both models say the same of every image under some conditions."""
    of = work.board.suite.score.of
    metric = work.metrics[of]
    for place in places:
        one, two = (evaluate(of, metric, work.rows[m][place]) for m in (0, 1))
        if not np.array_equal(work.rows[0][place][IMAGE], work.rows[1][place][IMAGE]):
            return False
        if not np.array_equal(np.asarray(one), np.asarray(two), equal_nan=True):
            return False
    return True


def _judged(checks: Sequence[Check], policy: Policy) -> Iterator[Check]:
    raw = [c.p_fail for c in checks]
    adjusted = holm(raw) if policy.correction == "holm" else np.asarray(raw, np.float64)
    for check, p_fail in zip(checks, adjusted, strict=True):
        verdict = INCONCLUSIVE
        if check.p_pass < policy.alpha:
            verdict = PASS
        elif p_fail < policy.alpha:
            verdict = FAIL
        yield replace(check, p_fail=float(p_fail), verdict=verdict)


def _floors(checks: Sequence[Check], policy: Policy) -> Iterator[Check]:
    """What has to be reached whatever the baseline was: a value below its floor fails."""
    known = {c.name: c for c in checks}
    for name, floor in policy.floors.items():
        if name not in known:
            raise RobobenchError(
                f"the policy has a floor for {name!r}, which is no line of this gate; there are: "
                f"{', '.join(known)}"
            )
        line = known[name]
        limit = margin_in(line.unit, 1.0) * floor
        reached = line.candidate >= limit
        yield replace(
            line, kind=FLOOR, baseline=limit, drop=limit - line.candidate, low=math.nan, high=math.nan,
            margin=0.0, p_pass=math.nan, p_fail=math.nan, power=math.nan, changed=None,
            verdict=PASS if reached else FAIL,
        )  # fmt: skip


def _overall(checks: Sequence[Check]) -> Verdict:
    verdicts = {c.verdict for c in checks}
    return FAIL if FAIL in verdicts else INCONCLUSIVE if INCONCLUSIVE in verdicts else PASS
