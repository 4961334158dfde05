"""`robobench show --measure` as a user runs it: a suite or some models, kept with the results, on the board."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from robobench.cli.main import _run
from robobench.engine import measure
from robobench.store import Store

RESULTS = Path("results")


@pytest.fixture(autouse=True)
def _quick(tmp_path, monkeypatch):
    """A hundredth of the time, in a folder of one's own; how exact it is, is measured elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(measure, "WARM", 0.005)
    monkeypatch.setattr(measure, "LASTING", 0.002)


@pytest.fixture
def show(capsys):
    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        found = _run(["show", *arguments])
        printed = capsys.readouterr()
        assert found == code, printed.out + printed.err
        assert "Traceback" not in printed.err
        return printed.out, printed.err

    return run


def test_the_models_of_a_suite_are_measured_and_kept_by_who_they_are(show):
    out, err = show("quickstart", "--measure", "--batch-size", "4", "--json")
    found = json.loads(out)
    assert [f["model"]["name"] for f in found] == ["ViT", "CCT hybrid", "ResNet", "MLP-Mixer"]
    assert "measuring ViT on cpu (1 of 4)" in err
    store = Store.open(RESULTS)
    for one in found:
        (kept,) = store.asides.speeds(one["model"]["digest"])
        assert (kept.images_per_second, kept.macs) == (
            one["speed"]["images_per_second"],
            one["speed"]["macs"],
        )
        assert (kept.batch_size, kept.side, kept.precision) == (4, 28, "float32")
    again, _ = show("zoo:vit", "--measure", "--batch-size", "4", "--out", "results")
    assert "zoo:vit" in again
    assert "batches of 4" in again
    assert len(store.asides.speeds(found[0]["model"]["digest"])) == 1
    show("mine=zoo:vit", "--measure", "--batch-size", "2", "--device", "cpu")
    assert [s.batch_size for s in store.asides.speeds(found[0]["model"]["digest"])] == [4, 2]


def test_a_board_shows_what_was_measured_and_before_nothing(show, quickstart, capsys):
    quickstart.workspace(Path(), computed=True)
    assert _run(["leaderboard", "--format", "html"]) == 0
    assert 'class="stairs"' not in capsys.readouterr().out
    show("zoo:mixer", "--measure", "--batch-size", "2")
    assert _run(["leaderboard", "--format", "html"]) == 0
    source = capsys.readouterr().out
    assert source.count('class="stairs"') == 1
    assert "On the front: good." in source


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["quickstrat", "--measure"], "did you mean 'quickstart'?"),
        (["occlusion.random", "--measure"], "is neither a suite nor a model SPEC such as timm:resnet50"),
        (["zoo:vitt", "--measure"], "the zoo has no model 'vitt'; did you mean 'vit'"),
        (["pgd-ladder", "--measure", "--device", "cuda:77"], "--device cuda:77: not usable here"),
        (["quickstart", "occlusion"], "expected one NAME, got 2; only with --measure"),
        (["quickstart", "--measure", "--batch-size", "0"], "--batch-size"),
    ],
)
def test_mistakes_are_answered(show, arguments, said):
    _, err = show(*arguments, code=2)
    assert said in err


def test_one_model_that_fails_does_not_take_the_others_along(show, tmp_path):
    (tmp_path / "broken.py").write_text("def build():\n    import torch\n    return torch.nn.Linear(3, 2)\n")
    out, err = show("broken.py:build", "zoo:mixer", "--measure", "--batch-size", "2", "--json", code=2)
    assert [f["model"]["name"] for f in json.loads(out)] == ["zoo:mixer"]
    assert "1 model could not be measured: broken.py:build: a forward pass of 2 images" in err


def test_a_suite_whose_file_names_code_is_not_run_unasked(show, tmp_path):
    (tmp_path / "code.py").write_text("raise SystemExit('ran')\n")
    (tmp_path / "s.yaml").write_text(
        "schema: 1\nname: t\ntitle: T\ndata: {source: digits, path: mnist}\nmodels: ['code.py:build']\n"
        "conditions:\n  - {use: occlusion.random, with: {fraction: 0.5}}\n"
    )
    _, err = show("s.yaml", "--measure", code=2)
    assert "--allow-code" in err


def test_a_run_that_writes_there_is_not_disturbed(show):
    store = Store.open(RESULTS, create=True)
    with store.writing():
        _, err = show("zoo:mixer", "--measure", code=2)
    assert "another run" in err
