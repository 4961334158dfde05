"""Where results could be lost, doubled, misnamed or leak: one scenario each."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import robobench
from robobench.cli.main import _run
from robobench.engine.frames import Frames
from robobench.engine.resolve import ResolvedModel, cells, resolve
from robobench.errors import ModelError, SuiteError
from robobench.leaderboard.render import FILES, render
from robobench.store import Store
from robobench.suite.load import parse_suite
from robobench.types import ModelId, View
from tests.bench import HEAD, carry_out, left, resolved, rows
from tests.fakes import FakeModel, conv_model, conv_net, vit_model


def tree(root, names=("a", "b"), each=3, size=28):
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(each):
            pixels = np.random.default_rng(i).integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def test_equal_cells_under_several_names_are_computed_once(tmp_path):
    text = """conditions:
  - {use: occlusion.random, name: ladder, with: {grid: 7}, ladder: {fraction: [0.1, 0.5]}}
  - {use: occlusion.random, name: again, with: {grid: 7, fraction: 0.5}, limit: 5}
  - {use: gradient.fgsm, name: one, ladder: {eps: [2/255]}}
  - {use: gradient.fgsm, name: two, ladder: {eps: [2/255, 8/255]}}
"""
    found = resolved(text, conv_model(10))
    outcome = carry_out(found, tmp_path)
    assert not outcome.failures
    assert outcome.rows == 5 * 40, "seven conditions, five cells"
    assert len(rows(found, tmp_path)) == outcome.rows
    assert not left(found, Store(tmp_path)).items


def test_one_model_under_two_names(tmp_path):
    results = robobench.run("quickstart", {"a": "zoo:vit", "b": "zoo:vit"}, limit=4, out=tmp_path)
    assert results.outcome.rows == 17 * 4
    assert {e.name for e in results.leaderboard.entries} == {"a", "b"}
    assert set(results.rows.groupby("model").size()) == {17 * 4}


def test_a_level_written_in_two_ways_is_given_twice():
    with pytest.raises(SuiteError, match="a level is given twice"):
        parse_suite(HEAD + "conditions:\n  - {use: shuffle.grid, ladder: {grid: [2, 2x2]}}\n", "t.yaml")


def test_a_name_stands_for_its_newest_model(tmp_path):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 28 * 28, 10))
    for _ in range(2):
        results = robobench.run("quickstart", {"mine": model}, limit=3, out=tmp_path)
        assert [e.name for e in results.leaderboard.entries] == ["mine"]
        with torch.no_grad():
            model[1].weight += 1


def test_a_folder_that_is_gone_for_a_while_loses_no_image(tmp_path):
    photos = tree(tmp_path / "photos")
    text = "view: {size: 28}\nconditions: []\n"
    suite = parse_suite(HEAD + text, "t.yaml")

    def loading_while_it_goes(_):
        photos.rename(tmp_path / "away")
        return FakeModel(conv_net(2), outputs=2)

    who = ModelId("m", "fake:m", "m")
    data = f"folder:{photos}?label_space=own"
    found = resolve(suite, [ResolvedModel(who, loading_while_it_goes)], data=data)
    outcome = carry_out(found, tmp_path / "r")
    assert outcome.failures
    assert not outcome.undecodable
    (tmp_path / "away").rename(photos)
    again = resolve(suite, [ResolvedModel(who, lambda _: FakeModel(conv_net(2), outputs=2))], data=data)
    assert carry_out(again, tmp_path / "r").rows == 6


def test_a_failure_is_forgotten_only_when_its_own_images_have_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("robobench.engine.plan.ITEM_PASSES", 1)

    class Once(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.calls = conv_net(10), 0

        def forward(self, pixels):
            self.calls += 1
            if self.calls == 3:  # the first two are a look at the model
                raise ValueError("a hiccup")
            return self.net(pixels)

    found = resolved("conditions: []\n", FakeModel(Once(), outputs=10), limit=64)
    outcome = carry_out(found, tmp_path)
    assert outcome.rows == 32
    assert len(Store(tmp_path).failures(c.key for c in cells(found))) == 1
    carry_out(found, tmp_path)
    assert Store(tmp_path).failures(c.key for c in cells(found)) == []


def test_a_broken_preparation_fails_only_what_uses_it(tmp_path):
    text = """preparations: {own: {use: saliency.gradient, model: self}}
conditions:
  - {use: occlusion.salient, name: salient, with: {grid: 7, fraction: 0.2}, inputs: {saliency: own}}
  - {use: occlusion.random, name: random, with: {grid: 7, fraction: 0.2}}
