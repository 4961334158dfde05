"""Every import inside robobench/ goes to a lower layer; folders of one layer never import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import robobench

PACKAGE = Path(robobench.__file__).parent

# From the bottom to the top. What stands in one layer: single files of the lowest two may import each
# other (without a circle), folders and the single files above may not.
LAYERS = (
    {"errors", "types", "keys", "draws", "specs", "stats", "proportions", "seeds", "sequential",
     "lossless", "atomic", "rowfiles", "typed_json", "speed", "asides"},
    {"registry", "contracts", "images", "params", "filters", "warp", "colour", "codecs", "spectra", "fidelity",
     "losses", "norms", "randomness", "patches", "attention", "accuracy_line"},
    {"models", "data", "perturbations", "interventions", "attacks", "preparations", "analyses", "metrics",
     "formulas", "tasks"},
    {"suite", "store"},
    {"engine"},
    {"leaderboard", "checks"},
    {"tracking"},
    {"api"},
    {"cli", "pytest_plugin"},
    {"__init__", "__main__"},  # the package's face: hands out what `api` and `cli` have
)  # fmt: skip
FREE = 2  # layers from the bottom whose files may import each other

Import = tuple[Path, int, str, str]  # file, line, importing unit, imported unit


def level(unit: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if unit in layer)


def unit_of(path: Path, root: Path) -> str:
    """The folder or single file of the package that a file belongs to."""
    return path.relative_to(root).with_suffix("").parts[0]


def imported_modules(tree: ast.AST, module: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported, wherever it stands: top, function, TYPE_CHECKING."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module[: -node.level] if node.level else ()) + ("." if node.level else "")
            start = (base + (node.module or "")).rstrip(".")
            if start == "robobench":  # `from robobench import registry` means robobench.registry
                yield from ((node.lineno, f"robobench.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, start


def imports(root: Path) -> Iterator[Import]:
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        tree = ast.parse(path.read_text(), str(path))
        for line, name in imported_modules(tree, ("robobench", *parts)):
            top, _, rest = name.partition(".")
            if top == "robobench":
                target = rest.partition(".")[0]
                known = target and ((root / target).is_dir() or (root / f"{target}.py").is_file())
                yield path, line, unit_of(path, root), target if known else "__init__"


def faults(root: Path) -> list[str]:
    found = []
    for path, line, source, target in imports(root):
        where = f"{path.relative_to(root.parent)}:{line}"
        if source == target:
            continue
        if level(source) == level(target) < FREE:
            continue
        if level(source) <= level(target):
            found.append(
                f"{where}: {source} (layer {level(source)}) imports {target} (layer {level(target)})"
            )
    return found


def circles(edges: dict[str, set[str]]) -> list[str]:
    """Units that can be reached from themselves."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        open_ = [start]
        while open_:
            for following in edges.get(open_.pop(), set()) - seen:
                seen.add(following)
                open_.append(following)
        return seen

    return [unit for unit in edges if unit in reach(unit)]


def free_edges(root: Path) -> dict[str, set[str]]:
    """Who imports whom among the files of the lowest layers."""
    edges: dict[str, set[str]] = {}
    for _, _, source, target in imports(root):
        if source != target and level(source) < FREE and level(target) < FREE:
            edges.setdefault(source, set()).add(target)
    return edges


def test_every_import_goes_down():
    assert faults(PACKAGE) == []


def test_the_lowest_files_import_each_other_without_a_circle():
    assert circles(free_edges(PACKAGE)) == []


def test_every_part_of_the_package_has_a_layer():
    parts = {unit_of(p, PACKAGE) for p in PACKAGE.rglob("*.py")}
    assert sorted(p for p in parts if not any(p in layer for layer in LAYERS)) == []


def test_the_table_has_every_unit_once():
    units = [unit for layer in LAYERS for unit in layer]
    assert len(units) == len(set(units))


TREE = {
    "__init__.py": "",
    "errors.py": "",
    "registry.py": "from robobench.errors import x",
    "metrics/__init__.py": "",
    "tasks/__init__.py": "",
    "engine/__init__.py": "",
    "api.py": "",
}


@pytest.mark.parametrize(
    ("file", "code", "fault"),
    [
        ("errors.py", "import os\nimport robobench.registry", "errors.py:2: errors (layer 0) imports registry (layer 1)"),
        ("registry.py", "def f():\n    from robobench.engine import y", "registry.py:2: registry (layer 1) imports engine"),
        (
            "registry.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from robobench.engine.plan import Plan",
            "registry.py:3: registry (layer 1) imports engine (layer 4)",
        ),
        ("metrics/a.py", "from robobench import tasks", "metrics/a.py:1: metrics (layer 2) imports tasks (layer 2)"),
        ("metrics/a.py", "from ..tasks import b", "metrics/a.py:1: metrics (layer 2) imports tasks (layer 2)"),
        ("metrics/a.py", "from .. import tasks", "metrics/a.py:1: metrics (layer 2) imports tasks (layer 2)"),
        ("engine/a.py", "from robobench import run", "engine/a.py:1: engine (layer 4) imports __init__ (layer 9)"),
        ("engine/a.py", "import robobench", "engine/a.py:1: engine (layer 4) imports __init__ (layer 9)"),
        ("engine/a.py", "import robobench.api", "engine/a.py:1: engine (layer 4) imports api (layer 7)"),
    ],
)  # fmt: skip
def test_an_import_upwards_or_sideways_is_found(tmp_path, file, code, fault):
    root = tmp_path / "robobench"
    for name, text in {**TREE, file: code}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (found,) = faults(root)
    assert fault in found


def test_imports_downwards_and_inside_a_folder_are_fine(tmp_path):
    root = tmp_path / "robobench"
    down = {
        "engine/a.py": "from robobench.errors import x\nfrom .b import c\nfrom . import b",
        "engine/b.py": "c = 1",
    }
    for name, text in {**TREE, **down}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    assert faults(root) == []


def test_a_circle_is_found():
    assert circles({"keys": {"types"}, "types": {"keys"}, "draws": {"keys"}}) == ["keys", "types"]
