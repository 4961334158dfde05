"""Stored images to arrays, and arrays to the view a model sees. What cannot be read whole is an error."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robobench.errors import DataError, RobobenchError, UnreachableData
from robobench.types import View

if TYPE_CHECKING:
    from PIL import Image as PilImage

MAX_PIXELS = 89_478_485  # where Pillow begins to warn of a decompression bomb: 256 MiB of RGB
# Only formats whose readers parse pixels: Pillow hands others, such as EPS, to an outside program.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2"}
)
_ORIENTATION = 0x0112  # the EXIF tag


def decode(source: Path | bytes, where: str) -> NDArray[np.uint8]:
    """An image file as (h, w, 3) uint8 RGB.

    The EXIF orientation is applied, as a viewer would; one that cannot be read counts as upright. Grey
    and palette images are spread over three channels; CMYK is converted by Pillow's formula (colour
    profiles are ignored); 16-bit values keep their high byte; the alpha channel is dropped, so that
    pixels are those of torchvision's and datasets' loaders. Of several frames the first is taken.

    `where` names the image in messages. Raises DataError for a file that is missing, empty, damaged,
    cut short, not an image, of floating-point or 32-bit values (whose range is not known), or larger
    than 89 million pixels. Damage inside a JPEG's entropy-coded data that its decoder passes over
    cannot be noticed here.
    """
    data = _bytes(source, where)
    with BytesIO(data) as file:
        try:
            image = _open(file, where)
            _refuse_padding()
            image.load()
            return _rgb(_upright(image), where)
        except _damage() as error:
            raise _error(where, f"{type(error).__name__}: {error}" if str(error) else "damaged") from error


def decode_levels(source: Path | bytes, where: str) -> NDArray[np.float32]:
    """An image file whose pixels are labels or levels, (h, w) float32: the numbers as stored.

    Of a palette image the indices, of a grey one its 1, 8, 16 or 32 bits, of a colour one the largest of
    the three channels; an alpha channel is dropped. Orientation, frames, `where` and DataError are as in
    `decode`.
    """
    data = _bytes(source, where)
    with BytesIO(data) as file:
        try:
            image = _open(file, where)
            _refuse_padding()
            image.load()
            image = _upright(image)
            if image.mode == "PA":
                image = image.getchannel("P")
            elif image.mode == "LA":
                image = image.getchannel("L")
            if len(image.getbands()) > 1:
                image = image.convert("RGB")
            levels = np.asarray(image).astype(np.float32)
            return levels if levels.ndim == 2 else levels.max(axis=2)
        except _damage() as error:
            raise _error(where, f"{type(error).__name__}: {error}" if str(error) else "damaged") from error


def apply_view(image: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    """The pixels a model sees of a stored image (h, w, 3), as Pillow and torchvision compute them.

    In this order, each where given: `resize` brings the short side to that many pixels and truncates
    the long one to a whole number, `size` stretches to a square, `crop` takes the centre square; a
    crop larger than the image is filled up with black. Resampling is Pillow's: antialiased except for
    nearest. Equal to torchvision's Resize and CenterCrop on Pillow images. `View()` changes nothing.
    """
    if view.resize is not None:
        image = _resample(image, *_short_side(image.shape[:2], view.resize), view)
    if view.size is not None:
        image = _resample(image, view.size, view.size, view)
    return image if view.crop is None else _centre(image, view.crop)


def _bytes(source: Path | bytes, where: str) -> bytes:
    if isinstance(source, Path):
        try:
            source = source.read_bytes()
        except OSError as error:
            raise UnreachableData(f"{where}: cannot be read: {error.strerror or error}") from error
    if not source:
        raise _error(where, "the file is empty")
    return source


def _error(where: str, reason: str) -> DataError:
    return DataError(f"{where}: cannot be decoded: {reason}; replace the file or take it out of the data")


def _damage() -> tuple[type[Exception], ...]:
    """What Pillow's readers raise on a damaged file."""
    from PIL import Image

    return (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        EOFError,
        OverflowError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    )


def _open(file: BytesIO, where: str) -> PilImage.Image:
    from PIL import Image, UnidentifiedImageError

    Image.init()
    try:
        image = Image.open(file, formats=[f for f in FORMATS if f in Image.OPEN])
    except UnidentifiedImageError:
        raise _error(where, f"not an image of a known format ({', '.join(FORMATS)})") from None
    if image.width * image.height > MAX_PIXELS:
        raise _error(where, f"{image.width} x {image.height} pixels are more than the {MAX_PIXELS:,} allowed")
    return image


def _refuse_padding() -> None:
    """Stop where another library has told Pillow to fill up truncated files without a word."""
    from PIL import ImageFile

    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise RobobenchError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is on, so truncated images would be padded and "
            "measured as if they were whole; set it to False before robobench reads images"
        )


def _upright(image: PilImage.Image) -> PilImage.Image:
    """The image turned as its EXIF orientation says. To be called after `load`, which turns a TIFF."""
    from PIL import Image

    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # many cameras write broken EXIF beside good pixels
        orientation = 1
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    return image if turn is None else image.transpose(turn)


def _rgb(image: PilImage.Image, where: str) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise _error(where, "32-bit values, whose range is not known; store it with 8 or 16 bits")
        return np.repeat((grey >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise _error(where, "floating-point values, whose range is not known; store it with 8 or 16 bits")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _short_side(shape: tuple[int, ...], short: int) -> tuple[int, int]:
    """Height and width when the short side becomes `short`; the long one is truncated."""
    height, width = shape
    if width <= height:
        return int(short * height / width), short
    return short, int(short * width / height)


def _resample(image: NDArray[np.uint8], height: int, width: int, view: View) -> NDArray[np.uint8]:
    from PIL import Image

    if image.shape[:2] == (height, width):
        return image
    filters = {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
        "box": Image.Resampling.BOX,
    }
    return np.array(Image.fromarray(image).resize((width, height), filters[view.interpolation]))


def _centre(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The centre square. Half a pixel rounds to even where cut, and goes below and right where added."""
    missing = [max(side - length, 0) for length in image.shape[:2]]
    if any(missing):
        image = np.pad(image, [*((m // 2, (m + 1) // 2) for m in missing), (0, 0)])
    top, left = (round((length - side) / 2) for length in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])
