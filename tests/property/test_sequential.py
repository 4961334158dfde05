"""Intervals that are looked at again and again still err in at most 5 %; fixed-n intervals do not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robobench.sequential import difference_sequence, images_for_precision, reach, share_sequence
from robobench.stats import wilson
from tests.peeking import at_each, counts, ever_wrong, iid, in_rounds, mean_so_far

RUNS = 2000
LOOKS = np.unique(np.geomspace(5, 2000, 60).astype(int))  # nearly every step at first
SURE = 2.33 * math.sqrt(0.05 * 0.95 / RUNS)  # what 2,000 runs add to a true 5 % in 99 of 100 cases


@pytest.mark.parametrize(("share", "seed"), [(0.02, 1), (0.3, 2), (0.76, 3)])
def test_the_sequence_errs_in_at_most_five_per_cent_however_often_one_looks(share, seed):
    answers = iid(share, RUNS, int(LOOKS[-1]), seed)
    assert ever_wrong(answers, share, LOOKS, share_sequence) <= 0.05 + SURE
    assert ever_wrong(answers, share, LOOKS, wilson) > 0.25, "a fixed-n interval is not meant for this"


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_classes_that_differ_and_take_turns_do_not_break_it(classes):
    """Half of the classes nearly always right, half nearly never: nothing like independent draws."""
    shares = np.where(np.arange(classes) % 2 == 0, 0.97, 0.05)
    answers, there = in_rounds(shares, RUNS, 2000, seed=classes)
    assert ever_wrong(answers, mean_so_far(there)[LOOKS - 1], LOOKS, share_sequence) <= 0.05 + SURE
    borders = np.arange(96, 2000, 96)  # of work items, also inside a round
    assert ever_wrong(answers, shares.mean(), borders, share_sequence) <= 0.05 + SURE


def test_a_mean_that_drifts_is_covered_as_it_is_at_each_look():
    """All easy classes first: no round at all, and the mean so far is still covered."""
    shares = np.repeat([0.95, 0.1], 1000)
    answers = np.random.default_rng(7).random((RUNS, shares.size)) < shares
    assert ever_wrong(answers, mean_so_far(shares)[LOOKS - 1], LOOKS, share_sequence) <= 0.05 + SURE


def stops(answers: np.ndarray, looks: np.ndarray, precision: float) -> np.ndarray:
    """For each run, which look is the first that is narrow enough."""
    right = counts(answers, looks)
    (off,) = at_each(reach, right, np.broadcast_to(looks, right.shape))
    narrow = off <= precision
    assert narrow[:, -1].all(), "every run ends"
    return narrow.argmax(axis=1)


@pytest.mark.parametrize(("share", "precision"), [(0.5, 0.05), (0.9, 0.05), (0.98, 0.04)])
def test_where_a_run_stops_its_share_is_within_the_precision(share, precision):
    n = int(images_for_precision(0.5, precision)) + 64
    answers = iid(share, RUNS, n, seed=11)
    looks = np.arange(32, n, 32)
    at = stops(answers, looks, precision)
    measured = counts(answers, looks)[np.arange(RUNS), at] / looks[at]
    assert (np.abs(measured - share) > precision).mean() <= 0.05 + SURE
    expected = int(images_for_precision(share, precision))
    assert abs(np.median(looks[at]) - expected) <= max(32, 0.1 * expected), "planning says how far runs go"


def test_a_rule_that_stops_a_fixed_interval_at_its_pleasure_is_wrong_and_the_sequence_right():
    """Going on until the interval is without 1/2, with models that are right half of the time."""
    answers = iid(0.5, RUNS, int(LOOKS[-1]), seed=5)
    right = counts(answers, LOOKS)
    claims = {}
    for name, interval in (("fixed", wilson), ("sequence", share_sequence)):
        low, high = at_each(interval, right, np.broadcast_to(LOOKS, right.shape))
        claims[name] = float(((low > 0.5) | (high < 0.5)).any(axis=1).mean())
    assert claims["sequence"] <= 0.05 + SURE
    assert claims["fixed"] > 0.25


@pytest.mark.parametrize(("alone", "seed"), [(0.02, 1), (0.1, 2), (0.5, 3)])
def test_two_models_of_equal_accuracy_are_told_apart_in_at_most_five_per_cent(alone, seed):
    """alone: images that one of two models has right, in ten classes that favour one model or the other."""
    rng = np.random.default_rng(seed)
    lean = np.where(np.arange(10) % 2 == 0, 0.9, 0.1)  # whose images they are, class by class
    classes = np.concatenate([rng.permutation(10) for _ in range(200)])
    apart = rng.random((RUNS, classes.size)) < alone
    first = rng.random(apart.shape) < lean[classes]
    wins, losses = (apart & first).cumsum(axis=1), (apart & ~first).cumsum(axis=1)
    looks = np.arange(100, 2001, 100)
    n = np.broadcast_to(looks, (RUNS, looks.size))
    low, high = at_each(difference_sequence, wins[:, looks - 1], losses[:, looks - 1], n)
    assert ((low > 0) | (high < 0)).any(axis=1).mean() <= 0.05 + SURE


def test_a_difference_is_found_and_covered():
    rng = np.random.default_rng(9)
    drawn = rng.random((500, 4000))
    wins, losses = (drawn < 0.08).cumsum(axis=1), (drawn > 0.98).cumsum(axis=1)
    looks = np.arange(200, 4001, 200)
    n = np.broadcast_to(looks, (500, looks.size))
    low, high = at_each(difference_sequence, wins[:, looks - 1], losses[:, looks - 1], n)
    assert ((low > 0.06) | (high < 0.06)).any(axis=1).mean() <= 0.05 + 2.33 * math.sqrt(0.05 * 0.95 / 500)
    assert (low[:, -1] > 0).all(), "6 points are settled long before 4,000 images"


def mixture(k: float, n: int, mean: np.ndarray) -> np.ndarray:
    """The mixed wealth against each mean, the plain way: every product by itself."""
    sizes = np.exp(np.linspace(math.log(0.01), math.log(4.0), 48))
    total = np.zeros_like(mean)
    for turn in (1, -1):
        for size in sizes:
            factor = math.exp(turn * size)
            total += (factor / (1 - mean + mean * factor)) ** k * (1 / (1 - mean + mean * factor)) ** (n - k)
    return total / (2 * sizes.size)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 40), (40, 40), (3, 17), (12, 100), (150, 200), (240, 250)])
def test_the_ends_are_where_brute_force_finds_them(k, n):
    grid = np.linspace(0, 1, 200_001)
    inside = grid[mixture(k, n, grid) < 20]
    low, high = share_sequence(k, n)
    assert abs(low - inside[0]) < 1e-5
    assert abs(high - inside[-1]) < 1e-5
    assert np.diff(np.flatnonzero(mixture(k, n, grid) < 20)).max() == 1, "one interval, without holes"


@given(st.integers(1, 50_000), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_an_interval_holds_what_was_measured_and_is_wider_than_one_for_a_fixed_n(n, part, level):
    k = round(part * n)
    low, high = share_sequence(k, n, level)
    assert 0 <= low <= k / n <= high <= 1
    fixed = wilson(k, n, level)
    assert high - low > 0.99 * float(fixed[1] - fixed[0])
    turned = share_sequence(n - k, n, level)
    assert np.allclose([1 - turned[1], 1 - turned[0]], [low, high], atol=1e-9), (
        "right and wrong change places"
    )
    more = share_sequence(k, n, (1 + level) / 2)
    assert more[0] <= low
    assert more[1] >= high


@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 20_000))
@settings(max_examples=60, deadline=None)
def test_a_difference_is_without_0_exactly_when_the_sign_test_rejects(wins, losses, both):
    low, high = difference_sequence(wins, losses, wins + losses + both)
    sizes = np.exp(np.linspace(math.log(0.01), math.log(0.95), 36))
    each = [wins * np.log1p(s * sizes) + losses * np.log1p(-s * sizes) for s in (1, -1)]
    wealth = np.logaddexp.reduce(np.concatenate(each)) - math.log(72)
    if abs(wealth - math.log(20)) > 1e-6:
        assert bool((low > 0) | (high < 0)) == bool(wealth > math.log(20))
    back = difference_sequence(losses, wins, wins + losses + both)
    assert np.allclose([-back[1], -back[0]], [low, high], atol=1e-9)


def test_edges():
    assert [float(v) for v in share_sequence(0, 0)] == [0, 1]
    assert [float(v) for v in difference_sequence(0, 0, 0)] == [-1, 1]
    assert math.isnan(float(reach(0, 0)))
    low, high = share_sequence([[0], [5]], [10, 50_000])
    assert low.shape == high.shape == (2, 2)
    with pytest.raises(ValueError, match="0 <= k <= n"):
        share_sequence(3, 2)
    with pytest.raises(ValueError, match="wins"):
        difference_sequence(3, 2, 4)
    with pytest.raises(ValueError, match="precision"):
        images_for_precision(0.5, 0)
    with pytest.raises(ValueError, match="level"):
        share_sequence(1, 2, level=1.0)


@given(st.floats(0, 1), st.sampled_from([0.01, 0.03, 0.1]))
@settings(max_examples=30, deadline=None)
def test_the_images_of_a_precision_are_the_fewest(share, precision):
    n = int(images_for_precision(share, precision))
    assert reach(share * n, n) <= precision
    assert n == 1 or reach(share * (n - 1), n - 1) > precision


def test_images_have_one_shape_whatever_their_number():
    assert images_for_precision([[0.1, 0.5]], 0.1).shape == (1, 2)


@pytest.mark.slow
def test_the_committed_table_holds_and_comes_out_again():
    from benchmarks import peeking

    found = peeking.rows()
    assert [row for part in found.values() for row in part if not row.holds] == []
    assert peeking.markdown(found) == peeking.PAGE.read_text(encoding="utf-8")
