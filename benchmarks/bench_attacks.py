"""Attacks beside the libraries they are known from, on one thread, in seconds of CPU.

PGD beside torchattacks', AutoAttack beside its authors' code, each on two models: EfficientNet-Lite0
with the 20 photos of foolbox's wheel, where nearly every image falls at once, and the adversarially trained
digit classifier, where at least half of the images stand to the end. Both sides get the images that the model
reads right, and the robust accuracy of both is printed, as a share of all images.

The original AutoAttack is no package that could be installed. Fetch it, and say where it lies:

    git clone https://github.com/fra31/auto-attack
    git -C auto-attack checkout a39220048b3c9f2cca9a4d3a54604793c68eca7e
    python -m pytest benchmarks/bench_attacks.py -o addopts= --benchmark-only -s --reference auto-attack

Without it AutoAttack is left out. AutoAttack takes a few minutes a side and model; PGD a minute in all.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robobench.contracts import Model
from robobench.draws import Draws
from robobench.engine.assault import run_attack
from robobench.engine.frames import batches, open_frames
from robobench.engine.resolve import resolve
from robobench.registry import attacks
from robobench.suite.load import parse_suite
from robobench.suite.suite import ModelEntry
from robobench.tasks.classification import Classification
from robobench.types import ImageBatch

ROOT = Path(__file__).parents[1]
LITE = f"{ROOT / 'examples' / 'efficientnet_lite.py'}:lite0"
ROBUST, ROBUST_EPS = "zoo:cnn-robust", 38 / 255  # where AutoAttack leaves most of them standing
PHOTOS_GOAL, DIGITS_GOAL, AUTOATTACK_GOAL = 1 / 10, 1.0, 1 / 1.5
HEAD = "schema: 1\nname: b\ntitle: B\nconditions:\n  - {use: gradient.fgsm, name: f, with: {eps: 0.1}}\n"
PHOTOS = (
    HEAD + "data: {source: samples, path: imagenet}\nview: {resize: 256, crop: 224, interpolation: bicubic}\n"
)
DIGITS = HEAD + "data: {source: digits, path: mnist}\nview: {}\n"


@dataclass
class Scene:
    """Images that a model reads right, and what it takes to attack them on both sides."""

    model: Model
    net: nn.Module  # from pixels to logits, for libraries
    batch: ImageBatch
    logits: Tensor
    total: int  # of images, those read wrong included
    lot: int

    def accuracy(self, pixels: Tensor) -> float:
        """The share of all images that are still read right."""
        with torch.no_grad():
            right = torch.cat([self.net(p) for p in pixels.split(20)]).argmax(dim=1) == self.batch.labels
        return int(right.sum()) / self.total

    def ours(self, name: str, params: dict[str, Any]) -> Callable[[], Tensor]:
        """An attack as a run carries it out."""
        attack, rows = attacks.build(name, params), range(len(self.batch))
        draws = Draws(0, name, self.batch.ids)

        def work() -> Tensor:
            task = Classification()
            return run_attack(attack, self.model, self.batch, self.logits, rows, draws, self.lot, task).pixels

        return work


class Net(nn.Module):
    """A model as libraries want it: a module in eval mode, with a parameter."""

    def __init__(self, handle: Any) -> None:
        super().__init__()
        self.inside, self.handle = handle.module, handle

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.handle.raw(pixels)
        return found


def scene(suite: str, spec: str, limit: int, lot: int) -> Scene:
    found = resolve(parse_suite(suite, "bench.yaml"), [ModelEntry(spec)], limit=limit, allow_code=True)
    (data,) = found.data.values()
    assert data.view is not None
    frames = open_frames(data, data.view, None)
    (whole,) = batches(frames, data.ids, data.labels, limit, "cpu")
    handle: Any = found.models[0].load("cpu")
    model = handle.reading(data.space)
    with torch.no_grad():
        logits = torch.cat([model(whole.select(range(i, min(i + 20, limit)))) for i in range(0, limit, 20)])
    right = [i for i, ok in enumerate((logits.argmax(dim=1) == whole.labels).tolist()) if ok]
    return Scene(model, Net(handle).eval(), whole.select(right), logits[right], limit, lot)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def photos() -> Scene:
    return scene(PHOTOS, LITE, 20, lot=4)


@pytest.fixture(scope="module")
def digits() -> Scene:
    return scene(DIGITS, ROBUST, 128, lot=32)


@pytest.fixture(scope="module")
def original(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The authors' AutoAttack, from the checkout that was named."""
    place = request.config.getoption("--reference")
    if place is None:
        pytest.skip("nothing to compare AutoAttack with: say --reference PATH (see the head of this file)")
    if not (Path(place) / "autoattack" / "autopgd_base.py").is_file():
        pytest.skip(f"--reference {place}: expected a checkout of fra31/auto-attack with a folder autoattack")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(place).resolve()))
        yield importlib.import_module("autoattack").AutoAttack


