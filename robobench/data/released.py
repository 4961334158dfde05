"""What the published sets of class folders have in common: where they lie, and that they are whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.data.folder import index_of, nothing_in, read_below
from robobench.data.label_space import IMAGENET, class_folders, label_space, match_folders
from robobench.data.light import Light
from robobench.data.published import Published, check_counts
from robobench.data.tree import walk
from robobench.errors import DataError
from robobench.types import DataIndex


@dataclass(frozen=True, kw_only=True)
class Released(Light):
    """A published set with one folder of images per class, whose counts are checked."""

    path: str  # the set's folder, or the folder it was unpacked in
    partial: bool = False  # accept other numbers of images and classes than were published

    published: ClassVar[Published]
    folders: ClassVar[tuple[str, ...]] = ()  # what the set's own folder is called

    def index(self) -> DataIndex:
        """Ids are paths below the set's folder; classes in order, then ids."""
        return self._index

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image, (h, w, 3) uint8. Raises DataError when it is missing or damaged."""
        return read_below(self._root, image, self._where)

    @property
    def _space(self) -> str:
        """The label space that the set is read in."""
        return IMAGENET

    @property
    def _where(self) -> str:
        return f"{type(self).__module__.rpartition('.')[2]}:{self.path}"

    @cached_property
    def _root(self) -> Path:
        return own_folder(self.path, self.folders)

    @cached_property
    def _index(self) -> DataIndex:
        tree = walk(self._root, self._where)
        if not any(tree.images.values()):
            raise DataError(nothing_in(self._where, tree))
        try:
            classes = self._classes(sorted(tree.images))
        except DataError as error:
            raise DataError(f"{self._where}: {error}") from None
        index = index_of(self._root, self._where, tree, label_space(self._space), classes)
        if not self.partial:
            self._check(index, classes)
        return self._finished(index)

    def _classes(self, folders: Sequence[str]) -> Mapping[str, int]:
        """The class of each folder of the set. Raises DataError, worded to follow "<where>: "."""
        return match_folders(self._space, folders)

    def _finished(self, index: DataIndex) -> DataIndex:
        """The index after whatever else the set asks for."""
        return index

    def _check(self, index: DataIndex, classes: Mapping[str, int]) -> None:
        readable = [i for i in index.ids if i not in index.excluded]
        there = {classes[i.partition("/")[0]] for i in readable}
        names = {c: folder for folder, c in class_folders(self._space).items()}
        check_counts(
            self._where,
            self.published,
            images=len(readable),
            classes=len(there),
            missing=[names[c] for c in sorted(names) if c not in there],
            damaged=index.excluded,
        )


def own_folder(path: str, names: Sequence[str]) -> Path:
    """The folder of a set: below `path` under one of its names, else `path` itself."""
    root = Path(path).expanduser()
    return next((root / n for n in names if (root / n).is_dir()), root)
