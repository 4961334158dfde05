"""ImageNet-C-bar and CIFAR-10-C-bar in plain loops, one pixel at a time, float64 levels from 0 to 255.

Written from the publication's definitions and shares no function with robobench. Each takes an image
(n, n, 3), the strength on the scale of 0 to 10, and every drawn parameter by name; values are neither
clipped nor quantised.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

Image = Any


def over_pixels(n: int, kernel: Callable[[int, int], Any]) -> Image:
    return np.array([[kernel(y, x) for x in range(n)] for y in range(n)], np.float64)


def grey(values: Image) -> Image:
    return np.stack([values] * 3, axis=2)


def single_frequency_greyscale(image: Image, v: float, across: float, down: float, phase: float) -> Image:
    wave = over_pixels(len(image), lambda y, x: math.sin(x * across + y * down + phase))
    return image + v * 196 / 10 * grey(wave)


def cocentric_sine_waves(
    image: Image, v: float, x0: float, y0: float, turns: float, wobble: float, ring: float
) -> Image:
    def kernel(y: int, x: int) -> float:
        angle = math.atan2(x - x0, y - y0) * turns
        distance = math.sqrt((x - x0) ** 2 + (y - y0) ** 2) + math.sin(angle) * wobble
        return (distance % ring) / ring - 0.5

    return image + v * 128 / 10 * grey(over_pixels(len(image), kernel))


def plasma_noise(
    image: Image, v: float, time: float, iterations: int, sharpness: float, scale: float
) -> Image:
    def kernel(row: int, column: int) -> list[float]:
        x, y = column / scale, row / scale
        a, b, c = 1.0, 1.0, 1.0
        for _ in range(iterations):
            p, q = math.cos(y * a + time / b) / c, math.sin(x * a + time / b) / c
            x, y = x + p - 0.3 * q, y + q + 0.3 * p
            a, b, c = a * 1.93, b * 1.15, c * (2.25 - sharpness)
        return [math.sin(x - time), math.sin((x + y + math.sin(time)) * 0.5), math.sin(y + time)]

    intensity = v * 64 / 10
    return (1 - intensity / 255) * image + intensity * over_pixels(len(image), kernel)


def ray_light(y: int, x: int, middle: tuple[float, float], lengths: list[float], power: float) -> float:
    """How strongly a star lights a pixel, in [0, 1]."""
    down, across = y - middle[0], x - middle[1]
    rays = len(lengths)
    direction = (math.atan2(across, down) + math.pi) / (2 * math.pi) * rays
    i = int(direction)
    f = direction - i
    length = lengths[i % rays] + f * (lengths[(i + 1) % rays] - lengths[i % rays])
    light = (length**2 / (down**2 + across**2 + 1e-4)) ** power
    return min(max((1 - (f - 0.5) ** 2) * light, 0.0), 1.0)


def sparkles(image: Image, v: float, middles: list[tuple[float, float]], normals: list[list[float]]) -> Image:
    n = len(image)
    radius = v * 0.1 / 10 * n
    out = image.copy()
    for middle, drawn in zip(middles, normals, strict=True):
        lengths = [max(1.0, radius + 0.25 * radius * z) for z in drawn]
        for y in range(n):
            for x in range(n):
                out[y, x] += ray_light(y, x, middle, lengths, 1.0) * (255 - out[y, x])
    return out


def inverse_sparkles(image: Image, v: float, middle: tuple[float, float], normals: list[float]) -> Image:
    n = len(image)
    radius, amount = 0.25 * n, 100 - v * 65 / 10
    lengths = [radius + 0.25 * radius * z for z in normals]
    light = over_pixels(n, lambda y, x: ray_light(y, x, middle, lengths, (100 - amount) / 50))
    return 255 + grey(light) * (image - 255)


def perlin_noise(image: Image, v: float, order: list[int], slopes: list[list[int]]) -> Image:
    n = len(image)
    cell = 32 * n / 224

    def at_corner(i: int, j: int, y: float, x: float) -> float:
        a, b = slopes[order[(order[i % 256] + j) % 256]]
        return (a * (y - i) + b * (x - j)) / (math.hypot(a, b) or 1.0)

    def noise(y: float, x: float) -> float:
        i, j = math.floor(y), math.floor(x)
        s, t = ((f**2) * (3 - 2 * f) for f in (y - i, x - j))
        left = at_corner(i, j, y, x) * (1 - s) + at_corner(i + 1, j, y, x) * s
        right = at_corner(i, j + 1, y, x) * (1 - s) + at_corner(i + 1, j + 1, y, x) * s
        return 1.5 * (left * (1 - t) + right * t)

    def kernel(y: int, x: int) -> float:
        turbulence = sum(abs(noise(f * y / cell, f * x / cell)) / f for f in (1, 2, 4, 8, 16))
        return min(max(0.5 * turbulence + 0.5, 0.0), 1.0)

    alpha = v * 0.5 / 10
    return (1 - alpha) * image + 255 * alpha * grey(over_pixels(n, kernel))


def spectral_noise(n: int, phases: Image, middle: Image, amplitude: Callable[[float], float]) -> Image:
    """Noise of standard deviation 1 from the phases of the left half of its spectrum (and its middle)."""
    spectrum = np.zeros((n, n), complex)
    for y in range(n):
        for x in range(n):
            if x < n // 2:
                phase = phases[y][x]
            elif n % 2 == 1 and x == n // 2:
                phase = 0.0 if y == n // 2 else middle[min(y, n - 1 - y)]
            else:
                phase = phases[n - 1 - y][n - 1 - x]
            size = amplitude(math.hypot(y - n / 2, x - n / 2))
            spectrum[(y + n // 2) % n, (x + n // 2) % n] = cmath.rect(size, phase)
    noise = np.fft.ifft2(spectrum).real
    return noise / noise.std()


def blue_noise(n: int, phases: Image, middle: Image) -> Image:
    return spectral_noise(n, phases, middle, lambda f: f)


def brownish_noise(image: Image, v: float, phases: Image, middles: Image) -> Image:
    noise = [
        spectral_noise(len(image), p, m, lambda f: 1 / (f**2 + 1))
        for p, m in zip(phases, middles, strict=True)
    ]
    return image + v * 64 / 10 * np.stack(noise, axis=2)


def checkerboard_cutout(image: Image, v: float, angle: float, cell: float, chances: Image) -> Image:
    def kernel(y: int, x: int) -> Any:
        a = (math.cos(angle) * y + math.sin(angle) * x) / cell
        b = (-math.sin(angle) * y + math.cos(angle) * x) / cell
        if int(a % 2) != int(b % 2) or chances[int(a)][int(b)] >= v / 10:
            return image[y, x]
        return np.full(3, 128.0)

    return over_pixels(len(image), kernel)


def antialiased(r0: int, c0: int, r1: int, c1: int) -> list[tuple[int, int, float]]:
    """Rows, columns and coverage of a line (Zingl 2012), by walking along it."""
    dc, dr = abs(c0 - c1), abs(r0 - r1)
    step_c, step_r = (1 if c0 < c1 else -1), (1 if r0 < r1 else -1)
    length = math.hypot(dc, dr) or 1.0
    error, r, c, found = dc - dr, r0, c0, []
    while True:
        found.append((r, c, 1 - abs(error - dc + dr) / length))
        before, column = error, c
        if 2 * before >= -dc:
            if c == c1:
                return found
            if before + dr < length:
                found.append((r + step_r, c, 1 - abs(before + dr) / length))
            error -= dr
            c += step_c
        if 2 * before <= dr:
            if r == r1:
                return found
            if dc - before < length:
                found.append((r, column + step_c, 1 - abs(dc - before) / length))
            error += dc
            r += step_r


def lines(
    image: Image, v: float, angle: float, variation: float, drawn: list[tuple[float, float, float]]
) -> Image:
    n = len(image)
    out = image.copy()
    for a, b, c in drawn[: int(v / 10 * n)]:
        row, column, turn = n * a, n * b, angle + 2 * math.pi * variation * (c - 0.5)
        down, across = math.cos(turn) * n, math.sin(turn) * n
        ends = int(row - down), int(column - across), int(row + down), int(column + across)
        before = out.copy()
        for y, x, covered in antialiased(*ends):
            if 0 <= y < n and 0 <= x < n:
                out[y, x] = (1 - covered) * before[y, x] + covered * 128
    return out


def bilinear(image: Image, y: float, x: float) -> Any:
    """Black outside."""
    total = np.zeros(3)
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            if 0 <= i < len(image) and 0 <= j < len(image):
                total += image[i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return total


def caustic_heights(n: int, time: float, size: float) -> Image:
    def kernel(y: int, x: int) -> float:
        p = [(v / size) % 1 * 6.28318530718 - 250 for v in (y, x)]
        a, b = p
        c = 1.0
        for k in range(5):
            t = time * (1 - 3.5 / (k + 1))
            a, b = (
                p[0] + math.cos(t - a) + math.sin(t + b),
                p[1] + math.sin(t - b) + math.cos(t + a),
            )
            c += 1 / math.hypot(p[0] / (math.sin(a + t) / 0.005), p[1] / (math.cos(b + t) / 0.005))
        return min(max(abs(1.17 - (c / 5) ** 1.4) ** 8, 0.0), 1.0)

    return ndimage.gaussian_filter(over_pixels(n, kernel), 1)


def refracted(normal: Image, eta: float) -> Image:
    """Snell's law for light from straight above, as a rotation away from the normal."""
    incident = np.array([0.0, 0.0, 1.0])
    if abs(incident @ normal) >= 1 - 1e-3:
        return incident
    angle = math.asin(math.sin(math.acos(incident @ normal)) / eta)
    axis = np.cross(incident, normal)
    sideways = np.cross(normal, axis / np.linalg.norm(axis))
    return math.cos(angle) * normal + math.sin(angle) * sideways


