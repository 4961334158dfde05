"""Data files that other installed packages carry, found without importing those packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def installed_folder(package: str) -> Path | None:
    """The folder of a top-level package, or None when it is not installed. Runs none of its code."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations)))
