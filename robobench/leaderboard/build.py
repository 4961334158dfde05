"""Scores of many models -> a leaderboard: composites, ranks with ties, coverage, what to beware of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import Formula, Metric
from robobench.errors import RobobenchError
from robobench.keys import canonical
from robobench.leaderboard.beside import beside_clean, originals
from robobench.leaderboard.board import (
    BoardInput,
    Entry,
    Failure,
    Ladder,
    Leaderboard,
    Level,
    Measured,
    ModelInput,
)
from robobench.leaderboard.health import examine, flags
from robobench.leaderboard.score import (
    IMAGE,
    Resampling,
    Scale,
    Scaled,
    Sorter,
    build_metrics,
    composite,
    sample_cells,
    score_cells,
    size,
)
from robobench.leaderboard.text import listed
from robobench.registry import formulas
from robobench.specs import public_path
from robobench.stats import LEVEL, RESAMPLES, better, rank_ranges, tie_groups
from robobench.types import CLEAN, Condition, Json, Rows, Score, Step

Floats = NDArray[np.float64]
_ANSWER = "top1"  # -1 in a row whose logits are not finite


def build(board: BoardInput, *, resamples: int = RESAMPLES, level: float = LEVEL) -> Leaderboard:
    """Rank models by their composite score.

    Only models with all rows of all conditions and a defined score are ranked. Two of them are told apart
    when their difference is clear on the same resampled images (`robobench.stats.better`). Raises
    RobobenchError when two models share a name and StoreError when a metric's column is nowhere.
    """
    _check(board)
    whole, board = board, replace(board, conditions=tuple(c for c in board.conditions if not c.check))
    resampling = Resampling(board.suite.seed, resamples, level)
    work = _Work.of(board, resampling)
    entries = [_with_health(work.entry(i), whole, i, resampling) for i in range(len(board.models))]
    sign = 1.0 if work.scale.higher_is_better else -1.0
    samples = {e.name: work.totals(i)[1:] * sign for i, e in enumerate(entries)}
    able = [e for e in entries if not e.missing and not np.isnan(e.score.value)]
    able.sort(key=lambda e: (-sign * e.score.value, e.name))
    rest = sorted((e for e in entries if e not in able), key=lambda e: e.name)
    return Leaderboard(
        suite=board.suite,
        references=tuple(_level(c, board) for c in board.conditions if c.clean),
        ladders=_ladders(board),
        entries=(*_ranked(able, samples, sign, level), *rest),
        failures=tuple(
            Failure(m.name, f.condition, len(f.ids), f.reason, f.hint, f.unsupported)
            for m in board.models
            for f in m.failures
        ),
        level=level,
        resamples=resamples,
        higher_is_better=work.scale.higher_is_better,
    )


def _with_health(entry: Entry, whole: BoardInput, model: int, resampling: Resampling) -> Entry:
    """A model's line with what is to be thought of the attacks on it."""
    sort = Sorter()
    rows = {name: sort(values) for name, values in whole.models[model].rows.items() if "fooled" in values}
    health = examine(whole.conditions, rows, resampling)
    return replace(entry, health=health, flags=(*entry.flags, *flags(health)))


