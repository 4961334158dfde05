"""CIFAR-10 and CIFAR-100 from the files of their published binary version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robobench.data.digests import remembered_digest
from robobench.data.label_space import label_space
from robobench.data.light import Light
from robobench.errors import DataError
from robobench.keys import digest
from robobench.registry import data
from robobench.types import DataIndex, View

SIDE = 32
TEST = 10_000  # images of the test split
_PIXELS = 3 * SIDE * SIDE
_ID = re.compile(r"(test|train)-(\d{5})")

Space = Literal["cifar-10", "cifar-100"]
Split = Literal["test", "train"]


@dataclass(frozen=True)
class _Published:
    """How a version is packed: files with how many records each, and label bytes before the pixels."""

    archive: str
    folder: str
    labels: int  # the last of them is the class
    files: Mapping[Split, Mapping[str, int]]


_PUBLISHED: Mapping[Space, _Published] = {
    "cifar-10": _Published(
        "cifar-10-binary.tar.gz",
        "cifar-10-batches-bin",
        1,
        {
            "test": {"test_batch.bin": TEST},
            "train": {f"data_batch_{n}.bin": 10_000 for n in range(1, 6)},
        },
    ),
    "cifar-100": _Published(
        "cifar-100-binary.tar.gz",
        "cifar-100-binary",
        2,
        {"test": {"test.bin": TEST}, "train": {"train.bin": 50_000}},
    ),
}


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class Cifar(Light):
    """CIFAR-10 or CIFAR-100 (Krizhevsky, 2009) from the binary version of its web page.

    path: the folder with the files (`test_batch.bin` and `data_batch_1.bin` to `_5.bin`, or `test.bin`
    and `train.bin`), or the folder that the archive was unpacked in. split: `test` or `train`.
    label_space: `cifar-10` or `cifar-100` (its 100 fine classes).

    A record is one label byte (two in CIFAR-100: coarse, then fine) and 3,072 bytes of pixels: the red,
    green and blue plane, row by row. Images are (32, 32, 3) uint8 and are never resized. Ids are
    `test-00000` and on, in the order of the files. The Python version is pickled and is not read.

    Raises DataError for a file that is missing, of another length, or with a label out of range.
    """

    path: str  # the folder with the .bin files, or the one above it
    split: Split = "test"  # test or train
    label_space: Space = "cifar-10"  # cifar-10 or cifar-100

    def index(self) -> DataIndex:
        """Ids in file order; the revision digests the files of the split."""
        return self._index

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image, (32, 32, 3) uint8. Raises DataError for an id outside the split."""
        files = _PUBLISHED[self.label_space].files[self.split]
        number = place(image, self.split, sum(files.values()), self._where)
        file, row = divmod(number, len(self._records[0]))  # all files of a split are as long
        return planes(self._records[file][row, -_PIXELS:])

    @property
    def _where(self) -> str:
        return f"cifar:{self.path}"

    @cached_property
    def _index(self) -> DataIndex:
        kind = _PUBLISHED[self.label_space]
        space = label_space(self.label_space)
        labels = np.concatenate([records[:, kind.labels - 1] for records in self._records])
        if labels.max() >= len(space.classes):
            raise DataError(
                f"{self._where}: a label is {labels.max()}, {self.label_space} has {len(space.classes)} "
                f"classes: this is not the binary version of {self.label_space} ({kind.archive})"
            )
        folder = self._folder()
        return DataIndex(
            ids=image_ids(self.split, len(labels)),
            labels=tuple(labels.tolist()),
            revision=digest("cifar", [remembered_digest(folder / f) for f in kind.files[self.split]]),
            space=space,
            view=View(),
        )

    @cached_property
    def _records(self) -> list[NDArray[np.uint8]]:
        """The records of the split's files, as they lie on the disk."""
        kind, folder = _PUBLISHED[self.label_space], self._folder()
        size = kind.labels + _PIXELS
        found = []
        for name, count in kind.files[self.split].items():
            try:
                length = (folder / name).stat().st_size
                if length != count * size:
                    raise DataError(
                        f"{self._where}: {name} has {length:,} bytes, expected {count * size:,}: "
                        f"it was cut short or is another file; unpack {kind.archive} again"
                    )
                found.append(np.memmap(folder / name, np.uint8, "r").reshape(count, size))
            except OSError as error:
                raise DataError(
                    f"{self._where}: {name} cannot be read: {error.strerror or error}; {self._expected()}"
                ) from None
        return found

    def _folder(self) -> Path:
        root = Path(self.path).expanduser()
        inner = root / _PUBLISHED[self.label_space].folder
        return inner if inner.is_dir() else root

    def _expected(self) -> str:
        kind = _PUBLISHED[self.label_space]
        names = ", ".join(kind.files[self.split])
        return (
            f"expected the binary version ({kind.archive}), unpacked: {names} (the Python version is pickled)"
        )


@cache
def image_ids(split: Split, count: int) -> tuple[str, ...]:
    """`test-00000`, `test-00001`, ...: one tuple, however many corrupted sets share it."""
    return tuple(f"{split}-{n:05d}" for n in range(count))


def place(image: str, split: Split, count: int, where: str) -> int:
    """The number in an id. Raises DataError for another split's and for one that is too large."""
    found = _ID.fullmatch(image)
    if not found or found[1] != split or int(found[2]) >= count:
        raise DataError(f"{where}: no image {image!r}; expected {split}-00000 to {split}-{count - 1:05d}")
    return int(found[2])


def planes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The red, green and blue plane of an image as (32, 32, 3)."""
    return np.ascontiguousarray(pixels.reshape(3, SIDE, SIDE).transpose(1, 2, 0))
