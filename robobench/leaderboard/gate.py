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
from statistics import NormalDist
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from robobench.errors import ExitCode, RobobenchError
from robobench.leaderboard.board import BoardInput
from robobench.leaderboard.compare import pair_on_common_images
from robobench.leaderboard.gate_lines import CONDITION, SCORE, LineSpec, line_specs
from robobench.leaderboard.kin import distinct
from robobench.leaderboard.policy import Policy
from robobench.leaderboard.score import Resampling, Scale, Scaled, evaluate, paired_shares, size
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
    verdict: Verdict = INCONCLUSIVE
    changed: int | None = None  # images whose answer went from right to wrong or back
    settled: int | None = None  # images after which a look settled it, see `robobench.leaderboard.looks`
    higher_is_better: bool = True


class _Tests(TypedDict):
    """What the tests of a line say, as fields of `Check`."""

    low: float
    high: float
    margin: float
    p_pass: float
    p_fail: float
    power: float


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
    sequential: bool = False  # whether it was looked at while images came in

    @property
    def exit_code(self) -> int:
        """0 where the candidate is let through, 3 where it is not."""
        held = self.verdict == FAIL or (self.verdict == INCONCLUSIVE and self.inconclusive == "fail")
        return int(ExitCode.CHECK if held else ExitCode.OK)


def gate(baseline: BoardInput, candidate: BoardInput, policy: Policy, resamples: int = RESAMPLES) -> Report:
    """Judge a candidate, the only model of its board, by that of the baseline's board.

    Raises RobobenchError when the two were not made under one protocol, or have no images in common.
    """
    check_protocol(baseline, candidate)
    _check_complete(candidate)
    work, skipped = paired_work(baseline, candidate, resamples)
    if skipped:
        raise RobobenchError(
            "; ".join(f"{name}: {reason}" for name, reason in sorted(skipped.items()))
            + ": run both on the same images, or make the baseline anew"
        )
    specs = line_specs(work.board.suite, work.board.conditions, policy)
    drawn = tuple(judged_lines(work, policy, specs, policy.alpha))
    return report_of(baseline, candidate, policy, (*_judged(drawn, policy), *floors(drawn, policy)))


def paired_work(baseline: BoardInput, candidate: BoardInput, resamples: int) -> tuple[Work, dict[str, str]]:
    """Both models on the images that both have answered, and the conditions without any."""
    names = (f"baseline {baseline.models[0].name}", f"candidate {candidate.models[0].name}")
    models = (
        replace(baseline.models[0], name=names[0], expected={}),
        replace(candidate.models[0], name=names[1], expected={}),
    )
    board, skipped = pair_on_common_images(replace(baseline, models=models))
    alone = replace(board, suite=replace(board.suite, metrics=()))
    return Work.of(alone, Resampling(board.suite.seed, resamples)), skipped


def report_of(
    baseline: BoardInput, candidate: BoardInput, policy: Policy, checks: tuple[Check, ...],
    *, sequential: bool = False,
) -> Report:  # fmt: skip
    """What comes of some lines."""
    suite = baseline.suite
    return Report(
        suite=suite.name,
        title=suite.title,
        fingerprint=suite.fingerprint,
        baseline=baseline.models[0].name,
        candidate=candidate.models[0].name,
        metric=suite.score.of,
        alpha=policy.alpha,
        correction=policy.correction,
        inconclusive=policy.inconclusive,
        checks=checks,
        verdict=_overall(checks),
        sequential=sequential,
    )


def check_protocol(baseline: BoardInput, candidate: BoardInput) -> None:
    """Raise RobobenchError unless both were made under one protocol."""
    one, two = baseline.suite.fingerprint, candidate.suite.fingerprint
    if one != two:
        raise RobobenchError(
            f"the baseline was made under the protocol {one} of {baseline.suite.name!r}, the candidate under "
            f"{two} of {candidate.suite.name!r}: `robobench diff BASELINE RESULTS` names the field that "
            "differs; run the same suite on the same data, or make the baseline anew"
        )


def _check_complete(candidate: BoardInput) -> None:
    """A candidate may lack just the rows that it would fail on. Where it stopped early it lacks none."""
    (model,) = candidate.models
    for condition in candidate.conditions:
        wanted = model.expected.get(condition.name, candidate.expected[condition.name])
        there = size(model.rows.get(condition.name, {}))
        if not condition.check and there < wanted:
            raise RobobenchError(
                f"the candidate {model.name} has no rows under {condition.name!r} for {wanted - there} of "
                f"{wanted} images: finish its run first, with `robobench run {candidate.suite.name}`"
            )


def judged_lines(work: Work, policy: Policy, specs: Sequence[LineSpec], alpha: float) -> Iterator[Check]:
    """Lines before their verdicts. alpha: what the power is stated for, before any correction."""
    suite, conditions = work.board.suite, work.board.conditions
    of, values = suite.score.of, work.values[suite.score.of]
    alpha /= tests_of(policy, len(specs))  # what the last line has to meet
    for spec in specs:
        if spec.kind == CONDITION:
            yield _condition(work, spec.places[0], spec.margin, alpha)
            continue
        scale: Scaled = work.metrics[of]
        totals = values[:, :, list(spec.places)].mean(axis=2)
        if spec.kind == SCORE:
            formula = build_formula(suite.score.formula)
            totals = np.stack([formula(values[:, m], conditions) for m in (0, 1)], axis=1)
            scale = Scale.of(formula, work.metrics[of])
        yield _composite(work, spec.kind, spec.name, scale, totals, spec.places, spec.margin, alpha)


