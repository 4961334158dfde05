"""Twenty labelled photos of ImageNet, CIFAR-10 or CIFAR-100 that come with an installed package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robobench.data.installed import installed_folder
from robobench.data.label_space import label_space
from robobench.errors import DataError, MissingExtra
from robobench.images import decode
from robobench.keys import digest, file_digest
from robobench.registry import data
from robobench.types import DataIndex, View

_NAME = re.compile(r"[a-z]+\d*_\d+_(\d+)\.(?:jpg|png)")
_SPACES: Mapping[str, str] = {"imagenet": "imagenet-1k", "cifar10": "cifar-10", "cifar100": "cifar-100"}


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class Samples:
    """Twenty real photos with labels, without a download: enough to see that a model works.

    path: `imagenet` (photos of ImageNet classes, 512 x 512 and one 1024 x 683;
    the suite's view applies), `cifar10` or `cifar100` (32 x 32, never resized). The files are those of
    foolbox (Rauber et al., 2020); the class number is the last number of each name, which is the id.
    Twenty images carry wide intervals: these sets rank nothing.

    Raises MissingExtra without foolbox, DataError when its files are not there.
    """

    path: Literal["imagenet", "cifar10", "cifar100"]

    def index(self) -> DataIndex:
        """Ids are file names such as `imagenet_00_243.jpg`, in alphabetical order."""
        folder = self._folder()
        labels: dict[str, int] = {}
        for file in sorted(folder.glob(f"{self.path}_*")):
            found = _NAME.fullmatch(file.name)
            if found:
                labels[file.name] = int(found[1])
        space = label_space(_SPACES[self.path])
        if not labels or max(labels.values()) >= len(space.classes):
            raise DataError(
                f"samples:{self.path}: expected files such as {self.path}_00_1.png with class numbers below "
                f"{len(space.classes)}, got {len(labels)} of them; run `pip install 'foolbox>=3.3.4'`"
            )
        return DataIndex(
            ids=tuple(labels),
            labels=tuple(labels.values()),
            revision=digest("samples", [(i, file_digest(folder / i)) for i in labels]),
            space=space,
            view=None if self.path == "imagenet" else View(),
        )

    def read(self, image: str) -> NDArray[np.uint8]:
        """One photo, (h, w, 3) uint8. Raises DataError for an unknown id or a damaged file."""
        if not image.startswith(f"{self.path}_") or not _NAME.fullmatch(image):
            raise DataError(f"samples:{self.path}: {image!r} is none of its images")
        return decode(self._folder() / image, f"samples:{self.path}: {image}")

    def _folder(self) -> Path:
        package = installed_folder("foolbox")
        if package is None:
            raise MissingExtra(f"samples:{self.path}", "foolbox", "samples")
        return package / "data"
