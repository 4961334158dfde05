"""Composite scores of ImageNet-C: mean corruption error, its relative form, and the plain mean error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.errors import BadParameter
from robobench.registry import formulas
from robobench.types import Condition

Floats = NDArray[np.float64]

SEVERITIES = (1, 2, 3, 4, 5)
_METRIC = "accuracy.top1"
_PLUGIN = "corruption."  # a step of this stem makes a corruption in memory; a stored set is a ladder of data
_OF_ALEXNET = "% of AlexNet"

# Top-1 error of torchvision's AlexNet on the 50,000 images of each severity, 1 to 5, of the stored
# ImageNet-C. Source: issue 10 of github.com/hendrycks/robustness; the means are those that
# github.com/facebookresearch/augmentation-corruption divides by.
ALEXNET: Mapping[str, tuple[float, ...]] = {
    "gaussian_noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
    "shot_noise": (0.71224, 0.85108, 0.93574, 0.98182, 0.99146),
    "impulse_noise": (0.78374, 0.89808, 0.94870, 0.98720, 0.99548),
    "defocus_blur": (0.65624, 0.73202, 0.85036, 0.91364, 0.94714),
    "glass_blur": (0.64308, 0.75054, 0.88806, 0.91622, 0.93344),
    "motion_blur": (0.58430, 0.70048, 0.82108, 0.89750, 0.92638),
    "zoom_blur": (0.70008, 0.76992, 0.80784, 0.84198, 0.87198),
    "snow": (0.71726, 0.88392, 0.86468, 0.91870, 0.94952),
    "frost": (0.61390, 0.79734, 0.88790, 0.89942, 0.93430),
    "fog": (0.67474, 0.76050, 0.84378, 0.87260, 0.94500),
    "brightness": (0.45140, 0.48502, 0.54048, 0.62166, 0.72440),
    "contrast": (0.64548, 0.76150, 0.88874, 0.97760, 0.99270),
    "elastic_transform": (0.52596, 0.70116, 0.55686, 0.64076, 0.80554),
    "pixelate": (0.52218, 0.54620, 0.73728, 0.87092, 0.91262),
    "jpeg_compression": (0.51002, 0.54718, 0.57294, 0.65458, 0.74778),
}
ALEXNET_CLEAN = 0.43478  # its top-1 accuracy is published as 56.522 %; others round this to 0.4348 or 0.435


class _Over75Conditions:
    """A formula over the errors of the 15 test corruptions at five severities."""

    higher_is_better: ClassVar[bool] = False

    def check(self, conditions: Sequence[Condition], metric: str) -> None:
        """Raise BadParameter unless all 75 conditions are there, each once."""
        _check(conditions, metric)


@formulas.register("mce", version=1)
@dataclass(frozen=True)
class MeanCorruptionError(_Over75Conditions):
    """The mean corruption error (mCE) of ImageNet-C: 100 is AlexNet, lower is better.

    For each of the 15 test corruptions, the sum of the top-1 errors at the five severities divided by
    AlexNet's own sum there; 100 times the mean of the 15 ratios. Each corruption is divided before the
    mean is taken. The four validation corruptions (speckle noise, Gaussian blur, spatter, saturate) never
    enter. All 75 conditions are needed: a missing (NaN) one makes the score undefined. It is defined for
    1,000-way ImageNet at 224 pixels; on images that are corrupted in memory it differs from the stored
    set's, because those went through JPEG.

    A condition belongs to a corruption when its ladder carries the name and runs along `severity`, or when
    it has one step, called `corruption.<name>`, with that parameter.

    Source: Hendrycks and Dietterich 2019, section 4.
    """

    unit: ClassVar[str] = _OF_ALEXNET

    def __call__(self, values: Floats, conditions: Sequence[Condition]) -> Floats:
        errors = _errors(values, conditions)
        return np.asarray(100 * (errors.sum(axis=2) / _baseline().sum(axis=1)).mean(axis=1), np.float64)


@formulas.register("relative_mce", version=1)
@dataclass(frozen=True)
class RelativeMeanCorruptionError(_Over75Conditions):
    """The relative mCE of ImageNet-C: what corruption adds to a model's error, 100 is AlexNet.

    As `corruption.mce`, with the clean error taken off every error first, the model's from the model's and
    AlexNet's (0.43478) from AlexNet's. A negative value is legitimate: the model is better on
    corrupted images than on clean ones. Lower is better; read it beside the clean accuracy, because a
    model that is bad on clean images has little to lose.

    Source: Hendrycks and Dietterich 2019, section 4.
    """

    unit: ClassVar[str] = _OF_ALEXNET

    def __call__(self, values: Floats, conditions: Sequence[Condition]) -> Floats:
        clean = [i for i, c in enumerate(conditions) if c.clean and not c.companion]
        if len(clean) != 1:
            return np.full(values.shape[0], np.nan)
        added = _errors(values, conditions) - (1 - values[:, clean[0]])[:, None, None]
        alexnet = _baseline() - (1 - (1 - ALEXNET_CLEAN))  # rounded as accuracies are, see _baseline
        return np.asarray(100 * (added.sum(axis=2) / alexnet.sum(axis=1)).mean(axis=1), np.float64)


@formulas.register("mean_error", version=1)
@dataclass(frozen=True)
class MeanError(_Over75Conditions):
    """The mean top-1 error over the 15 test corruptions and their five severities, divided by nothing.

    What CIFAR-10-C and CIFAR-100-C are reported with, and for ImageNet-C the number that is often mistaken
    for mCE (ResNet-50: 61 % against an mCE of 76.7). Which conditions count is as for `corruption.mce`.
    A fraction; lower is better.

    Source: Hendrycks and Dietterich 2019, section 4.
    """

    unit: ClassVar[str] = "fraction"

    def __call__(self, values: Floats, conditions: Sequence[Condition]) -> Floats:
        return np.asarray(_errors(values, conditions).mean(axis=(1, 2)), np.float64)


def _baseline() -> Floats:
    """AlexNet's errors (15, 5), rounded as `1 - accuracy` is: its own accuracies then give exactly 100."""
    return np.asarray(1 - (1 - np.array(list(ALEXNET.values()))), np.float64)


