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
  gallery/<fingerprint>.json   pictures of a run's most hurt images, where they may be shown
  speed/<model>.json           how fast a model is, measured here or there
  images/<cell>/<key>.safetensors   attacked images of the rows of an item, where a run keeps them
  cells.json                   what each cell key stands for
  runs/<fingerprint>.json      suite, data and models of each run
  verified/<key>.json          what came of computing some of a model's rows again, see `engine.verified`
```
A Parquet file exists only when it is complete: everything is written beside its place, flushed to the
disk and renamed. A compacted file names the files it replaces, so that a kill between writing it and
deleting them leaves nothing counted twice.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robobench import rowfiles
from robobench.asides import Asides
from robobench.atomic import HALF, disk, place
from robobench.errors import StoreError
from robobench.keys import as_file, canonical, digest, is_name
from robobench.lossless import Damaged, Kept, names_in
from robobench.types import Cell, CellFailure, WorkItem

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
MANIFEST = "robobench.json"
BOARD = "results"  # where the folder of a published board has its rows
_COMPACT_ABOVE = 16  # small files before they are joined
_SMALL, _LARGE = 2**26, 2**27  # bytes of columns: a file below is small, one of joined ones is about so large


@dataclass(frozen=True)
class Store:
    """A results folder. Opening one checks its format; `writing()` is needed to add to it."""

    root: Path

    @classmethod
    def open(cls, root: Path, *, create: bool = False) -> Store:
        """Open a results folder, or the one inside a published board's.

        Raises StoreError when it is missing, foreign or of a newer format.
        """
        if not create and (root / BOARD / MANIFEST).is_file():
            root = root / BOARD
        manifest = root / MANIFEST
        if not manifest.is_file():
            if root.exists() and not root.is_dir():
                raise StoreError(
                    f"{root}: is a file; expected a results folder, as `robobench run` makes them"
                )
            if not create:
                raise StoreError(f"{root}: no results there; `robobench run SUITE --out {root}` makes some")
            if root.is_dir() and any(p.name != ".lock" for p in root.iterdir()):
                raise StoreError(
                    f"{root}: the folder holds other files and no {MANIFEST}: choose an empty or new one"
                )
            store = cls(root)
            store._write(manifest, canonical({"format": FORMAT}).encode())
            return store
        cls(root)._check_format(manifest)
        return cls(root)

    def _check_format(self, manifest: Path) -> None:
        try:
            found = json.loads(manifest.read_text())["format"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
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
        with disk(path), path.open("a+") as lock:
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

    @property
    def asides(self) -> Asides:
        """What is known besides the rows: distances, speeds, pictures, verifications."""
        return Asides(self.root)

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
        self._write(self.root / "rows" / f"{key}.json", _json(record))
        place(self.root / "rows" / f"{key}.parquet", lambda part: rowfiles.write(table, part))
        for cell, ids in item.missing.items():
            self._forget_failures(cell, ids)

    def take_over(
        self,
        rows: pa.Table,
        records: Sequence[Mapping[str, Any]],
        cells: Mapping[str, Any],
        images: Iterable[tuple[str, Path]] = (),
    ) -> None:
        """Write rows of another folder as one file.

        records: what made them, as `provenance` gives it. cells: what their cells stand for. images: of some
        cells files of attacked images, which the records name.
        """
        key = digest(sorted(cells), rows.num_rows)
        for cell, path in images:
            _check_names(path, (cell, path.name))
            self._write(self.root / "images" / cell / path.name, path.read_bytes())
        self._write(self.root / "cells.json", _json({**self.describe(), **cells}))
        self._write(self.root / "rows" / f"{key}.json", _json(list(records)))
        place(self.root / "rows" / f"{key}.parquet", lambda part: rowfiles.write(rows, part))

    def have(self, cells: Iterable[str]) -> dict[str, frozenset[str]]:
        """The image ids that each of the cells has rows for. Raises StoreError."""
        wanted = frozenset(cells)
        coded = rowfiles.by_cell(self.row_files(), wanted, ())
        shared: list[tuple[rowfiles.Places, frozenset[str]]] = []  # most cells have the same images
        found = dict.fromkeys(wanted, frozenset[str]())
        for cell, places in coded.places.items():
            same = next((ids for other, ids in shared if np.array_equal(other, places)), None)
            if same is None:
                same = frozenset(coded.images[i] for i in places)
                shared = [(places, same), *shared[:7]]
            found[cell] = same
        return found

    def coded(self, cells: Iterable[str], columns: Collection[str] | None = None) -> rowfiles.Coded:
        """The rows of some cells, sorted by image id, as codes of the ids and with some columns or all.

        What reads many cells reads them like this. Raises StoreError when an image is there twice.
        """
        return rowfiles.by_cell(self.row_files(), frozenset(cells), columns)

    def rows(self, cells: Iterable[str]) -> dict[str, pa.Table]:
        """The rows of each cell, sorted by image id. Raises StoreError when an image is there twice."""
        import pyarrow as pa

        coded = self.coded(cells)
        images = pa.array(coded.images, pa.string())
        found = {}
        for cell, table in coded.tables.items():
            owner = pa.array([cell]).dictionary_encode().take(pa.array([0] * table.num_rows))
            ids = images.take(pa.array(coded.places[cell]))
            found[cell] = table.add_column(0, rowfiles.IMAGE, ids).add_column(0, rowfiles.CELL, owner)
        return found

    def provenance(self) -> list[dict[str, Any]]:
        """What made the rows, an entry per file: `provenance`, `cells`, `images`."""
        return [record for path in self.row_files() for record in self._records(path)]

    def _records(self, path: Path) -> list[dict[str, Any]]:
        sidecar = path.with_suffix(".json")
        try:
            content = json.loads(sidecar.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(f"{sidecar}: the record of what made {path.name} is damaged: {error}") from None
        records = content if isinstance(content, list) else [content]
        if not all(_is_record(r) for r in records):
            raise StoreError(f"{sidecar}: does not say what made {path.name}: no model, time or cells")
        for record in records:
            kept = record.get("kept", {})
            _check_names(sidecar, (*record["cells"], *kept, *kept.values()))
        return records

    def describe(self) -> dict[str, Any]:
        """Cell key -> model, condition and data, for people and queries."""
        path = self.root / "cells.json"
        return dict(json.loads(path.read_text())) if path.is_file() else {}

    def compact(self) -> None:
        """Join many small files into few large ones. Crash-safe; rows are unchanged."""
        small = {path: size for path in self.row_files() if (size := rowfiles.weight(path)) < _SMALL}
        if len(small) <= _COMPACT_ABOVE:
            return
        batch: list[Path] = []
        for path in sorted(small, key=self._whose):
            batch.append(path)
            if sum(small[p] for p in batch) >= _LARGE:
                self._join(batch)
                batch = []
        self._join(batch)
        self._tidy()

    def _whose(self, path: Path) -> tuple[str, str]:
        """The model of a file, to join a model's files with one another, and its name."""
        return str(self._records(path)[0]["provenance"]["model"]["digest"]), path.stem

    def _join(self, paths: Sequence[Path]) -> None:
        if len(paths) < 2:
            return
        names = sorted(p.stem for p in paths)
        key = digest(names)
        records = [record for path in sorted(paths) for record in self._records(path)]
        self._write(self.root / "rows" / f"{key}.json", _json(records))
        table = rowfiles.joined(sorted(paths))
        table = table.replace_schema_metadata({rowfiles.REPLACES: json.dumps(names).encode()})
        place(self.root / "rows" / f"{key}.parquet", lambda part: rowfiles.write(table, part))

    # failures and exclusions

    def put_failure(self, failure: CellFailure) -> None:
        """Record work that could not be done; the next run tries it again."""
        key = digest(failure.cell, sorted(failure.ids))
        self._write(self.root / "failures" / f"{failure.cell}-{key}.json", _json(asdict(failure)))

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
            self._write(self.root / "excluded" / f"{revision}.json", _json(known))

    # runs

    def put_run(self, fingerprint: str, record: Mapping[str, Any]) -> None:
        """Keep the protocol of a run, under its fingerprint."""
        turn = 1 + max((r["turn"] for r in self.runs()), default=0)
        self._write(self.root / "runs" / f"{fingerprint}.json", _json({**record, "turn": turn}))

    def runs(self) -> list[dict[str, Any]]:
        """The protocols of all runs, oldest first."""
        found = []
        for path in (self.root / "runs").glob("*.json"):
            try:
                run = dict(json.loads(path.read_text()))
            except (OSError, ValueError, TypeError, RecursionError) as error:
                raise StoreError(f"{path}: the record of a run is damaged: {error}") from None
            kinds = {"turn": int, "suite": str, "fingerprint": str}
            wrong = [name for name, kind in kinds.items() if not isinstance(run.get(name), kind)]
            if wrong:
                raise StoreError(f"{path}: the record of a run has no {wrong[0]!r}")
            found.append(run)
        return sorted(found, key=lambda r: int(r["turn"]))

    # attacked images

    def image_files(self, cells: Iterable[str]) -> dict[str, list[Path]]:
        """For each cell the files of attacked images: those that are there, and those that should be."""
        wanted = tuple(cells)
        _check_names(self.root, wanted)
        folders = {cell: self.root / "images" / cell for cell in wanted}
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

    def row_files(self) -> list[Path]:
        """Row files that no compacted file has replaced."""
        return rowfiles.live(self.root / "rows")

    def _describe(self, cells: Iterable[Cell]) -> None:
        known = self.describe()
        new = {c.key: _description(c) for c in cells if c.key not in known}
        if new:
            self._write(self.root / "cells.json", _json({**known, **new}))

    def _write(self, path: Path, data: bytes) -> None:
        place(path, lambda part: part.write_bytes(data))

    def _tidy(self) -> None:
        """Remove what a kill left behind: half-written files, and files that compaction has replaced."""
        for part in self.root.rglob(HALF):
            part.unlink(missing_ok=True)
        live = {p.stem for p in self.row_files()}
        for path in (self.root / "rows").glob("*"):
            if path.stem not in live:
                path.unlink(missing_ok=True)


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


def _is_record(content: Any) -> bool:
    """Whether JSON can be the record of what made some rows."""
    made = content.get("provenance") if isinstance(content, dict) else None
    model = made.get("model") if isinstance(made, dict) else None
    if not isinstance(made, dict) or not isinstance(model, dict):
        return False
    texts = (made.get("time"), model.get("digest"), model.get("weights"))
    if not isinstance(content.get("kept", {}), dict):
        return False
    return all(isinstance(t, str) for t in texts) and isinstance(content.get("cells"), list)


def _check_names(file: Path, names: Iterable[object]) -> None:
    """Keys and names of files, which become paths, lead out of no folder. Raises StoreError."""
    wrong = next((n for n in names if not is_name(n)), None)
    if wrong is not None:
        raise StoreError(f"{file}: {str(wrong)[:80]!r} is no name of a cell or a file")


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


def _json(value: Any) -> bytes:
    return as_file(value).encode()
