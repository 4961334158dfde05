"""Patches on images: one for all of them, learned by a model beforehand or noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.draws import Draws
from robobench.errors import BadParameter, DataError
from robobench.patches import Shape, outline, strewn
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

NAME = "patch.universal"
_ALL = ("every image",)  # the noise is drawn once, as for one image of that name


@perturbations.register("universal", version=1)
@dataclass(frozen=True, kw_only=True)
class UniversalPatch:
    """Put one and the same patch on every image, at a random place and under a random turn.

    Measures what a universal patch does to a model: that of a preparation `universal.patch`, made by the
    model itself or by any other, given as `inputs["patch"]`, (b, 3, s, s); or, as its control, a patch of
    noise uniform in [0, 1], which hides as much and was not learned. The patch is the largest circle or
    square that covers at most `area` of the pixels. Each image has a place inside it and a turn of its
    own: any angle for a circle, quarter turns for a square. They are the same draws for every patch, so
    that patches of one area are compared at the same places. Records `changed`, the share of the pixels
    that differ afterwards.

    Raises BadParameter when the area is below one pixel or the shape does not fit into the image, when a
    learned patch is missing, and when it is not of this area, shape and view; DataError when it holds a
    number outside [0, 1].

    Source: Brown et al., Adversarial Patch, 2017; the areas, shapes, places and turns of the
    `adversarial-patch` implementation by J. Hayes, which Naseer et al., Intriguing Properties of Vision
    Transformers, NeurIPS 2021, use untargeted.
    """

    area: Annotated[float, Field(gt=0, le=1)] = 0.05  # share of the image's pixels that it covers at most
    shape: Shape = "circle"  # a circle or a square
    content: Literal["learned", "noise"] = "learned"  # what is on it: the preparation's patch, or noise

    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"content": "noise"},
        {"content": "noise", "area": 0.1, "shape": "square"},
    )

    @property
    def wants(self) -> tuple[str, ...]:
        """A learned patch, where there is one."""
        return ("patch",) if self.content == "learned" else ()

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        covers = outline(self.shape, self.area, batch.pixels.shape[2:], NAME)
        side = len(covers)
        if self.content == "noise":
            patch = draws.select(_ALL).uniform("noise", 3, side, side).expand(len(batch), -1, -1, -1)
        else:
            patch = self._learned(batch, side)
        pixels = strewn(batch.pixels, patch, self.shape, covers, draws).clamp_(0, 1)  # turning rounds
        changed = (pixels != batch.pixels).any(dim=1).flatten(1).float().mean(dim=1)
        return batch.with_pixels(pixels, changed=changed)

    def _learned(self, batch: ImageBatch, side: int) -> Tensor:
        """The preparation's patch, when there is one and it fits."""
        patch = batch.inputs.get("patch")
        expected = (len(batch), 3, side, side)
        if patch is None or tuple(patch.shape) != expected:
            got = "none" if patch is None else str(tuple(patch.shape))
            raise BadParameter(
                f"{NAME}: expected a patch of shape {expected} for a {self.shape} of {self.area:g} of these "
                f"images, got {got}; name a preparation `universal.patch` with the same area and shape: "
                "`inputs: {patch: NAME}`"
            )
        low, high = (float(v) for v in patch.aminmax())
        if not (low >= 0 and high <= 1):
            raise DataError(f"{NAME}: the patch holds numbers in [{low:g}, {high:g}], expected [0, 1]")
        return patch
