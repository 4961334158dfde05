import math

import pytest
import torch

from robobench.contracts import SteppedAttack
from robobench.errors import BadParameter
from robobench.registry import attacks
from tests.fakes import (
    FakeModel,
    Linear,
    constant_model,
    conv_model,
    linear_model,
    make_batch,
    make_draws,
    run_stepped,
)


def fgsm(**params):
    return attacks.build("gradient.fgsm", params)


def pgd(**params):
    return attacks.build("gradient.pgd", params)


def loss_of(attack, model, batch, pixels):
    return attack.loss(model(batch.with_pixels(pixels)), batch.labels)


def length(change):
    return change.double().flatten(1).norm(dim=1)


def test_both_are_stepped_attacks():
    assert isinstance(fgsm(eps=0.1), SteppedAttack)
    assert isinstance(pgd(eps=0.1), SteppedAttack)


def test_costs_are_three_passes_a_step_and_one_for_the_answer():
    assert fgsm(eps=0.1).cost == 4
    assert pgd(eps=0.1).cost == 31
    assert pgd(eps=0.1, steps=20, restarts=3).cost == 181


def test_fgsm_on_a_linear_model_goes_up_the_known_gradient():
    """Of a linear model with two classes the sign of the gradient is that of a weight difference."""
    batch = make_batch(n=5, side=6, classes=2)
    net = Linear(2, 6)
    ours = run_stepped(fgsm(eps="8/255"), FakeModel(net), batch, make_draws(batch))
    away = (net.weight[1] - net.weight[0]).sign().float().view(1, 3, 6, 6)
    side = torch.where(batch.labels == 0, 1.0, -1.0).view(-1, 1, 1, 1)
    assert torch.equal(ours, (batch.pixels + 8 / 255 * (away * side)).clamp(0, 1))


def test_pgd_l2_on_a_linear_model_reaches_the_edge_of_the_ball_along_the_known_gradient():
    batch = make_batch(n=5, side=6, classes=2)
    net = Linear(2, 6)
    attack = pgd(eps=0.05, norm="l2", steps=4, random_start=False)
    ours = run_stepped(attack, FakeModel(net), batch, make_draws(batch))
    away = (net.weight[1] - net.weight[0]).view(1, 3, 6, 6)
    side = torch.where(batch.labels == 0, 1.0, -1.0).view(-1, 1, 1, 1)
    expected = batch.pixels.double() + 0.05 * side * away / away.norm()
    torch.testing.assert_close(ours.double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("attack", [fgsm(eps="8/255"), pgd(eps="8/255"), pgd(eps=0.5, norm="l2")])
def test_the_loss_goes_up(attack):
    batch, model = make_batch(n=12), conv_model()
    found = run_stepped(attack, model, batch, make_draws(batch))
    assert (loss_of(attack, model, batch, found) > loss_of(attack, model, batch, batch.pixels)).all()


def test_more_steps_of_pgd_do_better_than_one_of_fgsm():
    batch, model = make_batch(n=12), conv_model()
    draws = make_draws(batch)
    one, many = fgsm(eps=0.1), pgd(eps=0.1, steps=40, random_start=False)
    weak = loss_of(one, model, batch, run_stepped(one, model, batch, draws)).mean()
    assert loss_of(many, model, batch, run_stepped(many, model, batch, draws)).mean() > weak


@pytest.mark.parametrize(
    "attack", [fgsm(eps=0), pgd(eps=0), pgd(eps=0, norm="l2"), pgd(eps="0/255", restarts=2)]
)
def test_an_empty_budget_is_the_identity(attack):
    batch = make_batch()
    assert attack.identity
    assert torch.equal(run_stepped(attack, conv_model(), batch, make_draws(batch)), batch.pixels)


def test_a_linf_start_is_the_keyed_uniform_draw_scaled_to_the_ball():
    batch = make_batch()
    draws = make_draws(batch)
    start = pgd(eps=0.01).start(batch, draws)["pixels"]
    unit = draws.uniform("start", 3, 16, 16) * 2 - 1
    torch.testing.assert_close(start, batch.pixels + 0.01 * unit)
    assert (start - batch.pixels).abs().max() <= 0.01 + 1e-6
    assert unit.min() < -0.99
    assert unit.max() > 0.99


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.005), ("l2", 0.05)])
def test_starts_at_all_radii_lie_on_one_line(norm, eps):
    batch = make_batch()
    draws = make_draws(batch)
    small = pgd(eps=eps, norm=norm).start(batch, draws)["pixels"] - batch.pixels
    large = pgd(eps=eps * 2, norm=norm).start(batch, draws)["pixels"] - batch.pixels
    torch.testing.assert_close(small * 2, large, atol=5e-7, rtol=1e-5)


def test_an_l2_start_lies_at_the_drawn_share_of_the_radius():
    batch = make_batch()
    draws = make_draws(batch)
    start = pgd(eps=0.2, norm="l2").start(batch, draws)["pixels"]
    expected = 0.2 * draws.uniform("radius", 1, 1, 1).flatten().double()
    torch.testing.assert_close(length(start - batch.pixels), expected, atol=1e-6, rtol=1e-5)


def test_without_a_random_start_it_begins_at_the_image():
    batch = make_batch()
    assert torch.equal(
        pgd(eps=0.1, random_start=False).start(batch, make_draws(batch))["pixels"], batch.pixels
    )
    assert torch.equal(fgsm(eps=0.1).start(batch, make_draws(batch))["pixels"], batch.pixels)


