"""The command line as a user goes it, on the zoo's models and real digits."""

from __future__ import annotations

import json

import pytest
import torch

import robobench
from robobench.cli.main import _run
from robobench.leaderboard.render import FILES
from robobench.store import Store

FROM_A_FILE = """
from pathlib import Path
import torch

def build():
    net = torch.nn.Sequential(torch.nn.AvgPool2d(7), torch.nn.Flatten(), torch.nn.Linear(48, 10))
    net[2].weight.data.copy_(torch.load(Path(__file__).with_name("w.pt")))
    return net
"""
FEW = ["--limit", "12"]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A results folder with a small quickstart in it."""
    place = tmp_path_factory.mktemp("run") / "results"
    assert _run(["run", "quickstart", *FEW, "-m", "zoo:vit", "-m", "R=zoo:resnet", "-o", str(place)]) == 0
    return place


def test_it_ends_with_a_ranked_table_and_a_page(out, capsys):
    assert _run(["run", "quickstart", *FEW, "-m", "zoo:vit", "-m", "R=zoo:resnet", "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "nothing was left to compute" in shown
    assert "zoo:vit" in shown
    page = out / "boards" / "quickstart" / "index.html"
    assert f"page: {page}" in shown
    assert "zoo:vit" in page.read_text()


def test_one_more_model_computes_only_that_one(out, capsys):
    store = Store.open(out)
    before = len(store.row_files())
    assert _run(["run", "quickstart", *FEW, "-m", "zoo:mixer", "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert f"computed {17 * 12} rows" in shown
    for name in ("zoo:vit", "R ", "zoo:mixer"):
        assert name in shown, "models of earlier runs of the same protocol stay on the board"
    models = {p["provenance"]["model"]["name"] for p in store.provenance()}
    assert models == {"zoo:vit", "R", "zoo:mixer"}
    assert len(store.row_files()) >= min(before, 1)


def test_other_weights_behind_the_same_code_are_no_old_rows(tmp_path, capsys):
    (tmp_path / "net.py").write_text(FROM_A_FILE)
    command = ["run", "quickstart", *FEW, "-m", f"net={tmp_path / 'net.py'}:build", "-o", str(tmp_path / "r")]
    torch.save(torch.zeros(10, 48), tmp_path / "w.pt")
    assert _run(command) == 0
    assert _run(command) == 0
    assert "nothing was left to compute" in capsys.readouterr().out
    torch.save(torch.ones(10, 48), tmp_path / "w.pt")
    assert _run(command) == 2
    assert "net: loaded with other weights" in capsys.readouterr().err


def test_plan_says_what_is_missing_and_computes_nothing(out, capsys):
    assert _run(["plan", "quickstart", "--limit", "20", "-m", "zoo:vit", "-o", str(out), "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert {c["images"] for c in planned["cells"]} == {20}
    assert {c["missing"] for c in planned["cells"]} == {8}
    assert _run(["plan", "quickstart", "-o", str(out / "none")]) == 0
    assert not (out / "none").exists()


def test_the_board_comes_back_in_every_format(out, capsys, tmp_path):
    for format_, sign in {
        "table": "robustness",
        "markdown": "| Rank |",
        "csv": "model,",
        "json": "{",
        "html": "<!",
    }.items():
        assert _run(["leaderboard", "quickstart", "-o", str(out), "-f", format_]) == 0
        assert sign.lower() in capsys.readouterr().out.lower()
    assert _run(["leaderboard", "-o", str(out), "--to", str(tmp_path / "board")]) == 0
    assert {p.name for p in (tmp_path / "board").iterdir()} == set(FILES.values())


def test_rows_can_be_asked_with_sql(out, capsys):
    sql = "select model, count(*) n, count(distinct condition) c from rows group by model order by model"
    assert _run(["query", sql, "-o", str(out), "--json"]) == 0
    assert {r["c"] for r in json.loads(capsys.readouterr().out)} == {17}
    assert _run(["query", "select nonsense from rows", "-o", str(out)]) == 2
    assert "query: " in capsys.readouterr().err


def test_a_model_that_does_not_fit_is_shown_and_the_exit_code_says_so(tmp_path, capsys):
    factory = tmp_path / "three.py"
    factory.write_text(
        "from torch import nn\n\ndef build():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 3))\n"
    )
    command = [
        "run",
        "quickstart",
        "--limit",
        "4",
        "-m",
        f"{factory}:build",
        "-m",
        "zoo:vit",
        "-o",
        str(tmp_path / "r"),
    ]
    assert _run(command) == 4
    shown = capsys.readouterr()
    assert "has 3 outputs, the label space 'digits' needs 10" in shown.err
    assert "A model without a rank is incomplete" in shown.out
    assert str(tmp_path) not in (tmp_path / "r" / "boards" / "quickstart" / "leaderboard.json").read_text()


def test_the_json_of_a_run_is_the_board(out, capsys):
    assert _run(["run", "quickstart", *FEW, "-m", "zoo:vit", "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["suite"]["name"] == "quickstart"


def test_a_model_in_memory_goes_the_same_way(tmp_path):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 28 * 28, 10)).train()
    results = robobench.run("quickstart", models={"mine": model, "shipped": "zoo:vit"}, limit=6, out=tmp_path)
    assert results.complete
    assert model.training, "the caller's module is left alone"
    scores = results.scores
    assert set(scores.model) == {"mine", "shipped"}
    assert len(results.rows) == 2 * 17 * 6
    shipped = scores.query("model == 'shipped' and condition == 'clean' and metric == 'accuracy.top1'").iloc[
        0
    ]
    hits = results.rows.query("model == 'shipped' and condition == 'clean'").hit == 0
    assert shipped.value == hits.mean()
    assert shipped.n == 6
    again = robobench.run("quickstart", models={"mine": model}, limit=6, out=tmp_path)
    assert again.outcome.rows == 0
    with torch.no_grad():
        model[1].weight += 1
    assert robobench.run("quickstart", models={"mine": model}, limit=6, out=tmp_path).outcome.rows == 17 * 6


def test_the_doctor_finds_a_sound_model_sound_and_a_sick_one_sick(tmp_path, capsys):
    assert _run(["doctor", "-m", "zoo:vit", "-d", "digits:mnist", "-n", "16"]) == 0
    capsys.readouterr()
    sick = tmp_path / "sick.py"
    sick.write_text(
        "import torch\nfrom torch import nn\n\nclass Sick(nn.Module):\n"
        "    def forward(self, x):\n        return torch.full((len(x), 10), float('nan')) + 0 * x.sum()\n\n"
        "def build():\n    return Sick()\n"
    )
    assert _run(["doctor", "-m", f"{sick}:build", "-d", "digits:mnist", "-n", "8", "--json"]) == 3
    found = {f["check"]: f for f in json.loads(capsys.readouterr().out)}
    assert not found["finite"]["ok"]