"""

    class NoGradient(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = conv_net(10)

        def forward(self, pixels):
            return self.net(pixels.detach())

    found = resolved(text, FakeModel(NoGradient(), outputs=10), limit=8)
    outcome = carry_out(found, tmp_path)
    assert [f.condition for f in outcome.failures] == ["salient"]
    assert outcome.failures[0].reason.startswith("preparation 'own': ")
    assert set(rows(found, tmp_path).condition) == {"clean", "random"}


@pytest.mark.parametrize("name", ["base", "clean", "clean@imagenet-r"])
def test_names_that_robobench_uses_itself_are_refused(name):
    with pytest.raises(SuiteError, match="is taken by robobench"):
        parse_suite(
            HEAD + f"conditions:\n  - {{shift: {{source: digits, path: uci}}, name: '{name}'}}\n", "t.yaml"
        )


def test_worst_of_repeats_an_intervention_too(tmp_path):
    text = "conditions:\n  - {{use: drop.tokens, name: d, with: {{fraction: 0.5}}, worst_of: {k}}}\n"
    frames = []
    for k in (1, 4):
        found = resolved(text.format(k=k), vit_model(10, side=28, patch=7))
        carry_out(found, tmp_path / str(k))
        frames.append(rows(found, tmp_path / str(k)).query("condition == 'd'").logp_label)
    assert (frames[0].to_numpy() != frames[1].to_numpy()).any()


def test_rows_and_queries_show_the_run_under_its_own_names(tmp_path, capsys):
    robobench.run("quickstart", {"old": "zoo:vit"}, limit=6, out=tmp_path)
    results = robobench.run("quickstart", {"new": "zoo:vit"}, limit=4, out=tmp_path)
    assert set(results.rows.model) == {"new"}
    assert len(results.rows) == 17 * 4
    assert (
        _run(["query", "select model, count(*) n from rows group by all", "-o", str(tmp_path), "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out) == [{"model": "new", "n": 17 * 4}]


def test_nothing_of_the_machine_reaches_a_rendered_board(tmp_path):
    secret = tmp_path / "alice" / "secret"
    secret.mkdir(parents=True)
    factory = secret / "m.py"
    factory.write_text("def build(weights: str = ''):\n    return open(weights)\n")
    shutil.copytree(tree(tmp_path / "alice" / "photos", each=1), secret / "more")
    text = HEAD + (
        "view: {size: 28}\nconditions:\n"
        f"  - {{shift: {{source: folder, path: '{secret}/more', label_space: own}}}}\n"
    )
    (secret / "s.yaml").write_text(text)
    spec = f"{factory}:build?weights={secret}/w.pt"
    results = robobench.run(secret / "s.yaml", [spec, "zoo:vit"], limit=2, out=tmp_path / "r")
    assert results.outcome.failures
    for format_ in FILES:
        shown = render(results.leaderboard, format_)
        assert "alice" not in shown
        assert str(tmp_path) not in shown


def test_the_python_api_runs_no_code_that_a_suite_names(tmp_path):
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')\n")
    suite = tmp_path / "s.yaml"
    suite.write_text(HEAD + f"models: ['{tmp_path}/evil.py:build']\n")
    with pytest.raises(ModelError, match="--allow-code"):
        robobench.run(suite, out=tmp_path / "r")


def test_a_cache_without_its_pixels_is_begun_anew(tmp_path):
    class Source:
        def read(self, image):
            return np.full((8, 8, 3), 7, np.uint8)

    place = tmp_path / "view"
    first = Frames(Source(), View(size=8), ("a", "b"), place)
    assert first.read(["a"])[1].min() == 7
    del first
    place.with_suffix(".u8").unlink()
    assert Frames(Source(), View(size=8), ("a", "b"), place).read(["a", "b"])[1].min() == 7


def test_a_cache_on_a_full_disk_is_done_without(tmp_path, monkeypatch):
    class Source:
        def read(self, image):
            return np.full((8, 8, 3), 7, np.uint8)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("robobench.engine.frames.os.pwrite", full)
    frames = Frames(Source(), View(size=8), ("a", "b"), tmp_path / "view")
    assert frames.read(["a", "b"])[1].min() == 7
    assert frames.read(["a", "b"])[1].min() == 7


def test_probabilities_are_flagged_on_the_board_also_by_a_second_run(tmp_path):
    soft = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 28 * 28, 10), torch.nn.Softmax(dim=1))
    for _ in range(2):
        results = robobench.run("quickstart", {"soft": soft}, limit=3, out=tmp_path)
        assert any("probabilities" in flag for flag in results.leaderboard.entries[0].flags)


def test_the_doctor_survives_any_model(tmp_path, capsys):
    broken = tmp_path / "broken.py"
    broken.write_text(
        "from torch import nn\n\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
    )
    assert _run(["doctor", "-m", f"{broken}:build", "-n", "4"]) == 3
    assert "RuntimeError" in capsys.readouterr().out
    if not torch.cuda.is_available():
        assert _run(["doctor", "-m", "zoo:vit", "--device", "cuda"]) == 2
        assert "--device cuda: not usable here" in capsys.readouterr().err
    assert _run(["check", "quickstart", "--set", "lot.a.b=1"]) == 2


def test_frost_photographs_count_by_what_they_show_and_not_by_where_they_lie(tmp_path):
    from PIL import Image

    from robobench.engine.resolve import cells
    from robobench.leaderboard.build import _step
    from tests.bench import resolved

    def keys(folder, shade):
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (300, 300), (shade, shade, 255)).save(folder / "frost.png")
        text = (
            "conditions:\n  - {use: corruption.frost, name: frost, with: {severity: 3, table: cifar, "
            f"textures: {folder}}}}}\n"
        )
        found = resolved(text, conv_model(10))
        return found, [c.key for c in cells(found)]

    found, here = keys(tmp_path / "one", 100)
    _, there = keys(tmp_path / "two", 100)
    _, other = keys(tmp_path / "one", 120)
    assert here == there
    assert here[0] == other[0]
    assert here[1] != other[1]
    shown = _step(found.conditions[1].steps[0], None)
    assert "textures: one" in shown
    assert str(tmp_path) not in shown
