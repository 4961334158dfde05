"""Other packages' randomness: the global generators seeded for a while, then put back as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """torch's, numpy's and Python's global generators start from `seed`; afterwards they go on as before.

    For a package that draws from them. What is our own draws from `robobench.draws`.
    """
    import random

    import numpy as np
    import torch

    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if in_use else []
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the package draws from it
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed % 2**63)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
