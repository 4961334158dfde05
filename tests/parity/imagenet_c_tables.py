"""The parameters of ImageNet-C's 19 corruptions, severities 1 to 5, for each of the four published sizes.

Typed from the published scripts, a second time: nothing here comes from robobench.
"""

from __future__ import annotations

from typing import Any

IMAGENET, INCEPTION, TINY, CIFAR = "imagenet-224", "imagenet-299", "tiny-imagenet", "cifar"
SIDES = {IMAGENET: 224, INCEPTION: 299, TINY: 64, CIFAR: 32}
PLASMA_SIDES = {IMAGENET: 256, INCEPTION: 512, TINY: 64, CIFAR: 32}  # of fog's map
FROST_SCALES = {IMAGENET: 1.0, INCEPTION: 1.0, TINY: 0.3, CIFAR: 0.2}  # of frost photos before the crop

Levels = tuple[Any, Any, Any, Any, Any]


def everywhere(*levels: Any) -> dict[str, Levels]:
    return dict.fromkeys(SIDES, levels)  # type: ignore[arg-type]


def _zooms(*ends: tuple[int, float]) -> Levels:
    """Factors 1, 1 + step, ... of the given counts, as numpy's arange rounds them.

    The last bit counts: 26 pixels times 1.25 are 32.5 and round to 32, times 1.2500000000000002 to 33.
    """
    return tuple([1 + ((1 + step) - 1) * i for i in range(count)] for count, step in ends)  # type: ignore[return-value]


def _elastic(side: int, *shares: tuple[float, float, float]) -> Levels:
    """Strength and width of the displacement, and how far anchors move, as shares of a side."""
    return tuple(tuple(side * v for v in three) for three in shares)  # type: ignore[return-value]


_LARGE = ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
_SMALL_ZOOMS = _zooms((7, 0.01), (12, 0.01), (16, 0.01), (21, 0.01), (26, 0.01))
_SNOW = ((0.1, 0.2, 1, 0.6, 8, 3), (0.1, 0.2, 1, 0.5, 10, 4), (0.15, 0.3, 1.75, 0.55, 10, 4),
         (0.25, 0.3, 2.25, 0.6, 12, 6), (0.3, 0.3, 1.25, 0.65, 14, 12))  # fmt: skip


def _snow(*keep: float) -> Levels:
    return tuple((*six, k) for six, k in zip(_SNOW, keep, strict=True))  # type: ignore[return-value]


