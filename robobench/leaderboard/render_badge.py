"""A badge with a leaderboard's first place, as SVG: no script, no font from elsewhere, no request."""

from __future__ import annotations

from html import escape

from robobench.leaderboard.board import Leaderboard
from robobench.leaderboard.text import DASH, number, shown, unit_sign

_GLYPH = 6.6  # mean width of a character of 11 px Verdana or DejaVu
_SPACE = 10
_LONGEST = 40  # characters of a side


def to_badge(board: Leaderboard) -> str:
    """The suite's score and who leads it, or how many share the first place."""
    first = [e for e in board.ranked if e.rank is not None and e.rank[0] == 1]
    left = _cut(f"robobench {board.suite.name}")
    if not first:
        return badge(left, DASH)
    best = first[0].score
    sign = unit_sign(best.unit)
    value = f"{number(best.value, best.unit)}{'' if sign == '%' else ' '}{sign}"
    who = first[0].name if len(first) == 1 else f"{len(first)} models tied"
    return badge(left, _cut(f"{value} {who}"))


def badge(left: str, right: str) -> str:
    """Two words side by side.

    >>> badge("a", "<b>").count("&lt;b&gt;")
    3
    """
    sides = [len(side) * _GLYPH + _SPACE for side in (left, right)]
    width, at = sum(sides), [sides[0] / 2, sides[0] + sides[1] / 2]
    one, two = escape(left), escape(right)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="20" role="img" '
        f'aria-label="{one}: {two}"><title>{one}: {two}</title>'
        f'<rect width="{width:.0f}" height="20" rx="3" fill="#444"/>'
        f'<path d="M{sides[0]:.0f} 0h{sides[1] - 3:.0f}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{sides[0]:.0f}z" '
        'fill="#1f6f8b"/>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="{at[0]:.0f}" y="14">{one}</text><text x="{at[1]:.0f}" y="14">{two}</text></g></svg>\n'
    )


def _cut(text: str) -> str:
    line = shown(text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
