"""Whether a model errs on the same images as people do.

What people said of each image stands in two columns, bit masks over them: `x_human_asked`, who was shown
the image, and `x_human_right`, who named it rightly (bit 0 is the first person). All numbers are of one
condition; over conditions the formula `mean` takes their mean, as the published ones are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from robobench.metrics.ranked import Floats, OfAllRows, in_blocks, right, share
from robobench.registry import metrics
from robobench.types import Rows

Who = Literal["model", "humans"]


def _people(rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Who was asked, and who of them was right: (n, people) each."""
    masks = np.stack([np.asarray(rows[c], np.float64) for c in ("x_human_asked", "x_human_right")])
    asked, correct = np.nan_to_num(masks).astype(np.int64)
    bits = np.arange(int(asked.max(initial=0)).bit_length())
    shown = (asked[:, None] >> bits & 1).astype(np.bool_)
    return shown, shown & (correct[:, None] >> bits & 1).astype(np.bool_)


@dataclass(frozen=True)
class _Trials:
    """Of each pair of decision makers on each resample, over the trials of both: (r, pairs) each."""

    count: Floats
    first: Floats  # the first one's accuracy
    second: Floats  # the second one's
    both: Floats  # the share of trials where both are right or both are wrong

    @classmethod
    def of(cls, rows: Rows, weights: NDArray[Any], who: Who) -> _Trials:
        """The model beside each person, or each person beside each other one."""
        shown, correct = _people(rows)
        people = range(shown.shape[1])
        if who == "model":
            mine = right(rows)
            pairs = [(shown[:, s], mine, correct[:, s]) for s in people]
        else:
            pairs = [
                (shown[:, s] & shown[:, t], correct[:, s], correct[:, t]) for s, t in combinations(people, 2)
            ]
        columns = [c for t, a, b in pairs for c in (t, t & a, t & b, t & (a == b))]
        if not columns:
            return cls(*np.zeros((4, weights.shape[0], 0)))
        table = np.stack(columns, axis=1).astype(np.float64)
        sums = in_blocks(weights, lambda w: w @ table).reshape(weights.shape[0], -1, 4)
        count = sums[:, :, 0]
        return cls(count, *(share(sums[:, :, k], count) for k in (1, 2, 3)))


