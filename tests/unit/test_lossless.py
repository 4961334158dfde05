"""Kept images come back bit by bit, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from robobench.lossless import Damaged, Kept, names_in, pack, unpack


def same_bits(one, two) -> bool:
    return one.dtype == two.dtype == np.float32 and one.tobytes() == two.tobytes()


@given(
    arrays.arrays(
        np.uint32,
        st.tuples(st.just(3), st.integers(1, 9), st.integers(1, 9)),
        elements=st.integers(0, 2**32 - 1),
    )
)
@settings(max_examples=60, deadline=None)
def test_any_bits_come_back(bits):
    pixels = bits.view(np.float32)  # NaNs with a payload, denormals and minus zero among them
    assert same_bits(unpack(pack(pixels), pixels.shape), pixels)


def images(n: int = 5, side: int = 12):
    rng = np.random.default_rng(0)
    flat = np.zeros((n, 3, side, side), np.float32)
    flat[:, :, 3:5] = rng.random((n, 3, 2, side), np.float32)
    return flat


def test_a_flat_image_is_smaller_in_order_and_noise_by_planes():
    assert pack(images()[0])[0] == 0
    assert pack(np.random.default_rng(0).random((3, 64, 64), np.float32))[0] == 1
    assert len(pack(images()[0])) < images()[0].nbytes / 3


def test_a_file_comes_back_with_its_names(tmp_path):
    pixels = images()
    kept = Kept.of([f"i{n}" for n in range(5)], [True, False, True, True, False], pixels)
    path = tmp_path / "k.safetensors"
    path.write_bytes(kept.to_bytes())
    assert names_in(path) == (kept.ids, kept.fell)
    again = Kept.from_file(path)
    assert again == kept
    assert same_bits(again.pixels(["i3", "i0"]), pixels[[3, 0]])
    assert again.pixels([]).shape == (0, 3, 12, 12)
    assert kept.to_bytes() == again.to_bytes()


def test_every_flipped_byte_is_found(tmp_path):
    whole = Kept.of(["a", "b"], [True, True], images(2)).to_bytes()
    path = tmp_path / "k.safetensors"
    for place in range(0, len(whole), 7):
        broken = bytearray(whole)
        broken[place] ^= 0x01
        path.write_bytes(bytes(broken))
        try:
            Kept.from_file(path)
        except Damaged:
            continue
        pytest.fail(f"byte {place} of {len(whole)} was changed, and nobody noticed")


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08\0\0\0\0\0\0\0{}      "])
def test_what_is_no_such_file_is_refused(content, tmp_path):
    path = tmp_path / "k.safetensors"
    path.write_bytes(content)
    with pytest.raises(Damaged):
        Kept.from_file(path)
    with pytest.raises(Damaged):
        names_in(path)


def test_a_file_cut_short_is_refused(tmp_path):
    whole = Kept.of(["a", "b"], [True, True], images(2)).to_bytes()
    path = tmp_path / "k.safetensors"
    for end in (10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(Damaged):
            Kept.from_file(path)
