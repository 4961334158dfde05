"""A leaderboard as JSON and back, so that pages can be made again from committed data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from robobench.errors import StoreError
from robobench.leaderboard.board import FORMAT, Leaderboard
from robobench.leaderboard.json_schema import schema_of
from robobench.typed_json import value

_LATER = frozenset(
    {"classes", "drops", "gallery", "health", "source", "speeds", "summaries", "verified"}
)  # not in earlier formats


def to_json(board: Leaderboard) -> str:
    """The whole leaderboard. Fractions are fractions, what is undefined is null."""
    return json.dumps(plain_values(board), indent=1, ensure_ascii=True, allow_nan=False) + "\n"


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
    board = value(found, Leaderboard, "leaderboard", _LATER)
    if not isinstance(board, Leaderboard):
        raise StoreError("not a leaderboard")
    return board


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of what `to_json` writes."""
    return schema_of(
        Leaderboard,
        "A leaderboard of robobench",
        f"Format {FORMAT}. Shares are fractions; what is undefined is null.",
        _LATER,
    )


def plain_values(given: Any) -> Any:
    """A dataclass as JSON types; what is undefined is null."""
    if is_dataclass(given) and not isinstance(given, type):
        return {f.name: plain_values(getattr(given, f.name)) for f in fields(given)}
    if isinstance(given, Mapping):
        return {str(k): plain_values(v) for k, v in given.items()}
    if isinstance(given, (list, tuple)):
        return [plain_values(v) for v in given]
    if isinstance(given, float):
        return given if math.isfinite(given) else None
    return given
