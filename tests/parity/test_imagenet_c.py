"""The 19 corruptions of ImageNet-C against `tests/parity/imagenet_c.py`, given the same random numbers.

Before quantisation within 1e-4; after it the same 8-bit level, wherever the reference is more than 0.01 of a
level away from a step. A reference of one parameter that is off by a tenth must not pass.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image

from robobench.draws import Draws
from robobench.registry import data, perturbations
from robobench.types import ImageBatch
from tests.parity import imagenet_c as reference
from tests.parity.imagenet_c_tables import (
    CIFAR,
    FROST_SCALES,
    IMAGENET,
    INCEPTION,
    PLASMA_SIDES,
    SIDES,
    TABLES,
    TINY,
)

CLOSE = 1e-4  # of the pixel range, before quantisation
STEP = 0.01  # of a level: nearer than that to a step, a level may fall to either side
NUDGE = 3e-4  # of a level, where a corruption makes levels in the middle; float32 is ten times finer
SEVERITIES = (1, 2, 3, 4, 5)
FIXED = (
    "gaussian_blur", "defocus_blur", "zoom_blur", "brightness", "contrast", "saturate", "jpeg_compression",
    "pixelate",
)  # fmt: skip
EXACT = ("jpeg_compression", "pixelate")  # Pillow gives back levels
NEAREST = ("motion_blur",)  # ImageMagick gives back the nearest levels, whatever `quantise` says
torch.set_num_threads(1)  # the images are so small that threads only wait for one another
NUDGED = ("glass_blur", "snow")
Arguments = dict[str, Any]


# --- images --------------------------------------------------------------------------------------------


@cache
def photos(side: int) -> tuple[np.ndarray, ...]:
    """Two photos, or smooth pictures where the extra `samples` is not installed."""
    if importlib.util.find_spec("foolbox"):
        source = data.build("samples", {"path": "imagenet"})
        large = [source.read(i) for i in source.index().ids[3:5]]
    else:
        coarse = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), np.uint8)
        large = [np.asarray(Image.fromarray(c).resize((256, 256), Image.Resampling.BICUBIC)) for c in coarse]
    return tuple(np.asarray(Image.fromarray(i).crop((0, 0, 448, 448)).resize((side, side))) for i in large)


@cache
def patches(side: int) -> np.ndarray:
    """Black, white, grey and saturated areas, with dark, bright and random ones between them."""
    rng = np.random.default_rng(side)
    colours = [
        (0, 0, 0),
        (255, 255, 255),
        (127, 127, 127),
        (255, 0, 0),
        (0, 255, 255),
        (0, 0, 1),
        (254, 255, 255),
    ]
    out = rng.integers(0, 256, (side, side, 3), np.uint8)
    cell = side // 4
    for i, colour in enumerate(colours):
        y, x = divmod(2 * i, 4)
        out[y * cell : (y + 1) * cell, x * cell : (x + 1) * cell] = colour
    out[: side // 8] //= 16
    return out


@cache
def noise(side: int) -> np.ndarray:
    """Repeated, so that there are few colours for the reference to work through."""
    return np.resize(np.random.default_rng(1).integers(0, 256, (32, side, 3), np.uint8), (side, side, 3))


def pictures(side: int) -> list[np.ndarray]:
    """A photo, areas and noise: as images of their own, or where that would take long as parts of one."""
    parts = [photos(side)[0], patches(side), noise(side)]
    if side <= 64:
        return parts
    half = side // 2
    mosaic = photos(side)[1] // 4 * 4  # with fewer colours for the reference to work through
    mosaic[half : 2 * half, : 2 * half] = np.concatenate([patches(half), noise(half)], axis=1)
    return [mosaic]


# --- ours ----------------------------------------------------------------------------------------------


def drawn(name: str, images: list[np.ndarray], level: Any = None) -> Draws:
    """Draws for the images; for spatter such that no value comes near a step, where rounding would decide."""
    draws = Draws(7, f"corruption.{name}", tuple(f"picture {i}" for i in range(len(images))))
    if name != "spatter":
        return draws
    found: list[str] = []
    for k in range(400):
        if len(found) == len(images):
            return draws.select(found)
        margins: list[float] = []
        one, side = draws.select([f"picture {k}"]), len(images[0])
        reference.spatter(
            images[0] / 255, level, one.normal("liquid", side, side)[0].double().numpy(), margins
        )
        if min(margins) > 7e-7:
            found.append(f"picture {k}")
    raise AssertionError("no draws without a value near a step")


@cache
def frost_photos(folder: Path) -> list[np.ndarray]:
    """Six made pictures, written to the folder. Only five are ever used."""
    rng = np.random.default_rng(5)
    made = []
    for i in range(6):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
        made.append(np.asarray(coarse.resize((400 + 7 * i, 330 - 3 * i), Image.Resampling.BICUBIC)))
        Image.fromarray(made[-1]).save(folder / f"frost{i}.png")
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frost")


def ours(
    name: str,
    table: str,
    severity: int,
    images: list[np.ndarray],
    quantise: str,
    draws: Draws,
    folder: Path,
    **more: Any,
) -> np.ndarray:
    """(b, h, w, 3) in float64."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div(255).contiguous()
    batch = ImageBatch(pixels, draws.ids, torch.zeros(len(images), dtype=torch.int64))
    params = {"severity": severity, "table": table, "quantise": quantise, **more}
    if name == "frost":
        frost_photos(folder)
        params["textures"] = str(folder)
    plugin = perturbations.build(f"corruption.{name}", params)
    return plugin(batch, draws).pixels.permute(0, 2, 3, 1).double().numpy()


