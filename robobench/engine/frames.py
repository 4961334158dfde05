"""Images as the view shows them: decoded once, kept as uint8, read ahead while the model runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import DataSource
from robobench.engine.resolve import DataSet
from robobench.errors import DataError
from robobench.images import apply_view
from robobench.keys import digest
from robobench.types import ImageBatch, View

if TYPE_CHECKING:
    import torch

Pixels = NDArray[np.uint8]
_T = TypeVar("_T")


@dataclass
class Frames:
    """The images of a data set through one view. What cannot be decoded is left out and named.

    A view with a fixed side is kept in a memory-mapped file, so that an image is decoded once in all;
    a byte per image says whether it is there, and is written after its pixels.
    """

    source: DataSource
    view: View
    everything: tuple[str, ...]
    cache: Path | None = None
    undecodable: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._row = {image: i for i, image in enumerate(self.everything)}
        side = self.view.side
        self._pixels: Any = None
        if self.cache is None or side is None:
            return
        try:
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            count = len(self.everything)
            self._pixels = _mapped(self.cache.with_suffix(".u8"), (count, side, side, 3))
            self._there = _mapped(self.cache.with_suffix(".ok"), (count,))
        except OSError:  # a cache is a help, not a need: without room for it, images are decoded again
            self._pixels = None

    def frame(self, image: str) -> Pixels:
        """One image, (h, w, 3) uint8. Raises DataError."""
        if self._pixels is None:
            return self._decoded(image)
        row = self._row[image]
        if not self._there[row]:
            self._pixels[row] = self._decoded(image)
            self._there[row] = 1
        return np.asarray(self._pixels[row])

    def _decoded(self, image: str) -> Pixels:
        view: Pixels = apply_view(self.source.read(image), self.view)
        return view

    def read(self, ids: Sequence[str]) -> tuple[tuple[str, ...], Pixels]:
        """The decodable ones of some images, as (b, h, w, 3). Raises DataError when sizes differ."""
        kept, frames = [], []
        for image in ids:
            if image in self.undecodable:
                continue
            try:
                frames.append(self.frame(image))
                kept.append(image)
            except DataError as error:
                self.undecodable[image] = str(error)
        shapes = {f.shape for f in frames}
        if len(shapes) > 1:
            sizes = ", ".join(f"{w}x{h}" for h, w, _ in sorted(shapes)[:4])
            raise DataError(f"images differ in size ({sizes}): the suite needs a view with `crop` or `size`")
        return tuple(kept), np.stack(frames) if frames else np.zeros((0, 1, 1, 3), np.uint8)


def open_frames(data: DataSet, view: View, cache: Path | None) -> Frames:
    """The frames of a data set; `cache` is the folder of the view caches, or None for none."""
    place = cache / "views" / f"{data.revision}-{digest(view)}" if cache else None
    return Frames(data.source, view, data.everything, place)


def batches(
    frames: Frames, ids: Sequence[str], labels: Mapping[str, int], size: int, device: str
) -> Iterator[ImageBatch]:
    """Batches in the order of the ids, the next one being prepared while this one is used."""

    def make() -> Iterator[tuple[tuple[str, ...], Pixels]]:
        for start in range(0, len(ids), size):
            kept, pixels = frames.read(ids[start : start + size])
            if kept:
                yield kept, pixels

    for kept, pixels in _ahead(make()):
        yield to_batch(kept, pixels, labels, device)


def to_batch(ids: tuple[str, ...], pixels: Pixels, labels: Mapping[str, int], device: str) -> ImageBatch:
    """Stored frames as what a model sees: uint8 over the bus, float32 in [0, 1] on the device."""
    import torch

    return ImageBatch(
        pixels=to_pixels(pixels, device),
        ids=ids,
        labels=torch.tensor([labels[i] for i in ids], dtype=torch.int64, device=device),
    )


def to_pixels(frames: Pixels, device: str) -> torch.Tensor:
    """(b, h, w, 3) uint8 -> (b, 3, h, w) float32 in [0, 1]."""
    import torch

    moved = torch.from_numpy(np.ascontiguousarray(frames)).to(device, non_blocking=True)
    return moved.permute(0, 3, 1, 2).contiguous().float().div_(255.0)


def _mapped(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A memory-mapped uint8 file of this shape; one of another size is begun anew."""
    size = int(np.prod(shape))
    if not path.exists() or path.stat().st_size != size:
        with path.open("wb") as file:
            file.truncate(size)  # sparse: room is taken as images come
    return np.memmap(path, dtype=np.uint8, mode="r+", shape=shape)


def _ahead(values: Iterator[_T]) -> Iterator[_T]:
    """The same values, the next one being made in a thread while this one is used."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, values, end)
        while (value := coming.result()) is not end:
            coming = pool.submit(next, values, end)
            yield cast("_T", value)
