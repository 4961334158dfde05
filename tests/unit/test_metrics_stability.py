"""Flip probability and top-5 distance: published vectors, full ranks written out, frames through a board."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from robobench.leaderboard.build import build
from robobench.registry import metrics, perturbations
from robobench.types import Condition, Rows, Step
from tests.boards import exact

NOISE = {"sequence.gaussian_noise", "sequence.shot_noise", "sequence.speckle_noise"}


def ranks_of(logits: NDArray[np.float64]) -> NDArray[np.int64]:
    """The rank from 1 of each class, the first of equals before the others."""
    order = sorted(range(len(logits)), key=lambda c: (-logits[c], c))
    ranks = np.empty(len(logits), int)
    ranks[order] = np.arange(1, len(logits) + 1)
    return ranks


def full_distance(before: NDArray[np.int64], now: NDArray[np.int64]) -> int:
    """The top-5 distance from the ranks of every class."""
    by_rank = np.argsort(before)
    return sum(abs(min(i - 1, 5) - min(int(now[by_rank[i - 1]]) - 1, 5)) for i in range(1, 6))


def as_rows(before: NDArray[np.int64], now: NDArray[np.int64]) -> Rows:
    """Ranks (n, classes) of two frames as the five recorded answers of each."""
    first, second = (np.argsort(r, axis=1)[:, :5] for r in (before, now))
    rows = {f"reference_top{i + 1}": first[:, i].astype(float) for i in range(5)}
    return rows | {f"top{i + 1}": second[:, i].astype(np.int32) for i in range(5)}


def distance(before: NDArray[np.int64], now: NDArray[np.int64]) -> list[float]:
    return metrics.build("stability.top5_distance")(as_rows(before, now)).tolist()


def test_the_published_vectors_of_the_flip_probability() -> None:
    answers, flip = np.array([1, 2, 2, 2, 1]), metrics.build("stability.flip")
    previous = flip({"top1": answers[1:], "reference_top1": answers[:-1].astype(float)})
    first = flip({"top1": answers[1:], "reference_top1": np.full(4, 1.0)})
    assert (previous.mean(), first.mean()) == (0.5, 0.75)


def test_the_published_vectors_of_the_distance() -> None:
    same = np.arange(1, 11)
    swapped = same.copy()
    swapped[[0, 1]] = 2, 1
    far = same.copy()
    far[[0, 9]] = 10, 1
    now = np.stack([same, swapped, far, np.roll(same, 5)])
    assert distance(np.tile(same, (4, 1)), now) == [0, 2, 5, 15]


@pytest.mark.parametrize("classes", [5, 6, 9, 10, 1000])
def test_five_answers_say_as_much_as_all_ranks(classes: int) -> None:
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(60, classes))
    moved = logits + rng.normal(size=(60, classes)) * rng.choice([0.0, 0.3, 3.0], size=(60, 1))
    before, now = (np.stack([ranks_of(row) for row in rows]) for rows in (logits, moved))
    expected = [full_distance(b, n) for b, n in zip(before, now, strict=True)]
    assert distance(before, now) == expected
    assert len(set(expected)) > 3


@given(st.permutations(range(8)), st.permutations(range(8)))
def test_any_two_orders(one: list[int], two: list[int]) -> None:
    before, now = np.array([one]) + 1, np.array([two]) + 1
    (found,) = distance(before, now)
    assert found == full_distance(before[0], now[0])
    assert 0 <= found <= 18


def test_no_distance_is_above_18() -> None:
    """Of all orders of ten classes that differ in what becomes of the first five."""
    same = np.arange(1, 11)
    orders = np.array([[*p, *(r for r in range(1, 11) if r not in p)] for p in permutations(range(1, 11), 5)])
    found = np.array(distance(np.tile(same, (len(orders), 1)), orders))
    assert found.max() == 18
    assert found[(orders[:, :5] > 5).all(axis=1)].tolist() == [15] * 120


def test_the_distance_goes_from_the_earlier_frame() -> None:
    """One newcomer in front moves all others by one; in the other direction it is a class that falls out."""
    before = np.array([[1, 2, 3, 4, 5, 6]])
    now = np.array([[2, 3, 4, 5, 6, 1]])
    assert distance(before, now) == [5.0]
    assert distance(now, before) == [9.0]


def test_what_is_compared_with_nothing_is_undefined() -> None:
    flip = metrics.build("stability.flip")
    rows = {"top1": np.array([3, 3, -1, 3, -1]), "reference_top1": np.array([3.0, np.nan, 3.0, -1.0, -1.0])}
    np.testing.assert_array_equal(flip(rows), [0, np.nan, np.nan, np.nan, np.nan])
    ranks = np.tile(np.arange(1, 8), (3, 1))
    rows = dict(as_rows(ranks, ranks))
    rows["reference_top4"] = np.array([3.0, np.nan, 3.0])
    rows["top5"] = np.array([4, 4, -1])  # four classes, or no answer
    np.testing.assert_array_equal(metrics.build("stability.top5_distance")(rows), [0, np.nan, np.nan])


@pytest.mark.parametrize("name", ["stability.flip", "stability.top5_distance"])
def test_no_images(name: str) -> None:
    metric = metrics.build(name)
    assert metric({c: np.zeros(0) for c in metric.needs}).shape == (0,)
    assert not metric.higher_is_better


def test_which_frame_a_frame_is_compared_with() -> None:
    """Sequences whose name has `noise` in it with the first one, all others with the one before."""
    names = [n for n in perturbations.names() if n.startswith("sequence.")]
    assert set(names) > NOISE
    rules = {n: perturbations.get(n).cls.reference for n in names}
    assert rules == {n: "first" if n in NOISE else "previous" for n in names}
    assert {n for n in names if "noise" in n} == NOISE


def frames(name: str, count: int) -> list[Condition]:
    return [
        Condition(f"{name} frame={f}", name, "base", (Step("perturbation", f"sequence.{name}", 1, {"frame": f}),), "frame", f)
        for f in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), [("tilt", 0.5), ("gaussian_noise", 0.75)])
def test_through_a_board(name: str, expected: float) -> None:
    """One image with the answers 1, 2, 2, 2, 1 (as ranks of the right one: 1, 0, 0, 0, 1)."""
    from robobench.leaderboard.board import ScoreSpec

    cells = [Condition("clean", "clean", "base"), *frames(name, 5)]
    hits = {"clean": [0], **{c.name: [h] for c, h in zip(cells[1:], (1, 0, 0, 0, 1), strict=True)}}
    score = ScoreSpec("flips", "stability.mean", "ladders", "stability.flip")
    board = build(exact({"m": hits}, cells, ("stability.flip",), score=score), resamples=20)
    (entry,) = board.entries
    assert entry.score.value == pytest.approx(expected)
    assert not board.higher_is_better
    assert entry.ladders[name].value == pytest.approx(expected)
    assert entry.rank == (1, 1)
