"""Commands that only read and print start without torch and its kin; and a test that would see them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.results import make_results

HEAVY = ("torch", "torchvision", "timm", "datasets", "torchattacks", "albumentations", "transformers", "cv2")
WATCH = f"""
import sys
from robobench.cli.main import _run
code = _run(sys.argv[1:])
print("@heavy", *sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)
sys.exit(code)
"""


def heavy_modules(*arguments: str, cwd: Path, setup: str = "") -> tuple[int, list[str], str]:
    """Exit code, heavy modules that were imported, and everything that was printed."""
    ran = subprocess.run(
        [sys.executable, "-c", setup + WATCH, *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    marked = [line for line in ran.stderr.splitlines() if line.startswith("@heavy")]
    assert marked, ran.stdout + ran.stderr
    return ran.returncode, marked[-1].split()[1:], ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_results(tmp_path_factory.mktemp("light") / "results").root


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "run --help",
        "--version",
        "list",
        "list attacks",
        "list --json",
        "check quickstart",
        "show occlusion.random",
        "show quickstart",
        "leaderboard --out results",
        "leaderboard --out results --format html",
        "leaderboard --out results --to page",
        "query --out results select_1",
        "compare good bad --out results",
    ],
)
def test_light_commands_import_nothing_heavy(command, results):
    arguments = [part.replace("_", " ") for part in command.split()]
    code, heavy, printed = heavy_modules(*arguments, cwd=results.parent)
    assert heavy == []
    assert code == 0, printed


def test_the_package_itself_imports_nothing_heavy(tmp_path):
    _, heavy, _ = heavy_modules("--version", cwd=tmp_path, setup="import robobench, robobench.registry\n")
    assert heavy == []


def test_a_command_that_imports_torch_is_caught(tmp_path):
    _, heavy, _ = heavy_modules("doctor", cwd=tmp_path)
    assert {"torch", "timm"} <= set(heavy)


def test_a_plugin_that_imports_at_its_top_is_caught(tmp_path):
    """As when somebody moves an import in a plug-in file to its top: `list` would bring it in."""
    (tmp_path / "datasets.py").write_text("")  # stands in for the heavy package, for speed
    setup = """
import sys
sys.path.insert(0, "")
import robobench.metrics.accuracy
import datasets
"""
    _, heavy, _ = heavy_modules("list", "metrics", cwd=tmp_path, setup=setup)
    assert heavy == ["datasets"]
