"""The decision-based attacks against foolbox called directly, and what the engine counts of them."""

from __future__ import annotations

import eagerpy as ep
import pytest
import torch
from torch import nn

from robobench.attacks.blackbox.foolbox import _firm, starting_points
from robobench.engine.lots import run_whole
from robobench.errors import AttackError, BadParameter
from robobench.registry import attacks, data, models
from robobench.specs import parse_spec
from robobench.types import ImageBatch, LabelSpace
from tests.fakes import FakeModel, constant_model, conv_model, linear_model, make_batch, make_draws

fb = pytest.importorskip("foolbox")
from foolbox.attacks import (  # noqa: E402
    BoundaryAttack,
    HopSkipJumpAttack,
    LinearSearchBlendedUniformNoiseAttack,
)

BOUNDARY = {"steps": 60, "directions": 50}
HOPS = {"steps": 4, "gradient_queries": 30, "directions": 50}


def scene(model, n=5):
    """Images that the model is right about, each with a noise that it is not."""
    batch = make_batch(3 * n)
    batch = ImageBatch(batch.pixels, batch.ids, model(batch).argmax(1))
    _, rows = starting_points(model, batch, make_draws(batch), 50)
    model.calls.clear()
    return batch.select(rows[:n])


def judge(model):
    return fb.PyTorchModel(model.module, bounds=(0, 1), device="cpu")


def smaller(start, batch, found):
    before, after = ((p - batch.pixels).flatten(1).norm(dim=1) for p in (start, found))
    return bool((after < before).all())


def test_boundary_is_foolbox_with_the_same_seed_and_start():
    model = linear_model()
    batch = scene(model)
    draws = make_draws(batch)
    params = {"steps": 320, "step_adaptation": 2.0}  # after 300 the source step is adapted
    found = attacks.build("blackbox.boundary", params)(model, batch, draws)
    start, rows = starting_points(model, batch, draws, 1000)
    assert rows == list(range(len(batch)))
    with torch.random.fork_rng():
        torch.manual_seed(draws.select(("",)).seeds("walk")[0] % 2**63)
        direct = BoundaryAttack(steps=320, step_adaptation=2.0).run(
            judge(model), batch.pixels, fb.criteria.Misclassification(batch.labels), starting_points=start
        )
    assert torch.equal(found, direct)
    assert smaller(start, batch, found)


@pytest.mark.parametrize("distance", ["l2", "linf"])
@pytest.mark.parametrize("make", [linear_model, conv_model])
def test_hopskipjump_is_foolbox_on_each_image_with_the_same_seed_and_start(make, distance):
    model = make()
    batch = scene(model, 3)
    draws = make_draws(batch)
    found = attacks.build("blackbox.hopskipjump", {**HOPS, "distance": distance})(model, batch, draws)
    start, rows = starting_points(model, batch, draws, 50)
    assert rows == list(range(len(batch)))
    attack = HopSkipJumpAttack(steps=4, initial_gradient_eval_steps=30, constraint=distance)
    for row in rows:
        one = batch.select([row])
        with torch.random.fork_rng():
            torch.manual_seed(draws.seeds("hops")[row] % 2**63)
            aim = fb.criteria.Misclassification(one.labels)
            direct = attack.run(judge(model), one.pixels, aim, starting_points=start[[row]])
        torch.testing.assert_close(found[[row]], direct, atol=0, rtol=0)
    assert smaller(start, batch, found)


