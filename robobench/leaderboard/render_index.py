"""The page over all boards of a folder: what was asked, who leads, and where the numbers are."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from robobench.leaderboard import text
from robobench.leaderboard.board import Leaderboard
from robobench.leaderboard.render import FILES
from robobench.leaderboard.render_html import asset, environment, policy, raw


def to_index(boards: Mapping[str, Leaderboard]) -> str:
    """One HTML file with a line for each board, by the name of its folder. Loads nothing."""
    css = asset("page.css")
    return (
        environment()
        .get_template("index.html.j2")
        .render(
            boards=[(f"{quote(name, safe='')}/{FILES['html']}", board) for name, board in boards.items()],
            text=text,
            policy=policy(css),
            css=raw(css),
        )
    )
