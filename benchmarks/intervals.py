"""How often the intervals and tests err: exact sums where there are few outcomes, simulations elsewhere.

`python benchmarks/intervals.py` writes docs/coverage.md; tests/property/test_coverage.py checks every line of
it against its band. All seeds are fixed here, and were before the first line was computed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # for tests.exact, wherever this is run from

from robobench.formulas.corruption import ALEXNET  # noqa: E402
from robobench.proportions import (  # noqa: E402
    clopper_pearson,
    equivalent,
    holm,
    mcnemar,
    noninferior,
    paired_interval,
)
from robobench.sequential import share_sequence  # noqa: E402
from robobench.stats import (  # noqa: E402
    RESAMPLES,
    difference_interval,
    resample_weights,
    resampled_means,
    skewed_interval,
    wilson,
)
from tests.exact import paired_outcomes  # noqa: E402

Floats = NDArray[np.float64]

SEED = 20_270
RUNS = 2000
PAGE = ROOT / "docs" / "coverage.md"
SIMULATED = (0.935, 0.965)
CORRUPTIONS, SEVERITIES = 15, 5
BASELINE = np.array(list(ALEXNET.values())).sum(axis=1)
MCE = np.repeat(100 / CORRUPTIONS / BASELINE, SEVERITIES)  # what each of the 75 errors adds to mCE


@dataclass(frozen=True)
class Row:
    """A share of cases, and the band that it must lie in. runs: 0 where it is an exact sum."""

    what: str
    where: str
    share: float
    band: tuple[float, float]
    runs: int = 0

    @property
    def holds(self) -> bool:
        return self.band[0] <= self.share <= self.band[1]


def covered(low: Floats, high: Floats, truth: float) -> NDArray[np.bool_]:
    """In which cases an interval holds the truth."""
    return np.asarray((low <= truth) & (truth <= high))


# one share


def accuracy() -> Iterator[Row]:
    """Wilson and Clopper-Pearson, by exact binomial sums."""
    for name, function, band in (
        ("Wilson", wilson, (0.925, 0.975)),
        ("Clopper-Pearson", clopper_pearson, (0.95, 1.0)),
    ):
        shares = []
        for n in (100, 500, 2000):
            for p in (0.02, 0.3, 0.76, 0.98):
                k = np.arange(n + 1)
                shares.append(float(binom.pmf(k, n, p)[covered(*function(k, n), p)].sum()))
                yield Row(f"{name}, accuracy", f"n = {n}, share {p:g}", shares[-1], band)
        mean_band = (0.94, 0.96) if function is wilson else (0.95, 1.0)
        yield Row(f"{name}, accuracy", "mean of the twelve", float(np.mean(shares)), mean_band)


# many conditions on the same images


def images(
    errors: Floats, sharing: float, n: int, rng: np.random.Generator, models: int = 1
) -> Iterator[NDArray[np.bool_]]:
    """Data sets of n images, one after the other: (models, n, 75) whether an answer is wrong.

    errors (models, 75): the true error rates. sharing: which part of an image's difficulty is its own, the
    same under every condition and for every model; the rest is drawn for each answer.
    """
    edge = norm.isf(errors).astype(np.float32)[:, None, :]
    common, own = np.float32(np.sqrt(sharing)), np.float32(np.sqrt(1 - sharing))
    while True:
        hard = rng.standard_normal((1, n, 1), dtype=np.float32)
        yield common * hard + own * rng.standard_normal((models, n, errors.shape[1]), dtype=np.float32) > edge


def composite(errors: Floats, sharing: float, n: int, seed: int, runs: int = RUNS) -> tuple[Floats, float]:
    """What each image adds to mCE (n, runs), or to the difference of two models' mCE; and the truth."""
    rng = np.random.Generator(np.random.PCG64([SEED, seed]))
    sign = np.array([1.0, -1.0])[: len(errors)]
    values = np.empty((n, runs))
    drawn = images(errors, sharing, n, rng, len(errors))
    for run in range(runs):
        values[:, run] = sign @ (next(drawn) @ MCE)
    return values, float(sign @ (errors @ MCE))


