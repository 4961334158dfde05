"""Canonical JSON and content digests: equal values, equal keys, on every machine."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

LATER = "later"  # in a field's metadata: its default is left out of keys
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}\Z")
LENGTH = 20  # hex digits of a key: 80 bits, far beyond any number of cells


def plain(value: Any) -> Any:
    """A value as JSON types: dataclasses become objects, tuples lists; anything else is refused.

    Raises TypeError for a value with no canonical form, so that a key never depends on a `repr`.
    """
    if value is None or (isinstance(value, (bool, int, str)) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"a key cannot hold {value!r}")
        return int(value) if value == int(value) and abs(value) < 2**53 else value
    if isinstance(value, Enum):
        return plain(value.value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if not _unused(value, f)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(v) for v in value), key=lambda v: json.dumps(v, sort_keys=True))
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"no canonical form for {type(value).__name__}: {value!r}")


def _unused(value: Any, option: Field[Any]) -> bool:
    """Whether a field is an option that came later and is not used here: then old keys stay as they were."""
    return bool(option.metadata.get(LATER)) and bool(getattr(value, option.name) == option.default)


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces, and whole floats written as integers.

    >>> canonical({"b": 1.0, "a": (1, 2)})
    '{"a":[1,2],"b":1}'
    """
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(*values: Any) -> str:
    """The key of some values: the first 80 bits of the SHA-256 of their canonical JSON, in hex.

    >>> digest("a", 1) == digest("a", 1.0)
    True
    >>> digest("a", "b") == digest("ab")
    False
    """
    return hashlib.sha256(canonical(list(values)).encode()).hexdigest()[:LENGTH]


def bytes_digest(data: bytes) -> str:
    """The key of some bytes."""
    return hashlib.sha256(data).hexdigest()[:LENGTH]


def file_digest(path: Path) -> str:
    """The key of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:LENGTH]


def is_name(text: object) -> bool:
    """Whether a text may name a file in a results folder: it leads nowhere else.

    >>> is_name("3f0a.safetensors"), is_name("../3f0a"), is_name(""), is_name(".x"), is_name("a/b")
    (True, False, False, False, False)
    """
    return isinstance(text, str) and _NAME.match(text) is not None


def as_file(value: Any) -> str:
    """The JSON of `canonical` for people to read: sorted, a value a line."""
    return json.dumps(json.loads(canonical(value)), indent=1, sort_keys=True) + "\n"
