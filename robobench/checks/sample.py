"""How many rows must be looked at so that false ones are found, and which: drawn so that nobody can know."""

from __future__ import annotations

import hashlib
import heapq
import math
import secrets
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

Row = tuple[str, str]  # a cell's key and an image

FALSE = Fraction(1, 100)  # the share of false rows that must not slip through ...
CHANCE = 0.99  # ... more often than once in a hundred times


def fewest_false(rows: int) -> int:
    """The fewest rows that are 1 % of all or more; at least one.

    >>> fewest_false(20), fewest_false(700), fewest_false(701)
    (1, 7, 8)
    """
    return max(1, math.ceil(FALSE * rows))


def chance(rows: int, drawn: int, false: int | None = None) -> float:
    """The chance that rows drawn without replacement hold at least one of the false ones.

        1 - C(rows - false, drawn) / C(rows, drawn)  =  1 - prod_i (rows - drawn - i) / (rows - i),  i < false

    the hypergeometric distribution at 0 (acceptance sampling with acceptance number 0, H. F. Dodge and
    H. G. Romig, Bell System Technical Journal 8, 1929). false: by default 1 % of the rows. Of no rows the
    chance is 0. Raises ValueError unless 0 <= drawn <= rows and 0 <= false <= rows.

    >>> round(chance(10, 3, false=1), 4), round(chance(1000, 368), 4), chance(50, 50)
    (0.3, 0.9901, 1.0)
    """
    wrong = min(rows, fewest_false(rows)) if false is None else false
    if not (0 <= drawn <= rows and 0 <= wrong <= rows):
        raise ValueError(f"chance: expected 0 <= drawn, false <= rows, got {drawn}, {wrong} of {rows}")
    if drawn + wrong > rows:
        return 1.0 if rows else 0.0
    fewer, more = sorted((drawn, wrong))  # the formula is the same with the two exchanged
    steps = np.arange(fewer, dtype=np.float64)
    ratio = (rows - more - steps) / (rows - steps)
    return float(-np.expm1(np.log(ratio).sum()))


def enough(rows: int, at_least: int = 0) -> int:
    """The fewest rows to draw, `at_least` so many, for a chance of 99 % to catch 1 % of false ones.

    >>> [enough(n) for n in (0, 1, 50, 200, 1000, 1_000_000)]
    [0, 1, 50, 180, 368, 459]
    >>> enough(1000, at_least=500)
    500
    """
    low, high = min(at_least, rows), rows
    while low < high:  # the chance grows with every row
        middle = (low + high) // 2
        if chance(rows, middle) >= CHANCE:
            high = middle
        else:
            low = middle + 1
    return low


def fresh_seed() -> int:
    """A seed from the system's randomness: whoever made the rows could not know it."""
    return secrets.randbits(53)  # any JSON reader keeps it whole


def draw(rows: Iterable[Row], size: int, seed: int) -> list[Row]:
    """So many of the rows, without replacement, each set of them equally likely.

    Rows stand in the order of a keyed hash of cell and image, and the first are taken: whatever order they
    come in, on every machine, the same seed draws the same rows, and a larger draw holds the smaller one.
    A row that is there twice counts once.
    """
    key = hashlib.sha256(f"robobench verify {seed}".encode()).digest()

    def place(row: Row) -> bytes:
        return hashlib.blake2b(f"{row[0]} {row[1]}".encode(), digest_size=16, key=key).digest()

    return heapq.nsmallest(size, set(rows), key=place)