def resampled(values: Floats, how: Callable[..., tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """The interval of each column's mean, on the resamples that every suite of this size uses."""
    weights = resample_weights(len(values), RESAMPLES, "0 base").astype(np.float64)
    samples = resampled_means(values, weights)
    return how(values.mean(axis=0), samples)


def graded(low: float, high: float) -> Floats:
    """Error rates that grow over the five severities, alike for the 15 corruptions."""
    return np.tile(np.linspace(low, high, SEVERITIES), CORRUPTIONS)


RATES = {
    "errors .02": graded(0.02, 0.02),
    "errors .02 to .1": graded(0.02, 0.1),
    "errors .1 to .5": graded(0.1, 0.5),
    "errors .7 of AlexNet's": 0.7 * np.array(list(ALEXNET.values())).ravel(),
}
MCE_CASES = [(n, rates, sharing) for n in (500, 2000) for rates in RATES for sharing in (0.3, 0.7, 0.95)]


def mce(case: int) -> Iterator[Row]:
    """The bootstrap interval of mCE, where errors go together on the same images."""
    n, rates, sharing = MCE_CASES[case]
    values, truth = composite(RATES[rates][None], sharing, n, seed=case)
    share = float(covered(*resampled(values, skewed_interval), truth).mean())
    yield Row("mCE, 15 x 5 cells", f"n = {n}, {rates}, shared {sharing:g}", share, SIMULATED, RUNS)


DIFFERENCE_CASES = [
    (n, rates, sharing, factor)
    for n in (500, 2000)
    for rates, factor in (("errors .02", 1.0), ("errors .02 to .1", 1.5), ("errors .7 of AlexNet's", 1.1))
    for sharing in (0.3, 0.95)
]


def mce_difference(case: int) -> Iterator[Row]:
    """The paired difference of two models' mCE, the second with so many times the errors."""
    n, rates, sharing, factor = DIFFERENCE_CASES[case]
    errors = np.stack([RATES[rates], factor * RATES[rates]])
    values, truth = composite(errors, sharing, n, seed=1000 + case)
    share = float(covered(*resampled(values, difference_interval), truth).mean())
    where = f"n = {n}, {rates} and {factor:g} times that, shared {sharing:g}"
    yield Row("mCE, paired difference", where, share, SIMULATED, RUNS)


# two models under one condition

PAIRS = ((0.01, 0.01), (0.02, 0.02), (0.03, 0.01), (0.05, 0.02), (0.1, 0.1), (0.15, 0.1), (0.3, 0.2))


def accuracy_difference() -> Iterator[Row]:
    """The score interval of a paired difference, by exact trinomial sums."""
    for n in (500, 2000):
        for first, second in PAIRS:
            one, two, chance = paired_outcomes(n, first, second)
            share = float(chance[covered(*paired_interval(one, two, n), first - second)].sum())
            where = f"n = {n}, one alone right {first:g} and {second:g}"
            yield Row("accuracy, paired difference", where, share, SIMULATED)


FALSE = (0.0, 0.05)


def worst(tests: Callable[[Floats, Floats, int], Floats], n: int, apart: float) -> float:
    """How often a test claims at 5 % what is not so, at the worst share of images with a difference."""
    found = []
    for both in (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4):
        one, two, chance = paired_outcomes(n, both / 2, both / 2 + apart)
        found.append(float(chance[tests(one, two, n) <= 0.05].sum()))
    return max(found)


def false_alarms() -> Iterator[Row]:
    """The tests of a pair, by exact trinomial sums, at the edge of what they test."""
    for n in (100, 500, 2000):
        share = worst(lambda one, two, _: mcnemar(one, two), n, 0.0)
        yield Row("McNemar, models alike", f"n = {n}, the worst of 7 shares", share, FALSE)
        for margin in (0.01, 0.05):
            where = f"n = {n}, margin {margin:g}, the worst of 7 shares"
            share = worst(lambda one, two, n, m=margin: noninferior(one, two, n, m), n, margin)
            yield Row("non-inferiority, worse by the margin", where, share, FALSE)
            share = worst(lambda one, two, n, m=margin: equivalent(one, two, n, m), n, margin)
            yield Row("equivalence, apart by the margin", where, share, FALSE)


HOLM_CASES = [
    (rates, sharing) for rates in ("errors .02 to .1", "errors .7 of AlexNet's") for sharing in (0.0, 0.7)
]


def table(case: int) -> Iterator[Row]:
    """Holm's method over the 75 McNemar tests of two models alike: any claim at all is a false one."""
    rates, sharing = HOLM_CASES[case]
    rng = np.random.Generator(np.random.PCG64([SEED, 2000 + case]))
    drawn = images(np.stack([RATES[rates]] * 2), sharing, 500, rng, 2)
    wrong = 0
    for _ in range(RUNS):
        first, second = next(drawn)
        p = holm(mcnemar((second & ~first).sum(axis=0), (first & ~second).sum(axis=0)))
        wrong += bool((p <= 0.05).any())
    where = f"75 conditions, n = 500, {rates}, shared {sharing:g}"
    yield Row("Holm over McNemar, models alike", where, wrong / RUNS, FALSE, RUNS)


# a run that looks again and again


def sequential() -> Iterator[Row]:
    """A run that may stop at any of 100 looks errs when the interval misses the share at any of them."""
    looks = np.unique(np.geomspace(10, 5000, 100).astype(int))
    for place, p in enumerate((0.02, 0.3, 0.76, 0.98)):
        rng = np.random.Generator(np.random.PCG64([SEED, 3000 + place]))
        right = (rng.random((RUNS, looks[-1])) < p).cumsum(axis=1)[:, looks - 1]
        ever = np.zeros(RUNS, bool)
        for at, n in enumerate(looks):
            few, back = np.unique(right[:, at], return_inverse=True)
            ever |= ~covered(*share_sequence(few, n), p)[back]
        where = f"looks at n = 10 to 5,000, share {p:g}"
        yield Row("sequential stop, ever wrong", where, float(ever.mean()), FALSE, RUNS)


PARTS: dict[str, list[Callable[[], Iterator[Row]]]] = {
    "Accuracy": [accuracy],
    "Scores over many conditions": [lambda i=i: mce(i) for i in range(len(MCE_CASES))],
    "Differences of two models": [
        accuracy_difference,
        *(lambda i=i: mce_difference(i) for i in range(len(DIFFERENCE_CASES))),
    ],
    "False alarms of tests": [false_alarms, *(lambda i=i: table(i) for i in range(len(HOLM_CASES)))],
    "Sequential stop": [sequential],
}

HEAD = f"""# How often the intervals hold

Written by `python benchmarks/intervals.py`; every line is checked by `make test-slow`. Where there are few
outcomes (one share, or two models under one condition) their probabilities are summed, so a line is exact.
Elsewhere {RUNS:,} data sets are drawn, with seeds fixed before the first look, and a line is known to about
0.5 points. The resamples are those of every suite with that many images and seed 0.

Answers under many conditions go together through the images: an image has a difficulty of its own, `shared`
of the variance, the same under all 75 conditions and for both models. mCE is as `corruption.mce`, in per cent
of AlexNet.
"""


def markdown(parts: dict[str, list[Row]]) -> str:
    """The page."""
    lines = [HEAD]
    for title, rows in parts.items():
        lines += [f"## {title}", "", "| what | where | share | band | |", "|---|---|---|---|---|"]
        for row in rows:
            band = " to ".join(f"{100 * v:g}" for v in row.band)
            how = f"{row.runs:,} data sets" if row.runs else "exact"
            lines.append(f"| {row.what} | {row.where} | {100 * row.share:.2f} % | {band} | {how} |")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Compute the page; with --check only say what has changed or does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    began, parts = time.perf_counter(), {}
    for title, makers in PARTS.items():
        parts[title] = [row for make in makers for row in make()]
        print(f"{title}: {len(parts[title])} lines, {time.perf_counter() - began:.0f} s", flush=True)
    bad = [row for rows in parts.values() for row in rows if not row.holds]
    for row in bad:
        print(f"does not hold: {row.what}, {row.where}: {row.share:.4f}, expected {row.band}")
    if not check:
        PAGE.write_text(markdown(parts), encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
