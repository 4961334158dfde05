"""Renderings of one image: without colour, as a drawing, as edges, as a silhouette, as a cartoon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.colour import grey
from robobench.draws import Draws
from robobench.errors import BadParameter, DataError
from robobench.perturbations.style.planes import each, figure, in_pixels, lines, shown, smooth
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch

_BLACK = 1 / 255  # added to both sides of a quotient: black areas stay paper


@perturbations.register("greyscale", version=1)
@dataclass(frozen=True, kw_only=True)
class Greyscale:
    """Take a share of the colour away.

    Measures how much of an answer rests on colour. Each channel moves by `amount` of its distance to the luma
    0.299 R + 0.587 G + 0.114 B, which stays.

    Own: linear desaturation.
    """

    amount: Annotated[float, Field(ge=0, le=1)] = 1.0  # share of the colour that is taken; 1 leaves grey

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"amount": 0.5}, {"amount": 0})

    @property
    def identity(self) -> bool:
        """All the colour stays."""
        return self.amount == 0

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        if self.identity:
            return batch
        luma = grey(batch.pixels)
        return batch.with_pixels((batch.pixels + self.amount * (luma - batch.pixels)).clamp_(0, 1))


@perturbations.register("sketch", version=1)
@dataclass(frozen=True, kw_only=True)
class Sketch:
    """Draw the image in pencil.

    Measures whether objects are known by their contours and shading, without colour and large areas. The
    luma, blurred a little (sigma / 6), is divided by its blur by `sigma`, so that what is as bright as its
    surroundings becomes white paper and what is darker a stroke; the quotient, at most 1, is raised to the
    power `strength`. Blurs are Gaussian; lengths are for images of 224 pixels and scale with their shorter
    side.

    Own: the "colour dodge" of image editors.
    """

    sigma: Annotated[float, Field(gt=0, le=100)] = 6.0  # standard deviation of the blur, in pixels of 224
    strength: Annotated[float, Field(gt=0, le=20)] = 2.0  # power of the quotient: larger is darker

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"sigma": 12, "strength": 4})

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        around = smooth(batch.pixels, self.sigma)
        ratio = ((smooth(batch.pixels, self.sigma / 6) + _BLACK) / (around + _BLACK)).clamp_(0, 1)
        return batch.with_pixels(shown(each(ratio, lambda plane: plane ** np.float32(self.strength))))


@perturbations.register("edges", version=1)
@dataclass(frozen=True, kw_only=True)
class Edges:
    """Keep thin black lines on white along the strongest edges.

    Measures recognition by line drawings. The luma, in 8 bits, is blurred by a Gaussian of `sigma`; edges are
    Canny's, with the threshold that `density` of the pixels' gradients exceed and, for lines that continue a
    strong one, 0.4 of it. The lines are one pixel wide and widened to `width`. `sigma` and `width` are for
    images of 224 pixels and scale with their shorter side (a line has at least one pixel).

    Own: Canny's detector (A computational approach to edge detection, 1986) with thresholds set by the image.
    """

    density: Annotated[float, Field(gt=0, lt=1)] = 0.1  # share of the pixels whose gradient counts as strong
    sigma: Annotated[float, Field(ge=0, le=50)] = 1.0  # standard deviation of the blur, in pixels of 224
    width: Annotated[float, Field(gt=0, le=50)] = 1.0  # of the lines, in pixels of 224

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"density": 0.03, "sigma": 2, "width": 2})

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        width = max(1, round(in_pixels(self.width, batch.pixels)))
        drawn = each(smooth(batch.pixels, self.sigma), lambda plane: 1 - lines(plane, self.density, width))
        return batch.with_pixels(shown(drawn))


@perturbations.register("silhouette", version=1)
@dataclass(frozen=True, kw_only=True)
class Silhouette:
    """Fill one side of the best luminance threshold with black, the other with white.

    Measures recognition by outline. The luma, in 8 bits, is blurred by a Gaussian of `sigma` and split by
    Otsu's threshold; black is the side that less of the border belongs to, which is the object where it is
    brighter or darker than what surrounds it. For other photographs it is a stencil and no object's outline.
    Lengths are for images of 224 pixels and scale with their shorter side. Records `filled`, the share of
    the pixels that is black, in [0, 1].

    Own: silhouettes from luminance alone; they are not the hand-made ones of shape-bias studies.
    """

    sigma: Annotated[float, Field(ge=0, le=50)] = 2.0  # standard deviation of the blur, in pixels of 224

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"sigma": 6})

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        drawn = each(smooth(batch.pixels, self.sigma), lambda plane: 1 - figure(plane))
        filled = (1 - drawn).flatten(1).double().mean(1).float()
        return batch.with_pixels(shown(drawn), filled=filled)


@perturbations.register("mask_silhouette", version=1)
@dataclass(frozen=True, kw_only=True)
class MaskSilhouette:
    """Show where the object is in black, and the rest in white.

    Measures recognition by outline. The object is where `inputs["mask"]`, (b, h, w), is at least one half, as
    `masks.boxes` and `masks.file` make it. Records `filled`, the share of the pixels that is black, in
    [0, 1].

    Raises BadParameter when the mask is missing or not of the pixels' size, DataError when it holds a number
    that is not finite.

    Own: silhouettes from given masks; those of shape-bias studies were made by hand.
    """

    wants: ClassVar[tuple[str, ...]] = ("mask",)
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        mask = batch.inputs.get("mask")
        expected = (len(batch), *batch.pixels.shape[2:])
        if mask is None or tuple(mask.shape) != expected:
            got = "none" if mask is None else str(tuple(mask.shape))
            raise BadParameter(
                f"style.mask_silhouette: expected an input mask of shape {expected}, got {got}; name a "
                "preparation such as masks.boxes in the suite: `inputs: {mask: NAME}`"
            )
        bad = ~mask.isfinite().flatten(1).all(1)
        if bad.any():
            image = batch.ids[int(bad.nonzero()[0])]
            raise DataError(f"style.mask_silhouette: the mask of image {image!r} holds NaN or infinity")
        drawn = (mask < 0.5).float().to(batch.pixels.device)
        filled = (1 - drawn).flatten(1).double().mean(1).float()
        return batch.with_pixels(shown(drawn[:, None]), filled=filled)


@perturbations.register("cartoon", version=1)
@dataclass(frozen=True, kw_only=True)
class Cartoon:
    """Paint the image in flat colours with dark outlines.

    Measures whether objects are known without texture. A bilateral filter (5 passes over 7 pixels) flattens
    surfaces and keeps edges, the lightness is brought to `levels` evenly spaced steps with its colour kept,
    and pixels that are darker than their surroundings become outlines. The more flattened the fewer levels.
    The filter's size scales with the shorter side of an image (7 pixels at 224, at least 3).

    Own: bilateral abstraction with quantised lightness.
    """

    levels: Annotated[int, Field(ge=2, le=64)] = 6  # how many steps of lightness there are
    outline: Annotated[float, Field(ge=0, le=1)] = 0.8  # darkness of the outlines; 0 draws none

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"levels": 3, "outline": 0})

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        import torch

        images = batch.pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        size = max(3, round(in_pixels(7, batch.pixels)) | 1)
        done = np.stack([self._painted(image, size) for image in images])
        pixels = torch.from_numpy(done).permute(0, 3, 1, 2).contiguous().clamp_(0, 1)
        return batch.with_pixels(pixels.to(batch.pixels.device))

    def _painted(self, image: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        """One image (h, w, 3)."""
        import cv2

        flat = image
        for _ in range(5):
            flat = np.asarray(cv2.bilateralFilter(flat, size, 0.12, size / 2), np.float32)
        lab = cv2.cvtColor(flat, cv2.COLOR_RGB2LAB)
        step = 100 / (self.levels - 1)
        lab[..., 0] = np.round(lab[..., 0] / step) * step
        painted = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
        luma = cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY)
        darker = cv2.GaussianBlur(luma, (0, 0), size / 3, borderType=cv2.BORDER_REFLECT) - luma
        ink = self.outline * np.clip((darker - 0.02) / 0.06, 0, 1)
        return np.asarray(painted * (1 - ink[..., None]), np.float32)
