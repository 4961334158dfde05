"""ImageNet-R: renditions of ImageNet classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from robobench.data.published import Published
from robobench.data.released import Released
from robobench.registry import data


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class ImageNetR(Released):
    """ImageNet-R: 30,000 paintings, sketches, toys and other renditions of 200 ImageNet classes.

    path: the folder with one folder per WordNet id, or the one that holds `imagenet-r`. read_out: `classes`
    takes the answer among the 200 classes alone, which is the published protocol (label space `imagenet-r`);
    `all` among all 1,000 (`imagenet-r-full`), a harder question whose accuracies are lower and not to be
    compared with published ones. partial: accept other counts than published.

    Its 200 classes are others than ImageNet-A's: 86 are in both.

    Source: Hendrycks et al., The Many Faces of Robustness, ICCV 2021; the 200 classes are timm's list.

    Raises DataError for other counts, and whatever `folder` raises.
    """

    read_out: Literal["classes", "all"] = "classes"  # the answer among the 200 classes, or among all 1,000

    folders: ClassVar = ("imagenet-r",)
    published: ClassVar = Published(
        title="ImageNet-R (renditions)",
        licence="MIT (of the set's copy on the Hub; its own repository names none)",
        citation="Hendrycks et al., The Many Faces of Robustness, ICCV 2021",
        homepage="https://github.com/hendrycks/imagenet-r",
        images=30_000,
        classes=200,
    )

    @property
    def _space(self) -> str:
        return "imagenet-r" if self.read_out == "classes" else "imagenet-r-full"
