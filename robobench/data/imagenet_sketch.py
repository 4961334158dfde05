"""ImageNet-Sketch: black and white sketches of ImageNet's classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robobench.data.published import Published
from robobench.data.released import Released
from robobench.registry import data


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class ImageNetSketch(Released):
    """ImageNet-Sketch: about 50 black and white sketches of each ImageNet class.

    path: the folder with one folder per WordNet id, or the one that holds `sketch`. The authors' page says
    50,000 images, copies of the set 50,889, so the images are not counted; the 1,000 classes are.
    partial: accept missing classes.

    Source: Wang et al., Learning Robust Global Representations by Penalizing Local Predictive Power,
    NeurIPS 2019.

    Raises DataError for missing classes, and whatever `folder` raises.
    """

    folders: ClassVar = ("sketch",)
    published: ClassVar = Published(
        title="ImageNet-Sketch",
        licence="MIT (of the repository; the images were found by an image search and name none)",
        citation="Wang et al., Learning Robust Global Representations by Penalizing Local Predictive Power, "
        "NeurIPS 2019",
        homepage="https://github.com/HaohanWang/ImageNet-Sketch",
        images=None,
        classes=1_000,
    )
