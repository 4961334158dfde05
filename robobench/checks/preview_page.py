"""A preview as a page of its own: a slider for each ladder, all pictures inside the file."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

from robobench.checks.contact_sheet import caption
from robobench.checks.preview import Pixels, Preview

_SMALL = 64  # up to this side pictures are stored exactly


def preview_page(shown: Preview) -> str:
    """HTML that asks nobody for anything; without JavaScript every level is shown side by side."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("robobench.checks", "site"), autoescape=True, undefined=StrictUndefined
    )
    strips = [
        {
            "name": strip.name,
            "steps": strip.steps,
            "along": strip.along or "",
            "levels": strip.levels,
            "alike": strip.alike,
            "paired": strip.paired,
            "rows": [
                [
                    {"src": picture(level[row].pixels), "text": caption(strip, n, level[row])}
                    for n, level in enumerate(strip.tiles)
                ]
                for row in range(len(shown.images))
            ],
        }
        for strip in shown.strips
    ]
    clean = [
        {"src": picture(t.pixels), "name": name} for t, name in zip(shown.clean, shown.images, strict=True)
    ]
    values: dict[str, Any] = {"preview": shown, "strips": strips, "clean": clean}
    return environment.get_template("preview.html.j2").render(values)


def picture(pixels: Pixels) -> str:
    """A picture as a data URL: PNG when small, else WebP."""
    from PIL import Image

    small = max(pixels.shape[:2]) <= _SMALL
    with BytesIO() as file:
        image = Image.fromarray(pixels)
        image.save(file, "PNG", optimize=True) if small else image.save(file, "WEBP", quality=88)
        data = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{'png' if small else 'webp'};base64,{data}"
