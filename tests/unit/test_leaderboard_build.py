"""A leaderboard's numbers, ranks, ties and gaps, on boards small enough to be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robobench.errors import RobobenchError, StoreError
from robobench.leaderboard.board import ScoreSpec
from robobench.leaderboard.build import build
from robobench.leaderboard.render import render
from robobench.leaderboard.score import score
from robobench.stats import resample_weights, skewed_interval, wilson
from tests.boards import condition, exact, realistic, rows_of, with_troubles

CLEAN = condition("clean")
A1, A2 = condition("a 1", "a", along="x", level=1), condition("a 2", "a", along="x", level=2)
B = condition("b")


def hits(right: int, n: int = 40) -> list[int]:
    """The first `right` of n images are answered rightly."""
    return [0] * right + [2] * (n - right)


def model(clean=40, a1=30, a2=10, b=20):
    return {"clean": hits(clean), "a 1": hits(a1), "a 2": hits(a2), "b": hits(b)}


def test_ladders_and_composite_are_means_of_means():
    entry = build(exact({"m": model()}, [CLEAN, A1, A2, B])).entries[0]
    assert entry.cells["a 1"].score("accuracy.top1").value == 0.75
    assert entry.ladders["a"].value == 0.5
    assert entry.ladders["b"].value == 0.5
    assert entry.score.value == 0.5
    assert entry.score.name == "robustness"
    assert entry.score.n == 40
    assert (entry.rank, entry.ties) == ((1, 1), ())


def test_a_cell_has_the_interval_of_wilson_and_a_ladder_of_one_is_its_cell():
    entry = build(exact({"m": model()}, [CLEAN, A1, A2, B])).entries[0]
    low, high = wilson(20, 40)
    cell = entry.cells["b"].score("accuracy.top1")
    assert (cell.low, cell.high, cell.n) == (round(float(low), 9), round(float(high), 9), 40)
    assert entry.ladders["b"] == cell


def test_the_interval_of_the_composite_is_that_of_resampling_by_hand():
    rng = np.random.Generator(np.random.PCG64(3))
    cells = {c: rng.integers(0, 2, 40) for c in ("clean", "a 1", "a 2", "b")}
    entry = build(exact({"m": cells}, [CLEAN, A1, A2, B], seed=7), resamples=200).entries[0]
    samples = []
    for counts in resample_weights(40, 200, "7 base"):
        mean = {c: np.repeat(h == 0, counts).mean() for c, h in cells.items()}
        samples.append(((mean["a 1"] + mean["a 2"]) / 2 + mean["b"]) / 2)
    low, high = skewed_interval(entry.score.value, np.array(samples))
    assert (entry.score.low, entry.score.high) == pytest.approx((float(low), float(high)), abs=1e-8)
    assert (low, high) == pytest.approx(np.quantile(samples, [0.025, 0.975]), abs=0.01)


def test_images_of_two_data_sets_are_resampled_apart_and_counted_together():
    other = replace(B, data="other")
    alone = build(exact({"m": model()}, [CLEAN, A1, A2, B])).entries[0].score
    board = exact({"m": model()}, [CLEAN, A1, A2, other])
    (only,) = board.models
    own_ids = {**only.rows["b"], "image_id": np.char.add("other/", only.rows["b"]["image_id"])}
    apart = build(replace(board, models=(replace(only, rows={**only.rows, "b": own_ids}),))).entries[0].score
    assert apart.n == 80
    # the same hits on the same images move together, on others independently: a narrower mean
    assert apart.high - apart.low < 0.95 * (alone.high - alone.low)


def test_a_data_set_that_shows_the_same_images_again_is_resampled_with_them():
    """A stored corrupted set keeps the ids of its originals."""
    alone = build(exact({"m": model()}, [CLEAN, A1, A2, B])).entries[0].score
    again = build(exact({"m": model()}, [CLEAN, A1, A2, replace(B, data="other")])).entries[0].score
    assert again == alone
    assert again.n == 40


def test_models_are_ranked_by_what_is_clear_on_the_same_images():
    board = exact(
        {
            "second": model(a1=30, a2=9, b=20),
            "best": model(a1=31, a2=10, b=20),
            "worst": model(a1=8, a2=0, b=2),
        },
        [CLEAN, A1, A2, B],
    )
    found = build(board)
    assert [e.name for e in found.entries] == ["best", "second", "worst"]
    assert [e.rank for e in found.entries] == [(1, 2), (1, 2), (3, 3)]
    assert [e.ties for e in found.entries] == [("a",), ("a",), ()]


def test_equal_scores_stand_in_order_of_name():
    found = build(exact({"z": model(), "a": model()}, [CLEAN, A1, A2, B]))
    assert [e.name for e in found.entries] == ["a", "z"]
    assert [e.rank for e in found.entries] == [(1, 2), (1, 2)]


def test_with_a_metric_that_should_be_low_the_lowest_leads():
    spec = ScoreSpec("loss", "mean", "ladders", "calibration.nll")
    board = exact(
        {"bad": model(a1=2, a2=1, b=3), "good": model(a1=38, a2=30, b=35)},
        [CLEAN, A1, A2, B],
        ("accuracy.top1", "calibration.nll"),
        score=spec,
    )
    found = build(board)
    assert not found.higher_is_better
    assert [(e.name, e.rank) for e in found.entries] == [("good", (1, 1)), ("bad", (2, 2))]
    # per image -ln .6 when right, -ln .1 when wrong
    assert found.entries[0].cells["b"].score("calibration.nll").value == pytest.approx(
        (35 * -np.log(0.6) + 5 * -np.log(0.1)) / 40, abs=1e-6
    )


def test_a_composite_of_a_metric_of_all_rows_at_once():
    spec = ScoreSpec("error", "mean", "ladders", "calibration.ece")
    found = build(
        exact({"m": model(b=24)}, [CLEAN, B], ("calibration.ece",), score=spec), resamples=300
    ).entries[0]
    assert found.score.value == pytest.approx(0.0, abs=1e-6)  # 24 of 40 right, all with probability .6
    assert found.score.high > 0.01


def test_an_incomplete_model_is_not_ranked_and_says_what_it_lacks():
    lacking = {k: v for k, v in model(a1=40, a2=40, b=40).items() if k != "a 2"} | {"b": hits(7, 10)}
    found = build(exact({"lacking": lacking, "whole": model()}, [CLEAN, A1, A2, B]))
    whole, last = found.entries
    assert (whole.name, whole.rank) == ("whole", (1, 1))
    assert (last.name, last.rank, last.ties) == ("lacking", None, ())
    assert last.missing == (("a 2", 0, 40), ("b", 10, 40))
    assert np.isnan(
        [last.score.value, last.score.low, last.ladders["a"].value, last.ladders["b"].value]
    ).all()
    assert last.cells["b"].score("accuracy.top1").value == 0.7  # what is there is shown, with its n
    assert last.cells["b"].score("accuracy.top1").n == 10
    assert last.cells["a 2"].score("accuracy.top1").n == 0


def test_a_model_without_clean_rows_has_a_score_but_no_rank():
    cells = model()
    del cells["clean"]
    entry = build(exact({"m": cells}, [CLEAN, A1, A2, B], expected=dict.fromkeys(model(), 40))).entries[0]
    assert entry.score.value == 0.5
    assert entry.rank is None


def test_nothing_at_all_is_a_board_without_ranks():
    found = build(exact({"m": {}}, [CLEAN, B], expected={"clean": 5, "b": 5}))
    assert found.ranked == ()
    assert found.entries[0].missing == (("clean", 0, 5), ("b", 0, 5))
    assert build(exact({}, [CLEAN, B], expected={"clean": 5, "b": 5})).entries == ()


def test_an_undefined_score_is_not_ranked():
    spec = ScoreSpec("top five", "mean", "ladders", "accuracy.top5")
    board = exact({"m": model()}, [CLEAN, A1, A2, B], ("accuracy.top5",), score=spec)
    few = {c: {**r, "top5": np.full(40, -1)} for c, r in board.models[0].rows.items()}
    entry = build(replace(board, models=(replace(board.models[0], rows=few),))).entries[0]
    assert entry.rank is None
    assert entry.missing == ()
    assert np.isnan(entry.score.value)


def test_a_condition_of_fewer_images_is_compared_with_clean_on_its_own():
    cells = {"clean": [2] * 10 + [0] * 30, "b": hits(5, 20)}
    entry = build(exact({"m": cells}, [CLEAN, replace(B, limit=20)])).entries[0]
    assert entry.cells["clean"].score("accuracy.top1").value == 0.75
    own = entry.cells["b"].clean
    assert own is not None
    assert (own.value, own.n) == (0.5, 20)
    assert entry.cells["clean"].clean is None


def test_images_of_another_data_set_are_not_taken_for_the_same():
    shift = replace(B, data="other", steps=())
    found = build(exact({"m": {"clean": hits(40), "b": hits(5, 20)}}, [CLEAN, shift]))
    assert found.entries[0].cells["b"].clean is None
    assert found.ladders[0].levels[0].compared_with == "clean"  # both have the label space "digits"


def test_a_shift_with_a_read_out_of_its_own_is_compared_with_its_companion():
    shift = replace(B, data="other", steps=())
    companion = condition("clean@small", "clean", data="clean@small", companion=True)
    board = exact(
        {"m": {"clean": hits(40), "b": hits(5), "clean@small": hits(30)}}, [CLEAN, shift, companion]
    )
    spaces = {"base": "large", "other": "small", "clean@small": "small"}
    data = tuple(replace(d, label_space=spaces[d.name]) for d in board.suite.data)
    found = build(replace(board, suite=replace(board.suite, data=data)))
    assert [r.condition for r in found.references] == ["clean", "clean@small"]
    assert found.ladders[0].levels[0].compared_with == "clean@small"
    assert found.entries[0].score.value == 0.125  # the companion is not in it
    unrelated = tuple(replace(d, label_space=d.name) for d in data)
    found = build(replace(board, suite=replace(board.suite, data=unrelated)))
    assert found.ladders[0].levels[0].compared_with is None


def test_all_right_is_not_certain():
    perfect = {"clean": hits(20, 20), "a 1": hits(20, 20), "a 2": hits(20, 20), "b": hits(20, 20)}
    entry = build(exact({"m": perfect}, [CLEAN, A1, A2, B])).entries[0]
    low, _ = wilson(20, 20)
    assert (entry.score.low, entry.score.high) == (round(float(low), 9), 1.0)


def test_logits_that_are_not_finite_are_errors_in_accuracy_left_out_elsewhere_and_flagged():
    cells = model() | {"b": [-1] * 4 + [0] * 36}
    metrics = ("accuracy.top1", "calibration.nll")
    entry = build(exact({"m": cells}, [CLEAN, A1, A2, B], metrics)).entries[0]
    assert entry.cells["b"].score("accuracy.top1").value == 0.9
    assert entry.cells["b"].score("accuracy.top1").n == 40
    assert entry.cells["b"].score("calibration.nll").n == 36
    assert entry.cells["b"].score("calibration.nll").value == pytest.approx(-np.log(0.6), abs=1e-6)
    assert entry.flags == ("has logits that are not finite, counted as errors: b (4 of 40 images)",)


def test_a_reported_clean_accuracy_that_does_not_fit_is_flagged():
    board = exact({"m": model(clean=20)}, [CLEAN, A1, A2, B])
    for claim, flagged in ((0.5, False), (0.62, False), (0.9, True)):
        told = replace(board, models=(replace(board.models[0], clean_accuracy=claim),))
        assert bool(build(told).entries[0].flags) is flagged
    assert build(told).entries[0].flags == (
        "has a clean accuracy of 50.0% [35.2%, 64.8%] but 90.0% is reported for it",
    )


def test_neither_the_order_of_rows_nor_of_models_changes_a_board():
    board = realistic(n=120)
    rng = np.random.Generator(np.random.PCG64(0))

    def shuffled(rows):
        order = rng.permutation(len(rows["image_id"]))
        return {k: v[order] for k, v in rows.items()}

    mixed = tuple(
        replace(m, rows={c: shuffled(r) for c, r in m.rows.items()}) for m in reversed(board.models)
    )
    assert render(build(replace(board, models=mixed)), "json") == render(build(board), "json")


def test_the_scores_of_rows_alone_are_those_of_the_board():
    board = realistic(models=1, n=150)
    names = ("accuracy.top1", "accuracy.top5", "calibration.ece", "calibration.nll", "calibration.brier")
    board = replace(board, suite=replace(board.suite, metrics=names))
    entry = build(board).entries[0]
    for name in ("clean", "shift:digits-uci"):
        assert score(board.models[0].rows[name], names) == entry.cells[name].scores


def test_a_model_more_does_not_change_the_numbers_of_the_others():
    board = realistic(models=3, n=100)
    few = build(replace(board, models=board.models[:2]))
    for entry in build(board).entries:
        for before in few.entries:
            if before.name == entry.name:
                assert (before.score, before.cells, before.ladders) == (
                    entry.score,
                    entry.cells,
                    entry.ladders,
                )


def test_an_incomplete_model_with_images_of_its_own_does_not_change_the_others():
    whole = exact({"m": model()}, [CLEAN, A1, A2, B])
    odd = {"clean": rows_of(hits(9, 10), ids=[f"odd{i}" for i in range(10)])}
    odd["b"] = odd["clean"]
    both = replace(whole, models=(*whole.models, replace(whole.models[0], name="odd", rows=odd)))
    assert build(both).entries[0] == build(whole).entries[0]


def test_failures_are_carried_along():
    found = build(with_troubles(realistic(n=60)))
    assert [(f.images, f.reason, f.hint) for f in found.failures] == [
        (1, "out of memory at batch 1", "use a GPU")
    ]


def test_what_a_board_cannot_be_built_from():
    board = exact({"m": model()}, [CLEAN, A1, A2, B])
    with pytest.raises(
        RobobenchError, match="two models of suite 'fake' are called 'm': give one of them another"
    ):
        build(replace(board, models=board.models * 2))
    with pytest.raises(RobobenchError, match="suite 'fake' has no clean condition"):
        build(replace(board, conditions=board.conditions[1:]))
    twice = rows_of([0, 0], ids=["x", "x"])
    with pytest.raises(StoreError, match="the image 'x' stands in the rows of one cell twice"):
        build(replace(board, models=(replace(board.models[0], rows={"clean": twice}),)))


def test_a_column_that_some_conditions_lack_is_a_gap_and_one_that_all_lack_an_error():
    board = exact({"m": model()}, [CLEAN, A1, A2, B], ("accuracy.top1", "calibration.nll"))
    without = {k: v for k, v in board.models[0].rows["b"].items() if k != "logp_label"}
    rows = {**board.models[0].rows, "b": without}
    entry = build(replace(board, models=(replace(board.models[0], rows=rows),))).entries[0]
    assert np.isnan(entry.cells["b"].score("calibration.nll").value)
    assert entry.cells["a 1"].score("calibration.nll").n == 40
    none = {c: {k: v for k, v in r.items() if k != "logp_label"} for c, r in rows.items()}
    with pytest.raises(
        StoreError, match=r"the metric 'calibration\.nll' needs the column 'logp_label', but the rows"
    ):
        build(replace(board, models=(replace(board.models[0], rows=none),)))


def test_steps_are_told_without_the_parameter_that_the_ladder_varies():
    found = build(realistic(models=1, n=30))
    assert found.ladders[0].levels[0].steps == ("occlusion.random v1 (grid: 7)",)
    assert [v.label for v in found.ladders[0].levels] == ["0.1", "0.3", "0.5", "0.7", "0.9"]
    assert found.ladders[0].along == "fraction"
