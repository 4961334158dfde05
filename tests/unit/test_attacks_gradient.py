import math

import pytest
import torch

from robobench import losses
from robobench.contracts import Seen, SteppedAttack
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
    return attack.loss(model(batch.with_pixels(pixels)), batch.labels, {})


def start_of(attack, batch, draws, restart=0, logits=None):
    logits = torch.zeros(len(batch), 5) if logits is None else logits
    return attack.start(batch, logits, restart, draws)


def stepped(attack, batch, pixels, gradient):
    """Where one step leads from some pixels when the model has said that this is the gradient."""
    nothing = torch.zeros(len(batch))
    return attack.step(batch, {"pixels": pixels}, Seen(nothing[:, None], nothing, gradient))["pixels"]


def length(change):
    return change.double().flatten(1).norm(dim=1)


def test_both_are_stepped_attacks():
    assert isinstance(fgsm(eps=0.1), SteppedAttack)
    assert isinstance(pgd(eps=0.1), SteppedAttack)


def test_costs_are_three_passes_a_step_and_one_for_the_answer():
    assert fgsm(eps=0.1).cost == 4
    assert pgd(eps=0.1).cost == 31
    assert pgd(eps=0.1, steps=20, restarts=3).cost == 181
    assert pgd(eps=0.1, steps=20, eot=4).cost == 241


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


@pytest.mark.parametrize(
    "attack", [fgsm(eps="8/255"), pgd(eps="8/255"), pgd(eps=0.5, norm="l2"), pgd(eps=5, norm="l1", share=0.1)]
)
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
    "attack",
    [fgsm(eps=0), pgd(eps=0), pgd(eps=0, norm="l2"), pgd(eps=0, norm="l1"), pgd(eps="0/255", restarts=2)],
)
def test_an_empty_budget_is_the_identity(attack):
    batch = make_batch()
    assert attack.identity
    assert torch.equal(run_stepped(attack, conv_model(), batch, make_draws(batch)), batch.pixels)


def test_a_linf_start_is_the_keyed_uniform_draw_scaled_to_the_ball():
    batch = make_batch()
    draws = make_draws(batch)
    start = start_of(pgd(eps=0.01), batch, draws)["pixels"]
    unit = draws.uniform("start", 3, 16, 16) * 2 - 1
    torch.testing.assert_close(start, batch.pixels + 0.01 * unit)
    assert (start - batch.pixels).abs().max() <= 0.01 + 1e-6
    assert unit.min() < -0.99
    assert unit.max() > 0.99


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.005), ("l2", 0.05)])
def test_starts_at_all_radii_lie_on_one_line(norm, eps):
    batch = make_batch()
    draws = make_draws(batch)
    small = start_of(pgd(eps=eps, norm=norm), batch, draws)["pixels"] - batch.pixels
    large = start_of(pgd(eps=eps * 2, norm=norm), batch, draws)["pixels"] - batch.pixels
    torch.testing.assert_close(small * 2, large, atol=5e-7, rtol=1e-5)


def test_an_l2_start_lies_at_the_drawn_share_of_the_radius():
    batch = make_batch()
    draws = make_draws(batch)
    start = start_of(pgd(eps=0.2, norm="l2"), batch, draws)["pixels"]
    expected = 0.2 * draws.uniform("radius", 1, 1, 1).flatten().double()
    torch.testing.assert_close(length(start - batch.pixels), expected, atol=1e-6, rtol=1e-5)


def test_without_a_random_start_it_begins_at_the_image():
    batch = make_batch()
    assert torch.equal(
        start_of(pgd(eps=0.1, random_start=False), batch, make_draws(batch))["pixels"], batch.pixels
    )
    assert torch.equal(start_of(fgsm(eps=0.1), batch, make_draws(batch))["pixels"], batch.pixels)


def test_restarts_begin_elsewhere():
    batch = make_batch()
    draws = make_draws(batch)
    attack = pgd(eps=0.1, restarts=2)
    first, second = (start_of(attack, batch, draws.at(i), i)["pixels"] for i in (0, 1))
    assert not torch.equal(first, second)


def test_the_default_step_is_two_and_a_half_radii_over_the_steps():
    assert pgd(eps=0.2, steps=5).step_size == pytest.approx(0.1)
    assert pgd(eps=0.2, steps=5, alpha="2/255").step_size == 2 / 255


