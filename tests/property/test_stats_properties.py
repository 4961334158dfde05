"""What holds of intervals, resampled means and ranks for any numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robobench import stats


@given(n=st.integers(1, 10**6), data=st.data(), level=st.floats(0.01, 0.999))
def test_wilson_holds_the_share_and_stays_inside(n, data, level):
    k = data.draw(st.integers(0, n))
    low, high = (float(v) for v in stats.wilson(k, n, level))
    assert 0 <= low <= k / n <= high <= 1
    mirrored = [float(v) for v in stats.wilson(n - k, n, level)]
    assert mirrored == pytest.approx([1 - high, 1 - low], abs=1e-9)


@given(
    n=st.integers(1, 40), c=st.integers(1, 4), r=st.integers(1, 12), seed=st.integers(0, 9), data=st.data()
)
@settings(max_examples=60)
def test_resampled_means_are_means_over_repeated_images(n, c, r, seed, data):
    numbers = st.floats(-5, 5) | st.just(float("nan"))
    values = data.draw(hnp.arrays(np.float64, (n, c), elements=numbers))
    weights = stats.resample_weights(n, r, seed)
    found = stats.resampled_means(values, weights)
    for b in range(r):
        drawn = np.repeat(values, weights[b], axis=0)
        for column in range(c):
            known = drawn[:, column][~np.isnan(drawn[:, column])]
            expected = known.mean() if known.size else np.nan
            assert found[b, column] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@given(hnp.arrays(np.float64, st.tuples(st.integers(2, 60), st.integers(1, 4)), elements=st.floats(-9, 9)))
def test_the_interval_is_inside_the_samples_and_grows_with_the_level(samples):
    low, high = stats.interval(samples, 0.9)
    wide_low, wide_high = stats.interval(samples, 0.99)
    assert (samples.min(axis=0) - 1e-12 <= wide_low).all()
    assert (wide_low <= low + 1e-12).all()
    assert (low <= high).all()
    assert (high <= wide_high + 1e-12).all()


hit_tables = hnp.arrays(
    np.float64, st.tuples(st.integers(6, 40), st.integers(1, 6)), elements=st.sampled_from([0.0, 1.0])
)


@given(hit_tables)
@settings(max_examples=60)
def test_ranks_hold_the_place_and_ties_cover_every_model(hits):
    hits = hits[:, np.argsort(-hits.mean(axis=0), kind="stable")]
    samples = stats.resampled_means(hits, stats.resample_weights(len(hits), 200, seed=0))
    point = hits.mean(axis=0)
    above = stats.better(point, samples, images=len(hits))
    models = hits.shape[1]
    assert not (above & above.T).any()
    for i in range(models):
        for j in range(models):
            assert not above[i, j] or point[i] > point[j]
    for place, (low, high) in enumerate(stats.rank_ranges(above), start=1):
        assert 1 <= low <= place <= high <= models
    groups = stats.tie_groups(above)
    assert {i for g in groups for i in g} == set(range(models))
    for group in groups:
        assert list(group) == list(range(group[0], group[-1] + 1))
        assert not above[np.ix_(group, group)].any()
    for group in groups:  # a group ends where its next neighbour can be told apart from one of it
        if group[-1] + 1 < models:
            assert above[list(group), group[-1] + 1].any()


@given(hit_tables, st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_what_is_clear_does_not_depend_on_the_order_of_models(hits, random):
    order = list(range(hits.shape[1]))
    random.shuffle(order)
    samples = stats.resampled_means(hits, stats.resample_weights(len(hits), 200, seed=0))
    above = stats.better(hits.mean(axis=0), samples, images=len(hits))
    shuffled = stats.better(hits.mean(axis=0)[order], samples[:, order], images=len(hits))
    assert (shuffled == above[np.ix_(order, order)]).all()
