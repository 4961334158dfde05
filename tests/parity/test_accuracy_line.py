"""Effective robustness: the published lines fitted again, published models against them, own lines and bands.

testbed_accuracies.csv holds the accuracies (%) of the 85 standard models, from robustness_top1s.csv of
github.com/modestyachts/imagenet-testbed (MIT licence, Taori et al. 2020).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special, stats

from robobench.accuracy_line import (
    LINES,
    PIVOT,
    BrokenLine,
    Line,
    effective_robustness,
    expit,
    fit_line,
    line_band,
    logit,
    relative_robustness,
)
from robobench.errors import BadParameter
from robobench.registry import build_formula, formulas
from robobench.types import Condition

NAN = float("nan")
STRAIGHT = [name for name, known in LINES.items() if isinstance(known.line, Line)]
SHARES = st.floats(0.01, 0.99)


@pytest.fixture(scope="module")
def testbed() -> dict[str, NDArray[np.float64]]:
    with (Path(__file__).parent / "testbed_accuracies.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = [c for c in rows[0] if c != "model"]
    table = {c: np.array([float(r[c] or "nan") / 100 for r in rows]) for c in columns}
    return table | {"imagenet-a-straight": table["imagenet-a"]}


def linregress(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float, int]:
    """The same fit by scipy: slope, intercept, correlation, models."""
    known = (x > 0) & (y > 0)
    found = stats.linregress(special.logit(x[known]), special.logit(y[known]))
    return found.slope, found.intercept, found.rvalue, int(known.sum())


@pytest.mark.parametrize("name", STRAIGHT)
def test_the_published_lines_are_those_of_the_testbed(
    testbed: dict[str, NDArray[np.float64]], name: str
) -> None:
    known = LINES[name]
    assert isinstance(known.line, Line)
    x, y = testbed[known.clean], testbed[name]
    assert len(x) == 85
    slope, intercept, r, models = linregress(x, y)
    assert (known.line.slope, known.line.intercept) == pytest.approx((slope, intercept), abs=1e-4)
    assert (known.r, known.models) == (pytest.approx(r, abs=1e-4), models)
    own = fit_line(x, y)
    assert (own.slope, own.intercept) == pytest.approx((slope, intercept), abs=1e-10)


def test_imagenet_a_bends_at_resnet_50(testbed: dict[str, NDArray[np.float64]]) -> None:
    known = LINES["imagenet-a"].line
    assert isinstance(known, BrokenLine)
    x, y = testbed["clean@imagenet-a"], testbed["imagenet-a"]
    (zero,) = np.flatnonzero(y == 0)
    assert x[zero] == pytest.approx(PIVOT, abs=1e-6)
    for part, line, models in ((x < PIVOT, known.below, 33), (x > PIVOT, known.above, 51)):
        part[zero] = False
        slope, intercept, _, n = linregress(x[part], y[part])
        assert n == models
        assert (line.slope, line.intercept) == pytest.approx((slope, intercept), abs=2e-4)
    assert float(known.at(0.90)) == float(known.below.at(0.90))
    assert float(known.at(PIVOT)) == float(known.below.at(PIVOT))
    assert float(known.at(0.95)) == float(known.above.at(0.95))
    broken = np.abs(effective_robustness(x, y, known))
    straight = np.abs(effective_robustness(x, y, LINES["imagenet-a-straight"].line))  # type: ignore[arg-type]
    assert broken.mean() < straight.mean()


def test_the_promise_at_80_percent() -> None:
    assert 100 * float(Line(0.9232, -0.4977).at(0.8)) == pytest.approx(68.614, abs=5e-4)


@pytest.mark.parametrize(
    ("line", "clean", "shifted", "rho"),
    [
        ("imagenet-v2-matched-frequency", 76.13, 63.21, -0.74),  # ResNet-50
        ("imagenet-v2-matched-frequency", 63.302, 55.77, 5.63),  # CLIP ViT-B/32, zero-shot
        ("imagenet-r", 92.12, 36.1733, -0.60),  # ResNet-50
        ("imagenet-r", 91.96, 46.77, 10.32),  # DeepAugment and AugMix
        ("imagenet-r", 88.10, 69.2567, 38.95),  # CLIP
        ("objectnet", 70.928, 43.9613, 18.10),  # CLIP
    ],
)
def test_models_of_the_testbed(line: str, clean: float, shifted: float, rho: float) -> None:
    cells = [
        Condition("clean", "clean", "base"),
        *(Condition(f"clean@{s}", "clean", s, companion=True) for s in ("imagenet-r", "objectnet")),
        Condition("shifted", "shifted", "shifted"),
    ]
    values = np.array([[clean if c.name == LINES[line].clean else 1.0 for c in cells]]) / 100
    values[0, -1] = shifted / 100
    formula = build_formula(f"effective.robustness?condition=shifted&line={line}")
    assert formula(values, cells) == pytest.approx([rho], abs=0.006)


def test_standard_models_lie_on_their_line(testbed: dict[str, NDArray[np.float64]]) -> None:
    for name, known in LINES.items():
        x, y = testbed[known.clean], testbed[name]
        rho = effective_robustness(x, y, known.line)
        assert abs(np.nanmean(rho)) < 1, name


def test_relative_robustness_is_against_the_baseline() -> None:
    assert relative_robustness([0.4677, 0.3], [0.3617, 0.4]) == pytest.approx([10.6, -10])


@given(SHARES, st.floats(0.2, 3), st.floats(-3, 3))
def test_on_the_line_there_is_none(clean: float, slope: float, intercept: float) -> None:
    line = Line(slope, intercept)
    assert float(effective_robustness(clean, line.at(clean), line)) == pytest.approx(0, abs=1e-9)
    assert logit(float(line.at(clean))) == pytest.approx(slope * float(logit(clean)) + intercept, abs=1e-6)
    assert 0 <= float(line.at(clean)) <= 1


def test_logits_are_those_of_scipy() -> None:
    p = np.linspace(0, 1, 101)
    np.testing.assert_allclose(logit(p), special.logit(p), rtol=1e-12, atol=1e-12)
    x = np.array([-1e9, -800.0, -3, 0, 2, 50, 800])
    np.testing.assert_allclose(expit(x), special.expit(x), rtol=1e-12)
    line = Line(0.9, -0.5)
    np.testing.assert_array_equal(line.at([0.0, 1.0, NAN, -0.1]), [0.0, 1.0, NAN, NAN])


def test_a_line_of_ones_own() -> None:
    x = np.array([0.5, 0.6, 0.0, 0.7, 0.8, 1.0, NAN, 0.9])
    y = np.array([0.2, 0.3, 0.5, 0.0, 0.5, 0.5, 0.5, 0.8])
    slope, intercept, _, models = linregress(np.delete(x, [2, 3, 5, 6]), np.delete(y, [2, 3, 5, 6]))
    assert models == 4
    own = fit_line(x, y)
    assert (own.slope, own.intercept) == pytest.approx((slope, intercept), abs=1e-12)
    for few in (
        fit_line([], []),
        fit_line([0.5, 0.6], [0.2, 0.3]),
        fit_line([0.5] * 4, [0.2, 0.3, 0.4, 0.5]),
    ):
        assert np.isnan([few.slope, few.intercept]).all()
    with pytest.raises(ValueError, match="two lists of one length"):
        fit_line([0.5, 0.6], [0.2])


def test_the_band_is_that_of_resampled_models() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0.5, 0.9, 20)
    y = expit(0.9 * logit(x) - 0.5 + 0.2 * rng.normal(size=20))
    found = line_band(x, y, [0.6, 0.8], resamples=4000)
    fits = []
    for _ in range(4000):
        some = rng.integers(0, 20, 20)
        a, b = np.polyfit(special.logit(x[some]), special.logit(y[some]), 1)
        fits.append(special.expit(a * special.logit([0.6, 0.8]) + b))
    np.testing.assert_allclose(found, np.quantile(fits, [0.025, 0.975], axis=0), atol=0.004)
    assert line_band(x, y, [0.6, 0.8], resamples=4000)[0].tolist() == found[0].tolist(), "the same every time"
    assert np.isnan(line_band([0.5, 0.6], [0.2, 0.3], [0.5])).all()


def test_the_band_covers_the_true_line() -> None:
    """30 models, 400 boards: percentile intervals are a little short."""
    rng = np.random.default_rng(5)
    covered = 0
    for board in range(400):
        x = rng.uniform(0.5, 0.9, 30)
        y = expit(0.9 * logit(x) - 0.5 + 0.2 * rng.normal(size=30))
        low, high = line_band(x, y, [0.75], seed=board, resamples=300)
        covered += int(low[0] <= float(Line(0.9, -0.5).at(0.75)) <= high[0])
    assert 0.90 <= covered / 400 <= 0.97


CELLS = [Condition("clean", "clean", "base"), Condition("v2", "v2", "v2"), Condition("r", "r", "r")]


def test_a_line_in_numbers_names_its_clean_side() -> None:
    formula = build_formula("effective.robustness?condition=v2&line=0.9232,-0.4977&clean=clean")
    values = np.array([[0.8, 0.68614, 0.5], [0.8, 0.78614, 0.5], [0.8, NAN, 0.5], [NAN, 0.6, 0.5]])
    np.testing.assert_allclose(formula(values, CELLS), [0, 10, NAN, NAN], atol=1e-3)
    with pytest.raises(BadParameter, match="clean: a line of your own does not say"):
        build_formula("effective.robustness?condition=v2&line=0.9232,-0.4977")
    with pytest.raises(BadParameter, match=r"clean: expected `clean` or `clean@LABEL SPACE`, got 'v2'"):
        build_formula("effective.robustness?condition=v2&line=1,0&clean=v2")


def test_a_clean_side_that_is_not_there_leaves_it_undefined() -> None:
    formula = build_formula("effective.robustness?condition=r&line=imagenet-r")
    assert np.isnan(formula(np.array([[0.8, 0.7, 0.5]]), CELLS)).all()
    named = build_formula("effective.robustness?condition=r&line=imagenet-r&clean=clean")
    assert np.isfinite(named(np.array([[0.8, 0.7, 0.5]]), CELLS)).all()


def test_a_suite_is_told_early() -> None:
    check = build_formula("effective.robustness?condition=v2&line=imagenet-sketch").check
    check(CELLS, "accuracy.top1")
    with pytest.raises(BadParameter, match=r"lines are those of accuracy\.top1; got 'accuracy\.top5'"):
        check(CELLS, "accuracy.top5")
    with pytest.raises(BadParameter, match="no condition is called 'v2'"):
        check([CELLS[0], CELLS[2]], "accuracy.top1")
    with pytest.raises(BadParameter, match=r"line: 'imagenet-q' is neither .* did you mean 'imagenet-"):
        formulas.build("effective.robustness", {"condition": "v2", "line": "imagenet-q"})
    for text in ("1", "1,2,3", "nan,1", "inf,0"):
        with pytest.raises(BadParameter, match="is neither a published line nor two numbers"):
            formulas.build("effective.robustness", {"condition": "v2", "line": text, "clean": "clean"})
