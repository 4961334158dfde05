"""ImageNetV2: ImageNet's test set made anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from robobench.data.published import Published
from robobench.data.released import Released, own_folder
from robobench.errors import DataError
from robobench.registry import data

# what the archives of each selection, in all their repackagings, unpack to
_NAMES: Mapping[str, tuple[str, ...]] = {
    "matched-frequency": (
        "imagenetv2-matched-frequency-format-val",
        "imagenet-matched-frequency-format-val",
        "imagenetv2-matched-frequency",
    ),
    "threshold-0.7": (
        "imagenetv2-threshold0.7-format-val",
        "imagenetv2-threshold-0.7-format-val",
        "imagenet-threshold-0.7-format-val",
        "imagenetv2-threshold0.7",
    ),
    "top-images": (
        "imagenetv2-top-images-format-val",
        "imagenet-top-images-format-val",
        "imagenetv2-top-images",
        "imagenetv2-topimages",
    ),
}


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class ImageNetV2(Released):
    """ImageNetV2: 10,000 photographs collected as ImageNet's were, years later, in three selections.

    path: the folder of a selection, or the one that holds it under a name of its archives, such as
    `imagenetv2-matched-frequency-format-val`. variant: `matched-frequency` (the default of the literature),
    `threshold-0.7` or `top-images`; their accuracies lie up to fifteen points apart, so a folder that
    is named after another one is refused. partial: accept other counts than published.

    Class folders are called "0" to "999" or by WordNet id. Numbers count as numbers: a program that sorts
    them as text takes class 10 for class 2, and nearly every label is wrong.

    Source: Recht et al., Do ImageNet Classifiers Generalize to ImageNet?, ICML 2019.

    Raises DataError for other counts or another selection, and whatever `folder` raises.
    """

    variant: Literal["matched-frequency", "threshold-0.7", "top-images"] = "matched-frequency"  # selection

    published: ClassVar = Published(
        title="ImageNetV2 (each of the three selections)",
        licence="the images are Flickr's, to be used as ImageNet's are; the code is MIT",
        citation="Recht et al., Do ImageNet Classifiers Generalize to ImageNet?, ICML 2019",
        homepage="https://github.com/modestyachts/ImageNetV2",
        images=10_000,
        classes=1_000,
    )

    @cached_property
    def _root(self) -> Path:
        root = own_folder(self.path, _NAMES[self.variant])
        other = next((v for v, names in _NAMES.items() if root.name in names and v != self.variant), None)
        if other is not None:
            raise DataError(
                f"{self._where}: the folder {root.name} holds the selection {other}, not {self.variant}; set "
                f"variant={other}, or give the folder of {self.variant}"
            )
        return root