def shipped(name):
    """A model of the zoo with digits that it is right about, and itself for foolbox."""
    source = models.build("zoo")
    handle = source.load(source.identify(parse_spec(f"zoo:{name}"), allow_code=False), "cpu")
    model = handle.reading(LabelSpace("digits", tuple("0123456789"), 10))
    digits = data.build("digits", {"path": "mnist", "split": "test"})
    ids = digits.index().ids[:3]
    pixels = torch.stack([torch.from_numpy(digits.read(i)).permute(2, 0, 1) / 255 for i in ids])
    batch = ImageBatch(pixels, ids, torch.zeros(3, dtype=torch.int64))
    batch = ImageBatch(pixels, ids, model(batch).argmax(1))

    class Whole(nn.Module):
        def forward(self, x):
            return handle.raw(x)

    return model, batch, fb.PyTorchModel(Whole().eval(), bounds=(0, 1), device="cpu")


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_both_are_foolbox_on_the_shipped_models(name, monkeypatch):
    """Asked for one decision at a time as foolbox does: in a batch a model may round differently."""
    monkeypatch.setattr("robobench.attacks.blackbox.foolbox._TOGETHER", 1)
    model, batch, direct = shipped(name)
    draws = make_draws(batch)
    start, rows = starting_points(model, batch, draws, 1000)
    assert rows
    inside, aims = batch.select(rows), fb.criteria.Misclassification
    found = attacks.build("blackbox.boundary", {"steps": 40})(model, batch, draws)
    with torch.random.fork_rng():
        torch.manual_seed(draws.select(("",)).seeds("walk")[0] % 2**63)
        expected = BoundaryAttack(steps=40).run(
            direct, inside.pixels, aims(inside.labels), starting_points=start[rows]
        )
    assert torch.equal(found[rows], expected)
    one, given = batch.select(rows[:1]), {"steps": 2, "gradient_queries": 20}
    for distance in ("l2", "linf"):
        found = attacks.build("blackbox.hopskipjump", {**given, "distance": distance})(
            model, one, draws.select(one.ids)
        )
        attack = HopSkipJumpAttack(steps=2, initial_gradient_eval_steps=20, constraint=distance)
        with torch.random.fork_rng():
            torch.manual_seed(draws.seeds("hops")[rows[0]] % 2**63)
            expected = attack.run(direct, one.pixels, aims(one.labels), starting_points=start[rows[:1]])
        assert torch.equal(found, expected)


def test_the_start_is_that_of_foolbox_given_the_same_noise(monkeypatch):
    model = linear_model()
    batch = scene(model)
    draws = make_draws(batch)
    numbers = iter(range(50))

    def uniform(self, shape, low=0.0, high=1.0):
        return ep.astensor(draws.uniform(f"start {next(numbers)}", *shape[1:]))

    monkeypatch.setattr(type(ep.astensor(batch.pixels)), "uniform", uniform)
    direct = LinearSearchBlendedUniformNoiseAttack(steps=50, directions=50).run(
        judge(model), batch.pixels, fb.criteria.Misclassification(batch.labels)
    )
    found, rows = starting_points(model, batch, draws, 50)
    assert rows == list(range(len(batch)))
    torch.testing.assert_close(found, direct, atol=2e-7, rtol=0)


@pytest.mark.parametrize(
    ("name", "params"), [("blackbox.boundary", BOUNDARY), ("blackbox.hopskipjump", HOPS)]
)
def test_an_image_does_not_depend_on_its_company(name, params):
    model = linear_model()
    batch, attack = scene(model), attacks.build(name, params)
    whole = attack(model, batch, make_draws(batch))
    for rows in ([2], [4, 0], [3, 1, 2]):
        part = batch.select(rows)
        torch.testing.assert_close(attack(model, part, make_draws(part)), whole[rows], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "params"), [("blackbox.boundary", BOUNDARY), ("blackbox.hopskipjump", HOPS)]
)
def test_images_without_a_start_and_images_already_wrong_stay_as_they_were(name, params):
    batch, attack = make_batch(4), attacks.build(name, params)
    never = constant_model(1.0, 0.0)
    right = ImageBatch(batch.pixels, batch.ids, torch.zeros(4, dtype=torch.int64))
    assert torch.equal(attack(never, right, make_draws(right)), right.pixels)
    assert len(never.calls) == 1 + params["directions"]
    model = linear_model()
    mixed = scene(model, 4)
    mixed.labels[1] = (mixed.labels[1] + 1) % 5
    found = attack(model, mixed, make_draws(mixed))
    assert [torch.equal(a, b) for a, b in zip(found, mixed.pixels, strict=True)] == [
        False,
        True,
        False,
        False,
    ]
    assert (model(mixed.with_pixels(found)).argmax(1) != mixed.labels).all()


class Asked(FakeModel):
    """Counts how often it is asked about each image, by the image that a point came from."""

    def __init__(self, module):
        super().__init__(module, outputs=5)
        self.about = {}

    def __call__(self, batch):
        for i in batch.ids:
            self.about[i] = self.about.get(i, 0) + 1
        return super().__call__(batch)