# --- the same random numbers for the reference ---------------------------------------------------------


def _normals(draws: Draws, i: int, side: int, level: Any, table: str) -> Arguments:
    return {"noise": draws.normal("noise", 3, side, side)[i].permute(1, 2, 0).double().numpy()}


def _impulses(draws: Draws, i: int, side: int, level: Any, table: str) -> Arguments:
    words = draws.bits("impulses", 3, side, side)[i].permute(1, 2, 0).numpy().astype(np.int64)
    white = words >= 0  # the furthest from 0 are hit first, on either side
    return {"chance": 1 - (np.where(white, words, -words - 1) + 0.5) / 2**31, "white": white}


def _photons(draws: Draws, i: int, side: int, level: Any, table: str) -> Arguments:
    words = draws.bits("photons", 3, side, side)[i].permute(1, 2, 0).numpy().astype(np.int64)
    return {"chance": ((words >> 2) + 2**29 + 0.5) / 2**30}


def _steps(draws: Draws, i: int, side: int, level: Any, table: str) -> Arguments:
    _, reach, rounds = level
    words = [draws.bits(f"steps {k}", side, side)[i].numpy().astype(np.int64) for k in range(rounds)]
    down, across = (
        np.stack([((w >> shift & 0xFFFF) * 2 * reach >> 16) - reach for w in words]) for shift in (16, 0)
    )
    return {"down": down, "across": across}


def _bending(draws: Draws, i: int, side: int, level: Any, table: str) -> Arguments:
    anchors = 2 * draws.uniform("anchors", 3, 2)[i].double().numpy() - 1
    across, down = 2 * draws.uniform("fields", 2, side, side)[i].double().numpy() - 1
    return {"anchors": anchors, "across": across, "down": down}


def _flakes(draws: Draws, i: int, side: int, level: Any, table: str) -> Arguments:
    """Only the middle of the noise can be seen; it is drawn for the smallest zoom of the table."""
    middle = math.ceil(side / min(other[2] for other in TABLES["snow"][table]))
    start = (side - middle) // 2
    field = np.zeros((side, side))
    field[start : start + middle, start : start + middle] = draws.normal("flakes", middle, middle)[i].numpy()
    return {"noise": field, "angle": -135 + 90 * float(draws.uniform("angle")[i])}


def _crop(draws: Draws, i: int, side: int, level: Any, table: str, folder: Path) -> Arguments:
    which, down, across = draws.uniform("crop", 3)[i].tolist()
    scale = FROST_SCALES[table]
    photo = frost_photos(folder)[int(5 * which)]
    photo = cv2.resize(photo, (0, 0), fx=scale, fy=scale)
    top, left = int(down * (photo.shape[0] - side)), int(across * (photo.shape[1] - side))
    return {"crop": photo[top : top + side, left : left + side] / 255}


def _clouds(draws: Draws, i: int, side: int, level: Any, table: str) -> Arguments:
    side = PLASMA_SIDES[table] if side == SIDES[table] else side
    return {"chance": 2 * draws.uniform("plasma", side, side)[i].double().numpy() - 1}


def _liquid(draws: Draws, i: int, side: int, level: Any, table: str) -> Arguments:
    return {"noise": draws.normal("liquid", side, side)[i].double().numpy()}


