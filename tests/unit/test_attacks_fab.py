"""The Fast Adaptive Boundary attack against the same told image by image, and on models with known answers."""

from __future__ import annotations

import math

import pytest
import torch

from robobench.attacks.gradient.hyperplane import onto_hyperplane
from robobench.engine.assault import run_attack
from robobench.engine.stepped import ask
from robobench.errors import BadParameter
from robobench.registry import attacks
from robobench.tasks.classification import Classification
from robobench.types import ImageBatch
from tests.fakes import FakeModel, conv_model, linear_model, make_batch, make_draws, run_stepped

NORMS = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
ORDER = {"linf": math.inf, "l2": 2, "l1": 1}
DUAL = {"linf": 1, "l2": 2, "l1": math.inf}


def scene(model, n=4, side=12, seed=3):
    batch = make_batch(n, side, seed=seed)
    return ImageBatch(batch.pixels, batch.ids, model(batch).argmax(1))


def minimal(**params):
    return attacks.build("gradient.fab_minimal", params)


def sizes(batch, pixels, norm):
    return (pixels - batch.pixels).flatten(1).norm(p=ORDER[norm], dim=1)


def toward(net, point, label, target):
    """The difference of two logits, and its gradient; without a target that of the nearest class."""
    point = point.clone().requires_grad_(True)
    logits = net(point[None])[0]
    rise = logits[target] - logits[label]
    return rise.item(), torch.autograd.grad(rise, point)[0]


def walk(net, image, label, target, attack, norm, begin=None):
    """One run as the paper has it: (where each step led to, the smallest adversarial point that was asked about)."""
    point = image if begin is None else begin
    led, best, smallest = [], image, math.inf

    def look(x):
        nonlocal best, smallest
        size = float((x - image).flatten().norm(p=ORDER[norm]))
        fooled = int(net(x[None])[0].argmax()) != label
        if fooled and size < smallest:
            best, smallest = x, size
        return fooled

    look(point)
    for _ in range(attack.steps):
        aims = [target]
        if target is None:
            aims = [k for k in range(net(image[None]).shape[1]) if k != label]
        found = [toward(net, point, label, k) for k in aims]
        f, w = min(found, key=lambda fw: abs(fw[0]) / (float(fw[1].flatten().norm(p=DUAL[norm])) + 1e-12))
        b = float((w * point).sum()) - f
        here, there = (
            onto_hyperplane(x[None], w[None], torch.tensor([b - float((w * x).sum())]), norm)[0]
            for x in (point, image)
        )
        a, c = (max(float(d.flatten().norm(p=ORDER[norm])), 1e-8) for d in (here, there))
        lean = min(a / (a + c), attack.alpha_max)
        step = (1 - lean) * (point + attack.eta * here) + lean * (image + attack.eta * there)
        point = step.clamp(0, 1)
        led.append(point)
        if look(point):
            point = image + attack.beta * (point - image)
            if len(led) < attack.steps:
                look(point)
    return led, best


@NORMS
@pytest.mark.parametrize("targets", [0, 2])
def test_the_walk_is_the_one_that_is_written_down(norm, targets):
    model = conv_model()
    batch = scene(model, n=2)
    attack = minimal(size=norm, targets=targets, steps=8, restarts=2)
    draws = make_draws(batch)
    kind = (
        draws.uniform("start", 1, 3, 12, 12) * 2 - 1
        if norm == "linf"
        else draws.normal("start", 1, 3, 12, 12)
    )
    radius = {"linf": 0.3, "l2": 1.0, "l1": 5.0}[norm]
    net, found = model.module, run_stepped(attack, model, batch, draws)
    for k, image in enumerate(batch.pixels):
        label = int(batch.labels[k])
        noise = kind[k, 0] / kind[k, 0].flatten().norm(p=ORDER[norm])
        begin = (image + radius / 2 * noise).clamp(0, 1)
        order = [c for c in net(image[None])[0].argsort(descending=True).tolist() if c != label]
        aims = order[:targets] if targets else [None]
        ends = [walk(net, image, label, aim, attack, norm, at)[1] for aim in aims for at in (None, begin)]
        expected = min(ends, key=lambda x: float((x - image).flatten().norm(p=ORDER[norm])) or math.inf)
        assert not torch.equal(expected, image)
        torch.testing.assert_close(found[k], expected, atol=2e-4 if norm == "l1" else 5e-6, rtol=0)


