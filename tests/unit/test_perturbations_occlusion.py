from itertools import pairwise

import pytest
import torch

from robobench.errors import BadParameter, DataError
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


@pytest.mark.parametrize("fill", ["black", "mean", "noise"])
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


def test_earlier_facts_and_inputs_stay():
    batch = make_batch(donor=torch.ones(6)).with_pixels(make_batch().pixels, other=torch.zeros(6))
    out = build(fraction=0.5, grid=4)(batch, make_draws(batch))
    assert set(out.facts) == {"other", "information_loss"}
    assert set(out.inputs) == {"donor"}


@pytest.mark.parametrize("name", ["occlusion.random", "occlusion.salient"])
def test_a_grid_finer_than_the_pixels_is_refused(name):
    batch = make_batch(side=8, saliency=torch.rand(6, 8, 8))
    with pytest.raises(
        BadParameter, match=f"{name}: grid: expected at most one cell per pixel of images of 8x8, got 8x9"
    ):
        perturbations.build(name, {"fraction": 0.5, "grid": "8x9"})(batch, make_draws(batch))


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
