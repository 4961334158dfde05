"""The example factories do what they say, on real photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from robobench import registry
from robobench.images import apply_view
from robobench.specs import parse_spec
from robobench.types import View

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTOS = View(resize=256, crop=224, interpolation="bicubic")


def load(text: str):
    spec = parse_spec(f"{EXAMPLES}/{text}", code_source="python")
    source = registry.models.build("python")
    return source.load(source.identify(spec, allow_code=True), "cpu")


@pytest.mark.parametrize(
    ("name", "view"), [("lite0", None), ("lite0", PHOTOS), ("lite1", None), ("lite2", None)]
)
def test_efficientnet_lite_names_at_least_16_of_20_photos(name, view):
    handle = load(f"efficientnet_lite.py:{name}")
    photos = registry.data.build("samples", {"path": "imagenet"})
    index = photos.index()
    stored = np.stack([apply_view(photos.read(i), view or handle.card.view) for i in index.ids])
    pixels = torch.from_numpy(stored).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        found = handle.raw(pixels).argmax(1)
    assert int((found == torch.tensor(index.labels)).sum()) >= 16
    assert (handle.card.family, handle.outputs) == ("cnn", 1000)


def test_own_model():
    assert load("own_model.py:plain?width=8").raw(torch.rand(2, 3, 28, 28)).shape == (2, 10)
    handle = load("own_model.py:described")
    assert handle.card.view == View(size=28)
    assert not torch.equal(handle.raw(torch.zeros(1, 3, 28, 28)), handle.module(torch.zeros(1, 3, 28, 28)))
