"""What a gate says, for programs: `robobench gate --json`, and its schema."""

from __future__ import annotations

from typing import Any

from robobench.errors import ExitCode
from robobench.leaderboard.gate import Report
from robobench.leaderboard.json_schema import schema_of
from robobench.leaderboard.render_json import plain_values


def to_values(report: Report) -> dict[str, Any]:
    """A report as JSON types, undefined numbers as null, with the exit code."""
    return {**plain_values(report), "exit_code": report.exit_code}


def gate_schema() -> dict[str, Any]:
    """The JSON schema of `to_values`."""
    found = schema_of(
        Report,
        "A gate of robobench",
        "Shares are fractions; what is undefined is null. Exit code 0 lets through.",
    )
    whole = found["$defs"]["Report"]
    whole["properties"]["exit_code"] = {"enum": [int(ExitCode.OK), int(ExitCode.CHECK)]}
    whole["required"] = sorted([*whole["required"], "exit_code"])
    return found