def _angle(low: float, high: float) -> Callable[..., Arguments]:
    return lambda draws, i, *_: {"angle": low + (high - low) * float(draws.uniform("angle")[i])}


ARGUMENTS: dict[str, Callable[..., Arguments]] = {
    **dict.fromkeys(FIXED, lambda *_: {}),
    "gaussian_noise": _normals,
    "speckle_noise": _normals,
    "impulse_noise": _impulses,
    "shot_noise": _photons,
    "glass_blur": _steps,
    "motion_blur": _angle(-45, 45),
    "elastic_transform": _bending,
    "snow": _flakes,
    "frost": _crop,
    "fog": _clouds,
    "spatter": _liquid,
}


# --- comparison ----------------------------------------------------------------------------------------


def bounds(name: str, image: np.ndarray, level: Any, arguments: Arguments) -> tuple[np.ndarray, np.ndarray]:
    """What a right result lies between; mostly the same image twice."""
    function = getattr(reference, name)
    if name not in NUDGED:
        wanted = function(image / 255, level, **arguments)
        return wanted, wanted
    low, high = (function(image / 255, level, **arguments, nudge=n) for n in (-NUDGE, NUDGE))
    return low, high


def mismatch(
    name: str, limits: tuple[np.ndarray, np.ndarray], plain: np.ndarray, quantised: np.ndarray
) -> str | None:
    """What is wrong with our results before and after quantisation, or None."""
    low, high = limits
    off = np.maximum(low - plain, plain - high)
    if off.max() > CLOSE:
        return f"{name}: off by {off.max():.3g} before quantisation, {(off > CLOSE).mean():.2%} of the values"
    if name in EXACT:
        least = most = np.rint(255 * low)
    else:
        half = 0.5 if name in NEAREST else 0.0
        least, most = (
            np.floor(255 * low + half - STEP).clip(0),
            np.floor(255 * high + half + STEP).clip(0, 255),
        )
    levels = np.rint(255 * quantised)
    if np.abs(255 * quantised - levels).max() > 1e-3:
        return f"{name}: quantised pixels are not on 8-bit levels"
    wrong = (levels < least) | (levels > most)
    return f"{name}: {wrong.mean():.3%} of the 8-bit values differ" if wrong.any() else None


def given(name: str, draws: Draws, i: int, side: int, level: Any, table: str, folder: Path) -> Arguments:
    """The random numbers of image i as arguments of the reference."""
    last = (folder,) if name == "frost" else ()
    return ARGUMENTS[name](draws, i, side, level, table, *last)


def check(name: str, table: str, severity: int, images: list[np.ndarray], folder: Path) -> None:
    level = TABLES[name][table][severity - 1]
    draws = drawn(name, images, level)
    plain, quantised = (
        ours(name, table, severity, images, how, draws, folder) for how in ("none", "truncate")
    )
    for i, image in enumerate(images):
        arguments = given(name, draws, i, len(image), level, table, folder)
        limits = bounds(name, image, level, arguments)
        found = mismatch(name, limits, plain[i], quantised[i])
        assert found is None, f"picture {i}, {table}, severity {severity}: {found}"
        assert name in ("jpeg_compression", "pixelate") or np.abs(limits[0] - image / 255).max() > 1e-3
        if name in NUDGED and i == 0 and level[0] > 0.3:
            narrow = (limits[1] - limits[0] < CLOSE).mean()
            assert narrow > 0.9, f"{name}: only {narrow:.0%} of the photo is compared within {CLOSE}"


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("table", [IMAGENET, TINY, CIFAR])
@pytest.mark.parametrize("name", FIXED)
def test_without_randomness(name, table, severity, folder):
    check(name, table, severity, pictures(SIDES[table]), folder)


@pytest.mark.parametrize("severity", [1, 4])
@pytest.mark.parametrize("name", FIXED)
def test_without_randomness_at_299(name, severity, folder):
    check(name, INCEPTION, severity, pictures(299), folder)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("table", [IMAGENET, INCEPTION, TINY, CIFAR])
@pytest.mark.parametrize("name", [n for n in TABLES if n not in FIXED])
def test_with_the_same_random_numbers(name, table, severity, folder):
    """On small images, whatever the table's own size, unless anchors would leave them."""
    side = SIDES[table] if name == "elastic_transform" or table == CIFAR else 64
    check(name, table, severity, pictures(side), folder)


