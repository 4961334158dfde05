"""What it takes to fool a model, against plain medians over drawn rows, and metrics with parameters in suites."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robobench.errors import BadParameter, SuiteError, UnknownName
from robobench.leaderboard.score import score
from robobench.registry import build_metric, metrics
from robobench.stats import interval, resample_weights
from robobench.suite.load import load_suite

COLUMNS = {"attack.median_l2": "l2", "attack.median_linf": "linf", "attack.median_queries": "queries"}


def rows_of(outcomes):
    """Rows from (was right, fell, distance) of each image."""
    right, fell, distance = (np.array(v) for v in zip(*outcomes, strict=True))
    fooled = right & fell
    return {
        "hit": np.where(right & ~fooled, 0, 3),
        "fooled": fooled,
        "l2": np.where(fooled, distance, 0).astype(np.float32),
        "linf": np.where(fooled, distance / 10, 0).astype(np.float32),
        "queries": np.where(fooled, 1 + distance * 100, 1).astype(np.int32),
    }


OUTCOMES = st.lists(
    st.tuples(st.booleans(), st.sampled_from([True, True, False]), st.floats(0.125, 4, width=32)),
    min_size=1,
    max_size=30,
)


def plain_median(rows, column):
    needed = [
        float(rows[column][i]) if rows["fooled"][i] else np.inf
        for i in range(len(rows["hit"]))
        if rows["fooled"][i] or rows["hit"][i] == 0
    ]
    return np.median(needed) if needed else np.nan


@given(OUTCOMES, st.sampled_from(sorted(COLUMNS)))
def test_a_median_and_its_resamples_are_those_of_the_drawn_rows(outcomes, name):
    rows, metric = rows_of(outcomes), metrics.build(name)
    n = len(outcomes)
    weights = resample_weights(n, 20, "here").astype(np.float64)
    found = metric.resampled(rows, weights)
    for counts, value in zip(weights, found, strict=True):
        drawn = np.repeat(np.arange(n), counts.astype(int))
        expected = plain_median({k: v[drawn] for k, v in rows.items()}, COLUMNS[name])
        np.testing.assert_equal(value, expected)
    np.testing.assert_equal(metric(rows), plain_median(rows, COLUMNS[name]))


def test_resamples_are_worked_on_in_parts(monkeypatch):
    rows = rows_of([(True, i % 3 > 0, float(i)) for i in range(40)])
    weights = resample_weights(40, 100, "here")
    whole = metrics.build("attack.median_l2").resampled(rows, weights)
    monkeypatch.setattr("robobench.metrics.attack._WIDE", 100)
    np.testing.assert_array_equal(metrics.build("attack.median_l2").resampled(rows, weights), whole)


def test_a_score_has_the_interval_of_its_resamples_and_counts_the_images_that_were_right():
    rows = rows_of([(i % 5 > 0, True, 1 + i / 7) for i in range(60)])
    found = score(rows, ["attack.median_l2"])[0]
    assert found.n == 48
    assert found.value == pytest.approx(plain_median(rows, "l2"))
    samples = metrics.build("attack.median_l2").resampled(rows, resample_weights(60, 2000, "0 "))
    low, high = interval(samples - samples.mean() + found.value)
    assert (found.low, found.high) == (pytest.approx(low, abs=0.2), pytest.approx(high, abs=0.2))
    assert found.low < found.value < found.high


@pytest.mark.filterwarnings("error")
def test_an_infinite_median_is_undefined_with_its_n_and_so_is_an_infinite_end():
    stands = score(rows_of([(True, i < 3, 1.0) for i in range(10)]), ["attack.median_l2"])[0]
    assert (stands.n, np.isnan(stands.value), np.isnan(stands.high)) == (10, True, True)
    barely = score(rows_of([(True, i < 16, 1 + i / 10) for i in range(30)]), ["attack.median_l2"])[0]
    assert np.isfinite(barely.value)
    assert np.isfinite(barely.low)
    assert np.isnan(barely.high)
    nobody = score(rows_of([(False, True, 1.0)] * 4), ["attack.median_l2", "attack.success"])
    assert [(s.n, np.isnan(s.value)) for s in nobody] == [(0, True), (0, True)]


@given(OUTCOMES)
def test_success_is_the_share_of_the_images_that_were_right(outcomes):
    values = metrics.build("attack.success")(rows_of(outcomes))
    right = [fell for was, fell, _ in outcomes if was]
    assert int(np.isfinite(values).sum()) == len(right)
    if right:
        assert np.nanmean(values) == pytest.approx(np.mean(right))


@given(OUTCOMES, st.floats(0.1, 5), st.floats(0.1, 5))
def test_accuracy_within_falls_with_the_limit_from_clean_to_robust(outcomes, one, other):
    rows = rows_of(outcomes)
    near, far = sorted((one, other))
    at = [metrics.build("attack.accuracy_within", {"l2": d})(rows).mean() for d in (0.0, near, far, 9.0)]
    assert at == sorted(at, reverse=True)
    assert at[0] == pytest.approx(np.mean([was for was, _, _ in outcomes]))
    assert at[-1] == pytest.approx(np.mean([was and not fell for was, fell, _ in outcomes]))
    assert at[-1] == pytest.approx(metrics.build("attack.accuracy_within")(rows).mean())
    by_hand = [was and not (fell and d <= near + 1e-6 * max(1, near)) for was, fell, d in outcomes]
    assert at[1] == pytest.approx(np.mean(by_hand))


def test_limits_of_both_kinds_hold_together_and_the_edge_is_within():
    rows = rows_of([(True, True, 0.1), (True, True, 0.3), (True, True, 0.5)])
    assert metrics.build("attack.accuracy_within", {"l2": 0.3})(rows).tolist() == [0, 0, 1]
    assert metrics.build("attack.accuracy_within", {"queries": 31})(rows).tolist() == [0, 0, 1]
    assert metrics.build("attack.accuracy_within", {"queries": 30})(rows).tolist() == [0, 1, 1]
    assert metrics.build("attack.accuracy_within", {"l2": 0.3, "queries": 30})(rows).tolist() == [0, 1, 1]
    assert metrics.build("attack.accuracy_within", {"linf": "0.02"})(rows).tolist() == [0, 1, 1]
    assert metrics.build("attack.accuracy_within", {"l2": 1, "queries": 5}).needs == (
        "hit",
        "fooled",
        "l2",
        "queries",
    )


def test_an_image_moved_by_the_limit_is_within_also_where_float32_rounds():
    pixels = np.linspace(0.02, 0.8, 400, dtype=np.float32)
    moved = pixels + np.float32(32 / 255) - pixels
    assert (moved > 32 / 255).any()
    rows = {"hit": np.ones(400, int), "fooled": np.ones(400, bool), "linf": moved}
    assert metrics.build("attack.accuracy_within", {"linf": "32/255"})(rows).max() == 0
    assert metrics.build("attack.accuracy_within", {"linf": "31.9/255"})(rows).min() == 1


def test_a_metric_may_be_named_with_its_parameters():
    assert build_metric("attack.accuracy_within?l2=1/2&queries=100").l2 == 0.5
    assert build_metric("accuracy.top1") == metrics.build("accuracy.top1")
    for text, error, says in (
        ("attack.accuracy_within?l2=-1", BadParameter, "l2: expected"),
        ("attack.accuracy_within?linf=8", BadParameter, "did you mean 8/255"),
        ("attack.accuracy_within?l1=1", BadParameter, "unknown parameter 'l1'"),
        ("attack.accuracy_within?", BadParameter, "expected name"),
        ("attack.accuracy_within?l2=1&l2=2", BadParameter, "each key once"),
        ("attack.acuracy_within?l2=1", UnknownName, "did you mean 'attack.accuracy_within'"),
    ):
        with pytest.raises(error, match=says.replace("?", r"\?")):
            build_metric(text)


SUITE = """\
schema: 1
name: small
title: Small
data: {{source: digits, path: mnist}}
conditions:
  - {{use: gradient.fgsm, with: {{eps: 8/255}}}}
