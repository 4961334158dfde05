"""Stylized-ImageNet: ImageNet's validation images painted over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robobench.data.published import Published
from robobench.data.released import Released
from robobench.registry import data


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class StylizedImageNet(Released):
    """Stylized-ImageNet: the 50,000 validation images in the style of random paintings.

    path: the folder with one folder per WordNet id, or the one that holds `val`. The set is not handed out
    but made with its authors' code, from ImageNet and a set of paintings, so copies differ in their pixels:
    compare models on one copy. Shape survives, texture does not. partial: accept other counts than published.

    Source: Geirhos et al., ImageNet-trained CNNs are biased towards texture, ICLR 2019.

    Raises DataError for other counts, and whatever `folder` raises.
    """

    folders: ClassVar = ("val",)
    published: ClassVar = Published(
        title="Stylized-ImageNet, validation images",
        licence="none named for images, which are made from ImageNet's and Painter by Numbers'",
        citation="Geirhos et al., ImageNet-trained CNNs are biased towards texture, ICLR 2019",
        homepage="https://github.com/rgeirhos/Stylized-ImageNet",
        images=50_000,
        classes=1_000,
    )
