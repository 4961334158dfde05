"""A leaderboard in a format."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from robobench.errors import UnknownName, nearest
from robobench.leaderboard.board import Leaderboard
from robobench.leaderboard.render_csv import to_csv
from robobench.leaderboard.render_html import to_html
from robobench.leaderboard.render_json import to_json
from robobench.leaderboard.render_markdown import to_markdown

FORMATS: Mapping[str, Callable[[Leaderboard], str]] = {
    "csv": to_csv,
    "html": to_html,
    "json": to_json,
    "markdown": to_markdown,
}
FILES: Mapping[str, str] = {
    "csv": "leaderboard.csv",
    "html": "index.html",
    "json": "leaderboard.json",
    "markdown": "leaderboard.md",
}


def render(leaderboard: Leaderboard, format: str) -> str:
    """The leaderboard as text: `markdown`, `csv`, `json` or `html`.

    The same leaderboard always gives the same text. Raises UnknownName for another format.
    """
    if format not in FORMATS:
        raise UnknownName(f"unknown leaderboard format {format!r}; {nearest(format, FORMATS)}")
    return FORMATS[format](leaderboard)
