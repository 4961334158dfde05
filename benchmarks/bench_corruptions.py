"""ImageNet-C's 19 corruptions beside the package imagecorruptions: one photo of 224 pixels, one thread.

Both begin with a float32 NCHW tensor and end with one. For each severity both are timed in turns, in
seconds of CPU, and the median of the rounds is kept; a function's figure is the median of its five
severities. Ours includes making the draws. `ladder` is what five severities that share their draws cost, in
units of a single one.

imagecorruptions is no dependency of robobench, because it brings a second OpenCV. Put it beside:

    pip install --no-deps imagecorruptions==1.1.2 && pip install scikit-image

Without it the table has our figures alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robobench.draws import Draws
from robobench.registry import perturbations
from robobench.types import ImageBatch

SIDE = 224
SEVERITIES = (1, 2, 3, 4, 5)
NAMES = (
    "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "defocus_blur", "glass_blur",
    "motion_blur", "zoom_blur", "gaussian_blur", "snow", "frost", "fog", "brightness", "contrast",
    "saturate", "jpeg_compression", "pixelate", "elastic_transform", "spatter",
)  # fmt: skip
EACH_GOAL, SUM_GOAL, REST_GOAL, LADDER_GOAL = 1.1, 1 / 25, 1 / 5, 3.0
BUDGET = 3.0  # seconds for the rounds of one severity
Corrupt = Callable[[str, int, Tensor], Tensor]


@dataclass
class Figures:
    """Milliseconds of one function, theirs only where it is there; a ladder in units of a single one.

    `best` are ours and theirs by the fastest round of each severity: on a machine that others slow down,
    what lies between them and the medians is not ours.
    """

    ours: float
    ladder: float
    theirs: float | None
    best: tuple[float, float | None]
    rounds: int


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.fixture(scope="module")
def figures() -> dict[str, Figures]:
    """What has been measured so far."""
    return {}


@pytest.fixture(scope="module")
def batch() -> ImageBatch:
    """A picture with large and small structure, on 8-bit levels."""
    rng = np.random.default_rng(0)
    layers = [
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (n, n, 3), np.uint8)).resize(
                (SIDE, SIDE), Image.Resampling.BICUBIC
            )
        )
        for n in (4, 16, 64)
    ]
    levels = np.average(layers, axis=0, weights=(6, 3, 1)).astype(np.uint8)
    pixels = torch.from_numpy(levels).permute(2, 0, 1)[None].float().div(255).contiguous()
    return ImageBatch(pixels, ("picture",), torch.zeros(1, dtype=torch.int64))


@pytest.fixture(scope="module")
def theirs() -> Iterator[Corrupt | None]:
    """imagecorruptions as a function of tensors, made to run with today's libraries, or None."""
    with pytest.MonkeyPatch.context() as patch:
        yield reference(patch)


