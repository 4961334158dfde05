"""Families compared: what separates ViT, CNN, MLP and hybrid models beyond clean accuracy and size.

The model is the unit: more images make each model's score surer, not the difference between families. A
linear regression of the score on the family, with the logit of the clean accuracy, the logarithm of the
number of parameters and the training data as far as the number of models allows. Tests are corrected over the
pairs by Holm's method.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robobench.accuracy_line import logit
from robobench.leaderboard.board import Leaderboard
from robobench.proportions import ALPHA, holm
from robobench.stats import LEVEL

Floats = NDArray[np.float64]

FEWEST = 3  # models of a family
FREEDOM = 3  # residual degrees of freedom that have to be left
CLEAN, SIZE, TRAINING = "clean accuracy", "parameters", "training data"
_ACCURACY = "accuracy.top1"


@dataclass(frozen=True)
class Member:
    """A model. clean: accuracy in [0, 1], NaN if not known. training: a label, None if not known."""

    name: str
    family: str
    score: float
    clean: float
    parameters: float | None = None
    training: str | None = None


@dataclass(frozen=True)
class Difference:
    """Two families at equal covariates. value: first - second, in the score's unit; NaN where not compared.

    low, high: its own interval. p: two-sided, corrected over all pairs. verdict: of the first family.
    """

    first: str
    second: str
    value: float
    low: float
    high: float
    p: float
    verdict: Literal["better", "worse", "cannot tell"]
    why: str = ""  # there is no verdict


@dataclass(frozen=True)
class Families:
    """models: of each family. covariates: what is held equal. left_out: covariates and models, and why."""

    models: Mapping[str, int]
    covariates: tuple[str, ...]
    left_out: Mapping[str, str]
    freedom: int
    differences: tuple[Difference, ...]


def members_of(board: Leaderboard, training: Mapping[str, str] | None = None) -> tuple[Member, ...]:
    """The ranked models of a board whose family is known. training: a label by the model's name."""
    clean = next((r.condition for r in board.references), "")
    found = []
    for entry in board.ranked:
        cell = entry.cells[clean]
        accuracy = next((s.value for s in cell.scores if s.name == _ACCURACY), math.nan)
        if entry.family not in (None, "other"):
            trained = (training or {}).get(entry.name)
            found.append(
                Member(entry.name, str(entry.family), entry.score.value, accuracy, entry.parameters, trained)
            )
    return tuple(found)


def compare_families(
    members: Sequence[Member], *, higher_is_better: bool = True, level: float = LEVEL, alpha: float = ALPHA
) -> Families:
    """Every pair of families, matched by regression.

    A family takes part with three models or more. Clean accuracy enters always; without it, or with fewer
    than three residual degrees of freedom (models - families - covariates), nothing can be told. Then
    parameters and training data (one covariate for each label but one) enter in this order where all models
    have them, they do not repeat what is there, and three degrees of freedom are left. Families whose clean
    accuracies do not overlap are not compared: that would be extrapolation.

    Intervals are the estimate -+ t with the residual degrees of freedom times the HC3 standard error
    (MacKinnon and White, Journal of Econometrics 29, 1985), which holds, roughly, when families scatter
    differently.
    """
    extreme = [m.name for m in members if m.clean in (0.0, 1.0)]  # their logit is not finite
    members = [m for m in members if m.name not in extreme]
    count = Counter(m.family for m in members)
    families = [f for f in sorted(count) if count[f] >= FEWEST]
    some = [m for m in members if m.family in families]
    design, covariates, left_out, why = _design(some, families)
    freedom = len(some) - design.shape[1]
    pairs = list(combinations(sorted(count), 2))
    fitted = None if why else _hc3(design, np.array([m.score for m in some]))
    raw: list[tuple[float, float, float]] = []
    reasons: list[str] = []
    for pair in pairs:
        reason = _reason(pair, count, some) or why
        reasons.append(reason)
        raw.append(
            (math.nan,) * 3 if reason or fitted is None else _contrast(pair, families, fitted, freedom)
        )
    adjusted = holm([r[2] for r in raw]) if raw else np.zeros(0)
    t = _t_quantile(0.5 + level / 2, freedom) if freedom > 0 else math.nan
    differences = []
    for (one, two), (value, error, _), p, reason in zip(pairs, raw, adjusted, reasons, strict=True):
        sure = not math.isnan(p) and p < alpha and value != 0
        good = (value > 0) == higher_is_better
        verdict: Literal["better", "worse", "cannot tell"] = "cannot tell"
        if sure:
            verdict = "better" if good else "worse"
        said = reason or ("" if sure else "the difference is within what models of a family scatter")
        differences.append(
            Difference(one, two, value, value - t * error, value + t * error, float(p), verdict, said)
        )
    left_out |= {name: "a model whose clean accuracy is 0 or 1 has no logit" for name in extreme}
    return Families(dict(sorted(count.items())), covariates, left_out, max(0, freedom), tuple(differences))


