"""Two models on the images that both have answered: which is better, where, and by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import Metric
from robobench.engine.differences import differences
from robobench.engine.record import RunRecord, read_run
from robobench.errors import RobobenchError, UnknownName, nearest
from robobench.leaderboard.board import BoardInput, ModelInput, ScoreSpec, SummarySpec
from robobench.leaderboard.collect import collect, newest_run
from robobench.leaderboard.common import rows_in_common
from robobench.leaderboard.kin import distinct
from robobench.leaderboard.score import IMAGE, Resampling, Scale, evaluate, paired_shares, size
from robobench.leaderboard.text import listed
from robobench.leaderboard.verdict import (
    Evidence,
    Line,
    Subject,
    judge,
    of_samples,
    of_shares,
)
from robobench.leaderboard.work import Work
from robobench.registry import build_formula
from robobench.stats import LEVEL, RESAMPLES
from robobench.store import Store

Floats = NDArray[np.float64]

MARGIN = 0.01


@dataclass(frozen=True)
class Comparison:
    """Two models of a suite, line by line.

    score: the suite's own number; None where it is undefined, because a condition is missing. summaries:
    its further numbers; conditions: `metric` under each condition. margin: the difference that does not
    matter, as a share. skipped: what could not be compared, and why.
    """

    suite: str
    title: str
    fingerprint: str
    first: str
    second: str
    metric: str
    margin: float
    level: float
    resamples: int
    score_name: str
    score: Line | None
    summaries: tuple[Line, ...]
    conditions: tuple[Line, ...]
    skipped: Mapping[str, str]


def stored_pair(store: Store, first: str, second: str, suite: str | None = None) -> BoardInput:
    """What the newest run of a suite holds of two models; without a suite, of the newest run with both.

    Raises UnknownName for a model that is not there, and RobobenchError for two that no run has together.
    """
    if first == second:
        raise RobobenchError(f"{first} is compared with itself: name two different models")
    record = _run_of(store, (first, second), suite)
    pair = tuple(m for name in (first, second) for m in record.models if m.name == name)
    return collect(replace(record, models=pair), store)


def _run_of(store: Store, names: tuple[str, str], suite: str | None) -> RunRecord:
    """The newest run that has both models."""
    newest_run(store, suite)  # raises where there is none
    runs = [read_run(store.root, r) for r in reversed(store.runs()) if suite in (None, r["suite"])]
    for record in runs:
        if set(names) <= _names(record):
            return record
    for name in names:
        known = set().union(*(_names(r) for r in runs))
        if name not in known:
            where = "any suite" if suite is None else f"suite {suite!r}"
            raise UnknownName(f"{store.root}: no model {name!r} in a run of {where}; {nearest(name, known)}")
    raise RobobenchError(f"{store.root}: {_apart(names, runs)}")


def _apart(names: tuple[str, str], runs: Sequence[RunRecord]) -> str:
    """Why two models that are known cannot be compared: no run has both."""
    homes = [{r.suite: r.fingerprint for r in reversed(runs) if name in _names(r)} for name in names]
    shared = next((suite for suite in homes[0] if suite in homes[1]), None)
    if shared is None:
        found = [f"{name} in {listed(sorted(home))}" for name, home in zip(names, homes, strict=True)]
        return f"no suite has both models, only {' and '.join(found)}: run both in one suite"
    return (
        f"{names[0]} was run under the fingerprint {homes[0][shared]} of suite {shared!r} and {names[1]} "
        f"under {homes[1][shared]}, so their answers are no pairs. The first field that differs, in the one "
        f"and the other: {_field(names, runs, shared)}. Run both again with `robobench run {shared}`"
    )


def _field(names: tuple[str, str], runs: Sequence[RunRecord], suite: str) -> str:
    """The first field in which the newest runs of two models differ."""
    one, two = (next(r for r in runs if r.suite == suite and name in _names(r)) for name in names)
    return next((str(d) for d in differences(one, two) if d.protocol), "the fingerprint")


def _names(record: RunRecord) -> set[str]:
    return {m.name for m in record.models}


def compare(
    board: BoardInput,
    *,
    margin: float = MARGIN,
    metric: str | None = None,
    resamples: int = RESAMPLES,
) -> Comparison:
    """The two models of a board, paired image by image.

    metric: what the conditions are compared in, by default what the score is made of. Right and wrong
    answers go by the exact McNemar test and the score interval of a paired difference; all other numbers
    by their difference on the same resampled images. Raises RobobenchError when the models have no image
    in common, UnknownName and StoreError for a metric that cannot be had.
    """
    suite = board.suite
    board, skipped = pair_on_common_images(board)
    first, second = board.models
    resampling = Resampling(suite.seed, resamples)
    work = Work.of(replace(board, suite=replace(suite, metrics=())), resampling)
    of = metric or suite.score.of
    lines = judge(_conditions(_work_of(work, of), of, margin, skipped))
    score = _number(work, suite.score, margin)
    further = [_number(work, s, margin) for s in suite.summaries]
    return Comparison(
        suite=suite.name,
        title=suite.title,
        fingerprint=suite.fingerprint,
        first=first.name,
        second=second.name,
        metric=of,
        margin=margin,
        level=LEVEL,
        resamples=resamples,
        score_name=suite.score.name,
        score=judge([score])[0] if score else None,
        summaries=judge([e for e in further if e]),
        conditions=lines,
        skipped=skipped,
    )


def _work_of(work: Work, metric: str) -> Work:
    """The same images with a metric's values."""
    if metric in work.values:
        return work
    suite = work.board.suite
    alone = replace(suite, score=replace(suite.score, of=metric), summaries=())
    return Work.of(replace(work.board, suite=alone), work.resampling)


