"""Small pictures of a few images, clean and under a condition, for the page; without a model."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robobench.engine.frames import Frames, open_frames
from robobench.engine.pictures import pictures
from robobench.engine.resolve import Resolved
from robobench.engine.sets import DataSet
from robobench.errors import RobobenchError
from robobench.registry import find_step
from robobench.suite.suite import BASE
from robobench.types import Condition

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SIDES = (112, 96, 80, 64, 48)  # pixels of the longer side: the largest with which all stay below ...
MOST = 300_000  # ... so many characters; twelve pairs of 48 pixels always do

Wanted = tuple[str, str]  # an image and a condition
Pixels = NDArray[np.uint8]


def credit(resolved: Resolved, asked: bool) -> str | None:
    """Under what licence the images of a run may be shown, and whose they are; None where they may not be.

    A source that knows says so by `showable`; one that is silent may be shown only when that is asked for.
    """
    known = str(getattr(resolved.data[BASE].source, "showable", ""))
    return known or ("shown because the run was told to (--show-images)" if asked else None)


def thumbnails(resolved: Resolved, wanted: Iterable[Wanted], cache: Path | None) -> Mapping[Wanted, str]:
    """PNGs in base64 of images under conditions; larger ones are made smaller, all by one longer side.

    Left out is what cannot be decoded or made, what depends on a model (attacks, interventions, prepared
    inputs, `view: native`), and what shows something of other files, whose licence nobody knows here.
    """
    found = dict(_made(resolved, list(wanted), cache))
    for side in SIDES:
        texts = {key: _png(pixels, side) for key, pixels in found.items()}
        if sum(map(len, texts.values())) <= MOST:
            return texts
    return {}


def _made(
    resolved: Resolved, wanted: Sequence[Wanted], cache: Path | None
) -> Iterator[tuple[Wanted, Pixels]]:
    conditions = {c.name: c for c in resolved.conditions}
    opened: dict[str, Frames] = {}
    for image, name in wanted:
        condition = conditions[name]
        data = resolved.data[condition.data]
        if data.view is None or not _free(condition, data, resolved.data[BASE]):
            continue
        if data.name not in opened:
            opened[data.name] = open_frames(data, data.view, cache)
        with suppress(RobobenchError, RuntimeError, ValueError, OSError):
            shown = pictures(data, opened[data.name], [condition], [image], seed=resolved.suite.seed)
            for _, _, after in shown:
                yield (image, name), _eight_bits(after.pixels[0])


def _free(condition: Condition, data: DataSet, base: DataSet) -> bool:
    """Whether a condition shows what the base's licence covers, and needs no model for it."""
    if getattr(data.source, "showable", "") != getattr(base.source, "showable", ""):
        return False
    steps = condition.steps
    if any(s.kind != "perturbation" or s.inputs or hasattr(find_step(s.name).cls, "revision") for s in steps):
        return False
    return condition.worst_of == 1


def _eight_bits(pixels: Tensor) -> Pixels:
    """(3, h, w) in [0, 1] -> (h, w, 3)."""
    values = (pixels.clamp(0, 1) * 255).round().permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(values.astype(np.uint8))


def _png(pixels: Pixels, side: int) -> str:
    from PIL import Image

    picture = Image.fromarray(pixels)
    if max(picture.size) > side:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    with BytesIO() as file:
        picture.save(file, "PNG", optimize=True)
        return base64.b64encode(file.getvalue()).decode()