@dataclass(frozen=True)
class _Work:
    """A board's rows in place, with what has been computed of them once.

    kin: for each data set the first one that has images in common with it, see `_kin`. values: (1 + r,
    models, conditions) of the composite's metric, the first on the images themselves and the others on
    resampled ones; NaN where a cell is not complete.
    """

    board: BoardInput
    resampling: Resampling
    metric: Metric
    formula: Formula
    scale: Scale  # of the composite
    kin: Mapping[str, str]
    rows: tuple[tuple[Rows, ...], ...]  # [model][condition], empty where there are none
    measured: tuple[tuple[Measured, ...], ...]
    values: Floats

    @classmethod
    def of(cls, board: BoardInput, resampling: Resampling) -> _Work:
        metrics = build_metrics((*board.suite.metrics, board.suite.score.of))
        needs = {c for m in metrics.values() for c in m.needs}
        sort = Sorter(frozenset([_ANSWER, *needs, *originals(needs)]))
        rows = tuple(
            _beside(board, [sort(model.rows.get(c.name, {})) for c in board.conditions], originals(needs))
            for model in board.models
        )
        metric = metrics[board.suite.score.of]
        formula = formulas.build(board.suite.score.formula)
        kin = _kin(board.conditions, rows)
        measured = _measure(board, rows, metrics, resampling)
        values = _values(board, rows, measured, metric, resampling, kin)
        scale = Scale.of(formula, metric)
        return cls(board, resampling, metric, formula, scale, kin, rows, measured, values)

    def totals(self, model: int) -> Floats:
        """(1 + r,) composite of a model."""
        return self.formula(self.values[:, model], self.board.conditions)

    def entry(self, model: int) -> Entry:
        given = self.board.models[model]
        spec = self.board.suite.score
        conditions = self.board.conditions
        scored = [i for i, c in enumerate(conditions) if not c.clean]
        totals = self.totals(model)
        return Entry(
            name=given.name,
            family=given.family,
            parameters=given.parameters,
            citation=given.citation,
            weights=given.weights,
            provenance=dict(given.provenance),
            rank=None,
            ties=(),
            score=self._composite(spec.name, self.scale, totals, model, scored),
            cells={c.name: self.measured[model][i] for i, c in enumerate(conditions)},
            ladders={name: self._ladder(model, levels) for name, levels in _by_ladder(conditions).items()},
            flags=_flags(given, conditions, self.rows[model], self.measured[model], spec.of),
        )

    def _ladder(self, model: int, levels: Sequence[int]) -> Score:
        """A ladder's value: the mean of its levels, or simply its only level."""
        if len(levels) == 1 and self.measured[model][levels[0]].complete:
            return self.measured[model][levels[0]].score(self.board.suite.score.of)
        totals = self.values[:, model, list(levels)].mean(axis=1)
        return self._composite(self.board.suite.score.of, self.metric, totals, model, levels)

    def _composite(self, name: str, scale: Scaled, totals: Floats, model: int, cells: Sequence[int]) -> Score:
        images = _distinct([(self.kin[self.board.conditions[i].data], self.rows[model][i]) for i in cells])
        return composite(name, scale, float(totals[0]), totals[1:], images, self.resampling.level)


def _measure(
    board: BoardInput,
    rows: tuple[tuple[Rows, ...], ...],
    metrics: Mapping[str, Metric],
    resampling: Resampling,
) -> tuple[tuple[Measured, ...], ...]:
    """Every cell's scores, and its clean images' where they are a part of all clean images."""
    flat = [cell for model in rows for cell in model]
    table = {
        name: score_cells(name, metric, _usable(flat, metric), resampling) for name, metric in metrics.items()
    }
    of = board.suite.score.of
    part = {
        (m, c): _same_images(board, rows[m], c)
        for m in range(len(rows))
        for c in range(len(board.conditions))
    }
    wanted = {k: v for k, v in part.items() if size(v)}
    clean = dict(zip(wanted, score_cells(of, metrics[of], list(wanted.values()), resampling), strict=True))
    width = len(board.conditions)
    return tuple(
        tuple(
            Measured(
                scores=tuple(table[name][m * width + c] for name in metrics),
                present=size(rows[m][c]),
                expected=board.expected[condition.name],
                clean=clean.get((m, c)),
            )
            for c, condition in enumerate(board.conditions)
        )
        for m in range(len(rows))
    )


def _values(
    board: BoardInput,
    rows: tuple[tuple[Rows, ...], ...],
    measured: tuple[tuple[Measured, ...], ...],
    metric: Metric,
    resampling: Resampling,
    kin: Mapping[str, str],
) -> Floats:
    """The composite's metric of every complete cell: (1 + r, models, conditions)."""
    models, of = len(rows), board.suite.score.of
    out = np.full((1 + resampling.count, models, len(board.conditions)), np.nan)
    for data in dict.fromkeys(kin.values()):
        places = [i for i, c in enumerate(board.conditions) if kin[c.data] == data]
        cells = [
            rows[m][i] if measured[m][i].complete and set(metric.needs) <= set(rows[m][i]) else {}
            for m in range(models)
            for i in places
        ]
        ids = _union([cell[IMAGE] for cell in cells if size(cell)])
        if not ids.size:
            continue
        samples = sample_cells(of, metric, cells, ids, resampling.weights(ids.size, data))
        out[1:, :, places] = samples.reshape(-1, models, len(places))
    for m, cells_of in enumerate(measured):
        for i, cell in enumerate(cells_of):
            out[0, m, i] = cell.score(of).value if cell.complete else np.nan
    return out