@dataclass
class Side:
    """What one side took, in seconds of CPU, and what it left standing."""

    seconds: float
    accuracy: float

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s to {100 * self.accuracy:.1f} %"


def timed(at: Scene, work: Callable[[], Tensor]) -> Side:
    began = time.process_time()
    pixels = work()
    return Side(time.process_time() - began, at.accuracy(pixels))


def pgd_of_torchattacks(at: Scene, eps: float) -> Callable[[], Tensor]:
    """Two restarts of 50 steps; an image is taken where it fell, else where the second ended."""
    from torchattacks import PGD

    def work() -> Tensor:
        torch.manual_seed(0)
        kept = at.batch.pixels
        for _ in range(2):
            attack = PGD(at.net, eps=eps, alpha=2.5 * eps / 50, steps=50, random_start=True)
            found = attack(at.batch.pixels, at.batch.labels)
            with torch.no_grad():
                fell = at.net(kept).argmax(dim=1) != at.batch.labels
            kept = torch.where(fell[:, None, None, None], kept, found)
        return kept

    return work


@pytest.mark.parametrize(
    ("name", "eps", "goal"), [("photos", 4 / 255, PHOTOS_GOAL), ("digits", ROBUST_EPS, DIGITS_GOAL)]
)
def test_pgd(name, eps, goal, request, benchmark, report):
    at = request.getfixturevalue(name)
    work = at.ours("gradient.pgd", {"eps": eps, "steps": 50, "restarts": 2})
    work()
    theirs = timed(at, pgd_of_torchattacks(at, eps))
    ours = timed(at, work)
    benchmark.pedantic(work, rounds=1)
    assert ours.accuracy <= theirs.accuracy + 1 / at.total
    report(ours.seconds / theirs.seconds, goal, "x torchattacks' PGD", ours=str(ours), theirs=str(theirs))


@pytest.fixture(scope="module")
def sides() -> dict[str, tuple[Side, Side]]:
    """Ours and theirs on each model, as far as measured."""
    return {}


@pytest.mark.parametrize(("name", "eps"), [("photos", 0.25 / 255), ("digits", ROBUST_EPS)])
def test_autoattack(name, eps, request, benchmark, report, original, sides):
    at = request.getfixturevalue(name)
    attack = original(at.net, norm="Linf", eps=eps, seed=0, version="standard", device="cpu", verbose=False)
    theirs = timed(at, lambda: attack.run_standard_evaluation(at.batch.pixels, at.batch.labels, bs=250))
    work = at.ours("autoattack.standard", {"eps": eps, "norm": "linf"})
    found: list[Side] = []
    benchmark.pedantic(lambda: found.append(timed(at, work)), rounds=1)
    sides[name] = found[0], theirs
    assert abs(found[0].accuracy - theirs.accuracy) <= 1.001 / at.total
    report(
        found[0].seconds / theirs.seconds,
        AUTOATTACK_GOAL,
        "x the original",
        ours=str(found[0]),
        theirs=str(theirs),
    )


def test_autoattack_over_both(benchmark, report, original, sides):
    if len(sides) < 2:
        pytest.skip("needs the figures of both models: run the whole file")
    ours, theirs = (sum(pair[side].seconds for pair in sides.values()) for side in (0, 1))
    benchmark.pedantic(lambda: None, rounds=1)
    report(ours / theirs, AUTOATTACK_GOAL, "x the original, both models", times_faster=f"{theirs / ours:.2f}")
