"""Consistency with people and shape bias, against scikit-learn's kappa and the published analysis by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from robobench.leaderboard.score import score
from robobench.registry import build_metric

FEW = settings(max_examples=40, deadline=None)
DECISIONS = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        st.lists(st.booleans(), min_size=n, max_size=n),
        st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=4),
    )
)
METRICS = ("observed", "error", "accuracy_difference")


def rows_of(model, people, shown=None):
    """Rows of a model and of people, each a list of right or wrong; shown: who saw what, everybody all."""
    people = np.array(people, bool)
    shown = np.ones(people.shape, bool) if shown is None else np.array(shown, bool)
    bits = 2 ** np.arange(len(people))
    return {
        "hit": np.where(model, 0, 3),
        "x_human_asked": (bits @ shown).astype(np.float32),
        "x_human_right": (bits @ (people & shown)).astype(np.float32),
    }


def by_hand(a, b):
    """Observed consistency, kappa by scikit-learn (1 where nothing is ever told apart), squared difference."""
    a, b = np.array(a), np.array(b)
    same = np.mean(a == b)
    kappa = 1.0 if same == 1 else cohen_kappa_score(a, b)
    return same, kappa, (a.mean() - b.mean()) ** 2


@given(DECISIONS)
@FEW
def test_numbers_beside_people_are_means_over_people(decisions):
    model, people = decisions
    rows = rows_of(model, people)
    expected = np.mean([by_hand(model, p) for p in people], axis=0)
    assert [build_metric(f"consistency.{m}")(rows) for m in METRICS] == pytest.approx(expected, abs=1e-9)
    assert build_metric("consistency.human_accuracy")(rows) == pytest.approx(np.mean(people))


@given(DECISIONS)
@FEW
def test_numbers_among_people_are_means_over_pairs_whatever_the_model(decisions):
    model, people = decisions
    rows = rows_of(model, people)
    pairs = [by_hand(a, b) for a, b in combinations(people, 2)]
    expected = np.mean(pairs, axis=0) if pairs else np.full(3, np.nan)
    found = [build_metric(f"consistency.{m}?who=humans")(rows) for m in METRICS]
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)
    other = {**rows, "hit": 3 - rows["hit"]}
    assert found == pytest.approx(
        [build_metric(f"consistency.{m}?who=humans")(other) for m in METRICS], nan_ok=True
    )


def test_the_published_vector():
    """Accuracies .8 and .7, consistent on .75 of the trials."""
    model, person = np.repeat([1, 1, 0, 0], [25, 7, 3, 5]), np.repeat([1, 0, 1, 0], [25, 7, 3, 5])
    rows = rows_of(model, [person])
    assert build_metric("consistency.error")(rows) == pytest.approx(0.3421052632, abs=1e-10)
    assert build_metric("consistency.observed")(rows) == 0.75
    assert build_metric("consistency.accuracy_difference")(rows) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("model", "person", "expected"),
    [
        ([1, 1, 1], [1, 1, 1], (1, 1, 0)),  # the same in all, all right
        ([0, 0, 0], [0, 0, 0], (1, 1, 0)),
        ([0, 1, 0], [0, 1, 0], (1, 1, 0)),
        ([1, 1, 1, 1], [0, 0, 0, 0], (0, 0, 1)),
        ([1, 1, 0, 0], [0, 0, 1, 1], (0, -1, 0)),
    ],
)
def test_edges_of_kappa(model, person, expected):
    rows = rows_of(model, [person])
    assert tuple(build_metric(f"consistency.{m}")(rows) for m in METRICS) == pytest.approx(expected)


def test_each_person_counts_by_the_images_they_were_shown():
    model, people = [1, 1, 0, 0], [[1, 0, 0, 0], [0, 1, 1, 1]]
    rows = rows_of(model, people, shown=[[1, 1, 1, 0], [0, 0, 1, 1]])
    first, second = by_hand([1, 1, 0], [1, 0, 0]), by_hand([0, 0], [1, 1])
    found = [build_metric(f"consistency.{m}")(rows) for m in METRICS]
    assert found == pytest.approx(np.mean([first, second], axis=0))
    assert build_metric("consistency.human_accuracy")(rows) == pytest.approx((1 / 3 + 1) / 2)
    alone = rows_of(model, people, shown=[[1, 1, 0, 0], [0, 0, 1, 1]])
    assert np.isnan(build_metric("consistency.error?who=humans")(alone))


def test_images_that_nobody_was_shown_do_not_count():
    rows = rows_of([1, 1, 0, 1], [[1, 0, 0, 1]], shown=[[1, 1, 0, 0]])
    found = score(rows, ["consistency.observed", "consistency.human_accuracy"], resamples=50)
    assert [(s.value, s.n) for s in found] == [(0.5, 2), (0.5, 2)]
    nobody = rows_of([1, 0], [[1, 0]], shown=[[0, 0]])
    assert [np.isnan(build_metric(f"consistency.{m}")(nobody)) for m in METRICS] == [True] * 3


def test_an_answer_that_is_not_finite_is_wrong():
    rows = rows_of([1, 1, 0], [[1, 1, 1]])
    rows["hit"] = np.array([0, -1, 2])
    assert build_metric("consistency.observed")(rows) == pytest.approx(1 / 3)


def test_twenty_four_people_fit_into_a_column_of_float32():
    rng = np.random.Generator(np.random.PCG64(0))
    people = rng.random((24, 50)) < 0.6
    rows = rows_of(rng.random(50) < 0.7, people)
    assert rows["x_human_right"].dtype == np.float32
    assert build_metric("consistency.human_accuracy")(rows) == pytest.approx(people.mean())


# Shape and texture


def cues(top1, label, texture):
    return {"top1": np.array(top1), "label": np.array(label), "x_texture": np.array(texture, np.float32)}


CUES = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=60)


@given(CUES)
@FEW
def test_shape_bias_is_the_share_of_shapes_among_decisions_for_either(images):
    conflict = [i for i in images if i[1] != i[2]]
    shape, texture = sum(a == s for a, s, _ in conflict), sum(a == t for a, _, t in conflict)
    bias, cue = score(cues(*zip(*images, strict=True)), ["shape.bias", "shape.cue_accuracy"])
    if shape + texture:
        assert bias.value == pytest.approx(shape / (shape + texture))
        assert bias.low <= bias.value <= bias.high
    else:
        assert np.isnan(bias.value)
    assert bias.n == shape + texture
    assert cue.n == len(conflict)
    assert cue.value == pytest.approx((shape + texture) / len(conflict) if conflict else np.nan, nan_ok=True)


@pytest.mark.parametrize(("answer", "bias", "cue"), [(1, 1, 1), (2, 0, 1), (3, np.nan, 0), (-1, np.nan, 0)])
def test_models_that_see_one_cue_or_none(answer, bias, cue):
    found = score(cues([answer] * 6, [1] * 6, [2] * 5 + [1]), ["shape.bias", "shape.cue_accuracy"])
    assert [s.value for s in found] == pytest.approx([bias, cue], nan_ok=True)
    assert found[1].n == 5


def test_images_without_a_texture_do_not_count():
    rows = cues([1, 1], [1, 1], [np.nan, 2])
    assert build_metric("shape.cue_accuracy")(rows).tolist() == pytest.approx([np.nan, 1], nan_ok=True)
