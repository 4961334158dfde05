"""Rows in Parquet files: written so that few bytes are read again, read cell by cell.

A result has the same image ids in every cell. They are kept as dictionary codes in the files and in memory,
so that a text is there once, however many cells are read.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robobench.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa

Places = NDArray[np.int32]

CELL, IMAGE = "cell", "image_id"
_TEXTS = (CELL, "model", "condition", IMAGE)
REPLACES = b"robobench.replaces"  # names in a file's metadata those that it stands for
_DICTIONARY = 2**24  # bytes of texts that a file keeps once: 400,000 ids of 40 letters
_GROUP_ROWS, _GROUP_BYTES = 2**20, 2**26  # of a row group, the smaller counts


@dataclass(frozen=True)
class Coded:
    """The rows of some cells, sorted by image id.

    images: all ids that any of them has, sorted. places: for each cell where its images stand in there.
    tables: for each cell its other columns in that order.
    """

    images: tuple[str, ...] = ()
    places: dict[str, Places] = field(default_factory=dict)
    tables: dict[str, pa.Table] = field(default_factory=dict)


def live(folder: Path) -> list[Path]:
    """The row files of a folder that no compacted file has replaced. Raises StoreError."""
    import pyarrow.parquet as pq

    paths = sorted(folder.glob("*.parquet"))
    gone: set[str] = set()
    for path in paths:
        with readable(path):
            metadata = pq.read_schema(path).metadata or {}
        gone.update(_replaced(path, metadata.get(REPLACES, b"[]")))
    return [p for p in paths if p.stem not in gone]


def _replaced(path: Path, said: bytes) -> list[str]:
    """The names of the files that one stands for. Raises StoreError."""
    try:
        names = json.loads(said)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise StoreError(f"{path}: the row file does not say which files it stands for: delete it")
    return names


def write(table: pa.Table, path: Path) -> None:
    """Write rows as one file, whole cells to a row group where it holds one.

    Numbers that hardly repeat are not looked up in a dictionary.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    few = [f.name for f in table.schema if not (pa.types.is_floating(f.type) or pa.types.is_nested(f.type))]
    most = min(_GROUP_ROWS, max(1, _GROUP_BYTES * table.num_rows // max(1, table.nbytes)))
    options = {"compression": "zstd", "use_dictionary": few, "dictionary_pagesize_limit": _DICTIONARY}
    with pq.ParquetWriter(path, table.schema, **options) as file:
        for start, stop in _groups(table[CELL], most):
            file.write_table(table.slice(start, stop - start), row_group_size=most)


def _groups(owners: pa.ChunkedArray, most: int) -> Iterator[tuple[int, int]]:
    """Where row groups begin and end: at the last border of a cell that is near enough, if there is one."""
    ends = [stop for *_, stop in _stretches(owners)]
    start = 0
    while start < len(owners):
        near = bisect_right(ends, start + most)
        stop = ends[near - 1] if near and ends[near - 1] > start else min(start + most, len(owners))
        yield start, stop
        start = stop


def weight(path: Path) -> int:
    """The bytes of a file's columns before compression. Raises StoreError."""
    import pyarrow.parquet as pq

    with readable(path):
        found = pq.read_metadata(path)
    return sum(found.row_group(g).total_byte_size for g in range(found.num_row_groups))


def joined(paths: Sequence[Path]) -> pa.Table:
    """All rows of some files, by cell and image. Raises StoreError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for path in paths:
        with readable(path):
            tables.append(pq.read_table(path, read_dictionary=list(_TEXTS)))
    kinds = pq.read_schema(paths[0])
    whole = pa.concat_tables(tables, promote_options="default").unify_dictionaries().combine_chunks()
    del tables
    whole = whole.take(pa.array(np.lexsort([_ranks(whole[name]) for name in (IMAGE, CELL)])))
    for place, name in enumerate(whole.column_names):
        if name in _TEXTS and whole[name].type != kinds.field(name).type:
            whole = whole.set_column(place, name, whole[name].cast(kinds.field(name).type))
    return whole


def _ranks(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """For each text where it stands among all of them; Arrow does not sort by dictionary-encoded columns."""
    import pyarrow.compute as pc

    codes = column.combine_chunks()
    rank = np.empty(len(codes.dictionary), np.int64)
    rank[pc.sort_indices(codes.dictionary).to_numpy()] = np.arange(rank.size)
    places: NDArray[np.int32] = codes.indices.to_numpy()
    return rank[places]


def by_cell(paths: Sequence[Path], cells: Collection[str], columns: Collection[str] | None = None) -> Coded:
    """The rows of some cells in one pass over the files, with some of their columns or all.

    A column that a cell has no value in, because its file holds cells of another kind too, is left out for
    it; numbers that are all undefined stay. Raises StoreError, also for an image that is there twice.
    """
    known: dict[str, int] = {}
    parts: dict[str, list[tuple[Places, pa.Table]]] = {}
    for path in paths:
        for cell, places, table in _parts(path, frozenset(cells), columns, known):
            parts.setdefault(cell, []).append((places, table))
    images, rank = _sorted(known)
    found = Coded(images)
    for cell in [c for c in cells if c in parts]:
        found.places[cell], found.tables[cell] = _one_cell(cell, parts.pop(cell), rank)
    return found


def _parts(
    path: Path, cells: frozenset[str], columns: Collection[str] | None, known: dict[str, int]
) -> Iterator[tuple[str, Places, pa.Table]]:
    """Stretches of one cell, as they stand in a file: places among `known`, which grows, and columns."""
    import pyarrow.parquet as pq

    with readable(path), pq.ParquetFile(path, read_dictionary=[CELL, IMAGE]) as file:
        names = [n for n in file.schema_arrow.names if n not in (CELL, IMAGE)]
        mine = [n for n in names if columns is None or n in columns]
        before: tuple[Any, Places] | None = None
        for group in range(file.num_row_groups):
            owners = file.read_row_group(group, columns=[CELL])[CELL]
            stretches = [s for s in _stretches(owners) if s[0] in cells]
            if not stretches:
                continue
            table = file.read_row_group(group, columns=[IMAGE, *mine])
            ids = table[IMAGE].combine_chunks()
            if before is None or not before[0].equals(ids.dictionary):
                codes = [known.setdefault(i, len(known)) for i in ids.dictionary.to_pylist()]
                before = ids.dictionary, np.array(codes, np.int32)
            places, table = before[1][ids.indices.to_numpy()], table.select(mine)
            for cell, start, stop in stretches:
                yield cell, places[start:stop], table.slice(start, stop - start)


def _stretches(owners: pa.ChunkedArray) -> list[tuple[str, int, int]]:
    """Cell, start and stop of every run of equal cells."""
    import pyarrow as pa

    coded = owners.combine_chunks()
    coded = coded if isinstance(coded, pa.DictionaryArray) else coded.dictionary_encode()
    codes, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    edges = np.flatnonzero(codes[1:] != codes[:-1]) + 1
    borders = [0, *edges.tolist(), codes.size] if codes.size else []
    return [(names[codes[start]], start, stop) for start, stop in pairwise(borders)]


def _sorted(known: dict[str, int]) -> tuple[tuple[str, ...], Places]:
    """The ids in order, and for each in the order it was met in where it stands."""
    images = tuple(sorted(known))
    rank = np.empty(len(images), np.int32)
    rank[[known[i] for i in images]] = np.arange(len(images), dtype=np.int32)
    return images, rank


def _one_cell(cell: str, parts: Sequence[tuple[Places, pa.Table]], rank: Places) -> tuple[Places, pa.Table]:
    import pyarrow as pa

    places = rank[np.concatenate([p for p, _ in parts])]
    table = pa.concat_tables([t for _, t in parts], promote_options="default")
    absent = [f.name for f in table.schema if _absent(f.type, table[f.name])]
    table = table.drop_columns(absent) if absent else table
    if bool((np.diff(places) <= 0).any()):
        order = np.argsort(places, kind="stable")
        places, table = places[order], table.take(pa.array(order))
        if bool((places[1:] == places[:-1]).any()):
            raise StoreError(f"cell {cell} has an image twice: were folders copied together?")
    return places, table


def _absent(kind: pa.DataType, column: pa.ChunkedArray) -> bool:
    """Whether nothing was ever written there. A task's numbers that are all undefined are null too."""
    import pyarrow as pa

    return not pa.types.is_floating(kind) and bool(len(column)) and column.null_count == len(column)


def as_array(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column as one value for each row, or (rows, width) of a column of lists. What is not there is NaN."""
    import pyarrow as pa

    if not pa.types.is_nested(column.type):
        one = column.chunk(0) if column.num_chunks == 1 else column
        return np.asarray(one.to_numpy(zero_copy_only=False))
    whole = column.combine_chunks()
    known = np.asarray(whole.is_valid())
    flat = whole.flatten().to_numpy(zero_copy_only=False)
    width = flat.size // max(1, int(known.sum()))
    if known.all():
        return np.asarray(flat.reshape(-1, width))
    found = np.full((known.size, width), np.nan, flat.dtype)
    found[known] = flat.reshape(-1, width)
    return found


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What cannot be read as a message that says what to do."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise StoreError(
            f"{path}: the row file is damaged ({error}): delete it, and the next run computes its rows again"
        ) from None
