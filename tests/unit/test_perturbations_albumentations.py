"""Any transform of albumentations: the list is the package's, what is wrong is refused, nothing leaks."""

from __future__ import annotations

import inspect
import os
import random
import subprocess
import sys

import albumentations
import numpy as np
import pytest
import torch

from robobench.codecs import to_uint8
from robobench.errors import BadParameter
from robobench.perturbations.albumentations import CATALOGUE, REFUSED, make
from robobench.registry import perturbations
from tests.fakes import make_batch, make_draws

NAME = "albumentations.any"
NOT_FOR_IMAGES = {"p", "strict", "mask_interpolation", "fill_mask", "keypoint_remapping_method"}
NOT_FOR_IMAGES |= {"mask_drop_value", "mask", "mask_params"}
BASES = {"BasicTransform", "DualTransform", "ImageOnlyTransform", "Transform3D", "BaseCompose"}
NEEDED = {
    "CropAndPad": {"percent": 0.1},
    "GridElasticDeform": {"num_grid_xy": [4, 4], "magnitude": 5},
}


def build(transform, **params):
    return perturbations.build(NAME, {"transform": transform, "params": params})


def in_package():
    """Every transform and composition of the installed package."""
    kinds = (albumentations.BasicTransform, albumentations.BaseCompose)
    found = {n: getattr(albumentations, n) for n in dir(albumentations)}
    return {n: c for n, c in found.items() if inspect.isclass(c) and issubclass(c, kinds) and n not in BASES}


def test_everything_in_the_package_is_offered_or_refused():
    assert set(in_package()) == set(CATALOGUE) | set(REFUSED)
    assert not set(CATALOGUE) & set(REFUSED)


@pytest.mark.parametrize("transform", CATALOGUE)
def test_the_parameters_are_those_of_the_package(transform):
    signature = inspect.signature(in_package()[transform].__init__).parameters
    assert set(CATALOGUE[transform].split()) == set(signature) - NOT_FOR_IMAGES - {"self"}


@pytest.mark.parametrize(
    "transform", sorted(set(CATALOGUE) - {"PiecewiseAffine", "Superpixels"})
)  # slow ones
def test_every_transform_runs_and_depends_on_the_image_alone(transform):
    step = build(transform, **NEEDED.get(transform, {}))
    batch = make_batch(3, 48)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    out = step(batch, make_draws(batch, NAME)).pixels
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]
    assert out.shape == batch.pixels.shape
    assert torch.equal((out * 255).round() / 255, out)
    part = batch.select([2, 0])
    assert torch.equal(step(part, make_draws(part, NAME)).pixels, out[[2, 0]])


def test_the_result_is_the_package_s_own_with_the_image_s_seed():
    batch = make_batch(2, 40)
    draws = make_draws(batch, NAME)
    out = build("GaussNoise", std_range=[0.2, 0.3])(batch, draws).pixels
    for image, seed, found in zip(
        to_uint8(batch.pixels, "round"), draws.seeds("transform"), out, strict=True
    ):
        transform = albumentations.GaussNoise(std_range=(0.2, 0.3), p=1)
        transform.set_random_seed(seed)
        expected = transform(image=image)["image"]
        np.testing.assert_array_equal((found * 255).round().numpy(), expected.transpose(2, 0, 1))


def test_colours_stay_in_rgb_order_and_pixels_in_8_bits():
    batch = make_batch(1, 8)
    out = build("ToGray")(batch, make_draws(batch)).pixels
    steps = (batch.pixels * 255).round()
    grey = (steps * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    assert ((out[:, 0] * 255) - grey).abs().max() <= 0.51


def test_images_are_always_transformed():
    batch = make_batch(40, 8)
    flipped = build("HorizontalFlip")(batch, make_draws(batch)).pixels
    assert (flipped.flip(3) - batch.pixels).abs().max() <= 0.5001 / 255


@pytest.mark.parametrize(
    ("transform", "params", "message"),
    [
        ("MotionBlurr", {}, "transform: albumentations has no 'MotionBlurr'; did you mean 'MotionBlur' or"),
        ("motionblur", {}, "transform: albumentations has no 'motionblur'; did you mean 'MotionBlur'?"),
        ("Resize", {}, "transform: Resize is not offered: it changes the size"),
        ("Lambda", {}, "transform: Lambda is not offered: it runs code"),
        ("Compose", {}, "transform: Compose is not offered: name several steps"),
        ("MotionBlur", {"blur": 3}, "MotionBlur: unknown parameter 'blur'; known: allow_shifted"),
        ("MotionBlur", {"p": 0.5}, "MotionBlur: 'p' cannot be set: every image is transformed"),
        ("ToSepia", {"alpha": 1}, "ToSepia: unknown parameter 'alpha'; it takes none"),
    ],
)
def test_wrong_names_are_refused_when_the_step_is_built(transform, params, message):
    with pytest.raises(BadParameter) as caught:
        build(transform, **params)
    assert str(caught.value).startswith(f"{NAME}: {message}")


@pytest.mark.parametrize(
    ("transform", "params", "message"),
    [
        ("ImageCompression", {"quality_range": [0, 200]}, "quality_range.*must be >= 1 and <= 100"),
        ("RandomRain", {"rain_type": "cats"}, "rain_type.*'drizzle'"),
        ("MotionBlur", {"blur_limit": [4, 6]}, "blur_limit.*must be odd"),  # the package only warns
        ("MotionBlur", {"blur_limit": "wide"}, "blur_limit"),
        ("Rotate", {"limit": 10, "interpolation": 99}, "interpolation"),
        ("CropAndPad", {}, "px and percent"),
    ],
)
def test_wrong_values_are_refused_in_one_line(transform, params, message):
    step = build(transform, **params)
    batch = make_batch(1, 32)
    with pytest.raises(
        BadParameter, match=f"^{NAME}: {transform}: refused by albumentations .*{message}"
    ) as caught:
        step(batch, make_draws(batch))
    assert "\n" not in str(caught.value)
    assert "http" not in str(caught.value)


def test_a_transform_that_changes_the_size_says_so():
    batch = make_batch(1, 32)
    step = build("CropAndPad", px=4, keep_size=False)
    with pytest.raises(
        BadParameter, match="CropAndPad: expected an 8-bit image of 32x32x3 to stay one, got uint8 of 40x40x3"
    ):
        step(batch, make_draws(batch))


def test_a_transform_that_fails_on_a_size_says_so():
    batch = make_batch(1, 32)
    with pytest.raises(BadParameter, match=r"XYMasking: failed on an image of 32x32: .*out of"):
        build("XYMasking", num_masks_x=1, mask_x_length=40)(batch, make_draws(batch))


def test_building_a_step_imports_nothing_heavy():
    code = """
import sys
from robobench.registry import perturbations
perturbations.build("albumentations.any", {"transform": "Blur"})
perturbations.build("camera.rain", {"severity": 3})
assert not {"albumentations", "torch", "cv2", "scipy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_package_is_told_not_to_ask_the_network(monkeypatch):
    monkeypatch.delenv("NO_ALBUMENTATIONS_UPDATE")
    make("Blur", {})
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"


def test_a_transform_is_made_to_be_always_applied():
    assert make("Blur", {"blur_limit": [3, 3]}).p == 1
