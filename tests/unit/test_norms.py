"""Lengths, directions and projections against brute force: bisection, a general optimiser, numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from robobench import norms

NORMS = ("linf", "l2", "l1")
ORDER = {"linf": np.inf, "l2": 2, "l1": 1}


def some(n=4, side=5, seed=0, scale=1.0):
    """Images with black and white pixels among them, and changes."""
    generator = torch.Generator().manual_seed(seed)
    images = (torch.rand(n, 3, side, side, generator=generator) * 1.4 - 0.2).clamp(0, 1)
    return images, torch.randn(n, 3, side, side, generator=generator) * scale


def lengths(change, norm):
    flat = change.flatten(1).double().numpy()
    return torch.as_tensor(np.linalg.norm(flat, ord=ORDER[norm], axis=1))


@pytest.mark.parametrize("norm", NORMS)
def test_length_is_that_of_numpy(norm):
    _, change = some()
    torch.testing.assert_close(norms.length(change, norm).flatten(), lengths(change, norm))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [1e-38, 1e-25, 1.0, 1e25, 1e38])
def test_direction_has_length_one_whatever_the_size(norm, size):
    _, change = some()
    change = change / change.abs().amax() * size
    found = norms.direction(change, norm)
    torch.testing.assert_close(lengths(found, norm), torch.ones(4, dtype=torch.float64), atol=1e-5, rtol=0)
    assert torch.equal(found.sign(), change.sign()) or size == 1e-38  # there the smallest entries vanish


@pytest.mark.parametrize("norm", NORMS)
def test_no_direction_stays_none(norm):
    nothing = torch.zeros(2, 3, 4, 4)
    assert torch.equal(norms.direction(nothing, norm), nothing)
    assert torch.equal(norms.steepest(nothing, norm), nothing)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_steepest_step_beats_a_thousand_random_ones(norm):
    _, gradient = some(n=1)
    step = norms.steepest(gradient, norm)
    assert lengths(step, norm).item() == pytest.approx(1, abs=1e-6)
    others = torch.randn(1000, *gradient.shape[1:], generator=torch.Generator().manual_seed(1))
    others = norms.direction(others, norm)
    assert (step * gradient).sum() > (others * gradient).flatten(1).sum(1).max()


def test_the_steepest_l1_step_is_the_signs_of_the_largest_entries():
    _, gradient = some(n=3, side=10)
    gradient[2] = 0
    gradient[2, 0, 0, :2] = torch.tensor([3.0, -2.0])  # fewer than the share that are not 0
    step = norms.steepest(gradient, "l1", 0.1)
    for one, found in zip(gradient[:2].flatten(1), step[:2].flatten(1), strict=True):
        expected = torch.zeros(300)
        top = one.abs().topk(30).indices
        expected[top] = one[top].sign() / 30
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(step[2, 0, 0, :3], torch.tensor([0.5, -0.5, 0.0]))
    assert step[2].abs().sum() == 1


def test_each_image_may_have_a_share_of_its_own():
    _, gradient = some(n=3, side=10)
    step = norms.steepest(gradient, "l1", torch.tensor([0.0, 0.1, 1.0]))
    assert (step != 0).flatten(1).sum(1).tolist() == [1, 30, 300]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [0.0, 0.1, 3.0, 1e3])
def test_projection_on_a_ball(norm, eps):
    """Inside it stays; outside a linf entry is cut and an l2 change is scaled."""
    _, change = some()
    found = norms.project(change, norm, eps)
    expected = change.clamp(-eps, eps)
    if norm == "l2":
        expected = change * (eps / lengths(change, "l2")).clamp(max=1).float().view(-1, 1, 1, 1)
    torch.testing.assert_close(found, expected)
    assert (lengths(found, norm) <= eps + 1e-6 * max(1, eps)).all()


def by_bisection(image, change, eps):
    """The l1 projection of one image in float64: the one number that all entries shrink by is searched for."""
    size, room = change.abs(), torch.where(change > 0, 1 - image, image)

    def kept(less):
        return torch.minimum((size - less).clamp(min=0), room)

    low, high = 0.0, float(size.max())
    if kept(0.0).sum() > eps:
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if kept(middle).sum() > eps else (low, middle)
        return kept(high) * change.sign()
    return kept(0.0) * change.sign()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([0.0, 0.01, 0.5, 3.0, 12.0, 1e3]),
    st.sampled_from([1e-4, 0.03, 0.3, 2.0, 50.0]),
    st.integers(0, 9),
)
def test_l1_projection_is_that_by_bisection(eps, scale, seed):
    images, change = some(seed=seed, scale=scale)
    change[1, 0] = 0.25  # entries of the same size
    change[2] = 0
    found = norms.project_l1(images, change, eps)
    for one, moved, result in zip(images.double(), change.double(), found, strict=True):
        expected = by_bisection(one, moved, eps)
        torch.testing.assert_close(result.double(), expected, atol=2e-7, rtol=1e-5)


def test_l1_projection_is_the_nearest_point_for_a_general_optimiser():
    """A quadratic programme: the change is parted into rises and falls, so that its length is linear."""
    images, change = some(n=2, side=2, seed=3)
    for eps in (0.3, 1.5, 100.0):
        found = norms.project_l1(images, change, eps)
        for one, moved, result in zip(images, change, found, strict=True):
            x, y = one.flatten().double().numpy(), moved.flatten().double().numpy()

            def gap(parts, y=y):
                return float(((parts[:12] - parts[12:] - y) ** 2).sum())

            limit = {"type": "ineq", "fun": lambda parts, eps=eps: eps - parts.sum()}
            bounds = [(0, v) for v in 1 - x] + [(0, v) for v in x]
            best = minimize(gap, np.zeros(24), bounds=bounds, constraints=[limit], method="SLSQP", tol=1e-12)
            assert best.success
            np.testing.assert_allclose(result.flatten(), best.x[:12] - best.x[12:], atol=1e-4)


def test_each_image_may_have_a_radius_of_its_own():
    images, change = some(n=3)
    radii = torch.tensor([0.1, 1.0, 4.0]).view(-1, 1, 1, 1)
    for norm in NORMS:
        together = norms.bounded(images, change, norm, radii)
        for row, radius in enumerate(radii.flatten().tolist()):
            alone = norms.bounded(images[row : row + 1], change[row : row + 1], norm, radius)
            torch.testing.assert_close(together[row : row + 1], alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("eps", [0.0, 1e-3, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("scale", [0.01, 10.0])
def test_bounded_pixels_are_in_range_and_in_the_ball_at_image_size(norm, eps, scale):
    """Also where 30,000 roundings of float32 add up."""
    images, change = some(n=2, side=100, scale=scale)
    pixels = norms.bounded(images, change, norm, eps)
    assert ((pixels >= 0) & (pixels <= 1)).all()
    reached = lengths(pixels.double() - images.double(), norm)
    assert (reached <= eps + 1e-6 * (1 if norm == "linf" else max(1, eps))).all()
    if 0.1 <= eps <= 1 and scale == 10:
        assert (reached > 0.98 * eps).all() or norm == "l2"  # l2 is cut after it was scaled


def test_rounding_takes_no_dense_l1_change_over_its_radius():
    """Without being taken back, the roundings of 30,000 pixels lead half of these images over it."""
    generator = torch.Generator().manual_seed(0)
    images = 0.1 + 0.8 * torch.rand(8, 3, 100, 100, generator=generator)
    change = norms.direction(torch.randn(images.shape, generator=generator), "l1") * 2.2
    pixels = norms.bounded(images, change, "l1", 2.0)
    reached = lengths(pixels - images, "l1")
    assert (reached <= 2.0).all()
    assert (reached > 1.995).all()


def test_l1_needs_the_images():
    with pytest.raises(ValueError, match="project_l1"):
        norms.project(torch.zeros(1, 3, 2, 2), "l1", 0.1)
