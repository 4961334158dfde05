"""Families compared with the model as the unit: against a plain regression, by simulation, and where nothing can be told."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from robobench.cli.main import _run
from robobench.leaderboard.build import build
from robobench.leaderboard.families import CLEAN, SIZE, TRAINING, Member, compare_families, members_of
from tests.boards import realistic
from tests.results import make_results

SIZES = {"cnn": 6, "vit": 7, "mlp": 4}


def drawn(rng, gap=0.0, counts=SIZES, noise=0.03, training=False):
    """Models whose score goes by clean accuracy and size, a ViT's lying `gap` above."""
    found = []
    for family, n in counts.items():
        for k in range(n):
            clean, size = rng.uniform(0.6, 0.9), float(np.exp(rng.uniform(15, 19)))
            score = 0.3 + 0.1 * math.log(clean / (1 - clean)) + 0.02 * math.log(size)
            score += gap * (family == "vit") + rng.normal(0, noise * (1 + (family == "cnn")))
            label = ("in1k", "in21k")[k % 2] if training else None
            found.append(Member(f"{family}{k}", family, score, clean, size, label))
    return found


def plain(members, one, two):
    """The same by hand: indicators, least squares, HC3 model by model."""
    families = sorted({m.family for m in members})
    x = np.array(
        [
            [
                *(float(m.family == f) for f in families),
                math.log(m.clean / (1 - m.clean)),
                math.log(m.parameters),
            ]
            for m in members
        ]
    )
    y = np.array([m.score for m in members])
    beta, *_ = np.linalg.lstsq(x, y, rcond=None)
    bread = np.linalg.inv(x.T @ x)
    meat = np.zeros_like(bread)
    for row, score in zip(x, y, strict=True):
        leverage = row @ bread @ row
        meat += np.outer(row, row) * ((score - row @ beta) / (1 - leverage)) ** 2
    covariance = bread @ meat @ bread
    weights = np.zeros(len(beta))
    weights[families.index(one)], weights[families.index(two)] = 1, -1
    error = math.sqrt(weights @ covariance @ weights)
    return weights @ beta, error, len(members) - x.shape[1]


def test_a_difference_is_that_of_the_plain_regression():
    members = drawn(np.random.Generator(np.random.PCG64(1)), gap=0.1)
    found = compare_families(members)
    assert found.covariates == (CLEAN, SIZE)
    assert found.left_out == {TRAINING: "not known of all models"}
    p_values = []
    for difference in found.differences:
        value, error, freedom = plain(members, difference.first, difference.second)
        assert found.freedom == freedom
        t = scipy_stats.t.ppf(0.975, freedom)
        assert difference.value == pytest.approx(value, abs=1e-9)
        assert difference.low == pytest.approx(value - t * error, abs=1e-9)
        assert difference.high == pytest.approx(value + t * error, abs=1e-9)
        p_values.append(2 * scipy_stats.t.sf(abs(value) / error, freedom))
    order = np.argsort(p_values)
    worst = 0.0
    for rank, place in enumerate(order):  # Holm by hand
        worst = max(worst, min(1.0, p_values[place] * (len(order) - rank)))
        assert found.differences[place].p == pytest.approx(worst, abs=1e-12)


@pytest.mark.parametrize("higher", [True, False])
def test_a_clear_difference_is_told_in_the_right_direction(higher):
    members = drawn(np.random.Generator(np.random.PCG64(2)), gap=0.5)
    found = {(d.first, d.second): d for d in compare_families(members, higher_is_better=higher).differences}
    assert found["cnn", "vit"].verdict == ("worse" if higher else "better")
    assert found["mlp", "vit"].verdict == ("worse" if higher else "better")
    assert found["cnn", "mlp"].verdict == "cannot tell"
    assert found["cnn", "mlp"].why == "the difference is within what models of a family scatter"


def test_false_alarms_stay_under_five_percent_and_intervals_cover():
    rng = np.random.Generator(np.random.PCG64(20261124))
    runs, alarms, covered = 1000, 0, 0
    for _ in range(runs):
        found = compare_families(drawn(rng, gap=0.1))
        byname = {(d.first, d.second): d for d in found.differences}
        alarms += byname["cnn", "mlp"].verdict != "cannot tell"
        covered += byname["cnn", "vit"].low <= -0.1 <= byname["cnn", "vit"].high
    assert alarms / runs <= 0.05
    assert 0.93 <= covered / runs <= 0.985


def test_no_difference_anywhere_is_claimed_in_at_most_five_percent_of_tables():
    rng = np.random.Generator(np.random.PCG64(7))
    wrong = sum(
        any(d.verdict != "cannot tell" for d in compare_families(drawn(rng)).differences) for _ in range(600)
    )
    assert wrong / 600 <= 0.05


def test_a_family_of_two_models_cannot_be_told_apart():
    found = compare_families(drawn(np.random.Generator(np.random.PCG64(3)), 0.5, {"cnn": 6, "vit": 2}))
    (only,) = found.differences
    assert (only.verdict, only.why) == ("cannot tell", "vit has 2 models, and 3 are needed")
    assert math.isnan(only.value)


def test_covariates_enter_only_where_models_are_enough():
    rng = np.random.Generator(np.random.PCG64(4))
    found = compare_families(drawn(rng, counts={"cnn": 3, "vit": 3}))
    assert found.covariates == (CLEAN,)
    assert found.left_out[SIZE] == "6 models are too few for it"
    assert found.freedom == 3
    both = compare_families(drawn(rng, training=True))
    assert both.covariates == (CLEAN, SIZE, TRAINING)


def test_without_clean_accuracy_or_overlap_nothing_is_told():
    rng = np.random.Generator(np.random.PCG64(5))
    members = [Member(m.name, m.family, m.score, math.nan, m.parameters) for m in drawn(rng)]
    assert all("clean accuracy cannot be held equal" in d.why for d in compare_families(members).differences)
    apart = [
        Member(m.name, m.family, m.score, 0.95 + 0.001 * k if m.family == "vit" else m.clean, m.parameters)
        for k, m in enumerate(drawn(rng))
    ]
    found = {(d.first, d.second): d.why for d in compare_families(apart).differences}
    assert found["cnn", "vit"] == "their clean accuracies do not overlap"
    assert compare_families([]).differences == ()


def test_a_model_that_is_right_everywhere_is_left_out_by_name():
    members = drawn(np.random.Generator(np.random.PCG64(6)), gap=0.5)
    perfect = Member("perfect", "vit", 1.0, 1.0, 1e7)
    with_it, without = compare_families([*members, perfect]), compare_families(members)
    assert with_it.differences == without.differences
    assert with_it.left_out["perfect"] == "a model whose clean accuracy is 0 or 1 has no logit"


def test_members_are_the_ranked_models_whose_family_is_known():
    board = build(realistic(models=4, n=60), resamples=50)
    members = members_of(board, {board.entries[0].name: "in21k"})
    assert {m.name for m in members} == {e.name for e in board.ranked}
    first = next(m for m in members if m.name == board.entries[0].name)
    assert first.training == "in21k"
    assert first.score == board.entries[0].score.value
    assert first.parameters == board.entries[0].parameters


def test_the_command_says_that_two_models_are_too_few(tmp_path, capsys):
    make_results(tmp_path)
    assert _run(["families", "-o", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "models: 1 cnn" in said
    assert "left out: good (a model whose clean accuracy is 0 or 1 has no logit)" in said
    assert _run(["families", "-o", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"] == []
    assert _run(["families", "-o", str(tmp_path), "--trained", "nobody=in1k"]) == 2
    assert "nobody" in capsys.readouterr().err
