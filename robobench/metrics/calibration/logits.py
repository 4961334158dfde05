"""What the metrics that know every class read of the column `logits`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robobench.metrics.ranked import Floats
from robobench.types import Rows


def answered(rows: Rows) -> NDArray[np.bool_]:
    """The rows (n,) whose logits are all finite and for which some class is right."""
    finite = np.isfinite(np.asarray(rows["logits"])).all(axis=1)
    return np.asarray(finite & (np.asarray(rows["label"]) >= 0), np.bool_)


def log_sums(logits: NDArray[Any]) -> Floats:
    """The logarithm of the sum of exponentials of each row: (n, classes) -> (n,), classes at least 1."""
    largest = logits.max(axis=1)
    return np.asarray(largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1)), np.float64)
