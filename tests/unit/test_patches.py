"""Outlines, places and turns of patches against loops over pixels and numpy's own turns."""

from functools import cache

import numpy as np
import pytest
import torch

from robobench.errors import BadParameter
from robobench.params import read_grid
from robobench.patches import cells, outline, put, spread, square, strewn, turned, window
from tests.fakes import make_batch, make_draws


@cache
def discs(limit):
    """Every disc about a pixel or a corner, as (pixels, side)."""
    found = []
    for odd in (0, 1):
        for radius2 in range(160):
            reach = range(-limit, limit + 1) if odd else np.arange(-limit, limit) + 0.5
            inside = [(y, x) for y in reach for x in reach if y * y + x * x <= radius2 / 4]
            if inside:
                found.append((len(inside), int(2 * max(y for y, _ in inside)) + 1))
    return found


@pytest.mark.parametrize("pixels", [1, 3, 4, 5, 8, 15, 39, 78])
def test_a_circle_is_the_largest_disc_that_the_share_allows(pixels):
    covers = outline("circle", pixels / 784, (28, 28), "x")
    best, side = max(d for d in discs(12) if d[0] <= pixels)
    assert covers.sum() == best
    assert covers.shape == (side, side)
    assert np.array_equal(covers, np.rot90(covers))


@pytest.mark.parametrize(
    ("area", "size", "side"), [(0.05, (28, 28), 6), (0.05, (224, 224), 50), (1.0, (6, 9), 6)]
)
def test_a_square_is_the_largest_that_the_share_allows(area, size, side):
    assert square(area, size).shape == (side, side)
    assert side**2 <= area * size[0] * size[1]
    assert (side + 1) ** 2 > area * size[0] * size[1] or side == min(size)


def test_a_share_that_is_too_small_or_too_wide_is_refused():
    with pytest.raises(
        BadParameter, match=r"^x: area: expected at least one of the 28x28 pixels, got 0\.001"
    ):
        outline("circle", 0.001, (28, 28), "x")
    with pytest.raises(BadParameter, match="is 9 pixels wide and does not fit"):
        outline("circle", 0.9, (8, 9), "x")


def test_a_patch_is_put_where_it_is_told_and_its_gradient_is_that_of_what_it_covers():
    batch = make_batch(n=3, side=12, width=10)
    covers = outline("circle", 0.1, (12, 10), "x")
    side = len(covers)
    patch = torch.rand(3, 3, side, side, requires_grad=True)
    rows, columns = torch.tensor([0, 12 - side, 3]), torch.tensor([10 - side, 0, 2])
    weights = torch.rand(3, 3, 12, 10)
    found = put(batch.pixels, patch, covers, rows, columns)
    (found * weights).sum().backward()
    for i in range(3):
        expected, gradient = batch.pixels[i].clone(), torch.zeros(3, side, side)
        for y in range(side):
            for x in range(side):
                if covers[y, x]:
                    expected[:, rows[i] + y, columns[i] + x] = patch[i, :, y, x].detach()
                    gradient[:, y, x] = weights[i, :, rows[i] + y, columns[i] + x]
        assert torch.equal(found[i], expected)
        assert torch.equal(patch.grad[i], gradient)


def test_squares_turn_by_quarters_and_circles_by_any_angle():
    patch = torch.rand(1, 3, 7, 7)
    quarters = [np.rot90(patch[0].numpy(), k, (1, 2)) for k in range(4)]
    for k, turn in enumerate((0.0, 0.3, 0.5, 0.99)):
        assert np.array_equal(turned(patch, "square", torch.tensor([turn]))[0].numpy(), quarters[k])
    way = turned(patch, "circle", torch.tensor([0.25]))[0].numpy()
    assert any(np.allclose(way, q, atol=1e-5) for q in (quarters[1], quarters[3]))
    torch.testing.assert_close(turned(patch, "circle", torch.tensor([0.0])), patch)
    ramp = torch.arange(7.0).view(1, 1, 1, 7).expand(1, 3, 7, 7) - 3
    eighth = turned(ramp, "circle", torch.tensor([0.125]))[0, 0, 2:5, 2:5]
    by_hand = [[0.5**0.5 * (x - y) for x in (-1, 0, 1)] for y in (-1, 0, 1)]
    mirrored = [[0.5**0.5 * (x + y) for x in (-1, 0, 1)] for y in (-1, 0, 1)]
    assert np.allclose(eighth, by_hand, atol=1e-5) or np.allclose(eighth, mirrored, atol=1e-5)


def test_places_reach_every_corner_and_never_leave_the_image():
    batch = make_batch(n=400, side=8, width=9)
    covers = outline("square", 0.6, (8, 9), "x")
    patch = torch.full((400, 3, 6, 6), 2.0)
    found = strewn(batch.pixels, patch, "square", covers, make_draws(batch)) == 2
    assert (found.all(1).flatten(1).sum(1) == 36).all()
    corners = {tuple(np.argwhere(one[0].numpy())[0]) for one in found}
    assert corners == {(y, x) for y in range(3) for x in range(4)}


def test_windows_about_one_point_nest():
    points = torch.tensor([[y, x] for y in range(7) for x in range(9)])
    pixels = torch.zeros(63, 3, 7, 9)
    last = torch.zeros(63, 1, 7, 9, dtype=torch.bool)
    for side in range(8):
        inside = window(pixels, points, side)
        assert (inside.flatten(1).sum(1) == side**2).all()
        assert not (last & ~inside).any()
        if side:
            assert all(inside[i, 0, y, x] for i, (y, x) in enumerate(points.tolist()))
        last = inside


def test_cells_are_sums_and_spread_is_their_inverse():
    planes, grid = torch.rand(2, 3, 6, 8), read_grid("3x4")
    found = cells(planes, grid, "x")
    for cell in range(12):
        y, x = 2 * (cell // 4), 2 * (cell % 4)
        expected = planes[:, :, y : y + 2, x : x + 2].double().sum((1, 2, 3))
        torch.testing.assert_close(found[:, cell], expected)
        assert (spread(found, grid, 6, 8)[:, 0, y : y + 2, x : x + 2] == found[:, cell, None, None]).all()
    with pytest.raises(BadParameter, match="expected a number of cells that divides the 6x8 pixels, got 4x4"):
        cells(planes, read_grid(4), "x")
