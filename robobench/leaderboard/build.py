"""Scores of many models -> a leaderboard: composites, ranks with ties, coverage, what to beware of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import Formula
from robobench.errors import RobobenchError
from robobench.keys import canonical
from robobench.leaderboard.board import (
    BoardInput,
    Entry,
    Failure,
    Gallery,
    Ladder,
    Leaderboard,
    Level,
    Measured,
    ModelInput,
    ScoreSpec,
    SummarySpec,
)
from robobench.leaderboard.common import on_common_images
from robobench.leaderboard.curves import first_drops
from robobench.leaderboard.health import examine, flags
from robobench.leaderboard.hurt import Answered, answered, hurt_classes, hurt_images
from robobench.leaderboard.kin import distinct
from robobench.leaderboard.score import Resampling, Scale, Scaled, Sorter, composite, size
from robobench.leaderboard.text import listed
from robobench.leaderboard.work import ANSWER, Work, compared_with
from robobench.registry import build_formula
from robobench.specs import public_path
from robobench.stats import LEVEL, RESAMPLES, better, rank_ranges, tie_groups
from robobench.types import Condition, Json, Rows, Score, Step

Floats = NDArray[np.float64]


def build(board: BoardInput, *, resamples: int = RESAMPLES, level: float = LEVEL) -> Leaderboard:
    """Rank models by their composite score.

    Only models with all rows of all conditions and a defined score are ranked. Two of them are told apart
    when their difference is clear on the same resampled images (`robobench.stats.better`). Where some have
    stopped early, ranks go by the images that all ranked models have, and scores by each model's own.
    Raises RobobenchError when two models share a name and StoreError when a metric's column is nowhere.
    """
    _check(board)
    whole, board = board, replace(board, conditions=tuple(c for c in board.conditions if not c.check))
    resampling = Resampling(board.suite.seed, resamples, level)
    work = Work.of(board, resampling)
    composer = _Composer.of(work)
    entries = [_with_health(composer.entry(i), whole, i, resampling) for i in range(len(board.models))]
    scale = composer.scale
    sign = 1.0 if scale.higher_is_better else -1.0
    able = [e for e in entries if not e.missing and not np.isnan(e.score.value)]
    standings = _standings(composer, entries, able, sign)
    rest = sorted((e for e in entries if e not in able), key=lambda e: e.name)
    found = answered(board)
    return Leaderboard(
        suite=board.suite,
        references=tuple(_level(c, board) for c in board.conditions if c.clean),
        ladders=_ladders(board),
        entries=(*_ranked(able, standings, level), *rest),
        failures=tuple(
            Failure(m.name, f.condition, len(f.ids), f.reason, f.hint, f.unsupported)
            for m in board.models
            for f in m.failures
        ),
        level=level,
        resamples=resamples,
        higher_is_better=scale.higher_is_better,
        classes=() if found is None else hurt_classes(found, level),
        gallery=_gallery(board, found),
    )


def _gallery(board: BoardInput, found: Answered | None) -> Gallery | None:
    """The most hurt images with what pictures there are; none where no image may be shown."""
    if found is None or board.pictures is None:
        return None
    png = board.pictures.png
    among, conditions, images = hurt_images(found)
    with_pictures = (
        replace(
            i,
            clean=png.get((i.image, found.clean.name), ""),
            changed=png.get((i.image, i.condition), ""),
        )
        for i in images
    )
    return Gallery(tuple(with_pictures), among, conditions, board.pictures.credit)


def _with_health(entry: Entry, whole: BoardInput, model: int, resampling: Resampling) -> Entry:
    """A model's line with what is to be thought of the attacks on it."""
    sort = Sorter()
    rows = {name: sort(values) for name, values in whole.models[model].rows.items() if "fooled" in values}
    health = examine(whole.conditions, rows, resampling)
    return replace(entry, health=health, flags=(*entry.flags, *flags(health)))


