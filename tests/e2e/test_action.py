"""The GitHub Action, carried out step by step on the quickstart: what passes, what fails, and what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import GOOD, LIMIT, WORSE
from tests.github_action import Scope, run_action

ROOT = Path(__file__).resolve().parents[2]
ACTION = ROOT / "action.yml"
STEPS = yaml.safe_load(ACTION.read_text())["runs"]["steps"]


@pytest.fixture
def act(quickstart, tmp_path):
    """Run the Action in a checkout that has the rows of both models already."""

    def run(computed=True, **given):
        given = {
            "suite": "quickstart",
            "limit": str(LIMIT),
            **{k.replace("_", "-"): v for k, v in given.items()},
        }
        workspace = quickstart.workspace(tmp_path / "work", computed=computed)
        return run_action(ACTION, given, workspace, tmp_path / "runner")

    return run


def check_a_pass(ran, workspace):
    assert ran.code == 0, ran.log
    assert ran.outputs["verdict"] == "pass"
    assert 0.2 < float(ran.outputs["score"]) < 0.6
    assert (workspace / ran.outputs["page"]).is_file()
    junit = (workspace / ran.outputs["junit"]).read_text()
    assert junit.count("<testcase") > 20
    assert "<failure" not in junit
    assert "::error" not in ran.log
    assert "### robobench gate: pass" in ran.summary


def test_an_unchanged_model_passes(act, tmp_path):
    ran = act(model=GOOD, baseline="quickstart.baseline")
    check_a_pass(ran, tmp_path / "work")
    assert ran.steps == ["Install robobench", "Restore results", "Run the suite", "Gate"]
    assert "is installed" in ran.log
    assert "nothing was left to compute" in ran.log


def test_a_worse_model_fails_the_job(act, tmp_path):
    ran = act(model=WORSE, baseline="quickstart.baseline")
    assert ran.code == 3
    assert ran.outputs["verdict"] == "fail"
    assert ran.outputs["score"] == "0.1"
    assert re.search(r"^::error title=robobench clean::100\.0 to 10\.0 %25, a drop of", ran.log, re.M)
    assert re.search(r"^fail: candidate against good: condition clean", ran.log, re.M)
    assert "### robobench gate: fail" in ran.summary
    assert "<failure" in (tmp_path / "work" / ran.outputs["junit"]).read_text()


@pytest.mark.slow
def test_without_a_baseline_the_board_is_the_summary(act):
    ran = act(model=WORSE, name="mine", cache="false", python="3.12")
    assert ran.code == 0, ran.log
    assert ran.summary.startswith("# Handwritten digits")
    assert "| mine |" in ran.summary
    assert ran.outputs["score"] == "0.1"
    assert (ran.outputs["verdict"], ran.outputs["junit"]) == ("", "")
    assert list(ran.uses) == ["actions/setup-python@v6"]


@pytest.mark.slow
def test_from_nothing(act, tmp_path):
    check_a_pass(act(computed=False, model=GOOD, baseline="quickstart.baseline"), tmp_path / "work")


@pytest.mark.slow
@pytest.mark.parametrize(("model", "code"), [(GOOD, 0), (WORSE, 3)])
def test_the_gate_can_be_sequential(model, code, act):
    ran = act(computed=False, model=model, baseline="quickstart.baseline", sequential="true")
    assert ran.code == code, ran.log
    assert ran.outputs["verdict"] == ("fail" if code else "pass")


@pytest.mark.slow
@pytest.mark.parametrize(("fail_on", "code"), [("never", 0), ("fail", 3), ("inconclusive", 3)])
def test_what_fails_the_job_can_be_chosen(fail_on, code, act):
    ran = act(model=WORSE, baseline="quickstart.baseline", fail_on=fail_on)
    assert (ran.code, ran.outputs["verdict"]) == (code, "fail")


@pytest.mark.slow
def test_a_wrong_choice_of_that_is_an_error(act):
    ran = act(model=GOOD, baseline="quickstart.baseline", fail_on="sometimes")
    assert ran.code == 2
    assert "::error::fail-on: expected fail, inconclusive, policy or never" in ran.log


@pytest.mark.slow
def test_a_policy_is_heard(act, quickstart, tmp_path):
    (tmp_path / "gate.yaml").write_text("margin: 0.5\nconditions: false\nfloors: {robustness: 0.99}\n")
    ran = act(model=GOOD, baseline="quickstart.baseline", policy=str(tmp_path / "gate.yaml"))
    assert ran.code == 3
    assert "floor robustness" in ran.log


HOSTILE = (
    'x"; touch pwned; "',
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned #",
    "a\ntouch pwned",
    "--help",
)


VARIABLES = sorted({v for s in STEPS for v in s.get("env", {})})


@pytest.mark.parametrize("text", HOSTILE)
def test_inputs_are_words_and_never_code(text, tmp_path):
    """Whatever an input says, `python` gets it as one word, or as a part of one."""
    for variable in VARIABLES:
        steps = [s for s in STEPS if variable in s.get("env", {})]
        said = [word for s in steps for word in spoken(s, {variable: text}, tmp_path)]
        assert not list(tmp_path.rglob("pwned")), variable
        if variable not in ("ALLOW_CODE", "FAIL_ON", "SEQUENTIAL"):  # of which only known values do anything
            assert any(text in word for word in said), variable


def spoken(step, given, folder):
    """The words that a step's script hands to `python`, with a stand-in that writes them down."""
    fake = folder / "bin" / "python"
    fake.parent.mkdir(exist_ok=True)
    fake.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" >> {folder}/said\n')
    fake.chmod(0o755)
    (folder / "said").unlink(missing_ok=True)
    environment = {
        "PATH": f"{fake.parent}:/usr/bin:/bin", "RUNNER_TEMP": str(folder), "GITHUB_ACTION_PATH": str(folder),
        "GITHUB_OUTPUT": "/dev/null", "GITHUB_STEP_SUMMARY": "/dev/null",
        **dict.fromkeys(step["env"], "x"), "FAIL_ON": "policy", **given,
    }  # fmt: skip
    subprocess.run(["bash", "-c", step["run"]], cwd=folder, env=environment, capture_output=True, check=False)
    found = folder / "said"
    return found.read_text().split("\0") if found.exists() else []


