"""The pytest plug-in on the quickstart, as a user's tests: what passes, what fails, and how mistakes are told."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from robobench.leaderboard.baseline import read_baseline
from robobench.pytest_plugin import _own_name
from tests.e2e.conftest import EXAMPLES, GOOD, LIMIT, WORSE

pytest_plugins = ["pytester"]

TEST = """
import pytest

@pytest.mark.robobench({arguments})
def test_it(robobench):
    {body}
"""


@pytest.fixture
def run(quickstart, pytester):
    """Run a marked test in a checkout that has the rows of both models already."""
    workspace = quickstart.workspace(pytester.path)
    (workspace / "mine.yaml").write_text(MINE)

    def run(body="pass", *options, text="", **arguments):
        said = ", ".join(f"{k}={v!r}" for k, v in arguments.items())
        (workspace / "test_mine.py").write_text(text or TEST.format(arguments=said, body=body))
        options = ("--robobench-results", "results", "--strict-markers", "--import-mode=importlib", *options)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)

    return run


QUICK = {"suite": "quickstart", "limit": LIMIT}
SMALL = {"suite": "mine.yaml"}
MINE = """schema: 1
name: mine
title: Mine
data: {source: digits, path: mnist, limit: 20}
conditions:
  - {use: shuffle.grid, name: shuffle, with: {grid: 2x2}}
"""


def test_an_unchanged_model_passes_and_a_worse_one_fails_with_the_table(run):
    ran = run(f"assert robobench({GOOD!r}).complete", **QUICK, baseline="quickstart.baseline", max_drop=0.01)
    ran.assert_outcomes(passed=1)
    ran = run(f"robobench({WORSE!r}, name='mine')", **QUICK, baseline="quickstart.baseline", max_drop=0.01)
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines([
        "robobench: quickstart, protocol *",
        "*images  baseline  candidate*drop*95 % interval  margin  power  verdict",
        "clean  *20     100.0       10.0  +90.0  [[]+59.4, +97.2]     1.0     *%  fail",
        "score: robustness *fail",
        "fail: mine against quickstart.baseline: condition clean (100.0 to 10.0 %, a drop of +90.0 *",
    ])  # fmt: skip
    ran.stdout.no_fnmatch_line("*Traceback*")
    ran.stdout.no_fnmatch_line("*During handling*")


def test_a_floor_needs_no_baseline(run):
    run(f"robobench({GOOD!r})", **SMALL, min_score=0.3).assert_outcomes(passed=1)
    ran = run(f"robobench({GOOD!r})", **SMALL, min_score=0.3, policy={"floors": {"shuffle": 0.95}})
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["fail: candidate against its floors: floor shuffle (*, the floor is 95.0 %)"])


def test_a_baseline_is_written_on_request_and_then_held(run, pytester):
    """It is called after the test; until it is there the test fails, and writing it passes nothing."""
    ran = run(f"robobench({GOOD!r})", **SMALL, max_drop=0.02)
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(
        [
            "robobench: there is no baseline *test_mine/test_it.baseline: write it with `pytest --robobench-update`*"
        ]
    )
    run(f"robobench({GOOD!r})", "--robobench-update", **SMALL, max_drop=0.02).assert_outcomes(skipped=1)
    assert read_baseline(pytester.path / "test_mine" / "test_it.baseline").record.suite == "mine"
    run(f"robobench({GOOD!r})", **SMALL, max_drop=0.02).assert_outcomes(passed=1)
    run(f"robobench({WORSE!r})", **SMALL, max_drop=0.02).assert_outcomes(failed=1)


def test_no_two_tests_have_one_baseline():
    ids = [
        f"t.py::{n}" for n in ("A::test_it", "B::test_it", "test_it", "A_test_it", "test_it[a]", "test_it_a")
    ]
    ids += [f"t.py::test_it[{p}]" for p in ("a/b", "a b", "a::b", "x" * 300, "x" * 299)]
    names = [_own_name(i) for i in ids]
    assert len({n.lower() for n in names}) == len(ids)
    assert names[:5] == ["A.test_it", "B.test_it", "test_it", "A_test_it", "test_it-a"]
    assert all(re.fullmatch(r"[\w.-]{1,140}", n) for n in names)


@pytest.mark.parametrize(
    "policy", [{"margin": 0.02}, {"margins": {"clean": 0.1}}, {"alpha": 0.1, "floors": {"clean": 0.1}}]
)
def test_a_policy_of_more_than_floors_wants_a_baseline(run, policy):
    ran = run(f"robobench({GOOD!r})", **SMALL, min_score=0.1, policy=policy)
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["robobench: there is no baseline *test_mine/test_it.baseline: write it with *"])


def test_what_cannot_be_told_goes_as_the_policy_says(run):
    """Where alpha is next to nothing, nothing can be shown, neither a drop nor its absence."""
    given = {**SMALL, "max_drop": 0.6}
    run(f"robobench({GOOD!r})", "--robobench-update", **given).assert_outcomes(skipped=1)
    open_ = {"alpha": 0.000001}
    ran = run(f"robobench({WORSE!r})", **given, policy=open_)
    ran.assert_outcomes(passed=1, warnings=1)
    ran.stdout.fnmatch_lines(["*robobench: inconclusive: candidate against test_it.baseline*"])
    run(f"robobench({WORSE!r})", **given, policy={**open_, "inconclusive": "fail"}).assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"suite": "quikstart", "min_score": 0.5}, "unknown suite 'quikstart'; did you mean 'quickstart'?"),
        ({"suite": "quickstart", "max_drp": 0.5}, "the mark has no 'max_drp'; did you mean 'max_drop'?"),
        ({"suite": "quickstart", "max_drop": 2}, "max_drop: expected a share between 0 and 1, as in 0.02, got 2"),
        ({"suite": "quickstart", "min_score": "0.5"}, "min_score: expected a share between 0 and 1, as in 0.02, got '0.5'"),
        ({"suite": "quickstart", "min_score": 0.5, "limit": 2.5}, "limit: expected a whole number above 0, got 2.5"),
        ({"suite": "quickstart"}, "there is nothing to hold the model to: *"),
        ({"max_drop": 0.5}, "the test needs a mark that names a suite, as in *"),
        ({"suite": "quickstart", "min_score": 0.5, "policy": {"margn": 1}}, "policy of the mark: a policy has no 'margn'; *"),
        ({"suite": "quickstart", "min_score": 0.5, "policy": "gate.yaml"}, "*gate.yaml: the policy cannot be read: *"),
    ],
    ids=lambda v: "" if isinstance(v, str) else "-".join(v),
)  # fmt: skip
def test_mistakes_in_the_mark_are_errors_that_say_what_to_do(run, arguments, said):
    ran = run("robobench('zoo:mixer')", **arguments)
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines([f"robobench: {said}"])
    ran.stdout.no_fnmatch_line("*During handling*")


def test_a_score_that_is_better_when_lower_has_no_floor(run, pytester):
    text = MINE + "metrics: [accuracy.top1, calibration.nll]\nscore: {name: loss, of: calibration.nll}\n"
    (pytester.path / "lower.yaml").write_text(text)
    ran = run("robobench('zoo:mixer')", suite="lower.yaml", min_score=0.5)
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(
        ["robobench: min_score: loss is better when it is lower: hold it to a baseline, *"]
    )


def test_mistakes_in_the_model_fail(run):
    ran = run("robobench('zoo:mixr')", **SMALL, min_score=0.5)
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["robobench: *mixr*did you mean*"])


def test_a_test_that_checks_nothing_does_not_pass(run):
    ran = run("pass", **SMALL, min_score=0.5)
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["robobench: the test gave no model: call `robobench(model)` in it"])
    ran = run(
        text="import pytest\n@pytest.mark.robobench('quickstart', min_score=0.5)\ndef test_it(): pass\n"
    )
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["robobench: the test is marked but takes no `robobench`: *"])


def test_marks_of_a_module_are_completed_by_those_of_a_test(run):
    text = f"""
