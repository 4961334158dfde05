"""Outlier detection against scikit-learn and the published code by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import entr, logsumexp, softmax
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from robobench.errors import StoreError
from robobench.leaderboard.score import score
from robobench.registry import build_metric
from tests.metric_rows import answered, picked

FEW = settings(max_examples=40, deadline=None)
BOTH = st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=2, max_size=60).filter(
    lambda pairs: len({own for _, own in pairs}) == 2
)


def rows_of(pairs):
    """Confidences of which many are shared."""
    return {"logp_top1": np.log([c / 31 for c, _ in pairs]), "own": np.array([own for _, own in pairs])}


@given(BOTH)
@FEW
def test_areas_and_rates_are_those_of_scikit_learn(pairs):
    rows = rows_of(pairs)
    own, anomaly = rows["own"], -rows["logp_top1"]
    assert build_metric("ood.auroc")(rows) == pytest.approx(roc_auc_score(own, anomaly), abs=1e-12)
    assert build_metric("ood.aupr")(rows) == pytest.approx(average_precision_score(own, anomaly), abs=1e-12)
    fpr, tpr, _ = roc_curve(own, anomaly, drop_intermediate=False)
    assert build_metric("ood.fpr95")(rows) == pytest.approx(fpr[np.flatnonzero(tpr >= 0.95 - 1e-9)[0]])


@pytest.mark.parametrize(
    ("name", "anomaly"),
    [
        ("max_prob", lambda z: -softmax(z, axis=1).max(axis=1)),
        ("gini", lambda z: -(softmax(z, axis=1) ** 2).sum(axis=1)),
        ("max_logit", lambda z: -z.max(axis=1)),
        ("energy", lambda z: -logsumexp(z, axis=1)),
        ("entropy", lambda z: entr(softmax(z, axis=1)).sum(axis=1)),
    ],
)
def test_each_score_is_what_it_is_called(name, anomaly):
    rows = answered(7, 300)
    rows["own"] = rows["own"] | (rows["logits"].max(axis=1) < 2)
    expected = roc_auc_score(rows["own"], anomaly(np.float64(rows["logits"])))
    assert 0.55 < expected < 0.999
    assert build_metric(f"ood.auroc?score={name}")(rows) == pytest.approx(expected, abs=1e-6)
    needed = build_metric(f"ood.auroc?score={name}").needs
    only = {k: rows[k] for k in needed}
    assert build_metric(f"ood.aupr?score={name}")(only) > 0.3


def published_fpr(own, anomaly):
    """The recall nearest to 95 %, from the highest recall down."""
    order = np.argsort(-anomaly, kind="stable")
    found, taken = np.cumsum(own[order]), np.cumsum(~own[order])
    last = np.searchsorted(found, found[-1])
    recall = found[last::-1] / found[-1]
    return taken[last::-1][np.argmin(np.abs(recall - 0.95))] / np.sum(~own)


def test_the_rate_is_the_published_codes_but_for_ordinary_images_between_two_outliers():
    rng = np.random.Generator(np.random.PCG64(0))
    own = rng.permutation(np.arange(1200) < 200)
    anomaly = rng.normal(size=1200) + own
    edges = np.sort(anomaly[own])[::-1][189:191]  # the 190th outlier of 200, and the next
    between = np.sum(~own & (anomaly < edges[0]) & (anomaly > edges[1]))
    found = build_metric("ood.fpr95")({"logp_top1": -anomaly, "own": own})
    assert found == pytest.approx(published_fpr(own, anomaly) - between / 1000)
    assert between > 0
    assert 0.2 < found < 0.9


def test_chance_of_the_precision_is_the_share_of_outliers():
    rng = np.random.Generator(np.random.PCG64(1))
    rows = {"logp_top1": np.log(rng.random(12_000)), "own": np.arange(12_000) < 2000}
    assert build_metric("ood.aupr")(rows) == pytest.approx(1 / 6, abs=0.01)
    assert build_metric("ood.auroc")(rows) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("own", "expected"), [([0.1, 0.2], (1, 1, 0)), ([0.8, 0.9], (0, 5 / 12, 1)), ([0.5, 0.5], (0.5, 0.5, 1))]
)
def test_apart_the_wrong_way_round_and_all_the_same(own, expected):
    ordinary = [0.5, 0.5] if own[0] == own[1] else [0.3, 0.4]
    rows = {"logp_top1": np.log([*own, *ordinary]), "own": np.array([True, True, False, False])}
    found = [build_metric(f"ood.{m}")(rows) for m in ("auroc", "aupr", "fpr95")]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("name", ["auroc", "aupr", "fpr95"])
def test_one_kind_alone_is_undefined(name):
    rows = answered(1, 20)
    assert np.isnan(build_metric(f"ood.{name}")({**rows, "own": np.ones(20, bool)}))
    assert np.isnan(build_metric(f"ood.{name}")({**rows, "own": np.zeros(20, bool)}))
    lost = {**rows, "logp_top1": np.where(rows["own"], np.nan, rows["logp_top1"])}
    assert np.isnan(build_metric(f"ood.{name}")(lost))


def test_rows_without_an_answer_do_not_count():
    rows = answered(2, 80)
    more = {"logp_top1": np.append(rows["logp_top1"], [np.nan] * 3), "own": np.append(rows["own"], [1, 0, 1])}
    assert build_metric("ood.auroc")(more) == build_metric("ood.auroc")(rows)


def test_the_interval_holds_the_value_and_both_kinds_are_counted():
    rows = picked(answered(3, 200), np.arange(200))
    found = score(rows, ["ood.auroc"], resamples=200)[0]
    assert found.low < found.value < found.high
    assert found.n == 200


def test_rows_without_those_of_the_clean_condition_are_refused():
    rows = answered(4, 5)
    del rows["own"]
    with pytest.raises(StoreError, match="'own'"):
        score(rows, ["ood.auroc"])
