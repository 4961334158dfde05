"""ImageNet-O: images of classes that ImageNet does not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robobench.data.label_space import IMAGENET_O
from robobench.data.outliers import as_outliers
from robobench.data.published import Published
from robobench.data.released import Released
from robobench.registry import data
from robobench.types import DataIndex


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class ImageNetO(Released):
    """ImageNet-O: 2,000 images of which no ImageNet class is right, and which a ResNet-50 is sure of.

    path: the folder with one folder per WordNet id, or the one that holds `imagenet-o`. A folder is named
    after the class that its images were taken for, not after what they show: every label is -1 (an outlier),
    accuracies are undefined, and answers are among those 200 classes (label space `imagenet-o`), as in the
    published protocol. What is known beside it is `clean@imagenet-o`, the base's images of the 200 classes
    under the same read-out: the in-distribution side of `ood.auroc`, `ood.aupr` and `ood.fpr95`.
    partial: accept other counts than published.

    Source: Hendrycks et al., Natural Adversarial Examples, CVPR 2021; the 200 classes are those of its code.

    Raises DataError for other counts, and whatever `folder` raises.
    """

    folders: ClassVar = ("imagenet-o",)
    published: ClassVar = Published(
        title="ImageNet-O (out-of-distribution images)",
        licence="MIT (of the repository and of its copy on the Hub)",
        citation="Hendrycks et al., Natural Adversarial Examples, CVPR 2021",
        homepage="https://github.com/hendrycks/natural-adv-examples",
        images=2_000,
        classes=200,
    )

    @property
    def _space(self) -> str:
        return IMAGENET_O

    def _finished(self, index: DataIndex) -> DataIndex:
        return as_outliers(index)
