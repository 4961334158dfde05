"""Noise of the size of the budget: its shape, its tries, and what asking about it costs."""

import pytest
import torch

from robobench.contracts import SteppedAttack
from robobench.engine.assault import run_attack
from robobench.errors import BadParameter
from robobench.registry import attacks
from robobench.tasks.classification import Classification
from tests.fakes import FakeModel, constant_model, make_batch, make_draws


def build(**params):
    return attacks.build("noise.uniform", params)


def noise(batch, restart=0, **params):
    draws = make_draws(batch).at(restart)
    start = build(**params).start(batch, torch.zeros(len(batch), 5), restart, draws)
    return start["pixels"] - batch.pixels


def grey(n=8, side=32):
    batch = make_batch(n=n, side=side)
    return batch.with_pixels(torch.full_like(batch.pixels, 0.5))


def test_what_the_engine_reads():
    attack = build(eps="8/255", tries=7)
    assert isinstance(attack, SteppedAttack)
    assert (attack.white, attack.steps, attack.restarts, attack.cost, attack.norm) == (False, 1, 7, 8, "linf")


def test_linf_noise_is_at_a_corner_of_the_ball():
    change = noise(grey(), eps="8/255")
    torch.testing.assert_close(change.abs(), torch.full_like(change, 8 / 255), atol=1e-6, rtol=0)
    assert (change > 0).float().mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.5), ("l2", 3), ("l1", 4), ("l1", 12)])
def test_l2_and_l1_noise_have_the_length_of_the_radius(norm, eps):
    change = noise(grey(), norm=norm, eps=eps).flatten(1).double()
    size = change.norm(p=int(norm[1:]), dim=1)
    torch.testing.assert_close(size, torch.full((8,), eps, dtype=torch.float64), atol=1e-6 * eps, rtol=1e-4)
    assert change.mean().abs() < 0.1 * change.abs().mean()
    # of a uniform direction the size of one entry, over the mean, is half-normal (l2) or exponential (l1)
    spread = (change.abs() / change.abs().mean(1, keepdim=True)).std()
    assert spread == pytest.approx(0.7555 if norm == "l2" else 1.0, abs=0.02)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_tries_differ_and_a_larger_radius_scales_the_same_noise(norm):
    batch = grey()
    one, other = (noise(batch, restart=r, norm=norm, eps=0.1) for r in (0, 1))
    assert not torch.equal(one, other)
    torch.testing.assert_close(noise(batch, norm=norm, eps=0.2), one * 2, atol=1e-6, rtol=0)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_an_empty_budget_is_the_identity(norm):
    assert build(eps=0, norm=norm).identity
    assert not noise(make_batch(), eps=0, norm=norm).any()


class Threshold(torch.nn.Module):
    """Class 1 where the noise of an image goes up on more than `share` of the pixels."""

    def __init__(self, share):
        super().__init__()
        self.share = share

    def forward(self, pixels):
        up = (pixels > 0.5).flatten(1).float().mean(1)
        return torch.stack([torch.zeros_like(up), up - self.share], 1)


def test_an_image_falls_to_the_first_try_that_does_it_and_each_try_is_asked_once():
    batch = grey(n=64, side=8)
    batch = batch.__class__(batch.pixels, batch.ids, torch.zeros(64, dtype=torch.int64))
    model, draws = FakeModel(Threshold(0.55)), make_draws(batch)
    ups = torch.stack([(noise(batch, restart=r, eps=0.1) > 0).flatten(1).float().mean(1) for r in range(6)])
    falls = ups > 0.55
    attack = build(eps=0.1, tries=6)
    found = run_attack(attack, model, batch, model(batch), range(64), draws, 16, Classification())
    assert torch.equal(found.fell, falls.any(0))
    assert 0.1 < found.fell.float().mean() < 0.9
    first = torch.where(falls.any(0), falls.int().argmax(0) + 1, torch.tensor(6))
    assert torch.equal(found.queries, first)
    up = ((found.pixels - 0.5) > 0).flatten(1).float().mean(1)
    chosen = torch.where(found.fell, first - 1, torch.tensor(0))
    torch.testing.assert_close(up, ups[chosen, torch.arange(64)])


def test_a_constant_model_stands_all_tries():
    batch = make_batch(n=3, classes=1)
    model = constant_model(1.0, 0.0)
    found = run_attack(
        build(eps=0.5, tries=4), model, batch, model(batch), range(3), make_draws(batch), 4, Classification()
    )
    assert not found.fell.any()
    assert found.queries.tolist() == [4, 4, 4]
    assert found.grad_zero.isnan().all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"eps": 8}, r"noise\.uniform: eps: expected .* \(did you mean 8/255\?\), got 8\.0"),
        ({"eps": -1, "norm": "l2"}, "eps: expected a radius of at least 0"),
        ({"eps": 0.1, "tries": 0}, "tries: expected greater than or equal to 1, got 0"),
        ({"eps": 0.1, "norm": "l0"}, "norm: expected 'linf', 'l2' or 'l1', got 'l0'"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(BadParameter, match=message):
        build(**params)
