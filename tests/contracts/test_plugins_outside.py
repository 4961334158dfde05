"""A plug-in in a new file, in robobench's folder or in another package, is found and held to the contracts.

Each case runs in a process of its own, because a registry keeps what it has found.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "plugin"
CONTRACTS = "tests/contracts/test_plugins.py"

FADE = '''
"""Fading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from robobench.draws import Draws
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch


@perturbations.register("grey", version=1)
@dataclass(frozen=True, kw_only=True)
class Fade:
    """Mix every pixel with grey.

    Own: made for a test.
    """

    share: Annotated[float, Field(ge=0, le=1)]  # share of grey in the mixture

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"share": 0.5}, {"share": 0.25})

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        return batch.with_pixels(batch.pixels * (1 - self.share) + MIXED)
'''


def python(*args: str, paths: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*map(str, paths), str(ROOT)])
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *args], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture
def installed(tmp_path: Path) -> tuple[Path, Path]:
    """The example package as an installer leaves it: on the path, with its entry points beside it."""
    import tomllib

    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    (group, points), *_ = project["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return EXAMPLE, tmp_path


def test_another_packages_plug_in_is_listed_built_and_checked(installed):
    code = """
from robobench.errors import BadParameter, UnknownName
from robobench.registry import find_step, perturbations
name = "robobench_stripes/stripes.bars"
assert name in perturbations.names(), perturbations.names()
plugin = find_step(name)
print(plugin.kind, plugin.version, plugin.summary)
print(perturbations.build(name, {"width": 0.5}))
for params in ({"width": 2}, {"wdth": 0.5}):
    try:
        perturbations.build(name, params)
    except BadParameter as error:
        print(error)
try:
    perturbations.get("robobench_stripes/stripes.bar")
except UnknownName as error:
    print(error)
"""
    result = python("-c", code, paths=installed)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "perturbation 1 Cover an image with upright bars of one shade.",
        "Bars(width=0.5, period=8, shade=0.0)",
        "robobench_stripes/stripes.bars: width: expected less than or equal to 1, got 2",
        "robobench_stripes/stripes.bars: unknown parameter 'wdth'; did you mean 'width'?",
        "unknown perturbation 'robobench_stripes/stripes.bar'; did you mean 'robobench_stripes/stripes.bars'?",
    ]


def test_without_the_package_its_plug_in_is_unknown():
    code = "from robobench.registry import perturbations; perturbations.get('robobench_stripes/stripes.bars')"
    result = python("-c", code)
    assert result.returncode == 1
    assert "unknown perturbation 'robobench_stripes/stripes.bars'" in result.stderr


def test_an_entry_point_that_cannot_be_imported_is_named(installed):
    _, site = installed
    result = python(
        "-c", "from robobench.registry import perturbations; perturbations.names()", paths=(site,)
    )
    assert result.returncode == 1
    assert (
        "the plug-in module 'robobench_stripes.stripes' of entry point 'stripes' cannot be imported: "
        "ModuleNotFoundError: No module named 'robobench_stripes'"
    ) in result.stderr


def contracts(tmp_path: Path, mixed: str, paths: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the contract tests of two new plug-ins: one file beside robobench's own, and the example."""
    folder = tmp_path / "perturbations"
    folder.mkdir()
    (folder / "fading.py").write_text(FADE.replace("MIXED", mixed))
    code = (
        f"import sys, pytest, robobench.perturbations as p; p.__path__.append({str(folder)!r});"
        f"sys.exit(pytest.main(['{CONTRACTS}', '-k', 'fading or stripes', '-p', 'no:cacheprovider']))"
    )
    return python("-c", code, paths=paths)


def test_new_plug_ins_are_covered_by_the_contract_tests(tmp_path, installed):
    result = contracts(tmp_path, "self.share * 0.5", paths=installed)
    assert result.returncode == 0, result.stdout
    passed = int(result.stdout.rsplit(" passed", 1)[0].split()[-1])
    # of each: six about its description and parameters, three about draws, levels and nesting, two for each example
    assert passed == (6 + 3 + 2 * 2) + (6 + 3 + 3 * 2)


def test_a_new_plug_in_that_breaks_the_contracts_fails_them(tmp_path):
    result = contracts(tmp_path, "self.share * __import__('torch').rand_like(batch.pixels)")
    assert result.returncode == 1
    assert "fading.grey" in result.stdout
    assert "test_perturbation_depends_on_nothing_but_image_and_draws" in result.stdout
    result_names = [line for line in result.stdout.splitlines() if line.startswith("FAILED")]
    assert (
        len(result_names) == 4
    )  # its draws, its levels, and the memory layout of each example that changes pixels