metrics: [{metrics}]
score: {{name: s, of: accuracy.top1}}
"""


def suite(tmp_path, written):
    path = tmp_path / "small.yaml"
    path.write_text(SUITE.format(metrics=written))
    return load_suite(str(path))


def test_a_suite_says_parameters_as_text_or_as_a_mapping(tmp_path):
    text = suite(tmp_path, "accuracy.top1, 'attack.accuracy_within?l2=0.5'")
    mapping = suite(tmp_path, "accuracy.top1, {use: attack.accuracy_within, with: {l2: 0.5}}")
    assert text.metrics == ("accuracy.top1", "attack.accuracy_within?l2=0.5")
    assert mapping.metrics == text.metrics
    assert mapping.digest == text.digest
    assert suite(tmp_path, "{use: accuracy.top1}").digest == suite(tmp_path, "accuracy.top1").digest


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("accuracy.top1, 'attack.accuracy_within?l2=x'", "l2: expected a number or a fraction"),
        ("accuracy.top1, {use: attack.accuracy_within, with: {l3: 1}}", "unknown parameter 'l3'"),
        ("accuracy.top1, {use: attack.median_l2, params: {}}", "params"),
        ("accuracy.top1, 3", "metrics"),
    ],
)
def test_a_bad_metric_is_answered_with_its_line(tmp_path, written, says):
    with pytest.raises(SuiteError, match=rf"small.yaml:7: .*{says}"):
        suite(tmp_path, written)
