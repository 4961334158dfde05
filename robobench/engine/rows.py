"""What was recorded of a cell's images, as the table that the store keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robobench.types import Cell

if TYPE_CHECKING:
    import pyarrow as pa

Columns = dict[str, NDArray[Any]]


def rows_of(cell: Cell, parts: Sequence[Columns], wanted: frozenset[str]) -> pa.Table:
    """The rows of a cell, of the wanted images only."""
    import pyarrow as pa

    joined = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
    keep = np.array([i in wanted for i in joined["image_id"]], bool)
    n = int(keep.sum())

    def same(value: str) -> pa.Array:
        return pa.array([value] * n, pa.string()).dictionary_encode()

    fixed = {"cell": same(cell.key), "model": same(cell.model.name), "condition": same(cell.condition.name)}
    ids = {"image_id": pa.array(joined.pop("image_id")[keep].tolist(), pa.string())}
    rest = {k: _column(v[keep]) for k, v in joined.items()}
    return pa.table({**fixed, **ids, **rest})


def _column(values: NDArray[Any]) -> pa.Array:
    """One value for each image, or one list (of logits) whose length may differ between data sets."""
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values, from_pandas=values.dtype.kind == "f")
    n, width = values.shape
    ends = np.arange(n + 1, dtype=np.int32 if n * width < 2**31 else np.int64) * width
    make = pa.ListArray if ends.dtype == np.int32 else pa.LargeListArray
    return make.from_arrays(pa.array(ends), pa.array(values.ravel()))
