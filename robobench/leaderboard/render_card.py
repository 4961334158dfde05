"""The evaluation block of a model card on the Hugging Face hub, for each model of a leaderboard."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from robobench.leaderboard.board import Entry, Leaderboard
from robobench.leaderboard.text import shown
from robobench.types import Score

_ID = re.compile(r"[^A-Za-z0-9._-]+")


def to_card(board: Leaderboard) -> str:
    """YAML with a `model-index` of all models: a card's front matter takes the part of its own model.

    Shares are fractions. What is undefined is left out, because the hub reads numbers only; a number whose
    attack failed a check says so in its name.
    """
    import yaml
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    index: list[Any] = []
    for entry in board.entries:
        results = [EvalResult(**fields) for fields in _results(board, entry)]
        index += eval_results_to_model_index(shown(entry.name), results) if results else []
    text: str = yaml.safe_dump({"model-index": index}, sort_keys=False, width=100)
    return text


def _results(board: Leaderboard, entry: Entry) -> Iterator[dict[str, Any]]:
    """What is measured: clean accuracies, ladders, and the score."""
    of, suite = board.suite.score.of, board.suite
    levels = {ladder.name: [v.condition for v in ladder.levels] for ladder in board.ladders}
    found: list[tuple[str, Score, tuple[str, ...]]] = [
        (r.condition, entry.cells[r.condition].score(of), ()) for r in board.references
    ]
    found += [(name, entry.ladders[name], entry.doubts(names)) for name, names in levels.items()]
    every = [name for names in levels.values() for name in names]
    found.append((suite.score.name, entry.score, entry.doubts(every)))
    base = suite.data[0]
    for what, score, doubts in found:
        if math.isfinite(score.value):
            doubt = ", a check of the attack failed" if doubts else ""
            yield {
                "task_type": "image-classification",
                "dataset_name": shown(base.title),
                "dataset_type": _ID.sub("-", base.title),
                "dataset_revision": base.digest,
                "metric_type": _ID.sub("-", score.name),
                "metric_name": shown(f"{what} ({score.unit}){doubt}"),
                "metric_value": score.value,
                "metric_args": {
                    "suite": shown(suite.name),
                    "protocol": suite.fingerprint,
                    "interval": [score.low, score.high],
                    "n": score.n,
                    **({"verified": entry.verified.date} if entry.verified else {}),
                },
            }
