"""Images in lots of one size, in whatever lots they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from robobench.errors import DataError
from robobench.types import ImageBatch


def lots(batches: Iterable[ImageBatch], size: int) -> Iterator[ImageBatch]:
    """The images of the batches in their order, `size` at a time; the last lot may be smaller.

    Raises DataError when they are not all of one size.
    """
    held: ImageBatch | None = None
    for batch in batches:
        held = batch if held is None else _joined(held, batch)
        while len(held) > size:
            yield held.select(range(size))
            held = held.select(range(size, len(held)))
    if held is not None:
        yield held


def _joined(one: ImageBatch, two: ImageBatch) -> ImageBatch:
    import torch

    if one.pixels.shape[1:] != two.pixels.shape[1:]:
        sizes = " and ".join("x".join(map(str, b.pixels.shape[2:])) for b in (one, two))
        raise DataError(f"images of {sizes} pixels: what is made for all of them needs a view of one size")
    return ImageBatch(
        torch.cat([one.pixels, two.pixels]), one.ids + two.ids, torch.cat([one.labels, two.labels])
    )
