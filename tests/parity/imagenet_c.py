"""ImageNet-C's 19 corruptions once more: plainly, in float64, for one image, and without robobench.

Every function takes an image (h, w, 3) of values in [0, 1], the parameters of one severity (see
`imagenet_c_tables`) and whatever is random as arguments, and returns the image clipped to [0, 1], before
it becomes 8 bits. Where the definition is a library call (Pillow's codec and resizing, OpenCV's edges and
distances), so is this.

`nudge`: three corruptions make 8-bit levels, or compare with a threshold, in the middle. A value that lies
on a step may fall to either side of it in another order of adding up. Such a function is called twice, with
all values moved down and up by `nudge` levels; everything after that step is monotone, so a right result
lies between the two.
"""

from __future__ import annotations

import colorsys
import math
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

Image = NDArray[np.float64]
Field = NDArray[np.float64]  # (h, w)


# --- noise ---------------------------------------------------------------------------------------------


def gaussian_noise(x: Image, sigma: float, noise: Image) -> Image:
    """noise: standard normal."""
    return np.clip(x + sigma * noise, 0, 1)


def speckle_noise(x: Image, sigma: float, noise: Image) -> Image:
    return np.clip(x + x * (sigma * noise), 0, 1)


def shot_noise(x: Image, rate: float, chance: Image) -> Image:
    """chance: uniform in [0, 1); the number of photons is the quantile of the Poisson distribution there."""
    mean = x * rate
    photons = np.zeros(x.shape)
    term = np.exp(-mean)  # of the probability of 0, 1, 2, ... photons
    passed = term.copy()
    for k in range(1, 2 + int(rate + 12 * math.sqrt(rate) + 20)):
        photons[chance >= passed] = k
        term = term * mean / k
        passed = passed + term
    return np.clip(photons / rate, 0, 1)


def impulse_noise(x: Image, amount: float, chance: Image, white: NDArray[np.bool_]) -> Image:
    """chance: uniform in [0, 1); white: whether an element that is hit becomes salt."""
    out = x.copy()
    out[(chance < amount) & white] = 1
    out[(chance < amount) & ~white] = 0
    return out


# --- blur ----------------------------------------------------------------------------------------------


def gaussian_blur(x: Image, sigma: float) -> Image:
    return np.clip(_blurred(x, sigma), 0, 1)