def test_a_step_brings_a_point_outside_back_to_the_nearest_of_the_ball():
    batch = make_batch(n=2, side=4)
    gradient = torch.zeros_like(batch.pixels)
    far = batch.pixels + 0.3
    linf = stepped(pgd(eps=0.1), batch, far, gradient)
    torch.testing.assert_close(linf, (batch.pixels + 0.1).clamp(0, 1))
    l2 = stepped(pgd(eps=0.1, norm="l2"), batch, far, gradient)
    torch.testing.assert_close(l2, (batch.pixels + 0.1 / math.sqrt(48)).clamp(0, 1))
    inside = batch.pixels + 0.001
    assert torch.allclose(stepped(pgd(eps=0.1, norm="l2"), batch, inside, gradient), inside)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_flat_loss_moves_nothing(norm):
    batch = make_batch()
    attack = pgd(eps=0.1, norm=norm, random_start=False)
    model = constant_model(1.0, 0.0, 2.0, 0.0, 0.0)
    assert torch.equal(run_stepped(attack, model, batch, make_draws(batch)), batch.pixels)


@pytest.mark.parametrize(
    "attack", [fgsm(eps=0.1), pgd(eps=0.1), pgd(eps=0.1, norm="l2"), pgd(eps=0.1, norm="l1", share=0.1)]
)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_gives_no_pixel_that_is_not(attack, bad):
    batch = make_batch(n=2, side=4)
    gradient = torch.randn(2, 3, 4, 4)
    gradient[0, 0, 0, 0] = bad
    gradient[1] = float("nan")
    found = stepped(attack, batch, batch.pixels, gradient)
    assert ((found >= 0) & (found <= 1)).all()
    assert torch.equal(found[1], batch.pixels[1])
    assert not torch.equal(found[0], batch.pixels[0])


@pytest.mark.parametrize("size", [1e-38, 1e-25, 1.0, 1e25])
def test_an_l2_step_has_its_length_whatever_the_size_of_the_gradient(size):
    """A confident model's gradients are tiny; without scaling their squares are 0 in float32."""
    batch = make_batch(n=3)
    direction = torch.randn(3, 3, 16, 16)
    attack = pgd(eps=1.0, norm="l2", alpha=0.01)
    moved = stepped(attack, batch, batch.pixels, direction * size) - batch.pixels
    torch.testing.assert_close(length(moved), torch.full((3,), 0.01, dtype=torch.float64), atol=1e-5, rtol=0)


def test_given_pixels_are_left_alone():
    batch = make_batch()
    before = batch.pixels.clone()
    others = (pgd(eps=0.1, norm=norm, random_start=False) for norm in ("l2", "l1"))
    for attack in (fgsm(eps=0.1), pgd(eps=0.1), *others):
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
        ("pgd", {"eps": 0.1, "norm": "l0"}, "norm: expected 'linf', 'l2' or 'l1', got 'l0'"),
        ("pgd", {"eps": 0.1, "objective": "nll"}, "objective: expected 'ce', 'margin' or 'dlr', got 'nll'"),
        ("pgd", {"eps": 0.1, "target": "first"}, "target: expected 'least_likely', 'second' or 'random'"),
        ("pgd", {"eps": 0.1, "eot": 0}, "eot: expected greater than or equal to 1, got 0"),
        ("pgd", {"eps": 0.1, "share": 0}, "share: expected greater than 0, got 0"),
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


def test_an_l1_radius_may_exceed_one():
    assert pgd(eps=12, norm="l1").eps == 12.0


def test_an_l1_start_moves_few_pixels_by_much():
    """Normal noise brought into ball and range keeps its largest entries only."""
    batch = make_batch(n=3, side=32)
    start = start_of(pgd(eps=6, norm="l1"), batch, make_draws(batch))["pixels"] - batch.pixels
    assert ((start != 0).flatten(1).sum(1) < 100).all()
    torch.testing.assert_close(start.abs().flatten(1).sum(1), torch.full((3,), 6.0), atol=1e-4, rtol=0)


def test_an_l1_step_passes_over_what_is_at_the_edge_of_the_range():
    batch = make_batch(n=1, side=4)
    pixels = batch.pixels.clone()
    pixels[0, 0, 0, 0], pixels[0, 0, 0, 1] = 1.0, 0.0
    batch = batch.with_pixels(pixels)
    gradient = torch.full((1, 3, 4, 4), 1e-3)
    gradient[0, 0, 0, :3] = torch.tensor([9.0, -9.0, 5.0])  # up at white, down at black, and one that can go
    attack = pgd(eps=0.4, norm="l1", alpha=0.1, share=0.01)
    moved = stepped(attack, batch, batch.pixels, gradient) - batch.pixels
    expected = torch.zeros_like(moved)
    expected[0, 0, 0, 2] = min(0.1, 1 - float(pixels[0, 0, 0, 2]))
    torch.testing.assert_close(moved, expected)


