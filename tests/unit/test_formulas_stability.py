"""Mean flip probability and its relative form: the authors' sums written out, first and missing frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from robobench.errors import BadParameter
from robobench.registry import build_formula, formulas
from robobench.types import Condition, Step

CLEAN = Condition("clean", "clean", "base")
NAN = float("nan")


def frames(name: str, count: int, ladder: str | None = None, first: int = 0) -> list[Condition]:
    ladder = ladder or name
    step = Step("perturbation", f"sequence.{name}", 1, {})
    return [
        Condition(f"{ladder} frame={f}", ladder, "base", (step,), "frame", f)
        for f in range(first, first + count)
    ]


CELLS = [CLEAN, *frames("tilt", 4), *frames("gaussian_noise", 3), Condition("blur", "blur", "base")]
VALUES = [NAN, NAN, 0.1, 0.2, 0.3, NAN, 0.5, 0.7, NAN]


def value(name: str, values: list[float] = VALUES, cells: list[Condition] = CELLS, **params: object) -> float:
    (found,) = formulas.build(name, params)(np.array([values]), cells)
    return float(found)


def flips(answers: NDArray[np.int64], first: bool) -> float:
    """The mean over images (n, frames) of the share of comparisons that differ."""
    shares = []
    for image in answers:
        differ, reference = [], image[0]
        for answer in image[1:]:
            differ.append(answer != reference)
            reference = reference if first else answer
        shares.append(np.mean(differ))
    return float(np.mean(shares))


def test_the_mean_over_sequences_of_the_mean_over_frames() -> None:
    assert value("stability.mean") == pytest.approx((0.2 + 0.6) / 2)


def test_it_is_the_mean_over_images_of_their_own_mean() -> None:
    """The authors average each image's comparisons first; frames have all images, so it is the same."""
    rng = np.random.default_rng(0)
    answers = {"tilt": rng.integers(0, 3, (40, 6)), "shot_noise": rng.integers(0, 3, (40, 5))}
    cells, values, expected = [CLEAN], [NAN], []
    for name, of in answers.items():
        first = "noise" in name
        cells += frames(name, of.shape[1])
        earlier = np.repeat(of[:, :1], of.shape[1] - 1, axis=1) if first else of[:, :-1]
        values += [NAN, *(of[:, 1:] != earlier).mean(axis=0)]
        expected.append(flips(of, first))
    assert value("stability.mean", values, cells) == pytest.approx(np.mean(expected), abs=1e-12)
    baseline = "tilt:0.25,shot_noise:0.5"
    ratio = (expected[0] / 0.25 + expected[1] / 0.5) / 2
    found = value("stability.relative", values, cells, baseline=baseline)
    assert found == pytest.approx(100 * ratio, abs=1e-10)


def test_the_baseline_itself_has_100() -> None:
    baseline = "tilt:0.2,gaussian_noise:0.6"
    assert value("stability.relative", baseline=baseline) == pytest.approx(100)
    halved = [v / 2 for v in VALUES]
    assert value("stability.relative", halved, baseline=baseline) == pytest.approx(50)
    assert value("stability.relative", baseline="tilt:0.4") == pytest.approx(50), "others do not count"


@pytest.mark.parametrize("lost", [2, 3, 4, 6, 7])
def test_a_missing_frame_is_told_from_a_first_one(lost: int) -> None:
    values = list(VALUES)
    values[lost] = NAN
    assert np.isnan(value("stability.mean", values))
    assert np.isnan(value("stability.relative", values, baseline="tilt:0.2,gaussian_noise:0.6"))


def test_the_first_frame_is_that_of_the_smallest_number_wherever_it_stands() -> None:
    order = [0, 4, 3, 2, 1, 7, 5, 6, 8]
    cells, values = [CELLS[i] for i in order], [VALUES[i] for i in order]
    assert value("stability.mean", values, cells) == pytest.approx(0.4)
    late = [CLEAN, *frames("tilt", 3, first=10)]
    assert value("stability.mean", [NAN, NAN, 0.1, 0.3], late) == pytest.approx(0.2)
    assert value("stability.mean", [NAN, 0.5, 0.1, 0.3], late) == pytest.approx(0.2), "it never counts"


def test_without_sequences_or_with_one_frame_it_is_undefined() -> None:
    assert np.isnan(value("stability.mean", [NAN, 0.5], [CLEAN, CELLS[-1]]))
    assert np.isnan(value("stability.mean", [NAN, 0.5], [CLEAN, *frames("tilt", 1)]))
    assert np.isnan(value("stability.relative", baseline="snow:0.1"))
    twice = [*CELLS, *frames("tilt", 2, "again")]
    assert np.isnan(value("stability.relative", [*VALUES, NAN, 0.2], twice, baseline="tilt:0.2"))


def test_resamples_are_taken_row_by_row() -> None:
    rows = np.array([VALUES, [v * 2 for v in VALUES], [NAN] * len(VALUES)])
    found = build_formula("stability.mean")(rows, CELLS)
    np.testing.assert_allclose(found, [0.4, 0.8, NAN])


def test_a_suite_is_told_early() -> None:
    check = formulas.build("stability.mean").check
    check(CELLS, "stability.flip")
    check(CELLS, "stability.top5_distance")
    with pytest.raises(BadParameter, match=r"^accuracy\.top1 does not compare frames: set `of: stability"):
        check(CELLS, "accuracy.top1")
    with pytest.raises(BadParameter, match=r"^no condition is a sequence"):
        check([CLEAN, CELLS[-1]], "stability.flip")
    with pytest.raises(BadParameter, match=r"^the sequence 'tilt' has one frame"):
        check([CLEAN, *frames("tilt", 1)], "stability.flip")
    other = (Step("perturbation", "occlusion.random", 1, {}),)
    with pytest.raises(BadParameter, match=r"^'tilt' runs along `frame`, but no step"):
        check([replace(c, steps=other) for c in frames("tilt", 2)], "stability.flip")


def test_the_baseline_names_sequences_of_the_suite() -> None:
    check = formulas.build("stability.relative", {"baseline": "tilt:0.1,gaussian_noise:0.2"}).check
    check(CELLS, "stability.flip")
    renamed = [CLEAN, *frames("tilt", 3, "my tilt"), *frames("gaussian_noise", 2)]
    check(renamed, "stability.flip")
    with pytest.raises(BadParameter, match=r"baseline names 'tilt'.*\(there are: gaussian_noise\)"):
        check(frames("gaussian_noise", 2), "stability.flip")
    with pytest.raises(BadParameter, match="the sequence 'tilt' is there twice"):
        check([*CELLS, *frames("tilt", 2, "again")], "stability.flip")


@pytest.mark.parametrize(
    "text", ["", "tilt", "tilt:x", "tilt:0", "tilt:-1", ":1", "tilt:nan", "tilt:1,,snow:1"]
)
def test_a_baseline_that_cannot_be_read(text: str) -> None:
    with pytest.raises(BadParameter, match=r"^stability\.relative: baseline: expected numbers above 0"):
        formulas.build("stability.relative", {"baseline": text})


def test_a_baseline_is_given_by_the_user() -> None:
    with pytest.raises(BadParameter, match="the parameter 'baseline' is missing"):
        formulas.build("stability.relative")
    with pytest.raises(BadParameter, match="'tilt' is given twice"):
        formulas.build("stability.relative", {"baseline": "tilt:1,tilt:2"})
    named = build_formula("stability.relative?baseline=tilt:0.2,gaussian_noise:0.6")
    assert named(np.array([VALUES]), CELLS).tolist() == pytest.approx([100])
