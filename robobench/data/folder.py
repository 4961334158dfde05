"""A folder with one folder of images per class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from robobench.data.digests import content_digests
from robobench.data.label_space import (
    OWN,
    check_space,
    label_space,
    match_folders,
    own_space,
)
from robobench.data.light import Light
from robobench.data.tree import ClassTree, walk
from robobench.errors import DataError
from robobench.images import SUFFIXES, decode
from robobench.keys import digest
from robobench.registry import data
from robobench.types import DataIndex, LabelSpace

_SPLITS = frozenset({"train", "val", "valid", "validation", "test"})


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class Folder(Light):
    """Your own images: one folder per class, images at any depth below it (as in ImageNet's val/).

    path: the folder; `~` is the home folder.
    label_space: `imagenet-1k` (default), a reading of its outputs (`imagenet-a`, `imagenet-r`, `objectnet`,
    `imagenet-9`, `imagenet-16`; with `-full` behind the first three all 1,000 may be answered), `cifar-10`,
    `cifar-100`, `digits`, or `own`. In a known label space a folder stands for the class it is named after:
    a WordNet id or a class number 0 to 999 for ImageNet (numbers are read as numbers, so ImageNetV2's "10"
    is class 10 wherever it sorts), WordNet ids for ImageNet-A and -R, the published names for ObjectNet and
    ImageNet-9; anything else is an error, never a guess. Missing classes are fine. With `own` each folder is
    a class and a model output, in alphabetical order (whole numbers in the order of the numbers), also when
    it is empty.

    Links are followed, hidden files and files of other kinds are left out. Empty files and links that
    lead nowhere are named in the index as images that cannot be decoded. The revision digests every
    image's path, size and content; digests are remembered by path, size and time of change under
    $ROBOBENCH_CACHE, so that a second start reads no image.

    Raises DataError for a folder that is missing, empty, unreadable, or does not fit the label space.
    """

    path: str
    label_space: str = "imagenet-1k"

    def __post_init__(self) -> None:
        check_space(self.label_space)

    def index(self) -> DataIndex:
        """Ids are paths below the folder, with forward slashes; classes in order, then ids."""
        return self._index

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image, (h, w, 3) uint8. Raises DataError when it is missing or damaged."""
        return read_below(self._root, image, self._where)

    @property
    def _root(self) -> Path:
        return Path(self.path).expanduser()

    @property
    def _where(self) -> str:
        return f"folder:{self.path}"

    @cached_property
    def _index(self) -> DataIndex:
        tree = walk(self._root, self._where)
        if not any(tree.images.values()):
            raise DataError(nothing_in(self._where, tree))
        space, classes = _classes(self.label_space, tree.images, self._where)
        return index_of(self._root, self._where, tree, space, classes)


def read_below(root: Path, image: str, where: str) -> NDArray[np.uint8]:
    """The image of an id, which is a path below a folder. Raises DataError."""
    parts = PurePosixPath(image)
    if parts.is_absolute() or ".." in parts.parts:
        raise DataError(f"{where}: the image id {image!r} leads out of the folder")
    return decode(root / image, f"{root.name}/{image}")


def index_of(
    root: Path, where: str, tree: ClassTree, space: LabelSpace, classes: Mapping[str, int]
) -> DataIndex:
    """The index of the folders that have a class; others are left out. See `Folder`."""
    folders = sorted(classes, key=lambda f: (classes[f], f))
    stamps = {i: tree.images[f][i] for f in folders for i in sorted(tree.images[f])}
    damaged = {i: why for i, why in tree.damaged.items() if i in stamps}
    found, failed = content_digests(root, {i: s for i, s in stamps.items() if i not in damaged})
    excluded = {**damaged, **failed}
    if len(excluded) == len(stamps):
        name, why = min(excluded.items(), default=("", "no images"))
        raise DataError(f"{where}: none of {len(stamps)} images can be read; {name}: {why}")
    return DataIndex(
        ids=tuple(stamps),
        labels=tuple(classes[f] for f in folders for _ in tree.images[f]),
        revision=digest("folder", [(i, stamps[i][0], found.get(i, "")) for i in sorted(stamps)]),
        space=space,
        excluded=dict(sorted(excluded.items())),
    )


def _classes(name: str, folders: Iterable[str], where: str) -> tuple[LabelSpace, Mapping[str, int]]:
    """The label space and the class of each folder."""
    names = sorted(folders)
    if name == OWN:
        space = own_space(names)
        return space, {c: n for n, c in enumerate(space.classes)}
    try:
        return label_space(name), match_folders(name, names)
    except DataError as error:
        raise DataError(f"{where}: {error}{_split_hint(names)}") from None


def _split_hint(names: list[str]) -> str:
    splits = [n for n in names if n.lower() in _SPLITS]
    return f" ({splits[-1]!r} looks like a split: name that folder itself)" if splits else ""


def nothing_in(where: str, tree: ClassTree) -> str:
    """Why there is no image in any class folder."""
    expected = "expected one folder of images per class, such as n01440764/ or 0/"
    if tree.loose and not tree.images:
        return f"{where}: {tree.loose} images but no class folders; {expected}"
    if not tree.images and not tree.ignored:
        return f"{where}: the folder is empty; {expected}"
    ignored = ", ".join(f"{n} {s}" for s, n in sorted(tree.ignored.items()))
    seen = f"{len(tree.images)} class folders" + (f"; ignored files by suffix: {ignored}" if ignored else "")
    kinds = " ".join(sorted(SUFFIXES))
    return f"{where}: no image in {seen}; {expected}, with files of these kinds: {kinds}"
