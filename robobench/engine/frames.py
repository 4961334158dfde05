"""Images as the view shows them: decoded once, kept as uint8, read ahead while the model runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import DataSource
from robobench.engine.sets import DataSet
from robobench.errors import DataError, UnreachableData
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

    A view with a fixed side is kept in a file, so that an image is decoded once in all.
    """

    source: DataSource
    view: View
    everything: tuple[str, ...]
    cache: Path | None = None
    undecodable: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._row = {image: i for i, image in enumerate(self.everything)}
        self._kept: _Kept | None = None
        if self.cache is not None and self.view.side is not None:
            with suppress(OSError):  # a cache is a help, not a need
                self._kept = _Kept.open(self.cache, len(self.everything), self.view.side)

    def frame(self, image: str) -> Pixels:
        """One image, (h, w, 3) uint8. Raises DataError."""
        row = self._row.get(image, -1)
        if self._kept is not None and self._kept.there[row]:
            kept: Pixels = np.asarray(self._kept.pixels[row])
            return kept
        seen: Pixels = apply_view(self.source.read(image), self.view)
        if self._kept is not None:
            try:
                self._kept.put(row, seen)
            except OSError:  # a full disk: from here on images are decoded again
                self._kept = None
        return seen

    def read(self, ids: Sequence[str]) -> tuple[tuple[str, ...], Pixels]:
        """The decodable ones of some images, as (b, h, w, 3). Raises DataError when sizes differ."""
        kept, frames = [], []
        for image in ids:
            if image in self.undecodable:
                continue
            try:
                frames.append(self.frame(image))
                kept.append(image)
            except UnreachableData:
                raise
            except DataError as error:
                self.undecodable[image] = str(error)
        shapes = {f.shape for f in frames}
        if len(shapes) > 1:
            sizes = ", ".join(f"{w}x{h}" for h, w, _ in sorted(shapes)[:4])
            raise DataError(f"images differ in size ({sizes}): the suite needs a view with `crop` or `size`")
        return tuple(kept), np.stack(frames) if frames else np.zeros((0, 1, 1, 3), np.uint8)


def open_frames(data: DataSet, view: View, cache: Path | None) -> Frames:
    """The frames of a data set; `cache` is the folder of the view caches, or None for none."""
    from importlib.metadata import version

    name = f"{data.revision}-{digest(view, version('pillow'))}"
    place = cache / "views" / name if cache else None
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


def annotated(batch: ImageBatch, data: DataSet) -> ImageBatch:
    """A batch with what else is known of its images: further acceptable classes, and facts."""
    import torch

    device = batch.pixels.device
    facts = {
        name: torch.tensor([values[i] for i in batch.ids], dtype=torch.float32, device=device)
        for name, values in data.facts.items()
    }
    if not data.accepted:
        return replace(batch, facts={**batch.facts, **facts}) if facts else batch
    known = [data.accepted.get(i, (int(label),)) for i, label in zip(batch.ids, batch.labels, strict=True)]
    accepted = torch.full((len(known), max(map(len, known))), -1, dtype=torch.int64, device=device)
    for row, classes in enumerate(known):
        accepted[row, : len(classes)] = torch.tensor(classes, dtype=torch.int64, device=device)
    return replace(batch, facts={**batch.facts, **facts}, accepted=accepted)


def to_pixels(frames: Pixels, device: str) -> torch.Tensor:
    """(b, h, w, 3) uint8 -> (b, 3, h, w) float32 in [0, 1]."""
    import torch

    moved = torch.from_numpy(np.ascontiguousarray(frames)).to(device, non_blocking=True)
    return moved.permute(0, 3, 1, 2).contiguous().float().div_(255.0)


@dataclass
class _Kept:
    """The frames of a view in a file, and a byte each that says whether it is there.

    Written through the file and read through a map: a write to a full disk is an error then, and not the
    end of the process. The byte is written after the pixels.
    """

    pixels: Any
    there: Any
    pixels_file: int
    there_file: int

    @classmethod
    def open(cls, place: Path, count: int, side: int) -> _Kept:
        """Open or begin the two files; when one is not as it should be, both are begun anew."""
        place.parent.mkdir(parents=True, exist_ok=True)
        sizes = {place.with_suffix(".u8"): count * side * side * 3, place.with_suffix(".ok"): count}
        whole = all(path.exists() and path.stat().st_size == size for path, size in sizes.items())
        for path, size in () if whole else sorted(sizes.items()):  # `.ok` first: never true without pixels
            with path.open("wb") as file:
                file.truncate(size)  # sparse: room is taken as images come
        pixels, there = sizes
        return cls(
            np.memmap(pixels, np.uint8, "r", shape=(count, side, side, 3)),
            np.memmap(there, np.uint8, "r", shape=(count,)),
            os.open(pixels, os.O_WRONLY),
            os.open(there, os.O_WRONLY),
        )

    def put(self, row: int, frame: Pixels) -> None:
        data = np.ascontiguousarray(frame).tobytes()
        if os.pwrite(self.pixels_file, data, row * len(data)) == len(data):
            os.pwrite(self.there_file, b"\1", row)

    def __del__(self) -> None:
        os.close(self.pixels_file)
        os.close(self.there_file)


def _ahead(values: Iterator[_T]) -> Iterator[_T]:
    """The same values, the next one being made in a thread while this one is used."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, values, end)
        while (value := coming.result()) is not end:
            coming = pool.submit(next, values, end)
            yield cast("_T", value)
