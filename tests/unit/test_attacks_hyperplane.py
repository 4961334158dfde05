"""The nearest point of a box on a hyperplane, against general solvers and against what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from robobench.attacks.gradient.hyperplane import onto_hyperplane

NORMS = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
SIDE = 2  # 12 values
ORDER = {"linf": np.inf, "l2": 2, "l1": 1}


def problem(seed: int, share: float, n: int = 1, side: int = SIDE):
    """Points (some on the edge of the box), gradients (some 0), and a rise that is a share of the most."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(n, 3, side, side, generator=generator)
    points = torch.where(points < 0.15, 0.0, torch.where(points > 0.85, 1.0, points))
    normal = torch.randn(n, 3, side, side, generator=generator)
    normal[torch.rand(normal.shape, generator=generator) < 0.2] = 0.0
    down = seed % 2 == 1
    room = torch.where((normal > 0) != down, 1 - points, points)
    most = (normal.abs() * room).sum((1, 2, 3))
    return points, normal, most * share * (-1 if down else 1)


def solved(points, normal, rise, norm) -> float:
    """The length of the smallest change, from a solver that knows nothing of this problem."""
    x, w, r = points.flatten().double().numpy(), normal.flatten().double().numpy(), float(rise)
    n = len(x)
    if norm == "linf":  # minimise t with -t <= d <= t
        a = np.block([[np.eye(n), -np.ones((n, 1))], [-np.eye(n), -np.ones((n, 1))]])
        found = linprog(
            np.r_[np.zeros(n), 1],
            a,
            np.zeros(2 * n),
            np.r_[w, 0][None],
            [r],
            [*zip(-x, 1 - x, strict=True), (0, None)],
        )
        return found.fun
    if norm == "l1":  # d = up - down
        bounds = [(0, 1 - v) for v in x] + [(0, v) for v in x]
        found = linprog(np.ones(2 * n), A_eq=np.r_[w, -w][None], b_eq=[r], bounds=bounds)
        return found.fun
    found = minimize(
        lambda d: d @ d,
        np.clip(w * r / (w @ w), -x, 1 - x),
        jac=lambda d: 2 * d,
        bounds=list(zip(-x, 1 - x, strict=True)),
        constraints={"type": "eq", "fun": lambda d: w @ d - r, "jac": lambda d: w},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.success
    return float(np.sqrt(found.fun))


@NORMS
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_no_smaller_change_does_it(norm, seed, share):
    points, normal, rise = problem(seed, share)
    change = onto_hyperplane(points, normal, rise, norm)
    assert ((points + change >= -1e-7) & (points + change <= 1 + 1e-7)).all()
    assert float((normal * change).sum()) == pytest.approx(float(rise), rel=1e-5, abs=1e-6)
    size = np.linalg.norm(change.flatten().double().numpy(), ORDER[norm])
    assert size == pytest.approx(solved(points, normal, rise, norm), rel=1e-4, abs=1e-6)
    assert (change[normal == 0] == 0).all()


@NORMS
def test_beyond_the_box_it_goes_as_far_as_the_box_allows(norm):
    points, normal, rise = problem(0, 1.5, n=3)
    change = onto_hyperplane(points, normal, rise, norm)
    corner = torch.where(normal > 0, 1 - points, torch.where(normal < 0, -points, 0.0))
    torch.testing.assert_close(change, corner)


@NORMS
@pytest.mark.parametrize("scale", [1e-28, 1.0, 1e20])
def test_the_scale_of_the_function_does_not_matter(norm, scale):
    points, normal, rise = problem(2, 0.3, n=4, side=6)
    expected = onto_hyperplane(points, normal, rise, norm)
    assert expected.abs().amax() > 0.01
    found = onto_hyperplane(points, normal * scale, rise * scale, norm)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@NORMS
def test_where_there_is_nothing_to_gain_nothing_moves(norm):
    points, normal, rise = problem(3, 0.3, n=2)
    assert (onto_hyperplane(points, 0 * normal, rise, norm) == 0).all()
    assert (onto_hyperplane(points, normal, 0 * rise, norm) == 0).all()
    endless = onto_hyperplane(points, normal, torch.full((2,), torch.inf), norm)
    assert torch.isfinite(endless).all()


@NORMS
def test_points_do_not_know_of_each_other(norm):
    parts = [problem(seed, share, side=6) for seed, share in ((0, 0.02), (1, 0.5), (2, 0.97), (3, 2.0))]
    points, normal, rise = (torch.cat(values) for values in zip(*parts, strict=True))
    whole = onto_hyperplane(points, normal, rise, norm)
    for k, part in enumerate(parts):
        assert torch.equal(onto_hyperplane(*part, norm)[0], whole[k])
