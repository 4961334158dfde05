from itertools import pairwise

import pytest
import torch

from robobench.errors import BadParameter
from robobench.registry import perturbations
from tests.fakes import make_batch, make_draws

FRACTIONS = (0.0001, 0.02, 0.1, 0.25, 0.5, 0.77, 1.0)


def build(name, **params):
    return perturbations.build(f"occlusion.{name}", params)


def hidden_by(step, batch, draws):
    out = step(batch, draws)
    hidden = (out.pixels != batch.pixels).any(1)
    assert torch.equal(out.facts["information_loss"], hidden.double().mean((1, 2)).float())
    return hidden


def rectangle(mask):
    """Top, left, height and width of the only rectangle that is covered."""
    rows, columns = mask.any(1).nonzero().flatten().tolist(), mask.any(0).nonzero().flatten().tolist()
    box = rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    assert mask.sum() == box[2] * box[3]
    return box


@pytest.mark.parametrize(("side", "width"), [(32, 32), (17, 23)])
@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("place", ["random", "centre"])
def test_a_square_of_the_share_lies_inside(side, width, fraction, place):
    batch = make_batch(side=side, width=width)
    draws = make_draws(batch)
    step = build("square", fraction=fraction, place=place)
    at = draws.uniform("place", 2).double()
    for i, mask in enumerate(hidden_by(step, batch, draws)):
        top, left, tall, wide = rectangle(mask)
        assert tall == max(int(fraction**0.5 * side + 0.5), 1)
        assert wide == max(int(fraction**0.5 * width + 0.5), 1)
        if place == "centre":
            assert (top, left) == ((side - tall) // 2, (width - wide) // 2)
        else:
            assert top == int(at[i, 0] * (side - tall + 1))
            assert left == int(at[i, 1] * (width - wide + 1))


def test_a_square_lies_anywhere_with_equal_chance():
    batch = make_batch(n=2000, side=4)
    masks = hidden_by(build("square", fraction=0.25), batch, make_draws(batch))
    places = [rectangle(m)[:2] for m in masks]
    counts = [places.count((y, x)) for y in range(3) for x in range(3)]
    assert sum(counts) == 2000
    assert all(abs(c - 2000 / 9) < 5 * (2000 * 1 / 9 * 8 / 9) ** 0.5 for c in counts)


@pytest.mark.parametrize("params", [{}, {"place": "centre"}])
def test_squares_nest(params):
    batch = make_batch(n=20, side=29, width=31)
    draws = make_draws(batch)
    levels = [hidden_by(build("square", fraction=i / 60, **params), batch, draws) for i in range(61)]
    for small, large in pairwise(levels):
        assert not (small & ~large).any()
    assert not levels[0].any()
    assert levels[-1].all()


def bar_lines(side, bars, fraction, start):
    """Which lines are covered: a line begins the share ((line - start) * bars mod side) of its stripe."""
    return [((y - start) * bars % side) / side < fraction - 1e-12 for y in range(side)]


@pytest.mark.parametrize(("side", "width", "bars"), [(32, 32, 8), (17, 23, 3), (28, 28, 5), (16, 16, 16)])
@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_bars_cover_the_share_of_each_stripe(side, width, bars, fraction, direction):
    batch = make_batch(side=side, width=width)
    draws = make_draws(batch)
    masks = hidden_by(build("bars", fraction=fraction, bars=bars, direction=direction), batch, draws)
    for i, mask in enumerate(masks):
        lines = mask if direction == "horizontal" else mask.T
        assert (lines.all(1) == lines.any(1)).all()
        start = int(draws.uniform("start", 1)[i].double() * len(lines))
        assert lines.any(1).tolist() == bar_lines(len(lines), bars, fraction, start)


def test_even_stripes_are_counted_and_equal():
    batch = make_batch(n=20, side=32)
    for mask in hidden_by(build("bars", fraction=0.25, bars=4), batch, make_draws(batch)):
        line = mask[0].tolist()
        assert sum(line) == 8
        assert sum(a and not b for a, b in zip(line, line[1:] + line[:1], strict=True)) == 4


def test_bars_start_anywhere():
    batch = make_batch(n=300, side=8)
    masks = hidden_by(build("bars", fraction=0.1, bars=1), batch, make_draws(batch))
    assert {m[0].nonzero().item() for m in masks} == set(range(8))


def test_bars_nest():
    batch = make_batch(n=10, side=29)
    draws = make_draws(batch)
    levels = [hidden_by(build("bars", fraction=i / 40, bars=6), batch, draws) for i in range(41)]
    for small, large in pairwise(levels):
        assert not (small & ~large).any()
    assert not levels[0].any()
    assert levels[-1].all()


@pytest.mark.parametrize(("direction", "at_most"), [("horizontal", 8), ("vertical", 12)])
def test_more_bars_than_lines_are_refused(direction, at_most):
    batch = make_batch(side=8, width=12)
    build("bars", fraction=0.5, bars=at_most, direction=direction)(batch, make_draws(batch))
    with pytest.raises(
        BadParameter, match=r"bars: expected at most one per line of pixels of images of 8x12"
    ):
        build("bars", fraction=0.5, bars=at_most + 1, direction=direction)(batch, make_draws(batch))


@pytest.mark.parametrize(("side", "width", "grid"), [(32, 32, "4x4"), (17, 23, "3x5"), (28, 28, "14x14")])
def test_a_checkerboard_covers_every_other_cell(side, width, grid):
    batch = make_batch(n=12, side=side, width=width)
    rows, columns = map(int, grid.split("x"))
    seen = set()
    for mask in hidden_by(build("checkerboard", grid=grid), batch, make_draws(batch)):
        first = bool(mask[0, 0])
        seen.add(first)
        for y in range(side):
            for x in range(width):
                r = max(i for i in range(rows) if i * side // rows <= y)
                c = max(i for i in range(columns) if i * width // columns <= x)
                assert mask[y, x] == (((r + c) % 2 == 0) == first)
    assert seen == {True, False}


def test_a_checkerboard_needs_two_cells():
    with pytest.raises(BadParameter, match="grid: expected at least two cells, got 1x1"):
        build("checkerboard", grid=1)
    build("checkerboard", grid="1x2")


@pytest.mark.parametrize(
    ("name", "params"),
    [("square", {"fraction": 0.4}), ("bars", {"fraction": 0.4}), ("checkerboard", {"grid": 4})],
)
def test_all_fills_show_where_black_would(name, params):
    batch = make_batch(side=32, donor=make_batch(side=32, seed=5).pixels)
    draws = make_draws(batch)
    hidden = hidden_by(build(name, **params), batch, draws)[:, None]
    shades = {
        "grey": torch.full_like(batch.pixels, 0.5),
        "mean": batch.pixels.double().mean((2, 3), keepdim=True).float().expand_as(batch.pixels),
        "noise": draws.uniform("fill", 3, 32, 32),
        "donor": batch.inputs["donor"],
    }
    for fill, shade in shades.items():
        out = build(name, fill=fill, **params)(batch, draws).pixels
        torch.testing.assert_close(out, torch.where(hidden, shade, batch.pixels), atol=1e-6, rtol=0)
    blurred = build(name, fill="blur", **params)(batch, draws).pixels
    assert torch.equal((blurred != batch.pixels).any(1, keepdim=True), hidden)
    assert build(name, fill="donor", **params).wants == ("donor",)
