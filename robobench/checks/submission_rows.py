"""Whether the numbers of a row can be true together, and the rows of a cell with those of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robobench.checks.problem import Problem, short
from robobench.engine.record import DataRecord
from robobench.engine.sets import visiting_order
from robobench.tasks.classification import KEPT
from robobench.types import OUTLIER, OUTLIER_HIT

Columns = Mapping[str, NDArray[Any]]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

ROUNDING = 1e-4  # nats, and shares: probabilities come from float32 on some devices
_TOPS = tuple(f"top{i + 1}" for i in range(KEPT))
NEEDED = ("label", *_TOPS, "hit", "logp_top1", "logp_top2", "logp_label", "sum_p2")


@dataclass(frozen=True)
class Cell:
    """The rows of a model under a condition, by image id in order, and the data that they are of."""

    where: str
    data: DataRecord
    images: NDArray[np.str_]
    columns: Columns

    def lacking(self, names: tuple[str, ...] = NEEDED) -> Iterator[Problem]:
        """The columns that are not there."""
        for name in names:
            if name not in self.columns:
                yield Problem(self.where, f"the column {name}", "none")

    def blame(self, wrong: Flags, expected: str, *shown: str) -> Iterator[Problem]:
        """One problem for all rows of a kind, with the first of them."""
        rows = np.flatnonzero(wrong)
        if rows.size:
            first = ", ".join(f"{n} {self.columns[n][rows[0]]}" for n in shown)
            count = f"{rows.size} rows" if rows.size > 1 else "one row"
            got = f"{count} of {wrong.size} otherwise, as {short(self.images[rows[0]])!r}"
            yield Problem(self.where, expected, f"{got} ({first})" if shown else got)


def look_at_rows(cell: Cell) -> Iterator[Problem]:
    """Each row by itself: ranks among one another, probabilities among one another, and both together."""
    lacking = list(cell.lacking())
    if lacking:
        yield from lacking
        return
    sound = cell.columns["top1"] >= 0
    yield from _ranks(cell, sound)
    yield from _probabilities(cell, sound)
    if not cell.data.truth:  # one right class: its rank and its probability are known from the best ones
        yield from _label(cell, sound)


def _ranks(cell: Cell, sound: Flags) -> Iterator[Problem]:
    """Classes in their range and each once; a row that is not finite has none of them."""
    c, classes = cell.columns, cell.data.classes
    tops = np.stack([c[n] for n in _TOPS], axis=1)
    label, hit = c["label"], c["hit"]
    known = min(KEPT, classes)
    outlier = label == OUTLIER
    yield from cell.blame((label < OUTLIER) | (label >= classes), f"labels of {classes} classes", "label")
    wanted = np.where(np.arange(KEPT)[None] < known, (tops >= 0) & (tops < classes), tops == -1).all(axis=1)
    yield from cell.blame(sound & ~wanted, f"the best {known} of {classes} classes", *_TOPS)
    ordered = np.sort(tops, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    yield from cell.blame(sound & twice, "the best classes to differ", *_TOPS)
    yield from cell.blame(
        ~sound & ((tops >= 0).any(axis=1) | (hit != -1)), "no rank without an answer", "hit"
    )
    fine = np.where(outlier, hit == OUTLIER_HIT, (hit >= 0) & (hit <= classes))
    yield from cell.blame(
        sound & ~fine, "as hit a number of classes (-2 where none is right)", "hit", "label"
    )


def _probabilities(cell: Cell, sound: Flags) -> Iterator[Problem]:
    """Shares of one whole: the best, the second and the sum of squares leave each other little room."""
    c, classes = cell.columns, cell.data.classes
    first, second, squares = (np.asarray(c[n], np.float64) for n in ("logp_top1", "logp_top2", "sum_p2"))
    own = np.asarray(c["logp_label"], np.float64)
    names = ("logp_top1", "logp_top2", "sum_p2")
    undefined = [np.isnan(v) for v in (first, second, own, squares)]
    wanted = [sound, sound & (classes > 1), sound & (c["label"] != OUTLIER), sound]
    yield from cell.blame(
        np.any([u == w for u, w in zip(undefined, wanted, strict=True)], axis=0),
        "probabilities just where there is an answer", *names, "logp_label",
    )  # fmt: skip
    with np.errstate(invalid="ignore", over="ignore"):
        best, next_ = np.exp(first), np.nan_to_num(np.exp(second))
        least = np.maximum(best**2 + next_**2, 1 / classes)
        high = (first > ROUNDING) | (own > ROUNDING) | (second > first + ROUNDING)
        yield from cell.blame(
            high, "log-probabilities of at most 0, the best first", *names[:2], "logp_label"
        )
        yield from cell.blame(best + next_ > 1 + ROUNDING, "probabilities that add up to at most 1", *names)
        yield from cell.blame(
            best * classes < 1 - ROUNDING * classes, "the best class to be one", "logp_top1"
        )
        off = (squares < least - ROUNDING) | (squares > best + ROUNDING)
        yield from cell.blame(off, "a sum of squares that goes with the best probabilities", *names)


def _label(cell: Cell, sound: Flags) -> Iterator[Problem]:
    """The one right class: where it stands among the best, and how likely it is."""
    c = cell.columns
    label, hit = c["label"], c["hit"]
    tops = np.stack([c[n] for n in _TOPS], axis=1)
    mine = sound & (label != OUTLIER)
    place = np.where((tops == label[:, None]).any(axis=1), (tops == label[:, None]).argmax(axis=1), KEPT)
    yield from cell.blame(
        mine & (np.minimum(hit, KEPT) != place), "as hit the place of the label among the best",
        "hit", "label", "top1",
    )  # fmt: skip
    first, second, own = (np.asarray(c[f"logp_{n}"], np.float64) for n in ("top1", "top2", "label"))
    with np.errstate(invalid="ignore"):
        known = np.where(hit == 0, first, second)
        off = np.where(
            hit <= 1, np.abs(own - known) > ROUNDING * (1 + np.abs(known)), own > second + ROUNDING
        )
    yield from cell.blame(mine & off, "the label's probability to go with its rank", "hit", "logp_label")


class Labels:
    """The labels of images, as the first cell that has them says: all others must say the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], dict[str, int]] = {}

    def look(self, cell: Cell) -> Iterator[Problem]:
        """The rows whose label another model or condition gives otherwise."""
        known = self._known.setdefault((cell.data.revision, cell.data.answers), {})
        said = cell.columns["label"].tolist()
        images = cell.images.tolist()
        wrong = np.array([known.setdefault(i, v) != v for i, v in zip(images, said, strict=True)], bool)
        yield from cell.blame(wrong, "the label that other rows give the image", "label")

    def look_at_order(self, data: DataRecord, seed: int) -> Iterator[Problem]:
        """The images in the order that the seed and their labels give, where all labels are known."""
        known = self._known.get((data.revision, data.answers), {})
        labels = tuple(known.get(i, OUTLIER - 1) for i in data.order)
        if min(labels) >= OUTLIER and visiting_order(data.order, labels, seed) != data.order:
            yield Problem(f"data {data.name!r}", f"the order of seed {seed}, classes in turn", "another one")
