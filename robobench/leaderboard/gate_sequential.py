"""A gate that may be settled before all images are computed: the looks first, then what they left open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from robobench.errors import RobobenchError
from robobench.leaderboard.board import BoardInput
from robobench.leaderboard.gate import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    Check,
    Report,
    Verdict,
    check_protocol,
    floors,
    judged_lines,
    paired_work,
    report_of,
    tests_of,
)
from robobench.leaderboard.gate_lines import CONDITION, SCORE
from robobench.leaderboard.looks import LOOKS, Course, Looks, Orders
from robobench.leaderboard.policy import Policy
from robobench.leaderboard.score import IMAGE, evaluate, size
from robobench.registry import build_formula
from robobench.stats import LEVEL, RESAMPLES
from robobench.types import Condition

Floats = NDArray[np.float64]


def gate_in_sequence(
    baseline: BoardInput, candidate: BoardInput, orders: Orders, policy: Policy, resamples: int = RESAMPLES
) -> Report:
    """Judge a candidate whose run may have ended as soon as its gate was settled.

    orders: the images of each data set in visiting order. A line that no look settles is tested once it has
    all its images, as in `robobench.leaderboard.gate`, with the part of alpha that the looks leave. p-values
    are those of both, each divided by its part, so that alpha is what they are held against. Where a line
    fails on the way the others stay as they are, and floors are not judged.

    Raises RobobenchError when the two were not made under one protocol, for a score that is no share of
    images, and where the rows neither settle the gate nor are all there.
    """
    check_protocol(baseline, candidate)
    looks = Looks.of(baseline, orders, policy)
    (model,) = candidate.models
    for name, answers in looks.answers.items():
        rows = model.rows.get(name, {})
        if size(rows):
            answers.learn(rows[IMAGE], np.asarray(evaluate(baseline.suite.score.of, looks.metric, rows)))
    looks.look()
    conditions = tuple(c for c in baseline.conditions if not c.check)
    seen = [_looked(c, baseline, conditions) for c in looks.courses]
    if looks.failed or not (looks.open or policy.floors):
        return report_of(baseline, candidate, policy, tuple(seen), sequential=True)
    _check_complete(looks, candidate, conditions)
    work, _ = paired_work(baseline, candidate, resamples)
    alpha = (1 - LOOKS) * policy.alpha
    whole = tuple(judged_lines(work, policy, [c.spec for c in looks.courses], alpha))
    checks = tuple(_ended(*line, policy, len(whole)) for line in zip(looks.courses, seen, whole, strict=True))
    return report_of(
        baseline, candidate, policy, (*checks, *floors(whole, policy)), sequential=True
    )  # fmt: skip


def _looked(course: Course, baseline: BoardInput, conditions: Sequence[Condition]) -> Check:
    """A line as the looks have left it."""
    n, unit = course.drops.size, course.scale.unit
    values = np.stack([_shares(course, conditions, who) for who in ("before", "after")])
    if course.spec.kind == SCORE:
        values = build_formula(baseline.suite.score.formula)(values, conditions)
    else:
        values = values[:, list(course.spec.places)].mean(axis=1)
    low, high = course.interval(LEVEL) if n else (math.nan, math.nan)
    sign = 1.0 if course.scale.higher_is_better else -1.0
    before, after = (float(v) if n else math.nan for v in values)
    p_pass, p_fail = course.p
    return Check(
        course.spec.kind, course.spec.name, unit, n, before, after, sign * (before - after), low, high,
        margin=course.margin, p_pass=p_pass, p_fail=p_fail, power=math.nan,
        verdict=course.verdict or INCONCLUSIVE,
        changed=int((course.drops != 0).sum()) if course.spec.kind == CONDITION else None,
        settled=n if course.verdict else None,
        higher_is_better=course.scale.higher_is_better,
    )  # fmt: skip


def _shares(course: Course, conditions: Sequence[Condition], who: str) -> Floats:
    """The mean of each of a line's conditions over the images that it was looked at with; 0 for others."""
    out = np.zeros(len(conditions))
    where = {c.name: i for i, c in enumerate(conditions)}
    for _, answers in course.parts:
        values = getattr(answers, who)[: course.places]
        if not np.isnan(values).all():
            out[where[answers.condition]] = np.nanmean(values)
    return out


def _check_complete(looks: Looks, candidate: BoardInput, conditions: Sequence[Condition]) -> None:
    """What no look has settled is tested on all images, or not at all."""
    wanted = looks.courses if looks.policy.floors else looks.open
    for name in sorted(_conditions(wanted, conditions)):
        answers = looks.answers[name]
        if answers.reach < answers.goal or not answers.goal:
            raise RobobenchError(
                f"the images so far do not settle the gate, and the candidate {candidate.models[0].name} has "
                f"those of {name!r} only up to place {answers.reach:,} of {answers.goal:,}: finish its run, "
                f"with `robobench run {candidate.suite.name} --against BASELINE`"
            )


def _conditions(courses: Sequence[Course], conditions: Sequence[Condition]) -> set[str]:
    """The names of the conditions that some lines go by."""
    looked_at = {a.condition for c in courses for _, a in c.parts}
    return looked_at | {conditions[i].name for c in courses for i in c.spec.places}


def _ended(course: Course, seen: Check, whole: Check, policy: Policy, lines: int) -> Check:
    """A line with all its images: as a look has settled it, or by the last test."""
    if course.verdict is not None:
        return seen
    left = 1 - LOOKS
    p_pass = min(seen.p_pass, whole.p_pass / left)
    p_fail = min(seen.p_fail, tests_of(policy, lines) * whole.p_fail / left)
    verdict: Verdict = PASS if p_pass < policy.alpha else FAIL if p_fail < policy.alpha else INCONCLUSIVE
    return replace(whole, p_pass=p_pass, p_fail=p_fail, verdict=verdict)
