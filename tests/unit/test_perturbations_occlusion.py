import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.ndimage
import torch

from robobench.errors import BadParameter, DataError
from robobench.params import Cells
from robobench.perturbations.occlusion.cells import smallest
from robobench.registry import perturbations
from tests.fakes import make_batch, make_draws


def build(**params):
    return perturbations.build("occlusion.random", params)


def salient(**params):
    return perturbations.build("occlusion.salient", params)


def changed(before, after):
    return (before.pixels != after.pixels).any(1)


def reference_cover(height, width, rows, columns, cells):
    """Which pixels are covered, from the borders floor(i * side / count) one cell at a time."""
    mask = torch.zeros(height, width, dtype=torch.bool)
    for cell in cells:
        r, c = divmod(int(cell), columns)
        top, bottom = r * height // rows, (r + 1) * height // rows
        left, right = c * width // columns, (c + 1) * width // columns
        mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize(
    ("side", "width", "grid"), [(16, 16, "4x4"), (17, 23, "3x5"), (28, 28, "14x14"), (9, 9, "9x9")]
)
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 1.0])
def test_covers_the_first_cells_of_the_drawn_order(side, width, grid, fraction):
    batch = make_batch(side=side, width=width)
    draws = make_draws(batch, "occlusion.random")
    rows, columns = map(int, grid.split("x"))
    n = rows * columns
    m = int(round(fraction * 10) * n // 10)
    out = build(fraction=fraction, grid=grid)(batch, draws)
    order = draws.permutation("cells", n)
    for i in range(len(batch)):
        expected = reference_cover(side, width, rows, columns, order[i, :m])
        assert torch.equal(changed(batch, out)[i], expected)
        assert (out.pixels[i][:, expected] == 0).all()
        assert out.facts["information_loss"][i].item() == pytest.approx(expected.double().mean().item())
    if side * width % n == 0:
        assert torch.equal(out.facts["information_loss"], torch.full((len(batch),), m / n))


def test_three_tenths_of_ten_cells_are_three():
    batch = make_batch(side=10)
    out = build(fraction=0.3, grid="1x10")(batch, make_draws(batch))
    assert changed(batch, out).flatten(1).sum(1).tolist() == [30] * len(batch)
    out = build(fraction=0.29, grid="10x10")(batch, make_draws(batch))
    assert changed(batch, out).flatten(1).sum(1).tolist() == [29] * len(batch)


def test_every_image_has_its_own_mask():
    batch = make_batch()
    masks = changed(batch, build(fraction=0.5, grid=8)(batch, make_draws(batch)))
    assert len({tuple(m.flatten().tolist()) for m in masks}) == len(batch)


def test_masks_nest_along_the_fraction():
    batch = make_batch(side=28)
    draws = make_draws(batch, "occlusion.random")
    levels = [changed(batch, build(fraction=f)(batch, draws)) for f in (0.1, 0.3, 0.5, 0.7, 0.9)]
    for small, large in pairwise(levels):
        assert not (small & ~large).any()
        assert large.sum() > small.sum()


def test_mean_fill_is_each_images_own_mean_colour():
    batch = make_batch()
    out = build(fraction=1.0, grid=4, fill="mean")(batch, make_draws(batch))
    expected = batch.pixels.double().mean((2, 3), keepdim=True).expand_as(batch.pixels)
    torch.testing.assert_close(out.pixels.double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("fill", ["black", "mean", "noise", "blur"])
def test_the_layout_in_memory_does_not_matter(fill):
    batch = make_batch(side=33)
    other = batch.with_pixels(batch.pixels.contiguous(memory_format=torch.channels_last))
    step, draws = build(fraction=0.5, grid=5, fill=fill), make_draws(batch)
    assert torch.equal(step(other, draws).pixels, step(batch, draws).pixels)


def test_noise_fill_is_the_keyed_noise_the_same_at_every_level():
    batch = make_batch()
    draws = make_draws(batch)
    noise = draws.uniform("fill", 3, 16, 16)
    assert torch.equal(build(fraction=1.0, grid=4, fill="noise")(batch, draws).pixels, noise)
    half = build(fraction=0.5, grid=4, fill="noise")(batch, draws)
    mask = changed(batch, half)[:, None].expand_as(noise)
    assert torch.equal(half.pixels[mask], noise[mask])


@pytest.mark.parametrize("fill", ["black", "mean", "noise"])
def test_nothing_covered_is_the_identity(fill):
    batch = make_batch()
    for fraction in (0.0, 0.05):  # 0.05 of 16 cells is none
        step = build(fraction=fraction, grid=4, fill=fill)
        assert step.identity
        out = step(batch, make_draws(batch))
        assert torch.equal(out.pixels, batch.pixels)
        assert (out.facts["information_loss"] == 0).all()
    assert not build(fraction=0.07, grid=4).identity


def test_grey_fill_is_one_half():
    batch = make_batch()
    out = build(fraction=1.0, grid=4, fill="grey")(batch, make_draws(batch))
    assert (out.pixels == 0.5).all()


@pytest.mark.parametrize(("side", "width", "sigma"), [(48, 48, 3.0), (32, 64, 2.0)])
def test_blur_fill_is_a_gaussian_of_a_sixteenth_of_the_shorter_side(side, width, sigma):
    batch = make_batch(n=2, side=side, width=width)
    out = build(fraction=1.0, grid=4, fill="blur")(batch, make_draws(batch))
    for given, shown in zip(batch.pixels.double().numpy(), out.pixels.double().numpy(), strict=True):
        expected = [scipy.ndimage.gaussian_filter(p, sigma, mode="reflect", truncate=3.0) for p in given]
        np.testing.assert_allclose(shown, expected, atol=2e-6)


def test_donor_fill_shows_the_other_image_at_the_same_place():
    batch = make_batch(donor=make_batch(seed=9).pixels)
    step, draws = build(fraction=0.5, grid=4, fill="donor"), make_draws(batch)
    assert step.wants == ("donor",)
    assert build(fraction=0.5, fill="noise").wants == ()
    hidden = changed(batch, build(fraction=0.5, grid=4)(batch, draws))[:, None]
    out = step(batch, draws)
    assert torch.equal(out.pixels, torch.where(hidden, batch.inputs["donor"], batch.pixels))


def test_salient_wants_a_map_and_a_donor_where_that_is_the_fill():
    assert salient(fraction=0.5).wants == ("saliency",)
    assert salient(fraction=0.5, fill="donor").wants == ("saliency", "donor")


def test_a_missing_or_misfitting_donor_is_refused():
    step = build(fraction=0.5, grid=4, fill="donor")
    for inputs, got in (({}, "none"), ({"donor": torch.zeros(6, 3, 8, 8)}, r"\(6, 3, 8, 8\)")):
        batch = make_batch(**inputs)
        with pytest.raises(BadParameter, match=rf"fill: expected donor images of .* got {got}; the engine"):
            step(batch, make_draws(batch))


@pytest.mark.parametrize(
    ("side", "width", "grid", "offset"), [(32, 32, 4, 5), (28, 36, "3x5", 8), (16, 16, 16, 1)]
)
def test_the_offset_moves_the_mask_down_and_to_the_right(side, width, grid, offset):
    batch = make_batch(side=side, width=width)
    draws = make_draws(batch)
    aligned = changed(batch, build(fraction=0.5, grid=grid)(batch, draws))
    step = build(fraction=0.5, grid=grid, offset=offset)
    out = step(batch, draws)
    moved = changed(batch, out)
    for y in range(side):
        for x in range(width):
            inside = y >= offset and x >= offset
            expected = aligned[:, y - offset, x - offset] if inside else torch.zeros(6, dtype=torch.bool)
            assert torch.equal(moved[:, y, x], expected)
    assert torch.equal(out.facts["information_loss"], moved.double().mean((1, 2)).float())
    assert (out.facts["information_loss"] <= 0.5 + 0.05).all()


def test_masks_with_an_offset_nest_too():
    batch = make_batch(side=28)
    draws = make_draws(batch)
    levels = [changed(batch, build(fraction=f, grid=7, offset=3)(batch, draws)) for f in (0.2, 0.5, 0.9)]
    for small, large in pairwise(levels):
        assert not (small & ~large).any()


@pytest.mark.parametrize("offset", [16, 40])
def test_an_offset_beyond_the_image_is_refused(offset):
    batch = make_batch(side=16)
    message = f"occlusion.random: offset: expected less than the sides of images of 16x16, got {offset}"
    with pytest.raises(BadParameter, match=message):
        build(fraction=0.5, grid=4, offset=offset)(batch, make_draws(batch))


def test_single_pixels_are_covered_in_a_tiny_part_of_the_models_time():
    batch = make_batch(n=8, side=224)
    step = build(fraction=0.5, grid=224)
    out = step(batch, make_draws(batch))
    assert changed(batch, out).flatten(1).sum(1).tolist() == [224 * 224 // 2] * 8
    assert (out.facts["information_loss"] == 0.5).all()
    spent = []
    for _ in range(5):
        start = time.process_time()
        step(batch, make_draws(batch))
        spent.append((time.process_time() - start) / 8)
    assert min(spent) < 0.004  # about 1 ms; sorting them would take 3 more


@pytest.mark.parametrize("count", [0, 1, 7, 19, 20])
def test_the_smallest_words_are_the_first_of_a_stable_sort(count):
    words = torch.randint(-3, 3, (50, 20), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    expected = torch.zeros_like(words, dtype=torch.bool)
    expected.scatter_(1, words.argsort(dim=1, stable=True)[:, :count], True)
    assert torch.equal(smallest(words, count), expected)


def test_earlier_facts_and_inputs_stay():
    batch = make_batch(donor=torch.ones(6)).with_pixels(make_batch().pixels, other=torch.zeros(6))
    out = build(fraction=0.5, grid=4)(batch, make_draws(batch))
    assert set(out.facts) == {"other", "information_loss"}
    assert set(out.inputs) == {"donor"}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("occlusion.random", {"fraction": 0.5}),
        ("occlusion.salient", {"fraction": 0.5}),
        ("occlusion.salient_mass", {"mass": 0.5}),
        ("occlusion.checkerboard", {}),
    ],
)
def test_a_grid_finer_than_the_pixels_is_refused(name, more):
    batch = make_batch(side=8, saliency=torch.rand(6, 8, 8))
    with pytest.raises(
        BadParameter, match=f"{name}: grid: expected at most one cell per pixel of images of 8x8, got 8x9"
    ):
        perturbations.build(name, {"grid": "8x9", **more})(batch, make_draws(batch))


def with_map(saliency, side=16):
    return make_batch(n=len(saliency), side=side, saliency=saliency)


def test_salient_covers_the_cells_with_the_most_saliency():
    saliency = torch.zeros(2, 16, 16)
    saliency[0, 0:4, 4:8] = 1.0  # cell 1 of 4x4
    saliency[0, 12:16, 12:16] = 0.5  # cell 15
    saliency[1, 8, 8] = 5.0  # cell 10
    saliency[1, 0, 0] = 4.0  # cell 0
    batch = with_map(saliency)
    out = salient(fraction=2 / 16, grid=4)(batch, make_draws(batch))
    for i, cells in enumerate([(1, 15), (10, 0)]):
        assert torch.equal(changed(batch, out)[i], reference_cover(16, 16, 4, 4, cells))
    assert out.facts["saliency_loss"].tolist() == [1.0, 1.0]
    assert out.facts["information_loss"].tolist() == [0.125, 0.125]
    one = salient(fraction=1 / 16, grid=4)(batch, make_draws(batch))
    torch.testing.assert_close(one.facts["saliency_loss"], torch.tensor([16 / 24, 5 / 9]))


def test_salient_and_non_salient_halves_are_complements():
    batch = with_map(torch.rand(3, 17, 17), side=17)
    draws = make_draws(batch)
    top = changed(batch, salient(fraction=0.5, grid="4x4")(batch, draws))
    bottom = changed(batch, salient(fraction=0.5, grid="4x4", drop="non_salient")(batch, draws))
    assert torch.equal(top, ~bottom)


def test_cell_sums_equal_a_plain_loop():
    saliency = torch.rand(2, 17, 23)
    batch = make_batch(n=2, side=17, width=23, saliency=saliency)
    step = salient(fraction=0.5, grid="3x5")
    expected = [
        [saliency[i][reference_cover(17, 23, 3, 5, [c])].double().sum().item() for c in range(15)]
        for i in range(2)
    ]
    torch.testing.assert_close(step._mass(batch), torch.tensor(expected, dtype=torch.float64))


def test_equal_cells_are_ranked_by_the_keyed_draw():
    batch = with_map(torch.ones(6, 16, 16))
    draws = make_draws(batch)
    out = changed(batch, salient(fraction=0.25, grid=4)(batch, draws))
    order = draws.permutation("ties", 16)
    for i in range(6):
        assert torch.equal(out[i], reference_cover(16, 16, 4, 4, order[i, :4]))


def test_a_map_without_saliency_has_no_share_of_it():
    batch = with_map(torch.zeros(2, 16, 16))
    out = salient(fraction=0.25, grid=4)(batch, make_draws(batch))
    assert out.facts["saliency_loss"].isnan().all()


def test_a_missing_or_misfitting_map_is_refused():
    batch = make_batch(n=2)
    with pytest.raises(
        BadParameter, match=r"expected a saliency map of shape \(2, 16, 16\) for the images, got none; name a"
    ):
        salient(fraction=0.5)(batch, make_draws(batch))
    batch = make_batch(n=2, saliency=torch.ones(2, 8, 8))
    with pytest.raises(BadParameter, match=r"of shape \(2, 16, 16\) for the images, got \(2, 8, 8\)"):
        salient(fraction=0.5)(batch, make_draws(batch))


def test_a_map_with_nan_is_refused_by_image():
    saliency = torch.ones(3, 16, 16)
    saliency[1, 2, 3] = float("nan")
    batch = with_map(saliency)
    with pytest.raises(DataError, match=r"saliency map of image .img/001\.png. holds NaN or infinity"):
        salient(fraction=0.5, grid=4)(batch, make_draws(batch))


def by_mass(**params):
    return perturbations.build("occlusion.salient_mass", params)


def cells_of(step, batch):
    """Which cells are covered wholly, (b, N), from the pixels that changed; all others are untouched."""
    mask = changed(batch, step(batch, make_draws(batch)))
    rows, columns = step.grid
    b, h, w = mask.shape
    blocks = mask.view(b, rows, h // rows, columns, w // columns)
    whole, some = blocks.all(4).all(2), blocks.any(4).any(2)
    assert torch.equal(whole, some)
    return whole.flatten(1)


def map_of(cells, side):
    """A map of one row of cells that hold these shares."""
    return torch.tensor(cells).repeat_interleave(side // len(cells)).expand(1, side, -1).contiguous()


def test_the_published_mass_rule():
    """Five cells of .4 .3 .15 .1 .05, in any order: .6 keeps the first two of them, .9 the first four."""
    shares = [0.4, 0.3, 0.15, 0.1, 0.05]
    for order in ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1]):
        batch = make_batch(n=1, side=20, saliency=map_of([shares[i] for i in order], 20))
        for mass, count in ((0.6, 2), (0.9, 4), (0.7, 2), (0.71, 3), (0.05, 1), (1.0, 5)):
            front = cells_of(by_mass(mass=mass, grid="1x5"), batch)[0]
            assert [order[i] for i in range(5) if front[i]] == [i for i in order if i < count], mass


def paper_mask(cells, mass):
    """Their rule: ascending order, kept where the cumulative share is above 1 - mass."""
    total, reached, kept = sum(cells), 0.0, set()
    for value, cell in sorted((v, i) for i, v in enumerate(cells)):
        reached += value / total
        if reached > 1 - mass:
            kept.add(cell)
    return kept


@pytest.mark.parametrize("mass", [0.1, 0.25, 0.5, 0.77, 0.9])
def test_foreground_and_background_are_the_papers_by_a_plain_loop(mass):
    saliency = torch.rand(6, 16, 16, generator=torch.Generator().manual_seed(3)) ** 4
    batch = with_map(saliency)
    front = by_mass(mass=mass, grid=4)
    back = by_mass(mass=mass, grid=4, drop="background")
    covered = cells_of(front, batch)
    assert torch.equal(cells_of(back, batch), ~covered)
    for i in range(6):
        cells = [saliency[i][reference_cover(16, 16, 4, 4, [c])].double().sum().item() for c in range(16)]
        kept = paper_mask(cells, mass)
        assert set(covered[i].nonzero().flatten().tolist()) == kept
        facts = front(batch, make_draws(batch)).facts
        assert facts["information_loss"][i].item() == pytest.approx(len(kept) / 16)
        assert facts["saliency_loss"][i].item() == pytest.approx(sum(cells[c] for c in kept) / sum(cells))
        assert facts["saliency_loss"][i] >= mass - 1e-6
        other = back(batch, make_draws(batch)).facts
        assert other["information_loss"][i].item() == pytest.approx(1 - len(kept) / 16)
        assert (other["saliency_loss"][i] + facts["saliency_loss"][i]).item() == pytest.approx(1)


def test_foregrounds_nest_along_the_mass():
    batch = with_map(torch.rand(6, 16, 16))
    levels = [cells_of(by_mass(mass=m, grid=8), batch) for m in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)]
    for small, large in pairwise(levels):
        assert not (small & ~large).any()
        assert large.sum() > small.sum()


def test_equal_cells_are_ranked_by_the_keyed_draw_in_the_mass_rule_too():
    batch = with_map(torch.ones(6, 16, 16))
    draws = make_draws(batch)
    out = changed(batch, by_mass(mass=0.25, grid=4)(batch, draws))
    order = draws.permutation("ties", 16)
    for i in range(6):
        assert torch.equal(out[i], reference_cover(16, 16, 4, 4, order[i, :4]))


def test_a_map_of_zeros_is_all_background():
    batch = with_map(torch.zeros(2, 16, 16))
    draws = make_draws(batch)
    front, back = (by_mass(mass=0.5, grid=4, drop=d)(batch, draws) for d in ("foreground", "background"))
    assert torch.equal(front.pixels, batch.pixels)
    assert (back.pixels == 0).all()
    assert back.facts["information_loss"].tolist() == [1.0, 1.0]
    assert back.facts["saliency_loss"].isnan().all()


def test_no_mass_is_no_foreground():
    batch = with_map(torch.rand(2, 16, 16))
    none = by_mass(mass=0.0, grid=4)
    assert none.identity
    assert torch.equal(none(batch, make_draws(batch)).pixels, batch.pixels)
    back = by_mass(mass=0.0, grid=4, drop="background")
    assert not back.identity
    assert (back(batch, make_draws(batch)).pixels == 0).all()


def test_a_negative_or_missing_map_has_no_mass():
    saliency = torch.ones(3, 16, 16)
    saliency[2, 1, 1] = -0.1
    batch = with_map(saliency)
    with pytest.raises(
        DataError, match=r"salient_mass: the saliency map of image .img/002\.png. holds negative"
    ):
        by_mass(mass=0.5, grid=4)(batch, make_draws(batch))
    with pytest.raises(BadParameter, match=r"occlusion\.salient_mass: expected a saliency map of shape"):
        by_mass(mass=0.5, grid=4)(replace(batch, inputs={}), make_draws(batch))


def test_the_default_grid_is_the_papers():
    assert build(fraction=0.5).grid == salient(fraction=0.5).grid == by_mass(mass=0.5).grid == Cells(14, 14)
