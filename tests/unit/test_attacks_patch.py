"""The patch of each image against a plain loop, alone and in company, and inside its budget."""

import pytest
import torch

from robobench.engine.assault import run_attack
from robobench.engine.lots import distance
from robobench.errors import BadParameter
from robobench.registry import attacks
from robobench.tasks.classification import Classification
from robobench.types import ImageBatch
from tests.fakes import conv_model, linear_model, make_batch, make_draws, run_stepped

SIDE = 16
PLACES = ("random", "centre", "salient")


def image_patch(**params):
    return attacks.build("patch.image", {"grid": 4, **params})


def draws_of(batch):
    return make_draws(batch, "patch.image")


def by_hand(model, batch, place, eps, steps):
    """One image at a time, the patch as a slice."""
    side = int((eps * SIDE * SIDE + 1e-9) ** 0.5)
    found = []
    for i in range(len(batch)):
        one = batch.select([i])
        draws = draws_of(one)
        if place == "centre":
            y, x = SIDE // 2, SIDE // 2
        elif place == "random":
            y, x = (int(v * SIDE) for v in draws.uniform("place", 2)[0])
        else:
            gradient = grad(model, one, one.pixels).abs()[0]
            mass = {
                (r, c): gradient[:, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4].double().sum()
                for r in range(4)
                for c in range(4)
            }
            y, x = (4 * v + 2 for v in max(mass, key=mass.get))
        y, x = (min(max(v - side // 2, 0), SIDE - side) for v in (y, x))
        noise = draws.uniform("noise", 3, SIDE, SIDE)[0]
        pixels = one.pixels.clone()
        pixels[0, :, y : y + side, x : x + side] = noise[:, y : y + side, x : x + side]
        for _ in range(steps):
            up = grad(model, one, pixels)[0, :, y : y + side, x : x + side]
            patch = pixels[0, :, y : y + side, x : x + side] + 1.25 / steps * up.sign()
            pixels[0, :, y : y + side, x : x + side] = patch.clamp(0, 1)
        found.append(pixels[0])
    return torch.stack(found)


def grad(model, one, pixels):
    pixels = pixels.clone().requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(model(one.with_pixels(pixels)), one.labels)
    return torch.autograd.grad(loss, pixels)[0]


@pytest.mark.parametrize("place", PLACES)
def test_steps_are_those_of_a_plain_loop(place):
    model, batch = conv_model(), make_batch(n=5, side=SIDE)
    found = run_stepped(image_patch(eps=0.1, place=place, steps=4), model, batch, draws_of(batch))
    torch.testing.assert_close(found, by_hand(model, batch, place, 0.1, 4), atol=1e-6, rtol=0)


@pytest.mark.parametrize("place", PLACES)
def test_larger_patches_hold_smaller_ones_and_none_leaves_its_share(place):
    model, batch = conv_model(), make_batch(n=6, side=SIDE)
    last = torch.zeros(6, SIDE, SIDE, dtype=torch.bool)
    for eps in (0.01, 0.05, 0.1, 0.3, 1.0):
        found = run_stepped(image_patch(eps=eps, place=place, steps=2), model, batch, draws_of(batch))
        changed = (found != batch.pixels).any(1)
        assert not (last & ~changed).any()
        assert (distance(batch.pixels, found, "l0") <= eps).all()
        last = changed
    assert last.all()


def test_less_than_a_pixel_changes_nothing():
    model, batch = conv_model(), make_batch(n=2, side=SIDE)
    assert torch.equal(
        run_stepped(image_patch(eps=0.003, steps=2), model, batch, draws_of(batch)), batch.pixels
    )


@pytest.mark.parametrize("place", ["random", "salient"])
def test_an_image_ends_the_same_whoever_shares_its_lot(place):
    """Refilled lots put images at different steps beside each other; those that fell are found at once."""
    model, batch = linear_model(side=SIDE), make_batch(n=9, side=SIDE)
    logits = model(batch)
    batch = ImageBatch(batch.pixels, batch.ids, logits.argmax(1))
    attack = image_patch(eps=0.05, place=place, steps=5, restarts=2)
    results = [
        run_attack(attack, model, batch, logits, range(9), draws_of(batch), lot, Classification())
        for lot in (1, 2, 9)
    ]
    assert 0 < results[0].fell.sum() < 9
    for other in results[1:]:
        assert torch.equal(other.pixels, results[0].pixels)
        assert torch.equal(other.fell, results[0].fell)
        assert torch.equal(other.queries, results[0].queries)
    assert (results[0].queries[results[0].fell] <= 2 * (attack.asks + 1)).all()


def test_a_grid_that_does_not_fit_is_refused_before_the_first_step():
    model, batch = conv_model(), make_batch(n=2, side=SIDE)
    with pytest.raises(BadParameter, match=r"^patch.image: grid: .* divides the 16x16 pixels, got 3x3"):
        run_stepped(image_patch(eps=0.1, place="salient", grid=3), model, batch, draws_of(batch))
