"""Risk and coverage against the curves by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robobench.registry import build_metric
from tests.metric_rows import answered

FEW = settings(max_examples=25, deadline=None)
SURE = st.lists(
    st.tuples(st.integers(1, 10_000), st.integers(0, 1)), min_size=1, max_size=60, unique_by=lambda p: p[0]
)


def rows_of(pairs):
    return {"hit": np.array([h for _, h in pairs]), "logp_top1": np.log([c / 10_001 for c, _ in pairs])}


def risks(rows):
    """The share of errors among the k surest, for each k."""
    wrong = (rows["hit"] != 0)[np.argsort(-rows["logp_top1"])]
    return np.cumsum(wrong) / np.arange(1, wrong.size + 1)


@given(SURE)
@FEW
def test_the_area_and_its_excess_are_those_of_the_curve(pairs):
    rows = rows_of(pairs)
    area = build_metric("selective.aurc")(rows)
    assert area == pytest.approx(risks(rows).mean(), abs=1e-12)
    assert area == pytest.approx(1 - build_metric("calibration.aurra")(rows), abs=1e-12)
    best = np.mean(np.cumsum(np.sort(rows["hit"])) / np.arange(1, len(pairs) + 1))  # errors last
    excess = build_metric("selective.excess_aurc")(rows)
    assert excess == pytest.approx(area - best, abs=1e-12)
    assert excess > -1e-12


def test_the_best_area_is_that_of_the_best_of_all_orders():
    hits = [0, 0, 1, 0, 1, 1]
    best = min(np.mean(np.cumsum(o) / np.arange(1, 7)) for o in permutations(hits))
    worst = {"hit": np.array(hits), "logp_top1": np.log([0.1, 0.2, 0.7, 0.3, 0.8, 0.9])}
    area = build_metric("selective.aurc")(worst)
    assert build_metric("selective.excess_aurc")(worst) == pytest.approx(area - best, abs=1e-12)


def test_the_excess_of_many_images_is_near_the_published_approximation():
    rows = answered(3, 20_000)
    r = np.mean(rows["hit"] != 0)
    expected = build_metric("selective.aurc")(rows) - (r + (1 - r) * np.log(1 - r))
    assert build_metric("selective.excess_aurc")(rows) == pytest.approx(expected, abs=1e-4)


@given(SURE, st.integers(1, 100))
@FEW
def test_accuracy_at_a_coverage_is_that_of_the_surest(pairs, percent):
    rows = rows_of(pairs)
    k = -(-percent * len(pairs) // 100)  # rounded up
    found = build_metric(f"selective.accuracy?coverage={percent / 100}")(rows)
    assert found == pytest.approx(1 - risks(rows)[k - 1], abs=1e-12)
    assert build_metric("selective.accuracy?coverage=1")(rows) == pytest.approx(np.mean(rows["hit"] == 0))


@given(SURE, st.integers(0, 99))
@FEW
def test_coverage_at_a_risk_is_the_last_place_where_the_risk_is_low_enough(pairs, percent):
    rows = rows_of(pairs)
    fine = np.flatnonzero(risks(rows) <= percent / 100 + 1e-12)
    expected = (fine.max() + 1) / len(pairs) if fine.size else 0
    assert build_metric(f"selective.coverage?risk={percent / 100}")(rows) == pytest.approx(expected)


def test_images_of_equal_confidence_are_answered_together_or_in_equal_shares():
    rows = {"hit": np.array([0, 0, 1, 0]), "logp_top1": np.log([0.9, 0.5, 0.5, 0.5])}
    assert build_metric("selective.accuracy?coverage=0.5")(rows) == pytest.approx((1 + 2 / 3) / 2)
    assert build_metric("selective.coverage?risk=0.2")(rows) == 0.25  # no threshold answers three of four
    assert build_metric("selective.coverage?risk=0.25")(rows) == 1


@pytest.mark.parametrize(
    ("hit", "expected"),
    [(0, {"aurc": 0, "excess_aurc": 0, "accuracy": 1, "coverage": 1}), (3, {"aurc": 1, "excess_aurc": 0, "accuracy": 0, "coverage": 0})],
)  # fmt: skip
def test_all_right_and_all_wrong(hit, expected):
    rows = {"hit": np.full(9, hit), "logp_top1": np.log(np.linspace(0.2, 0.9, 9))}
    assert {n: build_metric(f"selective.{n}")(rows) for n in expected} == pytest.approx(expected, abs=1e-12)
