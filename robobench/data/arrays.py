"""Arrays of images in numpy's own files, of which nothing is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robobench.errors import DataError


def load_array(file: Path, where: str) -> NDArray[Any]:
    """The array of an `.npy` file, mapped. Raises DataError for one that is missing, damaged or pickled."""
    found = _load(file, where, mmap_mode="r")
    if not isinstance(found, np.ndarray):
        raise DataError(f"{where}: {file.name} holds several arrays, expected one")
    return found


def load_arrays(file: Path, where: str, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Some arrays of an `.npz` file, read. Raises DataError as `load_array`, and for one that it lacks."""
    found = _load(file, where)
    if isinstance(found, np.ndarray):
        raise DataError(f"{where}: {file.name} holds one array, expected {', '.join(names)}")
    with found:
        missing = [n for n in names if n not in found]
        if missing:
            raise DataError(f"{where}: {file.name} has no array {missing[0]!r}, it has {', '.join(found)}")
        try:
            return {n: found[n] for n in names}
        except Exception as error:  # zip, zlib and numpy each raise their own
            raise _damaged(file, where, error) from None


def check_images(
    images: NDArray[Any], labels: NDArray[Any], classes: int, side: int, where: str, file: str
) -> None:
    """Raise DataError unless these are colour images of a side, each with the number of a class."""
    if images.dtype != np.uint8 or images.shape != (len(images), side, side, 3):
        raise DataError(
            f"{where}: {file} is {images.dtype} {images.shape}, expected uint8 (n, {side}, {side}, 3)"
        )
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{where}: labels are {labels.dtype} {labels.shape}, expected {len(images):,} whole numbers"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise DataError(
            f"{where}: labels run from {labels.min()} to {labels.max()}, expected 0 to {classes - 1}"
        )


def _load(file: Path, where: str, **options: Any) -> Any:
    try:
        return np.load(file, allow_pickle=False, **options)
    except OSError as error:
        raise DataError(f"{where}: {file.name} cannot be read: {error.strerror or error}") from None
    except Exception as error:
        raise _damaged(file, where, error) from None


def _damaged(file: Path, where: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    return DataError(
        f"{where}: {file.name} is damaged, cut short or no array of plain numbers: {reason}; "
        "unpack the archive again"
    )
