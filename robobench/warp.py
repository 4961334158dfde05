"""Images resampled at other places: bilinear, per image, equal on every device to float32 rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from robobench.filters import places

if TYPE_CHECKING:
    from torch import Tensor

Beyond = Literal["nearest", "reflect", "mirror", "zero"]


def sample(pixels: Tensor, rows: Tensor, columns: Tensor, *, border: Beyond = "zero") -> Tensor:
    """Pixels (b, c, h, w) read at fractional places, (b, c, *out) for rows and columns of (b, *out).

    rows, columns: float32 in pixels, 0 being the middle of the first one; (h', w') or (b, h', w').
    Values between pixels are interpolated bilinearly. border: what is beyond the image, see
    `robobench.filters`; with `zero` the outermost half pixel fades to black.
    """
    import torch

    b = pixels.shape[0]
    rows, columns = (v.expand(b, *v.shape[-2:]).float() for v in (rows, columns))
    if pixels.device.type != "cpu":
        return _gathered(pixels, rows, columns, border)
    import cv2

    around = _around(border)
    out = torch.empty(*pixels.shape[:2], *rows.shape[1:], dtype=torch.float32)
    for image, down, across, into in zip(pixels, rows, columns, out, strict=True):
        y, x = down.contiguous().numpy(), across.contiguous().numpy()
        for plane, to in zip(image, into, strict=True):
            given = plane.contiguous().numpy()
            cv2.remap(given, x, y, cv2.INTER_LINEAR, dst=to.numpy(), borderMode=around)
    return out


def affine(
    pixels: Tensor, matrices: Tensor, *, border: Beyond = "zero", size: tuple[int, int] | None = None
) -> Tensor:
    """Pixels (b, c, h, w) under affine maps.

    matrices: (2, 3) or (b, 2, 3); each takes an output place (x, y, 1), in pixels, to the place (x, y) it
    is read from. size: height and width of the result, those of the images when not given.
    """
    import torch

    height, width = size or (int(pixels.shape[2]), int(pixels.shape[3]))
    if pixels.device.type == "cpu":
        return _by_opencv("warpAffine", pixels, matrices, border, (height, width))
    m = matrices.to(pixels.device, torch.float64).expand(pixels.shape[0], 2, 3)[..., None, None]
    y = torch.arange(height, device=pixels.device, dtype=torch.float64)[:, None]
    x = torch.arange(width, device=pixels.device, dtype=torch.float64)[None, :]
    columns, rows = (m[:, i, 0] * x + m[:, i, 1] * y + m[:, i, 2] for i in (0, 1))
    return sample(pixels, rows.float(), columns.float(), border=border)


def projective(pixels: Tensor, matrices: Tensor, *, border: Beyond = "zero") -> Tensor:
    """Pixels (b, c, h, w) under projective maps.

    matrices: (3, 3) or (b, 3, 3); each takes an output place (x, y, 1), in pixels, to (x, y, 1) times a depth
    above 0, where (x, y) is the place it is read from.
    """
    import torch

    height, width = int(pixels.shape[2]), int(pixels.shape[3])
    if pixels.device.type == "cpu":
        return _by_opencv("warpPerspective", pixels, matrices, border, (height, width))
    m = matrices.to(pixels.device, torch.float64).expand(pixels.shape[0], 3, 3)[..., None, None]
    y = torch.arange(height, device=pixels.device, dtype=torch.float64)[:, None]
    x = torch.arange(width, device=pixels.device, dtype=torch.float64)[None, :]
    columns, rows, depth = (m[:, i, 0] * x + m[:, i, 1] * y + m[:, i, 2] for i in range(3))
    return sample(pixels, (rows / depth).float(), (columns / depth).float(), border=border)


def _by_opencv(warp: str, pixels: Tensor, matrices: Tensor, border: Beyond, size: tuple[int, int]) -> Tensor:
    """Planes under OpenCV's own warp, which works out the places as it goes."""
    import cv2
    import torch

    apply, flags = getattr(cv2, warp), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    around = _around(border)
    maps = matrices.double().expand(pixels.shape[0], *matrices.shape[-2:]).numpy()
    out = torch.empty(*pixels.shape[:2], *size, dtype=torch.float32)
    for image, matrix, into in zip(pixels, maps, out, strict=True):
        for plane, to in zip(image, into, strict=True):
            given = plane.contiguous().numpy()
            apply(given, matrix, size[::-1], dst=to.numpy(), flags=flags, borderMode=around)
    return out


def _around(border: Beyond) -> int:
    """OpenCV's number for a border."""
    import cv2

    names = {"nearest": "REPLICATE", "reflect": "REFLECT", "mirror": "REFLECT_101", "zero": "CONSTANT"}
    return int(getattr(cv2, f"BORDER_{names[border]}"))


def _gathered(pixels: Tensor, rows: Tensor, columns: Tensor, border: Beyond) -> Tensor:
    """Four neighbours, weighted: what OpenCV's remap computes."""
    import torch

    height, width = int(pixels.shape[2]), int(pixels.shape[3])
    flat = pixels.flatten(2)
    top, left = rows.floor(), columns.floor()
    down, across = rows - top, columns - left
    out = torch.zeros(*pixels.shape[:2], *rows.shape[1:], device=pixels.device)
    for step_y, weight_y in ((0, 1 - down), (1, down)):
        for step_x, weight_x in ((0, 1 - across), (1, across)):
            y, inside_y = _place(top.long() + step_y, height, border)
            x, inside_x = _place(left.long() + step_x, width, border)
            index = (y * width + x).flatten(1)[:, None].expand(-1, flat.shape[1], -1)
            found = flat.gather(2, index).view(out.shape)
            out += found * (weight_y * weight_x * (inside_y & inside_x))[:, None]
    return out


def _place(at: Tensor, side: int, border: Beyond) -> tuple[Tensor, Tensor]:
    """Where a position of a line is found, and whether there is anything."""
    if border == "zero":
        return at.clamp(0, side - 1), (at >= 0) & (at < side)
    span = 4 * side  # a table of where positions lie, for as far as anybody looks
    table = places(-span, side + span, side, border).to(at.device)
    return table[(at + span).clamp(0, len(table) - 1)], at == at


def rotation(angles: Tensor, height: int, width: int) -> Tensor:
    """Affine matrices (b, 2, 3) float64 that turn an image about its middle.

    angles: (b,) in degrees, positive counter-clockwise as the image is seen.
    """
    import torch

    turn = torch.deg2rad(angles.double())
    cos, sin = turn.cos(), turn.sin()
    x, y = (width - 1) / 2, (height - 1) / 2
    return torch.stack(
        [
            torch.stack([cos, -sin, x - cos * x + sin * y], dim=-1),
            torch.stack([sin, cos, y - sin * x - cos * y], dim=-1),
        ],
        dim=-2,
    )


def zoomed_places(side: int, factor: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Where ImageNet's `clipped_zoom` reads each of `side` pixels from, along one axis.

    The middle ceil(side / factor) pixels are enlarged with both ends aligned (scipy.ndimage.zoom, order 1)
    to round(middle * factor) pixels, of which the middle `side` are kept.

    >>> zoomed_places(5, 1.0).tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    middle = int(np.ceil(side / factor))
    start = (side - middle) // 2
    grown = round(middle * factor)
    step = (middle - 1) / (grown - 1) if grown > 1 else 0.0
    trim = (grown - side) // 2
    return start + step * (trim + np.arange(side, dtype=np.float64))
