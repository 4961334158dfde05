"""The handle against the libraries' own pipelines: the same logits, the same pixels."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image

from robobench.images import apply_view
from robobench.models.timm import native_view
from robobench.models.torchvision import native_view as torchvision_view
from robobench.registry import models
from robobench.specs import parse_spec
from robobench.types import View

SIZES = [(64, 97), (300, 300), (251, 180), (40, 500)]  # h, w
CONFIGS = [
    {"input_size": (3, 224, 224), "crop_pct": 0.9, "interpolation": "bicubic", "crop_mode": "center"},
    {"input_size": (3, 224, 224), "crop_pct": 0.875, "interpolation": "bilinear", "crop_mode": "center"},
    {"input_size": (3, 96, 96), "crop_pct": 1.0, "interpolation": "lanczos", "crop_mode": "center"},
    {"input_size": (3, 160, 160), "crop_pct": 0.95, "interpolation": "bicubic", "crop_mode": "squash"},
    {"input_size": (3, 64, 64), "crop_pct": 1.0, "interpolation": "bicubic", "crop_mode": "squash"},
]


def load(text: str):
    spec = parse_spec(text)
    source = models.build(spec.source)
    return source.load(source.identify(spec, allow_code=False), "cpu")


def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in SIZES]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_native_view_gives_the_pixels_of_timms_evaluation_transform(config):
    mean, std = (0.0,) * 3, (1.0,) * 3
    theirs = timm.data.create_transform(**config, mean=mean, std=std, is_training=False)
    view = native_view(config)
    for image in images():
        expected = theirs(Image.fromarray(image))
        ours = torch.from_numpy(apply_view(image, view)).permute(2, 0, 1).float() / 255
        assert torch.allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize(
    "change", [{"crop_mode": "border"}, {"input_size": (3, 224, 192)}, {"interpolation": "random"}]
)
def test_what_a_view_cannot_say_is_no_view(change):
    assert native_view({**CONFIGS[0], **change}) is None


@pytest.mark.parametrize("name", ["resnet50", "vit_b_16", "efficientnet_b1", "convnext_tiny"])
def test_a_native_view_gives_the_pixels_of_torchvisions_preset(name):
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (preset.mean, preset.std))
    for image in images():
        expected = preset(Image.fromarray(image)) * std + mean
        ours = torch.from_numpy(apply_view(image, torchvision_view(preset))).permute(2, 0, 1).float() / 255
        assert torch.allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["resnet18", "vit_tiny_patch16_224", "mixer_s32_224", "tf_efficientnet_lite0", "convnext_atto"]
)
def test_logits_are_timms_own_on_normalised_pixels(name):
    handle = load(f"timm:{name}?pretrained=false&num_classes=10")
    theirs = timm.create_model(name, pretrained=False, num_classes=10).eval()
    theirs.load_state_dict(handle.module.state_dict())
    config = timm.data.resolve_model_data_config(theirs)
    transform = timm.data.create_transform(**config, is_training=False)
    stored = images()[:2]
    seen = [torch.from_numpy(apply_view(i, handle.card.view)).permute(2, 0, 1).float() / 255 for i in stored]
    with torch.inference_mode():
        expected = theirs(torch.stack([transform(Image.fromarray(i)) for i in stored]))
        ours = handle.raw(torch.stack(seen))
    assert torch.allclose(ours, expected, atol=1e-5, rtol=1e-5)
    assert handle.card.parameters == sum(p.numel() for p in theirs.parameters())


def test_logits_are_torchvisions_own_on_normalised_pixels():
    handle = load("torchvision:resnet18?weights=none")
    theirs = torchvision.models.resnet18(weights=None).eval()
    theirs.load_state_dict(handle.module.state_dict())
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    assert handle.card.view == View(resize=256, crop=224, interpolation="bilinear")
    image = images()[2]
    seen = torch.from_numpy(apply_view(image, handle.card.view)).permute(2, 0, 1).float() / 255
    with torch.inference_mode():
        assert torch.allclose(handle.raw(seen[None]), theirs(preset(Image.fromarray(image))[None]), atol=1e-5)
