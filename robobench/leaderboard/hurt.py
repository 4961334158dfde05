"""Which classes and which images models lose: read off the rows, without a metric and without pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robobench.leaderboard.board import BoardInput, Fall, HurtClass, HurtImage, ModelInput
from robobench.leaderboard.common import on_common_images
from robobench.leaderboard.score import IMAGE, Sorter, size
from robobench.stats import LEVEL, wilson
from robobench.types import Condition, Rows, Score

COLUMNS = frozenset({"label", "hit", "top1"})  # that these go by
MOST_CLASSES = 20
FEWEST_IMAGES = 5  # of a class; for four Wilson's interval is 70 points wide at a half
MOST_IMAGES = 12
_NAME = "accuracy.top1"

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True)
class Answered:
    """What some models answered under the clean condition and under others that can be set beside it.

    models: those with all rows. others: the conditions of the score in the clean one's label space. rows:
    [model][condition], clean first, sorted by image; every model has the same images.
    """

    models: tuple[str, ...]
    clean: Condition
    others: tuple[Condition, ...]
    rows: tuple[tuple[Rows, ...], ...]
    names: tuple[str, ...]

    def name(self, label: int) -> str:
        """A class as people call it."""
        if label < 0:
            return "not a number"
        return self.names[label] if label < len(self.names) else str(label)


def answered(board: BoardInput) -> Answered | None:
    """What there is to go by; None without a complete model, or without the columns."""
    clean = next((c for c in board.conditions if c.clean and not c.companion), None)
    if clean is None:
        return None
    kept = [c for c in board.conditions if not c.check]
    complete = [m for m in board.models if _complete(m, kept, board)]
    common = on_common_images(board, [m.name for m in complete])
    models = sorted(complete if common is None else common.models, key=lambda m: m.name)
    space = {d.name: d.label_space for d in board.suite.data}
    others = [c for c in kept if not c.clean and space.get(c.data) == space.get(clean.data)]
    sort = Sorter(COLUMNS)
    rows = tuple(tuple(sort(m.rows.get(c.name, {})) for c in (clean, *others)) for m in models)
    there = [set(of) > COLUMNS and size(of) > 0 for cells in rows for of in cells]
    if not models or not others or not all(there) or not _aligned(rows):
        return None
    return Answered(tuple(m.name for m in models), clean, tuple(others), rows, board.classes)


def _aligned(rows: Sequence[Sequence[Rows]]) -> bool:
    """Whether every model has the images of the first one."""
    pairs = ((a[IMAGE], b[IMAGE]) for cells in rows for a, b in zip(rows[0], cells, strict=True))
    return all(a is b or np.array_equal(a, b) for a, b in pairs)


def _complete(model: ModelInput, conditions: Sequence[Condition], board: BoardInput) -> bool:
    wanted = {c.name: model.expected.get(c.name, board.expected[c.name]) for c in conditions}
    return all(0 < n <= size(model.rows.get(name, {})) for name, n in wanted.items())


def hurt_classes(found: Answered, level: float = LEVEL) -> tuple[HurtClass, ...]:
    """The classes that are answered rightly least often under the conditions, worst first.

    A class's number is the mean over models and conditions of the share of its images that are right.
    Left out are classes with fewer than five clean images, which can say nothing, and, for all classes alike,
    conditions that have fewer than five images of one of the others.

    Its interval is Wilson's for the fewest images that the class has under any of them. That is wide enough:
    the variance of a mean of shares is at most that of one share with the same mean on so few images,
    which it reaches when models and conditions are right about the same images (sqrt(p (1 - p)) is concave).
    """
    width = 1 + max(int(of["label"].max()) for cells in found.rows for of in cells)
    images, right = _counts(found.rows, max(width, 1))
    known = np.flatnonzero(images[0] >= FEWEST_IMAGES)
    kept = 1 + np.flatnonzero((images[1:, known] >= FEWEST_IMAGES).all(axis=1))
    if not known.size or not kept.size:
        return ()
    shares = right[:, :, known] / np.maximum(images[:, known], 1)
    under, fewest = shares[:, kept].mean(axis=1), images[np.ix_(kept, known)].min(axis=0)
    pooled = under.mean(axis=0)
    clean = _scores(shares[:, 0].mean(axis=0), images[0, known], level)
    whole = _scores(pooled, fewest, level)
    each = [_scores(under[m], fewest, level) for m in range(len(found.models))]
    worst = sorted(range(known.size), key=lambda k: (round(float(pooled[k]), 12), int(known[k])))
    return tuple(
        HurtClass(
            label=int(known[k]),
            name=found.name(int(known[k])),
            clean=clean[k],
            hurt=whole[k],
            models={name: scores[k] for name, scores in zip(found.models, each, strict=True)},
        )
        for k in worst[:MOST_CLASSES]
    )


def _counts(rows: Sequence[Sequence[Rows]], width: int) -> tuple[Floats, Floats]:
    """Images (conditions, classes), and right ones (models, conditions, classes). Outliers have no class."""
    images = np.zeros((len(rows[0]), width))
    right = np.zeros((len(rows), len(rows[0]), width))
    for m, cells in enumerate(rows):
        for c, of in enumerate(cells):
            inside = of["label"] >= 0
            labels = of["label"][inside]
            images[c] = np.bincount(labels, minlength=width)
            right[m, c] = np.bincount(labels[of["hit"][inside] == 0], minlength=width)
    return images, right


def _scores(values: Floats, images: ArrayLike, level: float) -> list[Score]:
    n = np.asarray(images, np.float64)
    low, high = wilson(np.minimum(values * n, n), n, level)
    return [
        Score(_NAME, float(v), float(a), float(b), int(k))
        for v, a, b, k in zip(values, low, high, n, strict=True)
    ]


def share_lost(clean: ArrayLike, under: ArrayLike) -> Floats:
    """How much of each image models lose: clean (m, n) and under (m, c, n) say what is right -> (n,).

    (1/m) sum over models of [right clean] x the share of the c conditions under which the model is wrong.
    It is 1 for an image that every model has right, and loses under every condition; what a model has wrong
    on the clean image, it cannot lose.

    Two models, two conditions, three images. The first model loses image 0 under both, the second under
    one: (1 + 1/2) / 2. Image 1 was never right for the second model, and the first keeps it.

    >>> clean = [[1, 1, 1], [1, 0, 1]]
    >>> under = [[[0, 1, 1], [0, 1, 0]], [[1, 0, 1], [0, 0, 1]]]
    >>> share_lost(clean, under).tolist()
    [0.75, 0.0, 0.25]
    """
    wrong = 1 - np.asarray(under, np.float64)
    lost: Floats = (np.asarray(clean, np.float64) * wrong.mean(axis=1)).mean(axis=0)
    return lost


def hurt_images(found: Answered) -> tuple[int, int, tuple[HurtImage, ...]]:
    """How many images were looked at, under how many conditions, and those that lose most, worst first.

    Looked at are the images that the clean condition and all others of the same images have. The telling
    condition of an image is the mildest one under which more than half of the models lose it: the one with
    the highest accuracy over all models and images. One that can be pictured without a model comes before
    others; where no condition has more than half, those count under which any model loses it.
    """
    same, ids = _shown_again([of[IMAGE] for of in found.rows[0]])
    if not same:
        return 0, 0, ()
    clean = np.stack([_right(cells[0], ids) for cells in found.rows])
    wrong = np.zeros(clean.shape)
    mild = []
    for c in same:
        right = np.stack([_right(cells[1 + c], ids) for cells in found.rows])
        wrong += ~right
        mild.append(float(right.mean()))
    lost = share_lost(clean, 1 - wrong[:, None] / len(same))
    worst = sorted(range(ids.size), key=lambda i: (-round(float(lost[i]), 12), str(ids[i])))
    chosen = [i for i in worst[:MOST_IMAGES] if lost[i] > 0]
    shown = [
        _image(found, str(ids[i]), [found.others[c] for c in same], mild, float(lost[i])) for i in chosen
    ]
    return int(ids.size), len(same), tuple(shown)


def pictures_wanted(board: BoardInput) -> list[tuple[str, str]]:
    """(image, condition) of every picture that the page would show: each clean, and where it is lost."""
    found = answered(board)
    if found is None:
        return []
    images = hurt_images(found)[2]
    return [(i.image, name) for i in images for name in (found.clean.name, i.condition)]


def _shown_again(images: Sequence[NDArray[np.str_]]) -> tuple[list[int], NDArray[np.str_]]:
    """Which conditions show images of the first, clean one, and the images that all of those have."""
    base = ids = images[0]
    same = []
    for c, own in enumerate(images[1:]):
        if own is not base:
            if not np.isin(own, base).any():
                continue
            ids = np.intersect1d(ids, own, assume_unique=True)
        same.append(c)
    return (same if ids.size else []), ids


def _right(of: Rows, ids: NDArray[np.str_]) -> NDArray[np.bool_]:
    hit = of["hit"] if of[IMAGE] is ids else of["hit"][np.searchsorted(of[IMAGE], ids)]
    return np.asarray(hit == 0, np.bool_)


def _image(
    found: Answered, image: str, conditions: Sequence[Condition], mild: Sequence[float], share: float
) -> HurtImage:
    """What every model says of one image."""
    looked = [list(_looks(found, cells, image, conditions)) for cells in found.rows]
    lost = np.array([[clean["hit"] == 0 and under["hit"] != 0 for clean, under in of] for of in looked])
    votes = lost.sum(axis=0)
    most = 2 * votes > len(found.models)
    told = min(
        range(len(conditions)),
        key=lambda c: (
            not (most[c] or (not most.any() and votes[c])),
            not pictured(conditions[c]),
            -mild[c],
            c,
        ),
    )
    return HurtImage(
        image=image,
        label=found.name(looked[0][0][0]["label"]),
        share=share,
        condition=conditions[told].name,
        falls=tuple(
            Fall(
                model=model,
                clean=found.name(of[told][0]["top1"]),
                answer=found.name(of[told][1]["top1"]),
                right=of[told][0]["hit"] == 0,
                fell=int(n),
            )
            for model, of, n in zip(found.models, looked, lost.sum(axis=1), strict=True)
        ),
    )


def _looks(
    found: Answered, cells: Sequence[Rows], image: str, conditions: Sequence[Condition]
) -> Iterator[tuple[Mapping[str, int], Mapping[str, int]]]:
    """A model's row of the clean image beside that of each condition."""
    clean = _row(cells[0], image)
    for condition in conditions:
        yield clean, _row(cells[1 + found.others.index(condition)], image)


def _row(of: Rows, image: str) -> Mapping[str, int]:
    at = int(np.searchsorted(of[IMAGE], image))
    return {name: int(of[name][at]) for name in COLUMNS}


def pictured(condition: Condition) -> bool:
    """Whether a condition's pixels are the same for every model, so that they can be made without one."""
    alone = all(step.kind == "perturbation" and not step.inputs for step in condition.steps)
    return alone and condition.worst_of == 1
