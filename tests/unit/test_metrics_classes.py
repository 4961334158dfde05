"""Accuracy class by class, against scikit-learn's recalls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score

from robobench.errors import BadParameter
from robobench.leaderboard.score import score
from robobench.registry import build_metric
from tests.metric_rows import answered

PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=50)
FEW = settings(max_examples=40, deadline=None)


def rows_of(pairs):
    labels, answers = np.array(pairs).T
    return {"hit": np.where(labels == answers, 0, 1), "label": labels}, labels, answers


@given(PAIRS, st.integers(1, 6))
@FEW
def test_mean_and_worst_are_those_of_the_recalls(pairs, at_least):
    rows, labels, answers = rows_of(pairs)
    enough = [c for c in np.unique(labels) if np.sum(labels == c) >= at_least]
    recalls = recall_score(labels, answers, labels=enough, average=None) if enough else np.array([np.nan])
    mean = build_metric(f"accuracy.per_class?at_least={at_least}")(rows)
    worst = build_metric(f"accuracy.worst_class?at_least={at_least}")(rows)
    assert mean == pytest.approx(recalls.mean(), nan_ok=True)
    assert worst == pytest.approx(recalls.min(), nan_ok=True)
    assert not worst > mean + 1e-12


def test_classes_of_equal_size_have_the_accuracy_for_a_mean():
    rows = {"hit": np.arange(60) % 3, "label": np.arange(60) // 12}
    assert build_metric("accuracy.per_class")(rows) == pytest.approx(np.mean(rows["hit"] == 0))


def test_a_class_without_answers_is_wrong_and_outliers_have_no_class():
    rows = {"hit": np.array([0, 0, -1, -1, -2]), "label": np.array([3, 3, 8, 8, -1])}
    assert build_metric("accuracy.per_class")(rows) == 0.5
    assert build_metric("accuracy.worst_class?at_least=2")(rows) == 0
    assert build_metric("accuracy.per_class").uses(rows).tolist() == [True] * 4 + [False]


def test_classes_with_few_images_are_left_out_and_n_says_so():
    rows = {"hit": np.array([0] * 9 + [1] * 3 + [5]), "label": np.array([0] * 12 + [1])}
    found = score(rows, ["accuracy.worst_class", "accuracy.per_class"], resamples=50)
    assert [(s.value, s.n) for s in found] == [(0.75, 12), (0.375, 13)]
    few = score({k: v[6:] for k, v in rows.items()}, ["accuracy.worst_class"], resamples=50)[0]
    assert np.isnan(few.value)
    assert few.n == 0


@pytest.mark.parametrize("hit", [0, 4])
def test_one_class_all_right_and_all_wrong(hit):
    rows = {"hit": np.full(20, hit), "label": np.zeros(20, int)}
    assert (
        build_metric("accuracy.worst_class")(rows) == build_metric("accuracy.per_class")(rows) == (hit == 0)
    )


def test_a_thousand_classes_are_resampled_in_a_second():
    """Also a check that classes are found by what they are called, not by their place."""
    rows = answered(0, 5000, classes=7)
    rows["label"] = rows["label"] * 100 + np.arange(5000) % 90
    weights = np.random.Generator(np.random.PCG64(0)).multinomial(5000, np.full(5000, 1 / 5000), size=200)
    found = build_metric("accuracy.per_class").resampled(rows, weights)
    assert found.std() < 0.02
    assert abs(found.mean() - build_metric("accuracy.per_class")(rows)) < 0.01


def test_a_class_needs_one_image():
    with pytest.raises(BadParameter):
        build_metric("accuracy.worst_class?at_least=0")
