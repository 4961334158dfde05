"""CIFAR-10-C and CIFAR-100-C from their published arrays: one file for each corruption."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from robobench.data.arrays import load_array
from robobench.data.cifar import SIDE, TEST, Space, image_ids, place
from robobench.data.digests import remembered_digest
from robobench.data.label_space import label_space
from robobench.data.light import Light
from robobench.errors import DataError
from robobench.keys import digest
from robobench.registry import Field, data
from robobench.types import DataIndex, View

_SEVERITIES = 5
_SHAPE = (_SEVERITIES * TEST, SIDE, SIDE, 3)
_LABELS = "labels"


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class CifarC(Light):
    """One corruption at one severity of CIFAR-10-C or CIFAR-100-C, or of a set in the same arrays.

    path: the folder that holds `<corruption>.npy` and `labels.npy`. corruption: the array's name, such
    as `fog`. severity: 1 to 5. label_space: `cifar-10` or `cifar-100`.

    An array is (50000, 32, 32, 3) uint8: the 10,000 test images in their order at severity 1, then at
    2, and so on; `labels.npy` holds the 50,000 labels. Anything else is an error, and so are labels that
    are not the same five times, so that another layout is never read as this one. Ids are those of the
    source `cifar`, so that a corrupted image is compared with its original. Arrays are mapped, not
    loaded, and images are never resized. The revision digests the whole files.

    Published in this layout: CIFAR-10-C and CIFAR-100-C (Hendrycks and Dietterich, 2019), CIFAR-10-C-bar
    (Mintun et al., 2021).

    Raises DataError, which lists the arrays that are there, for a corruption that is not, and for an
    array that is damaged, pickled, or of another shape, type or number of labels.
    """

    path: str  # the folder with the arrays
    corruption: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # such as fog
    severity: Annotated[int, Field(ge=1, le=_SEVERITIES)]  # 1 to 5
    label_space: Space = "cifar-10"  # cifar-10 or cifar-100

    def index(self) -> DataIndex:
        """Ids `test-00000` to `test-09999`, in the order of the array."""
        return self._index

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image, (32, 32, 3) uint8. Raises DataError for another id."""
        number = place(image, "test", TEST, self._where)
        return np.array(self._images[(self.severity - 1) * TEST + number])

    @property
    def _where(self) -> str:
        return f"cifar_c:{self.path}"

    @property
    def _folder(self) -> Path:
        return Path(self.path).expanduser()

    @cached_property
    def _index(self) -> DataIndex:
        files = [self._images_file(), self._folder / f"{_LABELS}.npy"]
        space = label_space(self.label_space)
        labels = self._labels(len(space.classes), len(self._images))
        return DataIndex(
            ids=image_ids("test", TEST),
            labels=tuple(labels.tolist()),
            revision=digest("cifar_c", self.severity, [remembered_digest(f) for f in files]),
            space=space,
            view=View(),
        )

    @cached_property
    def _images(self) -> NDArray[np.uint8]:
        images = load_array(self._images_file(), self._where)
        if images.shape != _SHAPE or images.dtype != np.uint8:
            raise DataError(
                f"{self._where}: {self.corruption}.npy is {images.dtype} {images.shape}, expected uint8 "
                f"{_SHAPE}: {_SEVERITIES} severities of the {TEST:,} test images, one after the other"
            )
        return images

    def _labels(self, classes: int, images: int) -> NDArray[np.int64]:
        """The label of each test image."""
        labels = load_array(self._folder / f"{_LABELS}.npy", self._where)
        if labels.shape != (images,) or labels.dtype.kind not in "iu":
            raise DataError(
                f"{self._where}: {_LABELS}.npy is {labels.dtype} {labels.shape}, expected {images:,} "
                "whole numbers, one for each image of an array"
            )
        by_severity = labels.reshape(_SEVERITIES, TEST).astype(np.int64)
        if (by_severity != by_severity[0]).any():
            raise DataError(
                f"{self._where}: the labels of {_LABELS}.npy are not the same for every severity; expected "
                f"the {TEST:,} test images once for each severity, in the same order"
            )
        if by_severity[0].min() < 0 or by_severity[0].max() >= classes:
            raise DataError(
                f"{self._where}: the labels of {_LABELS}.npy run from {by_severity[0].min()} to "
                f"{by_severity[0].max()}, {self.label_space} has {classes} classes; set label_space"
            )
        return np.asarray(by_severity[0], np.int64)

    def _images_file(self) -> Path:
        file = self._folder / f"{self.corruption}.npy"
        if self.corruption == _LABELS or not file.is_file():
            there = sorted(f.stem for f in self._folder.glob("*.npy") if f.stem != _LABELS)
            raise DataError(
                f"{self._where}: no corruption {self.corruption!r}; there are: "
                f"{', '.join(there) or 'no arrays (expected <corruption>.npy)'}"
            )
        return file
