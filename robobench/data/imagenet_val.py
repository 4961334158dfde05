"""ImageNet's validation images in their class folders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robobench.data.published import Published
from robobench.data.released import Released
from robobench.registry import data


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class ImageNetVal(Released):
    """The 50,000 validation images of ILSVRC 2012 in 1,000 class folders, all of them.

    path: the folder with `n01440764/ILSVRC2012_val_00000293.JPEG` and on, or the one above it that holds
    `val`. Ids, labels and revision are those of the source `folder`, which reads any part of the set; this
    one makes sure that it is whole. partial: accept other counts than published.

    Source: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015. The images
    are published without class folders; the folders are made by sorting them, as PyTorch's example does.

    Raises DataError for other counts, and whatever `folder` raises.
    """

    folders: ClassVar = ("val",)
    published: ClassVar = Published(
        title="ImageNet (ILSVRC 2012), validation images",
        licence="non-commercial research and education, by ImageNet's terms of access",
        citation="Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015",
        homepage="https://www.image-net.org",
        images=50_000,
        classes=1_000,
    )