def defocus_blur(x: Image, level: tuple[float, float]) -> Image:
    radius, soft = level
    kernel = _disk(radius, soft)
    reach = len(kernel) // 2
    wide = np.pad(x, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    out = np.zeros(x.shape)
    for i, row in enumerate(kernel):
        for j, weight in enumerate(row):
            out += weight * wide[i : i + x.shape[0], j : j + x.shape[1]]
    return np.clip(out, 0, 1)


def _disk(radius: float, soft: float) -> Field:
    reach, around = (8, 1) if radius <= 8 else (int(radius), 2)
    inside = np.zeros((2 * reach + 1, 2 * reach + 1))
    for i in range(-reach, reach + 1):
        for j in range(-reach, reach + 1):
            inside[i + reach, j + reach] = i * i + j * j <= radius * radius
    inside /= inside.sum()
    taps = [math.exp(-(i**2) / (2 * soft**2)) for i in range(-around, around + 1)]
    wide = np.pad(inside, around, mode="reflect")
    out = np.zeros(inside.shape)
    for i, down in enumerate(taps):
        for j, across in enumerate(taps):
            out += down * across * wide[i : i + len(out), j : j + len(out)]
    return out / sum(taps) ** 2


def glass_blur(
    x: Image, level: tuple[float, int, int], across: NDArray[np.int64], down: NDArray[np.int64], nudge: float
) -> Image:
    """across, down: (rounds, h, w), the step that each pixel's colour is fetched from, at [round, y, x]."""
    sigma, furthest, rounds = level
    height, width = x.shape[:2]
    levels = 255 * _blurred(x, sigma)
    if len(_gaussian(sigma, 4.0)) > 1:
        levels = levels + nudge
    image = np.clip(np.floor(levels), 0, 255)
    for i in range(rounds):
        for h in range(height - furthest, furthest, -1):
            for w in range(width - furthest, furthest, -1):
                image[h, w] = image[h + down[i, h, w], w + across[i, h, w]]
    return np.clip(_blurred(image / 255, sigma), 0, 1)


def motion_blur(x: Image, level: tuple[int, float], angle: float) -> Image:
    """angle: in degrees."""
    return np.clip(_trailed(x, *level, angle), 0, 1)


def zoom_blur(x: Image, factors: list[float]) -> Image:
    total = x.copy()
    for factor in factors:
        total += _zoomed(x, factor)
    return np.clip(total / (len(factors) + 1), 0, 1)


# --- weather -------------------------------------------------------------------------------------------


def snow(x: Image, level: tuple[float, ...], noise: Field, angle: float, nudge: float) -> Image:
    """noise: standard normal; angle: in degrees."""
    mean, deviation, zoom, threshold, radius, sigma, keep = level
    layer = _zoomed((mean + deviation * noise)[..., None], zoom)[..., 0]
    layer[layer + nudge / 255 < threshold] = 0
    layer = np.floor(np.clip(255 * layer + nudge, 0, 255))
    # the levels that ImageMagick gives back are the nearest ones
    layer = np.floor(_trailed(layer[..., None], int(radius), sigma, angle) + 0.5 + nudge).clip(0, 255) / 255
    grey = (0.299 * x[..., 0] + 0.587 * x[..., 1] + 0.114 * x[..., 2])[..., None]
    whitened = keep * x + (1 - keep) * np.maximum(x, 1.5 * grey + 0.5)
    return np.clip(whitened + layer + layer[::-1, ::-1], 0, 1)


def frost(x: Image, level: tuple[float, float], crop: Image) -> Image:
    """crop: a part of a frost photo, of the image's size, in [0, 1]."""
    return np.clip(level[0] * x + level[1] * crop, 0, 1)


def fog(x: Image, level: tuple[float, float], chance: Field) -> Image:
    """chance: see `plasma`."""
    thickness, decay = level
    brightest = x.max()
    cloud = plasma(chance, decay)[: x.shape[0], : x.shape[1], None]
    return np.clip((x + thickness * cloud) * brightest / (brightest + thickness), 0, 1)


def plasma(chance: Field, decay: float) -> Field:
    """A height map in [0, 1] by the diamond-square algorithm on a square whose opposite sides meet.

    chance: uniform in [-1, 1], (side, side), the deviation of the point at the same place; side is a power
    of two. The square at (0, 0) is the only one at first, its corner has height 0.
    """
    side = len(chance)
    height = np.zeros((side, side))
    step, amplitude = side, 100.0

    def put(y: int, x: int, neighbours: list[tuple[int, int]]) -> None:
        mean = sum(height[i % side, j % side] for i, j in neighbours) / 4
        height[y, x] = mean + amplitude * (amplitude * chance[y, x])

    while step >= 2:
        half = step // 2
        for y in range(half, side, step):
            for x in range(half, side, step):
                put(
                    y,
                    x,
                    [(y - half, x - half), (y - half, x + half), (y + half, x - half), (y + half, x + half)],
                )
        for y in range(0, side, step):
            for x in range(half, side, step):
                put(y, x, [(y - half, x), (y + half, x), (y, x - half), (y, x + half)])
        for y in range(half, side, step):
            for x in range(0, side, step):
                put(y, x, [(y - half, x), (y + half, x), (y, x - half), (y, x + half)])
        step, amplitude = half, amplitude / decay
    height -= height.min()
    return height / height.max()


# --- digital -------------------------------------------------------------------------------------------


def brightness(x: Image, more: float) -> Image:
    return _recoloured(x, lambda hue, saturation, value: (hue, saturation, min(value + more, 1)))


def saturate(x: Image, level: tuple[float, float]) -> Image:
    factor, more = level
    return _recoloured(x, lambda hue, saturation, value: (hue, min(saturation * factor + more, 1), value))


def _recoloured(x: Image, change) -> Image:
    """Colour by colour through HSV; `change` takes and gives hue, saturation and value."""
    colours, which = np.unique(x.reshape(-1, 3), axis=0, return_inverse=True)
    changed = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*c))) for c in colours.tolist()]
    return np.clip(np.array(changed)[which.reshape(-1)].reshape(x.shape), 0, 1)


def contrast(x: Image, factor: float) -> Image:
    out = np.empty(x.shape)
    for channel in range(3):
        mean = math.fsum(x[..., channel].ravel()) / x[..., channel].size
        out[..., channel] = (x[..., channel] - mean) * factor + mean
    return np.clip(out, 0, 1)


def jpeg_compression(x: Image, quality: int) -> Image:
    with BytesIO() as file:
        _pillow(x).save(file, "JPEG", quality=quality)
        return np.asarray(Pillow.open(file)) / 255


def pixelate(x: Image, share: float) -> Image:
    height, width = x.shape[:2]
    small = _pillow(x).resize((int(width * share), int(height * share)), Pillow.Resampling.BOX)
    return np.asarray(small.resize((width, height), Pillow.Resampling.BOX)) / 255


