"""A tree of class folders: which image files it holds, whatever its links and hidden files."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import stat_result
from pathlib import Path

from robobench.data.digests import Stamp
from robobench.errors import DataError
from robobench.images import SUFFIXES


@dataclass
class ClassTree:
    """What was found below a folder. Names are relative, with forward slashes.

    images: for each class folder its images and their stamps. damaged: those among them that are known
    to be unreadable without opening them, with the reason. ignored: how many files of other kinds there
    are, by suffix. loose: how many images lie in no class folder.
    """

    images: dict[str, dict[str, Stamp]] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    loose: int = 0


_LITTER = frozenset({"__MACOSX", "__pycache__"})


def walk(root: Path, where: str) -> ClassTree:
    """List a tree whose first level is one folder per class; what lies deeper belongs to that class.

    Links are followed; a folder that was already seen in its class is not entered again, so loops end.
    Names that start with "." are skipped. Raises DataError, naming `where`, for a folder that
    is missing or cannot be listed, and for an image or class whose name is not one line of UTF-8.
    """
    tree = ClassTree()
    top = _status(root)
    if top is None or not stat.S_ISDIR(top.st_mode):
        found = "no such folder" if top is None else "not a folder"
        raise DataError(f"{where}: {found}; expected a folder with one folder of images per class")
    for name, status in _entries(root, where):
        if status is not None and stat.S_ISDIR(status.st_mode):
            _check_name(name, where)
            images = tree.images.setdefault(name, {})
            for file, facts in _files(root, name, where, {_identity(top), _identity(status)}):
                _add(tree, images, file, facts, where)
        elif _suffix(name) in SUFFIXES:
            tree.loose += 1
        else:
            tree.ignored[_suffix(name) or "none"] += 1
    return tree


def gather(root: Path, where: str) -> ClassTree:
    """List every image below a folder, also those in the folder itself, as the images of one class `""`.

    Links, hidden files, names and errors as in `walk`.
    """
    tree = ClassTree(images={"": {}})
    top = _status(root)
    if top is None or not stat.S_ISDIR(top.st_mode):
        found = "no such folder" if top is None else "not a folder"
        raise DataError(f"{where}: {found}; expected a folder of images")
    seen = {_identity(top)}
    for name, status in _entries(root, where):
        if status is None or not stat.S_ISDIR(status.st_mode):
            _add(tree, tree.images[""], name, status, where)
        elif _identity(status) not in seen:
            seen.add(_identity(status))
            for file, facts in _files(root, name, where, seen):
                _add(tree, tree.images[""], file, facts, where)
    return tree


def _add(tree: ClassTree, images: dict[str, Stamp], name: str, facts: stat_result | None, where: str) -> None:
    suffix = _suffix(name)
    if suffix not in SUFFIXES:
        tree.ignored[suffix or "none"] += 1
        return
    _check_name(name, where)
    images[name] = (facts.st_size, facts.st_mtime_ns) if facts else (0, 0)
    if facts is None:
        tree.damaged[name] = "a link that leads nowhere"
    elif not stat.S_ISREG(facts.st_mode):
        tree.damaged[name] = "not a regular file"
    elif facts.st_size == 0:
        tree.damaged[name] = "the file is empty"


def _suffix(name: str) -> str:
    stem, dot, end = name.rpartition("/")[2].rpartition(".")
    return f".{end.lower()}" if dot and stem else ""


def _files(
    root: Path, folder: str, where: str, seen: set[tuple[int, int]]
) -> Iterator[tuple[str, stat_result | None]]:
    """Every file below a folder of the tree, named from the root, in alphabetical order of its parts."""
    for name, status in _entries(root / folder, where):
        path = f"{folder}/{name}"
        if status is None or not stat.S_ISDIR(status.st_mode):
            yield path, status
        elif _identity(status) not in seen:
            seen.add(_identity(status))
            yield from _files(root, path, where, seen)


def _entries(folder: Path, where: str) -> list[tuple[str, stat_result | None]]:
    """Names in a folder and what they lead to, without hidden ones."""
    try:
        with os.scandir(folder) as found:  # several times faster than pathlib, which large sets feel
            entries = sorted((e.name, _status(e)) for e in found if not e.name.startswith("."))
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{where}: the folder {folder} cannot be listed: {reason}; check its rights"
        ) from error
    return [e for e in entries if e[0] not in _LITTER]


def _check_name(name: str, where: str) -> None:
    """An id goes into tables and JSON: it has to be UTF-8 text on one line."""
    if name.isascii() and name.isprintable():
        return
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in name):
        raise DataError(f"{where}: the name {name!r} holds control characters or is not UTF-8; rename it")


def _status(path: Path | os.DirEntry[str]) -> stat_result | None:
    """What a path leads to, None where it leads nowhere or round in a circle."""
    try:
        return path.stat()
    except OSError:
        return None


def _identity(status: stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
