"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One check: did it hold, and what was seen. A warning does not make the command fail."""

    check: str
    ok: bool
    found: str
    warning: bool = False
    model: str = ""  # the name of the model that was looked at; empty for the installation
