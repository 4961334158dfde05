"""ImageNet-Hard: what models still get wrong in ImageNet and the sets around it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.data.hub import Hub
from robobench.data.label_space import IMAGENET
from robobench.data.light import Light
from robobench.data.published import Published, check_counts
from robobench.registry import data
from robobench.types import DataIndex


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class ImageNetHard(Light):
    """ImageNet-Hard: 10,980 images of ImageNet and the sets around it that are missed at every zoom.

    path: `taesiri/imagenet-hard`, the only place where the set is published, or the folder of a clone,
    written as for the source `hub`. revision: the commit to read. files: as of `hub`; some commits hold
    the set twice, in five files and in nine, which the count then shows. Images may have several labels,
    and an answer is right when it is any of them. partial: accept other counts than published.

    Source: Taesiri et al., ImageNet-Hard: The Hardest Images Remaining from a Study of the Power of Zoom
    and Spatial Biases in Image Classification, NeurIPS 2023.

    Raises DataError for other counts, and whatever `hub` raises.
    """

    path: str  # owner/name, or the folder of a clone
    revision: str = ""  # the commit to read; none for a clone
    files: str = ""  # a pattern of the files to read, such as data/validation-*-of-00005-*
    partial: bool = False  # accept other numbers of images than published

    published: ClassVar = Published(
        title="ImageNet-Hard",
        licence="MIT (of the set on the Hub)",
        citation="Taesiri et al., ImageNet-Hard: The Hardest Images Remaining from a Study of the Power of "
        "Zoom and Spatial Biases in Image Classification, NeurIPS 2023",
        homepage="https://huggingface.co/datasets/taesiri/imagenet-hard",
        images=10_980,
        classes=None,
    )

    def __post_init__(self) -> None:
        _ = self._hub  # what is wrong with the path or the revision is said at once

    def index(self) -> DataIndex:
        """Ids `validation-000000` and on, in the order of the rows."""
        return self._index

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image, (h, w, 3) uint8. Raises DataError for an unknown id or a damaged image."""
        return self._hub.read(image)

    @cached_property
    def _hub(self) -> Hub:
        return Hub(
            path=self.path,
            split="validation",
            revision=self.revision,
            files=self.files,
            label_space=IMAGENET,
        )

    @cached_property
    def _index(self) -> DataIndex:
        found = self._hub.index()
        if not self.partial:
            where, classes = f"imagenet_hard:{self.path}", len(set(found.labels))
            check_counts(where, self.published, images=len(found.ids), classes=classes)
        return found
