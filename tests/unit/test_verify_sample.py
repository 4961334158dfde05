"""How many rows a verification draws, and which: against scipy's hypergeometric distribution and by drawing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom, hypergeom

from robobench.checks.sample import CHANCE, chance, draw, enough, fewest_false, fresh_seed
from robobench.checks.verify_attacks import ALPHA, Pair, upper_tail, weigh
from robobench.checks.verify_plan import share

SIZES = (1, 2, 3, 7, 50, 99, 100, 101, 150, 500, 999, 1000, 17_000, 1_000_000)


@pytest.mark.parametrize("rows", SIZES)
def test_the_chance_is_the_hypergeometric_one(rows):
    for drawn in sorted({0, 1, rows // 20, rows // 3, rows - 1, rows}):
        false = fewest_false(rows)
        assert chance(rows, drawn) == pytest.approx(1 - hypergeom(rows, false, drawn).pmf(0), abs=1e-9)
    assert chance(rows, rows) == 1.0
    assert chance(rows, 0) == 0.0


@pytest.mark.parametrize("rows", SIZES)
def test_no_row_too_few_and_none_too_many_is_drawn(rows):
    size = enough(rows)
    assert chance(rows, size) >= CHANCE
    assert chance(rows, size - 1) < CHANCE
    assert enough(rows, at_least=rows) == rows


def test_of_few_rows_one_counts_as_the_hundredth_part():
    assert [fewest_false(n) for n in (1, 99, 100, 101, 200, 201)] == [1, 1, 1, 2, 2, 3]
    assert enough(0) == 0
    assert chance(0, 0) == 0.0, "of no rows nothing is known"
    with pytest.raises(ValueError, match="expected 0 <= drawn"):
        chance(10, 11)


def test_simulated_draws_catch_as_often_as_is_said():
    rows = [("cell", f"i{n}") for n in range(200)]
    false = set(rows[:: 200 // fewest_false(200)][: fewest_false(200)])
    for size in (60, 180):
        caught = np.mean([bool(false & set(draw(rows, size, seed))) for seed in range(1500)])
        assert abs(caught - chance(200, size)) < 4 * np.sqrt(0.25 / 1500)


def test_a_draw_depends_on_seed_and_rows_and_not_on_their_order():
    rows = [(cell, f"i{n}") for cell in "ab" for n in range(40)]
    one = draw(rows, 20, seed=1)
    assert one == draw(reversed(rows), 20, seed=1)
    assert one == draw(rows + rows, 20, seed=1), "equal cells under several names count once"
    assert one == draw(rows, 30, seed=1)[:20], "more rows are added, none is exchanged"
    assert set(one) != set(draw(rows, 20, seed=2))
    assert len(set(one)) == 20


def test_every_row_is_drawn_equally_often():
    rows = [("c", f"i{n}") for n in range(20)]
    seen = Counter(row for seed in range(2000) for row in draw(rows, 5, seed))
    expected = 2000 * 5 / 20
    statistic = sum((seen[row] - expected) ** 2 / (expected * (1 - 5 / 20)) for row in rows)
    assert statistic < 45, "chi-square with 19 degrees of freedom, beyond 45 once in a thousand"


def test_fresh_seeds_differ_and_pass_through_json():
    seeds = {fresh_seed() for _ in range(50)}
    assert len(seeds) == 50
    assert all(0 <= s < 2**53 for s in seeds)


def test_a_share_is_rounded_up():
    assert [share(0.05, n) for n in (0, 1, 20, 21)] == [0, 1, 1, 2]
    assert share(1.0, 33) == 33


def pairs(n, claimed, ours, ladder="PGD", first=0):
    return [Pair(ladder, f"i{first + k}", claimed, ours) for k in range(n)]


@pytest.mark.parametrize(("k", "n"), [(0, 0), (0, 5), (1, 1), (5, 5), (7, 9), (30, 40)])
def test_the_sign_test_is_the_binomial_one(k, n):
    assert upper_tail(k, n) == pytest.approx(binom.sf(k - 1, n, 0.5), rel=1e-12)


def test_more_falls_than_claimed_refute_and_as_many_do_not():
    standing = pairs(100, True, True)
    assert not weigh(standing).refuted
    assert weigh(standing + pairs(7, True, False, first=100)).refuted
    assert not weigh(standing + pairs(6, True, False, first=100)).refuted
    both = pairs(20, True, False, first=100) + pairs(20, False, True, first=120)
    assert not weigh(standing + both).refuted
    assert not weigh(standing + pairs(40, False, True, first=100)).refuted, "weaker than claimed is no fraud"
    assert weigh([]).p == 1.0


def test_levels_of_one_image_are_no_separate_witnesses():
    one = [Pair("PGD", "i0", True, False) for _ in range(20)]
    assert (weigh(one).fell, weigh(one).p) == (1, 0.5)
    mixed = [Pair("PGD", "i0", True, False), Pair("PGD", "i0", False, True)]
    assert (weigh(mixed).fell, weigh(mixed).stood) == (0, 0)


def test_a_false_ladder_is_seen_beside_noisy_honest_ones():
    noise = pairs(30, True, False, "FGSM") + pairs(30, False, True, "FGSM", first=30)
    false = pairs(12, True, False, "PGD", first=100)
    found = weigh(noise + false)
    assert binom.sf(41, 72, 0.5) > ALPHA / 3, "all rows together do not show it"
    assert found.refuted
    assert found.p == pytest.approx(3 * 0.5**12)


def test_honest_claims_are_refuted_as_rarely_as_is_said():
    rng = np.random.default_rng(0)
    refuted = 0
    for _ in range(2000):
        signs = rng.integers(0, 2, 60)
        rows = [Pair(f"l{k % 3}", f"i{k}", bool(s), not s) for k, s in enumerate(signs)]
        refuted += weigh(rows).refuted
    assert refuted / 2000 <= ALPHA + 3 * np.sqrt(ALPHA / 2000)


def test_the_power_is_what_simulated_false_claims_find():
    rng = np.random.default_rng(1)
    claimed = weigh(pairs(80, True, True))
    assert 0.05 < claimed.power < 0.2
    seen = 0
    for _ in range(400):
        fell = rng.random(80) < claimed.power
        seen += weigh([Pair("PGD", f"i{k}", True, not f) for k, f in enumerate(fell)]).refuted
    assert abs(seen / 400 - 0.8) < 4 * np.sqrt(0.16 / 400)
    assert np.isnan(weigh(pairs(5, True, True)).power), "five images can show nothing"
