"""What is the matter with a result that was handed in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LONGEST = 80  # letters of a value that anybody may have written


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be. where: file, or model and condition. A warning is no error."""

    where: str
    expected: str
    got: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, got {self.got}"


def short(value: object, most: int = LONGEST) -> str:
    """A value as a text of a bounded length."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def reason(error: Exception, root: Path | None = None) -> str:
    """What an error says, with files by their place below a folder."""
    text = str(error) if root is None else str(error).replace(f"{root}/", "")
    return short(text, 4 * LONGEST)
