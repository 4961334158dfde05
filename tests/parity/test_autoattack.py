"""Auto-PGD and AutoAttack against a plain re-statement, torchattacks, and outcomes of the original."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robobench.contracts import Seen
from robobench.data.digits import Digits
from robobench.draws import Draws
from robobench.engine.assault import run_attack
from robobench.engine.frames import to_batch
from robobench.engine.sets import visiting_order
from robobench.losses import cross_entropy, dlr, targeted_dlr
from robobench.models.zoo import Zoo
from robobench.registry import attacks
from robobench.specs import parse_spec
from robobench.tasks.classification import Classification
from robobench.types import ImageBatch
from tests.fakes import FakeModel, conv_model, make_batch, make_draws, vit_model
from tests.parity.apgd import checkpoints, walk, walk_l1

RECORDED = json.loads(Path(__file__).with_name("autoattack_outcomes.json").read_text())
STEPS = 50
STAGES = ("apgd-ce", "apgd-t", "fab-t", "square")


def conv():
    return conv_model(), make_batch(n=3, side=16, seed=3)


def vit():
    return vit_model(), make_batch(n=3, side=16, seed=4)


SCENES = pytest.mark.parametrize("scene", [conv, vit])


def exact(scene):
    """A scene in float64, so that rounding turns no decision; labels are what the model says."""
    model, batch = scene()
    model = FakeModel(model.module.double())
    pixels = batch.pixels.double()
    return model, ImageBatch(pixels, batch.ids, model.module(pixels).argmax(1))


def travelled(attack, model, batch):
    """Every point that an attack visits, with the loss there and the state after it; nobody stops."""
    state = dict(attack.start(batch, model.module(batch.pixels), 0, make_draws(batch)))
    points, values, states = [], [], []
    for _ in range(attack.asks):
        points.append(attack.probe(batch, state))
        leaf = points[-1].clone().requires_grad_()
        logits = model.module(leaf)
        loss = attack.loss(logits, batch.labels, state)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        state = dict(attack.step(batch, state, Seen(logits.detach(), loss.detach(), gradient)))
        values.append(loss.detach())
        states.append(state)
    return torch.stack([*points, state["pixels"]]), torch.stack(values), states


@SCENES
@pytest.mark.parametrize(("norm", "eps"), [("linf", 1 / 16), ("l2", 0.5)])
@pytest.mark.parametrize("kind", ["ce", "dlr", "targeted"])
def test_every_step_is_that_of_the_plain_algorithm(scene, norm, eps, kind):
    model, batch = exact(scene)
    params = {"eps": eps, "norm": norm, "steps": STEPS}
    if kind == "targeted":
        attack = attacks.build("gradient.apgd_t", {**params, "targets": 1})
    else:
        attack = attacks.build("gradient.apgd", {**params, "objective": kind})
    second = model.module(batch.pixels).argsort(dim=1)[:, -2]
    points, values, states = travelled(attack, model, batch)
    for i in range(len(batch)):
        label, aim = batch.labels[i : i + 1], second[i : i + 1]
        loss = {
            "ce": lambda z, y=label: cross_entropy(z, y),
            "dlr": lambda z, y=label: dlr(z, y),
            "targeted": lambda z, y=label, t=aim: targeted_dlr(z, y, t),
        }[kind]
        plain = walk(model.module, batch.pixels[i], points[0, i], eps, norm, loss, STEPS)
        torch.testing.assert_close(torch.stack(plain.points), points[:, i], atol=1e-7, rtol=0)
        torch.testing.assert_close(
            torch.tensor(plain.losses[:-1]).double(), values[:, i], atol=1e-6, rtol=1e-6
        )
        lengths = torch.stack([s["length"][i] for s in states])
        assert lengths.tolist() == plain.sizes


@SCENES
@pytest.mark.parametrize("larger_eps", [False, True])
def test_every_l1_step_is_that_of_the_plain_algorithm(scene, larger_eps):
    model, batch = exact(scene)
    eps = 4.0
    attack = attacks.build(
        "gradient.apgd", {"eps": eps, "norm": "l1", "steps": STEPS, "larger_eps": larger_eps}
    )
    runs = [(3 * eps, 15), (2 * eps, 15), (eps, 20)] if larger_eps else [(eps, STEPS)]
    points, values, _ = travelled(attack, model, batch)
    assert len(points) == STEPS + len(runs)
    noise = make_draws(batch).normal("start", *batch.pixels.shape[1:]).double()
    for i in range(len(batch)):
        label = batch.labels[i : i + 1]
        plain = walk_l1(model.module, batch.pixels[i], noise[i], runs, lambda z, y=label: cross_entropy(z, y))
        torch.testing.assert_close(torch.stack(plain.points), points[:, i], atol=1e-5, rtol=0)
        torch.testing.assert_close(
            torch.tensor(plain.losses[:-1]).double(), values[:, i], atol=1e-5, rtol=1e-5
        )


def test_the_walks_that_are_compared_halve_their_steps_and_turn_back():
    """Else the comparison above would say little."""
    for norm, eps in (("linf", 1 / 16), ("l2", 0.5)):
        model, batch = exact(conv)
        attack = attacks.build("gradient.apgd", {"eps": eps, "norm": norm, "steps": STEPS})
        _, _, states = travelled(attack, model, batch)
        assert (states[-1]["length"] <= eps / 2).all()
        turned = [(s["before"] == s["top"]).flatten(1).all(1) for s in states]
        assert torch.stack(turned)[12:].any(0).all()


def test_checkpoints_are_those_of_the_paper():
    """Fractions .22, .41, .57, .70, .80, .87, .93, .99 of 100 steps: the paper's, for its p of .22, .03, .06."""
    attack = attacks.build("gradient.apgd", {"eps": 0.1})
    window = attack._schedule.window
    assert [k for k, size in enumerate(window) if size] == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    for steps in (3, 10, 37, 50, 200):
        found = attacks.build("gradient.apgd", {"eps": 0.1, "steps": steps})._schedule.window
        assert [k for k, size in enumerate(found) if size] == checkpoints(steps)


