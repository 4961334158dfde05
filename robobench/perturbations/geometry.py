"""Geometry: the picture is turned, enlarged, moved, sheared or seen at a slant, in a frame that stays.

Places are in pixels, x to the right and y downwards; everything turns about the middle of the image. What
lies beyond the picture is black, mirrored at its edge, or its edge drawn out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.draws import Draws
from robobench.filters import places
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch
from robobench.warp import affine, projective, rotation

if TYPE_CHECKING:
    from torch import Tensor

Beyond = Literal["black", "reflect", "nearest"]
Spread = Literal["within", "either", "exact"]


@perturbations.register("rotate", version=1)
@dataclass(frozen=True, kw_only=True)
class Rotate:
    """Turn the picture about its middle.

    Measures how much a model relies on pictures standing upright. `spread` says what `degrees` is: the
    largest angle, the angle of every image being uniform `within` it to both sides; the size of the angle,
    `either` way by chance; or `exact`ly the angle of all images, positive counter-clockwise. Along
    `degrees` an image keeps its side and its share of the largest angle. Bilinear. Records `angle` in
    degrees.

    Own: the usual test of rotation; its angles and borders are robobench's.
    """

    degrees: Annotated[float, Field(ge=-180, le=180)]  # angle, positive counter-clockwise
    spread: Spread = "within"  # drawn within +-degrees, either + or - degrees, or exactly degrees
    border: Beyond = "black"  # what lies beyond the picture

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"degrees": 30.0},
        {"degrees": 90.0, "spread": "either", "border": "reflect"},
        {"degrees": -45.0, "spread": "exact", "border": "nearest"},
        {"degrees": 0.0},
    )

    @property
    def identity(self) -> bool:
        """No image is turned."""
        return self.degrees == 0

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        angle = self.degrees * _share(batch, draws, "angle", self.spread)
        if self.identity:
            return batch.with_pixels(batch.pixels, angle=angle)
        maps = rotation(angle, *batch.pixels.shape[2:])
        return batch.with_pixels(warped(batch.pixels, maps, self.border), angle=angle)


@perturbations.register("scale", version=1)
@dataclass(frozen=True, kw_only=True)
class Scale:
    """Enlarge or shrink the picture about its middle.

    Measures how much a model relies on the size of things. With `within`, the logarithm of every image's
    factor is uniform between those of 1 / factor and factor; with `either`, an image is enlarged or shrunk by
    `factor`, by chance; with `exact`, all are scaled by it: above 1 they grow. Bilinear, without smoothing
    before a picture shrinks. Records `scale`, the factor.

    Own: the usual test of scale; its factors and borders are robobench's.
    """

    factor: Annotated[float, Field(ge=0.25, le=4)]  # how many times larger; 1 changes nothing
    spread: Spread = "within"  # drawn within 1/factor ... factor, either of the two, or exactly factor
    border: Beyond = "black"  # what lies beyond the picture

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"factor": 1.5},
        {"factor": 2.0, "spread": "either", "border": "nearest"},
        {"factor": 0.5, "spread": "exact", "border": "reflect"},
        {"factor": 1.0},
    )

    @property
    def identity(self) -> bool:
        """No image is scaled."""
        return self.factor == 1

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        import torch

        factor = torch.as_tensor(self.factor).pow(_share(batch, draws, "factor", self.spread))
        if self.identity:
            return batch.with_pixels(batch.pixels, scale=factor)
        found = warped(batch.pixels, scaling(factor, *batch.pixels.shape[2:]), self.border)
        return batch.with_pixels(found, scale=factor)


@perturbations.register("translate", version=1)
@dataclass(frozen=True, kw_only=True)
class Translate:
    """Move the picture to the side.

    Measures whether an answer depends on where in the frame a picture lies. `shift` is a share of the width
    across and of the height down: the largest shift, each of the two drawn uniformly `within` it to both
    sides; its size, each `either` way by chance; or `exact`ly the shift of all images, to the right and
    down. Shifts are rounded to whole pixels, so that nothing is blurred. Records `shift_x` and `shift_y` in
    pixels, positive to the right and down.

    Own: the usual test of translation; its shifts and borders are robobench's.
    """

    shift: Annotated[float, Field(ge=-1, le=1)]  # share of the side, positive to the right and down
    spread: Spread = "within"  # drawn within +-shift, either + or - shift, or exactly shift
    border: Beyond = "black"  # what lies beyond the picture

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"shift": 0.4},
        {"shift": 0.25, "spread": "either", "border": "reflect"},
        {"shift": -0.5, "spread": "exact", "border": "nearest"},
        {"shift": 0.0},
    )

    @property
    def identity(self) -> bool:
        """No image is moved."""
        return self.shift == 0

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        height, width = batch.pixels.shape[2:]
        across = (self.shift * width * _share(batch, draws, "across", self.spread)).round()
        down = (self.shift * height * _share(batch, draws, "down", self.spread)).round()
        if self.identity:
            return batch.with_pixels(batch.pixels, shift_x=across, shift_y=down)
        found = moved(batch.pixels, down, across, self.border)
        return batch.with_pixels(found, shift_x=across, shift_y=down)


@perturbations.register("shear", version=1)
@dataclass(frozen=True, kw_only=True)
class Shear:
    """Slant the picture: its rows move sideways, the more the farther they are from the middle.

    Measures how much a model relies on right angles. `degrees` is the angle by which upright lines lean,
    positive to the right; `spread` says whether it is the largest angle, each image's being uniform `within`
    it to both sides, the size of the angle, `either` way by chance, or `exact`ly the angle of all images.
    Bilinear. Records `angle` in degrees.

    Own: the usual test of shear; its angles and borders are robobench's.
    """

    degrees: Annotated[float, Field(ge=-75, le=75)]  # lean of upright lines, positive to the right
    spread: Spread = "within"  # drawn within +-degrees, either + or - degrees, or exactly degrees
    border: Beyond = "black"  # what lies beyond the picture

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"degrees": 30.0},
        {"degrees": 20.0, "spread": "either", "border": "reflect"},
        {"degrees": -45.0, "spread": "exact", "border": "nearest"},
        {"degrees": 0.0},
    )

    @property
    def identity(self) -> bool:
        """No image is slanted."""
        return self.degrees == 0

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        import torch

        angle = self.degrees * _share(batch, draws, "angle", self.spread)
        if self.identity:
            return batch.with_pixels(batch.pixels, angle=angle)
        lean = torch.deg2rad(angle.double()).tan()
        middle = (batch.pixels.shape[2] - 1) / 2
        maps = torch.eye(3, dtype=torch.float64, device=lean.device)[:2].repeat(len(batch), 1, 1)
        maps[:, 0, 1], maps[:, 0, 2] = lean, -lean * middle
        return batch.with_pixels(warped(batch.pixels, maps, self.border), angle=angle)


@perturbations.register("perspective", version=1)
@dataclass(frozen=True, kw_only=True)
class Perspective:
    """Look at the picture at a slant, as at a print that is tilted away from the camera.

    Measures robustness to the point of view as far as a flat picture shows it. The picture is turned in
    space about its upright and its level middle line and projected by a camera whose distance and focal
    length are the picture's diagonal. `spread` says what `degrees` is: the largest angle, each of the two
    drawn uniformly `within` it to both sides; the size of both, each `either` way by chance; or `exact`ly
    both. A positive `yaw` takes the right edge away, a positive `pitch` the lower edge. Bilinear.
    Records the angles `yaw` and `pitch` in degrees.

    Own: the projection is that of the `tilt` sequences of ImageNet-P (Hendrycks & Dietterich, ICLR 2019),
    where the two angles are equal; drawing them is robobench's.
    """

    degrees: Annotated[float, Field(ge=-75, le=75)]  # angle about each of the two axes
    spread: Spread = "within"  # drawn within +-degrees, either + or - degrees, or exactly degrees
    border: Beyond = "black"  # what lies beyond the picture

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"degrees": 30.0},
        {"degrees": 20.0, "spread": "either", "border": "reflect"},
        {"degrees": -45.0, "spread": "exact", "border": "nearest"},
        {"degrees": 0.0},
    )

    @property
    def identity(self) -> bool:
        """No image is tilted."""
        return self.degrees == 0

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        yaw = self.degrees * _share(batch, draws, "yaw", self.spread)
        pitch = self.degrees * _share(batch, draws, "pitch", self.spread)
        if self.identity:
            return batch.with_pixels(batch.pixels, yaw=yaw, pitch=pitch)
        height, width = (int(side) for side in batch.pixels.shape[2:])
        middle = (height - 1) / 2, (width - 1) / 2
        maps = tilting(yaw, pitch, focal=math.hypot(height, width), middle=middle)
        return batch.with_pixels(warped(batch.pixels, maps, self.border), yaw=yaw, pitch=pitch)


def _share(batch: ImageBatch, draws: Draws, name: str, spread: Spread) -> Tensor:
    """What share of the strength each image gets, (b,) in [-1, 1]."""
    if spread == "exact":
        return batch.pixels.new_ones(len(batch))
    share = 2 * draws.uniform(name) - 1
    return share if spread == "within" else share.sign() + share.eq(0)


def warped(pixels: Tensor, maps: Tensor, border: Beyond) -> Tensor:
    """Pixels under maps from places in the result to places in the picture.

    maps: (b, 2, 3) affine or (b, 3, 3) projective, or one for all without the b.
    """
    warp = affine if maps.shape[-2] == 2 else projective
    return warp(pixels, maps, border="zero" if border == "black" else border).clamp_(0.0, 1.0)


def scaling(factor: Tensor, height: int, width: int) -> Tensor:
    """Affine maps (b, 2, 3) that enlarge by `factor` (b,) about the middle."""
    import torch

    inverse = 1 / factor.double()
    maps = torch.zeros(len(inverse), 2, 3, dtype=torch.float64, device=inverse.device)
    for row, side in enumerate((width, height)):
        maps[:, row, row], maps[:, row, 2] = inverse, (1 - inverse) * (side - 1) / 2
    return maps


def moved(pixels: Tensor, down: Tensor, across: Tensor, border: Beyond) -> Tensor:
    """Pixels shifted by whole numbers of rows and columns, (b,) each."""
    import torch

    out = torch.empty_like(pixels)
    for image, into, y, x in zip(pixels, out, down.tolist(), across.tolist(), strict=True):
        into.copy_(_shifted(_shifted(image, int(y), 1, border), int(x), 2, border))
    return out


def _shifted(image: Tensor, by: int, dim: int, border: Beyond) -> Tensor:
    """One image shifted along one of its dimensions."""
    side = image.shape[dim]
    if border != "black":
        return image.index_select(dim, places(-by, side - by, side, border).to(image.device))
    out = image.new_zeros(image.shape)
    kept = max(side - abs(by), 0)
    out.narrow(dim, max(by, 0) if kept else 0, kept).copy_(
        image.narrow(dim, max(-by, 0) if kept else 0, kept)
    )
    return out


def tilting(
    yaw: Tensor, pitch: Tensor, *, focal: float, middle: tuple[float, float], ahead: float = 0.0
) -> Tensor:
    """Projective maps (b, 3, 3) from places in the result to places in a picture that is tilted.

    The picture is turned by `yaw` about the upright and then by `pitch` about the level line through
    `middle` (y, x), in degrees, and seen by a camera at distance `focal`, which is its focal length too. It
    hangs `ahead` pixels behind the lines it is turned about, as seen by the camera.
    """
    import torch

    y, x = middle
    phi, theta = torch.deg2rad(yaw.double()), torch.deg2rad(pitch.double())
    one, nil = torch.ones_like(phi), torch.zeros_like(phi)

    def matrix(*rows: tuple[Tensor, ...]) -> Tensor:
        return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)

    # The place (x, y, ahead) from the middle after the first turn and after the second; then pushed away.
    first = matrix((phi.cos(), nil, -ahead * phi.sin()), (nil, one, nil), (phi.sin(), nil, ahead * phi.cos()))
    second = matrix((one, nil, nil), (nil, theta.cos(), -theta.sin()), (nil, theta.sin(), theta.cos()))
    turned = second @ first
    turned[..., 2, 2] += focal
    camera = matrix((focal * one, nil, x * one), (nil, focal * one, y * one), (nil, nil, one))
    centred = matrix((one, nil, -x * one), (nil, one, -y * one), (nil, nil, one))
    inverse: Tensor = torch.linalg.inv(camera @ turned @ centred)
    return inverse
