"""Effective robustness: what a model has on shifted images above what its clean accuracy promises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.accuracy_line import LINES, BrokenLine, Line, effective_robustness
from robobench.errors import BadParameter, nearest
from robobench.registry import formulas
from robobench.types import CLEAN, Condition

_METRIC = "accuracy.top1"
_COMPANION = f"{CLEAN}@"


@formulas.register("robustness", version=1)
@dataclass(frozen=True)
class EffectiveRobustness:
    """The effective robustness to a natural shift: percentage points above the line of standard models.

    rho = 100 * (shifted - expit(slope * logit(clean) + intercept)), with both accuracies in [0, 1] and
    natural logarithms. 0 is what a model of that clean accuracy trained in the standard way has; above 0 is
    robustness that does not come from being better altogether. Read it beside the accuracy itself.

    `line` names a published one: imagenet-v2-matched-frequency, imagenet-v2-threshold-0.7,
    imagenet-v2-top-images, imagenet-sketch, stylized-imagenet, greyscale, objectnet, imagenet-r, imagenet-a
    (two lines, the pivot at ResNet-50's accuracy, since the set was collected from its mistakes) or
    imagenet-a-straight. Those are fitted to the 85 standard models of the ImageNet testbed at 224 pixels and
    more; each knows its clean side: `clean`, or for objectnet, imagenet-r and imagenet-a the validation
    images of the same classes under the same read-out (`clean@imagenet-r`). Two numbers, slope and
    intercept, are a line of your own, and `clean` has to be named beside them.

    NaN where either accuracy is missing. The interval is that of the images; how sure the line is, is not
    in it. Higher is better.

    Source: Taori et al., Measuring Robustness to Natural Distribution Shifts in Image Classification, NeurIPS
    2020 (effective robustness, logit scaling), and the authors' testbed, whose accuracies the lines are
    fitted to.

    A model with 76.13 % on ImageNet and 63.21 % on ImageNetV2:

    >>> cells = [Condition("clean", "clean", "base"), Condition("v2", "v2", "v2")]
    >>> rho = EffectiveRobustness(condition="v2", line="imagenet-v2-matched-frequency")
    >>> rho(np.array([[0.7613, 0.6321]]), cells).round(2).tolist()
    [-0.74]
    """

    condition: str  # the shifted condition, by its name in the suite
    line: str  # a published line by its name, or "slope,intercept"
    clean: str = ""  # the clean condition; empty: that of the published line

    unit: ClassVar[str] = "% points"
    higher_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        own = _numbers(self.line)
        if own is None and self.line not in LINES:
            raise ValueError(
                f"line: {self.line!r} is neither a published line nor two numbers as in 0.92,-0.5; "
                f"{nearest(self.line, LINES)}"
            )
        if own is not None and not self.clean:
            raise ValueError(
                "clean: a line of your own does not say which clean accuracies it is about: name `clean`, or "
                f"`{_COMPANION}LABEL SPACE` for a shift with a read-out of its own"
            )
        if self.clean not in ("", CLEAN) and not self.clean.startswith(_COMPANION):
            raise ValueError(f"clean: expected `clean` or `{_COMPANION}LABEL SPACE`, got {self.clean!r}")

    def __call__(self, values: NDArray[np.float64], conditions: Sequence[Condition]) -> NDArray[np.float64]:
        line, clean = self._line()
        places = [[i for i, c in enumerate(conditions) if c.name == name] for name in (clean, self.condition)]
        if any(len(found) != 1 for found in places):
            return np.full(values.shape[0], np.nan)
        before, after = (values[:, found[0]] for found in places)
        return effective_robustness(before, after, line)

    def check(self, conditions: Sequence[Condition], metric: str) -> None:
        """Raise BadParameter unless there is such a condition, and the metric is the accuracy."""
        if metric != _METRIC:
            raise BadParameter(f"lines are those of {_METRIC}; got {metric!r}: set `of: {_METRIC}`")
        known = [c.name for c in conditions if not c.clean]
        if self.condition not in known:
            raise BadParameter(
                f"no condition is called {self.condition!r}; {nearest(self.condition, known)}", ("condition",)
            )

    def _line(self) -> tuple[Line | BrokenLine, str]:
        """The line, and the name of the clean condition."""
        own = _numbers(self.line)
        if own is not None:
            return Line(*own), self.clean
        published = LINES[self.line]
        return published.line, self.clean or published.clean


def _numbers(text: str) -> tuple[float, float] | None:
    """A slope and an intercept, None for another text."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        return None
    return (found[0], found[1]) if len(found) == 2 and all(map(math.isfinite, found)) else None
