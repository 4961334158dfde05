"""`run --against`: ends where a gate is settled, the same however often it is interrupted, and the gate says so."""

from __future__ import annotations

import json

import pytest

import robobench
from robobench.cli.main import _run
from robobench.engine import local
from robobench.engine import plan as planning
from robobench.errors import RobobenchError
from robobench.leaderboard.baseline import write_baseline
from robobench.leaderboard.gate_stopping import Against
from robobench.leaderboard.policy import Policy
from tests.known import Known, make_images, write_suite

ALL = 1200


@pytest.fixture(scope="module", autouse=True)
def _short_items():
    """Work items of 96 images: many borders on few images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "ITEM_PASSES", 300)
        yield


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    root = tmp_path_factory.mktemp("known")
    return write_suite(root / "known.yaml", make_images(root / "images", ALL // 10), attacked=ALL)


@pytest.fixture(scope="module")
def baseline(suite, tmp_path_factory):
    root = tmp_path_factory.mktemp("baseline")
    results = robobench.run(suite, {"old": Known(0.9)}, out=root / "r", device="cpu")
    write_baseline(results.store, results.record, "old", root / "old.baseline")
    return root / "old.baseline"


def run(suite, baseline, out, share, **policy):
    against = Against(baseline, Policy(**policy))
    return robobench.run(suite, {"new": Known(share)}, out=out, device="cpu", against=against)


def stop(results):
    (model,) = results.record.models
    return model.stopped.get("base")


def said(baseline, out, capsys, *options):
    code = _run(["gate", str(baseline), "new", "--out", str(out), "--json", "--sequential", *options])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def unchanged(suite, baseline, tmp_path_factory):
    return run(suite, baseline, tmp_path_factory.mktemp("unchanged"), 0.9)


def test_an_unchanged_model_ends_at_the_first_border_where_all_is_settled(baseline, unchanged, capsys):
    code, report = said(baseline, unchanged.store.root, capsys)
    assert (code, report["verdict"], report["sequential"]) == (0, "pass", True)
    settled = {c["settled"] for c in report["checks"]}
    (n,) = settled  # nothing differs anywhere, so all lines are settled together
    found = stop(unchanged)
    assert found.images == next(b for b in range(0, ALL, 96) if b >= n)
    assert found.precision is None
    assert found.rule == "a gate that was settled, against old"
    (entry,) = unchanged.leaderboard.entries
    assert f"stopped at n = {found.images} of 1,200 images" in " ".join(entry.flags)


def test_the_fixed_gate_does_not_judge_such_a_run(baseline, unchanged, capsys):
    out = str(unchanged.store.root)
    assert _run(["gate", str(baseline), "new", "--out", out]) == 2
    assert "ran only until a gate was settled: judge it with --sequential" in capsys.readouterr().err
    assert _run(["gate", str(baseline), "new", "--out", out, "--sequential"]) == 0
    assert "settled" in capsys.readouterr().out


def test_the_same_command_again_computes_nothing_and_a_finer_margin_goes_on(
    suite, baseline, unchanged, tmp_path, capsys
):
    again = run(suite, baseline, unchanged.store.root, 0.9)
    assert again.outcome.rows == 0
    assert again.record.models == unchanged.record.models
    policy = tmp_path / "gate.yaml"
    policy.write_text("margin: 0.01")
    code = _run(
        ["gate", str(baseline), "new", "-o", str(again.store.root), "--sequential", "--policy", str(policy)]
    )
    assert code == 2
    assert "do not settle the gate" in capsys.readouterr().err
    finer = run(suite, baseline, unchanged.store.root, 0.9, margin=0.01)
    assert stop(finer).images > stop(unchanged).images
    assert said(baseline, unchanged.store.root, capsys, "--policy", str(policy))[0] == 0


def test_a_worse_model_fails_long_before_its_images_end(suite, baseline, tmp_path, capsys):
    results = run(suite, baseline, tmp_path, 0.7)
    code, report = said(baseline, tmp_path, capsys)
    assert (code, report["verdict"]) == (3, "fail")
    failed = min(c["settled"] for c in report["checks"] if c["verdict"] == "fail")
    assert stop(results).images == next(b for b in range(0, ALL, 96) if b >= failed) < 300


def test_an_interrupted_run_ends_where_an_undisturbed_one_does(
    suite, baseline, unchanged, tmp_path, monkeypatch
):
    commit, left = local.Local._commit, [3]

    def struck(self, *args):
        commit(self, *args)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(local.Local, "_commit", struck)
    first = run(suite, baseline, tmp_path, 0.9)
    assert first.outcome.interrupted
    monkeypatch.undo()
    second = run(suite, baseline, tmp_path, 0.9)
    assert first.outcome.rows + second.outcome.rows == unchanged.outcome.rows
    assert second.record.models == unchanged.record.models


def test_mistakes_are_answered(suite, baseline, tmp_path, capsys):
    with pytest.raises(RobobenchError, match=r"was made under the protocol .* of 'known', this run is under"):
        robobench.run(suite, {"new": Known(0.9)}, out=tmp_path, limit=100, device="cpu", against=baseline)
    with pytest.raises(RobobenchError, match="not at both"):
        robobench.run(suite, {"new": Known(0.9)}, out=tmp_path, precision=0.1, against=baseline)
    assert _run(["run", str(suite), "--policy", "gate.yaml", "-o", str(tmp_path)]) == 2
    assert "a policy is for --against BASELINE, which is missing" in capsys.readouterr().err
