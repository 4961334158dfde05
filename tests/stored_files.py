"""Files that belong to images, for tests: saliency maps, masks and boxes in the layouts that are read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

BOX = """<annotation><size><width>{width}</width><height>{height}</height><depth>3</depth></size>
<object><name>thing</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax>
<ymax>{box[3]}</ymax></bndbox></object></annotation>"""


def place(folder: Path, image: str, suffix: str) -> Path:
    """Where the file of an image lies, its folder made."""
    path = (folder / PurePosixPath(image)).with_suffix(suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_stored(root: Path, ids: Iterable[str], side: int) -> None:
    """`maps`, `masks` and `boxes` below a folder, one file for each image, all different."""
    generator = np.random.default_rng(0)
    for number, image in enumerate(ids):
        np.save(place(root / "maps", image, ".npy"), generator.random((side, side), np.float32))
        mask = np.zeros((side, side), np.uint8)
        mask[number : side // 2 + number, : side // 2] = 255
        Image.fromarray(mask).save(place(root / "masks", image, ".png"))
        box = (number, 1, side - 2, side // 2)
        place(root / "boxes", image, ".xml").write_text(BOX.format(width=side, height=side, box=box))
