"""docs/ci.md: what it shows to be copied is what the Action, the template, the hook and the plug-in take."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from robobench.pytest_plugin import Asked
from tests.e2e.test_readme import blocks, parse, robobench_lines

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "ci.md").read_text()
YAML = [yaml.safe_load(block) for block in blocks(TEXT, "yaml")]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
EXAMPLE = ROOT / "examples" / "ci"


def rows(heading):
    """First cells and defaults of the table below a heading."""
    part = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S)[1]
    return re.findall(r"^\| (`[^|]*`) \| ([^|]*?) \|", part, re.M)


def test_the_inputs_of_the_action_are_in_its_table():
    table = {name.strip("`"): default.strip("`") for name, default in rows("GitHub Action")}
    assert set(table) == set(ACTION["inputs"])
    for name, declared in ACTION["inputs"].items():
        word = (
            "required"
            if declared.get("required")
            else declared.get("default") or {"data": "the suite's"}.get(name, "none")
        )
        assert table[name] == word


def test_the_arguments_of_the_mark_are_in_its_table():
    named = {n for cell, _ in rows("pytest") for n in re.findall(r"`(\w+)`", cell)}
    assert named == {f.name for f in fields(Asked)}


def test_the_examples_are_those_of_the_files():
    workflow = yaml.safe_load((EXAMPLE / "github.yml").read_text())
    (steps,) = [y["steps"] for y in YAML if "steps" in y]
    assert steps == workflow["jobs"]["robustness"]["steps"][:2]
    template = yaml.safe_load((EXAMPLE / "robobench.gitlab-ci.yml").read_text())[".robobench"]
    (job,) = [y["robustness"] for y in YAML if "robustness" in y]
    assert set(job["variables"]) <= set(template["variables"])
    assert set(re.findall(r"ROBOBENCH_\w+", TEXT)) == set(template["variables"])


def test_the_hook_exists():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    used = [h for y in YAML for r in y.get("repos", ()) for h in r["hooks"]]
    assert [h["id"] for h in used] == [hook["id"]] * 2
    assert used[1]["entry"] == hook["entry"]


def test_the_marked_test_is_right():
    (code,) = blocks(TEXT, "python")
    (mark,) = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call) and n.keywords]
    Asked(**{k.arg: ast.literal_eval(k.value) for k in mark.keywords})


@pytest.mark.parametrize("arguments", robobench_lines(TEXT), ids=" ".join)
def test_its_commands_are_understood(arguments):
    parse(arguments)
