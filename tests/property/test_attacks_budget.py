"""Every point a gradient attack is at lies inside its budget and inside [0, 1]; more never helps the model."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import dropout

from robobench.contracts import Seen
from robobench.draws import Draws
from robobench.engine.assault import run_attack
from robobench.engine.stepped import ask
from robobench.engine.steps import Changed
from robobench.registry import attacks, interventions, models
from robobench.specs import parse_spec
from robobench.tasks.classification import Classification
from robobench.types import ImageBatch
from tests.bench import carry_out, resolved, rows
from tests.fakes import FakeModel, conv_model, linear_model, make_batch, make_draws, run_stepped, vit_model

MODEL = conv_model()
LINEAR = linear_model(side=6)
FEW = settings(max_examples=25, deadline=None)
radii = st.one_of(st.sampled_from([0.0, 1e-4, 0.5 / 255, 8 / 255, 1.0]), st.floats(0, 1))
norms = st.sampled_from(["linf", "l2", "l1"])
TASK = Classification()


def images(seed: int, contrast: float) -> ImageBatch:
    """Pixels from a narrow grey to black and white ones, which clamping meets."""
    batch = make_batch(n=4, side=6, seed=seed)
    return batch.with_pixels(((batch.pixels - 0.5) * contrast + 0.5).clamp(0, 1))


def inside(batch: ImageBatch, pixels: torch.Tensor, norm: str, eps: float) -> bool:
    change = (pixels.double() - batch.pixels.double()).flatten(1)
    size = change.abs().amax(1) if norm == "linf" else change.norm(p=int(norm[1:]), dim=1)
    fits = (size <= eps + 1e-6 * max(1.0, eps)).all()
    return bool(fits and (pixels >= 0).all() and (pixels <= 1).all())


def every_point(attack, batch: ImageBatch, draws: Draws):
    """Where an attack is: at its start and after every step."""
    with torch.no_grad():
        state = dict(attack.start(batch, MODEL(batch), 0, draws))
    yield state["pixels"]
    for _ in range(attack.steps):
        state = dict(attack.step(batch, state, ask(attack, MODEL, batch, state, attack.probe(batch, state))))
        yield state["pixels"]


@FEW
@given(radii, norms, st.integers(1, 4), st.booleans(), st.floats(0, 5), st.integers(0, 99), st.floats(0, 2))
def test_pgd_stays_in_its_budget_from_start_to_end(eps, norm, steps, random_start, contrast, seed, alpha):
    eps = eps * 20 if norm == "l1" else eps
    batch = images(seed, contrast)
    attack = attacks.build(
        "gradient.pgd",
        {"eps": eps, "norm": norm, "steps": steps, "random_start": random_start, "alpha": min(alpha, 1)},
    )
    for pixels in every_point(attack, batch, make_draws(batch, seed=seed)):
        assert inside(batch, pixels, norm, eps)


@FEW
@given(
    st.sampled_from(["mi_fgsm", "ni_fgsm", "di_fgsm", "ti_fgsm"]),
    radii,
    st.integers(1, 4),
    st.floats(0, 5),
    st.integers(0, 99),
    st.floats(0, 1),
    st.floats(0, 2),
)
def test_the_momentum_family_stays_in_its_budget(name, eps, steps, contrast, seed, alpha, decay):
    batch = images(seed, contrast)
    params = {"eps": eps, "steps": steps, "alpha": alpha, "decay": decay}
    attack = attacks.build(f"gradient.{name}", params)
    for pixels in every_point(attack, batch, make_draws(batch, seed=seed)):
        assert inside(batch, pixels, "linf", eps)


@FEW
@given(radii, norms, st.floats(0, 5), st.integers(0, 99))
def test_noise_stays_in_its_budget(eps, norm, contrast, seed):
    eps = eps * 20 if norm == "l1" else eps
    batch = images(seed, contrast)
    attack = attacks.build("noise.uniform", {"eps": eps, "norm": norm})
    for restart in range(3):
        draws = make_draws(batch, seed=seed).at(restart)
        pixels = attack.start(batch, torch.zeros(4, 5), restart, draws)["pixels"]
        assert inside(batch, pixels, norm, eps)


@FEW
@given(st.sampled_from(["l2", "l1"]), st.floats(1, 12), st.integers(0, 99))
def test_a_wide_ball_at_image_size_is_kept_to_a_millionth(norm, eps, seed):
    batch = make_batch(n=1, side=96, seed=seed)
    attack = attacks.build("gradient.pgd", {"eps": eps, "norm": norm, "share": 1.0})
    far = {"pixels": 1 - batch.pixels.round()}
    gradient = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(seed))
    nothing = torch.zeros(1)
    found = attack.step(batch, far, Seen(nothing[:, None], nothing, gradient))["pixels"]
    assert inside(batch, found, norm, eps)
    assert (found - batch.pixels).flatten().norm(p=int(norm[1:])) > 0.9 * eps


@FEW
@given(radii, st.floats(0, 5), st.integers(0, 99))
def test_fgsm_stays_in_its_budget(eps, contrast, seed):
    batch = images(seed, contrast)
    attack = attacks.build("gradient.fgsm", {"eps": eps})
    assert inside(batch, run_stepped(attack, MODEL, batch, make_draws(batch)), "linf", eps)


ALONE = (
    ("pgd", {"norm": "linf", "target": "random"}),
    ("pgd", {"norm": "l2"}),
    ("pgd", {"norm": "l1", "share": 0.1}),
    ("mi_fgsm", {}),
    ("di_fgsm", {}),
    ("ti_fgsm", {"kernel_size": 3}),
)


@FEW
@given(st.sampled_from(ALONE), st.floats(0.001, 1), st.integers(0, 99), st.permutations(range(4)))
def test_order_and_company_do_not_matter(case, eps, seed, order):
    """With a model that gives every image the same bits in any company, as the engine's lots do."""
    name, params = case
    batch = images(seed, 1.0)
    attack = attacks.build(f"gradient.{name}", {"eps": eps, "steps": 3, **params})
    draws = make_draws(batch)
    whole = run_stepped(attack, LINEAR, batch, draws)
    for chosen in (order[:1], order[1:]):
        part = batch.select(chosen)
        found = run_stepped(attack, LINEAR, part, draws.select(part.ids))
        torch.testing.assert_close(found, whole[list(chosen)], atol=1e-6, rtol=0)


