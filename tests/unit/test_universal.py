"""Universal perturbations: against autograd in the change itself, against linear models, inside their budget."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from robobench.draws import Draws
from robobench.errors import AttackError, BadParameter, DataError, ModelError
from robobench.preparations.universal.lots import lots
from robobench.registry import perturbations, preparations
from robobench.types import ImageBatch
from tests.fakes import FakeModel, Linear, conv_model, make_batch, make_draws

EPS = 16 / 255


def learned(model, batches, **params):
    make = preparations.build("universal.perturbation", {"eps": EPS, **params})
    return make(model, batches, make_draws(batches[0] if batches else make_batch()))["perturbation"]


def far_from_the_edges(n: int = 10, side: int = 8) -> ImageBatch:
    batch = make_batch(n, side)
    return batch.with_pixels(0.3 + 0.4 * batch.pixels)


@pytest.mark.parametrize(("norm", "eps"), [("linf", EPS), ("l2", 0.7)])
@pytest.mark.parametrize("clip", [12.0, 1.5])
def test_it_is_what_autograd_in_the_change_itself_gives(norm, eps, clip):
    """As a user would write it: one leaf tensor, the mean clipped loss, signed steps, a projection."""
    batch, net = far_from_the_edges(), conv_model().module
    delta = torch.zeros(3, 8, 8)
    epochs, size, step = 3, 4, 0.1 * eps
    for epoch in range(epochs):
        stride = step * (1.0, 1.0, 0.1)[epoch]
        for first in range(0, 10, size):
            leaf = delta.clone().requires_grad_()
            losses = cross_entropy(
                net(batch.pixels[first : first + size] + leaf),
                batch.labels[first : first + size],
                reduction="none",
            )
            (slope,) = torch.autograd.grad(losses.clamp(max=clip).mean(), leaf)
            delta = delta + stride * (slope.sign() if norm == "linf" else slope / slope.norm())
            delta = delta.clamp(-eps, eps) if norm == "linf" else delta * min(1, eps / float(delta.norm()))
    found = learned(conv_model(), [batch], norm=norm, eps=eps, epochs=epochs, batch=size, clip=clip)
    torch.testing.assert_close(found, delta, atol=1e-6, rtol=1e-5)


def test_against_a_linear_model_of_two_classes_the_best_change_is_known():
    net = Linear(2, 6)
    batch = make_batch(6, 6, classes=1)
    found = learned(FakeModel(net), [batch.with_pixels(0.3 + 0.4 * batch.pixels)], clip=1e6, step=1.0)
    best = EPS * (net.weight[1] - net.weight[0]).sign().view(3, 6, 6).float()
    torch.testing.assert_close(found, best)


def test_an_image_beyond_the_clip_draws_it_no_more():
    """Two images of two classes: with the first one's loss over the clip only the second counts."""
    net = Linear(2, 6)
    batch = far_from_the_edges(2, 6)
    losses = cross_entropy(net(batch.pixels), torch.tensor([0, 1]), reduction="none")
    worse = int(losses.argmax())
    batch = ImageBatch(batch.pixels, batch.ids, torch.tensor([0, 1]))
    found = learned(FakeModel(net), [batch], epochs=1, step=1.0, clip=float(losses.mean()))
    other = 1 - worse
    expected = EPS * ((net.weight[1 - other] - net.weight[other]).sign().view(3, 6, 6).float())
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 48 / 255), ("l2", 5.0)])
def test_it_fools_more_than_random_signs_of_its_size_and_stays_inside_its_budget(norm, eps):
    batch, model = make_batch(60, 16), conv_model()
    with torch.no_grad():
        answers = model(batch).argmax(1)
    batch = ImageBatch(batch.pixels, batch.ids, answers)
    change = learned(model, [batch.select(range(30))], norm=norm, eps=eps, batch=10)
    size = change.abs().max() if norm == "linf" else change.norm()
    assert 0.9 * eps < float(size) <= eps + 1e-6
    rest = batch.select(range(30, 60))
    given = ImageBatch(rest.pixels, rest.ids, rest.labels, {"perturbation": change.expand(30, -1, -1, -1)})
    shown = perturbations.build("universal.add")(given, make_draws(rest))
    chance = perturbations.build("universal.signs", {"eps": eps, "norm": norm})(rest, make_draws(rest))
    with torch.no_grad():
        fooled, by_chance = ((model(b).argmax(1) != b.labels).sum() for b in (shown, chance))
    assert fooled > by_chance
    assert fooled >= 6


