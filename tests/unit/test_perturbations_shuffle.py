import pytest
import torch

from robobench.errors import BadParameter
from robobench.registry import perturbations
from tests.fakes import make_batch, make_draws


def build(grid):
    return perturbations.build("shuffle.grid", {"grid": grid})


@pytest.mark.parametrize("grid", ["2x2", "2x4", "4x4", "4x8", "8x8", "16x16"])
def test_each_cell_is_the_drawn_one(grid):
    batch = make_batch(side=32)
    draws = make_draws(batch)
    rows, columns = map(int, grid.split("x"))
    tall, wide = 32 // rows, 32 // columns
    out = build(grid)(batch, draws)
    source = draws.permutation("cells", rows * columns)

    def cell(pixels, number):
        r, c = divmod(int(number), columns)
        return pixels[:, r * tall : (r + 1) * tall, c * wide : (c + 1) * wide]

    for i in range(len(batch)):
        for k in range(rows * columns):
            assert torch.equal(cell(out.pixels[i], k), cell(batch.pixels[i], source[i, k]))


@pytest.mark.parametrize(("side", "width", "grid"), [(32, 32, "4x4"), (17, 23, "3x5"), (16, 16, 5)])
def test_the_inverse_permutation_restores_the_image(side, width, grid):
    batch = make_batch(side=side, width=width)
    draws = make_draws(batch)
    step = build(grid)
    shuffled = step(batch, draws)
    assert not torch.equal(shuffled.pixels, batch.pixels)
    inverse = draws.permutation("cells", step.grid.total).argsort(dim=1)
    assert torch.equal(step._shuffled(shuffled.pixels, inverse), batch.pixels)
    assert torch.equal(
        shuffled.pixels.flatten(2).sort(dim=2).values, batch.pixels.flatten(2).sort(dim=2).values
    )


def test_what_does_not_divide_stays_around_the_middle():
    batch = make_batch(side=17, width=23)  # 3x5 cells of 5x4 pixels: rows 1..15, columns 1..20
    moved = (build("3x5")(batch, make_draws(batch)).pixels != batch.pixels).any(0).any(0)
    assert not moved[0].any()
    assert not moved[16:].any()
    assert not moved[:, 0].any()
    assert not moved[:, 21:].any()
    assert moved[1:16, 1:21].all()


def test_the_layout_in_memory_does_not_matter():
    batch = make_batch(side=33)
    other = batch.with_pixels(batch.pixels.contiguous(memory_format=torch.channels_last))
    draws = make_draws(batch)
    assert torch.equal(build(5)(other, draws).pixels, build(5)(batch, draws).pixels)


def test_records_the_share_that_moved():
    batch = make_batch(n=200, side=4)
    draws = make_draws(batch)
    out = build("2x2")(batch, draws)
    still = draws.permutation("cells", 4) == torch.arange(4)
    assert torch.equal(out.facts["moved"], 1 - still.float().mean(1))
    assert (out.facts["moved"] == 0).any()  # the identity is a permutation too
    whole = (out.pixels == batch.pixels).flatten(1).all(1)
    assert torch.equal(whole, out.facts["moved"] == 0)


def test_one_cell_is_the_identity():
    batch = make_batch()
    assert build(1).identity
    assert not build("1x2").identity
    out = build(1)(batch, make_draws(batch))
    assert torch.equal(out.pixels, batch.pixels)
    assert (out.facts["moved"] == 0).all()


def test_the_given_pixels_are_left_alone():
    batch = make_batch()
    before = batch.pixels.clone()
    build("4x4")(batch, make_draws(batch))
    assert torch.equal(batch.pixels, before)


def test_a_grid_finer_than_the_pixels_is_refused():
    batch = make_batch(side=8)
    message = "shuffle.grid: grid: expected at most one cell per pixel of images of 8x8, got 9x8"
    with pytest.raises(BadParameter, match=message):
        build("9x8")(batch, make_draws(batch))
