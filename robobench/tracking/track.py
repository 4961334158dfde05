"""`--track`: which tracker, and what becomes of one that fails."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from robobench.errors import MissingExtra, RobobenchError, nearest
from robobench.leaderboard.board import Leaderboard
from robobench.leaderboard.render import render
from robobench.leaderboard.text import shown
from robobench.tracking.mlflow import MLflow
from robobench.tracking.tensorboard import TensorBoard
from robobench.tracking.told import Told, told
from robobench.tracking.wandb import WandB

FILES = (("leaderboard.json", "json"), ("index.html", "html"))


class Tracker(Protocol):
    """Takes what a run found of one model: as a run of its own, with the board's files beside."""

    def keep(self, model: Told, files: Sequence[Path]) -> None: ...


# name, package, tracker of what stands behind the colon
_TRACKERS: tuple[tuple[str, str, Callable[[str], Tracker]], ...] = (
    ("mlflow", "mlflow", MLflow),
    ("wandb", "wandb", WandB),
    ("tensorboard", "tensorboard", TensorBoard),
)


def tracker_of(spec: str) -> Tracker:
    """A tracker as `NAME` or `NAME:WHERE` says it; nothing of it is imported yet.

    Raises RobobenchError for another name, MissingExtra where its client is not installed.
    """
    name, _, where = spec.partition(":")
    for known, package, build in _TRACKERS:
        if name == known:
            if find_spec(package) is None:
                raise MissingExtra(f"--track {name}", package, name)
            return build(where)
    raise RobobenchError(
        f"--track {shown(spec)}: no such tracker; {nearest(name, [n for n, *_ in _TRACKERS])} "
        "(mlflow:URI, wandb:PROJECT or tensorboard:DIR)"
    )


def track(
    board: Leaderboard, trackers: Sequence[Tracker], models: Collection[str] | None = None
) -> tuple[str, ...]:
    """Tell trackers of a board's models, or of some of them by name, with the board as JSON and as a page.

    What a tracker raises ends that tracker's part and comes back as a sentence: a server that is down takes
    nothing from a run, whose results are stored already.
    """
    if not trackers:
        return ()
    told_of = [told(board, e) for e in board.entries if models is None or e.name in models]
    with TemporaryDirectory() as folder:
        files = [Path(folder) / name for name, _ in FILES]
        for path, (_, kind) in zip(files, FILES, strict=True):
            path.write_text(render(board, kind), encoding="utf-8")
        return tuple(said for tracker in trackers if (said := _tell(tracker, told_of, files)))


def _tell(tracker: Tracker, models: Sequence[Told], files: Sequence[Path]) -> str | None:
    try:
        for model in models:
            tracker.keep(model, files)
    except Exception as error:
        first = shown((str(error).splitlines() or [""])[0])
        return f"{type(tracker).__name__} was not told everything: {type(error).__name__}: {first}"
    return None
