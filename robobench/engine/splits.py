"""The images that preparations are made from, where these are not the ones they are judged on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from robobench.errors import DataError
from robobench.suite.suite import DataEntry, PreparationEntry
from robobench.types import Condition

if TYPE_CHECKING:
    from robobench.engine.sets import DataSet

_LOOKED_AT = 4  # images of one name in two data sets: are they the same picture?


def split(entry: PreparationEntry, base: DataSet, find: Callable[[DataEntry], DataSet]) -> DataSet:
    """The data set that a preparation is made from. Raises DataError when nothing is left for it.

    Neither a limit of the run nor another base data set changes how much of it there is.
    """
    if entry.data is not None:
        return replace(find(entry.data), name=entry.name)
    start = entry.skip or 0
    end = None if entry.limit is None else start + entry.limit
    order = base.visiting[start:end]
    if not order:
        raise DataError(
            f"preparation {entry.name!r}: `skip: {start}` leaves none of the {len(base.visiting):,} images "
            f"of {base.title}; skip fewer, or name another data set with `data:`"
        )
    return replace(base, name=entry.name, order=order)


def check_apart(
    splits: Mapping[str, DataSet], sets: Mapping[str, DataSet], conditions: Sequence[Condition]
) -> None:
    """Raise DataError when a condition is judged on images that what it is given was made from."""
    for condition in conditions:
        used = {name for step in condition.steps for name in step.inputs.values()}
        for name in sorted(used & splits.keys()):
            _check(name, splits[name], condition, sets[condition.data])


def _check(name: str, split: DataSet, condition: Condition, data: DataSet) -> None:
    judged = data.prefix(condition.limit)
    inside = set(split.ids)
    shared = [image for image in judged if image in inside]
    if not shared or not _same_images(split, data, shared):
        return
    raise DataError(
        f"preparation {name!r} is made from images that {condition.name!r} is judged on: {len(shared):,} of "
        f"{data.title}, such as {shared[0]!r}; give it another split of the data, or `skip` at least the "
        f"{len(judged):,} that are evaluated, or evaluate fewer (`limit` of the data, --limit)"
    )


def _same_images(one: DataSet, two: DataSet, ids: Sequence[str]) -> bool:
    """Whether images of equal names are equal: in two data sets, a few of them are looked at."""
    if one.revision == two.revision:
        return True
    for image in ids[:_LOOKED_AT]:
        try:
            if np.array_equal(one.source.read(image), two.source.read(image)):
                return True
        except DataError:
            continue
    return False