import pytest
pytestmark = pytest.mark.robobench("mine.yaml", min_score=0.99)

@pytest.mark.robobench(min_score=0.1)
def test_it(robobench):
    robobench({GOOD!r})
"""
    run(text=text).assert_outcomes(passed=1)


def test_the_verdict_is_in_the_report(run, pytester):
    run(f"robobench({GOOD!r})", "--junitxml=out.xml", **SMALL, min_score=0.3).assert_outcomes(passed=1)
    assert '<property name="robobench_verdict" value="pass"' in (pytester.path / "out.xml").read_text()


IN_MEMORY = """
import pytest, torch

class Net(torch.nn.Sequential):
    pass

def build():
    torch.manual_seed(0)
    return Net(torch.nn.AvgPool2d(7), torch.nn.Flatten(), torch.nn.Linear(48, 10))

@pytest.mark.robobench("mine.yaml", max_drop=0.001, policy={"inconclusive": "fail"})
def test_it(robobench):
    robobench(build())
"""


def test_a_module_in_memory_starts_anew_every_time(quickstart, pytester):
    """Its code may have changed under the same name and weights, so rows of an earlier run are not used."""
    (pytester.path / "mine.yaml").write_text(MINE)

    def run(text, *options):
        (pytester.path / "test_mine.py").write_text(text)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", "--import-mode=importlib", *options)

    run(IN_MEMORY, "--robobench-update").assert_outcomes(skipped=1)
    run(IN_MEMORY).assert_outcomes(passed=1)
    changed = IN_MEMORY.replace("    pass\n", "    def forward(self, x): return -super().forward(x)\n", 1)
    run(changed).assert_outcomes(failed=1)


def test_the_example_does_what_it_says(run, quickstart, pytester):
    text = (EXAMPLES / "ci" / "test_robustness.py").read_text()
    assert text.count("limit=500") == 2
    text = text.replace("limit=500", f"limit={LIMIT}")
    kept = pytester.path / "test_mine" / "test_the_model_is_no_worse.baseline"
    kept.parent.mkdir()
    shutil.copy(quickstart.baseline, kept)
    run(text=text).assert_outcomes(passed=2)


HEAVY = (
    "torch",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "yaml",
    "typer",
    "rich",
    "timm",
    "cv2",
    "scipy",
    "PIL",
)
LIGHT = f"""
import sys
def pytest_unconfigure():
    assert "robobench.pytest_plugin" in sys.modules
    print("@heavy", *sorted(set(sys.modules) & set({HEAVY!r})))
"""


def test_pytest_starts_without_anything_heavy(tmp_path):
    """Every start of pytest on a user's machine loads the plug-in."""
    (tmp_path / "conftest.py").write_text(LIGHT)
    (tmp_path / "test_x.py").write_text("def test_x(): pass\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "test_x.py"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "robobench.pytest_plugin"},
    )  # fmt: skip
    (line,) = [line for line in ran.stdout.splitlines() if "@heavy" in line]
    assert line.split("@heavy")[1].split() == []


def test_the_plugin_is_found_without_being_named():
    from importlib.metadata import entry_points

    (point,) = [e for e in entry_points(group="pytest11") if e.name == "robobench"]
    assert point.value == "robobench.pytest_plugin"