def _beside(board: BoardInput, rows: Sequence[Rows], columns: Collection[str]) -> tuple[Rows, ...]:
    """A model's rows by condition, with the clean values of some columns; of a clean cell its own."""
    if not columns:
        return tuple(rows)
    place = {c.name: i for i, c in enumerate(board.conditions)}
    found = []
    for own, condition in zip(rows, board.conditions, strict=True):
        other = condition.name if condition.clean else _compared_with(condition, board)
        found.append(beside_clean(own, {} if other is None else rows[place[other]], columns))
    return tuple(found)


def _usable(cells: Sequence[Rows], metric: Metric) -> list[Rows]:
    """Cells without the metric's columns count as empty, unless all are like that (then it raises)."""
    having = [set(metric.needs) <= set(rows) for rows in cells]
    if not any(having):
        return list(cells)
    return [rows if has else {} for rows, has in zip(cells, having, strict=True)]


def _same_images(board: BoardInput, rows: Sequence[Rows], place: int) -> Rows:
    """The clean rows of a condition's images, when they are fewer than all clean ones; else no rows."""
    other = _compared_with(board.conditions[place], board)
    at = next((i for i, c in enumerate(board.conditions) if c.name == other), place)
    own, clean = rows[place], rows[at]
    if at == place or board.conditions[at].data != board.conditions[place].data:
        return {}
    if not size(own) or not size(clean) or np.array_equal(own[IMAGE], clean[IMAGE]):
        return {}
    kept = np.isin(clean[IMAGE], own[IMAGE])
    if int(kept.sum()) != size(own):
        return {}
    return {k: v[kept] for k, v in clean.items()}


def _compared_with(condition: Condition, board: BoardInput) -> str | None:
    """The clean condition that a condition is set against.

    On the same images where there is one; for a shift the companion under its read-out, or the base
    where both have the same label space; None for a shift that shares nothing with the base.
    """
    if condition.clean:
        return None
    if condition.name in board.compare:
        return board.compare[condition.name]
    clean = [c for c in board.conditions if c.clean]
    space = {d.name: d.label_space for d in board.suite.data}
    own = space.get(condition.data)
    near = [c for c in clean if c.data == condition.data]
    near += [c for c in clean if own is not None and c.name == f"{CLEAN}@{own}"]
    near += [c for c in clean if own is not None and not c.companion and space.get(c.data) == own]
    return near[0].name if near else None


def _ranked(
    able: Sequence[Entry], samples: Mapping[str, Floats], sign: float, level: float
) -> tuple[Entry, ...]:
    """Entries from best to worst with the ranks they may hold and the ties they are in."""
    if not able:
        return ()
    above = better(
        np.array([sign * e.score.value for e in able]),
        np.stack([samples[e.name] for e in able], axis=1),
        images=min(e.score.n for e in able),
        level=level,
    )
    groups = [members for members in tie_groups(above) if len(members) > 1]
    return tuple(
        replace(e, rank=rank, ties=tuple(_letter(g) for g, members in enumerate(groups) if i in members))
        for i, (e, rank) in enumerate(zip(able, rank_ranges(above), strict=True))
    )


