"""Model and data SPECs: `source:path?key=value&...`, read and written without loading anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from robobench.errors import BadSpec

# an absolute path: at the start or behind a separator, so that 8/255, timm/x and https://x are none
_ABSOLUTE = re.compile(
    r"(?:(?<=[\s'\"`(:=@,])|(?<![\s\S]))(?:~[\w.-]*|[A-Za-z]:)?[/\\](?![/\\])[^\s'\"`?&:(),]+"
)
_SOURCE = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(frozen=True)
class Spec:
    """A source's name, what it is asked for, and with which parameters (all text).

    `str(spec)` is canonical: parameters in alphabetical order.
    """

    source: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        query = "&".join(f"{k}={v}" for k, v in sorted(self.params.items()))
        return f"{self.source}:{self.path}" + (f"?{query}" if query else "")


def parse_spec(text: str, *, code_source: str = "") -> Spec:
    """Read `source:path?key=value&...`.

    With `code_source`, text without a source that names a Python factory (`path/file.py:factory` or
    `package.module:factory`) is read as that source. Raises BadSpec.

    >>> parse_spec("timm:vit_tiny_patch16_224?pretrained=false").params["pretrained"]
    'false'
    >>> parse_spec("examples/mine.py:build?width=2", code_source="python").path
    'examples/mine.py:build'
    """
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise BadSpec(f"{text!r}: a SPEC holds no control characters")
    body, _, query = text.partition("?")
    source, colon, path = body.partition(":")
    if code_source and colon and (source.endswith(".py") or "/" in source or "." in source):
        source, path = code_source, body
    if not colon or not path or not _SOURCE.match(source):
        raise BadSpec(
            f"{text!r}: expected source:path?key=value&..., such as timm:resnet50.a1_in1k or folder:/data/val"
        )
    params: dict[str, str] = {}
    for key, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True):
        if key in params:
            raise BadSpec(f"{text!r}: the parameter {key!r} is given twice")
        params[key] = value
    if query and not params:
        raise BadSpec(f"{text!r}: nothing readable after '?'; expected key=value&key=value")
    return Spec(source, unquote(path) if "%" in path else path, params)


def flag(value: str, *, where: str) -> bool:
    """A yes/no parameter. Raises BadSpec for anything but true and false (and 1, 0, yes, no)."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if value.lower() not in known:
        raise BadSpec(f"{where}: expected true or false, got {value!r}")
    return known[value.lower()]


def public_path(text: str) -> str:
    """Text in which every absolute path is cut to its last part: results travel, machines do not.

    >>> public_path("folder:/data/imagenet/val?label_space=own")
    'folder:val?label_space=own'
    >>> public_path("No such file: '/home/me/w.pt' (eps 8/255, see https://pytorch.org/docs)")
    "No such file: 'w.pt' (eps 8/255, see https://pytorch.org/docs)"
    """
    return _ABSOLUTE.sub(lambda match: re.split(r"[/\\]", match[0].rstrip("/\\"))[-1], text)


def without_paths(value: Any) -> Any:
    """A value of JSON in which every text is a public one; names of fields stay as they are.

    >>> without_paths({"path": ["/data/val", 8]})
    {'path': ['val', 8]}
    """
    if isinstance(value, Mapping):
        return {k: without_paths(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(v) for v in value]
    return public_path(value) if isinstance(value, str) else value
