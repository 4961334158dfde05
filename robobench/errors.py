"""What can go wrong, said so that a user can mend it, and the exit code that goes with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line returns. The larger of CHECK and FAILED_CELLS wins."""

    OK = 0
    BUG = 1
    USER = 2
    CHECK = 3
    FAILED_CELLS = 4
    INTERRUPTED = 130


class RobobenchError(Exception):
    """A mistake that its reader can mend; printed without a traceback."""

    exit_code: ExitCode = ExitCode.USER


class SuiteError(RobobenchError):
    """A suite file that says something wrong; the message starts with `file:line`."""


class UnknownName(RobobenchError):
    """A name that no plug-in, suite or model answers to."""


class BadParameter(RobobenchError):
    """A plug-in parameter that is unknown, missing or out of range.

    `path` leads from the plug-in's parameters to the value, so that a loader can name its line.
    """

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.path = path


class BadSpec(RobobenchError):
    """A model or data SPEC (`source:path?key=value`) that cannot be read."""


class DataError(RobobenchError):
    """Data that is missing, empty, damaged or does not fit its label space."""


class UnreachableData(DataError):
    """Data that cannot be read just now: a folder that is gone, a disk that fails. Worth another try."""


class ModelError(RobobenchError):
    """A model that cannot be found, loaded or used as a classifier."""


class Unsupported(ModelError):
    """Something that a model cannot do by its build, such as taking images of another size.

    A property of the model and not a fault of the run: it is recorded and shown, and the exit code stays 0.
    """


class AttackError(RobobenchError):
    """An attack that left its budget or cannot be run on this model."""


class StoreError(RobobenchError):
    """A results folder that cannot be read or written."""


class MissingExtra(RobobenchError):
    """An optional package that is not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package!r}, which is not installed: "
            f"run `pip install 'robobench[{extra}]'`"
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """A "did you mean" clause for a name that is not known, or the known ones when none is near.

    >>> nearest("occlusion.randon", ["occlusion.random", "shuffle.grid"])
    "did you mean 'occlusion.random'?"
    >>> nearest("x", ["a", "b"])
    'known: a, b'
    """
    options = sorted(known)
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    if not options:
        return "none are known"
    shown = ", ".join(options[:20])
    return f"known: {shown}" + (f", and {len(options) - 20} more" if len(options) > 20 else "")
