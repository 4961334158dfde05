"""A preview as one picture: a row for each ladder and image, a column for each level."""

from __future__ import annotations

import math
from io import BytesIO
from typing import TYPE_CHECKING, Any

from robobench.checks.preview import Pixels, Preview, Strip, Tile

if TYPE_CHECKING:
    from PIL import Image as PilImage

_PAD = 6
_LINE = 14  # height of a line of text
_HEAD = 44  # title
_INK, _FAINT, _PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)
_WIDEST = 10  # levels in a row; longer ladders go on below


def contact_sheet(shown: Preview, tile: int = 128) -> bytes:
    """The sheet as a PNG. `tile`: side of a picture in pixels; smaller images are enlarged in whole steps."""
    from PIL import Image, ImageDraw

    columns = 1 + min(max(len(s.levels) for s in shown.strips), _WIDEST)
    rows = [(strip, start) for strip in shown.strips for start in range(0, len(strip.levels), _WIDEST)]
    block = 2 * _LINE + len(shown.images) * (tile + _LINE + _PAD) + _PAD
    width = max(columns * (tile + _PAD) + _PAD, 640)
    sheet = Image.new("RGB", (width, _HEAD + len(rows) * block + _PAD), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_PAD, 8), shown.title, 18, _INK, width)
    for place, (strip, start) in enumerate(rows):
        _block(sheet, draw, shown, strip, start, _HEAD + place * block, tile)
    with BytesIO() as file:
        sheet.save(file, "PNG", optimize=True)
        return file.getvalue()


def caption(strip: Strip, level: int, tile: Tile) -> str:
    """What stands below a picture: the level, and how far it is from the clean image.

    >>> import numpy as np
    >>> strip = Strip("fog", "corruption.fog", "severity", ("1", "2"), ())
    >>> caption(strip, 1, Tile(np.zeros((1, 1, 3), np.uint8), 21.34, 0.741))
    'severity 2 · 21.3 dB · 0.74'
    """
    parts = [f"{strip.along} {strip.levels[level]}"] if strip.along else []
    if not math.isnan(tile.psnr):
        parts.append("unchanged" if math.isinf(tile.psnr) else f"{tile.psnr:.1f} dB")
    if not math.isnan(tile.ssim) and not math.isinf(tile.psnr):
        parts.append(f"{tile.ssim:.2f}")
    return " · ".join(parts)


def _block(
    sheet: PilImage.Image, draw: Any, shown: Preview, strip: Strip, start: int, top: int, side: int
) -> None:
    _write(draw, (_PAD, top), strip.name, 13, _INK, sheet.width)
    if strip.steps != strip.name:
        _write(draw, (_PAD, top + _LINE), strip.steps, 11, _FAINT, sheet.width)
    levels = range(start, min(start + _WIDEST, len(strip.levels)))
    for row in range(len(shown.images)):
        y = top + 2 * _LINE + row * (side + _LINE + _PAD)
        cells = [(shown.clean[row], "clean")] if strip.paired else []
        cells += [(strip.tiles[n][row], caption(strip, n, strip.tiles[n][row])) for n in levels]
        for column, (tile, text) in enumerate(cells):
            x = _PAD + column * (side + _PAD)
            picture = _fitted(tile.pixels, side)
            sheet.paste(picture, (x + (side - picture.width) // 2, y + (side - picture.height) // 2))
            _write(draw, (x, y + side + 1), text, 10, _FAINT, side)


def _fitted(pixels: Pixels, side: int) -> PilImage.Image:
    """A picture that fits a square: shrunk smoothly, or enlarged in whole steps so that pixels show."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    longest = max(picture.size)
    if longest > side:
        scale = side / longest
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        return picture.resize(size, Image.Resampling.LANCZOS)
    steps = side // longest
    return picture.resize((picture.width * steps, picture.height * steps), Image.Resampling.NEAREST)


def _write(
    draw: Any, at: tuple[int, int], text: str, size: int, ink: tuple[int, int, int], width: int
) -> None:
    """A line of text, cut to its width."""
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    shown = "".join(c if c.isprintable() else "?" for c in text)
    if draw.textlength(shown, font=font) > width:
        while shown and draw.textlength(shown + "...", font=font) > width:
            shown = shown[:-1]
        shown += "..."
    draw.text(at, shown, fill=ink, font=font)
