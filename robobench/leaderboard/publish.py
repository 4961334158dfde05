"""A leaderboard as a folder of files, and many as a shelf of such folders with an index over them.

```
leaderboards/
  index.html
  NAME/leaderboard.json     the board, and beside it every other format of it
  NAME/results/             the rows that it is scored from, as a results folder of one run
```
Every file is replaced whole: an interrupted run leaves the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from robobench.atomic import place_text
from robobench.errors import StoreError
from robobench.leaderboard.board import Leaderboard
from robobench.leaderboard.build import build
from robobench.leaderboard.collect import collect, newest_run
from robobench.leaderboard.render import FILES, render
from robobench.leaderboard.render_index import to_index
from robobench.leaderboard.render_json import from_json
from robobench.store import BOARD, Store

INDEX = "index.html"


def publish(board: Leaderboard, folder: Path) -> Path:
    """Write a board in every format. Raises StoreError when the folder cannot be written."""
    _write(folder, {name: render(board, format_) for format_, name in FILES.items()})
    return folder


def shelf(root: Path) -> Mapping[str, Leaderboard]:
    """The boards in the folders of a folder, by the folder's name. Raises StoreError for one without any."""
    paths = sorted(root.glob(f"*/{FILES['json']}"))
    if not paths:
        raise StoreError(
            f"{root}: no folder with a {FILES['json']} in it: publish a board with "
            f"`robobench leaderboard SUITE --to {root / 'SUITE'}`"
        )
    found = {}
    for path in paths:
        try:
            found[path.parent.name] = from_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, StoreError) as error:
            raise StoreError(f"{path}: {error}") from None
    return found


def scored(folder: Path) -> Leaderboard | None:
    """The board of a published folder, scored again from its rows; None where those are not there."""
    if not (folder / BOARD).is_dir():
        return None
    store = Store.open(folder / BOARD)
    return build(collect(newest_run(store), store))


def rebuild(root: Path) -> Mapping[str, Leaderboard]:
    """Score every board of a shelf again and render it, and the index over them.

    A board without rows is rendered from the numbers that it was published with.
    """
    boards = {name: scored(root / name) or board for name, board in shelf(root).items()}
    for name, board in boards.items():
        publish(board, root / name)
    _write(root, {INDEX: to_index(boards)})
    return boards


def stale(root: Path) -> tuple[str, ...]:
    """Files of a shelf that are not what their data render to, by path below it."""
    boards = shelf(root)
    wanted = {
        f"{name}/{file}": render(board, format_)
        for name, board in boards.items()
        for format_, file in FILES.items()
    }
    wanted[INDEX] = to_index(boards)
    return tuple(sorted(file for file, text in wanted.items() if _read(root / file) != text))


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        place_text(folder / name, text)