@NORMS
def test_on_a_linear_model_it_finds_the_smallest_change(norm):
    """There the boundary is its linearisation: the nearest of all classes is known."""
    model = linear_model(side=12)
    batch = scene(model, n=5)
    weight, logits = model.module.weight.float(), model(batch)
    known = []
    for k in range(len(batch)):
        label, best = int(batch.labels[k]), math.inf
        for other in range(5):
            if other != label:
                w = (weight[other] - weight[label]).view(1, 3, 12, 12)
                rise = (logits[k, label] - logits[k, other])[None]
                change = onto_hyperplane(batch.pixels[k : k + 1], w, rise, norm)
                best = min(best, float(change.flatten().norm(p=ORDER[norm])))
        known.append(best)
    for targets in (0, 4):
        found = run_stepped(minimal(size=norm, targets=targets, steps=12), model, batch, make_draws(batch))
        assert (model(batch.with_pixels(found)).argmax(1) != batch.labels).all()
        assert sizes(batch, found, norm).numpy() == pytest.approx(known, rel=0.02)


@NORMS
@pytest.mark.parametrize("lot", [1, 3, 7])
def test_in_lots_of_any_size_an_image_gets_what_it_gets_alone(norm, lot):
    """Also where one comes while the others wait for an answer: it waits for one turn."""
    model = linear_model(side=8)
    batch = scene(model, n=7, side=8)
    clean, draws, rows = model(batch), make_draws(batch), range(7)
    least = sizes(batch, run_stepped(minimal(size=norm, targets=1, steps=6), model, batch, draws), norm)
    eps = float(least.median()) * 1.02
    attack = attacks.build(
        "gradient.fab", {"eps": eps, "norm": norm, "targets": 2, "steps": 6, "restarts": 2}
    )
    found = run_attack(attack, model, batch, clean, rows, draws, lot, Classification())
    wrong = model(batch.with_pixels(found.pixels)).argmax(1) != batch.labels
    assert torch.equal(found.fell, wrong)
    assert found.fell[least < eps].all()
    assert 0 < int(found.fell.sum()) < 7
    standing = ~found.fell
    assert torch.equal(found.pixels[standing], batch.pixels[standing])
    assert (sizes(batch, found.pixels, norm) <= eps + 1e-6).all()
    assert (found.queries[standing] >= 2 * 6 * 4).all()
    assert (found.queries[standing] <= 2 * 6 * 4 + 2).all()
    for k in rows:
        one = batch.select([k])
        alone = run_attack(attack, model, one, model(one), [0], make_draws(one), 1, Classification())
        torch.testing.assert_close(found.pixels[k], alone.pixels[0], atol=1e-6, rtol=0)


def test_a_fall_outside_of_the_budget_does_not_count():
    model = linear_model(side=8)
    batch = scene(model, n=4, side=8)
    least = sizes(batch, run_stepped(minimal(targets=0, steps=10), model, batch, make_draws(batch)), "linf")
    attack = attacks.build("gradient.fab", {"eps": float(least.min()) / 2, "targets": 4, "steps": 10})
    found = run_attack(attack, model, batch, model(batch), range(4), make_draws(batch), 4, Classification())
    assert not found.fell.any()
    assert torch.equal(found.pixels, batch.pixels)


def test_gradients_are_asked_for_at_every_other_point_only():
    model = conv_model()
    batch = scene(model, n=3)
    attack = attacks.build("gradient.fab", {"eps": 1e-4, "targets": 2, "steps": 5})
    asked = []
    gradient = model.gradient

    def counted(at, loss):
        asked.append(len(at))
        return gradient(at, loss)

    model.gradient = counted
    found = run_attack(attack, model, batch, model(batch), range(3), make_draws(batch), 3, Classification())
    assert not found.fell.any()
    assert asked == [3] * 10
    assert attack.cost == 4 * 5 * 2 + 1