def caustic_refraction(image: Image, v: float, time: float, size: float) -> Image:
    n = len(image)
    heights = caustic_heights(n, time, size)

    def height(y: int, x: int) -> float:
        return heights[y, x] if 0 <= y < n and 0 <= x < n else 0.0

    def kernel(y: int, x: int) -> Any:
        north, south, west, east = height(y, x - 1), height(y, x + 1), height(y - 1, x), height(y + 1, x)
        normal = np.array([east - west, south - north, 1.0])
        way = np.round(refracted(normal / np.linalg.norm(normal), 4.0) * (v * 0.5 * n / 10), 3)
        light = (north - south + east - west) * (v * 2.0 / 10)
        return bilinear(image, y + way[0], x + way[1]) + 255 * light

    return over_pixels(n, kernel)


def ripple(image: Image, v: float, wavelengths: tuple[float, float], phases: tuple[float, float]) -> Image:
    n = len(image)
    amplitude = v * 0.025 / 10 * n

    def moved(at: int, axis: int) -> float:
        return at + amplitude * math.sin(2 * math.pi * at / wavelengths[axis] + phases[axis])

    return over_pixels(n, lambda y, x: bilinear(image, moved(y, 0), moved(x, 1)))


def pinch_and_twirl(image: Image, v: float, signs: Image) -> Image:
    """signs: of the cell in each row and column of the grid. Cells are worked on one after the other."""
    out, n = image.copy(), len(image)
    per_side = len(signs)
    cell = n // per_side
    radius = cell / 2

    def place(y: int, x: int, middle: tuple[float, float], sign: int) -> tuple[float, float]:
        down, across = y - middle[0], x - middle[1]
        distance = math.hypot(down, across)
        if distance > radius or round(distance, 3) == 0:
            return y, x
        pinch = math.sin(math.pi / 2 * distance / radius) ** -(v * 0.4 / 10 + 0.1)
        turn = sign * v * (math.pi / 2) / 10 * (1 - distance / radius) ** 2
        down, across = down * pinch, across * pinch
        return (
            middle[0] + down * math.cos(turn) - across * math.sin(turn),
            middle[1] + down * math.sin(turn) + across * math.cos(turn),
        )

    for j in range(per_side):
        for i in range(per_side):
            top, left = i * cell, j * cell
            middle = top + radius, left + radius
            block = [
                [bilinear(out, *place(y, x, middle, signs[i][j])) for x in range(left, left + cell)]
                for y in range(top, top + cell)
            ]
            out[top : top + cell, left : left + cell] = block
    return out


def circular_motion_blur(image: Image, v: float) -> Image:
    total, weights = np.zeros_like(image), 0.0
    for i in range(21):
        u = 2 * i / 20 - 1
        weight = math.exp(-2 * u**2)
        total += weight * ndimage.rotate(image, u * v * 15 / 10, reshape=False)
        weights += weight
    return total / weights


def transverse_chromatic_abberation(image: Image, v: float, order: list[int]) -> Image:
    """order: the colour that keeps its size, the one in between, the one that grows most."""
    n = len(image)
    scale = v * 0.5 / 10
    out = np.zeros_like(image)
    for colour, factor in zip(order, (1.0, 1 + scale / 2, 1 + scale), strict=True):
        zoomed = ndimage.zoom(image[:, :, colour], factor, prefilter=False)
        edge = (len(zoomed) - n) // 2
        out[:, :, colour] = zoomed[edge : edge + n, edge : edge + n]
    return out
