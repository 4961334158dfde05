"""Intervals, resampling, ranks: against SciPy, against resampling by hand, and against worked cases."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy.stats import binom, binomtest, kurtosis, norm, skew

from robobench import stats

PINNED = [[1, 1, 0, 0, 0, 4], [1, 0, 1, 3, 1, 0], [1, 2, 0, 0, 2, 1]]
PINNED_NAMED = [[1, 1, 1, 1, 1, 1]]


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_wilson_agrees_with_scipy(level):
    for n in (1, 2, 20, 1797):
        for k in {0, 1, n // 3, n - 1, n}:
            ours = [float(v) for v in stats.wilson(k, n, level)]
            theirs = binomtest(k, n).proportion_ci(level, method="wilson")
            assert ours == pytest.approx([theirs.low, theirs.high], abs=1e-12)


def test_wilson_reaches_the_ends_exactly_and_knows_nothing_of_nothing():
    low, high = stats.wilson([0, 5, 0], [5, 5, 0])
    assert low[0] == 0.0
    assert high[1] == 1.0
    assert np.isnan([low[2], high[2]]).all()


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5), (1, 0)])
def test_wilson_refuses_impossible_counts(k, n):
    with pytest.raises(ValueError, match="wilson: expected 0 <= k <= n, got"):
        stats.wilson(k, n)


def test_wilson_refuses_a_level_that_is_no_probability():
    with pytest.raises(ValueError, match="level: expected a number between 0 and 1, got 95"):
        stats.wilson(1, 2, 95)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9])
def test_wilson_covers_about_as_often_as_it_says(share):
    n = 200
    low, high = stats.wilson(np.arange(n + 1), n)
    covered = binom.pmf(np.arange(n + 1), n, share)[(low <= share) & (share <= high)].sum()
    assert 0.92 < covered < 0.98


def test_resampled_images_never_change():
    """Published intervals rest on these numbers: a change needs new boards."""
    counts = stats.resample_weights(6, 3, seed=0)
    assert counts.tolist() == PINNED
    assert stats.resample_weights(6, 1, seed="1 base").tolist() == PINNED_NAMED


def test_resamples_do_not_depend_on_the_chunks_they_are_drawn_in(monkeypatch):
    whole = stats.resample_weights(7, 50, seed=3)
    means = stats.resampled_means(np.arange(14.0).reshape(7, 2), whole)
    monkeypatch.setattr(stats, "_CHUNK_WORDS", 10)
    assert (stats.resample_weights(7, 50, seed=3) == whole).all()
    assert stats.resampled_means(np.arange(14.0).reshape(7, 2), whole) == pytest.approx(means, abs=1e-12)


def test_more_resamples_begin_with_the_same_ones():
    assert (stats.resample_weights(11, 40, seed=1)[:15] == stats.resample_weights(11, 15, seed=1)).all()


def test_resamples_are_uniform_and_apart_for_each_seed():
    n, r = 50, 4000
    counts = stats.resample_weights(n, r, seed=0)
    assert (counts.sum(axis=1) == n).all()
    # an image's count is binomial(n, 1/n): mean 1, variance 1 - 1/n; 5 sigma of their estimates
    assert np.abs(counts.mean(axis=0) - 1).max() < 5 / np.sqrt(r)
    assert np.abs(counts.var(axis=0) - (1 - 1 / n)).max() < 5 * np.sqrt(3.0 / r)
    other = stats.resample_weights(n, r, seed=1)
    together = np.corrcoef(counts.ravel(), other.ravel())[0, 1]
    assert abs(together) < 5 / np.sqrt(n * r)


@pytest.mark.parametrize(("n", "r"), [(0, 5), (5, 0)])
def test_resampling_nothing_is_refused(n, r):
    with pytest.raises(ValueError, match="expected at least one image and one resample"):
        stats.resample_weights(n, r, 0)


def test_the_bootstrap_interval_of_a_mean_has_the_width_of_theory():
    rng = np.random.Generator(np.random.PCG64(5))
    values = rng.normal(size=(400, 1))
    samples = stats.resampled_means(values, stats.resample_weights(400, 4000, seed=0))
    low, high = stats.interval(samples)
    half = 1.96 * values.std() / np.sqrt(400)
    assert float(low[0]) == pytest.approx(values.mean() - half, abs=0.08 * half)
    assert float(high[0]) == pytest.approx(values.mean() + half, abs=0.08 * half)


def test_interval_leaves_undefined_resamples_out():
    samples = np.array([[1.0, np.nan, np.nan], [2.0, 5.0, np.nan], [3.0, 5.0, np.nan]])
    low, high = stats.interval(samples, 0.5)
    assert low.tolist()[:2] == [1.5, 5.0]
    assert high.tolist()[:2] == [2.5, 5.0]
    assert np.isnan([low[2], high[2]]).all()


def _samples(hits):
    """Accuracies of models (columns of hits) on resampled images."""
    hits = np.asarray(hits, float)
    return hits.mean(axis=0), stats.resampled_means(hits, stats.resample_weights(len(hits), 2000, seed=0))


def test_a_paired_difference_is_clearer_than_two_intervals():
    """B is right wherever A is, and on 15 more of 300: their intervals overlap, their difference is clear."""
    first = np.arange(300) < 150
    second = np.arange(300) < 165
    point, samples = _samples(np.stack([second, first], axis=1))
    low, high = stats.interval(samples)
    assert low[0] < high[1]
    assert stats.better(point, samples, images=300).tolist() == [[False, True], [False, False]]


def test_equal_models_are_tied():
    hits = np.stack([np.arange(100) % 2, np.arange(100) % 2], axis=1)
    assert not stats.better(*_samples(hits), images=100).any()


def test_many_equal_models_are_seldom_told_apart():
    """Of 100 boards of 8 equal models about 5 may have any pair told apart; pair by pair it would be many."""
    rng = np.random.Generator(np.random.PCG64(9))
    wrong = 0
    for _ in range(100):
        hits = rng.random((300, 8)) < 0.6
        point = hits.mean(axis=0)
        samples = stats.resampled_means(hits.astype(float), stats.resample_weights(300, 300, seed=0))
        wrong += bool(stats.better(point, samples, images=300).any())
    assert wrong <= 13  # binomial(100, .05) exceeds 13 with probability .0005


@pytest.mark.parametrize(("images", "clear"), [(5, False), (6, True)])
def test_a_difference_without_spread_needs_six_images(images, clear):
    hits = np.stack([np.ones(images), np.zeros(images)], axis=1)
    assert bool(stats.better(*_samples(hits), images=images)[0, 1]) is clear


def test_an_undefined_model_is_neither_better_nor_worse_and_hides_no_other():
    hits = np.stack([np.ones(50), np.arange(50) % 2], axis=1)
    point, samples = _samples(hits)
    point = np.append(point, np.nan)
    samples = np.column_stack([samples, np.full(len(samples), np.nan)])
    above = stats.better(point, samples, images=50)
    assert above.tolist() == [[False, True, False], [False, False, False], [False, False, False]]


def test_one_model_and_none():
    assert stats.better(np.array([0.5]), np.zeros((10, 1)), images=10).tolist() == [[False]]
    assert stats.rank_ranges(np.zeros((1, 1), bool)) == ((1, 1),)
    assert stats.tie_groups(np.zeros((0, 0), bool)) == ()


def test_ranks_and_ties_of_a_chain():
    """a > c, b > d, a > d; neighbours are tied: a tie is not transitive."""
    above = np.zeros((4, 4), bool)
    above[0, 2] = above[0, 3] = above[1, 3] = True
    assert stats.rank_ranges(above) == ((1, 2), (1, 3), (2, 4), (3, 4))
    assert stats.tie_groups(above) == ((0, 1), (1, 2), (2, 3))


def test_a_run_inside_a_longer_one_is_no_group_of_its_own():
    above = np.zeros((3, 3), bool)
    assert stats.tie_groups(above) == ((0, 1, 2),)


@pytest.mark.parametrize("n", [6, 7])
def test_resamples_follow_their_recipe_word_by_word(n):
    key = hashlib.blake2b(b"robobench resample 4", digest_size=16).digest()
    words = [
        int(w) for w in np.random.Philox(key=int.from_bytes(key, "little")).random_raw(2 * ((n + 1) // 2))
    ]
    for row, counts in enumerate(stats.resample_weights(n, 2, seed=4).tolist()):
        mine = words[row * len(words) // 2 : (row + 1) * len(words) // 2]
        halves = [h for w in mine for h in (w >> 32, w & 0xFFFFFFFF)][:n]
        expected = [0] * n
        for half in halves:
            expected[half * n >> 32] += 1
        assert counts == expected


def hall_by_hand(point, samples, level):
    """Hall's expansion, the inverse of the one for the distribution: -q1, then q1 q1' - x q1^2 / 2 - q2."""
    g, k = skew(samples), kurtosis(samples)
    ends = []
    for x in norm.ppf([(1 + level) / 2, (1 - level) / 2]):
        q1, slope = g * (2 * x**2 + 1) / 6, g * 4 * x / 6
        q2 = x * (k * (x**2 - 3) / 12 - g**2 * (x**4 + 2 * x**2 - 3) / 18)
        ends.append(point - samples.std() * (x - q1 + q1 * slope - x * q1**2 / 2 - q2))
    return ends


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_skewed_interval_follows_its_expansion(level):
    rng = np.random.Generator(np.random.PCG64(6))
    samples = np.stack([rng.gamma(k, size=500) for k in (6, 50)] + [-rng.gamma(9, size=500)], axis=1)
    low, high = stats.skewed_interval(samples.mean(axis=0), samples, level)
    for column, ends in enumerate(zip(low, high, strict=True)):
        expected = hall_by_hand(samples[:, column].mean(), samples[:, column], level)
        assert ends == pytest.approx(expected, rel=1e-9)


def test_the_skewed_interval_leans_to_the_side_that_rare_errors_come_from():
    errors = (np.arange(500) < 10).astype(float)[:, None]
    samples = stats.resampled_means(errors, stats.resample_weights(500, 4000, seed=0))
    low, high = (float(v[0]) for v in stats.skewed_interval(0.02, samples))
    wilson = [float(v) for v in stats.wilson(10, 500)]
    assert [low, high] == pytest.approx(wilson, abs=0.004)
    assert high - 0.02 > 1.3 * (0.02 - low)
    percentiles = [float(v[0]) for v in stats.interval(samples)]
    assert percentiles[1] < high - 0.002


def test_the_skewed_interval_leaves_undefined_resamples_out_and_yields_to_infinite_ones():
    rng = np.random.Generator(np.random.PCG64(6))
    whole = rng.gamma(4, size=99)
    samples = np.stack([np.append(whole, np.nan), np.append(whole, np.inf), np.full(100, np.nan)], axis=1)
    low, high = stats.skewed_interval(whole.mean(), samples)
    alone = stats.skewed_interval(whole.mean(), whole)
    assert (low[0], high[0]) == pytest.approx([float(v) for v in alone])
    assert low[1] == stats.interval(samples[:, [1]])[0][0]
    assert np.isnan([low[2], high[2]]).all()
    assert np.isnan(stats.tail(0.0, samples, 1.0)).tolist() == [False, True, True]


@pytest.mark.parametrize("limit", [-0.3, 0.0, 0.2, 0.5])
def test_a_tail_is_the_level_at_which_the_interval_of_a_difference_reaches_the_limit(limit):
    samples = np.random.Generator(np.random.PCG64(3)).gamma(3, size=400) / 3 - 1
    p = float(stats.tail(0.1, samples, limit))
    low, high = stats.difference_interval(0.1, samples, abs(1 - 2 * p))
    assert float(low if p < 0.5 else high) == pytest.approx(limit, abs=1e-6)
    assert p == pytest.approx(norm.cdf((limit - 0.1) / samples.std()))


def test_a_tail_is_small_far_away_and_unknown_where_nothing_moves():
    samples = np.array([-1.0, 1.0, 0.0, 0.5])
    assert float(stats.tail(50.0, samples, 0.0)) < 1e-9
    assert float(stats.tail(-50.0, samples, 0.0)) > 1 - 1e-9
    assert np.isnan(stats.tail(1.0, np.full(9, 1.0), 0.0))
    assert np.isnan(stats.difference_interval(1.0, np.full(9, 1.0))).all()