def reference(patch: pytest.MonkeyPatch) -> Corrupt | None:
    """Import and mend the package. Its functions stay as they are; what they call gets its old names back."""
    if importlib.util.find_spec("imagecorruptions") is None:
        return None
    old = types.ModuleType("pkg_resources")
    old.resource_filename = lambda package, name: str(  # type: ignore[attr-defined]
        Path(importlib.util.find_spec("imagecorruptions").origin).parent / name  # type: ignore[union-attr, arg-type]
    )
    patch.setitem(sys.modules, "pkg_resources", old)
    if not hasattr(np, "float_"):
        patch.setattr(np, "float_", np.float64, raising=False)
    package = importlib.import_module("imagecorruptions")
    inside = importlib.import_module("imagecorruptions.corruptions")
    smooth = inside.gaussian

    def gaussian(image: Any, sigma: Any, multichannel: bool = False, **options: Any) -> Any:
        if multichannel:
            options["channel_axis"] = -1
        return smooth(image, sigma, **options)

    patch.setattr(inside, "gaussian", gaussian)

    def corrupt(name: str, severity: int, pixels: Tensor) -> Tensor:
        levels = (pixels[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        done = package.corrupt(np.ascontiguousarray(levels), severity=severity, corruption_name=name)
        done = np.require(done, requirements="W")  # Pillow's arrays are read-only
        return torch.from_numpy(done).permute(2, 0, 1).contiguous().float().div_(255)[None]

    return corrupt


@cache
def built(name: str, severity: int) -> Any:
    """A run builds each step once."""
    return perturbations.build(f"corruption.{name}", {"severity": severity})


def ours(name: str, severity: int, batch: ImageBatch, memo: dict[Any, Tensor] | None = None) -> Tensor:
    draws = Draws(0, f"corruption.{name}", batch.ids, memo=memo)
    pixels: Tensor = built(name, severity)(batch, draws).pixels
    return pixels


def ladder(name: str, batch: ImageBatch) -> None:
    memo: dict[Any, Tensor] = {}
    for severity in SEVERITIES:
        ours(name, severity, batch, memo)


def milliseconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def in_turns(*works: Callable[[], object]) -> list[list[float]]:
    """The milliseconds of each work in every round, after a first round that does not count."""
    first = sum(milliseconds(work) for work in works) / 1000
    rounds = int(min(max(BUDGET / max(first, 1e-4), 3), 31))
    times = [[milliseconds(work) for work in works] for _ in range(rounds)]
    return [list(column) for column in zip(*times, strict=True)]


def measure(name: str, batch: ImageBatch, theirs: Corrupt | None) -> Figures:
    found = []
    for severity in SEVERITIES:
        works: list[Callable[[], object]] = [partial(ours, name, severity, batch)]
        if theirs is not None:
            works.append(partial(theirs, name, severity, batch.pixels))
        found.append(in_turns(*works))

    def figure(side: int, reduce: Callable[[list[float]], float]) -> float:
        return statistics.median(reduce(times[side]) for times in found)

    whole, single = in_turns(
        partial(ladder, name, batch), lambda: [ours(name, severity, batch) for severity in SEVERITIES]
    )
    return Figures(
        ours=figure(0, statistics.median),
        ladder=5 * statistics.median(whole) / statistics.median(single),
        theirs=None if theirs is None else figure(1, statistics.median),
        best=(figure(0, min), None if theirs is None else figure(1, min)),
        rounds=min(len(times[0]) for times in found),
    )


@pytest.mark.parametrize("name", NAMES)
def test_corruption(name, benchmark, report, batch, theirs, figures):
    found = figures[name] = measure(name, batch, theirs)
    benchmark.pedantic(ours, (name, 3, batch), rounds=5, warmup_rounds=1)
    if found.theirs is None:
        benchmark.extra_info.update({"ours_ms": found.ours, "ladder": found.ladder})
        print(f"\n{name}: {found.ours:.2f} ms; imagecorruptions is not installed, nothing to compare with")
        return
    report(
        found.ours / found.theirs, EACH_GOAL, "x imagecorruptions",
        ours=f"{found.ours:.2f} ms", theirs=f"{found.theirs:.2f} ms", ladder=f"{found.ladder:.2f} singles",
        rounds=found.rounds,
    )  # fmt: skip


def test_all_corruptions(benchmark, report, batch, theirs, figures):
    """The table and its sums; what is timed for the benchmark's own columns is a ladder of all 19."""
    for name in NAMES:
        if name not in figures:
            figures[name] = measure(name, batch, theirs)
    benchmark.pedantic(lambda: [ladder(name, batch) for name in NAMES], rounds=3, warmup_rounds=1)
    print("\n" + table(figures))
    mean = statistics.mean(figures[n].ladder for n in NAMES)
    print(f"a ladder of five severities costs {mean:.2f} single ones on average (goal {LADDER_GOAL:g})")
    if theirs is None:
        print("imagecorruptions is not installed: these are our figures alone (see the head of this file)")
        return
    rest = [n for n in NAMES if n != "glass_blur"]
    sums = {
        "19 corruptions": (NAMES, SUM_GOAL),
        "18 without glass_blur": (rest, REST_GOAL),
    }
    for what, (names, goal) in sums.items():
        mine, other = (sum(getattr(figures[n], side) for n in names) for side in ("ours", "theirs"))
        best = [sum(figures[n].best[side] or 0 for n in names) for side in (0, 1)]
        report(
            mine / other, goal, f"x imagecorruptions, {what}",
            times_faster=f"{other / mine:.1f}", by_the_fastest_rounds=f"{best[1] / best[0]:.1f}",
        )  # fmt: skip
    slow = [n for n in NAMES if figures[n].ours > EACH_GOAL * (figures[n].theirs or 0)]
    print(f"slower than {EACH_GOAL:g} x imagecorruptions: {', '.join(slow) or 'none'}")


def table(figures: dict[str, Figures]) -> str:
    """Markdown: milliseconds of CPU per image, medians over severities."""
    lines = [
        "| corruption | imagecorruptions, ms | robobench, ms | times faster | goal | ladder, single ones |"
    ]
    lines.append("|---|---|---|---|---|---|")
    rows = [*((n, figures[n]) for n in NAMES), *total(figures)]
    for name, f in rows:
        goal = {"sum": 1 / SUM_GOAL, "sum without glass_blur": 1 / REST_GOAL}.get(
            name, round(1 / EACH_GOAL, 1)
        )
        other = "-" if f.theirs is None else f"{f.theirs:.2f}"
        ratio = "-" if f.theirs is None else f"{f.theirs / f.ours:.1f}"
        lines.append(f"| {name} | {other} | {f.ours:.2f} | {ratio} | {goal:g} | {f.ladder:.1f} |")
    return "\n".join(lines)


def total(figures: dict[str, Figures]) -> list[tuple[str, Figures]]:
    rows = []
    for title, left_out in (("sum", ""), ("sum without glass_blur", "glass_blur")):
        kept = [figures[n] for n in NAMES if n != left_out]
        theirs = [f.theirs for f in kept if f.theirs is not None]
        ours_sum = sum(f.ours for f in kept)
        share = sum(f.ladder * f.ours for f in kept) / ours_sum
        rows.append((title, Figures(ours_sum, share, sum(theirs) if theirs else None, (0.0, None), 0)))
    return rows
