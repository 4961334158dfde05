"""Content digests of many files, remembered by size and time of change: a warm start reads no pixels."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from robobench.keys import digest, file_digest

_FORMAT = 1
_SETTLED_NS = 2_000_000_000  # a file changed less than this before it was read may change again unseen
_THREADS = 4

Stamp = tuple[int, int]  # size in bytes, time of the last change in ns
Entries = dict[str, tuple[int, int, str]]  # name -> stamp and digest


def cache_folder() -> Path | None:
    """Where robobench keeps what it can always work out again: $ROBOBENCH_CACHE or ~/.cache/robobench.

    None, which switches caching off, when the variable is empty.
    """
    place = os.environ.get("ROBOBENCH_CACHE", "~/.cache/robobench")
    return Path(place).expanduser() if place else None


def content_digests(root: Path, files: Mapping[str, Stamp]) -> tuple[dict[str, str], dict[str, str]]:
    """The digest of each file's content, and the reason for each that cannot be read.

    files: name below `root` -> its stamp. A digest is taken from the cache when size and time of
    change are what they were. The cache is one JSON file per root; one that is damaged or cannot be
    written costs time and nothing else.
    """
    place = cache_folder()
    path = place / "digests" / f"{digest(root.resolve())}.json" if place else None
    known = _load(path) if path else {}
    found = {n: known[n][2] for n, stamp in files.items() if n in known and known[n][:2] == stamp}
    started = time.time_ns()
    fresh, failed = _digests(root, [n for n in files if n not in found])
    found.update(fresh)
    settled = {n: (*files[n], d) for n, d in found.items() if files[n][1] < started - _SETTLED_NS}
    if path and settled != known:
        _save(path, settled)
    return found, failed


def remembered_digest(file: Path) -> str:
    """The digest of one file's content, remembered as in `content_digests`. Raises OSError."""
    status = file.stat()
    found, failed = content_digests(file, {"": (status.st_size, status.st_mtime_ns)})
    if failed:
        raise OSError(failed[""])
    return found[""]


def _digests(root: Path, names: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    def one(name: str) -> tuple[str, str | None, str]:
        try:
            return name, file_digest(root / name), ""
        except OSError as error:
            return name, None, error.strerror or str(error)

    with ThreadPoolExecutor(_THREADS) as pool:
        done = list(pool.map(one, names))
    return {n: d for n, d, _ in done if d is not None}, {n: why for n, d, why in done if d is None}


def _load(path: Path) -> Entries:
    """The remembered digests; none when the file is missing, damaged or of another format."""
    try:
        stored: Any = json.loads(path.read_bytes())
        if stored["format"] != _FORMAT:
            return {}
        return {
            str(name): (int(size), int(changed), str(content))
            for name, (size, changed, content) in stored["files"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _save(path: Path, entries: Entries) -> None:
    """Write the whole file beside its place and move it there. A folder that refuses is left alone."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"format": _FORMAT, "files": entries}, file)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
