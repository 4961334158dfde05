"""Geometry: each map against scipy or OpenCV, signs and middle on pictures that show them, and the draws."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from robobench.registry import perturbations
from robobench.warp import projective, sample
from tests.fakes import make_batch, make_draws

MODES = {"black": "grid-constant", "reflect": "reflect", "nearest": "nearest"}


def run(name, batch, seed=0, **params):
    return perturbations.build(f"geometry.{name}", params)(batch, make_draws(batch, f"geometry.{name}", seed))


def by_scipy(image, matrix, border):
    """A picture (3, h, w) read at matrix @ (y, x, 1), the other order of axes than ours."""
    return np.stack(
        [
            ndimage.affine_transform(
                plane.double().numpy(), matrix[:, :2], matrix[:, 2], order=1, mode=MODES[border], cval=0
            )
            for plane in image
        ]
    )


def about_middle(linear, height, width):
    """Rows (y, x, 1) -> (y, x) of a linear map about the middle."""
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    return np.column_stack([linear, middle - linear @ middle])


@pytest.mark.parametrize("border", MODES)
@pytest.mark.parametrize(
    ("name", "params", "linear"),
    [
        # turned counter-clockwise by a: what is at (x, y), y downwards, comes from (x cos - y sin, x sin + y cos)
        ("rotate", {"degrees": 33.0}, lambda c, s: [[c, s], [-s, c]]),
        ("scale", {"factor": 1.7}, lambda c, s: [[1 / 1.7, 0], [0, 1 / 1.7]]),
        ("scale", {"factor": 0.4}, lambda c, s: [[2.5, 0], [0, 2.5]]),
        ("shear", {"degrees": 33.0}, lambda c, s: [[1, 0], [s / c, 1]]),
    ],
)
def test_each_map_is_what_scipy_makes_of_it(name, params, linear, border):
    batch = make_batch(2, 24, width=31)
    a = math.radians(33)
    matrix = np.array(linear(math.cos(a), math.sin(a)))
    if name == "rotate":
        matrix = np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]])
    out = run(name, batch, spread="exact", border=border, **params).pixels
    for image, found in zip(batch.pixels, out, strict=True):
        expected = by_scipy(image, about_middle(matrix, 24, 31), border)
        np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


def test_quarter_turns_are_those_of_numpy_and_counter_clockwise():
    batch = make_batch(2, 17)
    for quarter in (1, 2, 3, -1):
        angle = {3: -90.0}.get(quarter, 90.0 * quarter)
        out = run("rotate", batch, degrees=angle, spread="exact").pixels
        torch.testing.assert_close(out, batch.pixels.rot90(quarter, (2, 3)), atol=1e-5, rtol=0)


def test_a_shear_leans_upright_lines_to_the_right():
    batch = make_batch(1, 21)
    batch.pixels.zero_()[:, :, :, 10] = 1.0
    out = run("shear", batch, degrees=45.0, spread="exact").pixels[0, 0]
    assert out[0].argmax() == 20
    assert out[10].argmax() == 10
    assert out[20].argmax() == 0


def test_a_translation_moves_whole_pixels_to_the_right_and_down():
    batch = make_batch(3, 10, width=20)
    out = run("translate", batch, shift=0.2, spread="exact")
    assert out.facts["shift_x"].tolist() == [4.0] * 3
    assert out.facts["shift_y"].tolist() == [2.0] * 3
    assert torch.equal(out.pixels[:, :, 2:, 4:], batch.pixels[:, :, :-2, :-4])
    assert not out.pixels[:, :, :2].any()
    assert not out.pixels[:, :, :, :4].any()


@pytest.mark.parametrize("border", MODES)
@pytest.mark.parametrize("shift", [-1.0, -0.35, 0.6, 1.0])
def test_a_translation_is_that_of_scipy(border, shift):
    batch = make_batch(1, 9, width=13)
    out = run("translate", batch, shift=shift, spread="exact", border=border)
    by = float(out.facts["shift_y"]), float(out.facts["shift_x"])
    expected = np.stack(
        [ndimage.shift(p.numpy(), by, order=0, mode=MODES[border], cval=0) for p in batch.pixels[0]]
    )
    np.testing.assert_array_equal(out.pixels[0].numpy(), expected)


def corners_of_a_tilted_print(yaw, pitch, height, width):
    """Where the corners of a print are seen after it is turned, one by one and by trigonometry."""
    f = math.hypot(height, width)
    seen = []
    for x, y in ((0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)):
        a, b = x - (width - 1) / 2, y - (height - 1) / 2
        across, depth = a * math.cos(yaw), a * math.sin(yaw)
        down, depth = (
            b * math.cos(pitch) - depth * math.sin(pitch),
            b * math.sin(pitch) + depth * math.cos(pitch),
        )
        seen.append(((width - 1) / 2 + f * across / (f + depth), (height - 1) / 2 + f * down / (f + depth)))
    return np.float32(seen)


@pytest.mark.parametrize("degrees", [25.0, -40.0, 70.0])
def test_a_perspective_is_that_of_four_corners(degrees):
    height, width = 40, 56
    batch = make_batch(1, height, width=width)
    out = run("perspective", batch, degrees=degrees, spread="exact").pixels[0]
    angle = math.radians(degrees)
    to = corners_of_a_tilted_print(angle, angle, height, width)
    of = np.float32([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)])
    matrix = cv2.getPerspectiveTransform(of, to)
    for plane, found in zip(batch.pixels[0], out, strict=True):
        expected = cv2.warpPerspective(plane.numpy(), matrix, (width, height), flags=cv2.INTER_LINEAR)
        np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)


def test_perspective_far_edges_are_shorter():
    batch = make_batch(1, 41)
    batch.pixels.fill_(1.0)
    lit = run("perspective", batch, degrees=30.0, spread="exact").pixels[0, 0] > 0.5
    columns = lit.sum(0)[lit.any(0)]
    assert columns[-2] < columns[1]  # positive yaw: the right edge is farther away


def test_projective_maps_are_read_where_their_formula_says():
    batch = make_batch(2, 20, width=26)
    matrix = torch.tensor([[1.1, 0.1, -2.0], [-0.05, 0.9, 1.0], [1e-3, 2e-3, 1.0]], dtype=torch.float64)
    y, x = np.mgrid[:20, :26].astype(np.float64)
    places = np.einsum("ij,jhw->ihw", matrix.numpy(), np.stack([x, y, np.ones_like(x)]))
    columns, rows = (torch.from_numpy(places[i] / places[2]).float() for i in (0, 1))
    for border in ("zero", "reflect", "nearest"):
        found = projective(batch.pixels, matrix, border=border)
        torch.testing.assert_close(
            found, sample(batch.pixels, rows, columns, border=border), atol=5e-5, rtol=0
        )


@pytest.mark.parametrize(
    ("name", "param", "value", "fact"),
    [
        ("rotate", "degrees", 40.0, "angle"),
        ("shear", "degrees", 40.0, "angle"),
        ("translate", "shift", 0.5, "shift_x"),
        ("translate", "shift", 0.5, "shift_y"),
        ("perspective", "degrees", 40.0, "yaw"),
        ("perspective", "degrees", 40.0, "pitch"),
    ],
)
def test_the_spread_says_how_the_strength_is_drawn(name, param, value, fact):
    batch = make_batch(400, 2)
    unit = 2 * value if name == "translate" else value
    within, either, exact = (
        run(name, batch, **{param: value, "spread": s}).facts[fact] for s in ("within", "either", "exact")
    )
    assert (exact == unit).all()
    assert set(either.tolist()) == {unit, -unit}
    assert abs(int((either > 0).sum()) - 200) < 50
    if name != "translate":
        assert within.abs().max() <= unit
        assert within.std() == pytest.approx(unit / math.sqrt(3), rel=0.08)
        assert torch.equal(within.sign(), either.sign())
        half = run(name, batch, **{param: value / 2}).facts[fact]
        torch.testing.assert_close(half * 2, within)  # levels of a ladder share the draws


def test_scales_are_drawn_as_often_below_1_as_above_it():
    batch = make_batch(400, 2)
    factor = run("scale", batch, factor=2.0).facts["scale"].log2()
    assert factor.abs().max() <= 1
    assert abs(float(factor.mean())) < 0.1
    assert factor.std() == pytest.approx(1 / math.sqrt(3), rel=0.08)
    assert set(run("scale", batch, factor=2.0, spread="either").facts["scale"].tolist()) == {0.5, 2.0}


def test_the_two_directions_are_drawn_apart():
    batch = make_batch(200, 40)
    facts = run("translate", batch, shift=0.5).facts
    assert abs(float(torch.corrcoef(torch.stack([facts["shift_x"], facts["shift_y"]]))[0, 1])) < 0.2


def test_no_border_leaves_black_where_the_picture_goes_on():
    batch = make_batch(2, 32)  # nothing in it is below 0.02
    for name, params in (
        ("rotate", {"degrees": 45.0}),
        ("scale", {"factor": 0.5}),
        ("shear", {"degrees": 40.0}),
    ):
        for border in ("reflect", "nearest"):
            assert run(name, batch, spread="exact", border=border, **params).pixels.min() > 0.019
        assert run(name, batch, spread="exact", **params).pixels.min() == 0
