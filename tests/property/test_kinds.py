"""Every kind of condition goes through the schema, the keys and the one sweep."""

from __future__ import annotations

import pytest
import torch

from robobench.errors import ModelError
from robobench.store import Store
from tests.bench import HEAD, carry_out, left, resolved, rows, same_rows
from tests.fakes import FakeModel, conv_model, vit_model

PREPARED = """preparations:
  own: {use: saliency.gradient, model: self}
conditions:
  - {use: occlusion.salient, name: salient, with: {grid: 7}, inputs: {saliency: own}, ladder: {fraction: [0.2, 0.5]}}
  - {use: occlusion.salient, name: rest, with: {grid: 7, fraction: 0.5, drop: non_salient}, inputs: {saliency: own}}
  - compose:
      - {use: occlusion.salient, with: {grid: 7, fraction: 0.2}, inputs: {saliency: own}}
      - {use: gradient.fgsm, with: {eps: 4/255}}
    name: attacked
"""
CHANGED = """conditions:
  - {use: drop.tokens, name: tokens, with: {block: 0}, ladder: {fraction: [0, 0.5, 1.0]}}
  - compose:
      - {use: drop.tokens, with: {block: 0, fraction: 0.5}}
      - {use: gradient.pgd, with: {steps: 3}}
    ladder: {eps: [2/255, 8/255]}
    name: attacked
"""


def digit_vit():
    return vit_model(10, side=28, patch=7)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_prepared_inputs_reach_their_condition_at_any_batch_size(batch_size, tmp_path):
    found = resolved(PREPARED, conv_model(10))
    assert not carry_out(found, tmp_path / "a", batch_size).failures
    frame = rows(found, tmp_path / "a")
    salient = frame[frame.condition == "salient fraction=0.2"]
    assert (salient.x_saliency_loss > salient.x_information_loss).all(), "the most salient cells hold more"
    carry_out(found, tmp_path / "b", 16)
    same_rows(frame, rows(found, tmp_path / "b"))


def test_preparations_are_made_once_and_kept(tmp_path, monkeypatch):
    found = resolved(PREPARED, conv_model(10))
    carry_out(found, tmp_path)
    store = Store.open(tmp_path)
    files = list((tmp_path / "preparations").rglob("*.safetensors"))
    assert len(files) == 1
    ids, _ = next(store.prepared(files[0].parent.name))
    assert sorted(ids) == sorted(found.data["base"].ids)
    for row_file in (tmp_path / "rows").glob("*"):
        row_file.unlink()

    def no_gradient(self, batch, loss):
        raise ModelError("no gradient here")

    monkeypatch.setattr(FakeModel, "gradient", no_gradient)
    outcome = carry_out(found, tmp_path)
    assert {f.condition for f in outcome.failures} == {"attacked"}, "only the attack wants a gradient"


def test_another_model_has_another_preparation(tmp_path):
    one = resolved(PREPARED, conv_model(10, seed=0), name="one")
    two = resolved(PREPARED, conv_model(10, seed=1), name="two")
    carry_out(one, tmp_path)
    carry_out(two, tmp_path)
    assert len(list((tmp_path / "preparations").iterdir())) == 2


@pytest.mark.parametrize("batch_size", [1, 7])
def test_interventions_change_the_model_also_under_attack(batch_size, tmp_path):
    found = resolved(CHANGED, digit_vit(), limit=24)
    outcome = carry_out(found, tmp_path / "a", batch_size)
    assert not outcome.failures
    frame = rows(found, tmp_path / "a").set_index(["condition", "image_id"])
    clean, none, half, all_ = (
        frame.loc[c].logp_label
        for c in ("clean", "tokens fraction=0", "tokens fraction=0.5", "tokens fraction=1.0")
    )
    assert (clean == none).all()
    assert (clean != half).all()
    assert all_.nunique() <= 10, "without patch tokens all images of a class look the same"
    carry_out(found, tmp_path / "b", 16)
    same_rows(
        frame.reset_index(), rows(found, tmp_path / "b").set_index(["condition", "image_id"]).reset_index()
    )
    attacked = frame.loc["attacked eps=8/255"]
    was_wrong = half[(frame.loc["tokens fraction=0.5"].hit != 0)].index
    assert (attacked.loc[was_wrong].linf == 0).all(), "what the changed model gets wrong is not attacked"
    assert (attacked.drop(was_wrong).linf <= 8 / 255 + 1e-6).all()


def test_an_intervention_that_does_not_fit_fails_alone(tmp_path):
    found = resolved(CHANGED, conv_model(10), limit=8)
    outcome = carry_out(found, tmp_path)
    assert {f.condition.split()[0] for f in outcome.failures} == {"tokens", "attacked"}
    assert "blocks" in outcome.failures[0].reason
    assert len(rows(found, tmp_path)) == 8  # clean


def test_worst_of_keeps_the_draw_with_the_smallest_margin(tmp_path):
    text = "conditions:\n  - {{use: occlusion.random, name: w, with: {{fraction: 0.5, grid: 7}}, worst_of: {k}}}\n"
    accuracies = []
    frames = []
    for k in (1, 2, 6):
        found = resolved(text.format(k=k), conv_model(10, seed=3), limit=60)
        carry_out(found, tmp_path / str(k))
        frame = rows(found, tmp_path / str(k)).query("condition == 'w'").set_index("image_id")
        frames.append(frame)
        accuracies.append((frame.hit == 0).mean())
    assert accuracies == sorted(accuracies, reverse=True)
    assert ((frames[0].hit == 0) >= (frames[2].hit == 0)).all(), "nested: more draws never help an image"


def test_a_perturbation_that_breaks_its_contract_is_an_error_not_a_result(tmp_path, monkeypatch):
    from robobench.perturbations.shuffle import GridShuffle

    monkeypatch.setattr(
        GridShuffle, "__call__", lambda self, batch, draws: batch.with_pixels(batch.pixels * 3)
    )
    found = resolved(
        "conditions:\n  - {use: shuffle.grid, name: s, with: {grid: 2x2}}\n", conv_model(10), limit=8
    )
    outcome = carry_out(found, tmp_path)
    assert [f.condition for f in outcome.failures] == ["s"]
    assert "gave pixels in [0, 3], expected [0, 1]" in outcome.failures[0].reason


def test_nan_pixels_are_an_error(tmp_path, monkeypatch):
    from robobench.perturbations.shuffle import GridShuffle

    broken = lambda self, batch, draws: batch.with_pixels(batch.pixels * torch.nan)  # noqa: E731
    monkeypatch.setattr(GridShuffle, "__call__", broken)
    found = resolved(
        "conditions:\n  - {use: shuffle.grid, name: s, with: {grid: 2x2}}\n", conv_model(10), limit=8
    )
    assert "expected [0, 1]" in carry_out(found, tmp_path).failures[0].reason


def test_nothing_is_left_after_every_kind(tmp_path):
    assert HEAD
    for text, model in ((PREPARED, conv_model(10)), (CHANGED, digit_vit())):
        found = resolved(text, model, limit=10, name=str(id(model)))
        carry_out(found, tmp_path)
        assert not left(found, Store.open(tmp_path)).items