def tests_of(policy: Policy, lines: int) -> int:
    """By how many tests alpha is divided for the first line that fails."""
    return lines if policy.correction == "holm" else 1


def _condition(work: Work, place: int, margin: float, alpha: float) -> Check:
    """A condition; right and wrong answers by the images that one model alone has right."""
    of, name = work.board.suite.score.of, work.board.conditions[place].name
    metric = work.metrics[of]
    shares = paired_shares(metric, *(evaluate(of, metric, work.rows[m][place]) for m in (0, 1)))
    if shares is None:
        values = work.values[of][:, :, place]
        return _composite(work, "condition", name, metric, values, [place], margin, alpha)
    before, after = shares
    lost, gained = float((after < before).sum()), float((after > before).sum())
    if not metric.higher_is_better:
        lost, gained = gained, lost
    n = before.size
    return Check(
        "condition", name, metric.unit, n, float(before.mean()), float(after.mean()), (lost - gained) / n,
        **_of_counts(lost, gained, n, margin, alpha), changed=int(lost + gained),
        higher_is_better=metric.higher_is_better,
    )  # fmt: skip


def _of_counts(lost: float, gained: float, n: int, margin: float, alpha: float) -> _Tests:
    """The tests of right and wrong answers, by the images that one model alone has right."""
    low, high = paired_interval(lost, gained, n)
    apart = min(2 * margin, 1.0)
    differ = max((lost + gained) / n, apart)
    return _Tests(
        low=float(low),
        high=float(high),
        margin=margin,
        p_pass=float(noninferior(gained, lost, n, margin)) if lost or gained else 0.0,
        p_fail=_sign_test(lost, gained),
        power=difference_power((differ + apart) / 2, (differ - apart) / 2, n, min(2 * alpha, 0.999)),
    )


def _composite(
    work: Work, kind: str, name: str, scale: Scaled, values: Floats, places: Sequence[int],
    margin: float, alpha: float,
) -> Check:  # fmt: skip
    """A number over many conditions, by the difference on the same resampled images: values (1 + r, 2)."""
    sign = 1.0 if scale.higher_is_better else -1.0
    n = distinct([(work.kin[work.board.conditions[i].data], work.rows[0][i]) for i in places])
    before, after = (float(v) for v in values[0])
    if not (math.isfinite(before) and math.isfinite(after)):
        raise RobobenchError(f"{name} is undefined for one of the two models, so a gate cannot judge it")
    drop, samples = sign * (before - after), sign * (values[1:, 0] - values[1:, 1])
    limit = margin_in(scale.unit, margin)
    if math.isnan(float(tail(drop, samples, limit))):
        found = _unmoved(drop, n, scale.unit, limit, alpha)
    else:
        low, high = (float(v) for v in difference_interval(drop, samples))
        steps = 2 * limit / float(np.nanstd(samples))
        found = _Tests(
            low=low,
            high=high,
            margin=limit,
            p_pass=1 - float(tail(drop, samples, limit)),
            p_fail=float(tail(drop, samples, 0.0)),
            power=_NORMAL.cdf(steps - _NORMAL.inv_cdf(1 - alpha)),
        )
    return Check(
        kind, name, scale.unit, n, before, after, drop, **found, higher_is_better=scale.higher_is_better
    )


def _unmoved(drop: float, n: int, unit: str, limit: float, alpha: float) -> _Tests:
    """The tests where no resample differs, because every image says the same.

    A drop of a share is taken as that of so many images which one model alone has right. In other units every
    image lies on one side of the limit, and of 0.
    """
    if unit == "fraction" and abs(drop) <= 1:
        return _of_counts(n * max(drop, 0.0), n * max(-drop, 0.0), n, limit, alpha)
    within = _sign_test(n if drop < limit else 0, 0) if drop else 0.0
    return _Tests(
        low=drop,
        high=drop,
        margin=limit,
        p_pass=within,
        p_fail=_sign_test(n if drop > 0 else 0, 0),
        power=1.0,
    )


def _sign_test(lost: float, gained: float) -> float:
    """One-sided: how surprising it is that so many more images are lost than gained."""
    return float(mcnemar(math.floor(gained), math.floor(lost))) / 2 if lost > gained else 1.0


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


def floors(checks: Sequence[Check], policy: Policy) -> Iterator[Check]:
    """What has to be reached whatever the baseline was: a value that is worse than its floor fails."""
    known = {c.name: c for c in checks}
    for name, floor in policy.floors.items():
        if name not in known:
            raise RobobenchError(
                f"the policy has a floor for {name!r}, which is no line of this gate; there are: "
                f"{', '.join(known)}"
            )
        line = known[name]
        limit = margin_in(line.unit, 1.0) * floor
        short = limit - line.candidate if line.higher_is_better else line.candidate - limit
        yield replace(
            line, kind=FLOOR, baseline=limit, drop=short, low=math.nan, high=math.nan,
            margin=0.0, p_pass=math.nan, p_fail=math.nan, power=math.nan, changed=None,
            verdict=PASS if short <= 0 else FAIL,
        )  # fmt: skip


def _overall(checks: Sequence[Check]) -> Verdict:
    verdicts = {c.verdict for c in checks}
    return FAIL if FAIL in verdicts else INCONCLUSIVE if INCONCLUSIVE in verdicts else PASS
