"""ObjectNet: household objects in unusual places, poses and views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from robobench.data.label_space import class_folders
from robobench.data.published import Published
from robobench.data.released import Released
from robobench.errors import DataError
from robobench.keys import digest
from robobench.registry import data
from robobench.types import DataIndex

_BORDER = 2  # pixels: the red frame is one, and blurs into the next


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class ObjectNet(Released):
    """ObjectNet: photographs of household objects whose background, rotation and viewpoint were prescribed.

    path: the folder with one folder per object (`alarm_clock`, ...), or one that holds `objectnet-1.0/images`
    or `images`. Of its 313 objects 113 are ImageNet classes, 125 in all; the other folders are left out.
    read_out: `classes` takes the answer among the 125, `all` among all 1,000 (label spaces `objectnet` and
    `objectnet-full`); in both an answer is right when it is any of the one to three classes of the object.
    A class of several outputs counts as one answer, also among the best five.

    Every image has a red border of one pixel, which must not be shown to a model: two pixels are cut off on
    every side before anything else, as in the published evaluations. The paper counts 18,574 images in the
    113 folders, evaluations of a later release 18,514, so images are not counted; the 113 classes are.
    partial: accept missing classes.

    Source: Barbu et al., ObjectNet, NeurIPS 2019; the classes are those of the set's own mapping.

    Raises DataError for missing classes, and whatever `folder` raises.
    """

    read_out: Literal["classes", "all"] = "classes"  # the answer among the 125 classes, or among all 1,000

    folders: ClassVar = ("objectnet-1.0/images", "images")
    published: ClassVar = Published(
        title="ObjectNet (the 113 objects that are ImageNet classes)",
        licence="after CC BY 4.0, with two clauses: never tune a model on it, and show images on the web "
        "only with their red border",
        citation="Barbu et al., ObjectNet: A large-scale bias-controlled dataset for pushing the limits of "
        "object recognition models, NeurIPS 2019",
        homepage="https://objectnet.dev",
        images=None,
        classes=113,
    )

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image without its border, (h - 4, w - 4, 3) uint8. Raises DataError when it is damaged."""
        whole = super().read(image)
        if min(whole.shape[:2]) <= 2 * _BORDER:
            raise DataError(
                f"{self._where}: {image} is {whole.shape[1]} x {whole.shape[0]}, all of it border"
            )
        return np.ascontiguousarray(whole[_BORDER:-_BORDER, _BORDER:-_BORDER])

    @property
    def _space(self) -> str:
        return "objectnet" if self.read_out == "classes" else "objectnet-full"

    def _classes(self, folders: Sequence[str]) -> Mapping[str, int]:
        known = class_folders(self._space)
        found = {f: known[f] for f in folders if f in known}
        if not found:
            raise DataError(f"none of {len(folders)} folders is one of ObjectNet's, such as alarm_clock")
        return found

    def _finished(self, index: DataIndex) -> DataIndex:
        return replace(index, revision=digest("objectnet", _BORDER, index.revision))
