"""Composite scores of stability: what `stability.flip` and `stability.top5_distance` come to over sequences.

A sequence is a ladder along `frame`. Its first frame is compared with none, so the metric is undefined there
by design, and the sequence's value is the mean over the other frames. Undefined at any other frame is a level
that is missing, and makes the score undefined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.errors import BadParameter
from robobench.registry import build_metric, find_step, formulas
from robobench.types import Condition

Floats = NDArray[np.float64]

_FRAME = "frame"
_PLUGIN = "sequence."
_REFERENCE = "reference_"  # columns that a metric which compares frames asks for


@formulas.register("mean", version=1)
@dataclass(frozen=True)
class MeanStability:
    """The mean over sequences of the mean over their frames, divided by nothing: lower is better.

    Of `stability.flip` it is the mean flip probability that CIFAR-10-P is reported with, of
    `stability.top5_distance` the mean top-5 distance. It is not the mFR or mT5D of ImageNet-P, which divide
    each sequence by AlexNet's value first: see `stability.relative`. Every ladder along `frame` counts, and
    each the same however many frames it has; first frames and all other conditions do not. A missing (NaN)
    level makes the score undefined, and so does a suite without sequences. In the unit of the metric.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.3, and the authors' scripts for ImageNet-P and CIFAR-10-P.

    >>> from robobench.types import Condition
    >>> cells = [Condition("clean", "clean", "base")] + [
    ...     Condition(f"{s} {f}", s, "base", along="frame", level=f) for s in "ab" for f in range(3)]
    >>> values = [np.nan, np.nan, 0.1, 0.3, np.nan, 0.0, 0.2]
    >>> MeanStability()(np.array([values, [*values[:-1], np.nan]]), cells).round(6).tolist()
    [0.15, nan]
    """

    def __call__(self, values: Floats, conditions: Sequence[Condition]) -> Floats:
        sequences = _sequences(conditions)
        if not sequences:
            return np.full(values.shape[0], np.nan)
        means = [_mean(values, conditions, places) for places in sequences.values()]
        return np.asarray(np.stack(means, axis=1).mean(axis=1), np.float64)

    def check(self, conditions: Sequence[Condition], metric: str) -> None:
        """Raise BadParameter without a sequence whose frames are compared, or with another metric."""
        _check(conditions, metric)


@formulas.register("relative", version=1)
@dataclass(frozen=True)
class RelativeStability:
    """The mean over sequences of a model's value divided by a baseline's there, in %: lower is better.

    100 times the mean over the sequences of `baseline` of the sequence's mean over frames, divided by the
    baseline's. With AlexNet as the baseline on the ten test sequences of ImageNet-P it is the mean flip rate
    (mFR) of `stability.flip` and the mT5D of `stability.top5_distance`. Each sequence is divided before the
    mean is taken. No numbers of AlexNet are built in, because none could be traced to a published source: run
    the suite with `torchvision:alexnet` and write down what it has on each sequence. That is the fairer
    baseline too, as the published frames went through lossy video compression. Sequences that `baseline`
    does not name do not count, as the four validation ones (speckle noise, Gaussian blur, spatter, shear).

    A condition belongs to a sequence when it runs along `frame` and its ladder carries the name, or its one
    step is called `sequence.<name>`. A missing (NaN) level, other than a first frame, makes it undefined.

    Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019, section 4.3 (mFR, mT5D).

    >>> from robobench.types import Condition
    >>> cells = [Condition(f"{s} {f}", s, "base", along="frame", level=f)
    ...          for s in ("snow", "tilt") for f in range(3)]
    >>> mfr = RelativeStability(baseline="snow:0.1,tilt:0.05")
    >>> mfr(np.array([[np.nan, 0.04, 0.06, np.nan, 0.05, 0.05]]), cells).round(6).tolist()
    [75.0]
    """

    baseline: str  # the baseline's value on each sequence, in the metric's unit, as "snow:0.11,tilt:0.07"

    unit: ClassVar[str] = "% of the baseline"
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _parsed(self.baseline)

    def __call__(self, values: Floats, conditions: Sequence[Condition]) -> Floats:
        named = _by_name(conditions)
        ratios = []
        for name, reference in _parsed(self.baseline).items():
            found = named.get(name, [])
            if len(found) != 1:
                return np.full(values.shape[0], np.nan)
            ratios.append(_mean(values, conditions, found[0]) / reference)
        return np.asarray(100 * np.stack(ratios, axis=1).mean(axis=1), np.float64)

    def check(self, conditions: Sequence[Condition], metric: str) -> None:
        """Raise BadParameter unless each sequence of the baseline is there once, and the metric fits."""
        _check(conditions, metric)
        named = _by_name(conditions)
        for name in _parsed(self.baseline):
            if name not in named:
                there = ", ".join(sorted(named)) or "none"
                raise BadParameter(
                    f"baseline names {name!r}, but no sequence is called so (there are: {there})"
                )
            if len(named[name]) > 1:
                raise BadParameter(f"the sequence {name!r} is there twice: name one of the ladders otherwise")


def _parsed(text: str) -> dict[str, float]:
    """`name:value,name:value` apart. Raises ValueError."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, colon, value = (t.strip() for t in part.partition(":"))
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (name and colon and math.isfinite(number) and number > 0):
            raise ValueError(
                "baseline: expected numbers above 0 by sequence, as in snow:0.11,tilt:0.07; "
                f"got {part.strip()!r}"
            )
        if name in found:
            raise ValueError(f"baseline: {name!r} is given twice")
        found[name] = number
    return found


