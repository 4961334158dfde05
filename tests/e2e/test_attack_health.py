"""Each health check has a model that trips it and no other; a sound model trips none.

The images show a bright third: left, middle or right (classes a, b, c). The model that the others are made
from compares the thirds' brightness, so at a radius below 0.2 nothing can fool it and above it everything can.
Class d, of which there is one image, is what a model falls to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import robobench
from robobench.leaderboard.board import Entry

SIDE = 24
SUITE = """\
schema: 1
name: health
title: health
data: {{source: folder, path: "{path}", label_space: own}}
lot: 64
conditions:
  - {{use: {use}, name: attack, with: {{{params}}}, health: {health}}}
"""
PGD = "eps: 0.1, steps: 10"
SEED = 20


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thirds")
    generator = np.random.default_rng(SEED)
    for place, name in enumerate("abcd"):
        (folder / name).mkdir()
        for number in range(20 if name != "d" else 1):
            pixels = generator.uniform(0.28, 0.32, (SIDE, SIDE, 1)).repeat(3, axis=2)
            if name != "d":
                pixels[:, place * 8 : place * 8 + 8] += 0.4
            image = Image.fromarray((pixels * 255).round().astype(np.uint8))
            image.save(folder / name / f"{number}.png")
    return folder


class Thirds(nn.Module):
    """Brightness of each third; d stands at a level between dark and bright ones."""

    def forward(self, x: Tensor) -> Tensor:
        return self.read(x)

    def read(self, x: Tensor) -> Tensor:
        thirds = x.mean(dim=(1, 2)).unfold(1, 8, 8).mean(dim=2) * 10
        return torch.cat([thirds, torch.full_like(thirds[:, :1], 5.0)], dim=1)

    @staticmethod
    def towards_d(logits: Tensor, amount: Tensor) -> Tensor:
        return torch.cat([logits[:, :3], logits[:, 3:] + amount[:, None]], dim=1)


def saturated(x: Tensor) -> Tensor:
    """A step, without a gradient: what has many black and white pixels is of class d."""
    return 100.0 * (((x <= 0.02) | (x >= 0.98)).float().mean(dim=(1, 2, 3)) > 0.2)


def pattern() -> Tensor:
    """Random signs, as many of each in every column: no picture shows anything of it."""
    generator = torch.Generator().manual_seed(SEED)
    ranks = torch.rand(3, SIDE, SIDE, generator=generator).argsort(dim=1)
    return torch.where(ranks < SIDE // 2, 1.0, -1.0)


class Steps(Thirds):
    """Values are rounded before they are compared: no gradient anywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return self.towards_d(self.read(x.round()), saturated(x))


class _Backwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


class Backwards(Thirds):
    """Its gradient points the wrong way."""

    def forward(self, x: Tensor) -> Tensor:
        return self.towards_d(self.read(_Backwards.apply(x)), saturated(x))


class Forgetful(Thirds):
    """While it is asked for gradients, every ninth answer for an image is d."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        sound = self.towards_d(self.read(x), saturated(x))
        if not x.requires_grad:
            return sound
        self.calls += 1
        turn = (torch.arange(len(x)) + self.calls) % 9 == 0
        return self.towards_d(sound, turn.float() * 100)


class Residue(Thirds):
    """Looks at what eight bits cannot hold."""

    def forward(self, x: Tensor) -> Tensor:
        rest = x - (x * 255).round().detach() / 255
        return self.towards_d(self.read(x), 4000 * rest.mean(dim=(1, 2, 3)))


class Softmax(Thirds):
    """Gives probabilities."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.read(x) / 5).softmax(dim=1)


class Noisy(Thirds):
    """Falls to noise, which its gradient says nothing of."""

    def forward(self, x: Tensor) -> Tensor:
        mixed = x[:, :, 1:, 1:] - x[:, :, :-1, 1:] - x[:, :, 1:, :-1] + x[:, :, :-1, :-1]
        return self.towards_d(self.read(x), 100.0 * (mixed.detach().abs().mean(dim=(1, 2, 3)) > 0.08))


class Far(Thirds):
    """A hidden pattern fools it, which takes many steps to reach."""

    def forward(self, x: Tensor) -> Tensor:
        along = (x * pattern()).mean(dim=(1, 2, 3))
        return self.towards_d(self.read(x.round()), 34 * along)


