"""Calibration errors against published vectors, the published algorithms by hand, and scipy's minimum."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from robobench.errors import BadParameter
from robobench.leaderboard.score import score
from robobench.registry import build_metric, metrics
from tests.metric_rows import answered, picked, recorded

CONFIDENCE = np.array([0.95, 0.9, 0.85, 0.62, 0.61, 0.55, 0.4, 0.35])
HIT = np.array([0, 0, 1, 0, 1, 0, 1, 1])
SURE = st.lists(
    st.tuples(st.integers(1, 10_000), st.integers(0, 1)), min_size=2, max_size=80, unique_by=lambda p: p[0]
)
FEW = settings(max_examples=25, deadline=None)


def rows_of(confidence, hit):
    return {"hit": np.asarray(hit), "logp_top1": np.log(np.asarray(confidence, float))}


def drawn(pairs):
    """Distinct confidences, on no edge of a few bins, and hits."""
    confidence = np.array([(c + 0.31) / 10_001 for c, _ in pairs])
    return confidence, np.array([h for _, h in pairs])


def gaps_by_value(confidence, correct, upper):
    """Counts and mean gaps of bins that begin with a value: the published way, by np.digitize."""
    index = np.digitize(confidence, upper)
    found = [
        (np.sum(index == b), np.mean(correct[index == b]) - np.mean(confidence[index == b]))
        for b in np.unique(index)
    ]
    return np.array([n for n, _ in found]), np.array([g for _, g in found])


def equal_mass(confidence, bins):
    """The lower edges of all bins but the first, as published."""
    places = np.round(np.linspace(0, len(confidence), bins, endpoint=False)).astype(int)
    return np.sort(confidence)[np.minimum(places, len(confidence) - 1)][1:]


def test_the_published_vector_with_four_bins_of_equal_mass():
    assert build_metric("calibration.adaptive_ece?bins=4")(rows_of(CONFIDENCE, HIT)) == pytest.approx(0.19125)


@given(SURE, st.integers(1, 30))
@FEW
def test_bins_of_equal_mass_are_the_published_ones(pairs, bins):
    confidence, hit = drawn(pairs)
    counts, gaps = gaps_by_value(confidence, hit == 0, equal_mass(confidence, bins))
    rows = rows_of(confidence, hit)
    mean = np.sum(counts * np.abs(gaps)) / counts.sum()
    root = np.sqrt(np.sum(counts * gaps**2) / counts.sum())
    assert build_metric(f"calibration.adaptive_ece?bins={bins}")(rows) == pytest.approx(mean, abs=1e-12)
    assert build_metric(f"calibration.rmsce?bins={bins}")(rows) == pytest.approx(root, abs=1e-12)
    assert mean <= root + 1e-12


@given(SURE, st.integers(1, 30))
@FEW
def test_the_largest_gap_is_that_of_the_bins_of_equal_width(pairs, bins):
    confidence, hit = drawn(pairs)
    _, gaps = gaps_by_value(confidence, hit == 0, np.arange(1, bins) / bins)
    rows = rows_of(confidence, hit)
    assert build_metric(f"calibration.mce?bins={bins}")(rows) == pytest.approx(np.abs(gaps).max(), abs=1e-9)


def test_equal_confidences_share_a_bin_of_equal_mass():
    """Two bins of four images of which three are as sure: the edge cannot part them."""
    rows = rows_of([0.5, 0.7, 0.7, 0.7], [1, 0, 0, 1])
    assert build_metric("calibration.adaptive_ece?bins=2")(rows) == pytest.approx(
        (0.5 + 3 * abs(2 / 3 - 0.7)) / 4
    )


def sweep_by_hand(confidence, correct):
    """Bins by rank, as published: from 2 up until accuracy falls, never as many as images."""
    order = np.argsort(confidence)
    confidence, correct, n = confidence[order], correct[order], len(order)
    index = np.zeros(n, int)
    for bins in range(2, n):
        tried = np.floor(np.arange(n) * bins / n + 1e-12).astype(int)
        accuracy = [correct[tried == b].mean() for b in np.unique(tried)]
        if np.any(np.diff(accuracy) < 0):
            break
        index = tried
    return sum(abs(np.sum(correct[index == b] - confidence[index == b])) for b in np.unique(index)) / n


@given(SURE)
@FEW
def test_the_sweep_is_the_published_one(pairs):
    confidence, hit = drawn(pairs)
    found = build_metric("calibration.sweep_ece")(rows_of(confidence, hit))
    assert found == pytest.approx(sweep_by_hand(confidence, hit == 0), abs=1e-12)


def test_the_sweep_takes_as_many_bins_as_a_good_ranking_allows():
    """All wrong ones are surer than no right one: 9 bins of 10 images, or those that are allowed."""
    confidence = np.linspace(0.1, 0.91, 10) + 0.003
    rows = rows_of(confidence, [1] * 5 + [0] * 5)
    assert build_metric("calibration.sweep_ece")(rows) == pytest.approx(
        sweep_by_hand(confidence, np.arange(10) > 4)
    )
    one = build_metric("calibration.sweep_ece?most=1")(rows)
    assert one == pytest.approx(abs(confidence.mean() - 0.5))


def test_the_sweep_never_has_as_many_bins_as_images():
    """Three images in two bins, the smaller two together; each by itself would be .8 / 3."""
    rows = rows_of([0.2, 0.5, 0.9], [1, 0, 0])
    assert build_metric("calibration.sweep_ece")(rows) == pytest.approx((0.3 + 0.1) / 3)


def rms_by_hand(confidence, correct, size, legacy):
    """As the published code: slices of sorted images, the last one longer; it forgets the last one."""
    order = np.argsort(confidence)
    confidence, correct, n = confidence[order], correct[order], len(order)
    bins = [[i * size, (i + 1) * size] for i in range(n // size)]
    bins[-1][1] = n
    squares = [
        (b - a) / n * (confidence[a:b].mean() - correct[a:b].mean()) ** 2
        for a, b in bins[: len(bins) - legacy]
    ]
    return np.sqrt(sum(squares))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(("n", "size"), [(1000, 100), (257, 100), (60, 7), (61, 30)])
def test_the_rms_error_is_that_of_the_published_code(n, size, legacy):
    rng = np.random.Generator(np.random.PCG64(n + legacy))
    confidence = rng.random(n)
    hit = (rng.random(n) > confidence**2).astype(int)
    found = build_metric(f"calibration.rms?size={size}&legacy={str(legacy).lower()}")(
        rows_of(confidence, hit)
    )
    assert found == pytest.approx(rms_by_hand(confidence, hit == 0, size, legacy), abs=1e-12)


def test_the_rms_error_of_few_images_is_one_bin_and_nothing_is_left_of_it_in_the_legacy_one():
    rows = rows_of([0.9, 0.5, 0.7], [0, 0, 1])
    assert build_metric("calibration.rms")(rows) == pytest.approx(0.7 - 2 / 3)
    assert np.isnan(build_metric("calibration.rms?legacy=true")(rows))


def test_an_rms_bin_parts_equal_confidences_in_equal_shares():
    """Six images as sure, four of them right, in bins of two: each bin is right in 2/3."""
    rows = rows_of([0.5] * 6, [0, 0, 0, 0, 1, 1])
    assert build_metric("calibration.rms?size=2")(rows) == pytest.approx(2 / 3 - 0.5)


@given(SURE)
@FEW
def test_the_response_rate_area_is_the_mean_of_running_accuracies(pairs):
    confidence, hit = drawn(pairs)
    correct = (hit == 0)[np.argsort(-confidence)]
    expected = np.mean(np.cumsum(correct) / np.arange(1, len(hit) + 1))
    assert build_metric("calibration.aurra")(rows_of(confidence, hit)) == pytest.approx(expected, abs=1e-12)


def test_equal_confidences_count_as_the_mean_over_their_orders():
    confidence, hit = [0.9, 0.6, 0.6, 0.6, 0.6, 0.2], [1, 0, 0, 1, 0, 0]
    orders = [np.array([1, *o, 0]) == 0 for o in permutations([0, 0, 1, 0])]
    expected = np.mean([np.mean(np.cumsum(o) / np.arange(1, 7)) for o in orders])
    assert build_metric("calibration.aurra")(rows_of(confidence, hit)) == pytest.approx(expected, abs=1e-12)


def class_error_by_hand(logits, labels, bins, kind, threshold=-1.0):
    p, total = softmax(np.float64(np.float32(logits)), axis=1), 0.0
    for k in range(p.shape[1]):
        kept = p[:, k] > threshold
        if kept.any():
            one, is_k = p[kept, k], labels[kept] == k
            upper = np.arange(1, bins) / bins if kind == "even" else equal_mass(one, bins)
            counts, gaps = gaps_by_value(one, is_k, upper)
            total += np.sum(counts * np.abs(gaps)) / counts.sum()
    return total / p.shape[1]


@pytest.mark.parametrize(
    ("name", "kind", "threshold"),
    [("sce?", "even", -1), ("ace?", "mass", -1), ("tace?threshold=0.05&", "mass", 0.05), ("tace?threshold=0.99&", "mass", 0.99)],
)  # fmt: skip
@pytest.mark.parametrize("bins", [1, 6, 15])
def test_errors_over_classes_are_the_published_ones(name, kind, threshold, bins):
    rng = np.random.Generator(np.random.PCG64(bins))
    logits, labels = rng.normal(scale=2, size=(90, 5)), rng.integers(0, 4, 90)  # nothing is a 4
    found = build_metric(f"calibration.{name}bins={bins}")(recorded(logits, labels))
    expected = class_error_by_hand(logits, labels, bins, kind, threshold)
    assert found == pytest.approx(expected, abs=1e-9)
    assert 0 < found < 1 or threshold == 0.99


def nll_at(logits, labels, temperature):
    return -np.mean(log_softmax(logits / temperature, axis=1)[np.arange(len(labels)), labels])


def best_temperature(logits, labels):
    """By scipy, in the inverse temperature, in which the likelihood has one minimum."""
    found = minimize_scalar(
        lambda b: nll_at(logits, labels, 1 / b), bounds=(0.2, 5), method="bounded", options={"xatol": 1e-10}
    )
    return 1 / found.x


@pytest.mark.parametrize(("scale", "classes"), [(0.5, 10), (1, 10), (3, 10), (3, 2), (2.5, 200)])
def test_the_temperature_is_that_of_the_smallest_likelihood_by_scipy(scale, classes):
    """Labels that are drawn from the probabilities: what the logits are scaled with is the temperature."""
    rng = np.random.Generator(np.random.PCG64(classes))
    true = rng.normal(scale=1.5, size=(400, classes))
    labels = (softmax(true, axis=1).cumsum(axis=1) < rng.random((400, 1))).sum(axis=1)
    logits = np.float32(true * scale)
    found = build_metric("calibration.temperature")(recorded(logits, labels))
    assert found == pytest.approx(best_temperature(np.float64(logits), labels), rel=2e-5)
    assert found == pytest.approx(scale, rel=0.25)


def test_temperatures_end_at_their_bounds():
    logits = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    temperature = build_metric("calibration.temperature")
    assert temperature(recorded(logits, np.array([0, 0, 1]))) == pytest.approx(0.2)  # all right
    assert temperature(recorded(logits, np.array([1, 1, 0]))) == pytest.approx(5)  # all wrong
    assert temperature(recorded(np.ones((3, 2)), np.array([1, 1, 0]))) == pytest.approx(1)  # all the same


def shifted(seed=5):
    """Clean images of a model that is too sure, followed by shifted ones on which it is worse."""
    rng = np.random.Generator(np.random.PCG64(seed))
    labels = rng.integers(0, 10, 700)
    logits = rng.normal(scale=3, size=(700, 10))
    logits[np.arange(700), labels] += np.where(np.arange(700) < 300, 1.0, 4.0)
    return {**recorded(logits, labels), "own": np.arange(700) < 300}


def test_numbers_after_scaling_go_by_the_temperature_of_the_clean_images():
    rows = shifted()
    own, clean = picked(rows, rows["own"]), picked(rows, ~rows["own"])
    t = best_temperature(np.float64(clean["logits"]), clean["label"])
    logits = np.float64(own["logits"]) / t
    scaled = recorded(logits, own["label"])
    assert build_metric("calibration.nll_scaled")(rows) == pytest.approx(
        nll_at(logits, own["label"], 1.0), abs=1e-6
    )
    assert build_metric("calibration.ece_scaled?bins=10")(rows) == pytest.approx(
        build_metric("calibration.ece?bins=10")(scaled), abs=1e-5
    )
    assert build_metric("calibration.nll_scaled")(rows) < np.mean(build_metric("calibration.nll")(own))


@pytest.mark.parametrize("own", [True, False])
def test_scaling_is_undefined_without_clean_or_own_rows(own):
    rows = {**answered(0, 30), "own": np.full(30, own)}
    assert np.isnan(build_metric("calibration.nll_scaled")(rows))
    assert np.isnan(build_metric("calibration.ece_scaled")(rows))


BINNED = [
    n
    for n in metrics.names()
    if n.startswith("calibration.") and build_metric(n).needs == ("hit", "logp_top1")
]


@pytest.mark.parametrize("name", BINNED)
def test_outliers_and_rows_without_an_answer_are_left_out(name):
    rows = rows_of(CONFIDENCE, HIT)
    more = rows_of([*CONFIDENCE, 0.99, 0.98, 0.97], [*HIT, -2, -1, -2])
    more["logp_top1"][9] = np.nan
    assert build_metric(name)(more) == build_metric(name)(rows)
    assert score(more, [name], resamples=20)[0].n == 8


@pytest.mark.parametrize("name", [n for n in BINNED if n != "calibration.aurra"])
def test_a_model_that_knows_its_accuracy_has_no_error_and_one_that_is_sure_and_wrong_all(name):
    metric = build_metric(name)
    assert metric(rows_of([0.75] * 400, [0, 0, 0, 1] * 100)) == pytest.approx(0, abs=1e-12)
    assert metric(rows_of([1.0] * 400, [0] * 400)) == pytest.approx(0, abs=1e-12)
    assert metric(rows_of([1.0] * 400, [1] * 400)) == pytest.approx(1)


@pytest.mark.parametrize(
    "text", ["calibration.mce?bins=0", "calibration.rms?size=0", "calibration.tace?threshold=1", "calibration.sweep_ece?most=0"]
)  # fmt: skip
def test_parameters_out_of_range_are_refused(text):
    with pytest.raises(BadParameter):
        build_metric(text)
