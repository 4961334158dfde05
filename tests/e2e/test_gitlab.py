"""The GitLab template: what GitLab's schema says of it, and its lines carried out on the quickstart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import GOOD, LIMIT, WORSE
from tests.e2e.test_action import HOSTILE, validate

TEMPLATE = Path(__file__).resolve().parents[2] / "examples" / "ci" / "robobench.gitlab-ci.yml"
JOB = yaml.safe_load(TEMPLATE.read_text())[".robobench"]


def run_job(workspace, folder, python, **variables):
    """The job's lines in one shell, as a runner joins them, with the variables of a job that extends it."""
    bin_ = folder / "bin"
    bin_.mkdir(parents=True, exist_ok=True)
    (bin_ / "python").write_text(f"#!/bin/sh\n{python}\n")
    (bin_ / "python").chmod(0o755)
    own = {k: str(v) for k, v in (JOB["variables"] | variables).items()}
    return subprocess.run(
        ["sh", "-e", "-c", "\n".join([*JOB["before_script"], *JOB["script"]])],
        cwd=workspace, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PATH": f"{bin_}:/usr/bin:/bin", **own},
    )  # fmt: skip


REAL = f'exec {sys.executable} "$@"'


@pytest.mark.slow
def test_an_unchanged_model_passes(quickstart, tmp_path):
    workspace = quickstart.workspace(tmp_path / "work")
    ran = run_job(
        workspace, tmp_path, REAL,
        ROBOBENCH_MODEL=GOOD, ROBOBENCH_LIMIT=LIMIT, ROBOBENCH_BASELINE="quickstart.baseline",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "pass: candidate against good" in ran.stdout
    assert "<failure" not in (workspace / JOB["artifacts"]["reports"]["junit"]).read_text()
    assert list((workspace / JOB["artifacts"]["paths"][0]).glob("quickstart/index.html"))


@pytest.mark.slow
def test_a_worse_model_fails_the_job_and_without_a_baseline_none_does(quickstart, tmp_path):
    workspace = quickstart.workspace(tmp_path / "work")
    given = {"ROBOBENCH_MODEL": WORSE, "ROBOBENCH_LIMIT": LIMIT}
    ran = run_job(workspace, tmp_path, REAL, **given, ROBOBENCH_BASELINE="quickstart.baseline")
    assert ran.returncode == 3
    assert "<failure" in (workspace / JOB["artifacts"]["reports"]["junit"]).read_text()
    assert run_job(workspace, tmp_path, REAL, **given).returncode == 0


@pytest.mark.parametrize("text", HOSTILE)
def test_variables_are_words_and_never_code(text, tmp_path):
    write_down = f'printf "%s\\0" "$@" >> {tmp_path}/said; [ "$1" != -c ]'
    ran = run_job(tmp_path, tmp_path, write_down, **dict.fromkeys(JOB["variables"], text))
    assert ran.returncode == 0, ran.stderr
    assert not list(tmp_path.rglob("pwned"))
    said = (tmp_path / "said").read_text().split("\0")
    assert sum(text in word for word in said) == len(JOB["variables"])


def test_gitlabs_own_schema_accepts_it(tmp_path):
    """Also as a job that is not hidden: the schema looks into no hidden one."""
    job, wrong = tmp_path / "job.gitlab-ci.yml", tmp_path / "wrong.gitlab-ci.yml"
    job.write_text(TEMPLATE.read_text().replace("\n.robobench:", "\nrobobench:"))
    wrong.write_text(job.read_text().replace("when: always", "when: sometimes"))
    assert validate("vendor.gitlab-ci", TEMPLATE, job).returncode == 0
    assert validate("vendor.gitlab-ci", wrong).returncode == 1


def test_the_example_in_its_head_extends_it():
    lines = [line[2:] for line in TEMPLATE.read_text().splitlines() if line.startswith("#  ")]
    example = yaml.safe_load("\n".join(lines))["robustness"]
    assert example["extends"] == ".robobench"
    assert set(example["variables"]) <= set(JOB["variables"])
