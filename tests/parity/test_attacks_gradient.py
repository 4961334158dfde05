"""The gradient attacks against torchattacks, from the same start, step for step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robobench.registry import attacks
from tests.fakes import FakeModel, conv_model, make_batch, make_draws, resnet_model, run_stepped, vit_model

torchattacks = pytest.importorskip("torchattacks")
TOLERANCE = 1e-6


def conv():
    return conv_model(), make_batch(n=5, side=16, seed=3)


def vit():
    return vit_model(), make_batch(n=5, side=16, seed=4)


def resnet():
    return resnet_model(), make_batch(n=4, side=32, seed=5)


class Bare(nn.Module):
    """The fake's network as torchattacks wants it: a module with a parameter, which gives logits."""

    def __init__(self, model: FakeModel) -> None:
        super().__init__()
        self.net = model.module

    def forward(self, pixels):
        return self.net(pixels)


def theirs(name, model, batch, **options):
    return getattr(torchattacks, name)(Bare(model).eval(), **options)(batch.pixels, batch.labels)


SCENES = pytest.mark.parametrize("scene", [conv, vit, resnet])


@SCENES
@pytest.mark.parametrize("eps", [1 / 255, 8 / 255, 0.3])
def test_fgsm(scene, eps):
    model, batch = scene()
    ours = run_stepped(attacks.build("gradient.fgsm", {"eps": eps}), model, batch, make_draws(batch))
    expected = theirs("FGSM", model, batch, eps=eps)
    assert (expected - batch.pixels).abs().max() > eps / 2
    assert (ours - expected).abs().max() <= TOLERANCE


@SCENES
@pytest.mark.parametrize("eps", [2 / 255, 8 / 255])
def test_pgd_from_the_image(scene, eps):
    model, batch = scene()
    pgd = attacks.build("gradient.pgd", {"eps": eps, "steps": 7, "random_start": False, "alpha": eps / 4})
    ours = run_stepped(pgd, model, batch, make_draws(batch))
    expected = theirs("PGD", model, batch, eps=eps, alpha=eps / 4, steps=7, random_start=False)
    assert (ours - expected).abs().max() <= TOLERANCE


@SCENES
def test_pgd_from_the_same_random_start(scene, monkeypatch):
    model, batch = scene()
    eps, draws = 8 / 255, make_draws(batch)
    pgd = attacks.build("gradient.pgd", {"eps": "8/255", "steps": 10})
    ours = run_stepped(pgd, model, batch, draws)
    drawn = draws.uniform("start", *batch.pixels.shape[1:]) * 2 - 1
    asked = []

    def uniform(tensor, low=0.0, high=1.0):
        asked.append((low, high))
        return tensor.copy_(high * drawn)

    monkeypatch.setattr(torch.Tensor, "uniform_", uniform)
    expected = theirs("PGD", model, batch, eps=eps, alpha=pgd.step_size, steps=10)
    assert asked == [(-eps, eps)]
    assert (ours - expected).abs().max() <= TOLERANCE
    assert (ours - batch.pixels).abs().max() > 0.9 * eps


@SCENES
@pytest.mark.parametrize("eps", [0.1, 1.5])
def test_pgd_l2_from_the_image(scene, eps):
    model, batch = scene()
    params = {"eps": eps, "norm": "l2", "steps": 7, "random_start": False, "alpha": eps / 3}
    ours = run_stepped(attacks.build("gradient.pgd", params), model, batch, make_draws(batch))
    expected = theirs("PGDL2", model, batch, eps=eps, alpha=eps / 3, steps=7, random_start=False)
    assert (ours - expected).abs().max() <= TOLERANCE
    assert (ours - batch.pixels).flatten(1).norm(dim=1).max() > 0.8 * eps


@SCENES
def test_pgd_l2_from_the_same_random_start(scene, monkeypatch):
    model, batch = scene()
    draws = make_draws(batch)
    pgd = attacks.build("gradient.pgd", {"eps": 1.0, "norm": "l2", "steps": 10})
    ours = run_stepped(pgd, model, batch, draws)
    direction = draws.normal("start", *batch.pixels.shape[1:])
    radius = draws.uniform("radius", 1, 1, 1)
    monkeypatch.setattr(torch.Tensor, "normal_", lambda tensor: tensor.copy_(direction))
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda tensor, low, high: tensor.copy_(radius))
    expected = theirs("PGDL2", model, batch, eps=1.0, alpha=0.25, steps=10)
    assert (ours - expected).abs().max() <= TOLERANCE
