"""Files that belong to images: found by image id, read, and seen through the view of the images."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from robobench.errors import DataError
from robobench.images import SUFFIXES, apply_view, decode_levels
from robobench.keys import digest, file_digest
from robobench.types import ImageBatch, View

if TYPE_CHECKING:
    from torch import Tensor

IMAGES = SUFFIXES
ARRAYS = frozenset({".npy"})


class Stored:
    """A preparation whose maps lie in files: `path` says where, `view` how the images are seen."""

    path: str
    view: View | None

    def through(self, view: View) -> Self:
        """This preparation for images that are seen through a view."""
        seen = copy.copy(self)
        object.__setattr__(seen, "view", view)  # a copy of its own, not yet given to anyone
        return seen

    def seen(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values of a stored image as the view shows them: of the nearest pixel, 0 around the image."""
        if self.view is None:
            return values
        # Resampling to the nearest moves whole pixels, so the four bytes of a number may travel as colours.
        bytes_ = np.ascontiguousarray(values, np.float32).view(np.uint8).reshape(*values.shape, 4)
        nearest = replace(self.view, interpolation="nearest")
        parts = [
            apply_view(np.ascontiguousarray(part), nearest)
            for part in (bytes_[..., :3], bytes_[..., 3:].repeat(3, axis=2))
        ]
        whole = np.concatenate([parts[0], parts[1][..., :1]], axis=2)
        return np.ascontiguousarray(whole).view(np.float32)[..., 0]


def files_below(path: str, suffixes: Iterable[str], where: str) -> dict[str, Path]:
    """Files of some kinds by their path below a folder, without suffix. Hidden ones are left out.

    Raises DataError for a folder that is missing or holds none, and for two files of one name.
    """
    root = Path(path).expanduser()
    wanted = frozenset(suffixes)
    found: dict[str, Path] = {}
    if not root.is_dir():
        raise DataError(f"{where}: path: expected a folder, got {path!r}, which is none")
    for file in sorted(root.rglob("*")):
        inside = file.relative_to(root)
        if file.suffix.lower() not in wanted or any(part.startswith(".") for part in inside.parts):
            continue
        name = inside.with_suffix("").as_posix()
        if name in found:
            raise DataError(
                f"{where}: {found[name].name} and {file.name} in {path!r} would both belong to "
                f"{name!r}; keep one"
            )
        found[name] = file
    if not found:
        raise DataError(f"{where}: {path!r} holds no file with a suffix of {', '.join(sorted(wanted))}")
    return found


def names_of(image: str) -> tuple[str, str]:
    """The names, without suffix, that a file of an image may have: its id, whole and without suffix."""
    return image, PurePosixPath(image).with_suffix("").as_posix()


def file_of(files: Mapping[str, Path], image: str, where: str, path: str) -> Path:
    """The file of an image. Raises DataError when there is none."""
    found = next((files[name] for name in names_of(image) if name in files), None)
    if found is None:
        raise DataError(f"{where}: no file for image {image!r} in {path!r}; expected {names_of(image)[1]}.*")
    return found


def contents(files: Mapping[str, Path], where: str) -> str:
    """A digest of what is in files and of their names. Raises DataError for one that cannot be read."""
    try:
        return digest([(name, file_digest(file)) for name, file in sorted(files.items())])
    except OSError as error:
        raise DataError(f"{where}: {error.filename}: cannot be read: {error.strerror or error}") from error


def read_levels(file: Path, where: str) -> NDArray[np.float32]:
    """The numbers of an image file or of a .npy array, (h, w). Raises DataError."""
    if file.suffix.lower() not in ARRAYS:
        return _finite(decode_levels(file, where), where)
    try:
        values = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{where}: cannot be read as an array: {error}") from error
    if values.ndim != 2 or values.dtype.kind not in "biuf" or not values.size:
        raise DataError(
            f"{where}: expected numbers of shape (height, width), got {values.dtype} of shape {values.shape}"
        )
    return _finite(values.astype(np.float32), where)


def _finite(values: NDArray[np.float32], where: str) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise DataError(f"{where}: holds NaN or infinity")
    return values


def fitted(values: NDArray[np.float32], batch: ImageBatch, image: str, where: str) -> NDArray[np.float32]:
    """The values themselves, when they have the size of the images. Raises DataError."""
    size = tuple(batch.pixels.shape[2:])
    if values.shape != size:
        raise DataError(
            f"{where}: what is stored for image {image!r} is {values.shape[0]}x{values.shape[1]} in the view "
            f"of the images, which are {size[0]}x{size[1]}; it has to have the size of the stored image"
        )
    return values


def stacked(maps: list[NDArray[np.float32]]) -> Tensor:
    """Maps (h, w) of one size as (n, h, w) float32."""
    import torch

    return torch.from_numpy(np.stack(maps)) if maps else torch.empty(0, 0, 0)
