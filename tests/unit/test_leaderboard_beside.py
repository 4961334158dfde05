"""What a board puts beside a cell's rows: clean answers, reference frames, whole clean sets; further formulas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from robobench import registry
from robobench.leaderboard.beside import CLEAN_COLUMN, REFERENCE_COLUMN, beside, pooled, reference_of
from robobench.leaderboard.board import BoardInput, ModelInput, SummarySpec
from robobench.leaderboard.build import build
from robobench.leaderboard.render import render
from robobench.leaderboard.render_json import from_json
from robobench.leaderboard.score import IMAGE, OWN
from robobench.perturbations.sequence.look import Brightness
from robobench.perturbations.sequence.noise import GaussianNoise
from robobench.types import Condition, Step
from tests.boards import condition, exact, info, rows_of


@pytest.fixture
def extra(monkeypatch):
    """Metrics and formulas that are registered for one test."""

    def add(kind, name, cls):
        monkeypatch.setitem(kind._plugins, name, registry.Plugin(kind.kind, name, 1, cls))

    return add


@dataclass(frozen=True)
class Changed:
    """Whether the answer is another one than the reference's."""

    needs: ClassVar = ("top1", "reference_top1")
    unit: ClassVar = "fraction"
    higher_is_better: ClassVar = False

    def __call__(self, rows):
        before = rows["reference_top1"]
        return np.where(np.isnan(before), np.nan, rows["top1"] != before)


@dataclass(frozen=True)
class Above:
    """The chance that an own row has more confidence than a clean one: the area under a ROC curve."""

    with_clean: ClassVar = True
    needs: ClassVar = ("logp_top1", OWN)
    unit: ClassVar = "fraction"
    higher_is_better: ClassVar = True

    def __call__(self, rows):
        own = rows["logp_top1"][rows[OWN]]
        clean = rows["logp_top1"][~rows[OWN]]
        return float((own[:, None] > clean[None]).mean()) if own.size and clean.size else float("nan")


@dataclass(frozen=True)
class Worst:
    """The worst condition, times a factor."""

    factor: float = 1.0
    unit: ClassVar = "points"
    higher_is_better: ClassVar = True

    def __call__(self, values, conditions):
        return self.factor * values[:, [i for i, c in enumerate(conditions) if not c.clean]].min(axis=1)


def frames(plugin, levels):
    return tuple(
        Condition(f"s frame={n}", "s", "base", (Step("perturbation", plugin, 1, {"frame": n}),), "frame", n)
        for n in levels
    )


def test_a_sequence_is_compared_with_what_its_plug_in_says(monkeypatch):
    monkeypatch.setattr(Brightness, "reference", "previous", raising=False)
    monkeypatch.setattr(GaussianNoise, "reference", "first", raising=False)
    clean = Condition("clean", "clean", "base")
    for plugin, expected in (
        ("sequence.brightness", [None, "s frame=0", "s frame=2"]),
        ("sequence.gaussian_noise", [None, "s frame=0", "s frame=0"]),
    ):
        some = (clean, *frames(plugin, (10, 0, 2)))
        found = {c.level: reference_of(c, some) for c in some[1:]}
        assert [found[n] for n in (0, 2, 10)] == expected
        assert reference_of(clean, some) is None
    assert reference_of(condition("o fraction=0.1", "o", along="fraction", level=0.1), ()) is None


def test_reference_answers_are_those_of_the_same_image(extra, monkeypatch):
    monkeypatch.setattr(Brightness, "reference", "previous", raising=False)
    extra(registry.metrics, "stability.changed", Changed)
    extra(registry.formulas, "worst", Worst)
    conditions = (Condition("clean", "clean", "base"), *frames("sequence.brightness", (0, 1, 2)))
    answers = {
        "clean": [0, 0, 0, 0],
        "s frame=0": [1, 1, 2, 2],
        "s frame=1": [1, 1, 2, 3],
        "s frame=2": [2, 1, 3, 3],
    }
    ids = ["a", "b", "c", "d"]
    rows = {}
    for turn, (name, top1) in enumerate(answers.items()):
        order = np.roll(np.arange(4), turn)  # rows come in any order
        rows[name] = rows_of(np.zeros(4, int), [ids[k] for k in order]) | {"top1": np.array(top1)[order]}
    board = BoardInput(
        info(conditions, ("accuracy.top1", "stability.changed"), score=replace(
            info(conditions).score, of="stability.changed")),
        conditions, (ModelInput("m", rows),), {c.name: 4 for c in conditions},
    )  # fmt: skip
    entry = build(board, resamples=50).entries[0]
    found = {n: c.score("stability.changed") for n, c in entry.cells.items()}
    assert np.isnan(found["clean"].value)
    assert np.isnan(found["s frame=0"].value)
    assert (found["s frame=1"].value, found["s frame=1"].n) == (0.25, 4)
    assert found["s frame=2"].value == 0.5
    ladder = entry.ladders["s"]
    assert ladder.value == pytest.approx((0.25 + 0.5) / 2), "the first frame is compared with nothing"
    assert ladder.low <= ladder.value <= ladder.high


