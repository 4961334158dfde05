"""CIFAR-10.1: CIFAR-10's test set made anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from robobench.data.arrays import check_images, load_array
from robobench.data.cifar import SIDE
from robobench.data.digests import remembered_digest
from robobench.data.label_space import label_space
from robobench.data.light import Light
from robobench.data.published import Published, check_counts
from robobench.data.released import own_folder
from robobench.errors import DataError
from robobench.keys import digest
from robobench.registry import data
from robobench.types import DataIndex, View

_SPACE = "cifar-10"
_IMAGES: Mapping[str, int] = {"v6": 2_000, "v4": 2_021}


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class Cifar101(Light):
    """CIFAR-10.1: about 2,000 images collected as CIFAR-10's were, years later.

    path: the folder with `cifar10.1_v6_data.npy` and `cifar10.1_v6_labels.npy`, or the clone of the
    repository that holds `datasets`. variant: `v6`, 200 images of each class, which its authors recommend;
    `v4`, the 2,021 of the paper's main sections, of which ships are 8 %. partial: accept other counts.

    Arrays are (n, 32, 32, 3) uint8 and n whole numbers. Images are never resized. Ids are `v6-0000` and on.

    Source: Recht et al., Do CIFAR-10 Classifiers Generalize to CIFAR-10?, 2018.

    Raises DataError for files that are missing, damaged, pickled, or of another shape, type or count.
    """

    path: str  # the folder with the arrays, or a clone of the repository
    variant: Literal["v6", "v4"] = "v6"  # the balanced version, or the first one
    partial: bool = False  # accept other numbers of images than published

    published: ClassVar = Published(
        title="CIFAR-10.1 (v6; v4 has 2,021 images)",
        licence="as of the Tiny Images that it is a part of; the code is MIT",
        citation="Recht et al., Do CIFAR-10 Classifiers Generalize to CIFAR-10?, arXiv 1806.00451, 2018",
        homepage="https://github.com/modestyachts/CIFAR-10.1",
        images=_IMAGES["v6"],
        classes=10,
    )

    def index(self) -> DataIndex:
        """Ids in the order of the array; the revision digests both files."""
        return self._index

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image, (32, 32, 3) uint8. Raises DataError for another id."""
        variant, _, number = image.partition("-")
        images = self._arrays[0]
        if variant != self.variant or not number.isdigit() or int(number) >= len(images):
            raise DataError(
                f"{self._where}: no image {image!r}; expected {self.variant}-0000 to "
                f"{self.variant}-{len(images) - 1:04d}"
            )
        return np.array(images[int(number)])

    @property
    def _where(self) -> str:
        return f"cifar_10_1:{self.path}"

    def _file(self, what: str) -> Path:
        return own_folder(self.path, ("datasets",)) / f"cifar10.1_{self.variant}_{what}.npy"

    @cached_property
    def _arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        files = self._file("data"), self._file("labels")
        images, labels = (load_array(f, self._where) for f in files)
        check_images(images, labels, len(label_space(_SPACE).classes), SIDE, self._where, files[0].name)
        return images, labels

    @cached_property
    def _index(self) -> DataIndex:
        labels = [int(n) for n in self._arrays[1]]
        if not self.partial:
            expected = replace(self.published, images=_IMAGES[self.variant])
            check_counts(self._where, expected, images=len(labels), classes=len(set(labels)))
        return DataIndex(
            ids=tuple(f"{self.variant}-{n:04d}" for n in range(len(labels))),
            labels=tuple(labels),
            revision=digest("cifar_10_1", [remembered_digest(self._file(w)) for w in ("data", "labels")]),
            space=label_space(_SPACE),
            view=View(),
        )
