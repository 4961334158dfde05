"""The suites of transfer and of universal perturbations, as a user runs them on a few digits."""

from __future__ import annotations

import re

import pytest

import robobench
from robobench.cli.main import _run
from robobench.leaderboard.matrix import matrices
from robobench.suite.load import load_suite

TWO = ["-m", "ViT=zoo:vit", "-m", "ResNet=zoo:resnet"]


def test_the_transfer_suite_prints_its_matrix_and_a_second_run_computes_nothing(tmp_path, capsys):
    out = tmp_path / "results"
    asked = ["run", "transfer", "--limit", "8", "--set", "lot=8", *TWO, "-o", str(out)]
    assert _run(asked) == 0
    shown = capsys.readouterr().out
    assert shown.count("transfer.fooling_rate (%): gradient.") == 2
    assert shown.count("transfer.success_rate (%): gradient.") == 2
    assert re.search(r"^source +ViT +ResNet *$", shown, re.M)
    for source in ("ViT", "zoo:hybrid", "ResNet", "zoo:mixer"):  # two sources are no targets here
        assert len(re.findall(rf"^{source} +[\d.]+ +[\d.]+ *$", shown, re.M)) == 4, shown
    made = sorted(p.name for p in (out / "preparations").rglob("*.safetensors"))
    assert len(made) == 8
    assert _run(asked) == 0
    assert "nothing was left to compute" in capsys.readouterr().out
    page = (out / "boards" / "transfer" / "index.html").read_text()
    assert page.count('class="chart heatmap"') == 4


def test_a_model_is_fooled_most_by_the_perturbation_that_was_learned_on_it(tmp_path):
    few: dict[str, object] = {"lot": 10}
    for name in ("own", "of-vit", "of-hybrid", "of-resnet", "of-mixer"):
        few |= {f"preparations.{name}.data.limit": 100, f"preparations.{name}.with.batch": 10}
    found = robobench.run(
        load_suite("universal", few), {"ViT": "zoo:vit", "ResNet": "zoo:resnet"}, limit=40, out=tmp_path
    )
    assert found.complete
    fooling = matrices(found.leaderboard)[0]
    assert fooling.rate == "transfer.fooling_rate"
    place = {name: i for i, name in enumerate(fooling.sources)}
    for target in range(2):
        own = fooling.score(place[fooling.targets[target]], target).value
        others = [fooling.score(i, target).value for i in range(4) if not fooling.own(i, target)]
        assert own > max(others) + 0.2
    scores = found.scores.set_index(["model", "condition", "metric"]).value
    for who in ("ViT", "ResNet"):
        ladder = [scores[who, f"against itself scale={s}", "accuracy.top1"] for s in (0.25, 0.5, 0.75, 1.0)]
        assert ladder == sorted(ladder, reverse=True)
        assert ladder[-1] < scores[who, "random signs eps=48/255", "accuracy.top1"] - 0.2
        learned = f"learned on {who}"
        assert scores[who, learned, "accuracy.top1"] == ladder[-1], "the same preparation under two names"


def test_a_split_that_is_judged_on_is_refused_before_anything_is_computed(tmp_path, capsys):
    asked = ["run", "universal", *TWO, "-o", str(tmp_path / "results"), "--data", "digits:mnist?split=train"]
    assert _run(asked) == 2
    said = capsys.readouterr().err
    assert "preparation 'own' is made from images that 'against itself scale=0.25' is judged on" in said
    assert "2,000 of digits:mnist?split=train" in said


@pytest.mark.parametrize("suite", ["transfer", "universal"])
def test_the_suites_are_fine(suite, capsys):
    assert _run(["check", suite]) == 0
    assert f"{suite}: fine" in capsys.readouterr().out
