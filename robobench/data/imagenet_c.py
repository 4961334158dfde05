"""Stored corrupted sets in the folders of ImageNet-C: one folder for each corruption, severity and class."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from robobench.data.folder import Folder
from robobench.data.label_space import IMAGENET, check_space
from robobench.data.light import Light
from robobench.errors import DataError
from robobench.registry import Field, data
from robobench.types import DataIndex, View

_GROUPS = ("noise", "blur", "weather", "digital", "extra")  # the archives in which ImageNet-C is published
_LEVEL = re.compile(r"\d+")
_STRENGTH = re.compile(r"\d+\.\d+")  # how ImageNet-C-bar's own script names a severity's folder
_SEVERITIES = 5
_LAYOUT = "<corruption>/<severity>/<class>/<image>, such as fog/3/n01440764/ILSVRC2012_val_00000293.JPEG"


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class ImageNetC(Light):
    """One corruption at one severity of ImageNet-C, or of a set that is stored in the same folders.

    path: the folder that holds `<corruption>/<severity>/<class>/<image>`, or the folders `noise`, `blur`,
    `weather`, `digital` and `extra` that hold those. corruption: the folder's name, such as `fog`.
    severity: 1 to 5. Where the folders of a corruption are called after strengths (`2.35`, as the script
    of ImageNet-C-bar writes them) and there are five, severity counts them from the weakest.
    label_space: as of the source `folder`; `own` for the 200 classes of Tiny-ImageNet-C, whose model has
    one output for each WordNet id in alphabetical order.

    Images are shown as they are stored and are never resized or cropped again: ImageNet-C's are 224
    pixels wide, Tiny-ImageNet-C's 64. An image's id is its path below the severity's folder, which is
    the id of its original where `folder` reads the clean images, so that the two are compared image by
    image. Images that the set lacks are simply not there.

    Published in this layout: ImageNet-C and Tiny-ImageNet-C (Hendrycks and Dietterich, 2019),
    ImageNet-C-bar (Mintun et al., 2021), ImageNet-3DCC (Kar et al., 2022).

    Raises DataError, which lists what is there, for a corruption or severity that is not, and whatever
    `folder` raises for the folder of a severity.
    """

    path: str  # the folder of the whole set
    corruption: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # such as fog
    severity: Annotated[int, Field(ge=1, le=_SEVERITIES)]  # 1 to 5
    label_space: str = IMAGENET  # as of the source `folder`

    def __post_init__(self) -> None:
        check_space(self.label_space)

    def index(self) -> DataIndex:
        """Ids are paths below the severity's folder, the revision is that of `folder`."""
        return self._index

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image, (h, w, 3) uint8. Raises DataError when it is missing or damaged."""
        return self._folder.read(image)

    @property
    def _where(self) -> str:
        return f"imagenet_c:{self.path}"

    @cached_property
    def _index(self) -> DataIndex:
        found = self._folder.index()
        # the same text for the same image in each of the many sets of a suite: 5 MB instead of 500
        return replace(found, ids=tuple(sys.intern(i) for i in found.ids), view=View())

    @cached_property
    def _folder(self) -> Folder:
        place = self._corruption_folder()
        exact = place / str(self.severity)
        if not exact.is_dir():
            names = _folders(place, self._where)
            strengths = sorted((n for n in names if _STRENGTH.fullmatch(n)), key=float)
            if len(strengths) != _SEVERITIES:
                raise DataError(
                    f"{self._where}: no severity {self.severity} of {self.corruption!r}; there are: "
                    f"{', '.join(names) or 'no folders'}"
                )
            exact = place / strengths[self.severity - 1]
        return Folder(path=str(exact), label_space=self.label_space)

    def _corruption_folder(self) -> Path:
        root = Path(self.path).expanduser()
        for place in (root / self.corruption, *(root / g / self.corruption for g in _GROUPS)):
            if place.is_dir():
                return place
        if not root.is_dir():
            found = "not a folder" if root.exists() else "no such folder"
            raise DataError(f"{self._where}: {found}; expected {_LAYOUT}")
        there = _corruptions(root, self._where)
        if not there:
            raise DataError(f"{self._where}: no folder of a corruption; expected {_LAYOUT}")
        raise DataError(f"{self._where}: no corruption {self.corruption!r}; there are: {', '.join(there)}")


def _corruptions(root: Path, where: str) -> list[str]:
    """The corruptions of a set: folders that hold folders of severities."""
    places = [root, *(root / g for g in _GROUPS if (root / g).is_dir())]
    return sorted(
        name
        for place in places
        for name in _folders(place, where)
        if any(_LEVEL.fullmatch(n) or _STRENGTH.fullmatch(n) for n in _folders(place / name, where))
    )


def _folders(place: Path, where: str) -> list[str]:
    """The names of the folders in a folder, in alphabetical order."""
    try:
        return sorted(p.name for p in place.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{where}: the folder {place.name} cannot be listed: {reason}; check its rights"
        ) from None
