"""Square and FAB against torchattacks, which has them from AutoAttack: the same points in the same order."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from robobench.engine.stepped import ask
from robobench.registry import attacks
from robobench.types import ImageBatch
from tests.fakes import conv_model, make_batch, make_draws, resnet_model, run_stepped

torchattacks = pytest.importorskip("torchattacks")
THEIRS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
ORDER = {"linf": math.inf, "l2": 2, "l1": 1}


class Bare(nn.Module):
    """A fake's network as torchattacks wants it, which remembers what it was asked about."""

    def __init__(self, model) -> None:
        super().__init__()
        self.net = model.module
        self.asked = []

    def forward(self, pixels):
        self.asked.append(pixels.detach().clone())
        return self.net(pixels)


def scene(model, n, side):
    batch = make_batch(n=n, side=side, seed=5)
    return ImageBatch(batch.pixels, batch.ids, model(batch).argmax(1))


def numbers(attack, width, height, draws):
    """What torchattacks draws for one image, in its order: numbers that give the same signs, places, turns."""

    def coin(word, bit):
        return 0.25 if (int(word) >> bit) & 1 else 0.75

    def signs(word):
        return torch.tensor([coin(word, 31 - channel) for channel in range(3)])

    def turn(word):
        return torch.tensor([1 - coin(word, 28)])  # turned above 0.5

    if attack.norm == "linf":
        yield torch.tensor([coin(word, 31) for word in draws.bits("stripes", 3, 1, width).flatten()])
    else:
        side = height // 5
        for word in draws.bits("tiles", height // side, width // side).flatten():
            yield from (turn(word), signs(word))
    squares = 1 if attack.norm == "linf" else 2
    places = draws.uniform("places", attack.queries, squares, 2)[0]
    for number, word in enumerate(draws.bits("signs", attack.queries)[0]):
        yield from places[number].flatten().split(1)
        if attack.norm != "linf":
            yield turn(word)
        yield signs(word)


@pytest.mark.parametrize(
    ("norm", "eps", "rescale"),
    [("linf", 0.05, False), ("linf", 0.3, True), ("l2", 0.5, False), ("l2", 2.0, True)],
)
@pytest.mark.parametrize("which", [0, 1])
def test_square_proposes_the_same_points(norm, eps, rescale, which, monkeypatch):
    """Under l2 the same start: their window's length is taken over all channels, the original's over each."""
    model = conv_model()
    batch = scene(model, 2, 20).select([which])
    queries = 80 if norm == "linf" else 1
    params = {"eps": eps, "norm": norm, "queries": queries, "rescale_schedule": rescale}
    attack, draws = attacks.build("blackbox.square", params), make_draws(batch)
    drawn = numbers(attack, 20, 20, draws)
    net = Bare(model).eval()
    square = torchattacks.Square(net, norm=THEIRS[norm], eps=eps, n_queries=queries, resc_schedule=rescale)
    square.device = batch.pixels.device
    square.init_hyperparam(batch.pixels)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", lambda shape: next(drawn).view(*shape))
        square.attack_single_run(batch.pixels.clone(), batch.labels)
    state = dict(attack.start(batch, model(batch), 0, draws))
    assert len(net.asked) == attack.steps
    for expected in net.asked if norm == "linf" else net.asked[:1]:
        torch.testing.assert_close(state["pixels"], expected, atol=5e-6, rtol=0)
        state = dict(attack.step(batch, state, ask(attack, model, batch, state, state["pixels"])))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize(
    ("make", "side", "targets"), [(conv_model, 12, 0), (conv_model, 12, 2), (resnet_model, 32, 2)]
)
def test_fab_finds_the_same_smallest_change(make, side, targets, norm):
    """Never a larger one: the points it went back to count here, and are not looked at there."""
    model = make()
    batch = scene(model, 2, side)
    fab = torchattacks.FAB(Bare(model).eval(), norm=THEIRS[norm], steps=8, eps=1e3)
    fab.device = batch.pixels.device
    theirs = []
    for target in range(max(targets, 1)):
        fab.target_class = target + 2
        run = fab.attack_single_run_targeted if targets else fab.attack_single_run
        fab.targeted, fab.multi_targeted, fab.attack_mode = bool(targets), True, "default"
        adversarial = run(batch.pixels.clone(), batch.labels.clone())
        size = (adversarial - batch.pixels).flatten(1).norm(p=ORDER[norm], dim=1)
        theirs.append(torch.where(size == 0, torch.inf, size))
    attack = attacks.build("gradient.fab_minimal", {"size": norm, "targets": targets, "steps": 8})
    found = run_stepped(attack, model, batch, make_draws(batch))
    ours = (found - batch.pixels).flatten(1).norm(p=ORDER[norm], dim=1)
    expected = torch.stack(theirs).amin(0)
    assert torch.isfinite(expected).all()
    assert (ours <= expected * 1.003).all()
    assert (ours >= expected * 0.89).all()
    if targets == 0 and make is conv_model:
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)
