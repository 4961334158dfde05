"""What goes wrong with part of the work is recorded; the rest goes on, and the next run tries again."""

from __future__ import annotations

import pytest
import torch

from robobench.engine.plan import plan
from robobench.engine.resolve import ResolvedModel, cells, resolve
from robobench.errors import DataError, ModelError, RobobenchError
from robobench.store import Store
from robobench.suite.load import parse_suite
from robobench.suite.suite import ModelEntry
from robobench.types import ModelId
from tests.bench import HEAD, PASSIVE, carry_out, left, resolved, rows, same_rows
from tests.fakes import FakeModel, constant_model, conv_model, conv_net


class Breaking(torch.nn.Module):
    """Right until told to break, with the given error."""

    def __init__(self, error: Exception | None = None, above: int = 10**9) -> None:
        super().__init__()
        self.net = conv_net(10)
        self.error = error
        self.above = above

    def forward(self, pixels):
        if self.error is not None and len(pixels) > self.above:
            raise self.error
        return self.net(pixels)


def test_a_model_that_breaks_is_recorded_and_tried_again(tmp_path):
    broken = Breaking(ValueError("a weight fell out"), above=0)
    found = resolved(PASSIVE, FakeModel(broken, outputs=10))
    outcome = carry_out(found, tmp_path)
    assert outcome.rows == 0
    assert {f.reason for f in outcome.failures} == {"ValueError: a weight fell out"}
    keys = [c.key for c in cells(found)]
    assert len(Store.open(tmp_path).failures(keys)) == len(outcome.failures)
    broken.error = None
    assert not carry_out(found, tmp_path).failures
    assert Store.open(tmp_path).failures(keys) == []
    assert not left(found, Store.open(tmp_path)).items


def test_a_model_that_does_not_load_fails_in_every_cell(tmp_path):
    def load(device):
        raise ModelError("the checkpoint is gone")

    suite = parse_suite(HEAD + PASSIVE, "t.yaml")
    good, bad = ModelId("good", "fake:good", "g"), ModelId("bad", "fake:bad", "b")
    found = resolve(
        suite, [ResolvedModel(bad, load), ResolvedModel(good, lambda _: conv_model(10))], limit=10
    )
    outcome = carry_out(found, tmp_path)
    assert {f.model for f in outcome.failures} == {"bad"}
    assert {f.reason for f in outcome.failures} == {"the checkpoint is gone"}
    assert {f.condition for f in outcome.failures} == {c.name for c in found.conditions}
    assert outcome.rows == 10 * len(found.conditions)


def test_out_of_memory_halves_the_batch_down_to_what_fits(tmp_path):
    tight = FakeModel(Breaking(torch.OutOfMemoryError("CUDA out of memory"), above=3), outputs=10)
    found = resolved(PASSIVE, tight, limit=20)
    outcome = carry_out(found, tmp_path / "tight", batch_size=16)
    assert any("out of memory" in f.reason for f in outcome.failures) is False
    assert max(n for n in tight.calls if n <= 3) <= 3
    easy = resolved(PASSIVE, conv_model(10), limit=20)
    carry_out(easy, tmp_path / "easy")
    same_rows(rows(found, tmp_path / "tight"), rows(easy, tmp_path / "easy"))


def test_out_of_memory_with_one_image_is_a_failure_with_a_hint(tmp_path):
    hopeless = FakeModel(Breaking(torch.OutOfMemoryError("CUDA out of memory"), above=0), outputs=10)
    outcome = carry_out(resolved(PASSIVE, hopeless, limit=4), tmp_path)
    assert {f.reason for f in outcome.failures} == {"out of memory with a single image"}
    assert "smaller model" in outcome.failures[0].hint


def test_wrong_number_of_outputs_fails_with_the_reason(tmp_path):
    outcome = carry_out(resolved(PASSIVE, constant_model(1.0, 2.0, 3.0), limit=4), tmp_path)
    assert "the fake has 3 outputs, digits needs 10" in outcome.failures[0].reason


