"""Metrics against published vectors, other formulas, and rows without answers."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robobench.errors import BadParameter, UnknownName
from robobench.registry import formulas, metrics
from robobench.types import Condition

NAN = float("nan")
CONFIDENCE = np.array([0.95, 0.9, 0.85, 0.62, 0.61, 0.55, 0.4, 0.35])
HIT = np.array([0, 0, 1, 0, 1, 0, 1, 1])


def test_the_metrics_there_are():
    assert set(metrics.names()) >= {
        "accuracy.top1",
        "accuracy.top5",
        "calibration.brier",
        "calibration.ece",
        "calibration.nll",
    }


@pytest.mark.parametrize("name", metrics.names())
def test_every_metric_says_what_it_needs_and_means(name):
    metric = metrics.build(name)
    assert metric.needs
    assert all(isinstance(n, str) for n in metric.needs)
    assert metric.unit
    assert isinstance(metric.higher_is_better, bool)
    text = inspect.getdoc(type(metric)) or ""
    assert "is better" in text
    assert ">>>" in text


def test_accuracy_counts_rows_without_an_answer_as_wrong():
    hit = np.array([0, 1, 4, 5, -1])
    rows = {"hit": hit, "top1": np.where(hit < 0, -1, 3), "top5": np.where(hit < 0, -1, 8)}
    assert metrics.build("accuracy.top1")(rows).tolist() == [1, 0, 0, 0, 0]
    assert metrics.build("accuracy.top5")(rows).tolist() == [1, 1, 1, 0, 0]


def test_five_answers_among_four_classes_are_undefined():
    rows = {"hit": np.array([0, 3, -1]), "top1": np.array([1, 2, -1]), "top5": np.array([-1, -1, -1])}
    assert np.isnan(metrics.build("accuracy.top5")(rows)).all()


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize(("bins", "expected"), [(15, 0.30375), (10, 0.27875)])
def test_calibration_error_of_the_published_vector(kind, bins, expected):
    """.9 and .4 lie on edges of ten bins: (a, b] puts them below, also when float32 rounds them up."""
    rows = {"hit": HIT, "logp_top1": np.log(CONFIDENCE).astype(kind)}
    assert metrics.build("calibration.ece", {"bins": bins})(rows) == pytest.approx(expected, abs=1e-6)


def ece_by_hand(confidence, right, bins):
    total = 0.0
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        if inside.any():
            total += inside.sum() * abs(right[inside].mean() - confidence[inside].mean())
    return total / len(confidence)


@given(
    st.lists(st.tuples(st.integers(1, 999), st.integers(0, 2)), min_size=1, max_size=60), st.integers(1, 40)
)
def test_calibration_error_is_the_one_by_hand(pairs, bins):
    confidence = np.array([(c + 0.5) / 1000.3 for c, _ in pairs])  # on no edge
    hit = np.array([h for _, h in pairs])
    found = metrics.build("calibration.ece", {"bins": bins})({"hit": hit, "logp_top1": np.log(confidence)})
    assert found == pytest.approx(ece_by_hand(confidence, hit == 0, bins), abs=1e-9)


def test_confidences_on_the_edges_of_many_bins_stay_in_theirs():
    """log and exp in float32 move k/100 to either side of itself."""
    k = np.arange(1, 100)
    confidence = np.concatenate([k / 100, k / 100 + 0.005])
    hit = np.concatenate([k % 3 == 0, k % 2 == 0]).astype(int)
    rows = {"hit": hit, "logp_top1": np.log(confidence).astype(np.float32)}
    expected = ece_by_hand(confidence, hit == 0, 100)
    assert metrics.build("calibration.ece", {"bins": 100})(rows) == pytest.approx(expected, abs=1e-6)


def test_calibration_error_of_resamples_is_that_of_repeated_rows():
    rng = np.random.Generator(np.random.PCG64(1))
    rows = {"hit": rng.integers(0, 2, 40), "logp_top1": np.log(rng.random(40))}
    rows["logp_top1"][3] = NAN
    weights = rng.integers(0, 3, (5, 40))
    metric = metrics.build("calibration.ece")
    for found, counts in zip(metric.resampled(rows, weights), weights, strict=True):
        assert found == pytest.approx(metric({k: np.repeat(v, counts) for k, v in rows.items()}), abs=1e-12)


def test_rows_without_probabilities_are_left_out_of_calibration():
    rows = {"hit": np.append(HIT, [-1, -1]), "logp_top1": np.append(np.log(CONFIDENCE), [NAN, NAN])}
    assert metrics.build("calibration.ece")(rows) == pytest.approx(0.30375)
    nothing = {"hit": np.array([-1]), "logp_top1": np.array([NAN])}
    assert np.isnan(metrics.build("calibration.ece")(nothing))
    assert np.isnan(metrics.build("calibration.nll")({"logp_label": np.array([NAN])})[0])
    assert np.isnan(
        metrics.build("calibration.brier")({"logp_label": np.array([NAN]), "sum_p2": np.array([NAN])})[0]
    )


def test_brier_is_the_squared_distance_to_the_right_answer():
    rng = np.random.Generator(np.random.PCG64(2))
    p = rng.dirichlet(np.ones(6), size=50)
    label = rng.integers(0, 6, 50)
    expected = ((p - np.eye(6)[label]) ** 2).sum(axis=1)
    rows = {"logp_label": np.log(p[np.arange(50), label]), "sum_p2": (p**2).sum(axis=1)}
    assert metrics.build("calibration.brier")(rows) == pytest.approx(expected)


def test_nll_agrees_with_torch():
    import torch

    logits = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 5
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="none").numpy()
    logp = logits.log_softmax(1)[torch.arange(20), labels].numpy()
    assert metrics.build("calibration.nll")({"logp_label": logp}) == pytest.approx(expected, abs=1e-6)


def test_mistakes_in_names_and_parameters_are_answered():
    with pytest.raises(UnknownName, match=r"unknown metric 'accuracy\.top2'; did you mean .*accuracy\.top1"):
        metrics.build("accuracy.top2")
    with pytest.raises(BadParameter, match=r"calibration\.ece: bins: expected greater than 0, got 0"):
        metrics.build("calibration.ece", {"bins": 0})
    with pytest.raises(UnknownName, match="unknown formula 'median'"):
        formulas.build("median")


CELLS = [
    Condition("clean", "clean", "base"),
    Condition("a 1", "a", "base"),
    Condition("a 2", "a", "base"),
    Condition("a 3", "a", "base"),
    Condition("shift", "shift", "other"),
    Condition("clean@x", "clean", "clean@x", companion=True),
]


def test_the_mean_counts_ladders_not_levels_and_never_clean():
    values = np.array([[0.9, 0.6, 0.3, 0.0, 0.7, 0.1], [0.1, 0.6, 0.3, 0.0, 0.7, 0.9]])
    assert formulas.build("mean")(values, CELLS).tolist() == pytest.approx([0.5, 0.5])


def test_a_missing_level_makes_the_mean_undefined_a_missing_clean_does_not():
    lost = np.array([[0.9, 0.6, NAN, 0.0, 0.7, 0.1], [NAN, 0.6, 0.3, 0.0, 0.7, NAN]])
    found = formulas.build("mean")(lost, CELLS)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(0.5)


def test_a_suite_of_clean_conditions_has_no_mean():
    assert np.isnan(formulas.build("mean")(np.array([[0.9]]), CELLS[:1])).all()
