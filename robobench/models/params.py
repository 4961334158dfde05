"""The text parameters of a model SPEC as Python values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from robobench.errors import BadSpec, ModelError, nearest
from robobench.specs import flag

_PLAIN: Mapping[str, type] = {"int": int, "float": float, "str": str, "Path": Path}


def literal(text: str) -> bool | int | float | str | None:
    """A value for a library whose parameters declare no types: none, true, 3, 0.5, or the text itself.

    >>> [literal(t) for t in ("true", "7", "1e-3", "none", "token")]
    [True, 7, 0.001, None, 'token']
    """
    known: Mapping[str, bool | None] = {"true": True, "false": False, "none": None}
    if text.lower() in known:
        return known[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def arguments(factory: Callable[..., Any], params: Mapping[str, str], *, where: str) -> dict[str, Any]:
    """A factory's keyword arguments from text, converted by its annotations.

    Annotations may be int, float, bool, str or Path, each also with `| None`; without an annotation the
    type of the default counts, else the text stays text. Raises ModelError for unknown, missing and
    unreadable parameters.
    """
    known = inspect.signature(factory).parameters
    named = {k: p for k, p in known.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
    for name in params:
        if name not in named and not open_ended:
            raise ModelError(f"{where}: unknown parameter {name!r}; {nearest(name, named)}")
    for name, parameter in named.items():
        if name not in params and parameter.default is parameter.empty:
            raise ModelError(f"{where}: the parameter {name!r} is missing; add ?{name}=VALUE")
    return {k: _converted(v, named.get(k), f"{where}: {k}") for k, v in params.items()}


def _converted(text: str, parameter: inspect.Parameter | None, where: str) -> Any:
    kinds = _kinds(parameter)
    if "None" in kinds and text.lower() == "none":
        return None
    kind = next((k for k in kinds if k != "None"), "str")
    if kind == "bool":
        try:
            return flag(text, where=where)
        except BadSpec as error:
            raise ModelError(str(error)) from None
    if kind not in _PLAIN:
        raise ModelError(
            f"{where}: annotated {kind!r}, which a SPEC cannot give; use int, float, bool, str or Path"
        )
    try:
        return _PLAIN[kind](text)
    except ValueError:
        raise ModelError(f"{where}: expected {kind}, got {text!r}") from None


def _kinds(parameter: inspect.Parameter | None) -> list[str]:
    """The alternatives of a parameter's type by name; annotations may be text themselves."""
    if parameter is None:
        return ["str"]
    hint = parameter.annotation
    if hint is parameter.empty:
        default = parameter.default
        plain = default is not parameter.empty and type(default).__name__ in (*_PLAIN, "bool")
        return [type(default).__name__ if plain else "str"]
    text = hint.__name__ if isinstance(hint, type) else str(hint)
    text = text.replace("typing.", "").replace("pathlib.", "")
    if text.startswith("Optional["):
        text = text.removeprefix("Optional[").removesuffix("]") + "|None"
    return [part.strip() for part in text.split("|")]
