"""How often intervals err that are looked at again and again, and how far a run goes that stops by them.

`python benchmarks/peeking.py` writes docs/coverage-sequential.md; tests/property/test_sequential.py (slow)
checks every line of it. All seeds are fixed here, and were before the first line was computed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # for tests.peeking, wherever this is run from

from robobench.proportions import mcnemar  # noqa: E402
from robobench.sequential import (  # noqa: E402
    difference_sequence,
    images_for_precision,
    reach,
    share_sequence,
)
from robobench.stats import wilson  # noqa: E402
from tests.peeking import at_each, counts, ever_wrong, iid, in_rounds, mean_so_far  # noqa: E402

PAGE = ROOT / "docs" / "coverage-sequential.md"
RUNS = 2000
MOST = 0.05
SHARES = (0.02, 0.1, 0.3, 0.5, 0.76, 0.9, 0.98)
BORDERS = 96  # images of a work item


@dataclass(frozen=True)
class Row:
    """One case: how often the sequence is wrong, and how often the usual method in its place."""

    what: str
    where: str
    sequence: float
    usual: float
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.sequence <= MOST


def every_image() -> Iterator[Row]:
    """Looked at after each of the first 2,000 images."""
    looks = np.arange(1, 2001)
    for seed, share in enumerate(SHARES):
        answers = iid(share, RUNS, 2000, seed)
        wrong = [ever_wrong(answers, share, looks, how) for how in (share_sequence, wilson)]
        yield Row("after every image", f"share {share:g}, n = 1 to 2,000", *wrong)


def every_border() -> Iterator[Row]:
    """Looked at at each border of a work item."""
    looks = np.arange(BORDERS, 10_001, BORDERS)
    for seed, share in enumerate(SHARES):
        answers = iid(share, RUNS, 10_000, 100 + seed)
        wrong = [ever_wrong(answers, share, looks, how) for how in (share_sequence, wilson)]
        yield Row("at every item border", f"share {share:g}, n = 96 to 9,984", *wrong)


def classes_apart() -> Iterator[Row]:
    """Classes of 97 % and 5 % that take turns in the visiting order, against the mean of all classes.

    Answers to classes in turn vary less than answers to equal images would, so hardly any interval errs; but
    all runs see the classes in one order, and 96 of 1,000 classes are not all of them.
    """
    looks = np.arange(BORDERS, 10_001, BORDERS)
    for seed, classes in enumerate((2, 10, 100, 1000)):
        shares = np.where(np.arange(classes) % 2 == 0, 0.97, 0.05)
        answers, there = in_rounds(shares, RUNS, 10_000, 200 + seed)
        truths = {"all": np.full(looks.shape, shares.mean()), "those visited": mean_so_far(there)[looks - 1]}
        for which, truth in truths.items():
            wrong = [ever_wrong(answers, truth, looks, how) for how in (share_sequence, wilson)]
            where = f"{classes:,} classes of 97 % and 5 % in turn, n = 96 to 9,984; mean of {which}"
            yield Row("at every item border", where, *wrong)


def fixed_width() -> Iterator[Row]:
    """A run that stops at the first border where the share is known to +- P: is it within +- P?"""
    for seed, (precision, share) in enumerate((p, s) for p in (0.05, 0.02) for s in SHARES):
        n = int(images_for_precision(0.5, precision)) + BORDERS
        looks = np.arange(BORDERS, n + 1, BORDERS)
        right = counts(iid(share, RUNS, n, 300 + seed), looks)
        (off,) = at_each(reach, right, np.broadcast_to(looks, right.shape))
        at = (off <= precision).argmax(axis=1)
        final, images = right[np.arange(RUNS), at], looks[at]
        low, high = wilson(final, images)
        wrong = float((np.abs(final / images - share) > precision).mean())
        usual = float(((share < low) | (share > high)).mean())
        planned = int(images_for_precision(share, precision))
        note = f"n = {np.mean(images):,.0f} on average, {planned:,} planned"
        yield Row("stop at a fixed width", f"share {share:g}, +- {precision:g}", wrong, usual, note)


def equal_models() -> Iterator[Row]:
    """Two models of equal accuracy, asked at each border which one is better."""
    looks = np.arange(BORDERS, 5001, BORDERS)
    for seed, apart in enumerate((0.02, 0.1, 0.5)):
        rng = np.random.default_rng(400 + seed)
        differ = rng.random((RUNS, looks[-1]), np.float32) < apart
        first = rng.random(differ.shape, np.float32) < 0.5
        wins, losses = counts(differ & first, looks), counts(differ & ~first, looks)
        n = np.broadcast_to(looks, wins.shape)
        low, high = at_each(difference_sequence, wins, losses, n)
        claimed = float(((low > 0) | (high < 0)).any(axis=1).mean())
        usual = float((mcnemar(wins, losses) <= MOST).any(axis=1).mean())
        where = f"{100 * apart:g} % discordant, n = 96 to 4,992"
        yield Row("two models alike: one called better", where, claimed, usual)


PARTS = {
    "One share": (every_image, every_border),
    "Classes that differ": (classes_apart,),
    "A run that stops": (fixed_width,),
    "Two models": (equal_models,),
}

HEAD = f"""# How often intervals hold that are looked at again and again

Written by `python benchmarks/peeking.py`; every line is checked by `make test-slow`. Each line is of
{RUNS:,} runs with seeds fixed before the first look. A run counts as wrong when the interval misses the
truth at any look, or, where it stops, at the end. `sequence` is what `robobench run --precision` goes by
(`robobench/sequential.py`) and must stay at or under 5 %; `usual` is what is meant for a number of images
fixed beforehand: the Wilson interval, or the exact McNemar test. Classes that take turns vary less than
equal images would, so that nothing errs there but what takes the first 96 of 1,000 classes for all. Where a
run stops at a width, which hardly depends on chance, the usual interval still errs in about 5 %: this is
what boards show.
"""


def rows() -> dict[str, list[Row]]:
    return {title: [row for make in makers for row in make()] for title, makers in PARTS.items()}


def markdown(parts: dict[str, list[Row]]) -> str:
    """The page."""
    lines = [HEAD]
    for title, found in parts.items():
        lines += [
            f"## {title}",
            "",
            "| looked at | of what | sequence | usual | |",
            "|---|---|---:|---:|---|",
        ]
        for row in found:
            numbers = f"{100 * row.sequence:.2f} % | {100 * row.usual:.2f} %"
            lines.append(f"| {row.what} | {row.where} | {numbers} | {row.note} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(markdown(rows()), encoding="utf-8")
