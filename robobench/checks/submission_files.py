"""The files of a folder that was handed in: only those of a results folder, each readable and of its form."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robobench import rowfiles
from robobench.checks.problem import Problem, reason, short
from robobench.engine.record import from_json
from robobench.errors import StoreError
from robobench.specs import without_paths
from robobench.speed import Speed
from robobench.tasks.classification import LOGITS, PROBABILITIES, RANKS
from robobench.typed_json import value
from robobench.types import CellFailure, Json

if TYPE_CHECKING:
    import pyarrow as pa

_LARGEST = 2**28  # bytes of a JSON file
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}"
_SAFE = re.compile(rf"{_NAME}\Z")
_MINE = re.compile(
    rf"(robobench\.json|cells\.json|rows/{_NAME}\.(parquet|json)|images/{_NAME}/{_NAME}\.safetensors"
    rf"|(runs|failures|excluded|yardsticks|gallery|speed|verified)/{_NAME}\.json)\Z"
)
_SPARE = re.compile(r"(boards/|preparations/|\.lock\Z)")  # of a working folder; nobody asks for them
_VERIFIED = "verified/"
_TEXTS = (rowfiles.CELL, "model", "condition", rowfiles.IMAGE)
_WHOLE = (*RANKS, "queries", "stage")
_FLAGS = ("fooled", "fooled_8bit", "inherited", "blind", "unlike", "probabilities")
_REAL = (*PROBABILITIES, "linf", "l2", "grad_zero", "loss_gain")


@dataclass(frozen=True)
class MadeModel:
    """The model that made some rows."""

    name: str
    digest: str
    weights: str
    family: str | None = None
    parameters: int | None = None
    input_size: int | None = None
    warning: str | None = None


@dataclass(frozen=True)
class MadeData:
    """The data that some rows are of."""

    title: str
    revision: str
    view: str


@dataclass(frozen=True)
class Provenance:
    """What made some rows, as `engine.provenance` writes it."""

    suite: str
    suite_digest: str
    model: MadeModel
    data: MadeData
    seed: int
    precision: str
    device: str
    hardware: str
    versions: Mapping[str, str]
    platform: str
    time: str
    commit: str | None = None


@dataclass(frozen=True)
class Made:
    """What made the rows of some cells, and where their attacked images are."""

    provenance: Provenance
    cells: tuple[str, ...]
    images: int
    kept: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Described:
    """What a cell is, for people."""

    model: str
    spec: str
    condition: str
    ladder: str
    data: str
    level: Json = None


@dataclass(frozen=True)
class _Yardstick:
    images: int
    psnr: float
    ssim: float


@dataclass(frozen=True)
class _Picture:
    image: str
    condition: str
    png: str


@dataclass(frozen=True)
class _Gallery:
    credit: str
    pictures: tuple[_Picture, ...]


_FORMS: Mapping[str, Any] = {
    "cells.json": Mapping[str, _Described],
    "failures": CellFailure,
    "excluded": Mapping[str, str],
    "yardsticks": _Yardstick,
    "gallery": _Gallery,
    "speed": tuple[Speed, ...],
}


@dataclass
class Files:
    """What was found: problems, the records of what made rows, and the cells that have rows."""

    problems: list[Problem] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    cells: set[str] = field(default_factory=set)

    @property
    def sound(self) -> bool:
        """Whether the files can be read as a results folder: then what is in them can be looked at."""
        return not any(not p.warning for p in self.problems)


def look_at_files(root: Path) -> Files:
    """Read every file of a folder, and follow none out of it."""
    found = Files()
    paths = list(_walk(root, found))
    for path in paths:
        name = path.relative_to(root).as_posix()
        try:
            if path.suffix == ".parquet":
                _parquet(path, name, found)
            elif path.suffix == ".json" and not name.startswith(_VERIFIED):
                _json_file(path, name, found)
        except StoreError as error:
            found.problems.append(Problem(name, "a file as robobench writes it", reason(error, root)))
    _pairs({p.relative_to(root).as_posix() for p in paths}, found)
    if any(p.relative_to(root).as_posix().startswith(_VERIFIED) for p in paths):
        found.problems.append(
            Problem(_VERIFIED, "to be verified by others", "its own verification; it does not count", True)
        )
    return found


def _walk(root: Path, found: Files) -> Iterator[Path]:
    """The regular files that belong to a results folder; everything else is a problem."""
    for folder, folders, names in os.walk(root, followlinks=False):
        for name in sorted((*folders, *names)):
            path = Path(folder) / name
            where = path.relative_to(root).as_posix()
            if path.is_symlink():
                found.problems.append(Problem(short(where), "files and folders of its own", "a link"))
            elif name in folders or _SPARE.match(where):
                continue
            elif not _MINE.match(where) or not path.is_file():
                found.problems.append(Problem(short(where), "only files of a results folder", "another file"))
            else:
                yield path


def read_json(path: Path) -> Any:
    """JSON of a bounded size, with finite numbers. Raises StoreError."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no number of JSON")

    try:
        if path.stat().st_size > _LARGEST:
            raise StoreError(f"more than {_LARGEST >> 20} MiB")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"cannot be read as JSON: {error}") from None


