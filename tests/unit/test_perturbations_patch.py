"""One patch for all images: what is shown, where, and what is refused."""

import numpy as np
import pytest
import torch

from robobench.checks.preview import preview
from robobench.errors import BadParameter, DataError
from robobench.patches import outline
from robobench.registry import perturbations, preparations
from robobench.types import ImageBatch
from tests.fakes import FakeModel, conv_model, make_batch, make_draws

SIDE = 20


def shown(batch, patch=None, **params):
    given = {} if patch is None else {"patch": patch.expand(len(batch), -1, -1, -1)}
    ready = ImageBatch(batch.pixels, batch.ids, batch.labels, given)
    content = "noise" if patch is None else "learned"
    step = perturbations.build("patch.universal", {"content": content, **params})
    return step(ready, make_draws(batch, "patch.universal"))


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_learned_and_untrained_patches_lie_at_the_same_places(shape):
    batch = make_batch(n=8, side=SIDE)
    covers = outline(shape, 0.1, (SIDE, SIDE), "x")
    white = torch.ones(3, *covers.shape)
    learned, noise = shown(batch, white, area=0.1, shape=shape), shown(batch, area=0.1, shape=shape)
    where = (learned.pixels > 0.999).all(1)
    assert learned.pixels.max() == 1
    assert torch.equal(where, (noise.pixels != batch.pixels).any(1))
    assert (where.flatten(1).sum(1) == covers.sum()).all()
    assert torch.equal(learned.facts["changed"], where.float().mean((1, 2)))
    assert len({tuple(w.nonzero()[0].tolist()) for w in where}) > 4


def test_the_untrained_patch_is_one_for_all_images():
    batch = make_batch(n=8, side=SIDE)
    other = shown(batch, area=0.1, shape="square")
    side = len(outline("square", 0.1, (SIDE, SIDE), "x"))
    seen = set()
    for before, after in zip(batch.pixels, other.pixels, strict=True):
        y, x = (before != after).any(0).nonzero()[0].tolist()
        patch = after[:, y : y + side, x : x + side]
        turns = sorted(tuple(torch.rot90(patch, k, (1, 2)).flatten().tolist()) for k in range(4))
        seen.add(turns[0])
    assert len(seen) == 1


def test_a_patch_that_is_missing_or_of_another_area_or_out_of_range_is_refused():
    batch = make_batch(n=2, side=SIDE)
    step = perturbations.build("patch.universal", {})
    with pytest.raises(BadParameter, match=r"got none; name a preparation `universal.patch`"):
        step(batch, make_draws(batch))
    with pytest.raises(BadParameter, match=r"expected a patch of shape \(2, 3, 4, 4\) for a circle of 0.05"):
        shown(batch, torch.ones(3, 6, 6), area=0.05)
    with pytest.raises(DataError, match=r"holds numbers in \[0, 1.5\]"):
        shown(batch, torch.full((3, 4, 4), 1.5).index_fill(0, torch.tensor([0]), 0.0), area=0.05)


class Bright(torch.nn.Module):
    """Class 1 where the red of the pixels adds up to more than a threshold; else class 0."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold

    def forward(self, pixels):
        total = pixels[:, 0].flatten(1).sum(1) - pixels[:, 1].flatten(1).sum(1)
        return torch.stack([self.threshold - total, total - self.threshold], 1) * 0.01


def learned(model, batch, **params):
    made = preparations.build("universal.patch", params)
    return made(model, [batch], make_draws(batch, "universal.patch"))["patch"]


def test_a_patch_is_learned_that_the_model_cannot_stand():
    batch = make_batch(n=12, side=SIDE)
    batch = ImageBatch(batch.pixels, batch.ids, torch.zeros_like(batch.labels))
    patch = learned(FakeModel(Bright(1000.0)), batch, area=0.1, shape="square", epochs=40)
    assert (patch[0] == 1).all()
    assert (patch[1] == 0).all()


def test_a_step_is_the_sign_of_the_gradient_worked_out_by_slices():
    model, batch = conv_model(), make_batch(n=5, side=SIDE)
    batch = ImageBatch(batch.pixels, batch.ids, model(batch).argmax(1))
    draws = make_draws(batch, "universal.patch")
    first = draws.select(("the first patch",)).uniform("first", 3, 6, 6)[0].requires_grad_(True)
    place, turn = draws.uniform("place", 2), draws.uniform("turn")
    shown = batch.pixels.clone()
    for i in range(5):
        y, x = (int(place[i, k] * (SIDE - 6 + 1)) for k in (0, 1))
        shown[i, :, y : y + 6, x : x + 6] = torch.rot90(first, int(4 * turn[i]), (1, 2))
    loss = torch.nn.functional.cross_entropy(model(batch.with_pixels(shown)), batch.labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, first)
    expected = (first.detach() + 0.03 * gradient.sign()).clamp(0, 1)
    found = learned(model, batch, area=0.1, shape="square", epochs=1, step=0.03, confidence=0.999)
    torch.testing.assert_close(found, expected)


def test_images_that_the_model_is_wrong_about_teach_nothing():
    model, batch = conv_model(), make_batch(n=8, side=SIDE)
    right = model(batch).argmax(1)
    labels = torch.where(torch.arange(8) < 5, right, (right + 1) % 5)
    mixed = ImageBatch(batch.pixels, batch.ids, labels)
    few = mixed.select(range(5))
    torch.testing.assert_close(learned(model, mixed, epochs=3), learned(model, few, epochs=3))
    with pytest.raises(DataError, match="no images to learn from that the model is right about"):
        learned(model, mixed.select(range(5, 8)))


def test_a_preview_shows_the_patch_of_the_split_and_not_of_the_images_shown(tmp_path):
    """Were it learned from the images in the picture, more of them would change it."""
    suite = tmp_path / "one.yaml"
    suite.write_text(
        """
schema: 1
name: one
title: One patch
data: {source: digits, path: mnist, split: test}
view: {}
preparations:
  own:
    use: universal.patch
    with: {epochs: 1}
    model: self
    data: {source: digits, path: mnist, split: train, limit: 20}
conditions:
  - {use: patch.universal, inputs: {patch: own}}
"""
    )
    one, three = (
        preview(str(suite), images=n, model="zoo:mixer").strips[0].tiles[0][0].pixels for n in (1, 3)
    )
    assert np.array_equal(one, three)