def _design(
    some: Sequence[Member], families: Sequence[str]
) -> tuple[Floats, tuple[str, ...], dict[str, str], str]:
    """A column for each family and covariate; what entered, what did not, why nothing can be told."""
    if not some:
        return np.zeros((0, 0)), (), {}, "no family has models enough"
    design = np.array([[float(m.family == f) for f in families] for m in some]).reshape(
        len(some), len(families)
    )
    entered: list[str] = []
    left_out: dict[str, str] = {}
    for name, columns in _covariates(some).items():
        if columns is None:
            left_out[name] = "not known of all models"
            continue
        wider = np.concatenate([design, columns - columns.mean(axis=0)], axis=1)
        if len(some) - wider.shape[1] < FREEDOM:
            left_out[name] = f"{len(some)} models are too few for it"
        elif columns.shape[1] == 0 or np.linalg.matrix_rank(wider) < wider.shape[1]:
            left_out[name] = "the same for all models, or given by what is held equal already"
        elif float(_leverage(wider).max()) > 1 - 1e-9:
            left_out[name] = "a model would stand alone with its value"
        else:
            design, entered = wider, [*entered, name]
    why = (
        "" if CLEAN in entered else f"clean accuracy cannot be held equal: {left_out.get(CLEAN, 'no models')}"
    )
    return design, tuple(entered), left_out, why


def _covariates(some: Sequence[Member]) -> dict[str, Floats | None]:
    """Columns (models, k) of each covariate in the order they enter; None where a model lacks it."""
    clean = logit([m.clean for m in some])
    sizes = np.array([m.parameters or math.nan for m in some], np.float64)
    labels = [m.training for m in some]
    kinds = sorted({str(v) for v in labels})[1:]
    found: dict[str, Floats | None] = {
        CLEAN: clean[:, None] if np.isfinite(clean).all() else None,
        SIZE: np.log(sizes)[:, None] if np.isfinite(sizes).all() else None,
    }
    known = all(v is not None for v in labels)
    dummies = np.array([[float(v == k) for k in kinds] for v in labels]).reshape(len(some), len(kinds))
    return found | {TRAINING: dummies if known else None}


def _reason(pair: tuple[str, str], count: Mapping[str, int], some: Sequence[Member]) -> str:
    """Why two families cannot be compared, empty where they can."""
    few = [f for f in pair if count[f] < FEWEST]
    if few:
        n = count[few[0]]
        return f"{few[0]} has {n} model{'s' * (n != 1)}, and {FEWEST} are needed"
    one, two = ([m.clean for m in some if m.family == f] for f in pair)
    apart = max(min(one), min(two)) > min(max(one), max(two))
    return "their clean accuracies do not overlap" if apart else ""


def _leverage(design: Floats) -> Floats:
    """(models,) how much each model decides its own fitted value, at most 1."""
    basis, _ = np.linalg.qr(design)
    return np.asarray((basis**2).sum(axis=1), np.float64)


def _hc3(design: Floats, score: Floats) -> tuple[Floats, Floats]:
    """Coefficients and their HC3 covariance."""
    inverse = np.linalg.pinv(design)
    beta = inverse @ score
    scaled = inverse * ((score - design @ beta) / (1 - _leverage(design)))
    return beta, scaled @ scaled.T


def _contrast(
    pair: tuple[str, str], families: Sequence[str], fitted: tuple[Floats, Floats], freedom: int
) -> tuple[float, float, float]:
    """First minus second, its standard error and the two-sided p-value."""
    from scipy.special import stdtr

    beta, covariance = fitted
    weights = np.zeros(beta.size)
    weights[families.index(pair[0])], weights[families.index(pair[1])] = 1.0, -1.0
    value, error = float(weights @ beta), float(np.sqrt(weights @ covariance @ weights))
    if error <= 1e-12:  # models on their lines exactly: nothing is known of how they scatter
        return value, error, math.nan
    return value, error, float(2 * stdtr(freedom, -abs(value) / error))


def _t_quantile(share: float, freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))
