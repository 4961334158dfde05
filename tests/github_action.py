"""Carry out a composite action as GitHub does, as far as action.yml goes: inputs, `if`, `env`, bash steps.

Steps that use another action are noted with what they are given, and left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail")  # GitHub's `shell: bash`
_VALUE = r"(?:inputs|steps|runner|github)\.[\w.-]+|'[^']*'"
_TERM = re.compile(rf"\s*({_VALUE})(?:\s*(==|!=)\s*({_VALUE}))?\s*\Z")


@dataclass
class Ran:
    """code: of the step that failed, else 0; outputs: the action's; uses: of other actions, with what."""

    code: int
    log: str
    summary: str
    outputs: dict[str, str]
    uses: dict[str, Mapping[str, str]] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)


@dataclass
class Scope:
    """What expressions can name."""

    inputs: Mapping[str, str]
    steps: dict[str, dict[str, str]] = field(default_factory=dict)

    def value(self, expression: str) -> str:
        """An expression's value as text. Raises AssertionError for what GitHub or this subset does not know."""
        found = _TERM.match(expression)
        assert found, f"not in this subset of expressions: {expression!r}"
        left, sign, right = found.groups()
        if sign is None:
            return self._operand(left)
        return str((self._operand(left) == self._operand(right)) == (sign == "==")).lower()

    def _operand(self, text: str) -> str:
        if text.startswith("'"):
            return text[1:-1]
        context, *rest = text.split(".")
        if context == "inputs":
            assert rest[0] in self.inputs, f"there is no input {rest[0]!r}"
            return self.inputs[rest[0]]
        if context == "steps":
            name, outputs, key = rest
            assert outputs == "outputs"
            return self.steps.get(name, {}).get(key, "")
        return f"<{text}>"

    def text(self, text: Any) -> str:
        """A value of the file with its expressions filled in."""
        return re.sub(r"\$\{\{(.*?)\}\}", lambda m: self.value(m[1]), str(text))


def run_action(file: Path, given: Mapping[str, str], workspace: Path, temporary: Path) -> Ran:
    """Run a composite action in a workspace; the `python` of its job is the one that runs this."""
    action = yaml.safe_load(file.read_text())
    assert action["runs"]["using"] == "composite"
    known = action["inputs"]
    assert set(given) <= set(known), f"no such input: {set(given) - set(known)}"
    scope = Scope({k: given.get(k, str(v.get("default", ""))) for k, v in known.items()})
    runner = _Runner(file.parent, workspace, temporary, scope, _path(temporary))
    ran = Ran(0, "", "", {})
    for number, step in enumerate(action["runs"]["steps"]):
        if "if" in step and scope.value(step["if"]) != "true":
            continue
        ran.steps.append(step["name"])
        if "uses" in step:
            ran.uses[step["uses"]] = step.get("with", {})
            continue
        code, log = runner.step(step, number)
        ran.log += log
        if code:
            ran.code = code
            break
    ran.summary = runner.summary.read_text() if runner.summary.exists() else ""
    ran.outputs = {k: scope.text(v["value"]) for k, v in action["outputs"].items()}
    return ran


def _path(temporary: Path) -> str:
    """A PATH on which there is a `python`, as a job finds it, and nothing of robobench."""
    python = temporary / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return f"{python.parent}:/usr/bin:/bin"


@dataclass
class _Runner:
    action: Path
    workspace: Path
    temporary: Path
    scope: Scope
    path: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> Path:
        return self.temporary / "summary.md"

    def step(self, step: Mapping[str, Any], number: int) -> tuple[int, str]:
        """Exit code and log of a step; what it says in its files is taken over."""
        assert step["shell"] == "bash"
        script = self.temporary / f"step-{number}.sh"
        script.write_text(step["run"])
        files = {n: self.temporary / f"{n}-{number}" for n in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH")}
        for file in files.values():
            file.touch()
        ran = subprocess.run(
            [*BASH, str(script)], cwd=self.workspace, text=True, check=False, timeout=300,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")},
                **self.environment,
                "PATH": self.path,
                "RUNNER_TEMP": str(self.temporary),
                "GITHUB_ACTIONS": "true",
                "GITHUB_ACTION_PATH": str(self.action),
                "GITHUB_WORKSPACE": str(self.workspace),
                "GITHUB_STEP_SUMMARY": str(self.summary),
                **{k: str(v) for k, v in files.items()},
                **{k: self.scope.text(v) for k, v in step.get("env", {}).items()},
            },
        )  # fmt: skip
        self.scope.steps[step.get("id", "")] = _assignments(files["GITHUB_OUTPUT"])
        self.environment |= _assignments(files["GITHUB_ENV"])
        self.path = ":".join([*reversed(files["GITHUB_PATH"].read_text().split()), self.path])
        return ran.returncode, ran.stdout


def _assignments(file: Path) -> dict[str, str]:
    """`name=value` lines; anything else is what GitHub refuses."""
    pairs = [line.partition("=") for line in file.read_text().splitlines()]
    assert all(name and sign for name, sign, _ in pairs), file.read_text()
    return {name: value for name, _, value in pairs}
