"""A leaderboard as JSON and back, so that pages can be made again from committed data."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from robobench.errors import StoreError
from robobench.leaderboard.board import FORMAT, Leaderboard

_LATER = frozenset({"drops", "health", "source", "summaries"})  # not in earlier formats


def to_json(board: Leaderboard) -> str:
    """The whole leaderboard. Fractions are fractions, what is undefined is null."""
    return json.dumps(_plain(board), indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def from_json(text: str) -> Leaderboard:
    """The leaderboard of `to_json`. Raises StoreError for anything else, and for a newer format."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise StoreError(f"not a leaderboard: line {error.lineno}: {error.msg}") from None
    version = found.get("format") if isinstance(found, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise StoreError("not a leaderboard: expected a JSON object with a number `format`")
    if not 1 <= version <= FORMAT:
        raise StoreError(
            f"a leaderboard of format {version}, this robobench reads formats up to {FORMAT}: "
            + ("upgrade robobench" if version > FORMAT else "make it again with `robobench leaderboard`")
        )
    board = _value(found, Leaderboard, "leaderboard")
    if not isinstance(board, Leaderboard):
        raise StoreError("not a leaderboard")
    return board


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of what `to_json` writes."""
    parts: dict[str, Any] = {}
    top = _shape(Leaderboard, parts)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A leaderboard of robobench",
        "description": f"Format {FORMAT}. Shares are fractions; what is undefined is null.",
        **top,
        "$defs": dict(sorted(parts.items())),
    }


def _shape(kind: Any, parts: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type; those of dataclasses are gathered in `parts`."""
    if is_dataclass(kind):
        name = kind.__name__  # type: ignore[union-attr]
        if name not in parts:
            parts[name] = {}  # in case it holds itself
            hints = get_type_hints(kind)
            parts[name] = {
                "type": "object",
                "properties": {f.name: _shape(hints[f.name], parts) for f in fields(kind)},
                "required": sorted(f.name for f in fields(kind) if f.name not in _LATER),
                "additionalProperties": False,
            }
        return {"$ref": f"#/$defs/{name}"}
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_shape(a, parts) for a in args]}
    if origin is tuple:
        if args[-1] is Ellipsis:
            return {"type": "array", "items": _shape(args[0], parts)}
        items = [_shape(a, parts) for a in args]
        return {"type": "array", "prefixItems": items, "minItems": len(args), "maxItems": len(args)}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _shape(args[1], parts)}
    return {"type": _JSON_TYPES[kind]}


_JSON_TYPES: Mapping[Any, Any] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: ["number", "null"],
    type(None): "null",
}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _value(found: Any, kind: Any, where: str) -> Any:
    """What JSON holds as the type it came from."""
    if is_dataclass(kind):
        return _record(found, kind, where)
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if found is None:
            return None
        return _value(found, next(a for a in args if a is not type(None)), where)
    if origin is tuple:
        items = _checked(found, list, where)
        each = [args[0]] * len(items) if args[-1] is Ellipsis else list(args)
        if len(each) != len(items):
            raise StoreError(f"{where}: expected {len(each)} values, got {len(items)}")
        return tuple(_value(v, k, f"{where}[{i}]") for i, (v, k) in enumerate(zip(items, each, strict=True)))
    if origin is not None and issubclass(origin, Mapping):
        items = _checked(found, dict, where)
        return {k: _value(v, args[1], f"{where}.{k}") for k, v in items.items()}
    if kind is float:
        return math.nan if found is None else float(_checked(found, (int, float), where))
    return _checked(found, kind, where)


def _record(found: Any, kind: Any, where: str) -> Any:
    given = _checked(found, dict, where)
    hints = get_type_hints(kind)
    names = {f.name for f in fields(kind)}
    wrong = sorted((set(given) ^ names) - _LATER)
    if wrong:
        raise StoreError(f"{where}: {wrong[0]!r} is {'missing' if wrong[0] in names else 'unknown'}")
    return kind(**{n: _value(given[n], hints[n], f"{where}.{n}") for n in given})


def _checked(found: Any, kind: Any, where: str) -> Any:
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        wanted = getattr(kind, "__name__", "number")
        raise StoreError(f"{where}: expected {wanted}, got {type(found).__name__}")
    return found
