"""The files around the code: pins that fit the ranges, local hooks only, a Makefile that says what it does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [
    line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")
]
INSTALLED = ("dev", "samples")  # the extras that make installs


def requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    return [Requirement(r) for r in [*PROJECT["dependencies"], *(r for e in INSTALLED for r in extras[e])]]


def test_constraints_are_exact_sorted_and_name_no_place():
    assert [p for p in PINS if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", p)] == []
    names = [p.partition("==")[0].lower() for p in PINS]
    assert names == sorted(set(names))
    assert not {"pip", "uv", "robobench"} & set(names)


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_dependency_has_a_pin_inside_its_range(requirement):
    pins = {canonicalize_name(n): v for n, _, v in (p.partition("==") for p in PINS)}
    assert Version(pins[canonicalize_name(requirement.name)]) in requirement.specifier


@pytest.mark.parametrize(
    "name", ["Makefile", ".ci/run", "pyproject.toml", "constraints.txt", ".pre-commit-config.yaml"]
)
def test_no_index_and_no_host_is_named(name):
    text = (ROOT / name).read_text()
    assert re.findall(r"https?://|git\+|index-url|find-links|trusted-host", text) == []


def test_hooks_are_local():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {r["repo"] for r in hooks["repos"]} == {"local"}
    assert {h["id"] for r in hooks["repos"] for h in r["hooks"]} >= {"ruff", "mypy", "layers"}


def test_the_ci_script_runs_and_reads():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()
    subprocess.run(["bash", "-n", str(script)], check=True)


PLAIN = "/usr/bin:/bin"
needs_make = pytest.mark.skipif(
    shutil.which("make", path=PLAIN) is None or shutil.which("uv", path=PLAIN) is not None,
    reason="needs make, and no uv beside it",
)


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """make in the repository, without uv, with the environment of the test's own choice."""
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT, env={"PATH": PLAIN}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@needs_make
def test_help_lists_the_targets():
    listed = make("help").stdout
    for target in ("run", "test", "test-slow", "check", "bench", "docs", "clean"):
        assert re.search(rf"^  make {target} +\S", listed, re.M), target


@needs_make
def test_an_old_python_is_answered(tmp_path):
    old = script(tmp_path / "python3.9", 'case "$2" in *print*) echo 3.9.1;; pass) ;; *) exit 1;; esac')
    ran = make("setup", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert ran.returncode != 0
    assert (
        f"robobench needs Python 3.11 or newer, and {old} is 3.9.1: "
        "name a newer one with 'make PYTHON=/path/to/python3.11'"
    ) in ran.stderr


@needs_make
def test_no_python_is_answered(tmp_path):
    ran = make("setup", "PYTHON=no-such-python", f"VENV={tmp_path / 'venv'}")
    assert ran.returncode != 0
    assert "robobench needs Python 3.11 or newer, and there is no no-such-python here" in ran.stderr


@needs_make
def test_the_environment_is_made_once_and_renewed_when_stale(tmp_path):
    """With a stand-in for Python whose venvs only say what they were asked."""
    inner = f'[ "$1" = -c ] && exec {sys.executable} "$@"; echo "asked: $*"'
    fake = script(
        tmp_path / "python",
        f"""if [ "$2" = venv ]; then mkdir -p "$4/bin"; printf '#!/bin/sh\\n%s\\n' '{inner}' > "$4/bin/python"
        chmod +x "$4/bin/python"; else exec {sys.executable} "$@"; fi""",
    )
    venv = tmp_path / "venv"
    first = make("setup", f"PYTHON={fake}", f"VENV={venv}").stdout
    assert f"==> making {venv} with {fake}" in first
    assert (
        "asked: -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .[dev,samples]"
        in first
    )
    assert "asked" not in make("setup", f"PYTHON={fake}", f"VENV={venv}").stdout
    os.utime(venv / ".installed", (1, 1))
    again = make("setup", f"PYTHON={fake}", f"VENV={venv}").stdout
    assert "==> making" not in again
    assert "asked: -m pip install" in again
