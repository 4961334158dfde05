"""What made a result: versions, weights, device, time. Never a path, a host or a user."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from robobench.engine.resolve import PRECISION, Resolved
from robobench.types import ModelCard, ModelId

PACKAGES = ("robobench", "torch", "torchvision", "timm", "torchattacks", "albumentations", "numpy", "pillow")


@cache
def versions() -> Mapping[str, str]:
    """The installed versions of what can change a number."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str | None:
    """The commit of a robobench that runs from its repository, with `+` when it was changed since."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        ran = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+"],
            cwd=root, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.strip() or None


def hardware(device: str) -> str:
    """The kind of machine, in words."""
    import os

    import torch

    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    threads = torch.get_num_threads()
    return f"{_processor()}, {os.cpu_count()} cores, {threads} thread{'s' * (threads != 1)}"


@cache
def _processor() -> str:
    """The processor by its name, else by its kind."""
    kind = f"{platform.machine()} CPU"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = [f"model name: {platform.processor()}"]
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{name} ({kind})" if name else kind


def provenance(resolved: Resolved, model: ModelId, card: ModelCard, data: str, device: str) -> dict[str, Any]:
    """The record beside the rows of an item."""
    sets = resolved.data[data]
    return {
        "suite": resolved.suite.name,
        "suite_digest": resolved.suite.digest,
        "model": {
            "name": model.name,
            "digest": model.digest,
            "family": model.family or card.family,
            "parameters": card.parameters,
            "weights": card.weights,
            "input_size": card.input_size,
        },
        "data": {"title": sets.title, "revision": sets.revision, "view": str(sets.view or card.view)},
        "seed": resolved.suite.seed,
        "precision": PRECISION,
        "device": device,
        "hardware": hardware(device),
        "versions": dict(versions()),
        "commit": commit(),
        "platform": sys.platform,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