@pytest.mark.parametrize(
    ("name", "params", "together"), [("blackbox.boundary", BOUNDARY, 4), ("blackbox.hopskipjump", HOPS, 1)]
)
def test_queries_are_counted_for_each_image(name, params, together):
    """Lots of 4 with three images in the last: one that fills a place up is counted once."""
    model = Asked(linear_model().module)
    batch, attack = scene(model, 7), attacks.build(name, params)
    model.about.clear()
    rows = [0, 2, 5, 6]
    found = run_whole(attack, model, batch, rows, make_draws(batch), 4)
    copies = [1 if together == 1 or r != 4 else 2 for r in rows]
    asked = [model.about[batch.ids[r]] // c for r, c in zip(rows, copies, strict=True)]
    assert found.queries.tolist() == asked
    assert len(set(asked)) > 1
    if together == 1:
        assert set(model.about) == {batch.ids[r] for r in rows}
    alone = run_whole(attack, model, batch, [5], make_draws(batch), 1)
    assert alone.queries[0] == found.queries[2]
    torch.testing.assert_close(alone.pixels[0], found.pixels[2], atol=1e-5, rtol=0)


def test_the_cost_is_about_what_it_takes():
    model = linear_model()
    batch = scene(model)
    for name, params in (("blackbox.boundary", {**BOUNDARY, "steps": 250}), ("blackbox.hopskipjump", HOPS)):
        attack = attacks.build(name, params)
        found = run_whole(attack, model, batch, range(5), make_draws(batch), 5)
        most = int(found.queries.max())
        assert 0.8 * most <= attack.cost <= 1.6 * most, (name, most, attack.cost)


@pytest.mark.parametrize(
    ("name", "params"), [("blackbox.boundary", BOUNDARY), ("blackbox.hopskipjump", HOPS)]
)
def test_a_model_that_changes_its_mind_is_an_error(name, params):
    class Moody(nn.Module):
        """Right about whole images of half brightness, and about anything else every other time."""

        asked = 0

        def forward(self, pixels):
            self.asked += 1
            right = (pixels.flatten(1).mean(1) > 0) & (self.asked % 2 == 1)
            return torch.stack([right.float(), 1 - right.float()], 1)

    batch = make_batch(2)
    batch = ImageBatch(batch.pixels, batch.ids, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(AttackError, match=f"^{name}: the model answered differently to the same pixels"):
        attacks.build(name, params)(FakeModel(Moody()), batch, make_draws(batch))


def test_bad_parameters_are_refused():
    for params, what in (
        ({"steps": 0}, "steps"),
        ({"step_adaptation": 1.0}, "step_adaptation"),
        ({"eps": 0.1}, "eps"),
    ):
        with pytest.raises(BadParameter, match=f"blackbox.boundary: .*{what}"):
            attacks.build("blackbox.boundary", params)
    with pytest.raises(BadParameter, match=r"blackbox.hopskipjump: distance: expected 'l2' or 'linf'"):
        attacks.build("blackbox.hopskipjump", {"distance": "l1"})


def test_a_result_that_rounding_decides_is_moved_on_by_a_hair():
    """The model is misread at a mean brightness of 0.6, in a batch of 32 a little later."""

    class Rounding(nn.Module):
        def forward(self, pixels):
            mean = pixels.double().flatten(1).mean(1)
            edge = 0.6 + (2e-6 if len(pixels) >= 32 else 0.0)
            return torch.stack([0 * mean, mean - edge], 1)

    model = FakeModel(Rounding(), outputs=2)
    origin = torch.full((2, 3, 8, 8), 0.5)
    batch = ImageBatch(origin, ("a", "b"), torch.zeros(2, dtype=torch.int64))
    found = origin + torch.tensor([0.1 + 1e-6, 0.11]).view(2, 1, 1, 1)
    firm = _firm(model, batch, found.clone(), [0, 1])
    assert torch.equal(firm[1], found[1])
    assert model(batch.with_pixels(found)).argmax(1).tolist() == [1, 1]
    many = batch.select([0] * 32)
    assert model(many.with_pixels(found[[0] * 32])).argmax(1).sum() == 0
    assert model(many.with_pixels(firm[[0] * 32])).argmax(1).sum() == 32
    assert 0 < float((firm[0] - found[0]).abs().max()) <= 1e-3 * 0.1 + 1e-7
