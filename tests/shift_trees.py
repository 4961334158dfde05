"""Published layouts in miniature: images whose colour says what a fake model is to answer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.data_fixtures import encoded, write_old

SIDE = 8
STEP = 8  # of a colour from one code to the next: a JPEG keeps it
OUTLIER = 20  # the third code of an image that shows none of the classes


def colour(code: int, hard: int = 0, side: int = SIDE) -> NDArray[np.uint8]:
    """An image of one colour: red and green say the class, blue how hard it is (0 to 9)."""
    shade = [STEP * part + STEP // 2 for part in (code % 32, code // 32, hard)]
    return np.broadcast_to(np.array(shade, np.uint8), (side, side, 3)).copy()


def framed(code: int, hard: int = 0) -> NDArray[np.uint8]:
    """The same with ObjectNet's red border, and one more pixel that the border has bled into."""
    image = np.zeros((SIDE + 4, SIDE + 4, 3), np.uint8)
    image[:] = (255, 0, 0)
    image[2:-2, 2:-2] = colour(code, hard)
    return image


def decoded(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Class codes and how hard they are: (b, 3, h, w) in [0, 1] -> two (b,) int64."""
    red, green, blue = (pixels.mean((2, 3)) * 255 / STEP).floor().long().unbind(1)
    return red + 32 * green, blue


def noise(code: NDArray[np.int64], hard: NDArray[np.int64], outputs: int) -> NDArray[np.float64]:
    """Logits (n, outputs) that depend on the codes alone and look random."""
    seeds = np.sin(12.9898 * code[:, None] + 78.233 * hard[:, None] + 37.719 * np.arange(outputs) + 1.0)
    return np.asarray((43758.5453 * seeds) % 1.0)


class Fake(nn.Module):
    """A model whose answer to an image is known. what: one of the `ANSWERS`; share: of images it gets right."""

    def __init__(self, what: str, outputs: int = 1000, share: float = 1.0) -> None:
        super().__init__()
        self.what, self.outputs, self.share = what, outputs, share
        told = [float(ord(c)) for c in what] + [float(outputs), share]
        self.register_buffer("told", torch.tensor(told))  # what a model in memory is identified by

    def forward(self, pixels: Tensor) -> Tensor:
        code, hard = (part.cpu().numpy() for part in decoded(pixels))
        return torch.from_numpy(self.logits(code, hard)).float().to(pixels.device)

    def logits(self, code: NDArray[np.int64], hard: NDArray[np.int64]) -> NDArray[np.float64]:
        if self.what == "random":
            return noise(code, hard, self.outputs)
        found = np.tile(-1e-3 * np.arange(self.outputs), (len(code), 1))  # no two are equal
        for row, (c, h) in enumerate(zip(code.tolist(), hard.tolist(), strict=True)):
            for place, answer in reversed([*enumerate(self.answers(c, h))]):
                found[row, answer] = (10.0 if h != OUTLIER else 0.1) - 0.5 * place
        return found

    def answers(self, code: int, hard: int) -> list[int]:
        """The best answers in their order."""
        return {
            "oracle": [code],
            "constant": [954 % self.outputs],
            "share": [code if hard < 10 * self.share else (code + 3) % self.outputs],
            "outside": [68, code],  # a class that is in none of the parts of ImageNet, then the right one
            # nearly as sure of a class that stands alone: the mean over a group would prefer it
            "twin": [TWINS.get(code, code), *(n for n in (954, 404) if n != code)],
        }[self.what]


TWINS = {
    423: 559,
    559: 765,
    765: 423,
    409: 530,
    530: 409,
    970: 795,
    516: 850,
}  # of one ObjectNet or ReaL class


@dataclass(frozen=True)
class Shot:
    """An image of a tree: where it lies, what it shows, and which of the 1,000 outputs are right."""

    path: str
    code: int
    right: tuple[int, ...]
    hard: int = 0


def shots(folders: dict[str, tuple[int, ...]], each: int = 2, suffix: str = "png") -> list[Shot]:
    """`each` images for each folder: they show the first of its classes, one harder than the other."""
    return [
        Shot(f"{folder}/{number}_{k}.{suffix}", right[0], right, hard=(3 * number + 5 * k) % 10)
        for number, (folder, right) in enumerate(folders.items())
        for k in range(each)
    ]


def write(root: Path, images: Iterable[Shot], border: bool = False) -> Path:
    """Write a tree, PNG or JPEG as the paths say."""
    for shot in images:
        place = root / shot.path
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = framed(shot.code, shot.hard) if border else colour(shot.code, shot.hard)
        jpeg = place.suffix.lower() in (".jpeg", ".jpg")
        write_old(place, encoded(pixels, "JPEG", quality=95) if jpeg else encoded(pixels))
    return root


def write_annotations(folder: Path, rows: Iterable[tuple[str, int, tuple[str, ...]]], prototype: str) -> Path:
    """ImageNet-X's files: `(file name, class, factors)` of each image, and one prototype."""
    from robobench.data.imagenet_x import _FACTORS

    folder.mkdir(parents=True)
    lines = [
        json.dumps({"file_name": name, "class": label, **{f: int(f in factors) for f in _FACTORS}})
        for name, label, factors in rows
    ]
    (folder / "imagenet_x_val_top_factor.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "prototypical_paths.csv").write_text(f"file_name\n{prototype}\n")
    return folder
