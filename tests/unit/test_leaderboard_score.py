"""Scores of rows: which interval, how many images, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from robobench.errors import StoreError, UnknownName
from robobench.leaderboard.score import Resampling, score, score_cells
from robobench.stats import wilson
from tests.boards import rows_of


@dataclass(frozen=True)
class Spread:
    """A metric of all rows at once that does not know its own resamples: the standard deviation of x."""

    needs: ClassVar[tuple[str, ...]] = ("x",)
    unit: ClassVar[str] = "pixels"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows):
        return float(np.std(rows["x"]))


def test_accuracy_has_the_interval_of_wilson():
    found = score(rows_of([0] * 15 + [1] * 5), ["accuracy.top1"])[0]
    low, high = wilson(15, 20)
    assert found.value == 0.75
    assert (found.low, found.high) == pytest.approx((float(low), float(high)), abs=1e-9)
    assert (found.n, found.unit, found.higher_is_better) == (20, "fraction", True)


def test_other_numbers_have_the_interval_of_resampled_means():
    rng = np.random.Generator(np.random.PCG64(0))
    loss = rng.exponential(size=500).astype(np.float32)
    found = score({**rows_of([0] * 500), "logp_label": -loss}, ["calibration.nll"])[0]
    half = 1.96 * loss.std() / np.sqrt(500)
    assert found.value == pytest.approx(loss.mean(), abs=1e-6)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    assert found.low < found.value < found.high
    assert (found.unit, found.higher_is_better) == ("nats", False)


def test_an_error_of_all_rows_lies_inside_its_interval():
    """Resampled calibration errors are all too large by chance; their interval is moved onto the value."""
    rng = np.random.Generator(np.random.PCG64(0))
    confidence = rng.uniform(0.5, 1, 400)
    rows = {"hit": (rng.random(400) > confidence).astype(int), "logp_top1": np.log(confidence)}
    found = score(rows, ["calibration.ece"])[0]
    assert 0 <= found.low < found.value < found.high


def test_a_metric_of_all_rows_needs_nothing_but_its_call():
    rng = np.random.Generator(np.random.PCG64(0))
    rows = {"x": rng.normal(size=300)}
    found = score_cells("spread", Spread(), [rows], Resampling(0, 400, 0.95))[0]
    # the standard error of a normal standard deviation is s / sqrt(2 n)
    assert found.high - found.low == pytest.approx(2 * 1.96 * found.value / np.sqrt(600), rel=0.2)
    assert found.n == 300


def test_rows_without_numbers_are_not_counted():
    loss = np.array([1.0, np.nan, 3.0], np.float32)
    found = score({"logp_label": -loss}, ["calibration.nll"])[0]
    assert (found.value, found.n) == (2.0, 2)


@pytest.mark.parametrize("metric", ["accuracy.top1", "calibration.nll", "calibration.ece"])
def test_no_rows_are_undefined_and_not_zero(metric):
    found = score(rows_of([]), [metric])[0]
    assert np.isnan([found.value, found.low, found.high]).all()
    assert found.n == 0


@pytest.mark.parametrize("metric", ["calibration.nll", "calibration.ece"])
def test_rows_that_all_lack_a_number_are_undefined(metric):
    found = score(rows_of([-1, -1]), [metric])[0]
    assert np.isnan(found.value)
    assert found.n == 0


def test_the_order_of_rows_changes_nothing():
    rng = np.random.Generator(np.random.PCG64(0))
    rows = {**rows_of([0] * 60), "logp_label": -rng.exponential(size=60)}
    order = rng.permutation(60)
    turned = {k: v[order] for k, v in rows.items()}
    names = ["calibration.nll", "calibration.ece", "accuracy.top1"]
    assert score(rows, names) == score(turned, names)


def test_another_seed_draws_other_resamples():
    rows = {**rows_of([0] * 60), "logp_label": -np.arange(60.0)}
    assert score(rows, ["calibration.nll"], seed=0) != score(rows, ["calibration.nll"], seed=1)


def test_mistakes_are_answered():
    with pytest.raises(UnknownName, match=r"unknown metric 'accuracy\.top'"):
        score(rows_of([0]), ["accuracy.top"])
    with pytest.raises(
        StoreError, match=r"'accuracy\.top5' needs the column 'top1', but the rows hold hit: take"
    ):
        score({"hit": np.array([0])}, ["accuracy.top5"])
    with pytest.raises(StoreError, match="the image 'a' stands in the rows of one cell twice"):
        score(rows_of([0, 1], ids=["a", "a"]), ["accuracy.top1"])