def elastic_transform(
    x: Image, level: tuple[float, float, float], anchors: Field, across: Field, down: Field
) -> Image:
    """anchors: (3, 2) in [-1, 1], how far each anchor (x, y) moves; across, down: (h, w) in [-1, 1]."""
    strength, sigma, reach = level
    height, width = x.shape[:2]
    middle, arm = np.array([width // 2, height // 2]), min(height, width) // 3
    before = middle + np.array([[arm, arm], [arm, -arm], [-arm, -arm]])
    after = before + reach * anchors
    # the affine map that takes the moved anchors back: an output place to the place it is read from
    back = np.linalg.solve(np.column_stack([after, np.ones(3)]), before).T
    y, x_ = np.mgrid[:height, :width].astype(float)
    image = _read(
        x,
        back[1, 0] * x_ + back[1, 1] * y + back[1, 2],
        back[0, 0] * x_ + back[0, 1] * y + back[0, 2],
        "reflect",
    )
    right, below = (
        strength * _blurred(v[..., None], sigma, 3.0, "symmetric")[..., 0] for v in (across, down)
    )
    return np.clip(_read(image, y + below, x_ + right, "symmetric"), 0, 1)


def spatter(x: Image, level: tuple[float, ...], noise: Field, margins: list[float] | None = None) -> Image:
    """noise: standard normal; margins: gets how near any value comes to a threshold or a step."""
    mean, deviation, sigma, threshold, strength, mud = level
    liquid = _blurred((mean + deviation * noise)[..., None], sigma)[..., 0]
    near = [np.abs(liquid - threshold).min()]
    liquid[liquid < threshold] = 0
    if mud:
        thick = _blurred((liquid > threshold).astype(float)[..., None], strength)
        near.append(np.abs(thick - 0.8).min())
        thick[thick < 0.8] = 0
    elif liquid.any():
        wet = 255 * liquid[liquid > 0]
        near.append(np.abs(wet - np.rint(wet)).min() / 255)
    if margins is not None:
        margins.extend(map(float, near))
    if mud:
        return np.clip(x * (1 - thick) + thick * np.array([63, 42, 20]) / 255, 0, 1)
    drops = (liquid * 255).astype(np.int64).astype(np.uint8)  # levels above 255 begin again at 0
    away = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
    away = cv2.blur(np.minimum(away, np.float32(20)), (3, 3)).astype(np.uint8)
    lit = cv2.filter2D(cv2.equalizeHist(away), cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    lit = drops * cv2.blur(lit, (3, 3)).astype(float)
    if lit.max() == 0:
        return x.copy()
    return np.clip(x + strength * (lit / lit.max())[..., None] * np.array([175, 238, 238]) / 255, 0, 1)


# --- shared --------------------------------------------------------------------------------------------


def _pillow(x: Image) -> Pillow.Image:
    levels = np.rint(x * 255)
    assert np.abs(x * 255 - levels).max() < 1e-9, "the image does not lie on 8-bit levels"
    return Pillow.fromarray(levels.astype(np.uint8))


def _gaussian(sigma: float, truncate: float) -> list[float]:
    reach = int(truncate * sigma + 0.5)
    if reach == 0:
        return [1.0]
    taps = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(-reach, reach + 1)]
    return [t / sum(taps) for t in taps]


def _blurred(x: Image, sigma: float, truncate: float = 4.0, border: str = "edge") -> Image:
    taps = _gaussian(sigma, truncate)
    reach = len(taps) // 2
    if reach == 0:
        return x.copy()
    height, width = x.shape[:2]
    wide = np.pad(x, ((reach, reach), (0, 0), (0, 0)), mode=border)
    rows = sum(t * wide[i : i + height] for i, t in enumerate(taps))
    wide = np.pad(rows, ((0, 0), (reach, reach), (0, 0)), mode=border)
    return sum(t * wide[:, i : i + width] for i, t in enumerate(taps))


def _trailed(x: Image, radius: int, sigma: float, angle: float) -> Image:
    """Copies shifted along a line, fading out; beyond the image its edge goes on."""
    count = 2 * radius + 1
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(count)]
    turn = math.radians(angle)
    height, width = x.shape[:2]
    wide = np.pad(x, ((count, count), (count, count), (0, 0)), mode="edge")
    out = np.zeros(x.shape)
    for i, weight in enumerate(weights):
        right, below = math.ceil(i * math.cos(turn) - 0.5), math.ceil(i * math.sin(turn) - 0.5)
        out += weight * wide[count + below : count + below + height, count + right : count + right + width]
    return out / sum(weights)


def _zoomed(x: Image, factor: float) -> Image:
    """The middle of a square image, enlarged bilinearly with its corners kept, cut to the image's size."""
    side = len(x)
    middle = math.ceil(side / factor)
    start = (side - middle) // 2
    grown = round(middle * factor)
    trim = (grown - side) // 2
    places = [start + (trim + i) * (middle - 1) / (grown - 1) for i in range(side)]
    rows, columns = np.meshgrid(places, places, indexing="ij")
    return _read(x, rows, columns, "edge")


def _read(x: Image, rows: Field, columns: Field, border: str) -> Image:
    """Bilinear between the four pixels around each place; border as in numpy.pad."""
    height, width = x.shape[:2]
    far = 4 * max(height, width)
    ys, xs = (np.pad(np.arange(n), far, mode=border) for n in (height, width))  # which pixel is found where
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    below, right = (rows - top)[..., None], (columns - left)[..., None]
    y0, y1 = ys[top + far], ys[top + 1 + far]
    x0, x1 = xs[left + far], xs[left + 1 + far]
    upper = (1 - right) * x[y0, x0] + right * x[y0, x1]
    lower = (1 - right) * x[y1, x0] + right * x[y1, x1]
    return (1 - below) * upper + below * lower
