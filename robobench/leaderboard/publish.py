"""A leaderboard as a folder of files, each replaced whole: an interrupted run leaves the old board."""

from __future__ import annotations

import uuid
from pathlib import Path

from robobench.errors import StoreError
from robobench.leaderboard.board import Leaderboard
from robobench.leaderboard.render import FILES, render


def publish(board: Leaderboard, folder: Path) -> Path:
    """Write a board in every format. Raises StoreError when the folder cannot be written."""
    texts = {name: render(board, format_) for format_, name in FILES.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            part = folder / f".{name}.{uuid.uuid4().hex[:8]}.part"
            part.write_text(text, encoding="utf-8")
            part.replace(folder / name)
    except OSError as error:
        raise StoreError(f"{folder}: the board cannot be written: {error.strerror or error}") from None
    return folder
