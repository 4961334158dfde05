"""Area, half-life and worst case of curves: numbers by hand, integrals done finely, edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robobench.errors import BadParameter
from robobench.params import number_of
from robobench.registry import build_formula, formulas
from robobench.types import Condition

NAN = float("nan")
CLEAN = Condition("clean", "clean", "base")
OTHER = Condition("other", "other", "base")
SHARES = st.floats(0, 1).map(lambda v: round(v, 3))
CURVES = st.lists(st.tuples(st.integers(0, 10**6), SHARES), min_size=1, max_size=8, unique_by=lambda p: p[0])


def rungs(levels: list[Any], name: str = "a") -> list[Condition]:
    return [Condition(f"{name} x={v}", name, "base", along="x", level=v) for v in levels]


def value(name: str, curve: list[float], levels: list[Any], clean: float = 0.8, **params: Any) -> float:
    """A formula of one ladder, between clean and a condition that does not belong to it."""
    cells = [CLEAN, *rungs(levels), OTHER]
    (found,) = formulas.build(name, {"ladder": "a", **params})(np.array([[clean, *curve, 0.01]]), cells)
    return float(found)


# Area


def test_a_constant_curve_has_its_own_value() -> None:
    assert value("ladder.area", [0.3] * 4, [1, 2, 7, 9]) == pytest.approx(0.3)
    assert value("ladder.area", [0.3], [5]) == 0.3


@given(CURVES)
def test_the_area_is_that_of_the_curve_drawn_finely(curve: list[tuple[int, float]]) -> None:
    x, y = [p[0] for p in curve], [p[1] for p in curve]
    found = value("ladder.area", y, x)
    assert min(y) - 1e-12 <= found <= max(y) + 1e-12
    if len(x) > 1:
        order = np.argsort(x)
        knots, heights = np.array(x, float)[order], np.array(y)[order]
        total = sum((heights[i] + heights[i + 1]) / 2 * (knots[i + 1] - knots[i]) for i in range(len(x) - 1))
        assert found == pytest.approx(total / (knots[-1] - knots[0]), abs=1e-12)


def test_levels_in_falling_order_are_the_same_curve() -> None:
    assert value("ladder.area", [0.9, 0.5, 0.1], [1.0, 0.5, 0.3]) == pytest.approx(
        value("ladder.area", [0.1, 0.5, 0.9], [0.3, 0.5, 1.0])
    )


def test_fractions_are_numbers_and_names_have_an_order() -> None:
    assert value("ladder.area", [1.0, 0.5, 0.0], ["0/255", "2/255", "8/255"]) == pytest.approx(
        (1.5 * 2 + 0.5 * 6) / 2 / 8
    )
    assert value("ladder.area", [1.0, 0.5, 0.0], ["2x2", "4x4", "14x14"]) == pytest.approx(0.5)
    assert value("ladder.area", [1.0, 0.2], [False, True]) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("level", "number"),
    [(3, 3.0), (0.5, 0.5), ("8/255", 8 / 255), ("1e-3", 1e-3), ("4x4", None), (True, None), (None, None),
     ("1/0", None), ([1], None), ("./2", None), ("nan", None), ("inf", None)],
)  # fmt: skip
def test_levels_as_numbers(level: Any, number: float | None) -> None:
    assert number_of(level) == number


def test_a_missing_level_makes_the_area_undefined() -> None:
    assert np.isnan(value("ladder.area", [0.3, NAN, 0.1], [1, 2, 3]))
    assert np.isnan(value("ladder.area", [0.3], [1], ladder="b"))


# Half


@pytest.mark.parametrize(
    ("curve", "levels", "expected"),
    [
        ([0.7, 0.6, 0.2], [1, 2, 4], 3.0),
        ([0.6, 0.4, 0.2], [1, 2, 4], 2.0),  # on a level
        ([0.4, 0.3, 0.2], [1, 2, 4], 1.0),  # there already
        ([0.5, 0.3, 0.9, 0.1], [1, 2, 3, 4], 1.5),  # the first of several times
        ([0.7, 0.6, 0.41], [1, 2, 4], NAN),  # never
        ([0.6, 0.2], ["2x2", "4x4"], 1.5),
        ([0.8, 0.0], ["0/255", "8/255"], 4 / 255),
    ],
)
def test_where_half_is_left(curve: list[float], levels: list[Any], expected: float) -> None:
    assert value("ladder.half", curve, levels) == pytest.approx(expected, nan_ok=True)


def test_a_falling_parameter() -> None:
    found = value("ladder.half", [0.8, 0.6, 0.2], [1.0, 0.5, 0.1], descending=True)
    assert found == pytest.approx(0.3)
    assert not formulas.build("ladder.half", {"ladder": "a", "descending": True}).higher_is_better
    assert formulas.build("ladder.half", {"ladder": "a"}).higher_is_better


@pytest.mark.parametrize(
    ("curve", "clean"),
    [([NAN, 0.2, 0.1], 0.8), ([0.6, NAN, 0.1], 0.8), ([0.6, 0.3, 0.1], NAN), ([0.0, 0.0, 0.0], 0.0)],
)
def test_half_of_what_is_not_known(curve: list[float], clean: float) -> None:
    assert np.isnan(value("ladder.half", curve, [1, 2, 3], clean))


def test_what_is_missing_behind_the_place_does_not_matter() -> None:
    assert value("ladder.half", [0.6, 0.2, NAN], [1, 2, 3]) == pytest.approx(1.5)


def test_half_of_a_companion() -> None:
    companion = Condition("clean@r", "clean", "clean@r", companion=True)
    cells, values = [CLEAN, companion, *rungs([1, 2])], np.array([[0.8, 0.4, 0.3, 0.1]])
    assert build_formula("ladder.half?ladder=a")(values, cells).tolist() == [1.0]
    assert build_formula("ladder.half?ladder=a&clean=clean@r")(values, cells) == pytest.approx([1.5])
    assert np.isnan(build_formula("ladder.half?ladder=a&clean=clean@x")(values, cells)).all()


@given(CURVES, st.floats(0.05, 1))
def test_the_curve_is_at_half_where_half_is(curve: list[tuple[int, float]], clean: float) -> None:
    points = sorted(curve)
    x, y = [p[0] for p in points], [p[1] for p in points]
    found = value("ladder.half", y, x, clean)
    if np.isnan(found):
        assert min(y) > clean / 2
    else:
        assert x[0] <= found <= x[-1]
        at = float(np.interp(found, x, y))
        assert at == pytest.approx(clean / 2, abs=1e-6) or (found == x[0] and y[0] <= clean / 2)


# Worst


@given(st.lists(SHARES, min_size=1, max_size=6))
def test_the_worst_is_the_smallest(curve: list[float]) -> None:
    levels = list(range(len(curve)))
    cells, values = [CLEAN, *rungs(levels), OTHER], np.array([[0.0, *curve, 0.5]])
    assert build_formula("ladder.worst")(values, cells).tolist() == [min(*curve, 0.5)]
    assert build_formula("ladder.worst?ladder=a")(values, cells).tolist() == [min(curve)]
    assert build_formula("ladder.worst?largest=true&ladder=a")(values, cells).tolist() == [max(curve)]


def test_a_missing_condition_makes_the_worst_undefined() -> None:
    assert np.isnan(value("ladder.worst", [0.3, NAN], [1, 2]))
    assert np.isnan(build_formula("ladder.worst")(np.array([[0.5]]), [CLEAN])).all()


# Together


@pytest.mark.parametrize("name", ["ladder.area?ladder=a", "ladder.half?ladder=a", "ladder.worst"])
def test_resamples_are_taken_row_by_row(name: str) -> None:
    rng = np.random.default_rng(0)
    values = np.column_stack([np.full(30, 0.9), rng.random((30, 4)), rng.random(30)])
    values[3, 2] = NAN
    cells, formula = [CLEAN, *rungs([1, 2, 3, 5]), OTHER], build_formula(name)
    whole = formula(values, cells)
    assert whole.shape == (30,)
    one_by_one = np.concatenate([formula(row[None], cells) for row in values])
    np.testing.assert_array_equal(whole, one_by_one)


def test_a_suite_is_told_early() -> None:
    cells, metric = [CLEAN, *rungs([1, 2, 3]), OTHER], "accuracy.top1"
    for text in ("ladder.area?ladder=a", "ladder.half?ladder=a", "ladder.worst", "ladder.worst?ladder=other"):
        build_formula(text).check(cells, metric)
    for text in ("ladder.area?ladder=othr", "ladder.half?ladder=othr", "ladder.worst?ladder=othr"):
        with pytest.raises(BadParameter, match="no ladder is called 'othr'; did you mean 'other'"):
            build_formula(text).check(cells, metric)
    with pytest.raises(BadParameter, match=r"should fall: order them so, or leave out `descending: true`"):
        build_formula("ladder.half?ladder=a&descending=true").check(cells, metric)
    with pytest.raises(BadParameter, match=r"should rise: order them so, or set `descending: true`"):
        build_formula("ladder.half?ladder=a").check([CLEAN, *rungs([3, 2])], metric)
    with pytest.raises(BadParameter, match=r"calibration\.nll is better when lower, so it does not fall"):
        build_formula("ladder.half?ladder=a").check(cells, "calibration.nll")
    with pytest.raises(BadParameter, match=r"clean: expected `clean` or `clean@LABEL SPACE`, got 'a'"):
        build_formula("ladder.half?ladder=a&clean=a").check(cells, metric)
    with pytest.raises(BadParameter, match=r"calibration\.nll is better when lower: set `largest: true`"):
        build_formula("ladder.worst").check(cells, "calibration.nll")
    with pytest.raises(BadParameter, match=r"accuracy\.top1 is better when higher: set `largest: false`"):
        build_formula("ladder.worst?largest=true").check(cells, metric)
    with pytest.raises(BadParameter, match="the parameter 'ladder' is missing"):
        build_formula("ladder.area")