# More of an attack


def fell(attack, model, batch: ImageBatch, lot: int = 8) -> torch.Tensor:
    with torch.no_grad():
        clean = model(batch)
    return run_attack(attack, model, batch, clean, range(len(batch)), make_draws(batch), lot, TASK).fell


def right(model, n: int, side: int, seed: int) -> ImageBatch:
    batch = make_batch(n=n, side=side, seed=seed)
    with torch.no_grad():
        return ImageBatch(batch.pixels, batch.ids, model(batch).argmax(1))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 99), norms, st.sampled_from(["ce", "margin", "dlr"]))
def test_who_falls_falls_to_more_restarts_too(seed, norm, objective):
    """Restart for restart the same start, whoever else is there and whatever the number of them."""
    batch = right(LINEAR, 24, 6, seed)
    eps = {"linf": 0.02, "l2": 0.15, "l1": 1.0}[norm]
    params = {"eps": eps, "norm": norm, "steps": 2, "objective": objective, "alpha": eps / 10, "share": 0.1}
    before = torch.zeros(24, dtype=torch.bool)
    for restarts in (1, 2, 4):
        now = fell(attacks.build("gradient.pgd", {**params, "restarts": restarts}), LINEAR, batch)
        assert not (before & ~now).any()
        before = now


def test_more_restarts_of_a_weak_attack_gain():
    batch = right(LINEAR, 64, 6, 0)
    weak = {"eps": 0.05, "steps": 1, "alpha": 0.001}
    one, many = (fell(attacks.build("gradient.pgd", {**weak, "restarts": n}), LINEAR, batch) for n in (1, 8))
    assert one.sum() < many.sum() < 64


LADDERS = """conditions:
  - {use: gradient.pgd, name: pgd, with: {steps: 3}, ladder: {eps: [8/255, 32/255, 16/255, 64/255]}}
  - {use: gradient.pgd, name: l2, with: {norm: l2, steps: 3, objective: dlr}, ladder: {eps: [0.5, 1, 2]}}
  - {use: gradient.pgd, name: l1, with: {norm: l1, steps: 3, target: second}, ladder: {eps: [4, 8, 32]}}
  - {use: gradient.mi_fgsm, name: mi, with: {steps: 3}, ladder: {eps: [8/255, 32/255, 64/255]}}
  - {use: gradient.di_fgsm, name: di, with: {steps: 3}, ladder: {eps: [8/255, 32/255, 64/255]}}
  - {use: noise.uniform, name: noise, with: {tries: 3}, ladder: {eps: [8/255, 64/255]}}
"""


