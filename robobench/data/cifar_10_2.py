"""CIFAR-10.2: a second new test set for CIFAR-10."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from robobench.data.arrays import check_images, load_arrays
from robobench.data.cifar import SIDE
from robobench.data.digests import remembered_digest
from robobench.data.label_space import label_space
from robobench.data.light import Light
from robobench.data.published import Published, check_counts
from robobench.errors import DataError
from robobench.keys import digest
from robobench.registry import data
from robobench.types import DataIndex, View

_SPACE = "cifar-10"
_IMAGES: Mapping[str, int] = {"test": 2_000, "train": 10_000}


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class Cifar102(Light):
    """CIFAR-10.2: 2,000 further test images for CIFAR-10, and 10,000 to train on.

    path: the folder with `cifar102_test.npz` (arrays `images` and `labels`; the first release, whose
    `cifar102_test.npy` is pickled, is not read). split: `test` or `train`. partial: accept other counts.

    Images are (32, 32, 3) uint8 and are never resized. Ids are `cifar-10.2-test-0000` and on: never those
    of CIFAR-10's own images.

    Source: Lu et al., Harder or Different? A Closer Look at Distribution Shift in Dataset Reproduction, 2020.

    Raises DataError for a file that is missing, damaged, pickled, or of another shape, type or count.
    """

    path: str  # the folder with the .npz files
    split: Literal["test", "train"] = "test"  # test or train
    partial: bool = False  # accept other numbers of images than published

    published: ClassVar = Published(
        title="CIFAR-10.2 (test; train has 10,000 images)",
        licence="none named; the images are Tiny Images'",
        citation="Lu et al., Harder or Different? A Closer Look at Distribution Shift in Dataset "
        "Reproduction, ICML workshop, 2020",
        homepage="https://github.com/modestyachts/cifar-10.2",
        images=_IMAGES["test"],
        classes=10,
    )

    def index(self) -> DataIndex:
        """Ids in the order of the arrays; the revision digests the file."""
        return self._index

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image, (32, 32, 3) uint8. Raises DataError for another id."""
        stem, _, number = image.rpartition("-")
        images = self._arrays["images"]
        if f"{stem}-" != self._prefix or not number.isdigit() or int(number) >= len(images):
            raise DataError(
                f"{self._where}: no image {image!r}; expected {self._prefix}0000 to "
                f"{self._prefix}{len(images) - 1:04d}"
            )
        return np.array(images[int(number)])

    @property
    def _where(self) -> str:
        return f"cifar_10_2:{self.path}"

    @property
    def _prefix(self) -> str:
        return f"cifar-10.2-{self.split}-"

    @property
    def _file(self) -> Path:
        return Path(self.path).expanduser() / f"cifar102_{self.split}.npz"

    @cached_property
    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        found = load_arrays(self._file, self._where, ("images", "labels"))
        classes = len(label_space(_SPACE).classes)
        check_images(found["images"], found["labels"], classes, SIDE, self._where, self._file.name)
        return found

    @cached_property
    def _index(self) -> DataIndex:
        labels = [int(n) for n in self._arrays["labels"]]
        if not self.partial:
            expected = replace(self.published, images=_IMAGES[self.split])
            check_counts(self._where, expected, images=len(labels), classes=len(set(labels)))
        return DataIndex(
            ids=tuple(f"{self._prefix}{n:04d}" for n in range(len(labels))),
            labels=tuple(labels),
            revision=digest("cifar_10_2", remembered_digest(self._file)),
            space=label_space(_SPACE),
            view=View(),
        )