def test_targets_are_the_highest_ranked_wrong_classes():
    batch = make_batch(2, 8)
    batch = ImageBatch(batch.pixels, batch.ids, torch.tensor([1, 3]))
    logits = torch.tensor([[0.0, 5, 3, 4, -1], [9.0, 1, 2, 3, 4]])
    attack = attacks.build("gradient.fab", {"eps": 0.1, "targets": 3, "restarts": 2})
    state = dict(attack.start(batch, logits, 0, make_draws(batch)))
    assert state["targets"].tolist() == [[3, 2, 0], [0, 4, 2]]
    for run, aims in enumerate(([3, 0], [3, 0], [2, 4], [2, 4], [0, 2], [0, 2])):
        state["run"] = torch.tensor([run, run])
        rises = [float(logits[k, aim] - logits[k, batch.labels[k]]) for k, aim in enumerate(aims)]
        assert attack.loss(logits, batch.labels, state).tolist() == rises
    assert (attack.classes, attack.starts, attack.asks) == (4, 1, 2 * 100 * 6 + 1)


class Three(torch.nn.Module):
    """Class 1 depends on all values a little, class 2 on one value much."""

    def forward(self, pixels):
        flat = pixels.flatten(1)
        rest = flat[:, 1:].sum(1)
        return torch.stack(
            [0 * rest, 0.5 * (rest - flat[:, 1:].shape[1]) - 1, 4 * (flat[:, 0] - 1) - 1], dim=1
        )


@pytest.mark.parametrize(("norm", "nearest"), [("linf", 1), ("l2", 1), ("l1", 2)])
def test_without_a_target_the_class_is_the_nearest_by_the_norm(norm, nearest):
    """Distances of the white image: 1 / (n / 2) and 1 / 4 by linf, 1 / (sqrt(n) / 2) by l2, 2 by l1."""
    model = FakeModel(Three(), outputs=3)
    batch = ImageBatch(torch.ones(2, 3, 6, 6), ("a", "b"), torch.zeros(2, dtype=torch.int64))
    attack = minimal(size=norm, targets=0, steps=1)
    state = dict(attack.start(batch, model(batch), 0, make_draws(batch)))
    seen = ask(attack, attack.within(model), batch, state, state["pixels"])
    assert seen.loss.tolist() == [-1, -1]
    first = seen.gradient.flatten(1)[:, 0]
    assert first.tolist() == ([4, 4] if nearest == 2 else [0, 0])


@NORMS
def test_a_restart_begins_half_a_radius_away(norm):
    model = conv_model()
    batch = scene(model, n=2)
    attack = attacks.build(
        "gradient.fab", {"eps": 0.25, "norm": norm, "targets": 2, "steps": 1, "restarts": 2}
    )
    state = dict(attack.start(batch, model(batch), 0, make_draws(batch)))
    begun = {}
    for _ in range(attack.asks):
        begun.setdefault(state["run"].tolist()[0], state["pixels"])
        state = dict(attack.step(batch, state, ask(attack, model, batch, state, state["pixels"])))
    assert torch.equal(begun[0], batch.pixels)
    assert torch.equal(begun[2], batch.pixels)
    assert torch.equal(begun[1], begun[3])
    assert sizes(batch, begun[1], norm).numpy() == pytest.approx([0.125, 0.125], rel=0.05)


def test_without_a_gradient_it_stays_where_it_is():
    model = conv_model()
    model.module[-1].weight.zero_()
    batch = scene(model, n=2)
    for targets in (0, 1):
        found = run_stepped(minimal(targets=targets, steps=3), model, batch, make_draws(batch))
        assert torch.equal(found, batch.pixels)


def test_a_gradient_that_is_no_number_leaves_pixels_finite():
    model = conv_model()
    batch = scene(model, n=2)
    attack = minimal(targets=1, steps=3)
    state = dict(attack.start(batch, model(batch), 0, make_draws(batch)))
    seen = ask(attack, model, batch, state, state["pixels"])
    seen.gradient[0] = float("nan")
    seen.loss[1] = float("inf")
    assert torch.isfinite(attack.step(batch, state, seen)["pixels"]).all()


def test_a_linf_radius_above_1_is_refused_and_an_l2_radius_is_not():
    with pytest.raises(BadParameter, match="did you mean 8/255"):
        attacks.build("gradient.fab", {"eps": 8})
    assert attacks.build("gradient.fab", {"eps": 8, "norm": "l2"}).eps == 8
