"""What the renderings share: single grey planes, worked on one by one, and lengths that scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robobench import filters
from robobench.colour import grey

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 224  # lengths are given for images of this size and scale with the shorter side
Plane = NDArray[np.float32]


def in_pixels(length: float, pixels: Tensor) -> float:
    """A length given for images of 224 pixels, in images of this size."""
    return length * min(int(pixels.shape[2]), int(pixels.shape[3])) / SIDE


def smooth(pixels: Tensor, sigma: float) -> Tensor:
    """The luma (b, 1, h, w) under a Gaussian blur, sigma being a length for 224 pixels."""
    return filters.gaussian(grey(pixels), in_pixels(sigma, pixels), border="reflect")


def each(planes: Tensor, draw: Callable[[Plane], Plane]) -> Tensor:
    """What `draw` makes of every plane of (b, 1, h, w), alone and on the CPU."""
    import torch

    done = [np.asarray(draw(plane[0]), np.float32) for plane in planes.cpu().contiguous().numpy()]
    return torch.from_numpy(np.stack(done))[:, None].to(planes.device)


def shown(plane: Tensor) -> Tensor:
    """Grey (b, 1, h, w) as three equal channels."""
    return plane.expand(-1, 3, -1, -1).contiguous()


def lines(plane: Plane, density: float, width: int) -> Plane:
    """1 on the Canny edges of a plane, which `density` of its gradients are strong enough to begin."""
    import cv2

    levels = np.round(plane * 255).astype(np.uint8)
    down, across = (cv2.Sobel(levels, cv2.CV_16S, x, 1 - x, borderType=cv2.BORDER_REFLECT) for x in (0, 1))
    size = np.hypot(down.astype(np.float32), across.astype(np.float32))
    strong = float(np.quantile(size, 1 - density))
    found = cv2.Canny(across, down, 0.4 * strong, max(strong, 1.0), L2gradient=True)
    if width > 1:
        found = cv2.dilate(found, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))
    return np.asarray(found > 0, np.float32)


def figure(plane: Plane) -> Plane:
    """1 on the side of Otsu's threshold that less of the border belongs to."""
    import cv2

    levels = np.round(plane * 255).astype(np.uint8)
    _, split = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    border = np.concatenate([split[0], split[-1], split[1:-1, 0], split[1:-1, -1]])
    bright_border = 2 * int(border.sum()) > border.size
    return np.asarray(1 - split if bright_border else split, np.float32)