def test_fail_fast_stops_at_the_first_item(tmp_path):
    broken = FakeModel(Breaking(ValueError("no"), above=0), outputs=10)
    outcome = carry_out(resolved(PASSIVE, broken), tmp_path, fail_fast=True)
    assert {f.condition for f in outcome.failures} < {c.name for c in resolved(PASSIVE, broken).conditions}


def test_ctrl_c_ends_cleanly_with_what_was_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("robobench.engine.plan.ITEM_PASSES", 1)
    calls = []

    class Stopping(Breaking):
        def forward(self, pixels):
            calls.append(1)
            if len(calls) == 25:
                raise KeyboardInterrupt
            return self.net(pixels)

    found = resolved(PASSIVE, FakeModel(Stopping(), outputs=10))
    outcome = carry_out(found, tmp_path)
    assert outcome.interrupted
    assert outcome.rows == len(rows(found, tmp_path)) > 0
    carry_out(found, tmp_path)
    assert not left(found, Store.open(tmp_path)).items


def test_a_model_changed_by_its_own_forward_pass_is_caught(tmp_path):
    model = conv_model(10)

    def check() -> None:
        if model.module.training:
            raise ModelError("the model is in training mode")

    model.check_frozen = check
    model.module.register_forward_hook(lambda module, *_: module.train() and None)
    outcome = carry_out(resolved(PASSIVE, model, limit=4), tmp_path)
    assert outcome.rows == 0
    assert {f.reason for f in outcome.failures} == {"the model is in training mode"}


def test_probabilities_are_warned_about_once(tmp_path):
    soft = FakeModel(torch.nn.Sequential(conv_net(10), torch.nn.Softmax(dim=1)), outputs=10)
    outcome = carry_out(resolved(PASSIVE, soft, limit=8), tmp_path)
    assert not outcome.failures
    assert "probabilities, not logits" in outcome.warnings["fake"]
    assert not carry_out(resolved(PASSIVE, conv_model(10), limit=8, name="other"), tmp_path).warnings


def test_images_that_cannot_be_decoded_leave_the_data_for_every_model(tmp_path, monkeypatch):
    from robobench.data.digits import Digits

    found = resolved(PASSIVE, conv_model(10), limit=10)
    victim = found.data["base"].order[3]
    read = Digits.read

    def torn(self, image):
        if image == victim:
            raise DataError(f"{image}: truncated")
        return read(self, image)

    monkeypatch.setattr(Digits, "read", torn)
    outcome = carry_out(found, tmp_path)
    assert outcome.undecodable == {victim: f"{victim}: truncated"}
    assert not outcome.failures
    store = Store.open(tmp_path)
    again = resolve(found.suite, found.models, limit=10, excluded=store.excluded)
    assert victim not in again.data["base"].ids
    assert len(again.data["base"].ids) == 9  # nothing comes in its place
    assert again.fingerprint != found.fingerprint
    assert not plan(again, store.have(c.key for c in cells(again))).items


def test_two_models_of_one_name_are_refused():
    suite = parse_suite(HEAD, "t.yaml")
    one, two = (ResolvedModel(ModelId("m", f"fake:{d}", d), lambda _: conv_model(10)) for d in "ab")
    with pytest.raises(ModelError, match="the name 'm' is given for two models"):
        resolve(suite, [one, two])
    with pytest.raises(ModelError, match="the name 'm' is given twice"):
        resolve(suite, [one, one])


def test_a_suite_without_models_asks_for_some():
    with pytest.raises(ModelError, match="names no models: give some with --model"):
        resolve(parse_suite(HEAD, "t.yaml"))


def test_code_named_in_a_suite_needs_leave(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("raise SystemExit('it ran')\n")
    suite = parse_suite(HEAD + f"models: ['{path}:build']\n", "t.yaml")
    with pytest.raises(RobobenchError, match="--allow-code"):
        resolve(suite)
    assert resolve(suite, allow_code=True).models[0].id.digest
    assert resolve(suite, [ModelEntry(f"{path}:build", trusted=True)]).models[0].id.digest