def _mean(values: Floats) -> Floats:
    """The mean over the pairs that have trials: (r, pairs) -> (r,)."""
    known = ~np.isnan(values)
    return share(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


@dataclass(frozen=True, kw_only=True)
class _Beside(OfAllRows):
    """What all have in common."""

    who: Who = "model"  # `model`: the model beside each person; `humans`: each person beside each other

    higher_is_better: ClassVar[bool] = True

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns it reads."""
        return ("hit", "x_human_asked", "x_human_right")

    def uses(self, rows: Rows) -> NDArray[np.bool_]:
        """The images that enough people were shown."""
        return np.asarray(_people(rows)[0].sum(axis=1) >= (1 if self.who == "model" else 2), np.bool_)


@metrics.register("observed", version=1)
@dataclass(frozen=True, kw_only=True)
class ObservedConsistency(_Beside):
    """Observed consistency: how often a model and a person are both right or both wrong.

    The share of trials, of the images that the person was shown, averaged over people. Two good decision
    makers agree much even where they err on different images; consistency.error takes that off. A row
    whose logits are not finite is wrong. With `who: humans` the mean over pairs of people: what a model
    could at best be asked for, the same for every model. Fraction in [0, 1], higher is better.

    Source: Geirhos, Meding and Wichmann, Beyond Accuracy, NeurIPS 2020, section 2; averaged as in Geirhos
    et al., Partial Success in Closing the Gap Between Human and Machine Vision, NeurIPS 2021.

    One person, right on the first two of four images; the model is right on the second and third:

    >>> rows = {"hit": np.array([5, 0, 0, 2]), "x_human_asked": np.ones(4),
    ...         "x_human_right": np.array([1, 1, 0, 0])}
    >>> ObservedConsistency()(rows)
    0.5
    """

    unit: ClassVar[str] = "fraction"

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The share of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        return _mean(_Trials.of(rows, weights, self.who).both)


@metrics.register("error", version=1)
@dataclass(frozen=True, kw_only=True)
class ErrorConsistency(_Beside):
    """Error consistency: how much more a model and a person err on the same images than by chance.

    Cohen's kappa of being right: with accuracies p1 and p2 on the trials of both, expected consistency
    e = p1 p2 + (1 - p1)(1 - p2) and observed consistency o it is (o - e) / (1 - e), and 1 where o is 1;
    averaged over people. 0 is chance, 1 the same errors; the least possible value depends on the accuracies.
    With `who: humans` the mean over pairs of people. From -1 to 1, higher is better. Where people answer
    few images rightly it says little: published means leave such conditions out.

    Source: Geirhos, Meding and Wichmann, Beyond Accuracy, NeurIPS 2020, section 2; averaged as in Geirhos
    et al., Partial Success in Closing the Gap Between Human and Machine Vision, NeurIPS 2021.

    Accuracies of 32/40 and 28/40, both right on 25 images and both wrong on 5:

    >>> rows = {"hit": np.repeat([0, 0, 1, 1], [25, 7, 3, 5]), "x_human_asked": np.ones(40),
    ...         "x_human_right": np.repeat([1, 0, 1, 0], [25, 7, 3, 5])}
    >>> round(ErrorConsistency()(rows), 10)  # (.75 - .62) / (1 - .62)
    0.3421052632
    """

    unit: ClassVar[str] = "kappa"

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The kappa of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        trials = _Trials.of(rows, weights, self.who)
        expected = trials.first * trials.second + (1 - trials.first) * (1 - trials.second)
        with np.errstate(invalid="ignore", divide="ignore"):
            kappa = (trials.both - expected) / (1 - expected)
        return _mean(np.where(trials.both == 1, 1.0, kappa))


@metrics.register("accuracy_difference", version=1)
@dataclass(frozen=True, kw_only=True)
class AccuracyDifference(_Beside):
    """Accuracy difference: the squared difference of a model's accuracy and a person's.

    (p1 - p2)^2 over the images that the person was shown, averaged over people. With `who: humans` the
    mean over pairs of people. From 0 to 1, lower is better.

    Source: Geirhos et al., Partial Success in Closing the Gap Between Human and Machine Vision, NeurIPS 2021.

    >>> rows = {"hit": np.array([0, 0, 0, 2]), "x_human_asked": np.ones(4),
    ...         "x_human_right": np.array([1, 1, 0, 0])}
    >>> AccuracyDifference()(rows)  # (3/4 - 2/4)^2
    0.0625
    """

    unit: ClassVar[str] = "squared difference"
    higher_is_better: ClassVar[bool] = False

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The difference of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        trials = _Trials.of(rows, weights, self.who)
        return _mean((trials.first - trials.second) ** 2)


@metrics.register("human_accuracy", version=1)
@dataclass(frozen=True)
class HumanAccuracy(OfAllRows):
    """The accuracy of people on these images, averaged over people: the same for every model.

    Fraction in [0, 1], higher is better.

    Source: Geirhos et al., Partial Success in Closing the Gap Between Human and Machine Vision, NeurIPS 2021.

    >>> HumanAccuracy()({"x_human_asked": np.array([3, 3]), "x_human_right": np.array([3, 1])})
    0.75
    """

    needs: ClassVar[tuple[str, ...]] = ("x_human_asked", "x_human_right")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = True

    def uses(self, rows: Rows) -> NDArray[np.bool_]:
        """The images that somebody was shown."""
        return np.asarray(_people(rows)[0].any(axis=1), np.bool_)

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> Floats:
        """The accuracy of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        table = np.concatenate(_people(rows), axis=1).astype(np.float64)
        asked, correct = np.split(in_blocks(weights, lambda w: w @ table), 2, axis=1)
        return _mean(share(correct, asked))
