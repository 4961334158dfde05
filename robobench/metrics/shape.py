"""Shape and texture: which of the two a model goes by, on images whose shape and texture disagree.

An image's label is the class of its shape, the column `x_texture` the class of its texture. Images of
equal shape and texture have no conflict and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.registry import metrics
from robobench.types import Rows


def _decisions(rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Which images have a conflict, and which of them are decided for the shape and for the texture."""
    answer, shape = np.asarray(rows["top1"]), np.asarray(rows["label"])
    texture = np.asarray(rows["x_texture"], np.float64)
    conflict = ~np.isnan(texture) & (texture != shape)
    return conflict, conflict & (answer == shape), conflict & (answer == texture)


@metrics.register("bias", version=1)
@dataclass(frozen=True)
class ShapeBias:
    """Shape bias: of the decisions for an image's shape or its texture, the share for the shape.

    S / (S + T), with S decisions equal to the class of the shape and T to that of the texture; decisions
    for a third class do not count. Per image 1, 0 or NaN, so that the interval is Wilson's of S out of
    S + T and n is S + T; undefined where that is 0. Few of both make it noise: read shape.cue_accuracy
    beside it. A description: 1 is shape alone, as people nearly are, 0 texture alone; higher is better
    only in that sense. Fraction in [0, 1].

    Source: Geirhos et al., ImageNet-trained CNNs Are Biased Towards Texture, ICLR 2019.

    Shapes 3, texture 5 and, for the last, 3 as well:

    >>> rows = {"top1": np.array([3, 3, 5, 7, 3]), "label": np.full(5, 3),
    ...         "x_texture": np.array([5, 5, 5, 5, 3])}
    >>> ShapeBias()(rows).tolist()
    [1.0, 1.0, 0.0, nan, nan]
    """

    needs: ClassVar[tuple[str, ...]] = ("top1", "label", "x_texture")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = True

    def __call__(self, rows: Rows) -> NDArray[np.float64]:
        _, shape, texture = _decisions(rows)
        return np.where(shape | texture, shape, np.nan)


@metrics.register("cue_accuracy", version=1)
@dataclass(frozen=True)
class CueAccuracy:
    """The share of images with a conflict that are decided for their shape or their texture.

    (S + T) / n: how often a model sees either cue, which says how much a shape bias rests on. Per image 1
    or 0, NaN for equal shape and texture. An answer that is not finite is neither. Fraction in [0, 1],
    higher is better.

    Source: Geirhos et al., ImageNet-trained CNNs Are Biased Towards Texture, ICLR 2019.

    >>> rows = {"top1": np.array([3, 3, 5, 7, 3]), "label": np.full(5, 3),
    ...         "x_texture": np.array([5, 5, 5, 5, 3])}
    >>> CueAccuracy()(rows).tolist()
    [1.0, 1.0, 1.0, 0.0, nan]
    """

    needs: ClassVar[tuple[str, ...]] = ("top1", "label", "x_texture")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = True

    def __call__(self, rows: Rows) -> NDArray[np.float64]:
        conflict, shape, texture = _decisions(rows)
        return np.where(conflict, shape | texture, np.nan)
