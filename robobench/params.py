"""Types for plug-in parameters that are written in more than one way, and the rules that go with them.

Each reads what a suite may hold (text or numbers), refuses the rest with a sentence that says what was
expected, and gives one canonical value: `8/255` and `0.03137254901960784` are the same radius, `14` and
`14x14` the same grid, so equal parameters have equal keys.
"""

from __future__ import annotations

import ast
import inspect
import io
import math
import re
import textwrap
import tokenize
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any, NamedTuple

from pydantic import GetCoreSchemaHandler, PlainValidator, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from robobench.errors import BadParameter

__all__ = [
    "Cells",
    "Eps",
    "Grid",
    "Radius",
    "check_linf",
    "count_of",
    "explained",
    "number_of",
    "pixel_radius",
    "read_grid",
    "read_radius",
]

_FRACTION = re.compile(r"\s*([^/\s]+)\s*/\s*([^/\s]+)\s*\Z")
_GRID = re.compile(r"\s*(\d{1,6})\s*[xX]\s*(\d{1,6})\s*\Z")
_SLACK = 1e-9  # how far below a whole number a share counts as that number
_BUDGET_HELP = "a radius in [0, 1] pixel units, such as 8/255 or 0.03"


class Cells(NamedTuple):
    """How many rows and columns of cells an image is cut into."""

    rows: int
    columns: int

    @property
    def total(self) -> int:
        """The number of cells."""
        return self.rows * self.columns

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read by `read_grid`, written as text; so is a default in a JSON schema."""
        return core_schema.no_info_plain_validator_function(
            read_grid, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        return {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": r"^\s*[0-9]+\s*([xX]\s*[0-9]+\s*)?$"},
            ]
        }


def read_grid(value: Any) -> Cells:
    """A number of cells per side, text "HxW" (rows x columns), or two numbers. Raises ValueError.

    >>> read_grid(14), read_grid("2x4")
    (Cells(rows=14, columns=14), Cells(rows=2, columns=4))
    """
    cells: Cells | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        cells = Cells(value, value)
    elif isinstance(value, str):
        found = _GRID.match(value)
        if found:
            cells = Cells(int(found[1]), int(found[2]))
        elif value.strip().isdecimal():
            cells = Cells(int(value), int(value))
    elif isinstance(value, (tuple, list)) and len(value) == 2:
        rows, columns = value
        if all(isinstance(v, int) and not isinstance(v, bool) for v in (rows, columns)):
            cells = Cells(rows, columns)
    if cells is None or min(cells) < 1:
        raise ValueError("a grid such as 14 or 4x8 (rows x columns), at least 1x1")
    return cells


def read_radius(value: Any) -> float:
    """A finite number of at least 0, or a fraction of two such numbers as text. Raises ValueError.

    >>> read_radius("8/255") == 8 / 255
    True
    """
    number = number_of(value)
    if number is None:
        raise ValueError("a number or a fraction such as 8/255")
    if number < 0:
        raise ValueError(f"a radius of at least 0{_meant(number)}")
    return number


def pixel_radius(value: Any) -> float:
    """A radius that fits the pixel range [0, 1]. Raises ValueError, and asks whether N/255 was meant.

    >>> pixel_radius(8)
    Traceback (most recent call last):
    ...
    ValueError: a radius in [0, 1] pixel units, such as 8/255 or 0.03 (did you mean 8/255?)
    """
    number = number_of(value)
    if number is None or not 0 <= number <= 1:
        raise ValueError(_BUDGET_HELP + ("" if number is None else _meant(number)))
    return number


def check_linf(name: str, norm: str | None, value: Any, field: str = "eps") -> None:
    """Raise BadParameter, in the name of a plug-in, for an linf radius beyond the pixel range.

    Other norms may be larger: an l2 distance adds up over the pixels.
    """
    if norm != "linf":
        return
    try:
        pixel_radius(value)
    except ValueError as error:
        raise BadParameter(f"{name}: {field}: expected {error}, got {value!r}", (field,)) from None


def count_of(share: float, total: int) -> int:
    """How many of `total` things a share of them is, rounded down.

    A product that lies less than 1e-9 below a whole number counts as that number, so that binary
    rounding never drops one: 0.29 * 100 is 28.999999999999996 in floating point, and 29 here.

    >>> count_of(0.29, 100), count_of(0.3, 196), count_of(0.0, 196), count_of(1.0, 196)
    (29, 58, 0, 196)
    """
    return math.floor(share * total + _SLACK)


def explained(cls: type[Any]) -> Mapping[str, str]:
    """What the source of a plug-in says about each of its fields.

    That is the comment behind a field, or the comment lines right above it; fields without one are left
    out.
    """
    found: dict[str, str] = {}
    for part in reversed(cls.__mro__):
        if is_dataclass(part):
            found |= _comments_of(textwrap.dedent(inspect.getsource(part)))
    return found


def _comments_of(source: str) -> dict[str, str]:
    """The comment of each annotated name in the body of a class."""
    comments: dict[int, str] = {}
    alone: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.string.lstrip("# ").rstrip()
            if token.line.lstrip().startswith("#"):
                alone.add(token.start[0])
    found: dict[str, str] = {}
    body = ast.parse(source).body[0]
    for node in body.body if isinstance(body, ast.ClassDef) else ():
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        behind = [comments[n] for n in range(node.lineno, (node.end_lineno or 0) + 1) if n in comments]
        first = node.lineno
        while first - 1 in alone:
            first -= 1
        lines = behind or [comments[n] for n in range(first, node.lineno)]
        if lines:
            found[node.target.id] = " ".join(lines)
    return found


def number_of(value: Any) -> float | None:
    """A finite number written as such, as text or as a fraction, None for anything else.

    >>> number_of(0.5), number_of("8/255") == 8 / 255, number_of("14x14"), number_of(True)
    (0.5, True, None, None)
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value) if math.isfinite(value) else None
    if not isinstance(value, str):
        return None
    found = _FRACTION.match(value)
    try:
        number = float(found[1]) / float(found[2]) if found else float(value)
    except (ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def _meant(number: float) -> str:
    """The question whether a value in 8-bit steps was meant, for values that can be."""
    size = abs(number)
    return f" (did you mean {size:g}/255?)" if 1 <= size <= 255 else ""


_RADIUS_SCHEMA = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^\s*[0-9.eE+-]+\s*(/\s*[0-9.eE+-]+\s*)?$"},
    ]
}
_PIXEL_SCHEMA = {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, _RADIUS_SCHEMA["anyOf"][1]]}
Radius = Annotated[float, PlainValidator(read_radius), WithJsonSchema(_RADIUS_SCHEMA)]
"""A distance in [0, 1] pixel units that may be larger than 1, as an L2 budget is: 0.5, 3.0, 128/255."""

Eps = Annotated[float, PlainValidator(pixel_radius), WithJsonSchema(_PIXEL_SCHEMA)]
"""A change per pixel in [0, 1] pixel units: 8/255 or 0.03."""

Grid = Cells
"""Rows and columns of cells: 14, or 4x8."""
