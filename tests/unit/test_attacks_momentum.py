"""Momentum, look-ahead, diverse inputs and smoothed gradients, beside what torchattacks says of them."""

import pytest
import torch
from torch.nn.functional import interpolate

from robobench.contracts import Seen, SteppedAttack
from robobench.errors import BadParameter
from robobench.registry import attacks
from tests.fakes import constant_model, conv_model, linear_model, make_batch, make_draws, run_stepped

NAMES = ("mi_fgsm", "ni_fgsm", "di_fgsm", "ti_fgsm")


def build(name, **params):
    return attacks.build(f"gradient.{name}", {"eps": "8/255", **params})


def begun(attack, batch, restart=0, seed=0):
    return dict(attack.start(batch, torch.zeros(len(batch), 5), restart, make_draws(batch, seed=seed)))


def seeing(batch, gradient):
    nothing = torch.zeros(len(batch))
    return Seen(nothing[:, None], nothing, gradient)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_engine_reads(name):
    attack = build(name, steps=7)
    assert isinstance(attack, SteppedAttack)
    assert (attack.norm, attack.restarts, attack.white, attack.cost) == ("linf", 1, True, 22)
    assert build(name, steps=7, eot=3).cost == 64
    assert attack.step_size == pytest.approx(2 / 255)
    assert build(name, alpha="1/255").step_size == 1 / 255
    assert build(name, objective="dlr", target="second").classes == 4
    assert build(name, eps=0).identity


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_goes_up(name):
    batch, model = make_batch(n=12), conv_model()
    attack = build(name)
    found = run_stepped(attack, model, batch, make_draws(batch))
    before, after = (
        attack.loss(model(batch.with_pixels(p)), batch.labels, {}) for p in (batch.pixels, found)
    )
    assert (after > before).float().mean() > 0.9
    assert (found - batch.pixels).abs().max() <= 8 / 255 + 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_a_flat_loss_moves_nothing(name):
    """Where torchattacks divides nothing by nothing."""
    batch = make_batch()
    model = constant_model(1.0, 0.0, 2.0, 0.0, 0.0)
    assert torch.equal(run_stepped(build(name), model, batch, make_draws(batch)), batch.pixels)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_without_a_gradient_goes_on_along_the_momentum(name):
    batch = make_batch(n=2)
    attack = build(name, decay=0.5)
    state = begun(attack, batch) | {"momentum": torch.ones_like(batch.pixels) * 2}
    moved = attack.step(batch, state, seeing(batch, torch.zeros_like(batch.pixels)))
    torch.testing.assert_close(moved["momentum"], torch.ones_like(batch.pixels))
    torch.testing.assert_close(moved["pixels"], (batch.pixels + 2 / 255).clamp(0, 1))


@pytest.mark.parametrize("size", [1e-35, 1e-20, 1.0, 1e20])
def test_each_gradient_joins_with_a_mean_size_of_one(size):
    batch = make_batch(n=3)
    gradient = torch.randn(batch.pixels.shape, generator=torch.Generator().manual_seed(0))
    attack = build("mi_fgsm")
    state = attack.step(batch, begun(attack, batch), seeing(batch, gradient * size))
    expected = gradient / gradient.abs().mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(state["momentum"], expected)
    twice = attack.step(batch, state, seeing(batch, -gradient * size))
    torch.testing.assert_close(twice["momentum"], torch.zeros_like(expected), atol=1e-5, rtol=0)


def test_a_look_ahead_goes_along_the_decayed_momentum():
    batch = make_batch(n=2)
    attack = build("ni_fgsm", decay=0.5, alpha="4/255")
    state = begun(attack, batch) | {"momentum": torch.full_like(batch.pixels, 3.0)}
    torch.testing.assert_close(attack.probe(batch, state), batch.pixels + 0.5 * 4 / 255 * 3)


