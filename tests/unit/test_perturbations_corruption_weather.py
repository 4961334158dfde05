"""Snow, frost, fog and spatter, against slow loops, and what is said of their random parts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robobench.draws import Draws
from robobench.errors import BadParameter, DataError
from robobench.perturbations.corruption.frost_textures import photographs, textures
from robobench.perturbations.corruption.plasma import plasma, plasma_side
from robobench.perturbations.corruption.weather import (
    Fog,
    Frost,
    Snow,
    Spatter,
    at_least,
    cropped,
    drops,
    flakes,
    fogged,
    muddied,
    snowed,
    wetted,
)
from tests.fakes import make_batch, make_draws

STREAM = "corruption.test"
WEATHER = (Snow, Frost, Fog, Spatter)
FROST_224 = [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)]
SNOW_224 = [
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
]
SNOW_CIFAR = [
    (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
    (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
]
TABLES = {
    Snow: {
        "imagenet-224": SNOW_224,
        "imagenet-299": SNOW_224,
        "cifar": SNOW_CIFAR,
        "tiny-imagenet": [
            (*one[:6], keep) for one, keep in zip(SNOW_CIFAR, (0.8, 0.8, 0.7, 0.65, 0.6), strict=True)
        ],
    },
    Frost: {
        "imagenet-224": [(*one, 1) for one in FROST_224],
        "imagenet-299": [(*one, 1) for one in FROST_224],
        "cifar": [(1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)],
        "tiny-imagenet": [
            (1, 0.3, 0.3),
            (0.9, 0.4, 0.3),
            (0.8, 0.45, 0.3),
            (0.75, 0.5, 0.3),
            (0.7, 0.55, 0.3),
        ],
    },
    Fog: {
        "imagenet-224": [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
        "imagenet-299": [(1.5, 2), (2, 2), (2.5, 1.8), (2.5, 1.6), (3, 1.5)],
        "cifar": [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
        "tiny-imagenet": [(0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)],
    },
    Spatter: {
        "imagenet-224": [
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ],
        "imagenet-299": [
            (0.65, 0.3, 4, 0.69, 0.9, 0),
            (0.65, 0.3, 3.5, 0.68, 0.9, 0),
            (0.65, 0.3, 3, 0.68, 0.8, 0),
            (0.65, 0.3, 1.2, 0.65, 1.8, 1),
            (0.67, 0.4, 1.2, 0.65, 1.8, 1),
        ],
        "cifar": [
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ],
        "tiny-imagenet": [
            (0.62, 0.1, 0.7, 0.7, 0.6, 0),
            (0.65, 0.1, 0.8, 0.7, 0.6, 0),
            (0.65, 0.3, 1, 0.69, 0.6, 0),
            (0.65, 0.1, 0.7, 0.68, 0.6, 1),
            (0.65, 0.1, 0.5, 0.67, 0.6, 1),
        ],
    },
}


def noise(height: int = 20, width: int = 27, images: int = 2) -> Tensor:
    return make_batch(images, height, width=width).pixels


@pytest.mark.parametrize("kind", WEATHER)
def test_parameters_are_those_of_the_tables(kind):
    for table, wanted in TABLES[kind].items():
        pixels = torch.zeros(1, 3, 8, 8)
        assert [kind(severity=s, table=table).level(pixels) for s in range(1, 6)] == wanted


@pytest.mark.parametrize("kind", WEATHER)
@pytest.mark.parametrize("shape", [(28, 28), (32, 48), (61, 40), (224, 224)])
def test_any_rectangle_works_at_every_severity(kind, shape):
    batch = make_batch(1, shape[0], width=shape[1])
    draws = make_draws(batch, STREAM, memo={})
    seen = [batch.pixels]
    for severity in range(1, 6):
        out = kind(severity=severity, table="imagenet-224")(batch, draws).pixels
        assert out.shape == batch.pixels.shape
        assert not any(torch.equal(out, other) for other in seen)
        seen.append(out)


@pytest.mark.parametrize("kind", WEATHER)
def test_another_size_needs_a_table(kind):
    batch = make_batch(1, 32)
    with pytest.raises(BadParameter, match="32x32"):
        kind(severity=1)(batch, make_draws(batch, STREAM))


@pytest.mark.parametrize("kind", WEATHER)
@pytest.mark.parametrize("table", ["imagenet-224", "cifar"])
def test_levels_of_a_shared_memo_are_what_they_are_alone(kind, table):
    batch = make_batch(2, 32, width=40)
    shared = make_draws(batch, STREAM, memo={})
    for severity in range(1, 6):
        step = kind(severity=severity, table=table)
        assert torch.equal(step(batch, shared).pixels, step(batch, make_draws(batch, STREAM)).pixels)


# Fog


def plasma_loop(uniform: np.ndarray, decay: float) -> np.ndarray:
    """Diamond-square point by point, every index taken around the torus."""
    side = len(uniform)
    at = np.zeros((side, side))
    step, amplitude = side, 100.0
    while step >= 2:
        half = step // 2
        middles = [(y, x) for y in range(half, side, step) for x in range(half, side, step)]
        edges = [(y, x) for y in range(0, side, step) for x in range(half, side, step)]
        edges += [(y, x) for y in range(half, side, step) for x in range(0, side, step)]
        for places, offsets in (
            (middles, ((-half, -half), (-half, half), (half, -half), (half, half))),
            (edges, ((-half, 0), (half, 0), (0, -half), (0, half))),
        ):
            for y, x in places:
                mean = sum(at[(y + i) % side, (x + j) % side] for i, j in offsets) / 4
                at[y, x] = mean + amplitude * (-amplitude + 2 * amplitude * uniform[y, x])
        step, amplitude = half, amplitude / decay
    return (at - at.min()) / (at.max() - at.min())


@pytest.mark.parametrize("decay", [1.4, 2.0, 3.0])
@pytest.mark.parametrize("side", [2, 4, 32])
def test_plasma_is_diamond_square(side, decay):
    uniform = Draws(0, STREAM, ("a", "b")).uniform("plasma", side, side).numpy()
    found = plasma(uniform, decay)
    for one, chance in zip(found, uniform, strict=True):
        assert np.abs(one - plasma_loop(chance.astype(float), decay)).max() < 1e-6
        assert one.min() == 0
        assert one.max() == 1


def test_plasma_is_smoother_the_faster_its_amplitude_decays():
    uniform = Draws(0, STREAM, ("a", "b", "c")).uniform("plasma", 64, 64).numpy()
    rough = [np.abs(np.diff(plasma(uniform, decay), axis=1)).mean() for decay in (1.4, 1.7, 2, 3)]
    assert all(a > b for a, b in pairwise(rough))


def test_plasma_closes_at_its_borders():
    """Points across the border differ no more than neighbours inside do."""
    one = plasma(Draws(0, STREAM, tuple("abcdefgh")).uniform("plasma", 64, 64).numpy(), 2.0)
    inside = np.abs(np.diff(one, axis=1)).mean()
    assert np.abs(one[:, 0] - one[:, -1]).mean() < 2 * inside


def test_plasma_covers_the_image():
    sizes = {
        (32, 32): 32,
        (64, 64): 64,
        (224, 224): 256,
        (299, 299): 512,
        (28, 28): 32,
        (32, 48): 64,
        (1, 1): 2,
    }
    assert {shape: plasma_side(*shape) for shape in sizes} == sizes


def test_fog_keeps_the_range_and_the_brightest_value():
    pixels = noise(6, 9, 1)
    clouds = torch.rand(1, 6, 9, generator=torch.Generator().manual_seed(2))
    brightest = float(pixels.max())
    wanted = (pixels[0] + 2.5 * clouds) * (brightest / (brightest + 2.5))
    torch.testing.assert_close(fogged(pixels, clouds, 2.5)[0], wanted)
    full = fogged(torch.full((1, 3, 6, 9), 0.6), torch.ones(1, 6, 9), 2.5)
    torch.testing.assert_close(full, torch.full((1, 3, 6, 9), 0.6))
    assert (fogged(torch.zeros(1, 3, 6, 9), clouds, 2.5) == 0).all()


# Frost


def test_frost_textures_are_five_bluish_and_different_ones():
    found = textures(1.0, 224, 224)
    assert len(found) == 5
    for texture in found:
        assert texture.dtype == torch.uint8
        assert texture.shape == (3, 480, 720)
        red, green, blue = texture.float().mean((1, 2)).tolist()
        assert red < green < blue
        assert texture.float().std() > 12
    means = sorted(float(t.float().mean()) for t in found)
    assert means[-1] - means[0] > 30
    assert len({t.float().mean().item() for t in found}) == 5


def test_frost_textures_are_the_same_every_time():
    kept = [t.clone() for t in textures(0.2, 32, 32)]
    textures.cache_clear()
    again = textures(0.2, 32, 32)
    assert again[0].shape == (3, 96, 144)
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


def test_frost_textures_are_larger_than_any_image():
    for texture in textures(1.0, 700, 300):
        assert texture.shape[1] > 700
        assert texture.shape[2] > 1000  # the ratio of the sides is kept


def photo(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (60, 50)) -> None:
    Image.new("RGB", size, colour).save(path)


def test_frost_photographs_are_the_first_five_of_the_folder(tmp_path):
    for i, name in enumerate(("b.png", "a.jpg", "f.png", "c.png", "e.png", "d.png")):
        photo(tmp_path / name, (10 + 40 * i, 0, 0))
    (tmp_path / "README.txt").write_text("no image")
    found = photographs(str(tmp_path), 1.0, 32, 32)
    assert [int(t[0, 0, 0]) for t in found] == [50, 10, 130, 210, 170]
    assert all(t.shape == (3, 50, 60) for t in found)


def test_frost_is_drawn_evenly_from_whatever_there_is(tmp_path):
    for i, name in enumerate(("a.png", "b.png")):
        photo(tmp_path / name, (0, 0, 100 + 100 * i))
    ids = tuple(map(str, range(300)))
    batch = make_batch(300, 8)
    step = Frost(severity=1, table="cifar", textures=str(tmp_path), quantise="none")
    added = step(batch.with_pixels(torch.zeros_like(batch.pixels)), Draws(0, STREAM, ids)).pixels[:, 2, 0, 0]
    values, counts = (added * 255 / 0.2).round().unique(return_counts=True)
    assert values.tolist() == [100, 200]
    assert counts.min() > 110


def test_frost_parts_come_from_where_they_were_drawn():
    texture = torch.arange(3 * 9 * 11, dtype=torch.uint8).view(3, 9, 11)
    part = cropped([texture], torch.tensor([[0.99, 0.5, 0.999]]), 4, 6)
    # 5 and 5 places are left over; the last one is never used, as in the published code
    torch.testing.assert_close(part[0], texture[:, 2:6, 4:10].float() / 255)
    alone = cropped([texture[:, :4, :6]], torch.tensor([[0.0, 0.9, 0.9]]), 4, 6)
    torch.testing.assert_close(alone[0], texture[:, :4, :6].float() / 255)


def test_frost_adds_a_share_of_the_texture():
    batch = make_batch(3, 32)
    draws = make_draws(batch, STREAM)
    out = Frost(severity=4, table="imagenet-224", quantise="none")(batch, draws).pixels
    part = cropped(textures(1.0, 32, 32), draws.uniform("crop", 3), 32, 32)
    torch.testing.assert_close(out, (0.65 * batch.pixels + 0.7 * part).clamp(0, 1))


def test_frost_says_what_is_wrong_with_a_folder(tmp_path):
    batch = make_batch(1, 32)

    def frosted(folder: Path) -> None:
        Frost(severity=1, table="cifar", textures=str(folder))(batch, make_draws(batch, STREAM))

    with pytest.raises(DataError, match="holds no image"):
        frosted(tmp_path)
    with pytest.raises(DataError, match="cannot be read as one: No such file"):
        frosted(tmp_path / "gone")
    (tmp_path / "frost.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"corruption.frost: .*frost\.png"):
        frosted(tmp_path)


# Snow


def test_flakes_are_enlarged_noise_above_a_threshold():
    field = torch.randn(1, 1, 24, 36, generator=torch.Generator().manual_seed(3)) * 0.3 + 0.55
    layer = flakes(field, 24, 36, 1.0, 0.6)
    wanted = torch.where(field < 0.6, 0.0, field).clamp(0, 1).mul(255).floor() / 255
    torch.testing.assert_close(layer, wanted)
    large = flakes(field, 24, 36, 3.0, 0.6)
    corner = field[0, 0, 8, 12]  # where the middle 8 x 12 pixels begin
    torch.testing.assert_close(
        large[0, 0, 0, 0], torch.where(corner < 0.6, 0.0, corner).mul(255).floor() / 255
    )


@pytest.mark.parametrize("zoom", [2.0, 2.5, 3.0, 4.5])
@pytest.mark.parametrize("shape", [(24, 24), (31, 46)])
def test_flakes_need_only_the_middle_of_the_noise(zoom, shape):
    field = torch.randn(2, 1, *shape, generator=torch.Generator().manual_seed(3)) + 0.5
    tall, wide = (-(-side // 2) for side in shape)
    top, left = (shape[0] - tall) // 2, (shape[1] - wide) // 2
    middle = field[..., top : top + tall, left : left + wide]
    assert torch.equal(flakes(middle, *shape, zoom, 0.4), flakes(field, *shape, zoom, 0.4))


def test_snow_falls_twice_on_a_whitened_image():
    pixels = noise(4, 5, 1)
    layer = torch.zeros(1, 1, 4, 5)
    layer[0, 0, 1, 0] = 0.25
    out = snowed(pixels, layer, 0.7)
    grey = 0.299 * pixels[:, 0] + 0.587 * pixels[:, 1] + 0.114 * pixels[:, 2]
    wanted = 0.7 * pixels + 0.3 * torch.maximum(pixels, 1.5 * grey[:, None] + 0.5)
    wanted[..., 1, 0] += 0.25
    wanted[..., 2, 4] += 0.25
    torch.testing.assert_close(out, wanted)


def test_snow_adds_whole_levels_to_a_black_image():
    """The layer has been through 8 bits; on black the whitened part is 0.2 * 0.5."""
    batch = make_batch(4, 32)
    black = batch.with_pixels(torch.zeros_like(batch.pixels))
    out = Snow(severity=1, table="imagenet-224", quantise="none")(black, make_draws(batch, STREAM)).pixels
    flat = (out[out < 1] - 0.1) * 255
    assert (flat - flat.round()).abs().max() < 1e-3
    assert flat.max() > 10


# Spatter


def test_mud_is_what_is_thick_after_smoothing():
    liquid = torch.zeros(1, 1, 40, 40)
    liquid[..., 10:30, 10:30] = 0.7
    pixels = noise(40, 40, 1)
    out = muddied(pixels, liquid, 0.65, 1.5)
    torch.testing.assert_close(out[0, :, 20, 20], torch.tensor([63, 42, 20]) / 255)
    assert torch.equal(out[..., :10, :], pixels[..., :10, :])
    edge = out[0, :, 12, 20]  # partly covered
    assert not torch.allclose(edge, pixels[0, :, 12, 20])
    assert not torch.allclose(edge, torch.tensor([63, 42, 20]) / 255)
    assert torch.equal(out[0, :, 10, 20], pixels[0, :, 10, 20])  # less than 0.8


def test_water_is_added_in_turquoise_where_it_is():
    liquid = torch.zeros(2, 1, 48, 40)
    liquid[0, :, 10:30, 10:30] = 0.8
    pixels = noise(48, 40, 2) / 4
    out = wetted(pixels, liquid, 0.69, 0.6)
    added = (out - pixels)[0]
    light = torch.from_numpy(drops((liquid[0, 0] * 255).to(torch.uint8).numpy()))
    for channel, colour in enumerate((175, 238, 238)):
        torch.testing.assert_close(added[channel], 0.6 * light * colour / 255, atol=1e-6, rtol=0)
    assert (added[:, liquid[0, 0] == 0] == 0).all()
    assert added.max() > 0.3
    assert torch.equal(out[1], pixels[1])  # dry


def test_drops_of_nothing_are_dark():
    assert not drops(np.zeros((20, 30), np.uint8)).any()


def test_a_threshold_keeps_what_is_above():
    assert at_least(torch.tensor([0.1, 0.5, 0.7]), 0.5).tolist() == [0.0, 0.0, pytest.approx(0.7)]
