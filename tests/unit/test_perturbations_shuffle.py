import numpy as np
import pytest
import torch

from robobench.errors import BadParameter
from robobench.perturbations.shuffle import _cut, _order, _put
from robobench.registry import perturbations
from tests.fakes import make_batch, make_draws


def build(grid, **more):
    return perturbations.build("shuffle.grid", {"grid": grid, **more})


def pixels_by(**params):
    return perturbations.build("shuffle.pixels", params)


def turned_by(**params):
    return perturbations.build("shuffle.rotate", params)


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


@pytest.mark.parametrize(
    ("side", "width", "grid", "offset"), [(32, 32, "4x4", 3), (17, 23, "3x5", 2), (16, 16, 2, 40)]
)
def test_an_offset_moves_the_borders_around_the_area(side, width, grid, offset):
    """The pixel at (y, x) of the area lies in the cell of (y - offset, x - offset), counted around."""
    batch = make_batch(side=side, width=width)
    draws = make_draws(batch)
    step = build(grid, offset=offset)
    out = step(batch, draws)
    rows, columns = step.grid
    tall, wide = side // rows, width // columns
    top, left = (side - tall * rows) // 2, (width - wide * columns) // 2
    source = draws.permutation("cells", rows * columns)
    expected = batch.pixels.clone()
    for i in range(len(batch)):
        for y in range(tall * rows):
            for x in range(wide * columns):
                v, u = (y - offset) % (tall * rows), (x - offset) % (wide * columns)
                r, c = divmod(int(source[i, v // tall * columns + u // wide]), columns)
                fy = (r * tall + v % tall + offset) % (tall * rows)
                fx = (c * wide + u % wide + offset) % (wide * columns)
                expected[i, :, top + y, left + x] = batch.pixels[i, :, top + fy, left + fx]
    assert torch.equal(out.pixels, expected)
    inverse = source.argsort(dim=1)
    assert torch.equal(step._shuffled(out.pixels, inverse), batch.pixels)


def test_an_offset_of_whole_cells_is_a_shuffle_of_the_aligned_ones():
    batch = make_batch(side=32)
    aligned = _cut(batch.pixels, build(4).grid)
    out = _cut(build(4, offset=8)(batch, make_draws(batch)).pixels, build(4).grid)
    for i in range(len(batch)):
        key = {c.numpy().tobytes() for c in aligned[i]}
        assert {c.contiguous().numpy().tobytes() for c in out[i]} == key


@pytest.mark.parametrize(("side", "width", "grid"), [(32, 32, 1), (17, 23, "3x5"), (28, 28, 7), (80, 80, 1)])
def test_pixels_move_inside_their_cell_by_the_drawn_order(side, width, grid):
    batch = make_batch(n=3, side=side, width=width)
    draws = make_draws(batch)
    step = pixels_by(grid=grid)
    out = step(batch, draws)
    rows, columns = step.grid
    tall, wide = side // rows, width // columns
    top, left = (side - tall * rows) // 2, (width - wide * columns) // 2
    source = draws.bits("pixels", rows * columns, tall * wide).argsort(dim=2, stable=True)
    expected, still = batch.pixels.clone(), torch.ones(3, side, width, dtype=torch.bool)
    for i in range(3):
        for k in range(rows * columns):
            r, c = divmod(k, columns)
            area = (
                ...,
                slice(top + r * tall, top + (r + 1) * tall),
                slice(left + c * wide, left + (c + 1) * wide),
            )
            cell = batch.pixels[i][area].flatten(1)
            expected[i][area] = cell[:, source[i, k]].view(3, tall, wide)
            still[i][area] = (source[i, k] == torch.arange(tall * wide)).view(tall, wide)
    assert torch.equal(out.pixels, expected)
    torch.testing.assert_close(out.facts["moved"], (~still).double().mean((1, 2)).float())
    restored = step._shuffled(out.pixels, source.argsort(dim=2))
    assert torch.equal(restored, batch.pixels)


def test_shuffled_pixels_keep_their_colours():
    batch = make_batch(n=2)
    out = pixels_by()(batch, make_draws(batch))
    for one, other in zip(batch.pixels, out.pixels, strict=True):
        assert sorted(map(tuple, one.flatten(1).T.tolist())) == sorted(
            map(tuple, other.flatten(1).T.tolist())
        )


def test_levels_of_a_ladder_share_the_order_of_the_pixels_and_it_is_the_same_alone():
    batch = make_batch()
    memo = {}
    first, again = (pixels_by()(batch, make_draws(batch, memo=memo)).pixels for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(first, pixels_by()(batch, make_draws(batch)).pixels)
    cells = pixels_by(grid=4)(batch, make_draws(batch, memo=memo)).pixels
    assert torch.equal(cells, pixels_by(grid=4)(batch, make_draws(batch)).pixels)


@pytest.mark.parametrize("length", [1, 7, 256, 4096, 5000])
def test_the_order_of_words_is_that_of_a_stable_sort(length):
    generator = torch.Generator().manual_seed(length)
    words = torch.randint(-(2**31), 2**31, (2, 3, length), generator=generator).int()
    words[0] //= 2**24  # many are equal
    assert torch.equal(_order(words), words.argsort(dim=-1, stable=True))


QUARTERS = [lambda m, k=k: np.rot90(m, k) for k in range(4)]
FLIPS = [lambda m: m, np.flipud, np.fliplr, lambda m: np.flipud(np.fliplr(m))]
ALL = [*FLIPS, *(lambda m, f=f: f(m.T) for f in FLIPS)]


@pytest.mark.parametrize(("by", "known"), [("rotations", QUARTERS), ("flips", FLIPS), ("both", ALL)])
def test_each_cell_is_turned_as_drawn(by, known):
    batch = make_batch(n=8, side=34)
    draws = make_draws(batch)
    step = turned_by(grid=4, by=by)
    out = step(batch, draws)
    given, shown = _cut(batch.pixels, step.grid).numpy(), _cut(out.pixels, step.grid).numpy()
    seen = []
    for i in range(8):
        found = []
        for before, after in zip(given[i], shown[i], strict=True):
            fits = [
                n
                for n, turn in enumerate(known)
                if all(np.array_equal(turn(b), a) for b, a in zip(before, after, strict=True))
            ]
            assert len(fits) == 1
            found += fits
        assert out.facts["turned"][i].item() == pytest.approx(np.mean([n != 0 for n in found]))
        seen += found
    drawn = draws.integers("turn", 0, 8, 16).flatten()
    assert seen == (drawn % len(known)).tolist()
    assert set(seen) == set(range(len(known)))


def test_turning_back_restores_the_image():
    batch = make_batch(side=32)
    draws = make_draws(batch)
    step = turned_by(grid=4)
    once = step(batch, draws).pixels
    four = once
    for _ in range(3):  # every turn four times over is none
        four = step(batch.with_pixels(four), draws).pixels
    assert torch.equal(four, batch.pixels)
    flips = turned_by(grid=4, by="flips")
    assert torch.equal(flips(flips(batch, draws), draws).pixels, batch.pixels)


def test_cells_that_are_not_square_can_be_flipped_only():
    batch = make_batch(side=32, width=16)
    turned_by(grid=4, by="flips")(batch, make_draws(batch))
    turned_by(grid="4x2")(batch, make_draws(batch))
    with pytest.raises(BadParameter, match=r"4x4 cuts images of 32x16 into cells of 8x4; choose another"):
        turned_by(grid=4)(batch, make_draws(batch))


@pytest.mark.parametrize(
    ("side", "width", "grid", "offset"), [(16, 16, 4, 0), (17, 23, "3x5", 4), (9, 9, 9, 1)]
)
def test_cutting_and_putting_back_is_nothing(side, width, grid, offset):
    batch = make_batch(side=side, width=width)
    cells = build(grid).grid
    assert torch.equal(_put(_cut(batch.pixels, cells, offset), batch.pixels, cells, offset), batch.pixels)


@pytest.mark.parametrize("name", ["shuffle.pixels", "shuffle.rotate"])
def test_grids_finer_than_the_pixels_are_refused_everywhere(name):
    batch = make_batch(side=8)
    with pytest.raises(BadParameter, match=f"{name}: grid: expected at most one cell per pixel"):
        perturbations.build(name, {"grid": 9})(batch, make_draws(batch))
