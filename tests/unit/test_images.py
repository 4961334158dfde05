"""Decoding: what each kind of file becomes, and what is refused. The view: its geometry."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from robobench.errors import DataError, RobobenchError, UnreachableData
from robobench.images import MAX_PIXELS, apply_view, decode
from robobench.types import View
from tests.data_fixtures import encoded, picture


def test_png_comes_back_as_it_was(tmp_path: Path) -> None:
    image = picture()
    file = tmp_path / "a.png"
    file.write_bytes(encoded(image))
    out = decode(file, "a.png")
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous
    np.testing.assert_array_equal(out, image)
    np.testing.assert_array_equal(decode(file.read_bytes(), "a.png"), image)


def test_grey_is_spread_over_three_channels() -> None:
    grey = picture()[:, :, 0]
    out = decode(encoded(grey), "x")
    np.testing.assert_array_equal(out, np.stack([grey] * 3, axis=2))


def test_grey_jpeg_has_three_equal_channels() -> None:
    out = decode(encoded(np.full((16, 16), 77, np.uint8), "JPEG"), "x")
    assert out.shape == (16, 16, 3)
    assert np.abs(out.astype(int) - 77).max() <= 1


def test_cmyk_jpeg_is_converted() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    out = decode(encoded(red, "JPEG"), "x")
    assert out.shape == (16, 16, 3)
    assert np.abs(out.reshape(-1, 3).astype(int) - [255, 0, 0]).max() <= 6


def test_alpha_is_dropped_and_colours_stay() -> None:
    image = picture()
    alpha = picture(seed=1)[:, :, :1]
    rgba = Image.fromarray(np.concatenate([image, alpha], axis=2), "RGBA")
    np.testing.assert_array_equal(decode(encoded(rgba), "x"), image)


def test_grey_with_alpha() -> None:
    both = picture()[:, :, :2].copy()
    out = decode(encoded(Image.fromarray(both, "LA")), "x")
    np.testing.assert_array_equal(out, np.repeat(both[:, :, :1], 3, axis=2))


def test_palette_with_transparency() -> None:
    image = Image.new("P", (4, 3))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    out = decode(encoded(image, transparency=1), "x")
    assert out[0, 1].tolist() == [200, 100, 50]
    assert out[2, 3].tolist() == [10, 20, 30]


def test_one_bit_is_black_and_white() -> None:
    bits = np.array([[True, False], [False, True]])
    assert decode(encoded(Image.fromarray(bits)), "x")[:, :, 0].tolist() == [[255, 0], [0, 255]]


def test_16_bit_grey_keeps_the_high_byte() -> None:
    values = np.array([[0, 255, 256, 0x7FFF], [0x8000, 0xFF00, 0xFFFF, 0x1234]], np.uint16)
    out = decode(encoded(values), "x")
    assert out[:, :, 2].tolist() == [[0, 0, 1, 0x7F], [0x80, 0xFF, 0xFF, 0x12]]


def test_16_bit_colour_agrees_with_16_bit_grey() -> None:
    words = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    out = decode(_png16(words), "x")
    np.testing.assert_array_equal(out, (words >> 8).astype(np.uint8))


def _png16(words: np.ndarray) -> bytes:
    """A 16-bit RGB PNG, which Pillow reads but cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = words.shape
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in words)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_is_applied_once(orientation: int, kind: str) -> None:
    image = Image.fromarray(picture())
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(image, kind, exif=exif)
    tagged = image.copy()
    tagged.info["exif"] = exif.tobytes()
    tagged.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(decode(file, "x"), np.asarray(ImageOps.exif_transpose(tagged)))


def test_exif_rotated_jpeg_stands_upright() -> None:
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:, :16] = 255  # white on the left of a picture taken with the camera on its side
    exif = Image.Exif()
    exif[0x0112] = 6
    out = decode(encoded(stored, "JPEG", exif=exif), "x")
    assert out.shape == (32, 16, 3)
    assert out[:8].min() > 200
    assert out[24:].max() < 50