def test_signs_are_the_same_for_every_image_and_budget_and_as_large_as_the_budget():
    batch = far_from_the_edges(5, 12)
    draws = make_draws(batch, "universal.signs")

    def change(which: Draws = draws, **params):
        shown = perturbations.build("universal.signs", params)(batch, which)
        return shown.pixels - batch.pixels

    large, small = change(eps=0.2), change(eps=0.1)
    torch.testing.assert_close(large[:1].expand_as(large), large)
    torch.testing.assert_close(large, 2 * small)
    torch.testing.assert_close(large.abs(), torch.full_like(large, 0.2))
    assert abs(float(large[0].sign().mean())) < 0.2
    norms = change(eps=1.5, norm="l2").flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.full((5,), 1.5))
    assert (change(draws.at(1), eps=0.2) != large).any(), "another repetition has other signs"


def test_add_adds_a_share_and_cuts():
    batch = make_batch(3, 8)
    change = torch.linspace(-1, 1, 192).view(1, 3, 8, 8).expand(3, -1, -1, -1)
    given = ImageBatch(batch.pixels, batch.ids, batch.labels, {"perturbation": change})
    shown = perturbations.build("universal.add", {"scale": 0.5})(given, make_draws(batch))
    torch.testing.assert_close(shown.pixels, (batch.pixels + 0.5 * change).clamp(0, 1))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({}, BadParameter, "got none; name a preparation"),
        ({"perturbation": torch.zeros(3, 3, 4, 4)}, BadParameter, r"expected .* \(3, 3, 8, 8\), got \(3, 3, 4, 4\)"),
        ({"perturbation": torch.full((3, 3, 8, 8), torch.nan)}, DataError, "NaN or infinity"),
    ],
)  # fmt: skip
def test_add_says_what_it_cannot_add(change, error, message):
    batch = make_batch(3, 8)
    given = ImageBatch(batch.pixels, batch.ids, batch.labels, change)
    with pytest.raises(error, match=message):
        perturbations.build("universal.add")(given, make_draws(batch))


def test_bad_input_is_answered():
    with pytest.raises(BadParameter, match=r"eps: expected .*did you mean 8/255"):
        preparations.build("universal.perturbation", {"eps": 8})
    with pytest.raises(BadParameter, match=r"eps: expected .*did you mean 8/255"):
        perturbations.build("universal.signs", {"eps": 8})
    assert preparations.build("universal.perturbation", {"eps": 8, "norm": "l2"}).eps == 8
    with pytest.raises(ModelError, match="needs a model"):
        learned(None, [make_batch()])
    with pytest.raises(DataError, match="no images"):
        learned(conv_model(), [])
    with pytest.raises(DataError, match="images of 16x16 and 8x8 pixels"):
        learned(conv_model(), [make_batch(4, 16), make_batch(4, 8)], batch=4)


def test_a_gradient_that_is_not_finite_is_an_error_and_no_result():
    class Broken(torch.nn.Module):
        def forward(self, pixels):
            return torch.stack([(pixels.flatten(1).sum(1) - 1e9).sqrt(), pixels.flatten(1).sum(1)], 1)

    with pytest.raises(AttackError, match="not finite"):
        learned(FakeModel(Broken()), [make_batch(4, 8, classes=2)])


def test_lots_have_one_size_whatever_they_come_in():
    batch = make_batch(11, 8)
    for cuts in ([11], [1, 10], [5, 5, 1], [3, 3, 3, 2]):
        ends = torch.tensor(cuts).cumsum(0).tolist()
        parts = [batch.select(range(end - size, end)) for size, end in zip(cuts, ends, strict=True)]
        found = list(lots(parts, 4))
        assert [len(b) for b in found] == [4, 4, 3]
        assert sum((b.ids for b in found), ()) == batch.ids
        torch.testing.assert_close(torch.cat([b.pixels for b in found]), batch.pixels)
        torch.testing.assert_close(torch.cat([b.labels for b in found]), batch.labels)
    assert list(lots([], 4)) == []
