"""Draws against a second implementation in numpy's uint32 and in Python's own integers."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import pytest
import torch

from robobench import draws as module
from robobench.draws import Draws, image_key

IDS = ("a.png", "b/ü.png", "c")
SHAPES = [(), (1,), (7,), (196,), (3, 5, 4), (2, 0), (3, 33, 31)]


def reference_key(*parts: str) -> int:
    data = b"".join(len(p.encode()).to_bytes(4, "little") + p.encode() for p in parts)
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def mix_python(x: int) -> int:
    """lowbias32, one word at a time."""
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ (x >> 16)


def word_python(key: int, position: int) -> int:
    return mix_python(mix_python((position * 0x9E3779B1 + key) % 2**32) ^ (key >> 32))


def words_numpy(key: int, count: int) -> np.ndarray:
    def mix(x: np.ndarray) -> np.ndarray:
        x = x ^ (x >> np.uint32(16))
        x = x * np.uint32(0x7FEB352D)
        x = x ^ (x >> np.uint32(15))
        x = x * np.uint32(0x846CA68B)
        return x ^ (x >> np.uint32(16))

    start = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(key & 0xFFFFFFFF)
    return mix(mix(start) ^ np.uint32(key >> 32))


def as_words(tensor: torch.Tensor) -> np.ndarray:
    return tensor.numpy().view(np.uint32)


@pytest.mark.parametrize("image", IDS)
def test_key_is_blake2b_of_length_prefixed_parts(image):
    assert image_key(3, "s.t", 1, 2, "mask", image) == reference_key("3", "s.t", "1", "2", "mask", image)


def test_key_depends_on_every_part():
    base = (0, "s", 0, 0, "n", "i")
    others = [(1, "s", 0, 0, "n", "i"), (0, "t", 0, 0, "n", "i"), (0, "s", 1, 0, "n", "i")]
    others += [(0, "s", 0, 1, "n", "i"), (0, "s", 0, 0, "m", "i"), (0, "s", 0, 0, "n", "j")]
    others += [(0, "sn", 0, 0, "", "i")]
    assert len({image_key(*p) for p in [base, *others]}) == len(others) + 1


def test_bits_equal_python_integers():
    drawn = as_words(Draws(7, "x.y", IDS).bits("n", 11))
    keys = Draws(7, "x.y", IDS).seeds("n")
    assert drawn.tolist() == [[word_python(k, p) for p in range(11)] for k in keys]


def test_the_stream_is_pinned():
    """Published numbers rest on these words: a change here is a change of every result."""
    drawn = Draws(7, "x.y", ("a.png",)).bits("n", 4)
    assert drawn.tolist() == [[2095730837, 1314214107, 1775344475, -1877587131]]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [8, 100, 1 << 18])
def test_bits_equal_numpy_whatever_the_block(shape, block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    made = Draws(1, "occlusion.random", IDS, occurrence=2, number=3)
    drawn = as_words(made.bits("cells", *shape))
    expected = [words_numpy(k, math.prod(shape)).reshape(shape) for k in made.seeds("cells")]
    np.testing.assert_array_equal(drawn, np.stack(expected))


def test_bits_beyond_one_block_at_image_size(monkeypatch):
    made = Draws(0, "s", ("one", "two"))
    monkeypatch.setattr(module, "_BLOCK", 1 << 16)
    drawn = as_words(made.bits("n", 3, 224, 224)).reshape(2, -1)
    np.testing.assert_array_equal(drawn, np.stack([words_numpy(k, 150528) for k in made.seeds("n")]))


@pytest.mark.parametrize("shape", SHAPES)
def test_uniform_is_the_upper_24_bits(shape):
    made = Draws(5, "s", IDS)
    drawn = made.uniform("u", *shape)
    words = as_words(made.bits("u", *shape))
    assert drawn.dtype == torch.float32
    np.testing.assert_array_equal(drawn.numpy(), (words >> 8).astype(np.float64) / 2**24)


@pytest.mark.parametrize("shape", [(), (1,), (2,), (7,), (3, 33, 31)])
def test_normal_is_box_muller_of_two_halves(shape):
    made = Draws(5, "s", IDS)
    count = math.prod(shape)
    half = (count + 1) // 2
    words = as_words(made.bits("z", 2, half)).astype(np.float64) // 256
    radius = np.sqrt(-2 * np.log((words[:, 0] + 1) / 2**24))
    angle = 2 * np.pi * words[:, 1] / 2**24
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :count]
    drawn = made.normal("z", *shape)
    assert drawn.shape == (3, *shape)
    assert drawn.dtype == torch.float32
    np.testing.assert_allclose(drawn.reshape(3, -1).numpy(), expected, atol=2e-6, rtol=2e-6)


def test_integers_are_the_scaled_words():
    made = Draws(5, "s", IDS)
    words = as_words(made.bits("k", 50)).astype(np.uint64)
    expected = -3 + (words * np.uint64(10) >> np.uint64(32)).astype(np.int64)
    np.testing.assert_array_equal(made.integers("k", -3, 7, 50).numpy(), expected)


def test_integers_refuse_an_empty_range():
    with pytest.raises(ValueError, match="high must be above low, got low=3, high=3"):
        Draws(0, "s", IDS).integers("k", 3, 3)


def test_permutation_sorts_the_words_as_signed_numbers():
    made = Draws(5, "s", IDS)
    words = made.bits("p", 196).numpy()
    drawn = made.permutation("p", 196)
    np.testing.assert_array_equal(drawn.numpy(), np.argsort(words, axis=1, kind="stable"))
    assert all(sorted(row.tolist()) == list(range(196)) for row in drawn)


def test_box_muller_takes_images_together_as_other_devices_do():
    made = Draws(9, "s", IDS)
    together = made._integers24("z", 2 * 40).view(3, 2, 40)
    out = torch.empty_like(together)
    module._box_muller(together, torch.empty_like(together[:, 0]), out)
    torch.testing.assert_close(out.flatten(1), made.normal("z", 80), atol=1e-6, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("kind", ["bits", "uniform", "normal"])
def test_an_accelerator_draws_the_same(kind):
    here = getattr(Draws(9, "s", IDS), kind)("n", 3, 65, 33)
    there = getattr(Draws(9, "s", IDS, "cuda"), kind)("n", 3, 65, 33).cpu()
    if kind == "normal":
        torch.testing.assert_close(there, here, atol=1e-6, rtol=1e-6)
    else:
        assert torch.equal(there, here)


@pytest.mark.parametrize("kind", ["bits", "uniform", "normal"])
@pytest.mark.parametrize("shape", [(7,), (3, 33, 31)])
def test_an_image_draws_the_same_in_any_company(kind, shape):
    ids = tuple(f"{i}.png" for i in range(40))
    together = getattr(Draws(2, "s", ids), kind)("n", *shape)
    for row in (0, 17, 39):
        alone = getattr(Draws(2, "s", (ids[row],)), kind)("n", *shape)
        assert torch.equal(alone[0], together[row])
    backwards = getattr(Draws(2, "s", ids[::-1]), kind)("n", *shape)
    assert torch.equal(backwards.flip(0), together)


def test_select_and_at_change_only_what_they_say():
    made = Draws(2, "s", IDS, occurrence=1)
    assert torch.equal(made.select(["c"]).bits("n", 9)[0], made.bits("n", 9)[2])
    assert not torch.equal(made.at(1).bits("n", 9), made.bits("n", 9))
    assert torch.equal(made.at(1).bits("n", 9), Draws(2, "s", IDS, occurrence=1, number=1).bits("n", 9))


def test_a_longer_draw_begins_like_a_shorter_one():
    made = Draws(2, "s", IDS)
    assert torch.equal(made.bits("n", 500)[:, :200], made.bits("n", 200))
    assert torch.equal(made.uniform("n", 500)[:, :200], made.uniform("n", 200))


def test_no_images_and_no_numbers():
    assert Draws(0, "s", ()).bits("n", 4).shape == (0, 4)
    assert Draws(0, "s", ()).normal("n", 3, 2).shape == (0, 3, 2)
    assert Draws(0, "s", IDS).normal("n", 0).shape == (3, 0)
    assert Draws(0, "s", IDS).permutation("n", 0).shape == (3, 0)


def test_a_memo_gives_the_severities_of_a_batch_one_array():
    memo: dict[Any, torch.Tensor] = {}
    made = Draws(2, "s", IDS, memo=memo)
    first = made.normal("n", 3, 4)
    assert made.normal("n", 3, 4) is first
    assert Draws(2, "s", IDS, memo=memo).normal("n", 3, 4) is first
    for other in (made.at(1), Draws(3, "s", IDS, memo=memo), Draws(2, "t", IDS, memo=memo)):
        assert not torch.equal(other.normal("n", 3, 4), first)
    assert made.uniform("n", 3, 4) is not first
    assert Draws(2, "s", IDS).normal("n", 3, 4) is not first
    assert made.select(IDS).memo is None


def test_a_memo_does_not_grow_without_end():
    memo: dict[Any, torch.Tensor] = {}
    made = Draws(2, "s", IDS, memo=memo)
    for i in range(200):
        made.bits(f"n{i}", 2)
    assert len(memo) <= module._MEMO_LIMIT


# Statistics with fixed seeds: bounds are five standard errors, so these fail for a real defect only.
N = 3 * 224 * 224


def images(count: int) -> Draws:
    return Draws(11, "statistics", tuple(f"{i}" for i in range(count)))


def test_uniform_moments_within_and_between_images():
    drawn = images(4).uniform("u", N).double()
    assert (drawn.mean(1) - 0.5).abs().max() < 5 * math.sqrt(1 / 12 / N)
    assert (drawn.var(1) - 1 / 12).abs().max() < 5 * math.sqrt(1 / 180 / N)
    between = np.corrcoef(drawn.numpy()) - np.eye(4)
    assert np.abs(between).max() < 5 / math.sqrt(N)
    first = images(4000).uniform("u").double()  # the first number of each of many images
    assert abs(first.mean() - 0.5) < 5 * math.sqrt(1 / 12 / 4000)


def test_normal_moments():
    drawn = images(4).normal("z", N).double()
    assert drawn.mean(1).abs().max() < 5 / math.sqrt(N)
    assert (drawn.pow(2).mean(1) - 1).abs().max() < 5 * math.sqrt(2 / N)
    assert drawn.pow(3).mean(1).abs().max() < 5 * math.sqrt(15 / N)
    assert (drawn.pow(4).mean(1) - 3).abs().max() < 5 * math.sqrt(96 / N)
    assert torch.isfinite(drawn).all()
    pairs = drawn.view(4, 2, -1)  # the cosine and the sine of one pair do not correlate
    assert (pairs[:, 0] * pairs[:, 1]).mean(1).abs().max() < 5 / math.sqrt(N / 2)


@pytest.mark.parametrize("lag", [1, 2, 3, 224, 224 * 224])
def test_no_autocorrelation(lag):
    drawn = images(2).uniform("u", N).double() - 0.5
    product = (drawn[:, lag:] * drawn[:, :-lag]).mean(1) * 12
    assert product.abs().max() < 5 / math.sqrt(N - lag)


@pytest.mark.parametrize("shift", [0, 8, 16, 24])
def test_every_byte_is_even(shift):
    words = as_words(images(2).bits("b", N)).astype(np.uint64)
    counts = np.bincount(((words >> np.uint64(shift)) & np.uint64(255)).ravel().astype(int), minlength=256)
    expected = 2 * N / 256
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - 255) < 5 * math.sqrt(2 * 255)


def test_integers_are_even():
    counts = torch.bincount(images(1).integers("k", 0, 7, 70_000).flatten(), minlength=7).double()
    assert len(counts) == 7
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 6 + 5 * math.sqrt(12)


def test_permutations_are_even():
    places = images(6000).permutation("p", 5)
    for position in range(5):
        counts = torch.bincount(places[:, position], minlength=5).double()
        assert ((counts - 1200) ** 2 / 1200).sum() < 4 + 5 * math.sqrt(8)