class Watched(nn.Module):
    """A network as torchattacks wants it, which keeps every point whose gradient is asked for."""

    def __init__(self, net):
        super().__init__()
        self.net, self.points = net, []

    def forward(self, pixels):
        if pixels.requires_grad:
            self.points.append(pixels.detach().clone())
        return self.net(pixels)


@SCENES
@pytest.mark.parametrize(
    ("norm", "eps", "kind"),
    [("linf", 1 / 16, "ce"), ("linf", 1 / 16, "dlr"), ("linf", 1 / 16, "targeted"), ("l2", 0.5, "ce")],
)
def test_every_step_is_that_of_torchattacks(scene, norm, eps, kind, monkeypatch):
    """Its targeted form goes apart under l2, where it gives every image the first one's step size."""
    torchattacks = pytest.importorskip("torchattacks")
    model, batch = exact(scene)
    params = {"eps": eps, "norm": norm, "steps": STEPS}
    net = Watched(model.module).eval()
    options = {"norm": norm.capitalize(), "eps": eps, "steps": STEPS}
    if kind == "targeted":
        ours = attacks.build("gradient.apgd_t", {**params, "targets": 1})
        theirs = torchattacks.APGDT(net, **options)
        theirs.target_class = 2
    else:
        ours = attacks.build("gradient.apgd", {**params, "objective": kind})
        theirs = torchattacks.APGD(net, loss=kind, **options)
    points, _, _ = travelled(ours, model, batch)
    draws, shape = make_draws(batch), batch.pixels.shape[1:]
    monkeypatch.setattr(torch, "rand", lambda _: draws.uniform("start", *shape))
    monkeypatch.setattr(torch, "randn", lambda _: draws.normal("start", *shape))
    theirs.attack_single_run(batch.pixels, batch.labels)
    found = torch.stack(net.points)
    assert len(found) == STEPS + 1
    assert (found[0] - batch.pixels).abs().max() > eps / 50
    torch.testing.assert_close(found, points, atol=1e-6, rtol=0)


def digits(n):
    """The first test digits in the order in which suites visit them."""
    source = Digits(path="mnist")
    index = source.index()
    ids = visiting_order(index.ids, index.labels, 0)[:n]
    labels = dict(zip(index.ids, index.labels, strict=True))
    return to_batch(ids, np.stack([source.read(i) for i in ids]), labels, "cpu")


@cache
def shipped(name):
    """A model of the zoo, answering for digits."""
    spec, source = parse_spec(name), Zoo()
    return source.load(source.identify(spec), "cpu").reading(Digits(path="mnist").index().space)


def outcomes(run: dict[str, Any], attack: Any, names: tuple[str, ...], n: int) -> dict[str, str]:
    """What became of each image: `wrong`, the stage it fell to, or `stands`."""
    model, batch = shipped(run["model"]), digits(n)
    with torch.no_grad():
        clean = model(batch)
    rows = [i for i, right in enumerate((clean.argmax(1) == batch.labels).tolist()) if right]
    draws = Draws(0, "autoattack.standard", batch.ids)
    result = run_attack(attack, model, batch, clean, rows, draws, 32, Classification())
    found = dict.fromkeys(batch.ids, "wrong")
    for row, stage in zip(rows, result.stage.tolist(), strict=True):
        found[batch.ids[row]] = "stands" if stage < 0 else names[stage]
    return found


