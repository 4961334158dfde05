"""Every result of a gradient attack lies inside its budget and inside [0, 1], at every step."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robobench.registry import attacks
from robobench.types import ImageBatch
from tests.fakes import conv_model, linear_model, make_batch, make_draws, run_stepped

MODEL = conv_model()
LINEAR = linear_model(side=6)
FEW = settings(max_examples=25)
radii = st.one_of(st.sampled_from([0.0, 1e-4, 0.5 / 255, 8 / 255, 1.0]), st.floats(0, 1))
norms = st.sampled_from(["linf", "l2"])


def images(seed: int, contrast: float) -> ImageBatch:
    """Pixels from a narrow grey to black and white ones, which clamping meets."""
    batch = make_batch(n=4, side=6, seed=seed)
    return batch.with_pixels(((batch.pixels - 0.5) * contrast + 0.5).clamp(0, 1))


def inside(batch: ImageBatch, pixels: torch.Tensor, norm: str, eps: float) -> bool:
    change = (pixels.double() - batch.pixels.double()).flatten(1)
    size = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
    return bool((size <= eps + 1e-6).all() and (pixels >= 0).all() and (pixels <= 1).all())


@FEW
@given(radii, norms, st.integers(1, 4), st.booleans(), st.floats(0, 5), st.integers(0, 99), st.floats(0, 2))
def test_pgd_stays_in_its_budget_from_start_to_end(eps, norm, steps, random_start, contrast, seed, alpha):
    batch = images(seed, contrast)
    attack = attacks.build(
        "gradient.pgd",
        {"eps": eps, "norm": norm, "steps": steps, "random_start": random_start, "alpha": min(alpha, 1)},
    )
    state = attack.start(batch, make_draws(batch, seed=seed))
    assert inside(batch, state["pixels"], norm, eps)
    for _ in range(steps):
        _, gradient = MODEL.gradient(batch.with_pixels(state["pixels"]), attack.loss)
        state = attack.step(batch, state, gradient)
        assert inside(batch, state["pixels"], norm, eps)


@FEW
@given(st.floats(1, 12), st.integers(0, 99))
def test_a_wide_l2_ball_at_image_size_is_kept_to_a_millionth(eps, seed):
    batch = make_batch(n=1, side=96, seed=seed)
    attack = attacks.build("gradient.pgd", {"eps": eps, "norm": "l2"})
    far = {"pixels": 1 - batch.pixels.round()}
    gradient = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(seed))
    found = attack.step(batch, far, gradient)["pixels"]
    assert inside(batch, found, "l2", eps)
    assert (found - batch.pixels).norm() > 0.9 * eps


@FEW
@given(radii, st.floats(0, 5), st.integers(0, 99))
def test_fgsm_stays_in_its_budget(eps, contrast, seed):
    batch = images(seed, contrast)
    attack = attacks.build("gradient.fgsm", {"eps": eps})
    assert inside(batch, run_stepped(attack, MODEL, batch, make_draws(batch)), "linf", eps)


@FEW
@given(norms, st.floats(0.001, 1), st.integers(0, 99), st.permutations(range(4)))
def test_order_and_company_do_not_matter(norm, eps, seed, order):
    """With a model that gives every image the same bits in any company, as the engine's lots do."""
    batch = images(seed, 1.0)
    attack = attacks.build("gradient.pgd", {"eps": eps, "norm": norm, "steps": 3})
    draws = make_draws(batch)
    whole = run_stepped(attack, LINEAR, batch, draws)
    for rows in (order[:1], order[1:]):
        part = batch.select(rows)
        found = run_stepped(attack, LINEAR, part, draws.select(part.ids))
        torch.testing.assert_close(found, whole[list(rows)], atol=1e-6, rtol=0)