@dataclass(frozen=True)
class _Composer:
    """Makes a model's line: what the suite's formulas say of its cells."""

    work: Work
    formulas: Mapping[str, Formula]  # by the name of the number

    @classmethod
    def of(cls, work: Work) -> _Composer:
        suite = work.board.suite
        specs: tuple[ScoreSpec | SummarySpec, ...] = (suite.score, *suite.summaries)
        return cls(work, {s.name: build_formula(s.formula) for s in specs})

    @property
    def scale(self) -> Scale:
        """How the score is read."""
        return self._scale(self.work.board.suite.score)

    def totals(self, model: int) -> Floats:
        """(1 + r,) score of a model."""
        return self._totals(self.work.board.suite.score, model)

    def entry(self, model: int) -> Entry:
        board, work = self.work.board, self.work
        given, conditions, of = board.models[model], board.conditions, board.suite.score.of
        return Entry(
            name=given.name,
            family=given.family,
            parameters=given.parameters,
            citation=given.citation,
            weights=given.weights,
            provenance=dict(given.provenance),
            rank=None,
            ties=(),
            score=self._number(board.suite.score, model),
            summaries=tuple(self._number(s, model) for s in board.suite.summaries),
            cells={c.name: work.measured[model][i] for i, c in enumerate(conditions)},
            ladders={name: self._ladder(model, levels) for name, levels in _by_ladder(conditions).items()},
            flags=_flags(given, conditions, work.rows[model], work.measured[model], of),
            drops={k: v for k, v in first_drops(work, model).items() if v is not None},
            speeds=given.speeds,
            verified=given.verified,
        )

    def _scale(self, spec: ScoreSpec | SummarySpec) -> Scale:
        return Scale.of(self.formulas[spec.name], self.work.metrics[spec.of])

    def _totals(self, spec: ScoreSpec | SummarySpec, model: int) -> Floats:
        return self.formulas[spec.name](self.work.values[spec.of][:, model], self.work.board.conditions)

    def _number(self, spec: ScoreSpec | SummarySpec, model: int) -> Score:
        """A formula's value; it goes by all conditions but clean ones, as far as its n is concerned."""
        scored = [i for i, c in enumerate(self.work.board.conditions) if not c.clean]
        return self._composite(spec.name, self._scale(spec), self._totals(spec, model), model, scored)

    def _ladder(self, model: int, levels: Sequence[int]) -> Score:
        """A ladder's value: the mean of its levels, or simply its only level."""
        of, measured = self.work.board.suite.score.of, self.work.measured[model]
        if len(levels) == 1 and measured[levels[0]].complete:
            return measured[levels[0]].score(of)
        totals = self.work.ladder(model, levels, of)
        return self._composite(of, self.work.metrics[of], totals, model, levels)

    def _composite(self, name: str, scale: Scaled, totals: Floats, model: int, cells: Sequence[int]) -> Score:
        work = self.work
        images = distinct([(work.kin[work.board.conditions[i].data], work.rows[model][i]) for i in cells])
        return composite(name, scale, float(totals[0]), totals[1:], images, work.resampling.level)


@dataclass(frozen=True)
class _Standing:
    """What a model is ranked by: its score, turned so that more is better, and that on resampled images."""

    point: float
    samples: Floats
    images: int


def _standings(
    composer: _Composer, entries: Sequence[Entry], able: Sequence[Entry], sign: float
) -> dict[str, _Standing]:
    """Of the models that can be ranked, on images that all of them have."""
    names = [e.name for e in able]
    common = on_common_images(composer.work.board, names)
    if common is not None:
        composer = _Composer.of(Work.of(common, composer.work.resampling))
        entries = [composer.entry(i) for i in range(len(common.models))]
    return {
        e.name: _Standing(sign * e.score.value, composer.totals(i)[1:] * sign, e.score.n)
        for i, e in enumerate(entries)
        if e.name in names
    }


def _ranked(able: Sequence[Entry], standings: Mapping[str, _Standing], level: float) -> tuple[Entry, ...]:
    """Entries from best to worst with the ranks they may hold and the ties they are in."""
    if not able:
        return ()
    able = sorted(able, key=lambda e: (np.isnan(standings[e.name].point), -standings[e.name].point, e.name))
    places = [standings[e.name] for e in able]
    above = better(
        np.array([p.point for p in places]),
        np.stack([p.samples for p in places], axis=1),
        images=min(p.images for p in places),
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
        if (lost := int((own[ANSWER] < 0).sum()) if ANSWER in own else 0)
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
        compared_with=compared_with(condition, board),
        yardstick=board.yardsticks.get(condition.name),
        source=board.sources.get(condition.name),
    )


def _label(level: Json) -> str:
    return level if isinstance(level, str) else canonical(level)


def _step(step: Step, along: str | None) -> str:
    """A step as the protocol shows it, without the parameter that its ladder varies."""
    values = ", ".join(f"{k}: {public_path(_label(v))}" for k, v in sorted(step.params.items()) if k != along)
    return f"{step.name} v{step.version}" + (f" ({values})" if values else "")


def _check(board: BoardInput) -> None:
    names = [m.name for m in board.models]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise RobobenchError(
            f"two models of suite {board.suite.name!r} are called {twice[0]!r}: give one of them another name"
        )
    if not any(c.clean for c in board.conditions):
        raise RobobenchError(f"suite {board.suite.name!r} has no clean condition to compare with")
