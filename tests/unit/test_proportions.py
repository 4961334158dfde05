"""Proportions alone and in pairs: against SciPy, against likelihoods maximised by search, by exact sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binom, binomtest, norm

from robobench import proportions as pr
from tests.exact import paired_outcomes

counts = st.integers(0, 60)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_clopper_pearson_agrees_with_scipy(level):
    for n in (1, 2, 20, 1797):
        for k in {0, 1, n // 3, n - 1, n}:
            ours = [float(v) for v in pr.clopper_pearson(k, n, level)]
            theirs = binomtest(k, n).proportion_ci(level, method="exact")
            assert ours == pytest.approx([theirs.low, theirs.high], abs=1e-12)


def test_clopper_pearson_never_covers_too_seldom():
    for n, share in ((1, 0.5), (12, 0.31), (100, 0.02), (500, 0.98)):
        k = np.arange(n + 1)
        low, high = pr.clopper_pearson(k, n)
        assert binom.pmf(k, n, share)[(low <= share) & (share <= high)].sum() >= 0.95


def test_clopper_pearson_of_nothing_is_undefined_and_of_the_impossible_refused():
    low, high = pr.clopper_pearson([0, 3], [0, 3])
    assert np.isnan([low[0], high[0]]).all()
    assert high[1] == 1.0
    with pytest.raises(ValueError, match="clopper_pearson: expected 0 <= k <= n, got k=4, n=3"):
        pr.clopper_pearson(4, 3)
    with pytest.raises(ValueError, match="level: expected a number between 0 and 1, got 95"):
        pr.clopper_pearson(1, 3, 95)


def test_mcnemar_agrees_with_scipy():
    one, two = np.meshgrid([0, 1, 2, 7, 40, 3000], [0, 1, 5, 39, 3100], indexing="ij")
    ours = pr.mcnemar(one, two)
    for a, b, p in zip(one.ravel(), two.ravel(), ours.ravel(), strict=True):
        expected = binomtest(int(a), int(a + b)).pvalue if a + b else 1.0
        assert p == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.7])
def test_mcnemar_finds_a_difference_between_equals_in_at_most_one_of_twenty(share):
    for n in (10, 60, 300):
        first, second, chance = paired_outcomes(n, share / 2, share / 2)
        assert chance[pr.mcnemar(first, second) <= 0.05].sum() <= 0.05


def score_by_search(first, second, n, difference):
    """Tango's statistic, the likelihood under the supposed difference maximised by search."""

    def unlikely(q):
        shares = np.array([q + difference, q, 1 - 2 * q - difference])
        seen = np.array([first, second, n - first - second])
        return -sum(k * np.log(max(p, 1e-300)) for k, p in zip(seen, shares, strict=True) if k)

    bounds = (max(0.0, -difference), (1 - difference) / 2)
    q = minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x
    return (first - second - n * difference) / np.sqrt(n * (2 * q + difference * (1 - difference)))


@pytest.mark.parametrize(
    ("first", "second", "n"), [(10, 2, 100), (2, 10, 30), (0, 5, 40), (5, 0, 40), (40, 35, 90), (1, 1, 8)]
)
def test_the_paired_interval_is_where_the_score_is_the_quantile(first, second, n):
    ours = [float(v) for v in pr.paired_interval(first, second, n)]
    middle = (first - second) / n
    low = brentq(lambda d: score_by_search(first, second, n, d) - 1.959964, -0.999, middle - 1e-9)
    high = brentq(lambda d: score_by_search(first, second, n, d) + 1.959964, middle + 1e-9, 0.999)
    assert ours == pytest.approx([low, high], abs=2e-6)


@pytest.mark.parametrize("n", [1, 5, 300])
def test_the_paired_interval_of_models_that_always_agree_or_never(n):
    z = norm.ppf(0.975) ** 2
    low, high = pr.paired_interval([0, n], [0, 0], n)
    assert [low[0], high[0]] == pytest.approx([-z / (n + z), z / (n + z)], abs=1e-9)
    assert high[1] == 1.0
    assert low[1] == pytest.approx((n - z) / (n + z), abs=1e-9)  # Wilson's, of a share twice as far apart


def test_the_paired_interval_of_nothing_is_undefined():
    assert np.isnan(pr.paired_interval(0, 0, 0)).all()
    assert np.isnan(pr.noninferior(0, 0, 0, 0.01))


@given(counts, counts, st.integers(0, 200), st.floats(0.5, 0.999))
def test_the_paired_interval_holds_the_difference_and_turns_with_the_models(first, second, rest, level):
    n = first + second + rest
    if n:
        low, high = (float(v) for v in pr.paired_interval(first, second, n, level))
        assert -1 <= low <= (first - second) / n <= high <= 1
        assert pr.paired_interval(second, first, n, level) == pytest.approx((-high, -low), abs=1e-12)


@given(counts, counts, st.integers(1, 200))
def test_the_interval_and_the_score_test_agree(first, second, rest):
    """Without its correction, the test of a difference rejects exactly where the interval does not reach."""
    n = first + second + rest
    low, high = (float(v) for v in pr.paired_interval(first, second, n, 0.9))
    for d in (low - 1e-6, low + 1e-6, high - 1e-6, high + 1e-6):
        t = float(pr._statistic(*(np.float64(v) for v in (first, second, n, d))))
        assert (abs(t) <= norm.ppf(0.95)) == (low <= d <= high)


