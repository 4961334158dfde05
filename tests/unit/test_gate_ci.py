"""What a gate says to logs and to GitHub's files, and who decides what comes of an inconclusive one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from robobench.cli.main import _run
from robobench.leaderboard.baseline import write_baseline
from robobench.leaderboard.collect import newest_run
from robobench.leaderboard.gate_text import HEADS, to_outputs, to_text
from robobench.leaderboard.policy import Policy
from tests.boards import HOSTILE
from tests.results import make_results
from tests.unit.test_gate import answers, everywhere, judged

OPEN = (
    "margin: 0.99\nmargins: {clean: 0.11}\n"  # two lost of 20: neither a sure drop, nor surely less than that
)


def test_the_table_for_logs_has_aligned_columns_and_the_verdict_below():
    report = judged(everywhere(answers()), everywhere(answers(right=200)), Policy(floors={"clean": 0.9}))
    head, *lines, empty, last = to_text(report).splitlines()
    assert [h for h in HEADS if h and h not in head] == []
    assert len(lines) == len(report.checks)
    ends = head.index("candidate") + len("candidate")
    assert {line[:ends].rstrip()[-4:] for line in lines} == {"50.0"[-4:]}
    assert {line.split()[-1] for line in lines} == {"fail"}
    assert (empty, last[:6]) == ("", "fail: ")


def test_hostile_names_stay_on_their_line():
    report = judged(everywhere(answers()), everywhere(answers()))
    checks = tuple(replace(c, name=HOSTILE) for c in report.checks)
    text = to_text(replace(report, checks=checks, candidate=HOSTILE, baseline=HOSTILE))
    assert len(text.splitlines()) == len(checks) + 3
    assert not [c for c in text if not c.isprintable() and c != "\n"]
    outputs = to_outputs(replace(report, checks=checks))
    assert [line.partition("=")[0] for line in outputs.splitlines()] == ["verdict", "score"]


def test_a_gate_of_conditions_alone_has_no_score():
    report = judged(everywhere(answers()), everywhere(answers()))
    alone = replace(report, checks=tuple(c for c in report.checks if c.kind == "condition"))
    assert to_outputs(report) == "verdict=pass\nscore=0.75\n"
    assert to_outputs(alone) == "verdict=pass\n"


@pytest.fixture
def files(tmp_path, monkeypatch):
    store = make_results(tmp_path / "results")
    write_baseline(store, newest_run(store), "good", tmp_path / "b")
    (tmp_path / "gate.yaml").write_text(f"{OPEN}inconclusive: fail\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return tmp_path


def test_githubs_outputs_are_added_to_what_is_there(files):
    (files / "outputs").write_text("page=x\n")
    assert _run(["gate", "b", "bad", "--github"]) == 3
    assert (files / "outputs").read_text() == "page=x\nverdict=fail\nscore=0.175\n"


def test_nothing_is_written_unless_asked(files):
    assert _run(["gate", "b", "bad"]) == 3
    assert not (files / "outputs").exists()


def test_the_option_goes_before_the_policy(files):
    assert _run(["gate", "b", "bad", "--policy", "gate.yaml"]) == 3
    assert _run(["gate", "b", "bad", "--policy", "gate.yaml", "--inconclusive", "pass"]) == 0
    (files / "gate.yaml").write_text(OPEN)
    assert _run(["gate", "b", "bad", "--policy", "gate.yaml"]) == 0
    assert _run(["gate", "b", "bad", "--policy", "gate.yaml", "--inconclusive", "fail"]) == 3
    assert _run(["gate", "b", "bad", "--inconclusive", "maybe"]) == 2
