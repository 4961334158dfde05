"""Variation over seeds kept apart from variation over images.

A model that was trained again, or a perturbation that was drawn again, answers the same images a little
otherwise. How far its score would move with another seed, and how far with other images, are two questions
with two answers; more images make the second small and leave the first as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Split:
    """The variance of a score over runs that differ in their seed, taken apart.

    mean: the score over all runs. between_seeds: the variance of what a seed adds to every image's value;
    between_images: that of what an image is worth under every seed; rest: that of a single answer beyond
    both. NaN where there are too few seeds or images to tell.
    """

    mean: float
    seeds: int
    images: int
    between_seeds: float
    between_images: float
    rest: float

    @property
    def image_part(self) -> float:
        """The variance of one run's score over other images of the same number."""
        return (self.between_images + self.rest) / self.images if self.images else np.nan

    @property
    def of_one(self) -> float:
        """The variance of one run's score over other seeds and other images."""
        return self.between_seeds + self.image_part

    @property
    def of_mean(self) -> float:
        """The variance of the mean score over other seeds and other images, as many as there are."""
        if not self.images:
            return np.nan
        among_seeds = (self.between_seeds + self.rest / self.images) / self.seeds
        return among_seeds + self.between_images / self.images

    @property
    def seed_share(self) -> float:
        """Which share of the variance of one run's score the seeds have."""
        return self.between_seeds / self.of_one if self.of_one > 0 else np.nan


def split(values: ArrayLike) -> Split:
    """Take a score's variance apart: values (seeds, images), what each run says of the same images.

    A value is the score's mean + what its seed adds + what its image adds + a rest, each with a variance
    of its own; the three are estimated from the mean squares of the two-way table (random-effects analysis of
    variance; S. R. Searle, G. Casella and C. E. McCulloch, Variance Components, 1992). An estimate below 0 is
    given as 0. An image that a run has no value of (NaN) is left out of all. Raises ValueError unless
    values is a table with a run to each row.

    >>> same = np.array([[1, 1, 0, 0], [1, 1, 0, 0]])
    >>> found = split(same)
    >>> found.between_seeds, round(found.image_part, 4), round(found.of_mean, 4)
    (0.0, 0.0833, 0.0833)
    >>> shifted = split([[0.9, 0.5, 0.7], [0.7, 0.3, 0.5]])
    >>> round(shifted.between_seeds, 3), round(shifted.between_images, 3), round(shifted.seed_share, 3)
    (0.02, 0.04, 0.6)
    """
    given = np.asarray(values, np.float64)
    if given.ndim != 2 or not given.shape[0]:
        raise ValueError(f"split: expected values (seeds, images), got an array of shape {given.shape}")
    table = given[:, ~np.isnan(given).any(axis=0)]
    seeds, images = table.shape
    if not images:
        return Split(np.nan, seeds, 0, np.nan, np.nan, np.nan)
    mean = float(table.mean())
    of_seeds, of_images = table.mean(axis=1) - mean, table.mean(axis=0) - mean
    if seeds == 1 or images == 1:
        between = float((of_images**2).sum()) / (images - 1) if images > 1 else np.nan
        return Split(mean, seeds, images, np.nan, between, np.nan)
    left = table - mean - of_seeds[:, None] - of_images
    rest = float((left**2).sum()) / ((seeds - 1) * (images - 1))
    by_seed = images * float((of_seeds**2).sum()) / (seeds - 1)
    by_image = seeds * float((of_images**2).sum()) / (images - 1)
    return Split(
        mean, seeds, images, max(0.0, (by_seed - rest) / images), max(0.0, (by_image - rest) / seeds), rest
    )