def _sequences(conditions: Sequence[Condition]) -> dict[str, list[int]]:
    """Where the frames of each sequence stand."""
    found: dict[str, list[int]] = {}
    for i, condition in enumerate(conditions):
        if condition.along == _FRAME and not (condition.clean or condition.check):
            found.setdefault(condition.ladder, []).append(i)
    return found


def _by_name(conditions: Sequence[Condition]) -> dict[str, list[list[int]]]:
    """The same by the names of sequences; more than one where a name is ambiguous."""
    found: dict[str, list[list[int]]] = {}
    for ladder, places in _sequences(conditions).items():
        steps = conditions[places[0]].steps
        alone = steps[0].name if len(steps) == 1 else ""
        name = alone.removeprefix(_PLUGIN) if alone.startswith(_PLUGIN) else ladder
        for known in {name, ladder}:
            found.setdefault(known, []).append(places)
    return found


def _mean(values: Floats, conditions: Sequence[Condition], places: Sequence[int]) -> Floats:
    """(r,) mean over a sequence's frames but the first; NaN where one is missing or there is no other."""
    frames = [_number(conditions[i]) for i in places]
    compared = [i for i, frame in zip(places, frames, strict=True) if frame > min(frames)]
    if not compared:
        return np.full(values.shape[0], np.nan)
    return np.asarray(values[:, compared].mean(axis=1), np.float64)


def _number(condition: Condition) -> float:
    """The frame's number."""
    return float(str(condition.level))


def _check(conditions: Sequence[Condition], metric: str) -> None:
    if not any(column.startswith(_REFERENCE) for column in build_metric(metric).needs):
        raise BadParameter(
            f"{metric} does not compare frames: set `of: stability.flip` or `of: stability.top5_distance`"
        )
    sequences: Mapping[str, Sequence[int]] = _sequences(conditions)
    if not sequences:
        raise BadParameter(
            "no condition is a sequence: add some as {use: sequence.tilt, ladder: {frame: [0, 1, 2, ...]}}"
        )
    for name, places in sequences.items():
        if len(places) < 2:
            raise BadParameter(
                f"the sequence {name!r} has one frame, and nothing to compare it with: add frames"
            )
        if not any(hasattr(find_step(s.name).cls, "reference") for s in conditions[places[0]].steps):
            raise BadParameter(
                f"{name!r} runs along `frame`, but no step of it says which frame a frame is compared with: "
                f"use one of {_PLUGIN}*"
            )
