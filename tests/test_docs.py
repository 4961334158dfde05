"""The pages of docs/ say what the code does: generated tables, the keys of a suite, links, examples."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel

from robobench.suite import schema
from robobench.suite.load import parse_suite
from robobench.suite.schema import Part, SuitePart

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
FORMAT = ROOT / "docs" / "suite-format.md"

SECTIONS = {
    "SuitePart": "The suite",
    "DataPart": "data",
    "ViewPart": "view",
    "ModelPart": "models",
    "MetricPart": "metrics",
    "PreparationPart": "preparations",
    "ConditionPart": "conditions",
    "StepPart": "conditions",
    "ScorePart": "score",
    "SummaryPart": "summaries",
}
INTERNAL = {("DataPart", "params")}  # where the source's own keys are gathered


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_plugin_page_is_what_the_plugins_say(build):
    assert build.PAGE.read_text() == build.page(), "run `make docs`"


def test_a_page_that_is_out_of_date_is_found(build, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "PAGE", tmp_path / "plugins.md")
    monkeypatch.setattr(build, "SCHEMA", tmp_path / "leaderboard.schema.json")
    monkeypatch.setattr(build, "GATE", tmp_path / "gate.schema.json")
    assert build.main(["--check"]) == 1
    assert "run `make docs`" in capsys.readouterr().err
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0


def test_field_comments_are_read_also_from_a_base_class(build):
    from robobench.perturbations.occlusion.scattered import RandomPatchDrop

    assert build.field_comments(RandomPatchDrop)["fraction"] == "share of the cells that is covered"


def parts() -> dict[str, type[BaseModel]]:
    return {
        n: v for n, v in vars(schema).items() if isinstance(v, type) and issubclass(v, Part) and v is not Part
    }


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", FORMAT.read_text(), re.M | re.S)
    assert found, title
    return found[1]


def test_every_part_of_the_schema_has_a_section():
    assert set(parts()) == set(SECTIONS)


@pytest.mark.parametrize("name", SECTIONS)
def test_every_key_of_the_schema_is_in_its_table(name):
    text = section(SECTIONS[name])
    keys = {f.alias or n for n, f in parts()[name].model_fields.items() if (name, n) not in INTERNAL}
    assert keys
    rows = set(re.findall(r"^\| `([a-z_]+)` \|", text, re.M))
    assert keys <= rows, keys - rows
    if name != "StepPart":  # its keys stand in the table of conditions
        assert rows == keys, rows - keys


@pytest.mark.parametrize("name", ["SuitePart", "ViewPart", "ConditionPart", "ScorePart"])
def test_defaults_in_the_tables(name):
    text = section(SECTIONS[name])
    for key, field in parts()[name].model_fields.items():
        if (
            isinstance(field.default, (int, str))
            and not isinstance(field.default, bool)
            and field.default != ""
        ):
            row = re.search(rf"^\| `{field.alias or key}` \| ([^|]*) \|", text, re.M)
            assert row[1].strip("` ") == str(field.default)


def test_the_example_suite_is_one(monkeypatch):
    example = re.search(r"```yaml\n(.*?)```", FORMAT.read_text(), re.S)[1]
    assert parse_suite(example, "example.yaml").name == "occlusion-and-more"
    keys = {f.alias or n for n, f in SuitePart.model_fields.items()}
    assert set(re.findall(r"^([a-z]+):", example, re.M)) <= keys


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{page.name}: {target}"


def anchors(file: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", file.read_text(), flags=re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    made = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_and_modules_that_are_named_exist(page):
    for name in re.findall(
        r"`((?:robobench|tests|docs|suites|examples|benchmarks)/[\w/.-]+)`", page.read_text()
    ):
        assert (ROOT / name).exists(), f"{page.name}: {name}"


PLUGIN_AT_WORK = """
import sys
import robobench.perturbations
robobench.perturbations.__path__.append(sys.argv[1])

import torch
from robobench.cli.main import _run
from robobench.draws import Draws
from robobench.registry import perturbations
from robobench.types import ImageBatch

assert _run(["show", "tint.channel"]) == 0
tint = perturbations.build("tint.channel", {"strength": 0.5})
batch = ImageBatch(torch.full((4, 3, 8, 8), 0.5), ("a", "b", "c", "d"), torch.zeros(4, dtype=torch.int64))
one = tint(batch, Draws(0, "tint.channel", batch.ids))
two = tint(batch.select([2, 3]), Draws(0, "tint.channel", ("c", "d")))
assert torch.equal(one.pixels[2:], two.pixels)
assert torch.equal(one.pixels[:, 0, 0, 0], 0.5 * one.facts["factor"])
assert torch.equal(one.pixels[:, 1:], batch.pixels[:, 1:])
"""


def test_the_plugin_of_the_guide_works_as_it_stands(tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "add-a-plugin.md").read_text(), re.S)[1]
    (tmp_path / "tint.py").write_text(code)
    (tmp_path / "t.yaml").write_text(
        "schema: 1\nname: t\ntitle: T\ndata: {source: digits, path: mnist}\n"
        "conditions:\n  - {use: tint.channel, ladder: {strength: [0.2, 0.4]}}\n"
    )
    check = 'assert _run(["check", sys.argv[2]]) == 0\n'
    ran = subprocess.run(
        [sys.executable, "-c", PLUGIN_AT_WORK + check, str(tmp_path), str(tmp_path / "t.yaml")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "largest relative change" in code
    assert "strength" in ran.stdout
