"""Results on disk: append-only, written whole or not at all, content-addressed, with a format version.

```
results/
  robobench.json               the format's version
  rows/<key>.parquet           the rows of one work item, or of many after compaction
  rows/<key>.json              what made them: versions, device, weights, time
  failures/<key>.json          work that could not be done, until it is
  excluded/<revision>.json     images that cannot be decoded
  preparations/<key>/*.safetensors
  yardsticks/<key>.json        how far a condition takes images from the clean ones
  images/<cell>/<key>.safetensors   attacked images of the rows of an item, where a run keeps them
  cells.json                   what each cell key stands for
  runs/<fingerprint>.json      suite, data and models of each run
```
A Parquet file exists only when it is complete: everything is written beside its place, flushed to the
disk and renamed. A compacted file names the files it replaces, so that a kill between writing it and
deleting them leaves nothing counted twice.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robobench.errors import StoreError
from robobench.keys import canonical, digest
from robobench.lossless import Damaged, Kept, names_in
from robobench.types import Cell, CellFailure, WorkItem, Yardstick, finite

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
_MANIFEST = "robobench.json"
_REPLACES = b"robobench.replaces"
_COMPACT_ABOVE = 16  # small files of one model before they are joined


@dataclass(frozen=True)
class Store:
    """A results folder. Opening one checks its format; `writing()` is needed to add to it."""

    root: Path

    @classmethod
    def open(cls, root: Path, *, create: bool = False) -> Store:
        """Open a results folder. Raises StoreError when it is missing, foreign or of a newer format."""
        manifest = root / _MANIFEST
        if not manifest.is_file():
            if not create:
                raise StoreError(f"{root}: no results there; `robobench run SUITE --out {root}` makes some")
            if root.is_dir() and any(p.name != ".lock" for p in root.iterdir()):
                raise StoreError(
                    f"{root}: the folder holds other files and no {_MANIFEST}: choose an empty or new one"
                )
            store = cls(root)
            store._write(manifest, canonical({"format": FORMAT}).encode())
            return store
        cls(root)._check_format(manifest)
        return cls(root)

    def _check_format(self, manifest: Path) -> None:
        try:
            found = json.loads(manifest.read_text())["format"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{manifest}: cannot be read ({error}): is this a results folder?") from None
        if found != FORMAT:
            raise StoreError(
                f"{self.root}: written in results format {found!r}; this robobench reads {FORMAT}. "
                "Upgrade it (`pip install -U robobench`) or choose another folder with --out"
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder: one run writes to it at a time. Raises StoreError when another one does."""
        path = self.root / ".lock"
        with _disk(path), path.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                who = lock.read().strip() or "unknown"
                raise StoreError(
                    f"{self.root}: another run (process {who}) is writing to it: "
                    "wait for it, or give this one its own folder with --out"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            self._tidy()
            try:
                yield
            finally:
                lock.truncate(0)

    # rows

    def put(
        self,
        item: WorkItem,
        tables: Sequence[pa.Table],
        provenance: Mapping[str, Any],
        images: Mapping[str, Kept] | None = None,
    ) -> None:
        """Write an item's rows whole: first what made them, then, by rename, the rows.

        images: of some of its cells the attacked images; written before the rows, they count with them.
        """
        import pyarrow as pa

        key = item.key
        table = pa.concat_tables(tables, promote_options="default").combine_chunks()
        record = {"provenance": dict(provenance), "cells": sorted(item.missing), "images": len(item.ids)}
        for cell, kept in (images or {}).items():
            self._write(self.root / "images" / cell / f"{key}.safetensors", kept.to_bytes())
        if images is not None:
            record["kept"] = {cell: f"{key}.safetensors" for cell in sorted(images)}
        self._describe(item.cells)
        self._write(self.root / "rows" / f"{key}.json", _pretty(record))
        self._write_table(self.root / "rows" / f"{key}.parquet", table)
        for cell, ids in item.missing.items():
            self._forget_failures(cell, ids)

    def have(self, cells: Iterable[str]) -> dict[str, set[str]]:
        """The image ids that each of the cells has rows for."""
        import pyarrow.compute as pc

        wanted = set(cells)
        found: dict[str, set[str]] = {c: set() for c in wanted}
        for path in self.row_files():
            table = self._read(path, ["cell", "image_id"])
            for cell in pc.unique(table["cell"]).to_pylist():
                if cell in wanted:
                    mine = table.filter(pc.equal(table["cell"], cell))
                    found[cell].update(mine["image_id"].to_pylist())
        return found

    def rows(self, cells: Iterable[str]) -> dict[str, pa.Table]:
        """The rows of each cell, sorted by image id. Raises StoreError when an image is there twice."""
        import pyarrow as pa
        import pyarrow.compute as pc

        parts: dict[str, list[pa.Table]] = {c: [] for c in cells}
        for path in self.row_files():
            table = self._read(path)
            for cell in pc.unique(table["cell"]).to_pylist():
                if cell in parts:
                    parts[cell].append(table.filter(pc.equal(table["cell"], cell)))
        joined = {}
        for cell, tables in parts.items():
            if not tables:
                continue
            whole = pa.concat_tables(tables, promote_options="default").sort_by("image_id")
            if pc.count_distinct(whole["image_id"]).as_py() != whole.num_rows:
                raise StoreError(
                    f"{self.root}: cell {cell} has an image twice: were folders copied together?"
                )
            joined[cell] = whole
        return joined

    def provenance(self) -> list[dict[str, Any]]:
        """What made the rows, an entry per file: `provenance`, `cells`, `images`."""
        records = []
        for path in self.row_files():
            sidecar = path.with_suffix(".json")
            try:
                content = json.loads(sidecar.read_text())
            except (OSError, ValueError) as error:
                raise StoreError(
                    f"{sidecar}: the record of what made {path.name} is damaged: {error}"
                ) from None
            records.extend(content if isinstance(content, list) else [content])
        return records

    def describe(self) -> dict[str, Any]:
        """Cell key -> model, condition and data, for people and queries."""
        path = self.root / "cells.json"
        return dict(json.loads(path.read_text())) if path.is_file() else {}

    def compact(self) -> None:
        """Join many small files into one. Crash-safe; rows are unchanged."""
        import pyarrow as pa

        small = self.row_files()
        if len(small) <= _COMPACT_ABOVE:
            return
        table = pa.concat_tables([self._read(p) for p in small], promote_options="default")
        table = _sorted(table)
        names = sorted(p.stem for p in small)
        key = digest(names)
        self._write(self.root / "rows" / f"{key}.json", _pretty(self.provenance()))
        table = table.replace_schema_metadata({_REPLACES: json.dumps(names).encode()})
        self._write_table(self.root / "rows" / f"{key}.parquet", table)
        self._tidy()

    # failures and exclusions

    def put_failure(self, failure: CellFailure) -> None:
        """Record work that could not be done; the next run tries it again."""
        key = digest(failure.cell, sorted(failure.ids))
        self._write(self.root / "failures" / f"{failure.cell}-{key}.json", _pretty(asdict(failure)))

    def failures(self, cells: Iterable[str]) -> list[CellFailure]:
        """The recorded failures of some cells."""
        wanted = set(cells)
        found = []
        for path in sorted((self.root / "failures").glob("*.json")):
            if path.name.partition("-")[0] in wanted:
                entry = json.loads(path.read_text())
                found.append(CellFailure(**{**entry, "ids": tuple(entry["ids"])}))
        return found

    def _forget_failures(self, cell: str, ids: frozenset[str]) -> None:
        """Drop the records of what has been made good: those whose images all have rows now."""
        for path in (self.root / "failures").glob(f"{cell}-*.json"):
            if ids.issuperset(json.loads(path.read_text())["ids"]):
                path.unlink(missing_ok=True)

    def excluded(self, revision: str) -> dict[str, str]:
        """Images of a data revision that cannot be decoded, with the reason."""
        path = self.root / "excluded" / f"{revision}.json"
        return dict(json.loads(path.read_text())) if path.is_file() else {}

    def exclude(self, revision: str, images: Mapping[str, str]) -> None:
        """Take images out of a data revision, for every model."""
        if images:
            known = {**self.excluded(revision), **images}
            self._write(self.root / "excluded" / f"{revision}.json", _pretty(known))

    # yardsticks

    def put_yardstick(self, key: str, value: Yardstick) -> None:
        """Keep how far a condition is from clean; what is not finite becomes null."""
        content = {"psnr": finite(value.psnr), "ssim": finite(value.ssim), "images": value.images}
        self._write(self.root / "yardsticks" / f"{key}.json", _pretty(content))

    def yardstick(self, key: str) -> Yardstick | None:
        """What `put_yardstick` kept, if anything; a damaged file counts as nothing."""
        try:
            found = json.loads((self.root / "yardsticks" / f"{key}.json").read_text())
            ratio = math.inf if found["psnr"] is None else float(found["psnr"])
            return Yardstick(ratio, math.nan if found["ssim"] is None else found["ssim"], found["images"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    # runs

    def put_run(self, fingerprint: str, record: Mapping[str, Any]) -> None:
        """Keep the protocol of a run, under its fingerprint."""
        turn = 1 + max((r["turn"] for r in self.runs()), default=0)
        self._write(self.root / "runs" / f"{fingerprint}.json", _pretty({**record, "turn": turn}))

    def runs(self) -> list[dict[str, Any]]:
        """The protocols of all runs, oldest first."""
        found = []
        for path in (self.root / "runs").glob("*.json"):
            try:
                found.append(dict(json.loads(path.read_text())))
            except (OSError, ValueError) as error:
                raise StoreError(f"{path}: the record of a run is damaged: {error}") from None
        return sorted(found, key=lambda r: int(r["turn"]))

    # attacked images

    def image_files(self, cells: Iterable[str]) -> dict[str, list[Path]]:
        """For each cell the files of attacked images: those that are there, and those that should be."""
        folders = {cell: self.root / "images" / cell for cell in cells}
        found = {cell: set(folder.glob("*.safetensors")) for cell, folder in folders.items()}
        for record in self.provenance():
            for cell, name in record.get("kept", {}).items():
                if cell in found:
                    found[cell].add(folders[cell] / name)
        return {cell: sorted(paths) for cell, paths in found.items()}

    def image_names(self, path: Path) -> dict[str, bool]:
        """Whose images a file holds and whether they fell, without reading pixels. Raises StoreError."""
        with _whole(path):
            return dict(zip(*names_in(path), strict=True))

    def images(self, path: Path) -> Kept:
        """The attacked images in a file. Raises StoreError when it is not as it was written."""
        with _whole(path):
            return Kept.from_file(path)

    # preparations

    def put_prepared(self, key: str, ids: Sequence[str], tensors: Mapping[str, Any]) -> None:
        """Keep what a preparation made for some images (or, with no ids, once for all)."""
        from safetensors.torch import save

        data = save({k: v.contiguous().cpu() for k, v in tensors.items()}, {"ids": json.dumps(list(ids))})
        self._write(self.root / "preparations" / key / f"{digest(list(ids))}.safetensors", data)

    def prepared(self, key: str) -> Iterator[tuple[tuple[str, ...], Path]]:
        """The files of a preparation with the ids they hold."""
        from safetensors import safe_open

        for path in sorted((self.root / "preparations" / key).glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                yield tuple(json.loads(file.metadata()["ids"])), path

    # files

    @cached_property
    def _rows(self) -> Path:
        return self.root / "rows"

    def row_files(self) -> list[Path]:
        """Row files that no compacted file has replaced."""
        import pyarrow.parquet as pq

        paths = sorted(self._rows.glob("*.parquet"))
        gone: set[str] = set()
        for path in paths:
            with _readable(path):
                metadata = pq.read_schema(path).metadata or {}
            gone.update(json.loads(metadata.get(_REPLACES, b"[]")))
        return [p for p in paths if p.stem not in gone]

    def _read(self, path: Path, columns: list[str] | None = None) -> pa.Table:
        import pyarrow.parquet as pq

        with _readable(path):
            return pq.read_table(path, columns=columns)

    def _describe(self, cells: Iterable[Cell]) -> None:
        known = self.describe()
        new = {c.key: _description(c) for c in cells if c.key not in known}
        if new:
            self._write(self.root / "cells.json", _pretty({**known, **new}))

    def _write_table(self, path: Path, table: pa.Table) -> None:
        import pyarrow.parquet as pq

        self._place(path, lambda part: pq.write_table(table, part, compression="zstd"))

    def _write(self, path: Path, data: bytes) -> None:
        self._place(path, lambda part: part.write_bytes(data))

    def _place(self, path: Path, fill: Callable[[Path], Any]) -> None:
        """Fill a file beside its place, flush it to the disk, rename it."""
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
        with _disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                fill(part)
                with part.open("rb+") as file:
                    os.fsync(file.fileno())
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    def _tidy(self) -> None:
        """Remove what a kill left behind: half-written files, and files that compaction has replaced."""
        for part in self.root.rglob(".*.part"):
            part.unlink(missing_ok=True)
        live = {p.stem for p in self.row_files()}
        for path in self._rows.glob("*"):
            if path.stem not in live:
                path.unlink(missing_ok=True)


def _sorted(table: pa.Table) -> pa.Table:
    """Rows by cell and image. Arrow does not sort by dictionary-encoded columns: order by their text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = pa.table({name: table[name].cast(pa.string()) for name in ("cell", "image_id")})
    order = pc.sort_indices(keys, sort_keys=[("cell", "ascending"), ("image_id", "ascending")])
    return table.take(order)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Disk errors as messages: nothing that was written before is lost by any of them."""
    try:
        yield
    except OSError as error:
        where = path.parent
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(where if where.exists() else Path()).free // 2**20
            raise StoreError(
                f"{where}: the disk is full ({free} MiB free). What was finished is safe: free some space "
                "and run the same command again, or choose another folder with --out"
            ) from None
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise StoreError(
                f"{where}: cannot be written ({error.strerror}): choose another folder with --out"
            ) from None
        raise StoreError(f"{path}: {error.strerror or error}") from None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise StoreError(
            f"{path}: the row file is damaged ({error}): delete it, and the next run computes its rows again"
        ) from None


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        yield
    except Damaged as error:
        if not path.exists():
            raise StoreError(
                f"{path}: this file of attacked images is gone; its rows are there, and a run with "
                "--keep-images into a new folder (--out DIR) makes the images again"
            ) from None
        raise StoreError(
            f"{path}: the file of attacked images is damaged ({error}): delete it; its rows stay as "
            "they are, and a run with --keep-images into a new folder (--out DIR) makes the images again"
        ) from None


def _description(cell: Cell) -> dict[str, Any]:
    condition = cell.condition
    return {
        "model": cell.model.name,
        "spec": cell.model.spec,
        "condition": condition.name,
        "ladder": condition.ladder,
        "level": condition.level,
        "data": condition.data,
    }


def _pretty(value: Any) -> bytes:
    return (json.dumps(json.loads(canonical(value)), indent=1, sort_keys=True) + "\n").encode()
