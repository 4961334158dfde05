"""A gate that is looked at while its images come in, and when a line of it is settled.

A line's images are taken in visiting order, and each gives a difference between -1 and 1: how much more of it
the baseline has right, the mean over the conditions where the line has several. After every image there are
two doubts (`robobench.sequential.Doubt`): that the drop reaches the margin, and that there is none.

- *pass*: a drop of the margin or more is excluded.
- *fail*: that there is no drop is excluded, and the drop measured so far is at the margin or above.

Both hold however often one looks. A line with a drop that is certain, but so far measured as smaller than the
margin, stays open: more images may yet show that it passes. The looks have a fifth of alpha (`LOOKS`); the
other four fifths are for the tests at the end, where a line has all its images and none has settled it. So
looking and testing together err in at most alpha, and the last test has nearly the power that it would have
alone. Lines that fail are corrected over the lines by Bonferroni's method: the first line that fails decides
the gate, and for the first one Holm's asks the same.

The visiting order takes the classes in turn, so the first images have every class alike. Where the whole of
a line's images does not, as with one class of 5,000 and 99 of 50, they have another drop than those that
follow, and no sequence over them says anything of the whole: such a line is not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import Metric
from robobench.engine.stopping import is_share
from robobench.errors import RobobenchError
from robobench.leaderboard.board import BoardInput
from robobench.leaderboard.gate import FAIL, PASS, Verdict, tests_of
from robobench.leaderboard.gate_lines import SCORE, LineSpec, line_specs
from robobench.leaderboard.policy import Policy
from robobench.leaderboard.score import IMAGE, LABEL, Scale, Scaled, evaluate, size
from robobench.leaderboard.verdict import margin_in
from robobench.registry import build_formula, build_metric
from robobench.sequential import Doubt, signed_sequence
from robobench.types import Condition

Floats = NDArray[np.float64]
Orders = Mapping[str, tuple[str, ...]]  # data set: its images in visiting order

LOOKS = 0.2  # the part of alpha that the looks have


@dataclass
class Answers:
    """A condition's answers along the visiting order; NaN where there is none (yet), or it says nothing.

    seen: places that the candidate has answered, or that nobody can. goal: the places before which the
    baseline has answered all. even: whether every class has as many images before the goal, give or take one:
    then any stretch from the start has the class mix of the whole.
    """

    condition: str
    data: str
    places: Mapping[str, int]
    before: Floats
    after: Floats
    seen: NDArray[np.bool_]
    goal: int
    even: bool

    def learn(self, ids: Iterable[str], values: Floats) -> None:
        """The candidate's answers to some images."""
        at = _at(ids, self.places)
        self.after[at[at >= 0]] = values[at >= 0]
        self.seen[at[at >= 0]] = True

    @property
    def reach(self) -> int:
        """The places before which both have answered all."""
        lacking = np.flatnonzero(~self.seen[: self.goal])
        return int(lacking[0]) if lacking.size else self.goal


@dataclass
class Course:
    """A line on its way.

    parts: its conditions with their weights, positive where less is worse; none where the line is not looked
    at. total: the sum of the weights' sizes. drops: of the images so far, between -1 and 1. places: how far
    into the visiting order that is.
    """

    spec: LineSpec
    scale: Scaled
    parts: tuple[tuple[float, Answers], ...]
    alphas: tuple[float, float]  # of the looks: to pass, to fail
    places: int = 0
    drops: Floats = field(default_factory=lambda: np.zeros(0))
    verdict: Verdict | None = None
    _doubts: tuple[Doubt, Doubt] | None = None
    _most: list[float] = field(default_factory=lambda: [0.0, 0.0])  # of log W: margin, no drop

    def __post_init__(self) -> None:
        limit = self.margin / self.total if self.parts else 1.0
        if limit < 1:
            self._doubts = (Doubt(limit), Doubt(0.0))
        else:  # beyond what images can show
            self.parts = ()

    @property
    def margin(self) -> float:
        return margin_in(self.scale.unit, self.spec.margin)

    @property
    def total(self) -> float:
        return sum(abs(w) for w, _ in self.parts)

    @property
    def p(self) -> tuple[float, float]:
        """Of a drop of the margin or more, and of no drop, by the looks; below alpha is excluded."""
        tests = self.alphas[0] / self.alphas[1]
        to_pass, to_fail = (math.exp(-w) / LOOKS for w in self._most)
        return min(1.0, to_pass), min(1.0, tests * to_fail)

    def interval(self, level: float) -> tuple[float, float]:
        """Of the drop, right at every look."""
        low, high = signed_sequence(self.drops, level)
        return self.total * low, self.total * high

    def look(self, ends: Mapping[str, int] | None) -> None:
        """Look after every image that has come in. ends: how far into each data set; None for all."""
        if self.verdict is not None or not self.parts or self._doubts is None:
            return
        reach = min(a.reach if ends is None else min(a.reach, ends.get(a.data, 0)) for _, a in self.parts)
        if reach <= self.places:
            return
        here = slice(self.places, reach)
        values = np.stack([w * (a.before[here] - a.after[here]) for w, a in self.parts]) / self.total
        there = ~np.isnan(values)
        if (there.any(axis=0) != there.all(axis=0)).any():
            self.parts = ()  # undefined for some conditions only: no mean of images
            return
        known = there.all(axis=0)
        self._decide(values.sum(axis=0)[known], np.flatnonzero(known) + self.places + 1)
        if self.verdict is None:
            self.places = reach

    def _decide(self, drops: Floats, ends: NDArray[np.int64]) -> None:
        """Take note of further drops, up to the one that settles the line."""
        assert self._doubts is not None  # noqa: S101 - for the type
        of_margin, of_none = self._doubts[0].add(drops), self._doubts[1].add(-drops)
        n = self.drops.size + np.arange(1, drops.size + 1)
        measured = (self.drops.sum() + drops.cumsum()) / n
        passes = of_margin >= -math.log(self.alphas[0])
        fails = (of_none >= -math.log(self.alphas[1])) & (measured >= self._doubts[0].limit)
        hits = np.flatnonzero(passes | fails)
        last = int(hits[0]) if hits.size else drops.size - 1
        if hits.size:
            self.verdict = PASS if passes[last] else FAIL
            self.places = int(ends[last])
        self.drops = np.concatenate([self.drops, drops[: last + 1]])
        for i, log in enumerate((of_margin, of_none)):
            self._most[i] = max([self._most[i], *log[: last + 1].max(initial=0.0, keepdims=True)])