def trained():
    """A model of digits that gets nearly all of them right."""
    source = models.build("zoo")
    return source.load(source.identify(parse_spec("zoo:mixer"), allow_code=False), "cpu")


@pytest.fixture(scope="module")
def ladders(tmp_path_factory):
    found, root = resolved(LADDERS, trained(), limit=40), tmp_path_factory.mktemp("ladders")
    assert not carry_out(found, root).failures
    return rows(found, root)


@pytest.mark.parametrize("name", ["pgd", "l2", "l1", "mi", "di", "noise"])
def test_robust_accuracy_does_not_rise_with_eps(ladders, name):
    """Image by image: who fell at a smaller budget has fallen at every larger one."""
    levels = ladders[ladders.condition.str.match(rf"{name}\b")]
    by_size = {c: float(part["linf"].max()) for c, part in levels.groupby("condition")}
    assert len(by_size) >= 2
    standing = [
        (levels[levels.condition == c].set_index("image_id")["hit"] == 0)
        for c in sorted(by_size, key=by_size.__getitem__)
    ]
    for smaller, larger in pairwise(standing):
        assert not (larger & ~smaller).any()
    if name != "noise":
        assert standing[-1].sum() < standing[0].sum()


def test_gradients_beat_noise_of_the_same_size(ladders):
    def stands(condition):
        return (ladders[ladders.condition == condition]["hit"] == 0).sum()

    assert stands("pgd eps=64/255") < stands("noise eps=64/255") - 10


# A randomised model


class Dropped(nn.Module):
    """A network whose dropout was left on: every forward pass of every image is another one."""

    def __init__(self, net: nn.Module, share: float) -> None:
        super().__init__()
        self.net, self.share = net, share

    def forward(self, pixels):
        return self.net(dropout(pixels - 0.5, self.share, training=True) + 0.5)


def test_gradients_of_a_randomised_condition_are_averaged_over_its_draws():
    """Tokens dropped anew in each run; logits, loss and gradient are the means over the runs."""
    batch = make_batch(n=3, side=16)
    drop = interventions.build("drop.tokens", {"fraction": 0.5})
    model = Changed(vit_model(), drop, Draws(0, "drop.tokens", ()))
    attack = attacks.build("gradient.pgd", {"eps": 0.03, "eot": 4})
    state = attack.start(batch, torch.zeros(3, 5), 0, make_draws(batch))
    seen = ask(attack, model, batch, state, state["pixels"])
    at = batch.with_pixels(state["pixels"])
    runs = [model.again(k).gradient(at, lambda z, y: attack.loss(z, y, state)) for k in (1, 2, 3, 4)]
    torch.testing.assert_close(seen.gradient, torch.stack([g for _, g in runs]).mean(0))
    torch.testing.assert_close(seen.logits, runs[-1][0])  # as in AutoAttack rand: one run answers
    assert not torch.allclose(runs[0][1], runs[1][1], atol=1e-4)
    once = attacks.build("gradient.pgd", {"eps": 0.03})
    single = ask(once, model, batch, state, state["pixels"])
    assert not torch.allclose(single.gradient, seen.gradient, atol=1e-4)


def test_eot_finds_more_on_a_model_with_dropout_left_on():
    """Measured on runs that neither of them saw: the mean loss after averaged gradients is higher."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = FakeModel(Dropped(conv_model().module, 0.7))
        batch = right(conv_model(), 16, 16, 0)
        reached = {}
        for eot in (1, 16):
            attack = attacks.build("gradient.pgd", {"eps": 0.05, "steps": 8, "eot": eot})
            found = run_stepped(attack, model, batch, make_draws(batch))
            assert inside(batch, found, "linf", 0.05)
            with torch.no_grad():
                after = [attack.loss(model(batch.with_pixels(found)), batch.labels, {}) for _ in range(100)]
            reached[eot] = float(torch.stack(after).mean())
    assert reached[16] > reached[1] + 0.01


def test_eot_costs_what_it_asks():
    batch = right(LINEAR, 4, 6, 0)
    attack = attacks.build("gradient.pgd", {"eps": 1e-6, "steps": 3, "eot": 5})
    with torch.no_grad():
        clean = LINEAR(batch)
    found = run_attack(attack, LINEAR, batch, clean, range(4), make_draws(batch), 4, TASK)
    assert found.queries.tolist() == [16] * 4
    assert np.isfinite(found.loss_gain.numpy()).all()
