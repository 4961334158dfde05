"""Small image files and class-folder trees, made anew by each test that wants them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def picture(height: int = 12, width: int = 9, seed: int = 0) -> NDArray[np.uint8]:
    """Random RGB pixels (h, w, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: NDArray[np.generic] | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """An image as the bytes of a file."""
    pil = image if isinstance(image, Image.Image) else Image.fromarray(image)
    with BytesIO() as file:
        pil.save(file, kind, **options)
        return file.getvalue()


def class_tree(root: Path, folders: Iterable[str], images: int = 2, age: int = 3600) -> Path:
    """A folder per class, each with `images` different PNG files, written `age` seconds ago."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for k in range(images):
            write_old(root / folder / f"{k}.png", encoded(picture(seed=1000 * number + k)), age)
    return root


def write_old(path: Path, content: bytes, age: int = 3600) -> None:
    """A file that was last changed `age` seconds ago: old enough for its digest to be remembered."""
    path.write_bytes(content)
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))