TABLES: dict[str, dict[str, Levels]] = {
    "gaussian_noise": {
        IMAGENET: (0.08, 0.12, 0.18, 0.26, 0.38),
        INCEPTION: (0.09, 0.13, 0.19, 0.27, 0.40),
        TINY: (0.04, 0.08, 0.12, 0.15, 0.18),
        CIFAR: (0.04, 0.06, 0.08, 0.09, 0.10),
    },
    "shot_noise": {
        IMAGENET: (60, 25, 12, 5, 3),
        INCEPTION: (50, 20, 10, 5, 3),
        TINY: (250, 100, 50, 30, 15),
        CIFAR: (500, 250, 100, 75, 50),
    },
    "impulse_noise": {
        IMAGENET: (0.03, 0.06, 0.09, 0.17, 0.27),
        INCEPTION: (0.04, 0.07, 0.10, 0.18, 0.28),
        TINY: (0.01, 0.02, 0.05, 0.08, 0.14),
        CIFAR: (0.01, 0.02, 0.03, 0.05, 0.07),
    },
    "speckle_noise": {
        IMAGENET: (0.15, 0.2, 0.35, 0.45, 0.6),
        INCEPTION: (0.16, 0.21, 0.36, 0.46, 0.61),
        TINY: (0.15, 0.2, 0.25, 0.3, 0.35),
        CIFAR: (0.06, 0.1, 0.12, 0.16, 0.2),
    },
    "gaussian_blur": {
        IMAGENET: (1, 2, 3, 4, 6),
        INCEPTION: (1.5, 2.5, 3.5, 4.5, 6.5),
        TINY: (0.5, 0.75, 1, 1.25, 1.5),
        CIFAR: (0.4, 0.6, 0.7, 0.8, 1),
    },
    "defocus_blur": {  # radius, softness
        IMAGENET: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        INCEPTION: ((4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)),
        TINY: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        CIFAR: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    },
    "glass_blur": {  # sigma, furthest step, rounds
        IMAGENET: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        INCEPTION: ((0.8, 1, 3), (1, 3, 1), (1.1, 2, 4), (1.2, 4, 2), (1.6, 5, 2)),
        TINY: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        CIFAR: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    },
    "motion_blur": {  # radius, sigma
        IMAGENET: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        INCEPTION: ((12, 4), (17, 6), (17, 9), (17, 13), (22, 16)),
        TINY: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        CIFAR: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    },
    "zoom_blur": {  # factors
        IMAGENET: (_L := _zooms((12, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03))),
        INCEPTION: _L,
        TINY: _SMALL_ZOOMS,
        CIFAR: _SMALL_ZOOMS,
    },
    "snow": {  # mean, deviation, zoom, threshold, radius, sigma, share of the image that stays
        IMAGENET: (_S := ((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                          (0.55, 0.3, 4, 0.9, 12, 8, 0.7), (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                          (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55))),
        INCEPTION: _S,
        TINY: _snow(0.8, 0.8, 0.7, 0.65, 0.6),
        CIFAR: _snow(0.95, 0.9, 0.9, 0.85, 0.8),
    },
    "frost": {  # weights of the image and of the frost
        IMAGENET: (_F := ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))),
        INCEPTION: _F,
        TINY: ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
        CIFAR: ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    },
    "fog": {  # thickness, decay
        IMAGENET: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        INCEPTION: ((1.5, 2), (2, 2), (2.5, 1.8), (2.5, 1.6), (3, 1.5)),
        TINY: ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        CIFAR: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    },
    "brightness": {
        **everywhere(0.1, 0.2, 0.3, 0.4, 0.5),
        CIFAR: (0.05, 0.1, 0.15, 0.2, 0.3),
    },
    "contrast": {
        **everywhere(0.4, 0.3, 0.2, 0.1, 0.05),
        CIFAR: (0.75, 0.5, 0.4, 0.3, 0.15),
    },
    "saturate": {  # factor, summand
        **everywhere((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        TINY: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        CIFAR: ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    },
    "jpeg_compression": {
        IMAGENET: (25, 18, 15, 10, 7),
        INCEPTION: (23, 16, 13, 8, 5),
        TINY: (65, 58, 50, 40, 25),
        CIFAR: (80, 65, 58, 50, 40),
    },
    "pixelate": {
        IMAGENET: (0.6, 0.5, 0.4, 0.3, 0.25),
        INCEPTION: (0.5, 0.4, 0.3, 0.25, 0.2),
        TINY: (0.9, 0.8, 0.7, 0.6, 0.5),
        CIFAR: (0.95, 0.9, 0.85, 0.75, 0.65),
    },
    "elastic_transform": {  # strength, width, anchors, in pixels
        IMAGENET: _elastic(244, *_LARGE),  # 244, not 224: as published
        INCEPTION: _elastic(360, *_LARGE),
        TINY: _elastic(64, (0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
        CIFAR: _elastic(32, (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    },
    "spatter": {  # mean, deviation, sigma, threshold, strength or mud's sigma, whether it is mud
        IMAGENET: ((0.65, 0.3, 4, 0.69, 0.6, 0), (0.65, 0.3, 3, 0.68, 0.6, 0), (0.65, 0.3, 2, 0.68, 0.5, 0),
                   (0.65, 0.3, 1, 0.65, 1.5, 1), (0.67, 0.4, 1, 0.65, 1.5, 1)),
        INCEPTION: ((0.65, 0.3, 4, 0.69, 0.9, 0), (0.65, 0.3, 3.5, 0.68, 0.9, 0), (0.65, 0.3, 3, 0.68, 0.8, 0),
                    (0.65, 0.3, 1.2, 0.65, 1.8, 1), (0.67, 0.4, 1.2, 0.65, 1.8, 1)),
        TINY: ((0.62, 0.1, 0.7, 0.7, 0.6, 0), (0.65, 0.1, 0.8, 0.7, 0.6, 0), (0.65, 0.3, 1, 0.69, 0.6, 0),
               (0.65, 0.1, 0.7, 0.68, 0.6, 1), (0.65, 0.1, 0.5, 0.67, 0.6, 1)),
        CIFAR: ((0.62, 0.1, 0.7, 0.7, 0.5, 0), (0.65, 0.1, 0.8, 0.7, 0.5, 0), (0.65, 0.3, 1, 0.69, 0.5, 0),
                (0.65, 0.1, 0.7, 0.69, 0.6, 1), (0.65, 0.1, 0.5, 0.68, 0.6, 1)),
    },
}  # fmt: skip
