"""The JSON schema (draft 2020-12) of a dataclass as its JSON form has it."""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_JSON_TYPES: Mapping[Any, Any] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: ["number", "null"],
    type(None): "null",
}


def schema_of(kind: Any, title: str, description: str, later: Collection[str] = ()) -> dict[str, Any]:
    """The schema of a dataclass and of those inside. later: fields that may be missing."""
    parts: dict[str, Any] = {}
    top = _shape(kind, parts, later)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "description": description,
        **top,
        "$defs": dict(sorted(parts.items())),
    }


def _shape(kind: Any, parts: dict[str, Any], later: Collection[str]) -> dict[str, Any]:
    """The schema of a type; those of dataclasses are gathered in `parts`."""
    if is_dataclass(kind):
        return {"$ref": f"#/$defs/{_record(kind, parts, later)}"}
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_shape(a, parts, later) for a in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin is tuple:
        if args[-1] is Ellipsis:
            return {"type": "array", "items": _shape(args[0], parts, later)}
        items = [_shape(a, parts, later) for a in args]
        return {"type": "array", "prefixItems": items, "minItems": len(args), "maxItems": len(args)}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _shape(args[1], parts, later)}
    return {"type": _JSON_TYPES[kind]}


def _record(kind: Any, parts: dict[str, Any], later: Collection[str]) -> str:
    """Put a dataclass among the parts and give its name there."""
    name = str(kind.__name__)
    if name not in parts:
        parts[name] = {}  # in case it holds itself
        hints = get_type_hints(kind)
        parts[name] = {
            "type": "object",
            "properties": {f.name: _shape(hints[f.name], parts, later) for f in fields(kind)},
            "required": sorted(f.name for f in fields(kind) if f.name not in later),
            "additionalProperties": False,
        }
    return name
