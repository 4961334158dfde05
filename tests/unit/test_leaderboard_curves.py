"""The first significant drop: counts by hand, Holm's correction, pairing, what is not known, false alarms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from robobench.leaderboard.board import BoardInput, ScoreSpec
from robobench.leaderboard.curves import Rung, first_drop, first_drops, paired
from robobench.leaderboard.score import Resampling, build_metrics
from robobench.leaderboard.work import Work
from robobench.proportions import mcnemar
from robobench.types import Condition
from tests.boards import condition, exact

NAN = float("nan")
CLEAN = Condition("clean", "clean", "base")


def rungs(name: str = "a", count: int = 3) -> list[Condition]:
    return [condition(f"{name} x={i}", name, along="x", level=i) for i in range(1, count + 1)]


def hits(right: int, n: int = 100) -> list[int]:
    """The first `right` of n images are right."""
    return [0] * right + [1] * (n - right)


def drops(board: BoardInput, resamples: int = 200) -> dict[str, str | None]:
    return first_drops(Work.of(board, Resampling(0, resamples)), 0)


def test_the_first_level_that_is_surely_worse() -> None:
    table = {"clean": hits(90), "a x=1": hits(88), "a x=2": hits(83), "a x=3": hits(40)}
    board = exact({"m": table}, [CLEAN, *rungs()])
    # two images lost: p = .5; seven: p = 2 / 2**7 = .016, times two after the third
    assert drops(board) == {"a": "2"}
    table["a x=2"] = hits(84)  # six: p = .031, times two is above 5 %
    assert drops(exact({"m": table}, [CLEAN, *rungs()])) == {"a": "3"}
    table["a x=3"] = hits(90)
    assert drops(exact({"m": table}, [CLEAN, *rungs()])) == {"a": "none"}


def test_it_is_the_pairs_that_count() -> None:
    """Ten images fewer, but on other images: 40 lost, 30 won."""
    swapped = [1] * 40 + [0] * 10 + [0] * 30 + [1] * 20
    clean = [0] * 50 + [1] * 50
    board = exact({"m": {"clean": clean, "a x=1": swapped}}, [CLEAN, *rungs(count=1)])
    assert drops(board) == {"a": "none"}
    metric = build_metrics(["accuracy.top1"])["accuracy.top1"]
    own, other = board.models[0].rows["a x=1"], board.models[0].rows["clean"]
    worse, p = paired("accuracy.top1", metric, own, other, Resampling(0, 100))
    assert worse == pytest.approx(0.1)
    assert p == pytest.approx(stats.binomtest(30, 70).pvalue)


def test_a_gain_is_no_drop() -> None:
    assert drops(exact({"m": {"clean": hits(20), "a x=1": hits(90)}}, [CLEAN, *rungs(count=1)])) == {
        "a": "none"
    }


def test_a_limited_condition_is_paired_with_its_own_images() -> None:
    table = {"clean": [0] * 50 + [1] * 50, "a x=1": [0] * 42 + [1] * 8}
    board = exact({"m": table}, [CLEAN, *rungs(count=1)])
    assert drops(board) == {"a": "1"}  # 8 of 50 lost, though 84 % are right here and 50 % clean


@pytest.mark.parametrize("lost", ["a x=1", "a x=2"])
def test_an_incomplete_level_leaves_it_open(lost: str) -> None:
    table = {"clean": hits(90), "a x=1": hits(30), "a x=2": hits(20), "a x=3": hits(10)}
    table[lost] = table[lost][:60]
    expected = {c: 100 for c in table}
    board = exact({"m": table}, [CLEAN, *rungs()], expected=expected)
    assert drops(board) == {"a": None if lost == "a x=1" else "1"}


def test_other_images_are_not_compared() -> None:
    shift = Condition("uci", "uci", "uci")
    board = exact({"m": {"clean": hits(90), "uci": hits(10)}}, [CLEAN, shift])
    rows = board.models[0].rows["uci"]
    rows["image_id"] = np.array([f"other{i:04d}" for i in range(100)])  # type: ignore[index]
    assert drops(board) == {"uci": None}


def test_single_conditions_and_several_models() -> None:
    cells = [CLEAN, condition("blur"), *rungs(count=2)]
    strong = {"clean": hits(90), "blur": hits(90), "a x=1": hits(90), "a x=2": hits(60)}
    weak = {"clean": hits(90), "blur": hits(50), "a x=1": hits(60), "a x=2": hits(60)}
    work = Work.of(exact({"s": strong, "w": weak}, cells), Resampling(0, 50))
    assert first_drops(work, 0) == {"blur": "none", "a": "2"}
    assert first_drops(work, 1) == {"blur": "blur", "a": "1"}


@pytest.mark.parametrize("metric", ["calibration.nll", "calibration.ece"])
def test_metrics_that_are_no_shares_by_paired_resamples(metric: str) -> None:
    """A confidence of 60 % everywhere, which is right of clean images."""
    score = ScoreSpec("s", "mean", "ladders", metric)
    table = {"clean": hits(60), "a x=1": hits(60), "a x=2": hits(58), "a x=3": hits(10)}
    board = exact({"m": table}, [CLEAN, *rungs()], (metric,), score=score)
    assert drops(board, 500)["a"] == "3"
    built = build_metrics([metric])[metric]
    cells = board.models[0].rows
    resampling = Resampling(0, 500)
    same = paired(metric, built, cells["a x=1"], cells["clean"], resampling)
    assert same == (0.0, 1.0)
    worse, p = paired(metric, built, cells["a x=2"], cells["clean"], resampling)
    back, p_back = paired(metric, built, cells["clean"], cells["a x=2"], resampling)
    assert (worse, p) == (pytest.approx(-back), pytest.approx(p_back, abs=1e-9))
    assert 0.1 < p <= 1


def test_two_images_that_moved_settle_nothing() -> None:
    metric = build_metrics(["calibration.nll"])["calibration.nll"]
    ids = np.array([f"i{i:02d}" for i in range(50)])
    clean = {"image_id": ids, "logp_label": np.full(50, -1.0)}
    own = {"image_id": ids, "logp_label": np.where(np.arange(50) < 2, -3.0, -1.0)}
    worse, p = paired("calibration.nll", metric, own, clean, Resampling(0, 500))
    assert (worse, p) == (pytest.approx(0.08), 0.5)


def test_resampled_p_values_are_those_of_a_t_test() -> None:
    rng = np.random.default_rng(3)
    n = 400
    ids = np.array([f"i{i:04d}" for i in range(n)])
    clean = {"image_id": ids, "logp_label": -rng.random(n)}
    own = {"image_id": ids, "logp_label": clean["logp_label"] - 0.02 + 0.2 * rng.normal(size=n)}
    metric = build_metrics(["calibration.nll"])["calibration.nll"]
    worse, p = paired("calibration.nll", metric, own, clean, Resampling(0, 4000))
    expected = stats.ttest_rel(own["logp_label"], clean["logp_label"])
    assert worse == pytest.approx(np.mean(clean["logp_label"] - own["logp_label"]))
    assert p == pytest.approx(expected.pvalue, rel=0.15)


def test_a_difference_that_no_resample_moves_is_a_sign_test() -> None:
    metric: Any = build_metrics(["calibration.nll"])["calibration.nll"]
    for n, expected in ((3, 2 / 2**3), (12, 2 / 2**12)):
        ids = np.array([f"i{i:02d}" for i in range(n)])
        clean = {"image_id": ids, "logp_label": np.full(n, -1.0)}
        own = {"image_id": ids, "logp_label": np.full(n, -2.0)}
        worse, p = paired("calibration.nll", metric, own, clean, Resampling(0, 50))
        assert (worse, p) == (1.0, expected)


@pytest.mark.parametrize(
    ("p", "worse", "expected"),
    [
        ([], [], None),
        ([0.2, 0.04], [1, 1], "none"),  # .08 after the correction
        ([0.2, 0.02], [1, 1], "1"),
        ([NAN, 0.001], [NAN, 1], None),
        ([0.001, NAN], [1, NAN], "0"),
        ([0.2, NAN], [1, NAN], None),
        ([0.001, 0.001], [-1, 1], "1"),
    ],
)
def test_rungs_alone(p: list[float], worse: list[float], expected: str | None) -> None:
    assert first_drop([Rung(str(i), w, q) for i, (w, q) in enumerate(zip(worse, p, strict=True))]) == expected


def test_false_alarms_stay_below_5_percent() -> None:
    """Ladders of five levels that lose as many images as they win, 2,000 times."""
    rng = np.random.default_rng(11)
    p = mcnemar(np.arange(61), 60 - np.arange(61))
    alarms = 0
    for _ in range(2000):
        lost = rng.binomial(60, 0.5, size=5)
        table = [Rung(str(i), float(2 * k - 60), float(p[k])) for i, k in enumerate(lost)]
        alarms += first_drop(table) != "none"
    assert alarms / 2000 < 0.05
