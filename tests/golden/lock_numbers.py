"""What metrics and formulas give for fixed rows and values, made by integer arithmetic alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import ResampledMetric
from robobench.formulas.corruption import ALEXNET
from robobench.registry import Plugin, formulas, metrics
from robobench.types import Condition, Step
from tests.metric_rows import recorded

IMAGES, CLASSES = 60, 6
SHOWN = 12  # of the values for single images, which are all in the sum

# Parameters of plug-ins that have required ones, and further sets where a default hides a branch.
CASES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "accuracy.per_class": ({"at_least": 4},),
    "accuracy.worst_class": ({"at_least": 4},),
    "attack.accuracy_within": ({"l2": 0.5}, {"queries": 50}),
    "calibration.ece": ({}, {"bins": 7}),
    "calibration.mce": ({}, {"bins": 2}),
    "calibration.rms": ({}, {"size": 7}),
    "ood.auroc": ({}, {"score": "energy"}),
    "ladder.area": ({"ladder": "o"},),
    "ladder.half": ({"ladder": "o"},),
    "ladder.worst": ({"ladder": "o"},),
    "selective.accuracy": ({"coverage": 0.3},),
    "selective.coverage": ({"risk": 0.1},),
    "effective.robustness": ({"condition": "v2", "line": "imagenet-v2-matched-frequency"},),
    "stability.relative": ({"baseline": "s:0.25,t:0.5"},),
}


def numbers(plugin: Plugin) -> dict[str, list[float | str | None]]:
    """The numbers of a metric or formula, by its parameters; of other kinds none."""
    if plugin.kind not in (metrics.kind, formulas.kind):
        return {}
    measure = _of_metric if plugin.kind == metrics.kind else _of_formula
    return {
        f"numbers {json.dumps(params, sort_keys=True)}": [_kept(v) for v in measure(plugin, params)]
        for params in CASES.get(plugin.name, ({},))
    }


def _kept(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return float(f"{value:.12g}") if math.isfinite(value) else str(value)


def _of_metric(plugin: Plugin, params: Mapping[str, Any]) -> list[float]:
    """The value and two resamples, or the sum, the number and the first of the values for each image."""
    metric, rows = plugin.cls(**params), fixed_rows()
    if isinstance(metric, ResampledMetric):
        weights = np.stack([scrambled(IMAGES, 3 + k) % 3 for k in (0, 1)]).astype(np.uint16)
        return [float(metric(rows)), *(float(v) for v in metric.resampled(rows, weights))]
    values = np.asarray(metric(rows), np.float64)
    return [float(np.nansum(values)), float((~np.isnan(values)).sum()), *(float(v) for v in values[:SHOWN])]


def _of_formula(plugin: Plugin, params: Mapping[str, Any]) -> list[float]:
    conditions = fixed_conditions(sequences=plugin.name.startswith("stability."))
    values = 0.2 + (scrambled(4 * len(conditions), 7) % 600).reshape(4, -1) / 1000
    first = [i for i, c in enumerate(conditions) if c.along == "frame" and c.level == 0]
    values[:, first] = np.nan  # a sequence's first frame is compared with none
    return [float(v) for v in plugin.cls(**params)(values, conditions)]


def scrambled(n: int, seed: int) -> NDArray[np.int64]:
    """n integers from 0 to 2^20 - 1 without an order that can be seen."""
    k = np.arange(n, dtype=np.uint64) + np.uint64(seed * 1000003)
    k = (k ^ (k >> np.uint64(15))) * np.uint64(2654435761)
    k = (k ^ (k >> np.uint64(13))) * np.uint64(2246822519)
    return ((k ^ (k >> np.uint64(16))) % np.uint64(2**20)).astype(np.int64)


def fixed_rows() -> dict[str, NDArray[Any]]:
    """Every column that a metric asks for; logits are multiples of 1/16, so some confidences are shared."""
    n = IMAGES
    labels = scrambled(n, 1) % CLASSES
    logits = (scrambled(n * CLASSES, 2) % 97 - 48).reshape(n, CLASSES) / 16
    logits[np.arange(n), labels] += 1.5
    frames = logits + (scrambled(n * CLASSES, 11) % 41 - 20).reshape(n, CLASSES) / 16
    asked = scrambled(n, 5) % 32
    fooled, clean = scrambled(n, 6) % 2 == 1, recorded(frames, labels)
    now = recorded(logits, labels)
    now["hit"] = np.where(scrambled(n, 19) % 3 > 0, 0, now["hit"])  # enough right answers for attacks
    return {
        **now,
        **{f"reference_{k}": v for k, v in clean.items()},
        **{f"clean_{k}": v for k, v in clean.items()},
        "own": scrambled(n, 4) % 5 < 2,
        "x_texture": (scrambled(n, 8) % CLASSES).astype(np.float32),
        "x_human_asked": asked.astype(np.float32),
        "x_human_right": (asked & (scrambled(n, 9) % 32)).astype(np.float32),
        "fooled": fooled,
        "fooled_8bit": fooled & (scrambled(n, 10) % 4 > 0),
        "inherited": fooled & (scrambled(n, 12) % 3 == 0),
        "unlike": scrambled(n, 13) % 6 == 0,
        "blind": scrambled(n, 14) % 7 == 0,
        "probabilities": scrambled(n, 15) % 9 == 0,
        "grad_zero": (scrambled(n, 16) % 9 / 8).astype(np.float32),
        "loss_gain": ((scrambled(n, 17) % 65 - 20) / 32).astype(np.float32),
        "queries": (scrambled(n, 18) % 100 + 1).astype(np.int32),
        "l2": (scrambled(n, 20) % 128 / 128).astype(np.float32),
        "linf": (scrambled(n, 21) % 32 / 255).astype(np.float32),
    }


def fixed_conditions(*, sequences: bool) -> tuple[Condition, ...]:
    """Clean, ImageNet-C's 75, a ladder of three, a shift; or two sequences."""
    clean = Condition("clean", "clean", "base")
    if sequences:
        frames = (
            Condition(f"{s} {f}", s, "base", (_frame(f),), along="frame", level=f)
            for s in "st"
            for f in range(5)
        )
        return (clean, *frames)
    return (
        clean,
        *(
            Condition(f"{c} severity={s}", c, f"{c} severity={s}", along="severity", level=s)
            for c in ALEXNET
            for s in (1, 2, 3, 4, 5)
        ),
        *(Condition(f"o fraction={f}", "o", "base", along="fraction", level=f) for f in (0.1, 0.5, 0.9)),
        Condition("v2", "v2", "v2"),
    )


def _frame(number: int) -> Step:
    return Step("perturbation", "sequence.translate", 1, {"frame": number})
