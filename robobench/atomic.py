"""Files that are there whole or not at all, and what a disk refuses as a message."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robobench.errors import StoreError

HALF = ".*.part"  # what a kill leaves behind of a file that was being written


def place(path: Path, fill: Callable[[Path], Any]) -> None:
    """Fill a file beside its place, flush it to the disk, rename it. Raises StoreError."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    with disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fill(part)
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def place_text(path: Path, text: str) -> None:
    """The same for a text, in UTF-8 and with its line ends as they are."""
    place(path, lambda part: part.write_bytes(text.encode("utf-8")))


@contextmanager
def disk(path: Path) -> Iterator[None]:
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
