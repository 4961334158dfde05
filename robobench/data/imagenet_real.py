"""ReaL: ImageNet's validation images with every label that people found right."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.data.folder import index_of, read_below
from robobench.data.installed import installed_folder
from robobench.data.label_space import IMAGENET, label_space
from robobench.data.light import Light
from robobench.data.published import Published, check_counts
from robobench.data.released import own_folder
from robobench.data.tree import gather
from robobench.errors import DataError
from robobench.keys import digest
from robobench.registry import data
from robobench.types import DataIndex

_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.[A-Za-z]+")


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class ImageNetReal(Light):
    """ReaL: ImageNet's validation images, an answer being right when it is any of the labels people gave.

    path: the folder with files such as `ILSVRC2012_val_00000293.JPEG`, in class folders or without, or the
    one above it that holds `val`. Labels come from the list that timm carries and go by the number in a
    file's name; class folders are not looked at. 46,837 of the 50,000 images have one label or more (1.229
    on average, 9 at most); the 3,163 that have none show nothing of ImageNet's and are left out. Ids are
    those of the source `folder` on the same tree, so that an image is compared with its old label's answer.
    partial: accept other counts than published.

    Source: Beyer et al., Are we done with ImageNet?, 2020.

    Raises DataError for other counts, for a file that is none of the validation images, and for one that
    is there twice.
    """

    path: str  # the folder of the validation images
    partial: bool = False  # accept other numbers of images than published

    published: ClassVar = Published(
        title="ImageNet ReaL (validation images with a reassessed label)",
        licence="Apache 2.0 for the labels, ImageNet's terms of access for the images",
        citation="Beyer et al., Are we done with ImageNet?, arXiv 2006.07159, 2020",
        homepage="https://github.com/google-research/reassessed-imagenet",
        images=46_837,
        classes=None,
    )

    def index(self) -> DataIndex:
        """Ids are paths below the folder, in alphabetical order; labels are the first of each image's."""
        return self._index

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image, (h, w, 3) uint8. Raises DataError when it is missing or damaged."""
        return read_below(self._root, image, self._where)

    @property
    def _where(self) -> str:
        return f"imagenet_real:{self.path}"

    @cached_property
    def _root(self) -> Path:
        return own_folder(self.path, ("val",))

    @cached_property
    def _index(self) -> DataIndex:
        tree = gather(self._root, self._where)
        accepted = {i: labels for i, labels in self._accepted([*tree.images[""]]).items() if labels}
        empty = len(tree.images[""]) - len(accepted)
        if not accepted:
            raise DataError(
                f"{self._where}: none of {empty} images has a label; expected ImageNet's val images"
            )
        tree.images[""] = {i: stamp for i, stamp in tree.images[""].items() if i in accepted}
        found = index_of(self._root, self._where, tree, label_space(IMAGENET), {"": 0})
        labels = [accepted[i] for i in found.ids]
        if not self.partial:
            check_counts(
                self._where,
                self.published,
                images=len(found.ids) - len(found.excluded),
                classes=len({n for some in labels for n in some}),
                damaged=found.excluded,
                note=f"{empty:,} further images have no label and are left out",
            )
        return replace(
            found,
            labels=tuple(some[0] for some in labels),
            revision=digest("imagenet_real", labels, found.revision),
            accepted={i: some for i, some in zip(found.ids, labels, strict=True) if len(some) > 1},
        )

    def _accepted(self, images: list[str]) -> Mapping[str, tuple[int, ...]]:
        """The labels of each image, by the number in its name."""
        known, seen = real_labels(), dict[int, str]()
        for image in images:
            number = val_number(image)
            if not 1 <= number <= len(known):
                raise DataError(
                    f"{self._where}: {image} is none of ImageNet's validation images; expected "
                    f"ILSVRC2012_val_00000001.JPEG to ILSVRC2012_val_{len(known):08d}.JPEG"
                )
            if number in seen:
                raise DataError(f"{self._where}: {seen[number]} and {image} are the same image; remove one")
            seen[number] = image
        return {image: known[number - 1] for number, image in seen.items()}


def val_number(image: str) -> int:
    """The number in the name of a validation image, 0 where it is none.

    >>> val_number("n01440764/ILSVRC2012_val_00000293.JPEG"), val_number("n01440764/cat.jpg")
    (293, 0)
    """
    found = _NAME.fullmatch(image.rpartition("/")[2])
    return int(found[1]) if found else 0


@cache
def real_labels() -> tuple[tuple[int, ...], ...]:
    """The labels of each of the 50,000 validation images in their order, from timm's list."""
    path = (installed_folder("timm") or Path("timm")) / "data" / "_info" / "imagenet_real_labels.json"
    try:
        stored: Any = json.loads(path.read_bytes())
        return tuple(tuple(int(n) for n in labels) for labels in stored)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path}: the ReaL labels come with timm and cannot be read ({error}); "
            "run `pip install 'timm>=1.0.20'`"
        ) from None
