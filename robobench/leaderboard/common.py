"""The images that several models have in common: what they are compared on when some have stopped early."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from robobench.leaderboard.board import BoardInput, ModelInput
from robobench.leaderboard.score import IMAGE, size
from robobench.types import Rows


def on_common_images(board: BoardInput, names: Collection[str]) -> BoardInput | None:
    """The named models with the rows of images that all of them have; None when they all have the same.

    Models stop along one visiting order, so the common images are those of the model that stopped first.
    """
    models = [m for m in board.models if m.name in names]
    if not any(m.expected for m in models):
        return None
    rows: list[dict[str, Rows]] = [{} for _ in models]
    for condition in board.conditions:
        given = [m.rows.get(condition.name, {}) for m in models]
        if not all(size(r) for r in given):
            continue
        ids = [np.asarray(r[IMAGE]).astype(str) for r in given]
        common = set(ids[0]).intersection(*ids[1:])
        for own, of, mine in zip(rows, given, ids, strict=True):
            keep = np.array([i in common for i in mine], bool)
            own[condition.name] = {k: np.asarray(v)[keep] for k, v in of.items()}
    cut: tuple[ModelInput, ...] = tuple(
        replace(m, rows=r, expected={}) for m, r in zip(models, rows, strict=True)
    )
    expected = {c.name: size(rows[0].get(c.name, {})) for c in board.conditions}
    return replace(board, models=cut, expected=expected)