def test_restarts_begin_elsewhere():
    batch = make_batch()
    draws = make_draws(batch)
    attack = pgd(eps=0.1, restarts=2)
    first, second = (attack.start(batch, draws.at(i))["pixels"] for i in (0, 1))
    assert not torch.equal(first, second)


def test_the_default_step_is_two_and_a_half_radii_over_the_steps():
    assert pgd(eps=0.2, steps=5).step_size == pytest.approx(0.1)
    assert pgd(eps=0.2, steps=5, alpha="2/255").step_size == 2 / 255


def test_a_step_brings_a_point_outside_back_to_the_nearest_of_the_ball():
    batch = make_batch(n=2, side=4)
    gradient = torch.zeros_like(batch.pixels)
    far = batch.pixels + 0.3
    linf = pgd(eps=0.1).step(batch, {"pixels": far}, gradient)["pixels"]
    torch.testing.assert_close(linf, (batch.pixels + 0.1).clamp(0, 1))
    l2 = pgd(eps=0.1, norm="l2").step(batch, {"pixels": far}, gradient)["pixels"]
    torch.testing.assert_close(l2, (batch.pixels + 0.1 / math.sqrt(48)).clamp(0, 1))
    inside = batch.pixels + 0.001
    assert torch.allclose(pgd(eps=0.1, norm="l2").step(batch, {"pixels": inside}, gradient)["pixels"], inside)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_flat_loss_moves_nothing(norm):
    batch = make_batch()
    attack = pgd(eps=0.1, norm=norm, random_start=False)
    model = constant_model(1.0, 0.0, 2.0, 0.0, 0.0)
    assert torch.equal(run_stepped(attack, model, batch, make_draws(batch)), batch.pixels)


@pytest.mark.parametrize("attack", [fgsm(eps=0.1), pgd(eps=0.1), pgd(eps=0.1, norm="l2")])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_gives_no_pixel_that_is_not(attack, bad):
    batch = make_batch(n=2, side=4)
    gradient = torch.randn(2, 3, 4, 4)
    gradient[0, 0, 0, 0] = bad
    gradient[1] = float("nan")
    found = attack.step(batch, {"pixels": batch.pixels}, gradient)["pixels"]
    assert ((found >= 0) & (found <= 1)).all()
    assert torch.equal(found[1], batch.pixels[1])
    assert not torch.equal(found[0], batch.pixels[0])


@pytest.mark.parametrize("size", [1e-38, 1e-25, 1.0, 1e25])
def test_an_l2_step_has_its_length_whatever_the_size_of_the_gradient(size):
    """A confident model's gradients are tiny; without scaling their squares are 0 in float32."""
    batch = make_batch(n=3)
    direction = torch.randn(3, 3, 16, 16)
    attack = pgd(eps=1.0, norm="l2", alpha=0.01)
    moved = attack.step(batch, {"pixels": batch.pixels}, direction * size)["pixels"] - batch.pixels
    torch.testing.assert_close(length(moved), torch.full((3,), 0.01, dtype=torch.float64), atol=1e-5, rtol=0)


def test_given_pixels_are_left_alone():
    batch = make_batch()
    before = batch.pixels.clone()
    for attack in (fgsm(eps=0.1), pgd(eps=0.1), pgd(eps=0.1, norm="l2", random_start=False)):
        run_stepped(attack, linear_model(), batch, make_draws(batch))
    assert torch.equal(batch.pixels, before)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        (
            "fgsm",
            {"eps": 8},
            r"gradient\.fgsm: eps: expected a radius in \[0, 1\] .* \(did you mean 8/255\?\), got 8",
        ),
        (
            "fgsm",
            {"eps": "8 of 255"},
            r"expected a radius in \[0, 1\] .*, such as 8/255 or 0\.03, got '8 of 255'",
        ),
        ("fgsm", {}, r"gradient\.fgsm: the parameter 'eps' is missing"),
        ("fgsm", {"eps": 0.1, "steps": 3}, "unknown parameter 'steps'; did you mean 'eps'"),
        ("pgd", {"eps": 8}, r"gradient\.pgd: eps: expected .* \(did you mean 8/255\?\), got 8\.0"),
        ("pgd", {"eps": -1, "norm": "l2"}, "eps: expected a radius of at least 0 .*, got -1"),
        ("pgd", {"eps": 0.1, "alpha": 2}, r"alpha: expected .* \(did you mean 2/255\?\), got 2\.0"),
        (
            "pgd",
            {"eps": 0.1, "alpha": "two"},
            "alpha: expected a number or a fraction such as 8/255, got 'two'",
        ),
        ("pgd", {"eps": 0.1, "norm": "l1"}, "norm: expected 'linf' or 'l2', got 'l1'"),
        ("pgd", {"eps": 0.1, "steps": 0}, "steps: expected greater than or equal to 1, got 0"),
        (
            "pgd",
            {"eps": 0.1, "restarts": 2, "random_start": False},
            "restarts: expected 1 without random_start",
        ),
        ("pgd", {"eps": 0.1, "stpes": 2}, "unknown parameter 'stpes'; did you mean 'steps'"),
    ],
)
def test_bad_parameters(name, params, message):
    with pytest.raises(BadParameter, match=message):
        attacks.build(f"gradient.{name}", params)


def test_the_path_of_a_bad_radius_leads_to_it():
    with pytest.raises(BadParameter) as caught:
        pgd(eps=0.1, alpha=3)
    assert caught.value.path == ("alpha",)


def test_an_l2_radius_may_exceed_one():
    assert pgd(eps=3, norm="l2").eps == 3.0
