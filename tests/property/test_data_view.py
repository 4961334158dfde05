"""The view equals torchvision's Resize and CenterCrop on Pillow images, whatever the sizes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from robobench.images import apply_view
from robobench.types import Interpolation, View
from tests.data_fixtures import picture

_side = st.integers(1, 70)
_modes: list[Interpolation] = ["nearest", "bilinear", "bicubic", "lanczos", "box"]


@settings(max_examples=150, deadline=None)
@given(
    _side,
    _side,
    st.none() | _side,
    st.none() | _side,
    st.none() | _side,
    st.sampled_from(_modes),
    st.integers(0, 9),
)
def test_view_equals_torchvision(
    height: int,
    width: int,
    resize: int | None,
    crop: int | None,
    size: int | None,
    mode: Interpolation,
    seed: int,
) -> None:
    image = picture(height, width, seed)
    steps: list[object] = []
    if resize is not None:
        steps.append(Resize(resize, InterpolationMode(mode)))
    if size is not None:
        steps.append(Resize((size, size), InterpolationMode(mode)))
    if crop is not None:
        steps.append(CenterCrop(crop))
    expected = np.asarray(Compose(steps)(Image.fromarray(image)))
    np.testing.assert_array_equal(apply_view(image, View(resize, crop, size, mode)), expected)
