"""The wheel: what is in it, and that a copy of it works from any folder without the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    ran = subprocess.run(build, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (found,) = out.glob("robobench-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    return place


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def package_files() -> set[str]:
    """Every file of the package, code or not, as the wheel should name it."""
    found = (p for p in (ROOT / "robobench").rglob("*") if p.is_file())
    return {
        p.relative_to(ROOT).as_posix()
        for p in found
        if p.suffix != ".pyc" and not any(part.startswith(".") for part in p.relative_to(ROOT).parts)
    }


def test_all_suites_are_inside(wheel):
    shipped = {p.name for p in (ROOT / "suites").glob("*.yaml")}
    assert shipped
    assert shipped == {Path(n).name for n in names(wheel) if n.startswith("robobench/_suites/")}


def test_every_file_of_the_package_the_marker_and_the_licence_are_inside(wheel):
    inside = names(wheel)
    assert package_files() <= inside
    assert "robobench/py.typed" in inside
    assert any(n.endswith(".dist-info/licenses/LICENSE") for n in inside)


@pytest.mark.parametrize(("folder", "kind"), [("models/", ".safetensors"), ("leaderboard/site/", "")])
def test_the_weights_and_the_page_are_inside(folder, kind, wheel):
    """`package_files` would not miss what is not there, so these are named."""
    assert [n for n in names(wheel) if n.startswith(f"robobench/{folder}") and n.endswith(kind)]


def test_nothing_else_is_inside(wheel):
    tops = {n.partition("/")[0] for n in names(wheel)}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"robobench"}
    assert not [n for n in names(wheel) if "__pycache__" in n or n.endswith((".pyc", ".part"))]


def test_the_weights_are_small(wheel):
    assert wheel.stat().st_size < 12 * 2**20


def robobench(*arguments: str, installed: Path, cwd: Path) -> str:
    """Run the unpacked wheel, far from the repository; its standard output."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "ROBOBENCH_CACHE": ""}
    ran = subprocess.run(
        [sys.executable, "-m", "robobench", *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_copy_is_what_runs(installed, tmp_path):
    code = "import robobench; print(robobench.__file__)"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(ran.stdout.strip()).is_relative_to(installed)


def test_it_finds_its_suites_by_name_from_any_folder(installed, tmp_path):
    listed = robobench("list", "suites", installed=installed, cwd=tmp_path)
    for path in (ROOT / "suites").glob("*.yaml"):
        assert path.stem in listed
    checked = robobench("check", "quickstart", installed=installed, cwd=tmp_path)
    assert checked.startswith("quickstart: fine")


def test_a_suite_of_the_working_folder_is_found_too(installed, tmp_path):
    (tmp_path / "suites").mkdir()
    text = "schema: 1\nname: mine\ntitle: My own suite\ndata: {source: digits, path: mnist}\n"
    (tmp_path / "suites" / "mine.yaml").write_text(text)
    assert "My own suite" in robobench("list", "suites", installed=installed, cwd=tmp_path)


@pytest.mark.slow
def test_it_runs_and_ranks(installed, tmp_path):
    out = robobench("run", "quickstart", "--limit", "20", installed=installed, cwd=tmp_path)
    assert "page: results/boards/quickstart/index.html" in out
    assert (tmp_path / "results" / "boards" / "quickstart" / "index.html").is_file()
