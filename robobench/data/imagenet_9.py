"""ImageNet-9: foregrounds and backgrounds of ImageNet images, mixed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from robobench.data.published import Published
from robobench.data.released import Released
from robobench.errors import DataError
from robobench.registry import data
from robobench.types import DataIndex, View


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class ImageNet9(Released):
    """One variation of ImageNet-9: what a model owes to the background of an image.

    path: the folder that holds `<variation>/val/<class>`, such as `original/val/00_dog`. variation:
    `original`; `mixed_same`, `mixed_rand` and `mixed_next`, the foreground on a background of its own
    class, of a random one, of the next one; `only_fg`, `only_bg_b` (a black box where the object was),
    `only_bg_t` (that box filled with background) and `no_fg` (the object's shape black). The gap between
    `mixed_same` and `mixed_rand` is what backgrounds are worth (BG-Gap).

    A model's 1,000 answers are mapped to nine classes (label space `imagenet-9`); the 630 that belong to
    none are a tenth, always wrong. Images are shown as they are stored, never resized.
    How many there are, none of the sources read here says, so only the nine classes are counted.
    partial: accept missing classes.

    Source: Xiao et al., Noise or Signal: The Role of Image Backgrounds in Object Recognition, ICLR 2021.
    ResNet-50 gets 95.6 % of `original` right, 86.2 % of `mixed_same`, 78.9 % of `mixed_rand`.

    Raises DataError for missing classes or a variation that is not there, and whatever `folder` raises.
    """

    variation: Literal[
        "original", "mixed_same", "mixed_rand", "mixed_next", "only_fg", "only_bg_b", "only_bg_t", "no_fg"
    ] = "original"  # which part of each image is kept

    published: ClassVar = Published(
        title="ImageNet-9 (each of its variations)",
        licence="none named; the images are made from ImageNet's",
        citation="Xiao et al., Noise or Signal: The Role of Image Backgrounds in Object Recognition, "
        "ICLR 2021",
        homepage="https://github.com/MadryLab/backgrounds_challenge",
        images=None,
        classes=9,
    )

    @property
    def _space(self) -> str:
        return "imagenet-9"

    @cached_property
    def _root(self) -> Path:
        place = Path(self.path).expanduser() / self.variation / "val"
        if not place.is_dir():
            raise DataError(
                f"{self._where}: no folder {self.variation}/val; expected {self.variation}/val/00_dog"
            )
        return place

    def _finished(self, index: DataIndex) -> DataIndex:
        return replace(index, view=View())
