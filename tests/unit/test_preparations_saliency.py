import pytest
import torch

from robobench.errors import ModelError
from robobench.registry import preparations
from tests.fakes import FakeModel, Linear, constant_model, conv_model, make_batch, make_draws


def run(model, batches):
    batches = list(batches)
    draws = make_draws(batches[0]) if batches else None
    return preparations.build("saliency.gradient")(model, batches, draws)["saliency"]


def test_of_a_linear_model_it_is_known_in_closed_form():
    batch = make_batch(n=4, side=6)
    net = Linear(5, 6)
    shown = run(FakeModel(net), [batch])
    error = net(batch.pixels).double().softmax(1) - torch.nn.functional.one_hot(batch.labels, 5)
    expected = (error @ net.weight).view(4, 3, 6, 6).abs().sum(1)
    torch.testing.assert_close(shown.double(), expected, atol=1e-6, rtol=1e-5)


def test_against_finite_differences():
    batch = make_batch(n=2, side=8)
    model = conv_model()
    shown = run(model, [batch])
    model.module.double()
    y, x, step = 3, 5, 1e-4
    total = 0.0
    for channel in range(3):
        moved = []
        for sign in (1, -1):
            pixels = batch.pixels.double().clone()
            pixels[:, channel, y, x] += sign * step
            moved.append(
                torch.nn.functional.cross_entropy(model.module(pixels), batch.labels, reduction="none")
            )
        total = total + ((moved[0] - moved[1]) / (2 * step)).abs()
    torch.testing.assert_close(shown[:, y, x].double(), total, atol=1e-5, rtol=1e-3)


def test_one_row_per_image_in_the_order_of_the_batches():
    batch = make_batch(n=7, side=8)
    whole = run(conv_model(), [batch])
    parts = run(conv_model(), [batch.select(range(3)), batch.select(range(3, 7))])
    assert whole.shape == (7, 8, 8)
    assert whole.dtype == torch.float32
    torch.testing.assert_close(parts, whole)
    assert (whole >= 0).all()


def test_a_model_that_looks_at_nothing_has_no_saliency():
    assert (run(constant_model(1.0, 2.0, 3.0, 4.0, 5.0), [make_batch()]) == 0).all()


def test_no_batches_give_no_maps():
    assert run(conv_model(), []).shape == (0, 0, 0)


def test_a_model_is_needed():
    with pytest.raises(
        ModelError, match=r"saliency\.gradient needs a model: name one in the suite's preparation"
    ):
        run(None, [make_batch()])