def _errors(values: Floats, conditions: Sequence[Condition]) -> Floats:
    """Errors (r, 15, 5) in the order of the table; NaN where there is not exactly one condition."""
    places = _places(conditions)
    out = np.full((values.shape[0], len(ALEXNET), len(SEVERITIES)), np.nan)
    for i, corruption in enumerate(ALEXNET):
        for j, severity in enumerate(SEVERITIES):
            found = places.get((corruption, severity), [])
            if len(found) == 1:
                out[:, i, j] = 1 - values[:, found[0]]
    return out


def _places(conditions: Sequence[Condition]) -> dict[tuple[str, int], list[int]]:
    """Where the conditions of each test corruption and severity stand."""
    places: dict[tuple[str, int], list[int]] = {}
    for i, condition in enumerate(conditions):
        named = _named(condition)
        if named is not None and named[0] in ALEXNET:
            places.setdefault(named, []).append(i)
    return places


def _named(condition: Condition) -> tuple[str, int] | None:
    """The corruption and severity of a condition, None for one that is something else."""
    if condition.clean or condition.worst_of > 1:
        return None
    corruption, severity = condition.ladder, condition.level if condition.along == "severity" else None
    if condition.steps:  # a corrupted image that something else is done to is not the corruption
        step = condition.steps[0]
        if len(condition.steps) > 1 or not step.name.startswith(_PLUGIN):
            return None
        corruption, severity = step.name.removeprefix(_PLUGIN), step.params.get("severity")
    return (corruption, severity) if type(severity) is int else None


def _check(conditions: Sequence[Condition], metric: str) -> None:
    if metric != _METRIC:
        raise BadParameter(f"the error is one minus {_METRIC}; got {metric!r}: set `of: {_METRIC}`")
    places = _places(conditions)
    lacking = {corruption: [s for s in SEVERITIES if (corruption, s) not in places] for corruption in ALEXNET}
    absent = [
        f"{corruption} ({', '.join(map(str, severities))})"
        for corruption, severities in lacking.items()
        if severities
    ]
    if absent:
        more = f" and {len(absent) - 4} more" if len(absent) > 4 else ""
        raise BadParameter(
            "15 corruptions at severities 1 to 5 are needed, each as a ladder along `severity` that carries "
            f"the corruption's name or as a `corruption.<name>`; missing: {', '.join(absent[:4])}{more}"
        )
    twice = [f"{c} at severity {s}" for (c, s), found in places.items() if len(found) > 1]
    if twice:
        raise BadParameter(
            f"{twice[0]} is there twice: name one of the ladders otherwise, or put them in two suites"
        )
