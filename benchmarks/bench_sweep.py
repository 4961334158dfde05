"""What the engine adds to the forward passes: ViT-tiny at 224, 32 JPEGs, 10 conditions besides clean.

The time of a run from the first batch to the last commit, the model being loaded, over that of a bare
loop of as many forward passes of the same network at the batch size that suits it best. Both are taken
in turns, so that what else the machine does falls on both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robobench.contracts import LoadedModel
from robobench.engine.local import Local
from robobench.engine.plan import plan
from robobench.engine.resolve import Resolved, ResolvedModel, cells, identify, resolve
from robobench.store import Store
from robobench.suite.load import parse_suite
from robobench.suite.suite import ModelEntry
from robobench.tasks.classification import Classification

CLASSES, EACH = 4, 8
SIZES = (1, 4, 8, 16, 32)
GOAL = 1.10
ROUNDS = 3
SUITE = """
schema: 1
name: bench
title: Eleven conditions
data: {source: folder, path: nowhere, label_space: own}
view: {resize: 256, crop: 224, interpolation: bicubic}
conditions:
  - {use: occlusion.random, name: occlusion, ladder: {fraction: [0.1, 0.3, 0.5, 0.7, 0.9]}}
  - {use: shuffle.grid, name: shuffle, ladder: {grid: [2x2, 4x4, 8x8, 14x14]}}
  - {use: occlusion.random, name: noise, with: {fraction: 0.5, fill: noise}}
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth random pictures the size of ImageNet's, as JPEGs in class folders."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for c in range(CLASSES):
        (root / f"class{c}").mkdir()
        for i in range(EACH):
            coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
            picture = coarse.resize((500, 375), Image.Resampling.BICUBIC)
            picture.save(root / f"class{c}" / f"{i}.jpg", quality=92)
    return root


@pytest.fixture(scope="module")
def model() -> tuple[ResolvedModel, LoadedModel]:
    """The network, loaded once and handed out as it is."""
    spec = f"timm:vit_tiny_patch16_224?pretrained=false&num_classes={CLASSES}"
    found = identify(ModelEntry(spec, trusted=True), allow_code=True)
    loaded = found.load("cpu")
    return ResolvedModel(found.id, lambda _: loaded), loaded


@pytest.fixture(scope="module")
def suite(photos: Path, model: tuple[ResolvedModel, LoadedModel]) -> Resolved:
    found = resolve(parse_suite(SUITE, "bench.yaml"), [model[0]], data=f"folder:{photos}?label_space=own")
    assert len(found.conditions) == 11
    assert len(found.data["base"].ids) == CLASSES * EACH
    return found


@pytest.fixture(scope="module")
def bare(model: tuple[ResolvedModel, LoadedModel]) -> tuple[int, Callable[[], float]]:
    """The best batch size, and a function that times the same number of forward passes with it."""
    images = torch.rand(CLASSES * EACH, 3, 224, 224)
    network = model[1].module

    def passes(size: int, conditions: int = 11) -> float:
        began = time.perf_counter()
        with torch.inference_mode():
            for _ in range(conditions):
                for start in range(0, len(images), size):
                    network(images[start : start + size])
        return time.perf_counter() - began

    passes(8, 1)
    best = min(SIZES, key=lambda size: min(passes(size, 1) for _ in range(2)))
    return best, lambda: passes(best)


def measure(
    benchmark: Any, suite: Resolved, bare: tuple[int, Callable[[], float]], place: Path, cache: Path | None
) -> tuple[float, list[float]]:
    """Median seconds of a run, and the bare loop's seconds between the rounds."""
    size, loop = bare
    between: list[float] = []
    turn = 0

    def setup() -> tuple[tuple[Local, Any], dict[str, Any]]:
        nonlocal turn
        between.append(loop())
        turn += 1
        store = Store.open(place / f"results{turn}", create=True)
        planned = plan(suite, store.have(c.key for c in cells(suite)))
        views = cache or place / f"cache{turn}"
        return (Local(suite, store, Classification(), "cpu", batch_size=size, cache=views), planned), {}

    def run(local: Local, planned: Any) -> None:
        outcome = local.run(planned)
        assert outcome.rows == 11 * CLASSES * EACH
        assert not outcome.failures

    benchmark.pedantic(run, setup=setup, rounds=ROUNDS)
    return benchmark.stats["median"], between


@pytest.mark.parametrize("state", ["cold", "warm"])
def test_sweep_over_bare_forward_passes(state, benchmark, report, suite, bare, tmp_path):
    cache = None
    if state == "warm":
        cache = tmp_path / "cache"
        filling = Store.open(tmp_path / "first", create=True)
        Local(suite, filling, Classification(), "cpu", cache=cache).run(plan(suite, {}))
    seconds, between = measure(benchmark, suite, bare, tmp_path, cache)
    plain = statistics.median(between)
    report(
        seconds / plain, GOAL, "x the bare forward passes",
        run=f"{seconds:.2f} s", bare=f"{plain:.2f} s", batch=bare[0], threads=torch.get_num_threads(),
    )  # fmt: skip
