"""What came of computing a sample of a model's rows again, and whether those are still its rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from robobench.engine.record import ModelRecord, RunRecord
from robobench.errors import StoreError
from robobench.keys import LENGTH
from robobench.rowfiles import Coded
from robobench.typed_json import value
from robobench.types import finite

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
_AT_ONCE = 16  # cells: where logits are stored, all of them would not fit into memory
_NAMES = frozenset({"model", "condition"})  # columns of texts that are not answers


class Source(Protocol):
    """Where rows come from: a store, or a baseline."""

    def coded(self, cells: Iterable[str], columns: Collection[str] | None = None) -> Coded: ...


@dataclass(frozen=True)
class Verification:
    """What `robobench verify` found about one model of a run.

    answers: digest of the model's rows at the time. rows: those that can be judged one by one; drawn: how
    many of them were computed again; chance: of catching 1 % of false ones among them. disagree: how many
    drawn rows of any kind are not as claimed. searched, searched_drawn: the same counts for rows that an
    attack, or something that a model prepared, stands behind; same: how many of these are exactly as
    claimed; fell, stood: images that are claimed to stand and fell, and the other way round; p: the smallest
    corrected
    p-value of these counts; power: the share of standing rows that would have been found false in four cases
    of five. faults: what else is wrong.
    """

    fingerprint: str
    model: str
    answers: str
    passed: bool
    rows: int
    drawn: int
    chance: float
    disagree: int
    searched: int
    searched_drawn: int
    same: int
    fell: int
    stood: int
    p: float
    power: float
    seed: int
    fraction: float
    precision: str
    device: str
    hardware: str
    time: str
    versions: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """As JSON types; what is undefined is null."""
        return {k: finite(v) if isinstance(v, float) else v for k, v in asdict(self).items()}


def from_json(content: Any) -> Verification:
    """The outcome again. Raises StoreError for something else."""
    found: Verification = value(content, Verification, "verified")
    return found


def standing_verification(
    record: RunRecord, model: ModelRecord, source: Source, kept: Any
) -> Verification | None:
    """What was kept about a model of a run, where its rows are those that were looked at.

    None without any, where it cannot be read, and where the protocol or a row has changed since: such a model
    is only claimed. Raises StoreError for rows that cannot be read.
    """
    try:
        found = from_json(kept)
    except StoreError:
        return None
    mine = (found.format, found.fingerprint, found.model) == (FORMAT, record.fingerprint, model.digest)
    return found if mine and found.answers == answers(record, model, source) else None


def answers(record: RunRecord, model: ModelRecord, source: Source) -> str:
    """Digest of the rows of a model that its board goes by: of every value, in whatever files they lie.

    Raises StoreError.
    """
    whole = hashlib.sha256()
    wanted = images_by_cell(record, model)
    cells = sorted(wanted)
    for start in range(0, len(cells), _AT_ONCE):
        some = cells[start : start + _AT_ONCE]
        coded = source.coded(some)
        for cell in some:
            if cell in coded.tables:
                _add(whole, cell, coded, wanted[cell])
    return whole.hexdigest()[:LENGTH]


def _add(whole: Any, cell: str, coded: Coded, wanted: frozenset[str]) -> None:
    """Who is there and every value, of the images that count."""
    ids = [coded.images[i] for i in coded.places[cell]]
    mine = np.fromiter((i in wanted for i in ids), bool, len(ids))
    whole.update(json.dumps([cell, [i for i in ids if i in wanted]]).encode())
    for part in _columns(coded.tables[cell], mine):
        whole.update(part)


def images_by_cell(record: RunRecord, model: ModelRecord) -> dict[str, frozenset[str]]:
    """The images that each cell of a model should have; equal cells under several names are one."""
    found: dict[str, frozenset[str]] = {}
    for condition in record.conditions:
        cell = model.cells[condition.name]
        found[cell] = found.get(cell, frozenset()).union(record.images(condition, model))
    return found


def _columns(table: pa.Table, mine: Any) -> Iterator[bytes]:
    """Each column's name and values as bytes of one form, without columns that hold nothing."""
    import pyarrow as pa

    chosen = table.filter(pa.array(mine))
    for name in sorted(set(table.column_names) - _NAMES):
        column = chosen[name].combine_chunks()
        if pa.types.is_nested(column.type):
            lengths = np.diff(column.offsets.to_numpy())
            yield f"{name} lists {lengths.tolist()}".encode()
            column = column.flatten()
        if not _undefined(column):
            yield name.encode()
            yield _bytes(column)


def _undefined(column: pa.Array) -> bool:
    """Whether nothing is known in a whole column; then it may as well not be there."""
    import pyarrow as pa

    if not pa.types.is_floating(column.type):
        return bool(column.null_count == len(column))
    return bool(np.isnan(column.to_numpy(zero_copy_only=False)).all())


def _bytes(column: pa.Array) -> bytes:
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        numbers = np.array(column.to_numpy(zero_copy_only=False), np.float64)
        numbers[np.isnan(numbers)] = np.nan  # of the many that there are, one
        return numbers.tobytes()
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        there = np.asarray(column.is_valid())
        numbers = np.asarray(column.fill_null(False if pa.types.is_boolean(column.type) else 0))
        return numbers.astype(np.int64).tobytes() + there.tobytes()
    return json.dumps(column.to_pylist(), default=str).encode()