@pytest.mark.parametrize("name", ["di_fgsm", "ti_fgsm"])
def test_an_image_is_shown_smaller_on_black_or_as_it_is(name):
    batch = make_batch(n=40, side=20)
    attack = build(name, steps=3, resize_rate=0.6)
    state = begun(attack, batch)
    shown = attack.probe(batch, state)
    smaller = (shown == 0).flatten(1).any(1)  # no pixel of these images is black
    assert torch.equal(smaller, state["shrink"][:, 0] < 0.5)
    assert 10 < smaller.sum() < 30
    assert torch.equal(shown[~smaller], batch.pixels[~smaller])
    sides = set()
    for image, picture in zip(batch.pixels[smaller], shown[smaller], strict=True):
        rows, columns = (picture[0] > 0).any(1).nonzero()[:, 0], (picture[0] > 0).any(0).nonzero()[:, 0]
        side = len(rows)
        sides.add(side)
        assert len(columns) == side
        there = picture[:, rows[0] : rows[0] + side, columns[0] : columns[0] + side]
        expected = interpolate(image[None], (side, side), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(there, expected)
        assert picture.sum() == pytest.approx(float(there.sum()), rel=1e-5)
    assert min(sides) >= 12
    assert max(sides) <= 19
    assert len(sides) >= 4


def test_each_step_shows_it_in_another_way():
    batch = make_batch(n=1)
    attack = build("di_fgsm", steps=4, diversity_prob=1.0)
    state, shown = begun(attack, batch), []
    for made in range(5):
        shown.append(attack.probe(batch, state | {"made": torch.tensor([made])}))
    assert not any(torch.equal(shown[0], other) for other in shown[1:4])
    assert torch.equal(shown[3], shown[4])  # a place that waits in the lot makes no step beyond the last


def test_a_wide_image_keeps_its_proportions():
    batch = make_batch(n=1, side=20, width=40)
    attack = build("di_fgsm", steps=1, diversity_prob=1.0, resize_rate=0.5)
    shown = attack.probe(batch, begun(attack, batch))[0, 0] > 0
    tall, wide = shown.any(1).sum(), shown.any(0).sum()
    assert 10 <= tall <= 19
    assert abs(int(wide) - 2 * int(tall)) <= 2


def test_the_gradient_is_carried_back_to_the_pixels_of_the_image():
    """Of a linear model the loss of the shown image rises as the carried gradient says, for any change."""
    batch = make_batch(n=4, side=12)
    attack = build("di_fgsm", steps=1, diversity_prob=1.0, resize_rate=0.6)
    state = begun(attack, batch)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(batch.pixels.shape, generator=generator)
    change = torch.randn(batch.pixels.shape, generator=generator)
    shown = attack.probe(batch, state | {"pixels": change})  # resizing is linear: black stays black
    carried = attack.felt(state, weight)
    torch.testing.assert_close((shown * weight).flatten(1).sum(1), (change * carried).flatten(1).sum(1))
    assert not carried.requires_grad


@pytest.mark.parametrize("kernel", ["gaussian", "linear", "uniform"])
@pytest.mark.parametrize("size", [1, 3, 15])
def test_a_kernel_is_that_of_torchattacks(kernel, size):
    package = pytest.importorskip("torchattacks")
    module = torch.nn.Conv2d(3, 3, 1)
    theirs = package.TIFGSM(module, kernel_name=kernel, len_kernel=size).stacked_kernel[0, 0]
    taps = torch.as_tensor(build("ti_fgsm", kernel=kernel, kernel_size=size).taps)
    assert taps.sum() == pytest.approx(1)
    if size > 1:  # theirs of one pixel has the weight of an edge, which then is divided away
        torch.testing.assert_close(taps[:, None] * taps, theirs.double(), atol=1e-7, rtol=1e-5)


def test_a_smoothed_gradient_is_a_convolution_with_nothing_around_it():
    batch = make_batch(n=2, side=16)
    gradient = torch.randn(batch.pixels.shape, generator=torch.Generator().manual_seed(0))
    attack = build("ti_fgsm", steps=1, diversity_prob=0, kernel_size=5)
    taps = torch.as_tensor(attack.taps, dtype=torch.float32)
    kernel = (taps[:, None] * taps).expand(3, 1, 5, 5)
    expected = torch.nn.functional.conv2d(gradient, kernel, padding=2, groups=3)
    torch.testing.assert_close(attack.felt(begun(attack, batch), gradient), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_given_pixels_are_left_alone(name):
    batch = make_batch()
    before = batch.pixels.clone()
    run_stepped(build(name, steps=2), linear_model(), batch, make_draws(batch))
    assert torch.equal(batch.pixels, before)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("mi_fgsm", {"eps": 8}, r"eps: expected a radius in \[0, 1\] .* \(did you mean 8/255\?\), got 8"),
        ("mi_fgsm", {"decay": -1}, "decay: expected greater than or equal to 0, got -1"),
        ("mi_fgsm", {"restarts": 2}, "unknown parameter 'restarts'"),
        ("ni_fgsm", {"steps": 0}, "steps: expected greater than or equal to 1, got 0"),
        ("di_fgsm", {"resize_rate": 1.1}, "resize_rate: expected less than 1, got 1.1"),
        ("di_fgsm", {"diversity_prob": 2}, "diversity_prob: expected less than or equal to 1, got 2"),
        ("ti_fgsm", {"kernel_size": 4}, r"gradient\.ti_fgsm: kernel_size: expected an odd number, got 4"),
        ("ti_fgsm", {"kernel": "box"}, "kernel: expected 'gaussian', 'linear' or 'uniform', got 'box'"),
    ],
)
def test_bad_parameters(name, params, message):
    with pytest.raises(BadParameter, match=message):
        attacks.build(f"gradient.{name}", {"eps": "8/255", **params})