def test_no_expression_stands_in_a_script():
    scripts = [s["run"] for s in STEPS if "run" in s]
    assert len(scripts) == 3
    assert [s for s in scripts if "${{" in s] == []


def test_every_input_is_used_and_every_output_is_made():
    action = yaml.safe_load(ACTION.read_text())
    text = ACTION.read_text()
    assert [n for n in action["inputs"] if f"inputs.{n} " not in text and f"inputs.{n}\n" not in text] == []
    for output in action["outputs"].values():
        step, key = re.search(r"steps\.(\w+)\.outputs\.(\w+)", output["value"]).groups()
        script = next(s["run"] for s in STEPS if s.get("id") == step)
        assert f"{key}=" in script or (step, key) == ("gate", "verdict"), key


INSTALL = next(s for s in STEPS if s["name"] == "Install robobench")


@pytest.mark.parametrize(
    ("installed", "version", "asked"),
    [
        ("", "", "-m pip install --disable-pip-version-check /the/action"),
        ("", "0.1.0", "-m pip install --disable-pip-version-check robobench==0.1.0"),
        ("0.0.9", "0.1.0", "-m pip install --disable-pip-version-check robobench==0.1.0"),
        ("0.0.9", "", None),
        ("0.1.0", "0.1.0", None),
    ],
)
def test_what_is_there_is_not_installed_again(installed, version, asked, tmp_path):
    fake = tmp_path / "python"
    there = f"echo {installed}" if installed else "exit 1"
    fake.write_text(f'#!/bin/sh\nif [ "$1" = -c ]; then {there}; else echo "asked: $*"; fi\n')
    fake.chmod(0o755)
    ran = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", INSTALL["run"]], capture_output=True, text=True, check=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "VERSION": version, "GITHUB_ACTION_PATH": "/the/action"},
    )  # fmt: skip
    wanted = f"asked: {asked}" if asked else f"robobench {installed} is installed"
    assert ran.stdout.strip() == wanted


def test_the_stand_in_for_github_knows_what_it_does_not_know():
    scope = Scope({"a": "1", "b": ""}, {"one": {"x": "y"}})
    assert scope.text("${{ inputs.a }}-${{ steps.one.outputs.x }}-${{ steps.two.outputs.x }}") == "1-y-"
    assert [scope.value(e) for e in ("inputs.a != ''", "inputs.b != ''", "inputs.a == '1'")] == [
        "true",
        "false",
        "true",
    ]
    for wrong in ("inputs.c", "inputs.a && inputs.b", "fromJSON(inputs.a)"):
        with pytest.raises(AssertionError):
            scope.value(wrong)


def validate(schema, *files):
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)],
        capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip


def test_githubs_own_schema_accepts_it(tmp_path):
    text = ACTION.read_text()
    for name, wrong in {
        "shell": text.replace("shell: bash", "shel: bash", 1),
        "using": text.replace("composite", "bash"),
    }.items():
        (tmp_path / f"{name}.yml").write_text(wrong)
        assert wrong != text
    assert validate("vendor.github-actions", ACTION).returncode == 0
    refused = validate("vendor.github-actions", *tmp_path.glob("*.yml"))
    assert refused.returncode == 1
    assert {"shell.yml", "using.yml"} <= set(re.findall(r"\w+\.yml", refused.stdout))


def test_the_example_workflow_is_one_and_gives_the_action_what_it_takes():
    file = ROOT / "examples" / "ci" / "github.yml"
    checked = validate("vendor.github-workflows", file)
    assert checked.returncode == 0, checked.stdout
    steps = yaml.safe_load(file.read_text())["jobs"]["robustness"]["steps"]
    (own,) = [s for s in steps if "/robobench@" in s.get("uses", "")]
    inputs = yaml.safe_load(ACTION.read_text())["inputs"]
    assert set(own["with"]) <= set(inputs)
    assert {k for k, v in inputs.items() if v.get("required")} <= set(own["with"])
    upload = next(s for s in steps if "upload-artifact" in s.get("uses", ""))
    assert inputs["junit"]["default"] in upload["with"]["path"]


def test_kept_rows_are_used_again_only_with_the_same_code_and_weights():
    (key,) = [s["with"]["key"] for s in STEPS if "actions/cache" in s.get("uses", "")]
    for kind in ("py", "yaml", "pt", "pth", "ckpt", "safetensors", "bin", "onnx", "npz"):
        assert f"'**/*.{kind}'" in key
