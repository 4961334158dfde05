"""Foreground and background: an object without its surroundings, or the surroundings without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from robobench.draws import Draws
from robobench.errors import BadParameter, DataError
from robobench.perturbations.occlusion.fill import Fill, Filling, cover, share
from robobench.registry import perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


@perturbations.register("drop", version=1)
@dataclass(frozen=True, kw_only=True)
class BackgroundDrop(Filling):
    """Keep the foreground of an image, or its background, and cover the other.

    Measures how much of an answer comes from the object and how much from where it is. The foreground is
    where `inputs["mask"]`, (b, h, w), is at least one half, as `masks.boxes` and `masks.file` make it.
    Covered with `black`, `grey` (0.5), the image's own `mean` colour, uniform `noise`, `blur` (the whole
    image, Gaussian, standard deviation 1/16 of the shorter side) or `donor`: another image of the data
    set, so that `keep: foreground` with a donor is an object before a foreign background. Where the mask
    is empty all is background: kept whole by `keep: background`, covered whole by `keep: foreground`.
    Records `area`, the share of the pixels that are foreground, in [0, 1].

    Raises BadParameter when the mask is missing or not of the pixels' size; DataError when it holds a
    number that is not finite.

    Source: Ghiasi et al., What do Vision Transformers Learn? A Visual Exploration, 2022, as in their code
    (boxes of ImageNet, black). They cover the stored image and then resize it; here the mask goes through
    the view and the view's pixels are covered. The fills besides black are added.
    """

    keep: Literal["foreground", "background"]  # what stays as it is
    fill: Fill = "black"  # what covers the rest: black, grey, mean, noise, blur or donor

    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"keep": "foreground"},
        {"keep": "background", "fill": "blur"},
        {"keep": "foreground", "fill": "donor"},
    )

    @property
    def wants(self) -> tuple[str, ...]:
        """A mask, and another image where that is what covers."""
        return ("mask", *super().wants)

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        front = _foreground(batch)
        hidden = front if self.keep == "background" else 1 - front
        return batch.with_pixels(cover(batch, hidden, self.fill, draws, "background.drop"), area=share(front))


def _foreground(batch: ImageBatch) -> Tensor:
    """1 where the object is, (b, 1, h, w) float32."""
    shape = (len(batch), *batch.pixels.shape[2:])
    mask = batch.inputs.get("mask")
    if mask is None or tuple(mask.shape) != shape:
        got = "none" if mask is None else str(tuple(mask.shape))
        raise BadParameter(
            f"background.drop: expected a mask of shape {shape} for the images, got {got}; name a "
            "preparation such as masks.boxes in the suite: `inputs: {mask: NAME}`"
        )
    bad = ~mask.isfinite().flatten(1).all(1)
    if bad.any():
        image = batch.ids[int(bad.nonzero()[0])]
        raise DataError(f"background.drop: the mask of image {image!r} holds NaN or infinity")
    return (mask >= 0.5).float()[:, None]