def _json_file(path: Path, name: str, found: Files) -> None:
    content = read_json(path)
    _paths(content, name, found)
    kind = name.partition("/")[0]
    if kind == "rows":
        _records(content, name, found)
    elif kind == "runs":
        record = from_json(content)
        if record.fingerprint != path.stem:
            found.problems.append(Problem(name, "the fingerprint in its name", short(record.fingerprint)))
    elif kind in _FORMS:
        value(content, _FORMS[kind], name)


def _records(content: Any, name: str, found: Files) -> None:
    """What made the rows of a file: one record, or several of a compacted one."""
    for one in content if isinstance(content, list) else [content]:
        made: Made = value(one, Made, "record")
        names = (*made.cells, *made.kept, *(Path(n).stem for n in made.kept.values()))
        wrong = [n for n in names if not _SAFE.match(n)]
        wrong += [n for n in made.kept.values() if not _SAFE.match(n) or not n.endswith(".safetensors")]
        if wrong:
            raise StoreError(f"{wrong[0]!r} is no name of a cell or a file")
        found.made.append(made)


def _paths(content: Any, name: str, found: Files) -> None:
    """Results travel, machines do not: no absolute path anywhere but in ids of images and in pixels."""
    for where, text in _texts(content):
        if without_paths(text) != text:
            found.problems.append(Problem(f"{name}: {short(where)}", "no absolute path", short(text)))


def _texts(content: Any, where: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(content, str):
        yield where, content
    elif isinstance(content, dict):
        for key, inner in content.items():
            if key not in ("order", "excluded", "ids", "png", "image"):
                yield from _texts(inner, f"{where}.{key}".lstrip("."))
    elif isinstance(content, list):
        for i, inner in enumerate(content):
            yield from _texts(inner, f"{where}[{i}]")


def _parquet(path: Path, name: str, found: Files) -> None:
    """Columns of known names and types; a cell and an image in every row. Raises StoreError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with rowfiles.readable(path):
        schema = pq.read_schema(path)
        for column in schema:
            if not _of_its_type(column):
                found.problems.append(
                    Problem(f"{name}: {short(column.name)}", "a known column", str(column.type))
                )
        lacking = {rowfiles.CELL, rowfiles.IMAGE} - set(schema.names)
        if lacking or len(set(schema.names)) < len(schema.names):
            raise StoreError(f"expected the columns cell and image_id, each once, got {short(schema.names)}")
        owners = pq.read_table(path, columns=[rowfiles.CELL, rowfiles.IMAGE])
    if any(owners[c].null_count for c in owners.column_names):
        raise StoreError("a row without a cell or an image")
    found.cells |= {str(v) for v in owners[rowfiles.CELL].cast(pa.string()).unique().to_pylist()}


def _of_its_type(column: pa.Field) -> bool:
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if column.name in _TEXTS:
        return bool(pa.types.is_string(kind))
    if column.name in _WHOLE:
        return bool(pa.types.is_int32(kind))
    if column.name in _FLAGS:
        return bool(pa.types.is_boolean(kind))
    if column.name == LOGITS:
        listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        return bool(listed and pa.types.is_float32(kind.value_type))
    return bool(pa.types.is_float32(kind)) and (column.name in _REAL or column.name.startswith("x_"))


def _pairs(names: set[str], found: Files) -> None:
    """Rows and the record of what made them stand beside one another; kept images where a record says so."""
    for name in sorted(n for n in names if n.startswith("rows/")):
        stem, _, kind = name.rpartition(".")
        other = f"{stem}.{'json' if kind == 'parquet' else 'parquet'}"
        if other not in names:
            found.problems.append(Problem(name, f"{other} beside it", "nothing"))
    said = {f"images/{cell}/{file}" for made in found.made for cell, file in made.kept.items()}
    there = {n for n in names if n.startswith("images/")}
    for name in sorted(said - there):
        found.problems.append(Problem(name, "a file of attacked images, as a record says", "nothing"))
    for name in sorted(there - said):
        found.problems.append(Problem(name, "a record that names these images", "none"))
