"""A metric that is added to a suite later is computed from the rows that are there: no model, no torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from robobench.cli.main import _run
from robobench.models.zoo import Zoo

SUITE = """
schema: 1
name: later
title: Later
data: {{source: digits, path: mnist, limit: 40}}
view: {{}}
models: ["zoo:vit", "zoo:resnet"]
conditions:
  - {{use: occlusion.random, name: occlusion, with: {{grid: 7}}, ladder: {{fraction: [0.3, 0.7]}}}}
metrics: [{metrics}]
{more}
"""


def written(tmp_path, metrics, more=""):
    path = tmp_path / "later.yaml"
    path.write_text(SUITE.format(metrics=metrics, more=more))
    return str(path)


@pytest.fixture
def ran(tmp_path, capsys):
    out = str(tmp_path / "results")
    assert _run(["run", written(tmp_path, "accuracy.top1"), "-o", out]) == 0
    assert "computed 240 rows" in capsys.readouterr().out
    return tmp_path, out


def test_no_model_is_loaded_for_a_new_metric(ran, capsys, monkeypatch):
    tmp_path, out = ran

    def load(self, model, device):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(Zoo, "load", load)
    more = "summaries: [{name: worst, formula: ladder.worst}]"
    suite = written(tmp_path, "accuracy.top1, calibration.ece, 'accuracy.worst_class?at_least=1'", more)
    assert _run(["run", suite, "-o", out, "--json"]) == 0
    board = json.loads(capsys.readouterr().out)
    for entry in board["entries"]:
        for cell in entry["cells"].values():
            assert {s["name"]: s["n"] for s in cell["scores"]} == {
                "accuracy.top1": 40,
                "calibration.ece": 40,
                "accuracy.worst_class?at_least=1": 40,
            }
        worst = min(
            c["scores"][0]["value"] for name, c in entry["cells"].items() if name.startswith("occlusion")
        )
        assert entry["summaries"][0]["value"] == worst
    assert _run(["run", suite, "-o", out]) == 0
    assert "nothing was left to compute" in capsys.readouterr().out


def test_torch_stays_out(ran):
    tmp_path, out = ran
    suite = written(tmp_path, "accuracy.top1, calibration.brier")
    program = (
        "import sys; from robobench.cli.main import _run; "
        f"code = _run(['leaderboard', 'later', '-o', {out!r}]); "
        "sys.exit(code or ('torch' in sys.modules) * 9)"
    )
    assert _run(["run", suite, "-o", out]) == 0
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0


def test_a_metric_that_needs_what_was_not_kept_says_so(ran, capsys):
    tmp_path, out = ran
    assert _run(["run", written(tmp_path, "accuracy.top1, calibration.sce"), "-o", out]) == 2
    assert "add `store: logits` to the suite" in capsys.readouterr().err.replace("\n", " ")