def test_broken_exif_counts_as_upright() -> None:
    file = encoded(picture(16, 16), "JPEG", exif=b"Exif\0\0nonsense that is no TIFF header")
    assert decode(file, "x").shape == (16, 16, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "JPEG2000"])
def test_a_truncated_file_is_an_error(kind: str) -> None:
    whole = encoded(picture(64, 64), kind)
    with pytest.raises(DataError, match=r"val/cat\.jpg: cannot be decoded: .+; replace the file or take it"):
        decode(whole[: len(whole) // 2], "val/cat.jpg")


def test_a_truncated_jpeg_says_so() -> None:
    whole = encoded(picture(64, 64), "JPEG")
    with pytest.raises(DataError, match="image file is truncated"):
        decode(whole[: len(whole) // 2], "x")


def test_a_damaged_png_is_an_error() -> None:
    whole = bytearray(encoded(picture(64, 64)))
    whole[len(whole) // 2] ^= 0xFF
    with pytest.raises(DataError, match="cannot be decoded"):
        decode(bytes(whole), "x")


def test_padding_of_truncated_files_by_another_library_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    whole = encoded(picture(64, 64), "JPEG")
    with pytest.raises(RobobenchError, match="LOAD_TRUNCATED_IMAGES is on") as caught:
        decode(whole[: len(whole) // 2], "x")
    assert not isinstance(caught.value, DataError)  # else every image would be set aside as damaged


def test_an_empty_file(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.touch()
    with pytest.raises(DataError, match=r"^a\.jpg: cannot be decoded: the file is empty; replace"):
        decode(file, "a.jpg")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreachableData, match=r"^x\.jpg: cannot be read: No such file or directory"):
        decode(tmp_path / "x.jpg", "x.jpg")
    with pytest.raises(DataError, match="Is a directory"):
        decode(tmp_path, "x.jpg")


def test_text_is_no_image() -> None:
    with pytest.raises(DataError, match=r"not an image of a known format \(JPEG, PNG, .*\)"):
        decode(b"<html>404</html>", "x")


def test_postscript_is_never_run() -> None:
    with pytest.raises(DataError, match="not an image of a known format"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n", "x.jpg")


@pytest.mark.parametrize("side", [9_500, 30_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_before_it_is_unpacked(side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    small = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 9))
        + chunk(b"IEND", b"")
    )
    assert side * side > MAX_PIXELS
    with pytest.raises(DataError, match=r"allowed|decompression bomb"):
        decode(small, "bomb.png")


def test_values_without_a_range_are_refused() -> None:
    floats = Image.fromarray(np.ones((4, 4), np.float32))
    with pytest.raises(DataError, match="floating-point values, whose range is not known"):
        decode(encoded(floats, "TIFF"), "x")
    wide = Image.fromarray(np.full((4, 4), 70_000, np.int32))
    with pytest.raises(DataError, match="32-bit values, whose range is not known"):
        decode(encoded(wide, "TIFF"), "x")


def test_the_view_that_does_nothing_returns_the_array() -> None:
    image = picture()
    assert apply_view(image, View()) is image


def test_the_view_of_a_crop_larger_than_the_image_is_black_outside() -> None:
    out = apply_view(np.full((2, 3, 3), 9, np.uint8), View(crop=5))
    assert out.shape == (5, 5, 3)
    assert out[:, :, 0].tolist() == [
        [0, 0, 0, 0, 0],
        [0, 9, 9, 9, 0],
        [0, 9, 9, 9, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]


def test_the_long_side_is_truncated_not_rounded() -> None:
    assert apply_view(picture(3, 5), View(resize=2)).shape == (2, 3, 3)  # 2 * 5 / 3 = 3.33
    assert apply_view(picture(5, 3), View(resize=4)).shape == (6, 4, 3)  # 4 * 5 / 3 = 6.67


def test_size_stretches() -> None:
    assert apply_view(picture(3, 11), View(size=7)).shape == (7, 7, 3)
