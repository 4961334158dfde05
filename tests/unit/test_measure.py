"""What a network costs: multiply-accumulates against counting by hand and published figures, and the clock."""

from __future__ import annotations

import math
import time

import pytest
import torch
from torch import nn

from robobench.engine.measure import FEWEST, REPEATS, count_macs, measure, median_ends
from robobench.errors import ModelError
from tests.fakes import FakeModel


class Attention(nn.Module):
    """Four heads over the 49 patches of a 28 x 28 image, through torch's fused product."""

    def __init__(self, masked: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, 4)
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.masked = masked

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).reshape(len(x), -1, 3, 4, 8).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.masked)
        return self.out(mixed.transpose(1, 2).flatten(2)).mean(1)


ATTENTION = 49 * (48 * 32 + 32 * 96 + 32 * 32) + 2 * 4 * 49 * 49 * 8
LAYER = 49 * (48 * 32 + 4 * 32 * 32 + 2 * 32 * 64) + 2 * 49 * 49 * 32


class Tokens(nn.Module):
    """Patches through something that takes tokens (b, n, 32)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.patches, self.inner = nn.Conv2d(3, 32, 4, 4), inner

    def forward(self, x):
        return self.inner(self.patches(x).flatten(2).transpose(1, 2)).mean(1)


def flat(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten())


@pytest.mark.parametrize(
    ("module", "macs"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 10)), 3 * 28 * 28 * 10),
        (flat(nn.Conv2d(3, 8, 5, padding=2)), 28 * 28 * 8 * 3 * 25),
        (flat(nn.Conv2d(3, 8, 3, stride=2)), 13 * 13 * 8 * 3 * 9),
        (flat(nn.Conv2d(3, 12, 3, padding=1, groups=3)), 28 * 28 * 12 * 1 * 9),
        (flat(nn.Conv2d(3, 3, 7, padding=9, dilation=3, groups=3, bias=False)), 28 * 28 * 3 * 49),
        (flat(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)), 28 * 28 * 8 * 3),
        (Attention(), ATTENTION),
        (Attention(masked=True), ATTENTION),  # a mask saves nothing here: zeros are multiplied too
        (Tokens(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)), LAYER),
        (flat(nn.ReLU()), 0),
    ],
)  # fmt: skip
def test_macs_are_those_counted_by_hand(module, macs):
    assert count_macs(module.eval(), torch.zeros(1, 3, 28, 28)) == macs


def test_counting_leaves_torchs_fast_path_as_it_was():
    before = torch.backends.mha.get_fastpath_enabled()
    count_macs(nn.Flatten(), torch.zeros(1, 3, 4, 4))
    assert torch.backends.mha.get_fastpath_enabled() == before


@pytest.mark.parametrize(
    ("name", "published"),  # G: He 2015 by timm, Touvron 2021, Tolstikhin 2021, Tan 2019, Liu 2021
    [
        ("resnet50", 4.1),
        ("deit_small_patch16_224", 4.6),
        ("mixer_b16_224", 12.6),
        ("efficientnet_b0", 0.39),
        ("swin_tiny_patch4_window7_224", 4.5),
    ],
)
def test_macs_of_known_networks_are_the_published_ones(name, published):
    import timm

    with torch.device("meta"):
        module = timm.create_model(name).eval()
    found = count_macs(module, torch.empty(1, 3, 224, 224, device="meta")) / 1e9
    assert found == pytest.approx(published, rel=0.013)


@pytest.mark.parametrize("name", ["ViT_B_16", "ResNeXt50_32X4D", "MobileNet_V3_Large"])
def test_macs_are_those_that_torchvision_states(name):
    """Its ViT holds torch's own attention modules, which run as one operation outside of training."""
    import torchvision

    weights = next(iter(getattr(torchvision.models, f"{name}_Weights")))
    with torch.device("meta"):
        module = torchvision.models.get_model(name.lower()).eval()
    found = count_macs(module, torch.empty(1, 3, 224, 224, device="meta")) / 1e9
    assert found == pytest.approx(weights.meta["_ops"], abs=0.0006)


@pytest.mark.parametrize("count", range(6, 14))
def test_the_ends_of_the_median_are_those_of_the_sign_test(count):
    low, high = median_ends(count)
    assert low + high == count - 1

    def missed(rank: int) -> float:
        """How often the median lies outside of the ordered values from `rank` on, counted from both ends."""
        return 2 * sum(math.comb(count, k) for k in range(rank + 1)) / 2**count

    assert missed(low) <= 0.05
    assert missed(low + 1) > 0.05


class Slow(nn.Module):
    """Moves a clock on by so many seconds at each pass; the first passes take ten times as long."""

    def __init__(self, seconds: float, cold: int = 3) -> None:
        super().__init__()
        self.seconds, self.cold, self.now, self.sizes, self.grad = seconds, cold, 0.0, [], []

    def forward(self, x):
        if not torch.utils._python_dispatch._get_current_dispatch_mode():  # not while MACs are counted
            self.now += self.seconds * (10 if len(self.sizes) < self.cold else 1)
            self.sizes.append(len(x))
            self.grad.append(torch.is_inference_mode_enabled())
        return x.flatten(1)


@pytest.mark.parametrize(("seconds", "repeats"), [(0.01, REPEATS), (0.5, REPEATS), (9.0, FEWEST)])
def test_speed_is_batch_over_seconds_once_warm_and_patience_ends(seconds, repeats):
    module = Slow(seconds)
    found = measure(FakeModel(module), "cpu", batch_size=4, clock=lambda: module.now)
    assert found.images_per_second == pytest.approx(4 / seconds)
    assert found.low == pytest.approx(found.high)
    assert (found.repeats, found.batch_size, found.side, found.macs) == (repeats, 4, 224, None)
    assert set(module.sizes) == {4}
    assert all(module.grad), "a pass that was timed kept a graph"


def test_one_slow_repeat_moves_neither_the_median_nor_its_interval():
    module = Slow(1.0)
    times = iter([*range(9), *range(28, 99)])  # the second repeat takes 20 s
    found = measure(FakeModel(module), "cpu", batch_size=1, clock=lambda: float(next(times)))
    assert found.images_per_second == found.low == found.high == pytest.approx(1.0)


def test_a_real_network_is_measured_as_it_is():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = measure(FakeModel(module), "cpu", batch_size=2, clock=lambda: 50 * time.perf_counter())
    assert found.sound
    assert found.low <= found.images_per_second <= found.high
    assert found.macs == 222 * 222 * 4 * 3 * 9
    assert f"{torch.get_num_threads()} thread" in found.hardware
    assert found.peak_memory is None


def test_a_network_that_fails_says_what_was_tried():
    with pytest.raises(ModelError, match=r"5 images of 224x224 failed: RuntimeError: .*--batch-size"):
        measure(FakeModel(nn.Sequential(nn.Flatten(), nn.Linear(7, 2))), "cpu", batch_size=5)