def pair_on_common_images(board: BoardInput) -> tuple[BoardInput, dict[str, str]]:
    """The board with the rows of images that both models have, and the conditions without any."""
    conditions = tuple(c for c in board.conditions if not c.check)
    one, two = board.models
    rows = rows_in_common((one, two), conditions)
    skipped = {c.name: _lacking(one, two, c.name) for c in conditions if c.name not in rows[0]}
    if not any(rows):
        raise RobobenchError(
            f"{one.name} and {two.name} have no image of suite {board.suite.name!r} in common under any "
            f"condition: run both on the same images with `robobench run {board.suite.name}`"
        )
    models = tuple(replace(m, rows=r) for m, r in zip((one, two), rows, strict=True))
    expected = {c.name: int(rows[0].get(c.name, {}).get(IMAGE, np.zeros(0)).size) for c in conditions}
    return replace(board, conditions=conditions, models=models, expected=expected), skipped


def _lacking(one: ModelInput, two: ModelInput, condition: str) -> str:
    without = [m.name for m in (one, two) if not size(m.rows.get(condition, {}))]
    return f"no rows of {' and '.join(without)}" if without else "no image in common"


def _conditions(work: Work, of: str, margin: float, skipped: dict[str, str]) -> list[Evidence]:
    """The metric under each condition that both models have answered."""
    metric, found = work.metrics[of], []
    for i, condition in enumerate(work.board.conditions):
        if condition.name in skipped:
            continue
        evidence = _cell(work, i, of, metric, margin)
        if evidence is None:
            skipped[condition.name] = f"{of} is undefined there"
        else:
            found.append(evidence)
    return found


def _cell(work: Work, place: int, of: str, metric: Metric, margin: float) -> Evidence | None:
    name = work.board.conditions[place].name
    values = work.values[of][:, :, place]
    if not np.isfinite(values[0]).all():
        return None
    pair = [work.rows[m][place] for m in (0, 1)]
    if not getattr(metric, "with_clean", False):
        shares = paired_shares(metric, *(evaluate(of, metric, rows) for rows in pair))
        if shares is not None:
            one, two = shares
            subject = Subject(name, of, metric, one.size, float(one.mean()), float(two.mean()))
            return of_shares(subject, int((one > two).sum()), int((two > one).sum()), margin)
    subject = Subject(name, of, metric, int(pair[0][IMAGE].size), float(values[0, 0]), float(values[0, 1]))
    return of_samples(subject, values[1:, 0] - values[1:, 1], margin)


def _number(work: Work, spec: ScoreSpec | SummarySpec, margin: float) -> Evidence | None:
    """A formula over many conditions; None where it is undefined."""
    board = work.board
    formula = build_formula(spec.formula)
    totals = np.stack([formula(work.values[spec.of][:, m], board.conditions) for m in (0, 1)], axis=1)
    if not np.isfinite(totals[0]).all():
        return None
    scored = [i for i, c in enumerate(board.conditions) if not c.clean]
    n = distinct([(work.kin[board.conditions[i].data], work.rows[0][i]) for i in scored])
    scale = Scale.of(formula, work.metrics[spec.of])
    subject = Subject(spec.name, spec.of, scale, n, float(totals[0, 0]), float(totals[0, 1]))
    return of_samples(subject, totals[1:, 0] - totals[1:, 1], margin)
