"""Images that no class is right for: any folder of images as out-of-distribution data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robobench.data.folder import index_of, read_below
from robobench.data.label_space import IMAGENET, OWN, check_space, label_space
from robobench.data.light import Light
from robobench.data.tree import gather
from robobench.errors import DataError
from robobench.keys import digest
from robobench.registry import data
from robobench.types import OUTLIER, DataIndex


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class Outliers(Light):
    """Every image below a folder as out-of-distribution data: textures, places, noise, another domain.

    path: the folder; its own folders mean nothing. label_space: that of the suite's base data, in which
    answers are read (`imagenet-1k` by default). No class is right: labels are -1, accuracies undefined,
    and attacks refused. What `ood.auroc`, `ood.aupr` and `ood.fpr95` compare them with is the base itself,
    or its images of some classes where the label space has a part of the base's.

    Whether the images really show none of the classes is for you to say. Many sets that are used as
    outliers for ImageNet hold objects that it knows.

    Raises DataError for a folder that is missing, unreadable or without an image.
    """

    path: str  # a folder of images, at any depth
    label_space: str = IMAGENET  # in which answers are read: that of the base data

    def __post_init__(self) -> None:
        check_space(self.label_space, outliers=True)
        if self.label_space == OWN:
            raise ValueError(f"label_space: outliers have no classes of their own; expected {IMAGENET} or so")

    def index(self) -> DataIndex:
        """Ids are paths below the folder, in alphabetical order."""
        return self._index

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image, (h, w, 3) uint8. Raises DataError when it is missing or damaged."""
        return read_below(self._root, image, self._where)

    @property
    def _root(self) -> Path:
        return Path(self.path).expanduser()

    @property
    def _where(self) -> str:
        return f"outliers:{self.path}"

    @cached_property
    def _index(self) -> DataIndex:
        tree = gather(self._root, self._where)
        if not tree.images[""]:
            raise DataError(f"{self._where}: no image in the folder or below it")
        space = label_space(self.label_space)
        return as_outliers(index_of(self._root, self._where, tree, space, {"": OUTLIER}))


def as_outliers(index: DataIndex) -> DataIndex:
    """The same images, of which no class is right; never mistaken for the images with their labels."""
    return replace(index, labels=(OUTLIER,) * len(index.ids), revision=digest("outliers", index.revision))
