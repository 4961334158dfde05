"""Plasma: the clouds of ImageNet-C's fog, made by midpoint displacement (diamond-square) on a torus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.float32]

_START = 100.0  # the amplitude of the first displacement, before it is squared


def plasma_side(height: int, width: int) -> int:
    """The side of the map that covers an image: the next power of two, at least 2."""
    return max(2, 1 << (max(height, width) - 1).bit_length())


def plasma(uniform: Maps, decay: float) -> Maps:
    """Height maps (b, side, side) in [0, 1], their least value 0 and their greatest 1.

    uniform: (b, side, side) in [0, 1), side a power of two; the number at a place displaces the height
    there. decay: what the amplitude is divided by when the grid is halved; it enters squared, once as the
    scale and once as the bounds of the displacement, as in the published code.
    """
    displacement = uniform * np.float32(2) - np.float32(1)
    step, amplitude = uniform.shape[-1], _START
    heights = np.zeros((len(uniform), 1, 1), np.float32)
    while step >= 2:
        heights = _refined(heights, displacement, step, np.float32(amplitude**2))
        step, amplitude = step // 2, amplitude / decay
    heights -= heights.min((1, 2), keepdims=True)
    heights /= np.maximum(heights.max((1, 2), keepdims=True), np.float32(1e-12))
    return heights


def _refined(corners: Maps, displacement: Maps, step: int, scale: np.float32) -> Maps:
    """Heights on a grid twice as fine: first the middles of its squares, then those of their edges."""
    b, n, half = len(corners), corners.shape[-1], step // 2
    on, between = slice(None, None, step), slice(half, None, step)
    # with the row and the column that lie across the border
    around = np.empty((b, n + 1, n + 1), np.float32)
    around[:, :n, :n] = corners
    around[:, n, :n] = corners[:, 0]
    around[:, :, n] = around[:, :, 0]
    middles = np.empty((b, n + 1, n + 1), np.float32)
    finer = np.empty((b, 2 * n, 2 * n), np.float32)
    finer[:, ::2, ::2] = corners

    beside = around[:, :, :n] + around[:, :, 1:]
    squares = beside[:, :n] + beside[:, 1:]
    squares *= np.float32(0.25)
    squares += displacement[:, between, between] * scale
    finer[:, 1::2, 1::2] = middles[:, 1:, 1:] = squares
    middles[:, 0, 1:], middles[:, 1:, 0] = squares[:, -1], squares[:, :, -1]

    across = beside[:, :n]
    across += squares
    across += middles[:, :n, 1:]
    across *= np.float32(0.25)
    across += displacement[:, on, between] * scale
    finer[:, ::2, 1::2] = across

    down = around[:, :n, :n] + around[:, 1:, :n]
    down += squares
    down += middles[:, 1:, :n]
    down *= np.float32(0.25)
    down += displacement[:, between, on] * scale
    finer[:, 1::2, ::2] = down
    return finer
