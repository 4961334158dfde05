"""The most hurt classes and images in words and as what a page may put in: pictures are checked first."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from typing import Literal

from robobench.leaderboard.board import Fall, Gallery, HurtClass
from robobench.leaderboard.text import shown

CLASSES_RULE = (
    "Worst first: the share of a class's images that is right, in %, as a mean over the models with all rows "
    "and over the conditions that have five images or more of every class; classes with fewer clean images "
    "are left out. Brackets are Wilson's intervals for the fewest images that the class has under any of "
    "these conditions."
)
_BEGINNING = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_LONGEST = 400_000  # characters of one picture; a run makes far smaller ones
_SMALL = 64  # pixels; below, single ones may be seen


def picture(png: str) -> str:
    """A PNG in base64 as the source of an image; empty for anything else, whoever wrote the file it is from.

    >>> picture("https://example.org/spy.png"), picture("")
    ('', '')
    """
    return f"data:image/png;base64,{png}" if size(png) else ""


def size(png: str) -> tuple[int, int] | None:
    """Width and height of a PNG in base64, None for anything else."""
    if len(png) > _LONGEST:
        return None
    try:
        data = base64.b64decode(png, validate=True)
    except (binascii.Error, ValueError):
        return None
    if not data.startswith(_BEGINNING) or len(data) < len(_BEGINNING) + 8:
        return None
    width, height = struct.unpack_from(">II", data, len(_BEGINNING))
    return (width, height) if 0 < width < 2**14 and 0 < height < 2**14 else None


def coarse(png: str) -> bool:
    """Whether a picture is so small that it is enlarged with its pixels left as they are."""
    found = size(png)
    return found is not None and max(found) <= _SMALL


def said(fall: Fall, gallery: Gallery) -> str:
    """What becomes of an image in a model.

    >>> gallery = Gallery((), 100, 5, "")
    >>> said(Fall("m", "3", "8", True, 4), gallery)
    '3 → 8, lost under 4 of 5'
    >>> said(Fall("m", "8", "8", False, 0), gallery)
    'wrong when clean: 8'
    """
    if not fall.right:
        return f"wrong when clean: {shown(fall.clean)}"
    return f"{shown(fall.clean)} → {shown(fall.answer)}, lost under {fall.fell} of {gallery.conditions}"


def images_rule(gallery: Gallery) -> str:
    """What the images were chosen by."""
    return (
        f"The {len(gallery.images)} most hurt of {gallery.among:,} images: those with the largest share of "
        f"the {gallery.conditions} conditions on them under which a model loses what it has right clean, "
        "averaged over the models with all rows. Each stands beside itself under the mildest condition under "
        "which more than half of the models lose it; what an attack or another model has a part in is not "
        "pictured."
    )


def images(classes: Sequence[HurtClass], of: Literal["clean", "hurt"]) -> str:
    """How many images classes have, as a column's head."""
    sizes = sorted({getattr(c, of).n for c in classes})
    return f"n = {sizes[0]}" if len(sizes) == 1 else f"n = {sizes[0]}–{sizes[-1]}"
