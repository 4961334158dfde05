"""The images that several models have in common: what they are compared on when some have stopped early."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from robobench.leaderboard.board import BoardInput, ModelInput
from robobench.leaderboard.score import IMAGE, size
from robobench.types import Condition, Rows


def rows_in_common(models: Sequence[ModelInput], conditions: Sequence[Condition]) -> list[dict[str, Rows]]:
    """For each model its rows of the images that all of them have; without conditions that share none."""
    rows: list[dict[str, Rows]] = [{} for _ in models]
    for name in (c.name for c in conditions):
        given = [m.rows.get(name, {}) for m in models]
        ids = [np.asarray(r.get(IMAGE, ()), np.str_) for r in given]
        common = reduce(np.intersect1d, ids)
        if common.size:
            for own, of, mine in zip(rows, given, ids, strict=True):
                keep = np.isin(mine, common)
                own[name] = {k: np.asarray(v)[keep] for k, v in of.items()}
    return rows


def on_common_images(board: BoardInput, names: Collection[str]) -> BoardInput | None:
    """The named models with the rows of images that all of them have; None when they all have the same.

    Models stop along one visiting order, so the common images are those of the model that stopped first.
    """
    models = [m for m in board.models if m.name in names]
    if not any(m.expected for m in models):
        return None
    rows = rows_in_common(models, board.conditions)
    cut: tuple[ModelInput, ...] = tuple(
        replace(m, rows=r, expected={}) for m, r in zip(models, rows, strict=True)
    )
    expected = {c.name: size(rows[0].get(c.name, {})) for c in board.conditions}
    return replace(board, models=cut, expected=expected)
