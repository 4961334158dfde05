"""Whatever the images and the budget: Square and FAB stay inside, and more of them never helps the model."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robobench.engine.assault import run_attack
from robobench.engine.stepped import ask
from robobench.registry import attacks
from robobench.tasks.classification import Classification
from robobench.types import ImageBatch
from tests.fakes import conv_model, linear_model, make_batch, make_draws

CONV = conv_model()
LINEAR = linear_model(side=6)
FEW = settings(max_examples=15, deadline=None)
norms = st.sampled_from(["linf", "l2", "l1"])
radii = st.one_of(st.sampled_from([0.0, 1e-4, 8 / 255, 1.0]), st.floats(0, 1))
ORDER = {"linf": torch.inf, "l2": 2, "l1": 1}
SCALE = {"linf": 1, "l2": 4, "l1": 40}  # radii that do about the same


def images(model, seed: int, contrast: float = 1.0) -> ImageBatch:
    """Pixels from a narrow grey to black and white ones, which clamping meets."""
    batch = make_batch(n=4, side=6, seed=seed)
    batch = batch.with_pixels(((batch.pixels - 0.5) * contrast + 0.5).clamp(0, 1))
    return ImageBatch(batch.pixels, batch.ids, model(batch).argmax(1))


def inside(batch, pixels, norm: str, eps: float | None) -> bool:
    size = (pixels.double() - batch.pixels.double()).flatten(1).norm(p=ORDER[norm], dim=1)
    within = eps is None or bool((size <= eps + 1e-6 * max(1, eps)).all())
    return within and bool(torch.isfinite(pixels).all() and (pixels >= 0).all() and (pixels <= 1).all())


def standing(attack, batch: ImageBatch, lot: int = 3) -> set[int]:
    found = run_attack(
        attack, LINEAR, batch, LINEAR(batch), range(4), make_draws(batch), lot, Classification()
    )
    return set((~found.fell).nonzero()[:, 0].tolist())


@FEW
@given(radii, norms, st.integers(1, 25), st.floats(0, 5), st.integers(0, 99), st.booleans())
def test_every_proposal_of_square_is_inside(eps, norm, queries, contrast, seed, rescale):
    batch, eps = images(CONV, seed, contrast), eps * SCALE[norm]
    attack = attacks.build(
        "blackbox.square", {"eps": eps, "norm": norm, "queries": queries, "rescale_schedule": rescale}
    )
    state = dict(attack.start(batch, CONV(batch), 0, make_draws(batch, seed=seed)))
    for _ in range(attack.steps):
        assert inside(batch, state["pixels"], norm, eps)
        assert inside(batch, state["best"], norm, eps)
        state = dict(attack.step(batch, state, ask(attack, CONV, batch, state, state["pixels"])))


@FEW
@given(radii, norms, st.integers(0, 3), st.integers(1, 2), st.floats(0, 5), st.integers(0, 99))
def test_fab_walks_in_range_and_ends_inside(eps, norm, targets, restarts, contrast, seed):
    batch, eps = images(CONV, seed, contrast), eps * SCALE[norm]
    attack = attacks.build(
        "gradient.fab", {"eps": eps, "norm": norm, "targets": targets, "restarts": restarts, "steps": 4}
    )
    model = attack.within(CONV)
    state = dict(attack.start(batch, CONV(batch), 0, make_draws(batch, seed=seed)))
    for _ in range(attack.asks):
        assert inside(batch, state["pixels"], norm, None)
        assert inside(batch, state["best"], norm, eps)
        state = dict(attack.step(batch, state, ask(attack, model, batch, state, state["pixels"])))
    assert state["done"].all()


@FEW
@given(norms, st.floats(0.001, 0.2), st.integers(0, 99))
def test_square_never_gets_worse_with_queries_or_restarts(norm, eps, seed):
    batch = images(LINEAR, seed)
    few, many, again = (
        standing(attacks.build("blackbox.square", {"eps": eps * SCALE[norm], "norm": norm, **more}), batch)
        for more in ({"queries": 4}, {"queries": 16}, {"queries": 4, "restarts": 3})
    )
    assert many <= few
    assert again <= few


@FEW
@given(norms, st.floats(0.001, 0.2), st.integers(0, 99))
def test_fab_never_gets_worse_with_budget_targets_or_restarts(norm, eps, seed):
    batch = images(LINEAR, seed)
    eps = eps * SCALE[norm]
    few, wide, aims, again = (
        standing(attacks.build("gradient.fab", {"norm": norm, "steps": 4, **more}), batch)
        for more in (
            {"eps": eps, "targets": 1},
            {"eps": 2 * eps, "targets": 1},
            {"eps": eps, "targets": 4},
            {"eps": eps, "targets": 1, "restarts": 2},
        )
    )
    assert wide <= few
    assert aims <= few
    assert again <= few
