"""Models that are right as often as they are told to be, on images that say what is on them.

Import as `from tests.known import ...`. An image is of one colour: its red is the class, its green, from 0 to
255, how hard it is. A model is right where the image is easier than its skill, less what an occlusion hides.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tests.data_fixtures import encoded, write_old

CLASSES = 10
STEP = 20  # of red between two classes
SUITE = """schema: 1
name: known
title: Known answers
data: {{source: folder, path: {path}, label_space: own}}
view: {{size: 8, interpolation: nearest}}
conditions:
  - {{use: occlusion.random, name: occlusion, with: {{grid: 4}}, ladder: {{fraction: [0.25, 0.5]}}}}
  - {{use: gradient.fgsm, name: fgsm, with: {{eps: 1/255}}, limit: {attacked}}}
metrics: [accuracy.top1]
score: {{name: robustness, formula: mean, over: ladders, of: accuracy.top1}}
"""


def make_images(root: Path, images: int = 200, seed: int = 0) -> Path:
    """A folder for each class with so many images, of every difficulty alike."""
    rng = np.random.default_rng(seed)
    for label in range(CLASSES):
        folder = root / f"c{label}"
        folder.mkdir(parents=True)
        for k, hard in enumerate(rng.integers(0, 256, images)):
            pixels = np.zeros((8, 8, 3), np.uint8)
            pixels[..., 0], pixels[..., 1], pixels[..., 2] = STEP * (label + 1), hard, 255
            write_old(folder / f"{k:04d}.png", encoded(pixels))
    return root


def write_suite(path: Path, images: Path, attacked: int = 128) -> Path:
    path.write_text(SUITE.format(path=images, attacked=attacked))
    return path


class Known(nn.Module):
    """Right on this share of the images, less a half of the share of them that is hidden."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.register_buffer("share", torch.tensor(share))

    def forward(self, pixels: Tensor) -> Tensor:
        bright = pixels.flatten(2).amax(2)
        hidden = 1 - pixels[:, 2].flatten(1).mean(1)
        label = (bright[:, 0] * 255 / STEP).round().long() - 1
        right = (bright[:, 1] * 255 + 0.5) / 256 < self.share - hidden / 2
        answer = torch.where(right, label, (label + 1) % CLASSES)
        return nn.functional.one_hot(answer, CLASSES).float() + 0.0 * pixels.flatten(1).sum(1, keepdim=True)
