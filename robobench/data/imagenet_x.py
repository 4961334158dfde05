"""ImageNet-X: ImageNet's validation images by what is unusual about them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from robobench.data.folder import index_of, read_below
from robobench.data.imagenet_real import val_number
from robobench.data.label_space import IMAGENET, imagenet_folders, label_space
from robobench.data.light import Light
from robobench.data.published import Published
from robobench.data.released import own_folder
from robobench.data.tree import gather
from robobench.errors import DataError
from robobench.keys import digest
from robobench.registry import data
from robobench.types import DataIndex

Factor = Literal[
    "any", "pose", "background", "pattern", "color", "smaller", "shape", "partial_view", "subcategory",
    "texture", "larger", "darker", "object_blocking", "person_blocking", "style", "brighter",
    "multiple_objects",
]  # fmt: skip
_FACTORS = Factor.__args__[1:]  # type: ignore[attr-defined]  # the arguments of a Literal
_PREFIX = "imagenet-x/"  # before ids: a factor's images are compared with all clean ones, not with themselves
_PROTOTYPES = "prototypical_paths.csv"


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class ImageNetX(Light):
    """ImageNet's validation images for which annotators named a factor of variation, such as pose.

    path: the folder of the validation images, in class folders or without, or the one above it that holds
    `val`. annotations: the folder `imagenet_x/annotations` of the set's repository, with
    `imagenet_x_val_top_factor.jsonl`, `imagenet_x_val_multi_factor.jsonl` and `prototypical_paths.csv`.
    factors: from the file with the `top` factor of each image or the one with all it has (`multi`).
    factor: only the images that have it; `any`: every annotated image. The prototypes, which annotators
    compared with, are left out, as the set's own code does by default.

    Each factor is a column `x_<factor>` of 0 and 1. A factor's accuracy is compared with that of all clean
    images; the published error ratio is the quotient of the two errors. Its images are clean images too:
    the comparison treats the two samples as if they had none in common.

    Source: Idrissi et al., ImageNet-X, 2022. Neither images nor annotations are counted: no source read
    here says how many there are.

    Raises DataError for annotations that are missing or damaged, for annotated images that are not there
    (unless partial), and for a class folder that contradicts the annotation.
    """

    path: str  # the folder of the validation images
    annotations: str  # the folder of the annotation files
    factor: Factor = "any"  # which images: those with this factor, or all that are annotated
    factors: Literal["top", "multi"] = "top"  # one factor for each image, or all that annotators named
    partial: bool = False  # accept annotations of images that are not there

    published: ClassVar = Published(
        title="ImageNet-X (annotations of ImageNet's validation images)",
        licence="CC BY-NC 4.0 for the annotations, ImageNet's terms of access for the images",
        citation="Idrissi et al., ImageNet-X: Understanding Model Mistakes with Factor of Variation "
        "Annotations, arXiv 2211.01866, 2022",
        homepage="https://github.com/facebookresearch/imagenetx",
        images=None,
        classes=None,
    )

    def index(self) -> DataIndex:
        """Ids are `imagenet-x/` and the path below the folder, in alphabetical order."""
        return self._index

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image, (h, w, 3) uint8. Raises DataError when it is missing or damaged."""
        return read_below(self._root, image.removeprefix(_PREFIX), self._where)

    @property
    def _where(self) -> str:
        return f"imagenet_x:{self.path}"

    @cached_property
    def _root(self) -> Path:
        return own_folder(self.path, ("val",))

    @cached_property
    def _index(self) -> DataIndex:
        known = self._annotated()
        tree = gather(self._root, self._where)
        by_number = {val_number(i): i for i in tree.images[""]}
        absent = sorted(n for n in known if n not in by_number)
        if absent and (not self.partial or len(absent) == len(known)):
            raise DataError(
                f"{self._where}: {len(absent):,} of {len(known):,} annotated images are not there, such as "
                f"ILSVRC2012_val_{absent[0]:08d}.JPEG; give the whole folder of validation images"
                + ("" if self.partial else ", or set partial=true")
            )
        rows = {by_number[n]: row for n, row in known.items() if n in by_number}
        tree.images[""] = {i: stamp for i, stamp in tree.images[""].items() if i in rows}
        found = index_of(self._root, self._where, tree, label_space(IMAGENET), {"": 0})
        chosen = [rows[i] for i in found.ids]
        self._check_folders(rows)
        return replace(
            found,
            ids=tuple(_PREFIX + i for i in found.ids),
            labels=tuple(row["class"] for row in chosen),
            revision=digest("imagenet_x", [row["class"] for row in chosen], found.revision),
            facts={f: tuple(float(row[f]) for row in chosen) for f in _FACTORS},
            excluded={_PREFIX + i: why for i, why in found.excluded.items()},
        )

    def _check_folders(self, rows: Mapping[str, Mapping[str, int]]) -> None:
        """A class folder and the annotation have to name the same class."""
        known = imagenet_folders()
        for image, row in rows.items():
            folder = image.partition("/")[0]
            if folder in known and known[folder] != row["class"]:
                raise DataError(
                    f"{self._where}: {image} lies in the folder of class {known[folder]} and is annotated as "
                    f"class {row['class']}; one of the two is another set's"
                )

    def _annotated(self) -> Mapping[int, Mapping[str, int]]:
        """Class and factors of each annotated image that is wanted, by its number."""
        folder = Path(self.annotations).expanduser()
        name = f"imagenet_x_val_{self.factors}_factor.jsonl"
        try:
            with (folder / _PROTOTYPES).open(encoding="utf-8", newline="") as file:
                prototypes = {row["file_name"] for row in csv.DictReader(file)}
            lines = (folder / name).read_text(encoding="utf-8").splitlines()
            rows = {row["file_name"]: row for row in map(json.loads, filter(None, lines))}
            kept: dict[int, dict[str, int]] = {
                val_number(image): {key: int(row[key]) for key in ("class", *_FACTORS)}
                for image, row in rows.items()
                if image not in prototypes and (self.factor == "any" or row[self.factor])
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            raise DataError(
                f"{self._where}: the annotations {name} with {_PROTOTYPES} cannot be read: {reason}; "
                "expected the folder imagenet_x/annotations of github.com/facebookresearch/imagenetx"
            ) from None
        if not kept or not all(0 <= row["class"] < 1000 and number for number, row in kept.items()):
            raise DataError(
                f"{self._where}: {name} has no usable rows for factor={self.factor}; expected file names "
                "such as ILSVRC2012_val_00000293.JPEG, classes 0 to 999 and 0 or 1 for each factor"
            )
        return kept
