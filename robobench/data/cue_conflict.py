"""Cue-conflict images: the shape of one class, the texture of another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from robobench.data.label_space import label_space
from robobench.data.published import Published
from robobench.data.released import Released
from robobench.errors import DataError
from robobench.registry import data
from robobench.types import DataIndex, View

_SPACE = "imagenet-16"
_NAME = re.compile(r"([a-z]+)\d*-([a-z]+)\d*")  # of a file without its suffix: shape, texture


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class CueConflict(Released):
    """The 1,280 cue-conflict images: 16 shapes, each with the textures of the 16 classes, for shape bias.

    path: the folder `cue-conflict` (or `style-transfer-preprocessed-512`, as its first repository calls it)
    with one folder for each shape and files such as `cat/cat3-elephant1.png`, or the one that holds it. The
    label is the class of the shape, the fact `texture` (column `x_texture`) that of the texture; the 80
    images where both are one class stay in, and shape.bias and shape.cue_accuracy leave them out. Answers
    are among the 16 classes of the label space `imagenet-16`. Images are shown as stored, 224 pixels wide,
    and never resized. partial: accept other counts than published.

    Source: Geirhos et al., ImageNet-trained CNNs are biased towards texture, ICLR 2019.

    Raises DataError for other counts, for a file whose name does not say a texture or begins with another
    shape than its folder's, and whatever `folder` raises.
    """

    folders: ClassVar = ("cue-conflict", "style-transfer-preprocessed-512")
    published: ClassVar = Published(
        title="cue-conflict images",
        licence="CC BY 4.0 (the repository's DATASET_LICENSE)",
        citation="Geirhos et al., ImageNet-trained CNNs are biased towards texture, ICLR 2019",
        homepage="https://github.com/rgeirhos/texture-vs-shape",
        images=1_280,
        classes=16,
    )

    @property
    def _space(self) -> str:
        return _SPACE

    def _finished(self, index: DataIndex) -> DataIndex:
        places = {name: float(n) for n, name in enumerate(label_space(_SPACE).classes)}
        textures = tuple(self._texture(i, places) for i in index.ids)
        return replace(index, view=View(), facts={"texture": textures})

    def _texture(self, image: str, places: Mapping[str, float]) -> float:
        """The class of the texture that a file's name says."""
        shape, _, file = image.partition("/")
        found = _NAME.fullmatch(file.rpartition("/")[2].rpartition(".")[0])
        if found is None or found[1] != shape or found[2] not in places:
            raise DataError(
                f"{self._where}: {image}: expected a name such as {shape}/{shape}3-elephant1.png: the "
                "shape of the folder and a number, the texture and a number"
            )
        return places[found[2]]
