"""A leaderboard in a format."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from robobench.errors import UnknownName, nearest
from robobench.leaderboard.board import Leaderboard
from robobench.leaderboard.render_badge import to_badge
from robobench.leaderboard.render_bibtex import to_bibtex
from robobench.leaderboard.render_card import to_card
from robobench.leaderboard.render_csv import to_csv
from robobench.leaderboard.render_html import to_html
from robobench.leaderboard.render_json import to_json
from robobench.leaderboard.render_latex import to_latex
from robobench.leaderboard.render_markdown import to_markdown

FORMATS: Mapping[str, Callable[[Leaderboard], str]] = {
    "badge": to_badge,
    "bibtex": to_bibtex,
    "card": to_card,
    "csv": to_csv,
    "html": to_html,
    "json": to_json,
    "latex": to_latex,
    "markdown": to_markdown,
}
_SURROGATE = re.compile("[\ud800-\udfff]")
FILES: Mapping[str, str] = {
    "badge": "badge.svg",
    "bibtex": "references.bib",
    "card": "model-cards.yaml",
    "csv": "leaderboard.csv",
    "html": "index.html",
    "json": "leaderboard.json",
    "latex": "leaderboard.tex",
    "markdown": "leaderboard.md",
}


def render(leaderboard: Leaderboard, format: str) -> str:
    """The leaderboard as text, in one of `FORMATS`.

    The same leaderboard always gives the same text, and it can be written as UTF-8: half a surrogate pair in
    a name becomes U+FFFD. Raises UnknownName for another format.
    """
    if format not in FORMATS:
        raise UnknownName(f"unknown leaderboard format {format!r}; {nearest(format, FORMATS)}")
    return _SURROGATE.sub("\ufffd", FORMATS[format](leaderboard))