DIGITS = [
    pytest.param(run, id=f"{run['model']} {run['norm']}")
    for run in RECORDED["runs"]
    if run["data"] == "digits"
]


@pytest.mark.parametrize("run", DIGITS)
def test_the_record_says_where_it_comes_from(run):
    assert len(run["commit"]) == 40
    assert run["n"] == len(run["outcomes"])
    counts = Counter(run["outcomes"].values())
    assert set(counts) <= {"wrong", "stands", *STAGES}
    assert run["robust"] == counts["stands"]
    assert run["n"] - run["clean"] == counts["wrong"]


@pytest.mark.parametrize("run", DIGITS)
def test_the_first_stage_fells_what_the_original_s_first_stage_fells(run):
    """From other starting points; so of 32 images two may go the other way."""
    n = 32
    stage = attacks.build("gradient.apgd", {"eps": run["eps"], "norm": run["norm"].lower()})
    ours = outcomes(run, stage, ("apgd-ce",), n)
    theirs = dict(list(run["outcomes"].items())[:n])
    assert list(ours) == list(theirs)
    assert sum(ours[i] != "apgd-ce" for i in ours) > 3, "there is something left to agree on"
    apart = [i for i in ours if (ours[i] == "apgd-ce") != (theirs[i] == "apgd-ce")]
    assert len(apart) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("run", DIGITS)
def test_autoattack_leaves_as_many_standing_as_the_original(run):
    attack = attacks.build("autoattack.standard", {"eps": run["eps"], "norm": run["norm"].lower()})
    ours, theirs = outcomes(run, attack, STAGES, run["n"]), run["outcomes"]
    apart = {i: (ours[i], theirs[i]) for i in theirs if (ours[i] == "stands") != (theirs[i] == "stands")}
    assert abs(sum(v == "stands" for v in ours.values()) - run["robust"]) <= 1, f"apart: {apart}"
    assert len(apart) <= 2, f"apart: {apart}"


# What the ensembles are made of


def test_the_standard_version_is_made_of_what_its_name_says():
    stages = attacks.build("autoattack.standard", {"eps": "8/255"}).stages(1000)
    first, targeted, fab, square = stages
    assert (first.objective, first.steps, first.starts, first.eot) == ("ce", 100, 1, 1)
    assert (targeted.targets, targeted.steps, targeted.starts) == (9, 100, 9)
    assert (fab.targets, fab.steps, fab.restarts) == (9, 100, 1)
    assert (square.queries, square.p_init, square.rescale_schedule, square.restarts) == (5000, 0.8, False, 1)
    assert {s.eps for s in stages} == {8 / 255}
    assert {s.norm for s in stages} == {"linf"}


def test_the_standard_version_under_l1_begins_in_larger_balls():
    first, targeted, fab, square = attacks.build("autoattack.standard", {"eps": 12, "norm": "l1"}).stages(10)
    assert (first.larger_eps, first.starts, first.asks) == (True, 5, 102)
    assert (targeted.larger_eps, targeted.targets, targeted.starts) == (True, 5, 5)
    assert fab.targets == 9
    assert {first.norm, targeted.norm, fab.norm, square.norm} == {"l1"}


def test_the_other_versions_are_made_of_what_their_names_say():
    plus = attacks.build("autoattack.plus", {"eps": 0.5, "norm": "l2"}).stages(10)
    kinds = [type(s).__name__ for s in plus]
    assert kinds == [
        "AutoProjectedGradient", "AutoProjectedGradient", "FastAdaptiveBoundary", "Square",
        "TargetedAutoProjectedGradient", "FastAdaptiveBoundary",
    ]  # fmt: skip
    assert [s.restarts for s in plus] == [5, 5, 5, 1, 1, 1]
    assert [plus[0].objective, plus[1].objective] == ["ce", "dlr"]
    assert [plus[2].targets, plus[4].targets, plus[5].targets] == [0, 9, 9]
    rand = attacks.build("autoattack.rand", {"eps": "8/255"}).stages(10)
    assert [(s.objective, s.eot, s.starts, s.steps) for s in rand] == [
        ("ce", 20, 1, 100),
        ("dlr", 20, 1, 100),
    ]


def test_few_classes_are_all_aimed_at():
    attack = attacks.build("autoattack.standard", {"eps": "8/255"})
    assert [s.targets for s in attack.stages(5)[1:3]] == [4, 4]
    assert attack.classes == 4
    assert all(getattr(s, "classes", 2) <= 4 for s in attack.stages(4))
    assert attacks.build("autoattack.rand", {"eps": "8/255"}).classes == 3