def test_a_metric_of_both_sides_draws_each_side_by_itself(extra):
    extra(registry.metrics, "ood.above", Above)
    conditions = (Condition("clean", "clean", "base"), Condition("far", "far", "outliers"))
    rng = np.random.Generator(np.random.PCG64(3))

    def side(n, name, shift):
        rows = rows_of(np.zeros(n, int), [f"{name}{k:03d}" for k in rng.permutation(n)])
        return rows | {"logp_top1": rng.normal(shift, 1.0, n).astype(np.float32)}

    rows = {"clean": side(80, "c", 0.0), "far": side(50, "f", 0.7)}
    suite = info(conditions, ("accuracy.top1", "ood.above"), score=replace(
        info(conditions).score, of="ood.above"))  # fmt: skip
    board = BoardInput(suite, conditions, (ModelInput("m", rows), ModelInput("same", rows)),
                       {"clean": 80, "far": 50}, compare={"far": "clean"})  # fmt: skip
    result = build(board, resamples=400)
    cells = result.entries[0].cells
    own, clean = rows["far"]["logp_top1"], rows["clean"]["logp_top1"]
    expected = (own[:, None] > clean[None]).mean()
    found = cells["far"].score("ood.above")
    assert found.value == pytest.approx(expected, abs=1e-9)
    assert np.isnan(cells["clean"].score("ood.above").value)
    spread = np.sqrt(expected * (1 - expected) / 50)  # a rough size of its standard error
    assert 0.5 * spread < (found.high - found.low) / 3.92 < 2 * spread
    total = result.entries[0].score
    assert total.value == found.value
    assert total.low == pytest.approx(found.low, abs=spread / 2)
    assert result.entries[0].score == result.entries[1].score, "equal rows are drawn alike"


def test_pooled_rows_need_both_sides():
    some = {IMAGE: np.array(["a"]), "logp_top1": np.array([0.5])}
    assert pooled(some, {}, ("logp_top1", OWN)) == {}
    assert pooled({}, some, ("logp_top1", OWN)) == {}
    assert pooled(some, {IMAGE: np.array(["b"])}, ("logp_top1",)) == {}
    both = pooled(some, some, ("logp_top1", OWN))
    assert both[OWN].tolist() == [True, False]


def test_clean_and_reference_columns_stand_beside_each_other():
    own = {IMAGE: np.array(["a", "b"]), "hit": np.array([1, 0])}
    one = beside(own, {IMAGE: np.array(["b"]), "hit": np.array([7])}, ["hit"])
    two = beside(one, {IMAGE: np.array(["a"]), "hit": np.array([9])}, ["hit"], REFERENCE_COLUMN)
    np.testing.assert_array_equal(two[CLEAN_COLUMN + "hit"], [np.nan, 7])
    np.testing.assert_array_equal(two[REFERENCE_COLUMN + "hit"], [9, np.nan])


def test_summaries_stand_on_the_board_in_every_format(extra):
    extra(registry.formulas, "worst", Worst)
    conditions = (condition("clean"), condition("x"), condition("y"))
    hits = {
        "m": {"clean": [0, 0, 0, 0], "x": [0, 0, 0, 1], "y": [0, 1, 1, 1]},
        "n": {"clean": [0, 0, 0, 0], "x": [1, 1, 1, 1], "y": [0, 1, 1, 1]},
    }
    board = exact(hits, conditions)
    asked = (
        SummarySpec("worst", "worst?factor=100", "accuracy.top1"),
        SummarySpec("mean", "mean", "accuracy.top1"),
    )
    made = build(replace(board, suite=replace(board.suite, summaries=asked)), resamples=50)
    values = {e.name: [s.value for s in e.summaries] for e in made.entries}
    assert values == {"m": [25.0, 0.5], "n": [0.0, 0.125]}
    assert made.entries[0].summaries[0].unit == "points"
    assert made.entries[0].summaries[1] == replace(made.entries[0].score, name="mean")
    assert "| m | 25.000 \\[" in render(made, "markdown")
    assert ",summary,,,,,,worst,25.0," in render(made, "csv")
    page = render(made, "html")
    assert 'id="h-summaries"' in page
    assert "worst (points)" in page
    assert from_json(render(made, "json")) == made
