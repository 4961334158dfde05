"""Variance over seeds and over images: against runs drawn again and again, and against worked tables."""

from __future__ import annotations

import numpy as np
import pytest

from robobench.seeds import split


def runs(rng, seeds, images, of_seed, of_image, rest, again=1):
    """(again, seeds, images) values of runs: 0.5 + seed + image + rest, normal with those deviations."""
    return (
        0.5
        + of_seed * rng.normal(size=(again, seeds, 1))
        + of_image * rng.normal(size=(again, 1, images))
        + rest * rng.normal(size=(again, seeds, images))
    )


def test_the_parts_are_those_that_the_runs_were_made_of():
    rng = np.random.Generator(np.random.PCG64(11))
    found = [split(v) for v in runs(rng, 5, 80, 0.03, 0.2, 0.1, again=3000)]
    assert np.mean([f.between_seeds for f in found]) == pytest.approx(0.03**2, rel=0.05)
    assert np.mean([f.between_images for f in found]) == pytest.approx(0.2**2, rel=0.02)
    assert np.mean([f.rest for f in found]) == pytest.approx(0.1**2, rel=0.02)


def test_the_variances_of_the_scores_are_those_of_drawing_everything_again():
    rng = np.random.Generator(np.random.PCG64(12))
    many = runs(rng, 4, 60, 0.04, 0.2, 0.15, again=20_000)
    found = [split(v) for v in many[:3000]]
    assert np.mean([f.of_one for f in found]) == pytest.approx(many[:, 0].mean(axis=1).var(), rel=0.05)
    assert np.mean([f.of_mean for f in found]) == pytest.approx(many.mean(axis=(1, 2)).var(), rel=0.05)


def test_right_and_wrong_answers_are_taken_apart_too():
    """Hits of a model whose skill changes with the seed: of images drawn again, with the same few seeds."""
    rng = np.random.Generator(np.random.PCG64(13))
    hard = rng.normal(size=(4000, 1, 100))
    skill = 0.5 + 0.3 * rng.normal(size=(4000, 6, 1))
    hits = (skill - hard + rng.normal(size=(4000, 6, 100)) > 0).astype(float)
    found = [split(v) for v in hits]
    assert np.mean([f.of_one for f in found]) == pytest.approx(hits[:, 0].mean(axis=1).var(), rel=0.06)
    assert np.mean([f.image_part for f in found]) < 0.5 * np.mean([f.of_one for f in found])


def test_seeds_that_change_nothing_have_no_part():
    rng = np.random.Generator(np.random.PCG64(14))
    one = rng.random(50)
    found = split(np.stack([one, one, one]))
    assert found.between_seeds == 0
    assert found.rest == pytest.approx(0, abs=1e-30)
    assert found.image_part == pytest.approx(one.var(ddof=1) / 50)
    assert found.seed_share == 0


def test_what_is_below_nothing_is_nothing():
    rows = [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]
    found = split(rows)
    assert (found.between_seeds, found.between_images) == (0, 0)
    assert found.rest == pytest.approx(4 * 2 * 0.25 / 3)


def test_an_image_that_a_run_lacks_is_left_out_of_all():
    whole = np.array([[0.9, 0.5, 0.7], [0.7, 0.3, 0.6]])
    assert split(np.column_stack([whole, [np.nan, 5.0]])) == split(whole)


def test_one_seed_knows_its_images_only():
    found = split([[1.0, 0.0, 0.0, 1.0]])
    assert found.between_images == pytest.approx(1 / 3)
    assert np.isnan([found.between_seeds, found.rest, found.of_one, found.of_mean, found.seed_share]).all()


@pytest.mark.parametrize("values", [np.zeros((2, 0)), [[np.nan], [1.0]]])
def test_no_images_are_no_score(values):
    found = split(values)
    assert found.images == 0
    assert np.isnan([found.mean, found.image_part, found.of_one, found.of_mean]).all()


@pytest.mark.parametrize("values", [[1.0, 2.0], np.zeros((0, 3))])
def test_anything_but_a_table_is_refused(values):
    with pytest.raises(ValueError, match=r"split: expected values \(seeds, images\), got an array of shape"):
        split(values)