@dataclass
class Looks:
    """All lines of a gate on their way."""

    policy: Policy
    metric: Metric
    answers: Mapping[str, Answers]  # by condition
    courses: tuple[Course, ...]

    @classmethod
    def of(cls, baseline: BoardInput, orders: Orders, policy: Policy) -> Looks:
        """Before the candidate has answered anything. Raises RobobenchError for a metric that is no share."""
        suite, conditions = baseline.suite, tuple(c for c in baseline.conditions if not c.check)
        metric = share_of(suite.score.of)
        (model,) = baseline.models
        places = {data: {image: i for i, image in enumerate(order)} for data, order in orders.items()}
        answers = {}
        for c in conditions:
            rows = model.rows.get(c.name, {})
            ids = rows[IMAGE] if size(rows) else np.zeros(0, np.str_)
            values = np.asarray(evaluate(suite.score.of, metric, rows)) if size(rows) else np.zeros(0)
            answers[c.name] = _blank(c, places[c.data], ids, values, rows.get(LABEL), baseline)
        specs = line_specs(suite, conditions, policy)
        alphas = (LOOKS * policy.alpha, LOOKS * policy.alpha / tests_of(policy, len(specs)))
        courses = []
        for spec in specs:
            scale: Scaled = metric
            if spec.kind == SCORE:
                scale = Scale.of(build_formula(suite.score.formula), metric)
            weights = spec.weights(suite, conditions)
            sign = 1.0 if scale.higher_is_better else -1.0
            parts = [] if weights is None else [
                (sign * float(w), answers[c.name]) for w, c in zip(weights, conditions, strict=True) if w
            ]  # fmt: skip
            one_order = len({tuple(orders[a.data]) for _, a in parts}) == 1
            seen = one_order and all(a.even for _, a in parts)
            courses.append(Course(spec, scale, tuple(parts) if seen else (), alphas))
        return cls(policy, metric, answers, tuple(courses))

    @property
    def failed(self) -> bool:
        """Whether nothing can change the gate's verdict any more: a line has failed."""
        return any(c.verdict == FAIL for c in self.courses)

    @property
    def open(self) -> list[Course]:
        """The lines that no look has settled."""
        return [c for c in self.courses if c.verdict is None]

    def look(self, ends: Mapping[str, int] | None = None) -> None:
        """Look at every line; see `Course.look`."""
        for course in self.courses:
            course.look(ends)

    def enough(self, data: str, end: int) -> bool:
        """Whether no line needs images of a data set beyond this place. Floors are judged on all images.

        A line that is open asks for all images of all its conditions: it may come to the last test.
        """
        if self.failed:
            return True
        if self.policy.floors or any(not c.parts for c in self.open):
            return False
        return not any(a.data == data and a.goal > end for c in self.open for _, a in c.parts)


def share_of(name: str) -> Metric:
    """The metric of a score, where each image gives it a share. Raises RobobenchError."""
    metric: Metric = build_metric(name)
    if not is_share(metric):
        raise RobobenchError(
            f"a gate in sequence goes by shares of images such as accuracy.top1, and the score is made of "
            f"{name}: compute all images and use `robobench gate` without --sequential"
        )
    return metric


def _blank(
    condition: Condition, places: Mapping[str, int], ids: NDArray[np.str_], values: Floats,
    labels: NDArray[Any] | None, baseline: BoardInput,
) -> Answers:  # fmt: skip
    n = len(places)
    before, there = np.full(n, np.nan), np.zeros(n, bool)
    at = _at(ids, places)
    before[at[at >= 0]] = values[at >= 0]
    there[at[at >= 0]] = True
    gone = next((d.excluded for d in baseline.suite.data if d.name == condition.data), ())
    nobody = _at(gone, places)
    last = int(np.flatnonzero(there)[-1]) + 1 if there.any() else 0
    there[nobody[nobody >= 0]] = True
    lacking = np.flatnonzero(~there)
    goal = min(last, int(lacking[0]) if lacking.size else n)
    seen = np.zeros(n, bool)
    seen[nobody[nobody >= 0]] = True
    even = _even(labels, (at >= 0) & (at < goal))
    return Answers(condition.name, condition.data, places, before, np.full(n, np.nan), seen, goal, even)


def _even(labels: NDArray[Any] | None, among: NDArray[np.bool_]) -> bool:
    """Whether every class has as many of some images, give or take one. No: nobody knows the classes."""
    if labels is None:
        return not among.any()
    _, counts = np.unique(labels[among], return_counts=True)
    return not counts.size or int(np.ptp(counts)) <= 1


def _at(ids: Iterable[str], places: Mapping[str, int]) -> NDArray[np.int64]:
    return np.array([places.get(str(i), -1) for i in ids], np.int64)