@pytest.mark.parametrize("name", [n for n in TABLES if n not in (*FIXED, "elastic_transform")])
def test_with_the_same_random_numbers_at_224(name, folder):
    check(name, IMAGENET, 3, pictures(224), folder)


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("name", sorted(set(TABLES) - set(EXACT) - {"elastic_transform", "frost"}))
def test_images_between_8_bit_levels(name, severity, folder):
    """As another perturbation or an attack leaves them; thousandths of a level are not told apart by photons."""
    rng = np.random.default_rng(severity)
    image = rng.uniform(0, 255, (32, 32, 3)).astype(np.float32)
    image[:8] = np.rint(image[:8]) + rng.uniform(-5e-4, 5e-4, image[:8].shape)
    image = image.clip(0, 255)
    level = TABLES[name][IMAGENET][severity - 1]
    draws = drawn(name, [image], level)
    plain, quantised = (
        ours(name, IMAGENET, severity, [image], how, draws, folder)[0] for how in ("none", "truncate")
    )
    exact = 255 * (image / np.float32(255)).astype(float)
    if name == "shot_noise":
        exact[:8] = np.rint(exact[:8])
    limits = bounds(name, exact, level, given(name, draws, 0, 32, level, IMAGENET, folder))
    assert mismatch(name, limits, plain, quantised) is None


@pytest.mark.parametrize("name", ["contrast", "gaussian_blur", "brightness"])
def test_rounding_and_jpeg_at_the_end(name, folder):
    """`round` takes the nearest level; `jpeg_quality` stores what the published code would have stored."""
    images = pictures(64)
    draws = drawn(name, images)
    rounded, cut = (ours(name, TINY, 4, images, how, draws, folder) for how in ("round", "truncate"))
    stored = ours(name, TINY, 4, images, "truncate", draws, folder, jpeg_quality=85)
    for i, image in enumerate(images):
        wanted = 255 * getattr(reference, name)(image / 255, TABLES[name][TINY][3])
        clear = np.abs(wanted - np.floor(wanted) - 0.5) > STEP
        assert np.array_equal(np.rint(255 * rounded[i])[clear], np.rint(wanted)[clear])
        assert np.abs(255 * rounded[i] - wanted).max() < 0.5 + STEP
        levels = np.rint(255 * cut[i]) / 255
        assert np.abs(stored[i] - reference.jpeg_compression(levels, 85)).max() < 1e-6
    assert not np.array_equal(stored, cut)


# --- a wrong parameter is noticed ----------------------------------------------------------------------

# The severity whose parameters are falsified (none of them 0 there, nor too small to matter), and the table.
PLACES: dict[str, tuple[str, int]] = {
    **{name: (IMAGENET, 3) for name in TABLES},
    "motion_blur": (IMAGENET, 5),
    "snow": (IMAGENET, 5),
    "saturate": (IMAGENET, 4),
    "elastic_transform": (TINY, 3),
    "spatter": (IMAGENET, 2),
    "spatter, mud": (IMAGENET, 5),
}


def off_by_a_tenth(name: str, level: Any, entry: int) -> Any:
    """The parameters with one of them raised by a tenth; whole numbers by at least 1."""
    if name == "zoom_blur":  # how many factors, how far apart
        return level[:-1] if entry == 0 else [1 + 1.1 * (factor - 1) for factor in level]
    if name == "glass_blur" and entry == 2:
        return (*level[:2], level[2] - 1)  # there are no more random numbers than for the right count
    values = list(level) if isinstance(level, tuple) else [level]
    whole = isinstance(values[entry], int) and name in (
        "glass_blur",
        "motion_blur",
        "snow",
        "jpeg_compression",
    )
    values[entry] = values[entry] + max(1, round(values[entry] / 10)) if whole else 1.1 * values[entry]
    return tuple(values) if isinstance(level, tuple) else values[0]


def _entries() -> list[tuple[str, int]]:
    found = []
    for place, (table, severity) in PLACES.items():
        level = TABLES[place.removesuffix(", mud")][table][severity - 1]
        count = {"zoom_blur": 2, "spatter": 5}.get(place.removesuffix(", mud"))
        found += [(place, i) for i in range(count or (len(level) if isinstance(level, tuple) else 1))]
    return found


