"""Frost on a window: five textures of our own, or photographs from a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robobench.draws import Draws
from robobench.errors import DataError
from robobench.images import SUFFIXES, decode

if TYPE_CHECKING:
    from torch import Tensor

Plane = NDArray[np.float32]
Numbers = NDArray[np.float64]
Colour = tuple[int, int, int]

COUNT = 5  # how many the published code draws from
_HEIGHT, _WIDTH = 480, 720
_LAYERS = 6  # ferns of a later layer grow over those of an earlier one
_FERN_NUMBERS, _SPINE = 512, 120  # random numbers of a fern, and its greatest number of branches a side
_BARBS = 8  # of a branch, on each side
_CLOUDS = ((160, 0.5), (60, 0.3), (20, 0.15), (6, 0.08))  # cell in pixels and share of each octave


@dataclass(frozen=True)
class _Look:
    """A pane: its colours without and with ice, in 8-bit levels, and how much grows on it."""

    dark: Colour
    light: Colour
    ferns: int
    needles: int


_LOOKS = (
    _Look((40, 96, 120), (226, 242, 248), 36, 5000),
    _Look((140, 152, 174), (250, 252, 255), 60, 9000),
    _Look((128, 146, 172), (248, 250, 255), 90, 3000),
    _Look((74, 94, 118), (232, 240, 248), 48, 12000),
    _Look((30, 42, 60), (226, 234, 244), 72, 6000),
)


@lru_cache(maxsize=4)
def textures(size: float, height: int, width: int) -> tuple[Tensor, ...]:
    """The five generated textures as (3, h, w) uint8.

    size: what they are scaled by; they are enlarged where an image of (height, width) would not fit.
    """
    return tuple(_fitted(texture, size, height, width) for texture in _generated())


@lru_cache(maxsize=4)
def photographs(folder: str, size: float, height: int, width: int) -> tuple[Tensor, ...]:
    """The first five images of a folder in alphabetical order, likewise. Raises DataError."""
    images = (decode(path, f"corruption.frost: {path.name}") for path in first_images(folder))
    return tuple(_fitted(image, size, height, width) for image in images)


def first_images(folder: str) -> list[Path]:
    """The files of those images. Raises DataError for a folder that is missing or holds none."""
    try:
        found = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in SUFFIXES)[:COUNT]
    except OSError as error:
        raise DataError(
            f"corruption.frost: textures: expected a folder of frost photographs, {folder!r} cannot be read "
            f"as one: {error.strerror}"
        ) from error
    if not found:
        raise DataError(
            f"corruption.frost: textures: expected a folder of frost photographs, {folder!r} holds no image; "
            "leave `textures` out for generated ones"
        )
    return found


def _fitted(image: NDArray[np.uint8], size: float, height: int, width: int) -> Tensor:
    """An image (h, w, 3) scaled, bilinearly and without antialiasing as the published code does."""
    import cv2
    import torch

    tall, wide = image.shape[:2]
    scale = max(size, (height + 1) / tall, (width + 1) / wide)
    if scale != 1:
        image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale), np.uint8)
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


@cache
def _generated() -> tuple[NDArray[np.uint8], ...]:
    return tuple(_texture(i, look) for i, look in enumerate(_LOOKS))


def _texture(number: int, look: _Look) -> NDArray[np.uint8]:
    """A frosted pane (h, w, 3): a carpet of needles, feather-like ferns over it, haze and grain."""
    import cv2

    draws = Draws(0, "corruption.frost textures", (str(number),))
    ice = _needles(draws, look.needles) * np.float32(0.45)
    for segments in _fern_layers(draws, look.ferns):
        lines = _drawn(segments)
        body = cv2.GaussianBlur(lines, (0, 0), 1.6)
        covered = np.minimum(1.2 * body, 0.8)
        ice = (ice * (1 - covered) + covered * (0.1 + 0.25 * body) + 0.5 * lines).astype(np.float32)
    clouds = sum(share * _noise(draws, f"clouds {cell}", cell) for cell, share in _CLOUDS)
    clouds = (clouds - np.min(clouds)) / np.ptp(clouds)
    grain = _noise(draws, "grain", 1) - 0.5
    glow = cv2.GaussianBlur(ice, (0, 0), 9)
    soft = cv2.GaussianBlur(ice, (0, 0), 0.7)
    relief = np.pad(soft[1:, 1:] - soft[:-1, :-1], ((0, 1), (0, 1)))  # lit from one corner
    amount = 0.22 * clouds + 0.5 * ice + 0.28 * glow + 0.1 * grain * (0.3 + clouds) + 0.45 * relief
    dark, light = np.array(look.dark), np.array(look.light)
    return np.asarray(dark + (light - dark) * np.clip(amount, 0, 1)[..., None] + 0.5, np.uint8)


def _numbers(draws: Draws, name: str, *shape: int) -> Numbers:
    return np.asarray(draws.uniform(name, *shape)[0].double().numpy(), np.float64)


def _noise(draws: Draws, name: str, cell: int) -> Plane:
    """Smooth noise over the pane, with one number about every `cell` pixels."""
    import cv2

    rows, columns = (-(-side // cell) + 3 for side in (_HEIGHT, _WIDTH))
    grid = _numbers(draws, name, rows, columns).astype(np.float32)
    large = cv2.resize(grid, (columns * cell, rows * cell), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large[cell : cell + _HEIGHT, cell : cell + _WIDTH], np.float32)


def _needles(draws: Draws, count: int) -> Plane:
    """Short straight crystals in three directions that turn slowly over the pane."""
    drawn = _numbers(draws, "needles", count, 4)
    places = drawn[:, :2] * (_WIDTH - 1, _HEIGHT - 1)
    flow = _noise(draws, "flow", 140) * 2 * np.pi
    columns, rows = places.astype(int).T
    headings = flow[rows, columns] + (np.floor(drawn[:, 3] * 3) - 1) * np.pi / 3
    return _drawn(_segments(places, headings, 4 + 34 * drawn[:, 2] ** 3))


def _fern_layers(draws: Draws, count: int) -> Sequence[Numbers]:
    """The lines of all ferns, (n, 2, 2) for each layer. Later ferns are smaller."""
    drawn = _numbers(draws, "ferns", count, 4)
    inner = _numbers(draws, "branches", count, _FERN_NUMBERS)
    ferns = [
        _fern(
            inner[i],
            drawn[i, :2] * (_WIDTH, _HEIGHT),
            2 * np.pi * drawn[i, 3],
            (70 + 330 * drawn[i, 2]) * (1 - 0.6 * i / count),
        )
        for i in range(count)
    ]
    return [np.concatenate(ferns[layer::_LAYERS]) for layer in range(_LAYERS)]


def _fern(numbers: Numbers, start: Numbers, heading: float, length: float) -> Numbers:
    """The lines of a feather: a bent spine, branches on both sides of it, barbs on both sides of those."""
    bend, opening, breadth = numbers[:3]
    wobble, left, right, tilt = numbers[8 : 8 + 4 * _SPINE].reshape(4, _SPINE)
    count = max(8, int(length / 4))
    along = np.arange(count) / count
    headings = heading + (bend - 0.5) * 2.4 * along**1.3 + (wobble[:count] - 0.5) * 0.1
    spine = start + np.cumsum(_towards(headings) * length / count, axis=0)
    spread = 0.7 + 0.35 * opening
    reach = length * (0.1 + 0.16 * breadth) * np.minimum((1 - along) ** 0.7, 4 * (along + 1 / count))
    lines = [_segments(spine, headings, np.full(count, length / count))]
    out = (np.arange(_BARBS) + 0.5) / _BARBS
    for side, uneven in ((-1, left), (1, right)):
        long = reach * (0.45 + 1.1 * uneven[:count])
        branching = headings + side * (spread + 0.2 * (tilt[:count] - 0.5))
        lines.append(_segments(spine, branching, long))
        roots = spine[:, None] + _towards(branching)[:, None] * (long[:, None] * out)[..., None]
        barbs = 0.26 * long[:, None] * (1 - out) + 0.5
        for turn in (-spread, spread):
            lines.append(_segments(roots, np.repeat(branching[:, None] + turn, _BARBS, axis=1), barbs))
    return np.concatenate(lines)


def _towards(headings: Numbers) -> Numbers:
    return np.stack([np.cos(headings), np.sin(headings)], axis=-1)


def _segments(starts: Numbers, headings: Numbers, lengths: Numbers) -> Numbers:
    """Lines (n, 2, 2) from places (..., 2) on."""
    return np.stack([starts, starts + _towards(headings) * lengths[..., None]], axis=-2).reshape(-1, 2, 2)


def _drawn(segments: Numbers) -> Plane:
    """White lines, one pixel wide and a little soft, on black."""
    import cv2

    canvas = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    places = np.round(segments * 16).astype(np.int32)  # in sixteenths of a pixel
    cv2.polylines(canvas, list(places), False, 255, 1, cv2.LINE_8, 4)
    return np.asarray(cv2.GaussianBlur(canvas, (3, 3), 0.6).astype(np.float32) / 255)
