"""Every C-bar corruption against plain loops fed with the same draws, before clipping to 8 bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from robobench.draws import Draws
from robobench.registry import perturbations
from robobench.types import ImageBatch
from tests.fakes import make_batch, make_draws
from tests.parity import cbar

IMAGES = 2
# the published files imagenet_c_bar.csv and cifar10_c_bar.csv
IMAGENET = {
    "caustic_refraction": (2.35, 3.2, 4.9, 6.6, 9.15),
    "inverse_sparkles": (1.0, 2.0, 4.0, 9.0, 10.0),
    "sparkles": (1.0, 2.0, 3.0, 5.0, 6.0),
    "perlin_noise": (4.6, 5.2, 5.8, 7.6, 8.8),
    "blue_noise_sample": (0.8, 1.6, 2.4, 4.0, 5.6),
    "plasma_noise": (4.75, 7.0, 8.5, 9.25, 10.0),
    "checkerboard_cutout": (2.0, 3.0, 4.0, 5.0, 6.0),
    "cocentric_sine_waves": (3.0, 5.0, 8.0, 9.0, 10.0),
    "single_frequency_greyscale": (1.0, 1.5, 2.0, 4.5, 5.0),
    "brownish_noise": (1.0, 2.0, 3.0, 4.0, 5.0),
}
CIFAR = {
    "blue_noise_sample": (0.7, 1.4, 2.1, 3.5, 4.2),
    "checkerboard_cutout": (1.0, 2.0, 3.0, 4.0, 5.0),
    "inverse_sparkles": (1.0, 1.5, 2.5, 4.5, 5.0),
    "pinch_and_twirl": (5.5, 6.0, 6.5, 8.5, 10.0),
    "ripple": (5.5, 6.0, 6.5, 7.5, 8.0),
    "brownish_noise": (2.5, 4.0, 5.5, 6.5, 7.0),
    "circular_motion_blur": (2.8, 3.6, 4.4, 5.2, 6.0),
    "lines": (0.5, 1.0, 1.5, 2.0, 2.5),
    "sparkles": (0.7, 3.5, 5.6, 6.3, 7.0),
    "transverse_chromatic_abberation": (1.0, 2.0, 5.0, 9.0, 10.0),
}
TABLES = {"imagenet": IMAGENET, "cifar": CIFAR}

Plain = Callable[[Any, float, Draws, int], Any]


def uniform(draws: Draws, name: str, i: int, low: float, high: float, *shape: int) -> Any:
    return low + (high - low) * draws.uniform(name, *shape)[i].double().numpy()


def plane_wave(image: Any, v: float, draws: Draws, i: int) -> Any:
    major = uniform(draws, "frequency", i, -math.pi, math.pi)
    minor = uniform(draws, "second frequency", i, -abs(major), abs(major))
    down, across = (major, minor) if draws.uniform("axis")[i] < 0.5 else (minor, major)
    phase = uniform(draws, "phase", i, 0, 2 * math.pi)
    return cbar.single_frequency_greyscale(image, v, across, down, phase)


def rings(image: Any, v: float, draws: Draws, i: int) -> Any:
    n = len(image)
    return cbar.cocentric_sine_waves(
        image,
        v,
        *uniform(draws, "middle", i, 0, n, 2),
        uniform(draws, "frequency", i, 0, 10),
        uniform(draws, "amplitude", i, 0, n / 10),
        uniform(draws, "ring width", i, 0, n / 10),
    )


def plasma(image: Any, v: float, draws: Draws, i: int) -> Any:
    return cbar.plasma_noise(
        image,
        v,
        uniform(draws, "time", i, 0, 6 * math.pi),
        int(draws.integers("iterations", 4, 7)[i]),
        uniform(draws, "sharpness", i, 0.5, 1),
        uniform(draws, "scale", i, 0.075, 0.2) * len(image),
    )


def sparkles(image: Any, v: float, draws: Draws, i: int) -> Any:
    middles = uniform(draws, "middles", i, 0, len(image), 5, 2).tolist()
    counts = draws.integers("rays", 50, 200, 5)[i].tolist()
    normals = draws.normal("lengths", 5, 200)[i].double().tolist()
    return cbar.sparkles(image, v, middles, [z[:n] for z, n in zip(normals, counts, strict=True)])


def inverse_sparkles(image: Any, v: float, draws: Draws, i: int) -> Any:
    middle = (uniform(draws, "middle", i, 0.25, 0.75, 2) * len(image)).tolist()
    count = int(draws.integers("rays", 50, 200)[i])
    return cbar.inverse_sparkles(image, v, middle, draws.normal("lengths", 200)[i, :count].double().tolist())


def perlin(image: Any, v: float, draws: Draws, i: int) -> Any:
    slopes = draws.integers("slopes", -256, 256, 256, 2)[i].tolist()
    return cbar.perlin_noise(image, v, draws.permutation("corners", 256)[i].tolist(), slopes)


def phases(image: Any, draws: Draws, i: int, channels: int) -> tuple[Any, Any]:
    half = len(image) // 2
    return (
        uniform(draws, "phases", i, 0, 2 * math.pi, channels, len(image), half),
        uniform(draws, "middle phases", i, 0, 2 * math.pi, channels, half, 1)[:, :, 0],
    )


def blue(image: Any, v: float, draws: Draws, i: int) -> Any:
    half, middle = phases(image, draws, i, 1)
    noise = cbar.blue_noise(len(image), half[0], middle[0])
    threshold = v * 3.0 / 10 - 2.5
    assert abs(noise - threshold).min() > 1e-5  # nothing that rounding could decide
    return image * (noise > threshold)[:, :, None]


def brownish(image: Any, v: float, draws: Draws, i: int) -> Any:
    return cbar.brownish_noise(image, v, *phases(image, draws, i, 3))


def checkerboard(image: Any, v: float, draws: Draws, i: int) -> Any:
    angle = uniform(draws, "angle", i, 0, 2 * math.pi)
    cell = max(uniform(draws, "cell", i, 0.1, 0.25) * len(image), 1)
    return cbar.checkerboard_cutout(image, v, angle, cell, draws.uniform("cells", 40, 40)[i].numpy())


def lines(image: Any, v: float, draws: Draws, i: int) -> Any:
    angle = uniform(draws, "angle", i, 0, 2 * math.pi)
    variation = uniform(draws, "angle variation", i, 0.1, 1)
    return cbar.lines(image, v, angle, variation, uniform(draws, "lines", i, 0, 1, 20, 3).tolist())


def caustics(image: Any, v: float, draws: Draws, i: int) -> Any:
    time = uniform(draws, "time", i, 0.5, 2)
    return cbar.caustic_refraction(image, v, time, uniform(draws, "size", i, 0.75, 1.25) * len(image))


def ripple(image: Any, v: float, draws: Draws, i: int) -> Any:
    lengths = uniform(draws, "wavelengths", i, 0.1, 0.3, 2) * len(image)
    return cbar.ripple(image, v, lengths, uniform(draws, "phases", i, 0, 2 * math.pi, 2))


def pinch(image: Any, v: float, draws: Draws, i: int) -> Any:
    return cbar.pinch_and_twirl(image, v, (draws.integers("signs", 0, 2, 3, 3)[i] * 2 - 1).tolist())


def blur(image: Any, v: float, _draws: Draws, _i: int) -> Any:
    return cbar.circular_motion_blur(image, v)


def fringes(image: Any, v: float, draws: Draws, i: int) -> Any:
    return cbar.transverse_chromatic_abberation(image, v, draws.permutation("colours", 3)[i].tolist())


PLAIN: dict[str, Plain] = {
    "single_frequency_greyscale": plane_wave,
    "cocentric_sine_waves": rings,
    "plasma_noise": plasma,
    "sparkles": sparkles,
    "inverse_sparkles": inverse_sparkles,
    "perlin_noise": perlin,
    "blue_noise_sample": blue,
    "brownish_noise": brownish,
    "checkerboard_cutout": checkerboard,
    "lines": lines,
    "caustic_refraction": caustics,
    "ripple": ripple,
    "pinch_and_twirl": pinch,
    "circular_motion_blur": blur,
    "transverse_chromatic_abberation": fringes,
}
CASES = [
    pytest.param(name, table, severity, id=f"{name}-{table}-{severity}")
    for table, rows in TABLES.items()
    for name in rows
    for severity in (1, 3, 5)
]


def pictures(side: int) -> ImageBatch:
    """Smooth images, so that what is rounded to a thousandth of a pixel on the way does not show."""
    batch = make_batch(IMAGES, side)
    y, x = torch.meshgrid(*[torch.arange(side).float()] * 2, indexing="ij")
    planes = [torch.sin(y * (0.1 + 0.05 * c) + x * 0.15 + c) * 0.35 + 0.5 for c in range(3)]
    smooth = torch.stack(planes).expand(IMAGES, -1, -1, -1)
    return batch.with_pixels(smooth * 0.98 + 0.02 * batch.pixels)


def both(name: str, params: dict[str, Any], v: float, side: int) -> tuple[Any, Any]:
    """What the plug-in gives, and the plain version; both unclipped, in [0, 1] for 8 bits."""
    batch = pictures(side)
    draws = make_draws(batch, f"cbar.{name}")
    step = perturbations.build(f"cbar.{name}", params)
    found = step.apply(batch.pixels, step.strength(batch.pixels), draws).permute(0, 2, 3, 1).numpy()
    levels = batch.pixels.permute(0, 2, 3, 1).double().numpy() * 255
    plain = [PLAIN[name](image, v, draws, i) for i, image in enumerate(levels)]
    return found, np.stack(plain) / 255


@pytest.mark.parametrize(("name", "table", "severity"), CASES)
def test_equals_the_definition(name: str, table: str, severity: int) -> None:
    v = TABLES[table][name][severity - 1]
    found, plain = both(name, {"severity": severity, "table": table}, v, 24)
    np.testing.assert_allclose(found, plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["blue_noise_sample", "brownish_noise", "pinch_and_twirl", "lines"])
def test_equals_the_definition_where_the_side_is_odd(name: str) -> None:
    found, plain = both(name, {"severity": 5, "table": "cifar"}, CIFAR[name][4], 25)
    np.testing.assert_allclose(found, plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "table"), [(n, t) for t, rows in TABLES.items() for n in rows])
def test_a_tenth_more_strength_is_told_apart(name: str, table: str) -> None:
    """The comparison above would notice a wrong strength."""
    v = TABLES[table][name][4]
    found, plain = both(name, {"severity": 5, "table": table}, 1.1 * v, 24)
    if name in ("checkerboard_cutout", "lines"):  # strength only counts what is drawn
        found, plain = both(name, {"severity": 5, "table": table}, 1.5 * v, 24)
    assert np.abs(found - plain).max() > 1e-3


@pytest.mark.parametrize(("name", "table"), [(n, t) for t, rows in TABLES.items() for n in rows])
def test_strengths_are_the_published_ones(name: str, table: str) -> None:
    cls = perturbations.get(f"cbar.{name}").cls
    assert cls.strengths[table] == TABLES[table][name]
    assert {t for t, rows in TABLES.items() if name in rows} == set(cls.strengths)


def test_all_fifteen_are_there() -> None:
    names = {n.removeprefix("cbar.") for n in perturbations.names() if n.startswith("cbar.")}
    assert names == IMAGENET.keys() | CIFAR.keys() == PLAIN.keys()
