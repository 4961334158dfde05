"""Attacked images kept without loss: float32 pixels as compressed bytes, and back to the same bits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]

_BYTES = 4  # of a value
_FORMAT = 1
_KEY = "robobench.images"


class Damaged(Exception):
    """A file of kept images that cannot be read back bit by bit."""


@dataclass(frozen=True)
class Kept:
    """Attacked images of one cell.

    fell: whether the model was wrong about each when it was asked again. shape: (channels, height, width) of
    every image. packed: the compressed pixels of each.
    """

    ids: tuple[str, ...]
    fell: tuple[bool, ...]
    shape: tuple[int, ...]
    packed: tuple[bytes, ...]

    @classmethod
    def of(cls, ids: Sequence[str], fell: Sequence[bool], pixels: Pixels) -> Kept:
        """pixels: (n, channels, height, width) float32."""
        packed = tuple(pack(image) for image in pixels)
        return cls(tuple(ids), tuple(bool(f) for f in fell), tuple(pixels.shape[1:]), packed)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def size(self) -> int:
        """Bytes of the compressed pixels."""
        return sum(len(p) for p in self.packed)

    def pixels(self, ids: Iterable[str]) -> Pixels:
        """The pixels of some of the images, (n, channels, height, width), in that order."""
        place = {image: n for n, image in enumerate(self.ids)}
        wanted = [unpack(self.packed[place[i]], self.shape) for i in ids]
        return np.stack(wanted) if wanted else np.zeros((0, *self.shape), np.float32)

    def to_bytes(self) -> bytes:
        """A safetensors file: one tensor of bytes, where each image ends in it, who they are, a digest."""
        from safetensors.numpy import save

        whole = np.frombuffer(b"".join(self.packed), np.uint8)
        ends = np.cumsum([len(p) for p in self.packed], dtype=np.int64)
        names = json.dumps({"ids": self.ids, "fell": self.fell, "shape": self.shape})
        said = json.dumps([_FORMAT, names, _digest(names, whole, ends)])
        return bytes(save({"pixels": whole, "ends": ends}, {_KEY: said}))

    @classmethod
    def from_file(cls, path: Path) -> Kept:
        """What `to_bytes` made, checked bit by bit. Raises Damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        ids, fell, names, said = _names(path)
        try:
            tensors = load(path.read_bytes())
            whole, ends = tensors["pixels"], tensors["ends"]
            shape = tuple(int(v) for v in json.loads(names)["shape"])
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise Damaged(f"{type(error).__name__}: {error}") from None
        if said != _digest(names, whole, ends):
            raise Damaged("its digest is not that of its content")
        data = whole.tobytes()
        return cls(ids, fell, shape, tuple(data[a:b] for a, b in pairwise([0, *ends.tolist()])))


def names_in(path: Path) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Whose images a file holds and which of them fell, without reading any pixels. Raises Damaged."""
    ids, fell, *_ = _names(path)
    return ids, fell


def _names(path: Path) -> tuple[tuple[str, ...], tuple[bool, ...], str, str]:
    """Ids, who fell, the text that says so, and the digest that goes with it."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            found = json.loads((file.metadata() or {})[_KEY])
        form, names, said = found
        if form != _FORMAT:
            raise Damaged(f"written in format {form!r}; this robobench reads {_FORMAT}")
        content = json.loads(names)
        ids, fell = tuple(map(str, content["ids"])), tuple(map(bool, content["fell"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from None
    return ids, fell, names, said


def _digest(names: str, *parts: NDArray[Any]) -> str:
    found = hashlib.sha256(names.encode())
    for part in parts:
        found.update(part.tobytes())
    return found.hexdigest()


def pack(pixels: Pixels) -> bytes:
    """An image as Zstandard bytes, its values one after the other or byte plane by byte plane.

    Whichever is smaller: flat images are smaller in order, photographs by planes (there the exponents and
    first bits lie together). Photographs come to about three quarters of the raw size, drawn digits to a
    half.
    """
    plain = np.ascontiguousarray(pixels, np.dtype("<f4")).tobytes()
    planes = np.ascontiguousarray(np.frombuffer(plain, np.uint8).reshape(-1, _BYTES).T).tobytes()
    codec = _codec()
    forms = [bytes([n]) + codec.compress(data, asbytes=True) for n, data in enumerate((plain, planes))]
    smaller: bytes = min(forms, key=len)
    return smaller


def unpack(packed: bytes, shape: Sequence[int]) -> Pixels:
    """The image again, bit by bit. Raises Damaged."""
    count = int(np.prod(shape))
    try:
        data = _codec().decompress(packed[1:], count * _BYTES, asbytes=True)
    except (OSError, ValueError, IndexError) as error:
        raise Damaged(f"an image cannot be unpacked ({error})") from None
    found = np.frombuffer(data, np.uint8)
    if found.size != count * _BYTES or packed[0] > 1:
        raise Damaged("an image has another size than its file says")
    if packed[0] == 1:
        found = np.ascontiguousarray(found.reshape(_BYTES, -1).T).reshape(-1)
    return found.view(np.dtype("<f4")).reshape(tuple(shape)).astype(np.float32)


def _codec() -> Any:
    import pyarrow as pa

    return pa.Codec("zstd", compression_level=3)
