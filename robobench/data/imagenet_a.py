"""ImageNet-A: photographs that ResNet-50 gets wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from robobench.data.published import Published
from robobench.data.released import Released
from robobench.registry import data


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class ImageNetA(Released):
    """ImageNet-A: 7,500 photographs of 200 ImageNet classes, each of which a ResNet-50 got wrong.

    path: the folder with one folder per WordNet id, or the one that holds `imagenet-a`. read_out: `classes`
    takes the answer among the 200 classes alone, which is the published protocol (label space `imagenet-a`);
    `all` among all 1,000 (`imagenet-a-full`), a harder question whose accuracies are lower and not to be
    compared with published ones. partial: accept other counts than published.

    torchvision's first ResNet-50 scores 0.00 here by construction: the images were kept because that model
    failed on them. Other weights of the same architecture do not.

    Source: Hendrycks et al., Natural Adversarial Examples, CVPR 2021; the 200 classes are timm's list.

    Raises DataError for other counts, and whatever `folder` raises.
    """

    read_out: Literal["classes", "all"] = "classes"  # the answer among the 200 classes, or among all 1,000

    folders: ClassVar = ("imagenet-a",)
    published: ClassVar = Published(
        title="ImageNet-A (natural adversarial examples)",
        licence="MIT (of the repository and of its copy on the Hub)",
        citation="Hendrycks et al., Natural Adversarial Examples, CVPR 2021",
        homepage="https://github.com/hendrycks/natural-adv-examples",
        images=7_500,
        classes=200,
    )

    @property
    def _space(self) -> str:
        return "imagenet-a" if self.read_out == "classes" else "imagenet-a-full"