LOGITS = torch.tensor([[3.0, 1.0, 2.0, -1.0, 0.0], [0.0, 4.0, 1.0, 2.0, 3.0], [5.0, 1.0, 0.0, -2.0, -3.0]])
LABELS = torch.tensor([0, 1, 4])  # of the last image the label is itself the least likely


@pytest.mark.parametrize(("target", "expected"), [("second", [2, 4, 0]), ("least_likely", [3, 0, 3])])
def test_a_target_is_chosen_by_the_clean_logits_and_is_never_the_label(target, expected):
    found = pgd(eps=0.1, target=target).aim(LOGITS, LABELS, make_draws(make_batch(n=3)))
    assert found["target"].tolist() == expected


def test_random_targets_are_all_other_classes_and_change_with_the_restart():
    batch = make_batch(n=400)
    draws = make_draws(batch)
    attack = pgd(eps=0.1, target="random", random_start=False, restarts=2)
    logits = torch.zeros(400, 5)
    first, second = (start_of(attack, batch, draws.at(i), i, logits)["target"] for i in (0, 1))
    assert not (first == batch.labels).any()
    assert first.bincount(minlength=5).min() > 50
    assert (first != second).float().mean() > 0.6


def test_what_is_followed():
    attack = pgd(eps=0.1, objective="margin")
    torch.testing.assert_close(attack.loss(LOGITS, LABELS, {}), torch.tensor([-1.0, -1.0, 8.0]))
    torch.testing.assert_close(
        pgd(eps=0.1, objective="dlr").loss(LOGITS, LABELS, {}), torch.tensor([-1 / 2, -1 / 2, 8 / 5])
    )
    state = {"target": torch.tensor([2, 4, 0])}
    expected = {
        "ce": LOGITS.log_softmax(1).gather(1, state["target"][:, None])[:, 0],
        "margin": torch.tensor([-1.0, -1.0, 4.0]),
        "dlr": torch.tensor([-1 / 2.5, -1 / 2.5, 8 / 6.0]),
    }
    for objective, values in expected.items():
        loss = pgd(eps=0.1, objective=objective, target="second").loss(LOGITS, LABELS, state)
        torch.testing.assert_close(loss, values)


@pytest.mark.parametrize(
    ("params", "classes"),
    [
        ({}, 2),
        ({"objective": "dlr"}, 3),
        ({"objective": "dlr", "target": "second"}, 4),
        ({"target": "second"}, 2),
    ],
)
def test_the_fewest_classes_it_works_with(params, classes):
    assert pgd(eps=0.1, **params).classes == classes


@pytest.mark.parametrize("target", ["second", "least_likely", "random"])
@pytest.mark.parametrize("objective", ["ce", "margin", "dlr"])
def test_a_targeted_attack_goes_to_its_target(objective, target):
    batch, model = make_batch(n=12), conv_model()
    attack = pgd(eps="16/255", objective=objective, target=target, random_start=False)
    draws = make_draws(batch)
    state = start_of(attack, batch, draws, logits=model(batch))
    found = run_stepped(attack, model, batch, draws)
    before, after = (model(batch.with_pixels(p)) for p in (batch.pixels, found))
    assert (attack.loss(after, batch.labels, state) > attack.loss(before, batch.labels, state)).all()
    if objective != "dlr":  # which also rises when the logits move apart
        aim = state["target"][:, None]
        assert (after.log_softmax(1) > before.log_softmax(1)).gather(1, aim).all()


def test_losses_are_those_the_engine_can_differentiate():
    """The gradient of the summed loss is the row-wise one: nothing in a loss mixes images."""
    logits = LOGITS.clone().requires_grad_()
    whole = torch.autograd.grad(losses.dlr(logits, LABELS).sum(), logits)[0]
    for row in range(3):
        one = LOGITS[row : row + 1].clone().requires_grad_()
        (alone,) = torch.autograd.grad(losses.dlr(one, LABELS[row : row + 1]).sum(), one)
        torch.testing.assert_close(alone[0], whole[row])