def _letter(index: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    text = chr(ord("a") + index % 26)
    return text if index < 26 else _letter(index // 26 - 1) + text


def _flags(
    given: ModelInput,
    conditions: Sequence[Condition],
    rows: Sequence[Rows],
    cells: Sequence[Measured],
    of: str,
) -> tuple[str, ...]:
    """What a reader should know before believing a model's numbers."""
    flags = list(given.warnings)
    broken = [
        f"{condition.name} ({lost} of {size(own)} images)"
        for condition, own in zip(conditions, rows, strict=True)
        if (lost := int((own[_ANSWER] < 0).sum()) if _ANSWER in own else 0)
    ]
    if broken:
        flags.append(f"has logits that are not finite, counted as errors: {listed(broken)}")
    if given.clean_accuracy is not None and of == "accuracy.top1":
        clean = next((s.score(of) for c, s in zip(conditions, cells, strict=True) if c.clean), None)
        if clean is not None and not clean.low <= given.clean_accuracy <= clean.high and clean.n:
            flags.append(
                f"has a clean accuracy of {clean.value:.1%} [{clean.low:.1%}, {clean.high:.1%}] but "
                f"{given.clean_accuracy:.1%} is reported for it"
            )
    return tuple(flags)


def _by_ladder(conditions: Sequence[Condition]) -> dict[str, list[int]]:
    """Which conditions each ladder has; clean ones and companions are in none."""
    found: dict[str, list[int]] = {}
    for i, condition in enumerate(conditions):
        if not condition.clean:
            found.setdefault(condition.ladder, []).append(i)
    return found


def _ladders(board: BoardInput) -> tuple[Ladder, ...]:
    return tuple(
        Ladder(
            name, board.conditions[places[0]].along, tuple(_level(board.conditions[i], board) for i in places)
        )
        for name, places in _by_ladder(board.conditions).items()
    )


def _level(condition: Condition, board: BoardInput) -> Level:
    return Level(
        condition=condition.name,
        label=_label(condition.level) if condition.along is not None else "",
        data=condition.data,
        expected=board.expected[condition.name],
        steps=tuple(_step(s, condition.along) for s in condition.steps),
        compared_with=_compared_with(condition, board),
        yardstick=board.yardsticks.get(condition.name),
        source=board.sources.get(condition.name),
    )


def _label(level: Json) -> str:
    return level if isinstance(level, str) else canonical(level)


def _step(step: Step, along: str | None) -> str:
    """A step as the protocol shows it, without the parameter that its ladder varies."""
    values = ", ".join(f"{k}: {public_path(_label(v))}" for k, v in step.params.items() if k != along)
    return f"{step.name} v{step.version}" + (f" ({values})" if values else "")


def _union(ids: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """All distinct ids, sorted."""
    different: list[NDArray[Any]] = []
    for some in ids:
        if not any(some is d or np.array_equal(some, d) for d in different[-2:]):
            different.append(some)
    if len(different) == 1:
        return different[0]
    return np.unique(np.concatenate(different)) if different else np.zeros(0, np.str_)


def _kin(conditions: Sequence[Condition], rows: Sequence[Sequence[Rows]]) -> dict[str, str]:
    """For each data set the first one that it has images in common with, directly or through others.

    A stored corrupted set shows the clean images again, at every severity. Such sets are resampled
    together: drawn apart, their errors would seem independent and a mean over them far too certain.
    """
    groups: dict[str, tuple[list[str], NDArray[Any]]] = {}
    for data in dict.fromkeys(c.data for c in conditions):
        here = [i for i, c in enumerate(conditions) if c.data == data]
        ids = _union([of[i][IMAGE] for of in rows for i in here if size(of[i])])
        near = [first for first, (_, theirs) in groups.items() if _overlap(ids, theirs)]
        merged = [groups.pop(first) for first in near]
        members = [name for names, _ in merged for name in names]
        groups[near[0] if near else data] = ([*members, data], _union([*(i for _, i in merged), ids]))
    return {name: first for first, (names, _) in groups.items() for name in names}


def _overlap(one: NDArray[Any], two: NDArray[Any]) -> bool:
    """Whether two sorted lists of ids have one in common."""
    same = one is two or np.array_equal(one, two)  # the usual case, without a sort
    return bool(one.size) if same else bool(np.intersect1d(one, two, assume_unique=True).size)


def _distinct(cells: Sequence[tuple[str, Rows]]) -> int:
    """How many images are behind some cells, an image of two unrelated data sets counted twice."""
    sets = {data for data, _ in cells}
    return sum(_union([r[IMAGE] for d, r in cells if d == data and size(r)]).size for data in sets)


def _check(board: BoardInput) -> None:
    names = [m.name for m in board.models]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise RobobenchError(
            f"two models of suite {board.suite.name!r} are called {twice[0]!r}: give one of them another name"
        )
    if not any(c.clean for c in board.conditions):
        raise RobobenchError(f"suite {board.suite.name!r} has no clean condition to compare with")
