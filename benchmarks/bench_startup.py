"""How long a command takes that computes nothing: wall time of a fresh process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LIGHT = 1.0  # seconds, the goal for --help
AGAIN = 8.0  # seconds, the goal for a run with nothing left to compute


def command(*arguments: str, cwd: Path) -> None:
    subprocess.run([sys.executable, "-m", "robobench", *arguments], cwd=cwd, capture_output=True, check=True)


@pytest.mark.parametrize("line", ["--help", "list", "check quickstart", "show occlusion.random"])
def test_light_command(line, benchmark, report, tmp_path):
    benchmark.pedantic(command, line.split(), {"cwd": tmp_path}, rounds=5, warmup_rounds=1)
    report(benchmark.stats["median"], LIGHT, "s")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the quickstart has been run."""
    place = tmp_path_factory.mktemp("again")
    command("run", "quickstart", cwd=place)
    return place


def test_run_again(benchmark, report, finished):
    """`robobench run quickstart` when every row is there: plan, score, rank, write the page."""
    benchmark.pedantic(command, ("run", "quickstart"), {"cwd": finished}, rounds=3, warmup_rounds=1)
    report(benchmark.stats["median"], AGAIN, "s")


def test_leaderboard_again(benchmark, report, finished):
    benchmark.pedantic(command, ("leaderboard",), {"cwd": finished}, rounds=3, warmup_rounds=1)
    report(benchmark.stats["median"], AGAIN, "s")
