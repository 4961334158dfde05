"""What every metric of all rows promises: resamples are repeated rows, and the order of rows is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robobench.contracts import ResampledMetric
from robobench.registry import build_metric, metrics
from tests.metric_rows import answered, picked, repeated

STEMS = ("accuracy", "calibration", "consistency", "ood", "selective", "shape")
EXTRA = (
    "accuracy.per_class?at_least=4",
    "accuracy.worst_class?at_least=4",
    "calibration.ece?bins=7",
    "calibration.adaptive_ece?bins=4",
    "calibration.rms?size=7",
    "calibration.rms?size=7&legacy=true",
    "calibration.sweep_ece?most=5",
    "calibration.tace?threshold=0.2",
    "consistency.accuracy_difference?who=humans",
    "consistency.error?who=humans",
    "consistency.observed?who=humans",
    *(f"ood.{m}?score={s}" for m in ("auroc", "aupr", "fpr95") for s in ("gini", "max_logit", "energy", "entropy")),
    "selective.accuracy?coverage=0.3",
    "selective.coverage?risk=0.3",
)  # fmt: skip
NAMES = (*(n for n in metrics.names() if n.partition(".")[0] in STEMS), *EXTRA)
WHOLE = [n for n in NAMES if isinstance(build_metric(n), ResampledMetric)]
QUICK = settings(max_examples=6, deadline=None)
ROWS = st.builds(
    answered,
    seed=st.integers(0, 10**6),
    n=st.integers(1, 60),
    classes=st.sampled_from([2, 6]),
    ties=st.booleans(),
    holes=st.booleans(),
)


def test_the_metrics_of_all_rows_are_there():
    assert len(WHOLE) > 30
    assert {n.partition(".")[0] for n in WHOLE} == set(STEMS) - {"shape"}


@pytest.mark.parametrize("name", WHOLE)
@given(rows=ROWS, seed=st.integers(0, 10**6))
@QUICK
def test_resamples_are_repeated_rows(name, rows, seed):
    metric = build_metric(name)
    n = len(rows["hit"])
    rng = np.random.Generator(np.random.PCG64(seed))
    weights = rng.multinomial(n, np.full(n, 1 / n), size=4).astype(np.uint16)
    found = metric.resampled(rows, weights)
    assert found.shape == (4,)
    for value, counts in zip(found, weights, strict=True):
        assert value == pytest.approx(metric(repeated(rows, counts)), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
@given(rows=ROWS, seed=st.integers(0, 10**6))
@QUICK
def test_the_order_and_the_pieces_of_rows_change_nothing(name, rows, seed):
    """Rows come in files of any order; a value for each image is that of the image alone."""
    metric = build_metric(name)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(rows["hit"]))
    cut = len(order) // 2
    parts = [picked(rows, order[:cut]), picked(rows, order[cut:])]
    merged = {k: np.concatenate([p[k] for p in parts]) for k in rows}
    if isinstance(metric, ResampledMetric):
        assert metric(merged) == pytest.approx(metric(rows), abs=1e-9, nan_ok=True)
        return
    whole = metric(rows)
    assert np.array_equal(whole[order], metric(merged), equal_nan=True)
    if name != "accuracy.top5":  # undefined for all rows where one has fewer than five classes
        assert np.array_equal(np.concatenate([metric(p) for p in parts]), whole[order], equal_nan=True)


@pytest.mark.parametrize("name", WHOLE)
@given(rows=ROWS)
@QUICK
def test_rows_that_do_not_count_change_nothing(name, rows):
    """What `uses` says of a metric: without the other rows it has the same value, without its own none."""
    metric = build_metric(name)
    used = metric.uses(rows)
    assert used.dtype == np.bool_
    assert used.shape == rows["hit"].shape
    kept = used | ~rows["own"] if name.endswith("_scaled") else used
    assert metric(picked(rows, kept)) == pytest.approx(metric(rows), abs=1e-12, nan_ok=True)
    if not used.any():
        assert np.isnan(metric(rows))


@pytest.mark.parametrize("name", WHOLE)
def test_nothing_is_undefined(name):
    metric = build_metric(name)
    nothing = answered(0, 0)
    assert np.isnan(metric(nothing))
    some = answered(1, 20)
    assert np.isnan(metric.resampled(some, np.zeros((2, 20), np.uint16))).all()


@pytest.mark.parametrize("name", WHOLE)
@given(rows=ROWS)
@QUICK
def test_values_stay_in_their_range(name, rows):
    metric = build_metric(name)
    value = metric(rows)
    low, high = {
        "kappa": (-1, 1),
        "temperature": (0.2, 5),
        "nats": (0, np.inf),
    }.get(metric.unit, (0, 1))
    assert np.isnan(value) or low - 1e-9 <= value <= high + 1e-9
