"""mCE, relative mCE and mean error: published vectors, which conditions count, what a suite must have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from robobench.errors import BadParameter, SuiteError
from robobench.formulas.corruption import ALEXNET, ALEXNET_CLEAN
from robobench.registry import formulas
from robobench.suite.load import load_suite, parse_suite
from robobench.types import Condition, Step

CLEAN = Condition("clean", "clean", "base")
STORED = tuple(
    Condition(f"{c} severity={s}", c, f"{c} severity={s}", along="severity", level=s)
    for c in ALEXNET
    for s in (1, 2, 3, 4, 5)
)
TABLE = np.array([e for errors in ALEXNET.values() for e in errors])
# The means over severities that facebookresearch/augmentation-corruption divides by, in %.
MEANS = {
    "gaussian_noise": 88.6428, "shot_noise": 89.4468, "impulse_noise": 92.264, "defocus_blur": 81.988,
    "glass_blur": 82.6268, "motion_blur": 78.5948, "zoom_blur": 79.836, "snow": 86.6816, "frost": 82.6572,
    "fog": 81.9324, "brightness": 56.4592, "contrast": 85.3204, "elastic_transform": 64.6056,
    "pixelate": 71.784, "jpeg_compression": 60.65,
}  # fmt: skip
# Mean error of torchvision's ResNet-50 for each corruption, in %, on RobustBench's 5,000 images.
RESNET = (68.54, 70.90, 74.01, 61.10, 73.23, 61.87, 63.68, 67.85, 62.68, 54.50, 32.16, 60.90, 55.04, 55.14, 46.16)  # fmt: skip


def value(
    name: str,
    errors: NDArray[np.float64],
    conditions: tuple[Condition, ...] = STORED,
    clean: float = ALEXNET_CLEAN,
) -> float:
    """The formula of one model, clean first."""
    values = np.array([[1 - clean, *(1 - errors)]])
    (found,) = formulas.build(name)(values, (CLEAN, *conditions))
    return float(found)


def test_the_table_is_the_published_one() -> None:
    assert len(ALEXNET) == 15
    for corruption, errors in ALEXNET.items():
        assert 100 * sum(errors) / 5 == pytest.approx(MEANS[corruption], abs=1e-9)
        assert all(abs(50_000 * e - round(50_000 * e)) < 1e-6 for e in errors), "shares of 50,000 images"


def test_alexnet_has_exactly_100() -> None:
    assert value("corruption.mce", TABLE) == 100.0
    assert value("corruption.relative_mce", TABLE) == 100.0


def test_half_the_errors_are_50() -> None:
    assert value("corruption.mce", TABLE / 2) == pytest.approx(50, abs=1e-12)
    assert value("corruption.relative_mce", TABLE / 2, clean=ALEXNET_CLEAN / 2) == pytest.approx(50, abs=1e-9)


def test_the_mean_error_is_divided_by_nothing() -> None:
    assert value("corruption.mean_error", TABLE) == pytest.approx(0.789, abs=0.001)  # printed for AlexNet
    assert value("corruption.mean_error", TABLE) == pytest.approx(TABLE.mean(), abs=1e-12)


def test_resnet_50_comes_out_where_it_is_published() -> None:
    errors = np.repeat(np.array(RESNET) / 100, 5)  # only the sum over severities counts
    assert value("corruption.mce", errors) == pytest.approx(76.5, abs=0.25)  # published: 76.38 and 76.7
    assert value("corruption.mean_error", errors) == pytest.approx(0.605, abs=0.001)  # published: about 61 %


@pytest.mark.parametrize("clean", [0.1, 0.9])
def test_the_definitions_written_out(clean: float) -> None:
    errors = np.random.default_rng(0).random(75)
    ratios, relative = [], []
    for i, alexnet in enumerate(ALEXNET.values()):
        own = [float(e) for e in errors[5 * i : 5 * i + 5]]
        ratios.append(sum(own) / sum(alexnet))
        relative.append(sum(e - clean for e in own) / sum(a - ALEXNET_CLEAN for a in alexnet))
    assert value("corruption.mce", errors, clean=clean) == pytest.approx(100 * sum(ratios) / 15)
    found = value("corruption.relative_mce", errors, clean=clean)
    assert found == pytest.approx(100 * sum(relative) / 15)
    assert (found < 0) == (clean == 0.9)  # better on corrupted images than on clean ones: not clamped
    assert value("corruption.mean_error", errors, clean=clean) == pytest.approx(sum(errors) / 75)


@pytest.mark.parametrize("name", ["corruption.mce", "corruption.relative_mce", "corruption.mean_error"])
def test_a_missing_level_or_condition_makes_it_undefined(name: str) -> None:
    formula = formulas.build(name)
    values = np.tile(1 - np.concatenate([[ALEXNET_CLEAN], TABLE]), (3, 1))
    values[1, 40] = np.nan
    found = formula(values, (CLEAN, *STORED))
    assert np.isnan(found).tolist() == [False, True, False]
    assert np.isnan(formula(values[:1, :-1], (CLEAN, *STORED[:-1]))).all()
    assert np.isnan(formula(values[:1], (CLEAN, *STORED[:-1], STORED[0]))).all()


def test_the_relative_one_needs_the_clean_images_themselves() -> None:
    companion = replace(CLEAN, name="clean@imagenet-a", companion=True)
    formula = formulas.build("corruption.relative_mce")
    assert np.isnan(formula(1 - TABLE[None], STORED)).all()
    values = 1 - np.concatenate([[ALEXNET_CLEAN, 0.9], TABLE])[None]
    assert formula(values, (CLEAN, companion, *STORED)).tolist() == [100.0]
    assert formula(values * np.nan, (CLEAN, companion, *STORED)).shape == (1,)


def test_order_and_other_conditions_do_not_matter() -> None:
    others = (
        *(Condition(f"spatter {s}", "spatter", "x", along="severity", level=s) for s in range(1, 6)),
        Condition("fog fraction=1", "fog", "base", along="fraction", level=1),
        Condition("fog", "fog", "base"),
        Condition("gone", "gone", "x", (Step("perturbation", "occlusion.random", 1, {}),), "severity", 1),
    )
    mixed = [*zip(STORED, TABLE, strict=True), *((c, 0.123) for c in others)]
    mixed = [mixed[i] for i in np.random.default_rng(1).permutation(len(mixed))]
    assert value("corruption.mce", np.array([e for _, e in mixed]), tuple(c for c, _ in mixed)) == (
        pytest.approx(100, abs=1e-12)
    )


def made(corruption: str, severity: int, **more: object) -> Condition:
    """A condition that corrupts in memory, called as a user may call it."""
    step = Step("perturbation", f"corruption.{corruption}", 1, {"severity": severity})
    return Condition(f"my {corruption} {severity}", f"my {corruption}", "base", (step,), **more)  # type: ignore[arg-type]


def test_steps_of_that_name_count_whatever_their_ladder_is_called() -> None:
    in_memory = tuple(made(c, s) for c in ALEXNET for s in (1, 2, 3, 4, 5))
    assert value("corruption.mce", TABLE, in_memory) == 100.0
    composed = replace(in_memory[0], steps=in_memory[0].steps * 2)
    assert np.isnan(value("corruption.mce", TABLE, (composed, *in_memory[1:])))
    worst = replace(in_memory[0], worst_of=3)
    assert np.isnan(value("corruption.mce", TABLE, (worst, *in_memory[1:])))


def test_a_suite_is_told_early_what_is_missing() -> None:
    check = formulas.build("corruption.mce").check
    check((CLEAN, *STORED), "accuracy.top1")
    with pytest.raises(BadParameter, match=r"missing: gaussian_noise \(1\), snow \(1, 2, 3, 4, 5\)$"):
        check([c for c in STORED[1:] if c.ladder != "snow"], "accuracy.top1")
    with pytest.raises(BadParameter, match=r"shot_noise .*, defocus_blur \(1, 2, 3, 4, 5\) and 11 more$"):
        check((CLEAN,), "accuracy.top1")
    with pytest.raises(BadParameter, match="fog at severity 2 is there twice"):
        check((*STORED, made("fog", 2)), "accuracy.top1")
    with pytest.raises(BadParameter, match=r"the error is one minus accuracy\.top1; got 'calibration\.nll'"):
        check(STORED, "calibration.nll")


SUITE = """schema: 1
name: t
title: T
data: {source: digits, path: mnist}
conditions:
  - {name: fog, shift: {source: cifar_c, path: x, corruption: fog}, ladder: {severity: [1, 2]}}
metrics: [accuracy.top1, accuracy.top5]
score: {name: mCE, formula: corruption.mce, of: accuracy.top1}
"""


def test_check_points_at_the_score() -> None:
    with pytest.raises(SuiteError, match=r"^t\.yaml:8: 15 corruptions .*missing: .* and 11 more"):
        parse_suite(SUITE, "t.yaml")
    with pytest.raises(SuiteError, match=r"^t\.yaml:8: the error is one minus accuracy\.top1"):
        parse_suite(SUITE.replace("of: accuracy.top1", "of: accuracy.top5"), "t.yaml")
    assert parse_suite(SUITE.replace("corruption.mce", "mean"), "t.yaml").score.formula == "mean"


@pytest.mark.parametrize("name", ["imagenet-c-stored", "cifar-10-c-stored"])
def test_the_shipped_suites_are_whole(name: str) -> None:
    suite = load_suite(name)
    assert len(suite.conditions) == 1 + 19 * 5
    shifts = suite.data[1:]
    assert {(d.params["corruption"], d.params["severity"]) for d in shifts} >= {
        (c, s) for c in ALEXNET for s in range(1, 6)
    }
    assert all(d.name == f"{d.params['corruption']} severity={d.params['severity']}" for d in shifts)
