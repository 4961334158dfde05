"""What each perturbation gives for two fixed images, in a few numbers. `python -m tests.golden.perturbations`
writes them down anew, which is right only after a plug-in's `version` went up or a library was meant to change.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robobench.draws import Draws, image_key
from robobench.registry import perturbations
from robobench.types import ImageBatch

FILE = Path(__file__).with_name("perturbations.json")
SIDES = (32, 64, 224)
SAMPLES = 16
LIBRARIES = ("albumentations", "numpy", "opencv-python-headless", "pillow", "scipy", "torch")
IDS = ("golden/0", "golden/1")


def versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


def image_batch(side: int, instance: Any = None) -> ImageBatch:
    """A disc on a slope with a checkered corner, and grain: on the 256 levels, by integer arithmetic alone."""
    y, x = np.mgrid[0:side, 0:side].astype(np.int64)
    images = []
    for n in range(len(IDS)):
        planes = []
        for c in range(3):
            plane = 40 + (150 * (x if (n + c) % 2 else y)) // side + 15 * c
            disc = (2 * x - side - 7 * n) ** 2 + (2 * y - side) ** 2 < (side * 4 // 5) ** 2
            plane = np.where(disc, 215 - 60 * c - 20 * n, plane)
            checks = (x < side // 3) & (y < side // 3)
            plane = np.where(checks & ((x // 3 + y // 3) % 2 == 0), 250 * (c != n), plane)
            grain = ((x * 73856093) ^ (y * 19349663) ^ ((c + 3 * n) * 83492791)) % 23
            planes.append(np.clip(plane + grain - 11, 0, 255))
        images.append(np.stack(planes))
    pixels = torch.from_numpy(np.stack(images)).float() / 255.0
    given = {}
    for want in getattr(instance, "wants", ()):
        kind = getattr(instance, "shapes", {}).get(want, "map")
        shape = {"pixels": (3, side, side), "number": ()}.get(kind, (side, side))
        noise = Draws(0, "golden.inputs", IDS).uniform(want, *shape)
        given[want] = pixels.flip(0).flip(3) if want == "donor" else noise
    return ImageBatch(pixels, IDS, torch.zeros(len(IDS), dtype=torch.int64), given)


def cases() -> Iterator[tuple[str, int, Mapping[str, Any], int]]:
    """Every perturbation at every severity, or with its examples, at every size: name, version, parameters, side."""
    for name in (n for n in perturbations.names() if "/" not in n):
        plugin = perturbations.get(name)
        known = {f.name for f in fields(plugin.cls)}
        examples = list(plugin.cls.examples)
        if "severity" in known:
            first = {**examples[0], **({"quantise": "none"} if "quantise" in known else {})}
            examples = [{**first, "severity": s} for s in (1, 2, 3, 4, 5)]
        for params in examples:
            for side in SIDES:
                yield name, plugin.version, params, side


def key_of(name: str, params: Mapping[str, Any], side: int) -> str:
    return f"{name} {json.dumps(params, sort_keys=True)} {side}"


def measure(name: str, params: Mapping[str, Any], side: int) -> list[float]:
    """Mean, standard deviation and sampled values of the perturbed images."""
    step = perturbations.build(name, params)
    batch = image_batch(side, step)
    flat = step(batch, Draws(0, name, IDS)).pixels.flatten().double()
    places = [image_key(0, "golden", 0, n, str(side), "") % len(flat) for n in range(SAMPLES)]
    return [round(float(v), 6) for v in (flat.mean(), flat.std(), *flat[places])]


def main() -> None:
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name, number, params, side in cases():
        found[key_of(name, params, side)] = [number, *measure(name, params, side)]
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(found.items()))
    FILE.write_text(f'{{"versions": {json.dumps(versions())},\n"values": {{\n{lines}\n}}}}\n')


if __name__ == "__main__":
    main()