@pytest.mark.parametrize(("place", "entry"), _entries())
def test_a_parameter_that_is_off_by_a_tenth_is_noticed(place, entry, folder):
    name = place.removesuffix(", mud")
    table, severity = PLACES[place]
    level, images = TABLES[name][table][severity - 1], pictures(64)[:1]
    draws = drawn(name, images, level)
    plain, quantised = (
        ours(name, table, severity, images, how, draws, folder)[0] for how in ("none", "truncate")
    )
    arguments = given(name, draws, 0, 64, level, table, folder)
    assert mismatch(name, bounds(name, images[0], level, arguments), plain, quantised) is None
    wrong = off_by_a_tenth(name, level, entry)
    assert wrong != level
    assert mismatch(name, bounds(name, images[0], wrong, arguments), plain, quantised) is not None


def test_a_level_that_is_wrong_after_quantisation_is_noticed():
    image = photos(64)[0]
    right = reference.contrast(image / 255, 0.4)
    levels = np.floor(255 * right)
    assert mismatch("contrast", (right, right), right, levels / 255) is None
    for wrong in (levels + (levels == levels.max()), np.rint(255 * right)):
        assert mismatch("contrast", (right, right), right, wrong / 255) is not None


# --- the reference's own parts, against other libraries ------------------------------------------------


def test_every_corruption_has_a_table_and_a_reference():
    assert set(TABLES) == {
        n.split(".")[1] for n in perturbations.names() if n.startswith("corruption.")
    } & set(TABLES)
    assert len(TABLES) == len(ARGUMENTS) == 19
    for name, tables in TABLES.items():
        assert set(tables) == set(SIDES)
        assert all(len(levels) == 5 for levels in tables.values()), name
        assert callable(getattr(reference, name))


@pytest.mark.parametrize("sigma", [0.05, 0.4, 2, 6.5])
def test_the_references_gaussian_is_scipys(sigma):
    x = noise(64) / 255
    wanted = scipy.ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="nearest", truncate=4)
    assert np.abs(reference._blurred(x, sigma) - wanted).max() < 1e-12


@pytest.mark.parametrize("level", [(0.3, 0.4), (2.5, 0.01), (8, 0.5), (10, 0.5)])
def test_the_references_disk_is_opencvs(level):
    radius, soft = level
    reach = 8 if radius <= 8 else radius
    line = np.arange(-reach, reach + 1)
    inside = (line[:, None] ** 2 + line**2 <= radius**2).astype(np.float32)
    size = (3, 3) if radius <= 8 else (5, 5)
    wanted = cv2.GaussianBlur(inside / inside.sum(), size, soft)
    assert np.abs(reference._disk(*level) - wanted).max() < 1e-7
    x = noise(64) / 255
    assert np.abs(reference.defocus_blur(x, level) - cv2.filter2D(x, -1, wanted)).max() < 1e-5


@pytest.mark.parametrize("factor", [1.0, 1.07, 1.3, 2.25, 4.5])
def test_the_references_zoom_is_scipys(factor):
    side, x = 64, noise(64) / 255
    middle = math.ceil(side / factor)
    start = (side - middle) // 2
    wanted = scipy.ndimage.zoom(
        x[start : start + middle, start : start + middle], (factor, factor, 1), order=1
    )
    trim = (len(wanted) - side) // 2
    wanted = wanted[trim : trim + side, trim : trim + side]
    assert np.abs(reference._zoomed(x, factor) - wanted).max() < 1e-12


def test_the_references_elastic_transform_is_opencvs_and_scipys():
    rng = np.random.default_rng(3)
    side, level, x = 64, (6.4, 5.12, 3.84), photos(64)[0] / 255
    anchors, across, down = (rng.uniform(-1, 1, shape) for shape in ((3, 2), (side, side), (side, side)))
    before = np.float32([[32 + 21, 32 + 21], [32 + 21, 32 - 21], [32 - 21, 32 - 21]])
    matrix = cv2.getAffineTransform(before, (before + level[2] * anchors).astype(np.float32))
    moved = cv2.warpAffine(x.astype(np.float32), matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
    dx, dy = (
        level[0] * scipy.ndimage.gaussian_filter(v, level[1], mode="reflect", truncate=3)
        for v in (across, down)
    )
    y, x_ = np.mgrid[:side, :side]
    wanted = np.stack(
        [
            scipy.ndimage.map_coordinates(moved[..., c], (y + dy, x_ + dx), order=1, mode="reflect")
            for c in range(3)
        ],
        axis=-1,
    )
    assert np.abs(reference.elastic_transform(x, level, anchors, across, down) - wanted).max() < 5e-5
