"""The pre-commit hook: its manifest, and what it lets be committed. For real, and without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / ".pre-commit-hooks.yaml"
GOOD = "schema: 1\nname: mine\ntitle: Mine\ndata: {source: digits, path: mnist}\n"
ENVIRONMENT = {
    **os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.invalid", "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@b.invalid",
}  # fmt: skip


def call(*words, cwd, **environment):
    return subprocess.run(
        words, cwd=cwd, env={**ENVIRONMENT, **environment}, capture_output=True, text=True, check=False
    )


def pre_commit(*words, cwd):
    home = str(Path(cwd) / ".git" / "pre-commit")
    return call(sys.executable, "-m", "pre_commit", *words, cwd=cwd, PRE_COMMIT_HOME=home)


@pytest.fixture
def repository(tmp_path):
    """A repository whose hook is the one of the manifest, with the robobench that is there."""
    (hook,) = yaml.safe_load(MANIFEST.read_text())
    assert hook["language"] == "python"
    command = hook["entry"].replace("robobench", f"{sys.executable} -m robobench", 1)
    local = {"repo": "local", "hooks": [{**hook, "language": "system", "entry": command}]}
    (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [local]}))
    (tmp_path / "suites").mkdir()
    assert call("git", "init", "-q", cwd=tmp_path).returncode == 0
    return tmp_path


def commit(repository, **suites):
    for name, text in suites.items():
        (repository / "suites" / f"{name}.yaml").write_text(text)
    call("git", "add", "-A", cwd=repository)
    return pre_commit("run", cwd=repository)


def test_a_bad_suite_is_held_back_by_file_and_line(repository):
    (repository / "other.yaml").write_text("no: suite\n")
    ran = commit(repository, mine=GOOD)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Passed" in ran.stdout
    ran = commit(repository, bad=GOOD + "metrcs: [accuracy.top1]\n")
    assert ran.returncode == 1
    assert "suites/bad.yaml:5: unknown key 'metrcs'; did you mean 'metrics'?" in ran.stdout
    assert "other.yaml" not in ran.stdout


def test_the_manifest_is_one():
    ran = pre_commit("validate-manifest", str(MANIFEST), cwd=ROOT)
    assert ran.returncode == 0, ran.stdout


def test_this_repository_checks_its_own_suites():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (own,) = yaml.safe_load(MANIFEST.read_text())
    (hook,) = [h for r in config["repos"] for h in r["hooks"] if h["id"] == own["id"]]
    assert hook["entry"].endswith(own["entry"])