COVERED = [(n, a, b) for n in (30, 100, 500) for a, b in ((0.02, 0.02), (0.1, 0.02), (0.1, 0.1), (0.3, 0.1))]


@pytest.mark.parametrize(("n", "first", "second"), COVERED)
def test_the_paired_interval_covers_about_as_often_as_it_says(n, first, second):
    one, two, chance = paired_outcomes(n, first, second)
    low, high = pr.paired_interval(one, two, n)
    covered = chance[(low <= first - second) & (first - second <= high)].sum()
    assert 0.93 < covered < (0.96 if n * (first + second) > 15 else 1.0)


@pytest.mark.parametrize("n", [20, 100, 500])
@pytest.mark.parametrize("margin", [0.01, 0.05, 0.1])
def test_noninferiority_is_claimed_wrongly_in_at_most_one_of_twenty(n, margin):
    for apart in (margin, 1.1 * margin, margin + 0.05, margin + 0.3):
        one, two, chance = paired_outcomes(n, (apart - margin) / 2, (apart + margin) / 2)
        assert chance[pr.noninferior(one, two, n, margin) <= 0.05].sum() <= 0.05


def test_the_correction_is_needed_for_that():
    one, two, chance = paired_outcomes(100, 0.0, 0.1)
    plain = pr._statistic(one, two, np.float64(100), np.float64(-0.1))
    assert chance[plain > norm.ppf(0.95)].sum() > 0.055


def test_equivalence_is_the_harder_of_the_two_sides():
    first, second = np.array([3, 12, 0]), np.array([9, 12, 0])
    both = pr.equivalent(first, second, 900, 0.02)
    sides = [pr.noninferior(first, second, 900, 0.02), pr.noninferior(second, first, 900, 0.02)]
    assert both == pytest.approx(np.max(sides, axis=0))
    assert both == pytest.approx(pr.equivalent(second, first, 900, 0.02))


@pytest.mark.parametrize("margin", [0, 1, -0.1, float("nan")])
def test_a_margin_is_a_difference_of_shares(margin):
    with pytest.raises(ValueError, match="margin: expected a difference between 0 and 1"):
        pr.noninferior(1, 1, 10, margin)


@pytest.mark.parametrize(("first", "second", "n"), [(-1, 0, 5), (0, -1, 5), (3, 3, 5)])
def test_impossible_counts_are_refused(first, second, n):
    with pytest.raises(ValueError, match="expected counts of images, together at most n"):
        pr.paired_interval(first, second, n)


def holm_by_steps(p):
    """Which hypotheses fall at each level, one after the other."""
    adjusted, left, least = {}, sorted(range(len(p)), key=lambda i: p[i]), 0.0
    while left:
        i = left[0]
        least = max(least, min(1.0, len(left) * p[i]))
        adjusted[i] = least
        left = left[1:]
    return [adjusted[i] for i in range(len(p))]


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_follows_its_steps(p):
    assert pr.holm(p).tolist() == pytest.approx(holm_by_steps(p))


def test_holm_leaves_undefined_tests_out():
    assert pr.holm([np.nan, 0.02, np.nan, 0.03]).tolist() == pytest.approx(
        [np.nan, 0.04, np.nan, 0.04], nan_ok=True
    )
    assert pr.holm([]).size == 0


POWERS = [(300, 0.10, 0.04), (1000, 0.06, 0.03), (2000, 0.11, 0.09), (500, 0.3, 0.3)]


@pytest.mark.parametrize(("n", "first", "second"), POWERS)
def test_power_is_about_what_exact_sums_give(n, first, second):
    one, two, chance = paired_outcomes(n, first, second)
    found = (pr.mcnemar(one, two) < 0.05) & (one > two)
    assert pr.difference_power(first, second, n) == pytest.approx(chance[found].sum(), abs=0.02)
    for margin in (0.02, 0.05):
        held = pr.noninferior(one, two, n, margin) < 0.05
        assert pr.noninferiority_power(first, second, n, margin) == pytest.approx(
            chance[held].sum(), abs=0.02
        )
        same = pr.equivalent(one, two, n, margin) < 0.05
        assert pr.equivalence_power(first, second, n, margin) == pytest.approx(chance[same].sum(), abs=0.02)


def test_power_does_not_care_which_model_is_ahead():
    assert pr.difference_power(0.02, 0.07, 400) == pr.difference_power(0.07, 0.02, 400)
    assert pr.equivalence_power(0.02, 0.03, 400, 0.05) == pytest.approx(
        pr.equivalence_power(0.03, 0.02, 400, 0.05)
    )


def test_models_that_never_disagree_are_equivalent_from_a_known_number_on():
    """The score test is then (n m - 1/2) / sqrt(n m (1 - m)) against 1.645."""
    needed = pr.images_needed(lambda n: pr.equivalence_power(0.0, 0.0, n, 0.01))
    assert needed == 361
    assert pr.equivalent(0, 0, needed, 0.01) < 0.05 < pr.equivalent(0, 0, needed - 1, 0.01)


@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.95])
def test_needed_images_are_the_fewest_with_the_power(wanted):
    def power(n):
        return pr.equivalence_power(0.03, 0.035, n, 0.02)

    needed = pr.images_needed(power, wanted)
    assert power(needed) >= wanted > power(needed - 1)
    assert pr.images_needed(lambda n: 1.0, wanted) == 1


def test_shares_beyond_one_are_refused():
    with pytest.raises(ValueError, match="expected shares of images, together at most 1"):
        pr.difference_power(0.7, 0.6, 100)
