"""Dataclasses read back from JSON that anybody may have written: each value has its field's type."""

from __future__ import annotations

import math
import types
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from robobench.errors import StoreError

_DEEPEST = 50  # lists and objects inside one another where a field holds any JSON


def value(found: Any, kind: Any, where: str, later: Collection[str] | None = None) -> Any:
    """What JSON holds as the type it came from. A number that is null is NaN.

    later: the fields that may be missing; by default those that have a default. Raises StoreError, with the
    place, for another type, a field that is unknown or missing, and a wrong number of values.
    """
    if kind is Any:
        return _json(found, where)
    if is_dataclass(kind):
        return _record(found, kind, where, later)
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(found, args, where, later)
    if origin is Literal:
        if not isinstance(found, str) or found not in args:
            raise StoreError(f"{where}: expected one of {', '.join(args)}, got {str(found)[:40]!r}")
        return found
    if origin is tuple:
        return _items(found, args, where, later)
    if origin is not None and issubclass(origin, Mapping):
        items = checked(found, dict, where)
        return {k: value(v, args[1], f"{where}.{k}", later) for k, v in items.items()}
    if kind is float:
        return math.nan if found is None else _number(checked(found, (int, float), where), where)
    return checked(found, kind, where)


def _number(found: int | float, where: str) -> float:
    try:
        return float(found)
    except OverflowError:
        raise StoreError(f"{where}: expected a number that a float can hold, got a longer one") from None


def checked(found: Any, kind: Any, where: str) -> Any:
    """The value, when it is of that type; a truth value is no number. Raises StoreError."""
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        wanted = getattr(kind, "__name__", "number")
        raise StoreError(f"{where}: expected {wanted}, got {type(found).__name__}")
    return found


def _one_of(found: Any, args: tuple[Any, ...], where: str, later: Collection[str] | None) -> Any:
    """None, the one other type, or - where a field holds any JSON - the value as it is."""
    if found is None:
        return None
    others = [a for a in args if a is not type(None)]
    return _json(found, where) if len(others) > 1 else value(found, others[0], where, later)


def _items(found: Any, args: tuple[Any, ...], where: str, later: Collection[str] | None) -> tuple[Any, ...]:
    items = checked(found, list, where)
    each = [args[0]] * len(items) if args[-1] is Ellipsis else list(args)
    if len(each) != len(items):
        raise StoreError(f"{where}: expected {len(each)} values, got {len(items)}")
    return tuple(
        value(v, k, f"{where}[{i}]", later) for i, (v, k) in enumerate(zip(items, each, strict=True))
    )


def _record(found: Any, kind: Any, where: str, later: Collection[str] | None) -> Any:
    given = checked(found, dict, where)
    hints = get_type_hints(kind)
    names = {f.name for f in fields(kind)}
    spare = _with_default(kind) if later is None else set(later)
    wrong = sorted((set(given) - names) | (names - set(given) - spare))
    if wrong:
        raise StoreError(f"{where}: {wrong[0]!r} is {'missing' if wrong[0] in names else 'unknown'}")
    return kind(**{n: value(given[n], hints[n], f"{where}.{n}", later) for n in given})


def _with_default(kind: Any) -> set[str]:
    return {f.name for f in fields(kind) if f.default is not MISSING or f.default_factory is not MISSING}


def _json(found: Any, where: str, depth: int = 0) -> Any:
    """A value of JSON as it is, as long as its numbers are finite and it does not nest without end."""
    if depth > _DEEPEST:
        raise StoreError(f"{where}: more than {_DEEPEST} lists and objects inside one another")
    if isinstance(found, dict):
        return {str(k): _json(v, where, depth + 1) for k, v in found.items()}
    if isinstance(found, (list, tuple)):
        return [_json(v, where, depth + 1) for v in found]
    if found is None or isinstance(found, (bool, int, str)):
        return found
    if isinstance(found, float) and math.isfinite(found):
        return found
    raise StoreError(f"{where}: expected a value of JSON, got {str(found)[:40]!r}")
