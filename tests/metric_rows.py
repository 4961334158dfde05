"""Rows of made-up answers, as the task records them, for tests of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robobench.tasks.classification import Classification

Columns = dict[str, NDArray[Any]]
PEOPLE = 5


def answered(seed: int, n: int, classes: int = 6, *, ties: bool = False, holes: bool = False) -> Columns:
    """n rows with every column that a metric may ask for.

    Answers are better than chance. ties: logits are multiples of 1/2, so that confidences are shared. holes:
    some rows have logits that are not finite, some images no right class.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    labels = rng.integers(0, classes, n)
    logits = rng.normal(scale=2, size=(n, classes))
    logits[np.arange(n), labels] += 1.5
    if ties:
        logits = np.round(logits * 2) / 2
    if holes and n:
        logits[rng.random(n) < 0.1] = np.nan
        labels = np.where(rng.random(n) < 0.1, -1, labels)
    asked = rng.integers(0, 2**PEOPLE, n)
    return {
        **recorded(logits, labels),
        "own": rng.random(n) < 0.4,
        "x_texture": rng.integers(0, classes, n).astype(np.float32),
        "x_human_asked": asked.astype(np.float32),
        "x_human_right": (asked & rng.integers(0, 2**PEOPLE, n)).astype(np.float32),
    }


def recorded(logits: NDArray[Any], labels: NDArray[Any]) -> Columns:
    """The columns of the task, with the logits."""
    kept = torch.from_numpy(np.asarray(logits, np.float32))
    return dict(Classification(logits=True).record(kept, torch.from_numpy(np.asarray(labels))))


def repeated(rows: Mapping[str, NDArray[Any]], counts: NDArray[Any]) -> Columns:
    """The rows, each as often as it was drawn."""
    return {k: np.repeat(v, counts, axis=0) for k, v in rows.items()}


def picked(rows: Mapping[str, NDArray[Any]], which: NDArray[Any]) -> Columns:
    """Some of the rows, in the given order."""
    return {k: v[which] for k, v in rows.items()}
