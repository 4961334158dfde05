"""The one door to timm and torchvision, which says what is wrong when they do not fit the installed torch."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

from robobench.errors import ModelError

_MEND = "pip install --upgrade torch torchvision timm"


def version(package: str) -> str:
    """A package's installed version without importing it, "none" where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def import_timm() -> Any:
    """The package timm. Raises ModelError when it, or the torchvision it needs, cannot be imported."""
    return _imported("timm")


def import_torchvision() -> Any:
    """The package torchvision. Raises ModelError when it cannot be imported."""
    return _imported("torchvision")


def _imported(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        raise _cannot(package, error) from error


def _cannot(package: str, error: Exception) -> ModelError:
    """A torchvision built for another torch names an operator, a symbol or a half-made module."""
    text = str(error)
    found = f"torch {version('torch')}, torchvision {version('torchvision')}, timm {version('timm')}"
    if "torchvision::" in text or "undefined symbol" in text or "partially initialized" in text:
        return ModelError(
            f"torch {version('torch')} and torchvision {version('torchvision')} do not fit together "
            f"({text}): install both from one index, with `{_MEND}`; when torch came from an index of its "
            f"own (a CPU-only or CUDA build), add the same `--index-url` to the command"
        )
    return ModelError(
        f"{package} cannot be imported ({type(error).__name__}: {text}); found {found}; "
        f"run `{_MEND}` with the index that torch came from"
    )