class TwoWays(Thirds):
    """A hidden pattern fools it from one side; the slope on the other side leads away."""

    def forward(self, x: Tensor) -> Tensor:
        along = (x * pattern()).mean(dim=(1, 2, 3))
        slope = torch.where(along > 0, 15 * along, -2 * along)
        return self.towards_d(self.read(x.detach()), slope + saturated(x))


class Decoy(Thirds):
    """A steep ripple along a hidden pattern, too low to fool, hides the slope that would."""

    def forward(self, x: Tensor) -> Tensor:
        along = (x * pattern()).mean(dim=(1, 2, 3))
        ripple = 1.5 - 60 * ((along + 0.025).remainder(0.1) - 0.05).abs()
        return self.towards_d(self.read(x), ripple + 100.0 * (along.abs() > 0.1))


class Deaf(Thirds):
    """Decides by what its gradient does not reach."""

    def forward(self, x: Tensor) -> Tensor:
        hard = self.read(x[:, 1:2].round().repeat(1, 3, 1, 1)).argmax(dim=1)
        soft = self.read(x[:, :1].repeat(1, 3, 1, 1))
        return soft * 0.5 + 8.0 * nn.functional.one_hot(hard, 4)


def measured(
    model: nn.Module,
    pictures: Path,
    out: Path,
    use: str = "gradient.pgd",
    params: str = PGD,
    health: bool = True,
) -> Entry:
    out.mkdir(exist_ok=True)
    suite = out / "health.yaml"
    suite.write_text(SUITE.format(path=pictures, use=use, params=params, health=str(health).lower()))
    results = robobench.run(suite, models={"it": model}, out=out / "results", device="cpu")
    assert not results.outcome.failures, results.outcome.failures
    return results.leaderboard.entries[0]


def failed(entry: Entry) -> set[str]:
    return {h.check for h in entry.health if not h.ok}


def robust(entry: Entry) -> float:
    return entry.cells["attack"].score("accuracy.top1").value


WEAK = "eps: 0.17, steps: 5, alpha: 0.015, random_start: false"
CASES = {
    "gradients": (Steps(), "gradient.pgd", PGD, 1.0),
    "loss": (Backwards(), "gradient.pgd", PGD, 1.0),
    "repeats": (Forgetful(), "gradient.pgd", PGD, 1.0),
    "rounding": (Residue(), "gradient.pgd", "eps: 0.4/255, steps: 10", 0.0),
    "logits": (Softmax(), "gradient.pgd", PGD, 1.0),
    "noise": (Noisy(), "gradient.pgd", "eps: 0.1, steps: 10, random_start: false", 1.0),
    "steps": (Far(), "gradient.pgd", WEAK, 1.0),
    "restarts": (TwoWays(), "gradient.pgd", "eps: 0.15, steps: 10", None),
    "black box": (Decoy(), "gradient.pgd", "eps: 0.25, steps: 20, random_start: false", 1.0),
    "unbounded": (Deaf(), "gradient.pgd", "eps: 0.1, steps: 10, random_start: false", 1.0),
}


@pytest.mark.parametrize("check", CASES)
def test_a_model_trips_its_check_and_no_other(check: str, pictures: Path, tmp_path: Path) -> None:
    model, use, params, accuracy = CASES[check]
    entry = measured(model, pictures, tmp_path, use, params)
    shown = {h.check: round(h.score.value, 3) for h in entry.health}
    assert failed(entry) == {check}, shown
    assert {"logits", "noise", "steps", "black box", "unbounded"} <= set(shown)
    if accuracy is not None:
        assert robust(entry) == pytest.approx(accuracy, abs=0.02)


def test_a_model_that_is_robust_by_construction_has_its_number_and_no_mark(
    pictures: Path, tmp_path: Path
) -> None:
    entry = measured(Thirds(), pictures, tmp_path)
    assert failed(entry) == set()
    assert robust(entry) == 1.0
    assert not entry.flags


def test_beyond_its_margin_the_same_model_falls(pictures: Path, tmp_path: Path) -> None:
    entry = measured(Thirds(), pictures, tmp_path, params="eps: 0.25, steps: 10")
    assert failed(entry) == set()
    assert robust(entry) == 0.0
