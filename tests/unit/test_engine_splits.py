"""Preparations that are made from a split of their own: which images, which keys, and never the judged ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from robobench.engine.frames import batches, open_frames
from robobench.engine.resolve import ResolvedModel, cells, resolve
from robobench.errors import DataError, SuiteError
from robobench.registry import preparations
from robobench.store import Store
from robobench.suite.load import parse_suite
from robobench.types import ModelId, View
from tests.bench import HEAD, carry_out, left, rows
from tests.fakes import conv_model, make_draws

FAKE = conv_model(10)
MODEL = ResolvedModel(ModelId("fake", "fake:x", "d"), lambda _: FAKE)
OTHER = ResolvedModel(ModelId("other", "fake:y", "e"), lambda _: conv_model(10, seed=1))
USE = "use: universal.perturbation, model: self, with: {eps: 32/255, epochs: 1, batch: 16}"
ADD = "conditions:\n  - {use: universal.add, name: uap, inputs: {perturbation: p}%s}\n"
TRAIN = "data: {source: digits, path: mnist, split: train, limit: 48}"


def suite(split: str, more: str = "", head: str = HEAD):
    return parse_suite(f"{head}preparations:\n  p: {{{USE}, {split}}}\n" + ADD % more, "t.yaml")


def found(split: str, more: str = "", head: str = HEAD, model: ResolvedModel = MODEL, **options):
    options.setdefault("limit", 40)
    return resolve(suite(split, more, head), [model], **options)


def key(resolved, name: str = "uap"):
    return {c.condition.name: c.key for c in cells(resolved)}[name]


def test_a_suite_without_splits_keeps_its_digest():
    text = HEAD + "preparations: {own: {use: saliency.gradient, model: self}}\n"
    one = parse_suite(text, "t.yaml")
    assert dict(one.preparations[0].identity) == {
        "name": "own", "plugin": "saliency.gradient", "version": 1, "params": {}, "model": "self",
    }  # fmt: skip
    assert one.digest == "e27d55b621879aa420d8", (
        "results of a suite that says nothing new are still its results"
    )


def test_the_split_is_what_the_suite_names_whatever_the_run_is_limited_to():
    for limit in (10, 40):
        split = found(TRAIN, limit=limit).splits["p"]
        assert len(split.ids) == 48
        assert not set(split.ids) & set(found(TRAIN).data["base"].labels)
    base = found("skip: 100, limit: 30").data["base"]
    assert found("skip: 100, limit: 30").splits["p"].ids == base.visiting[100:130]
    assert found("skip: 100").splits["p"].ids == base.visiting[100:]


def test_keys_follow_the_split_and_not_the_limit_of_the_run():
    assert key(found(TRAIN)) == key(found(TRAIN, limit=20))
    assert key(found(TRAIN)) != key(found(TRAIN.replace("48", "49")))
    assert key(found("skip: 100, limit: 30")) != key(found("skip: 101, limit: 30"))
    assert key(found(TRAIN), "clean") == key(found("skip: 100"), "clean")
    assert found(TRAIN).fingerprint != found(TRAIN.replace("48", "49")).fingerprint
    assert suite(TRAIN).digest != suite("skip: 100").digest != suite("skip: 100, limit: 3").digest


@pytest.mark.parametrize(
    ("split", "more", "options", "message"),
    [
        ("skip: 30, limit: 30", "", {}, "10 of digits:mnist"),
        ("limit: 5", "", {}, "5 of digits:mnist"),
        ("skip: 40, limit: 30", "", {"limit": 41}, "1 of digits:mnist"),
        ("skip: 40, limit: 30", "", {"limit": None}, "30 of digits:mnist"),
        ("data: {source: digits, path: mnist, split: test}", "", {}, "40 of digits:mnist"),
        ("data: {source: digits, path: mnist, split: all}", "", {}, "40 of digits:mnist"),
        (TRAIN, "", {"data": "digits:mnist?split=train"}, "40 of digits:mnist?split=train"),
        ("data: {source: digits, path: uci}", "", {"data": "digits:uci"}, "40 of digits:uci"),
    ],
)  # fmt: skip
def test_what_is_judged_was_not_learned_from(split, more, options, message):
    with pytest.raises(DataError) as caught:
        found(split, more, **options)
    text = str(caught.value)
    assert message in text
    assert "preparation 'p' is made from images that 'uap' is judged on" in text
    assert "`skip` at least the" in text


def test_only_the_images_of_the_conditions_that_use_it_count():
    assert found("skip: 40, limit: 30", ", limit: 40", limit=None).splits["p"].ids
    assert found("data: {source: digits, path: uci}").splits["p"].ids
    with pytest.raises(DataError, match="'uap'"):
        found("skip: 40, limit: 30", ", limit: 41", limit=None)


def test_equal_names_of_different_pictures_are_no_overlap(tmp_path):
    for name, shade in (("train", 10), ("test", 200)):
        for label in ("cat", "dog"):
            (tmp_path / name / label).mkdir(parents=True)
            for n in range(3):
                Image.new("RGB", (8, 8), (shade, n, n)).save(tmp_path / name / label / f"{n}.png")
    head = HEAD.replace(
        "source: digits, path: mnist", f"source: folder, path: {tmp_path / 'test'}, label_space: own"
    )
    split = f"data: {{source: folder, path: {tmp_path / 'train'}, label_space: own}}"
    assert len(found(split, head=head).splits["p"].ids) == 6
    with pytest.raises(DataError, match="6 of folder:test"):
        found(split.replace("train", "test"), head=head)


def test_nothing_left_is_an_error():
    with pytest.raises(DataError, match=r"preparation 'p': `skip: 1000` leaves none of the 1,000 images"):
        found("skip: 1000")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"p: {{{USE}, {TRAIN}, limit: 4}}", "p: `skip` and `limit` choose among the suite's own data"),
        (f"p: {{{USE}, {TRAIN}, skip: 4}}", "p: `skip` and `limit` choose among the suite's own data"),
        (f"p: {{{USE}, skip: -1}}", "skip: expected greater than or equal to 0"),
        (f"p: {{{USE}, data: {{source: digitz, path: mnist}}}}", "did you mean 'digits'"),
        (f"p: {{{USE}, data: {{source: digits, path: mnist, splitt: x}}}}", "no parameter 'splitt'"),
        ("p: {use: saliency.gradient, model: self, skip: 100}", "takes no `data`, `skip` or `limit`"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_line(text, message):
    with pytest.raises(SuiteError) as caught:
        parse_suite(f"{HEAD}preparations:\n  {text}\n", "t.yaml")
    assert str(caught.value).startswith("t.yaml:6: "), str(caught.value)
    assert message in str(caught.value)


def learned(resolved, view: View | None = None):
    """The perturbation made by hand from the images of the split."""
    split = resolved.splits["p"]
    frames = open_frames(split, view or View(), None)
    whole = list(batches(frames, split.ids, split.labels, 7, "cpu"))
    make = preparations.build("universal.perturbation", {"eps": "32/255", "epochs": 1, "batch": 16})
    return make(FAKE, whole, make_draws(whole[0]))["perturbation"]


def answers(resolved, view: View, change):
    data = resolved.data["base"]
    batch = next(batches(open_frames(data, view, None), data.ids, data.labels, 40, "cpu"))
    with torch.no_grad():
        logits = FAKE(batch.with_pixels((batch.pixels + change).clamp(0, 1)))
    return dict(zip(batch.ids, logits.argmax(1).tolist(), strict=True))


@pytest.mark.parametrize("split", [TRAIN, "skip: 50, limit: 48"])
def test_the_rows_are_those_of_what_was_learned_on_the_split(tmp_path, split):
    resolved = found(split)
    assert not carry_out(resolved, tmp_path).failures
    frame = rows(resolved, tmp_path)
    frame = frame[frame.condition == "uap"].set_index("image_id")
    expected = answers(resolved, View(), learned(resolved))
    assert frame.top1.to_dict() == expected
    assert expected != answers(resolved, View(), 0.0), "the perturbation changes answers"
    assert not left(found(split), Store.open(tmp_path)).items
    assert {c.condition.name for i in left(found(split, limit=49), Store.open(tmp_path)).items for c in i.cells} == {
        "clean", "uap",
    }  # fmt: skip


def test_a_condition_with_a_view_of_its_own_learns_through_that_view(tmp_path):
    resolved = found(TRAIN, ", view: {size: 20}")
    assert not carry_out(resolved, tmp_path).failures
    frame = rows(resolved, tmp_path)
    frame = frame[frame.condition == "uap"].set_index("image_id")
    change = learned(resolved, View(size=20))
    assert change.shape == (3, 20, 20)
    assert frame.top1.to_dict() == answers(resolved, View(size=20), change)


def test_images_of_the_split_that_cannot_be_decoded_are_named_and_leave_it(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("train", "test"):
        for label in ("cat", "dog"):
            (tmp_path / name / label).mkdir(parents=True)
            for n in range(4):
                pixels = rng.integers(0, 255, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / label / f"{n}.png")
    (tmp_path / "train" / "cat" / "2.png").write_bytes(b"no image")
    head = HEAD.replace(
        "source: digits, path: mnist", f"source: folder, path: {tmp_path / 'test'}, label_space: own"
    )
    split = f"data: {{source: folder, path: {tmp_path / 'train'}, label_space: own}}"
    two = ResolvedModel(ModelId("two", "fake:2", "t"), lambda _: conv_model(2))
    store = Store.open(tmp_path / "results", create=True)
    outcome = carry_out(found(split, head=head, model=two), tmp_path / "results")
    assert not outcome.failures
    assert list(outcome.undecodable) == ["cat/2.png"]
    again = found(split, head=head, model=two, excluded=store.excluded)
    assert len(again.splits["p"].ids) == 7
    assert len(again.data["base"].ids) == 8


def test_under_native_views_what_another_model_made_is_kept_apart_for_each_model():
    head = HEAD + "view: native\n"
    text = 'preparations:\n  s: {use: saliency.gradient, model: "zoo:vit"}\n'
    text += "conditions:\n  - {use: occlusion.salient, with: {fraction: 0.5}, inputs: {saliency: s}}\n"
    native = resolve(parse_suite(head + text, "t.yaml"), [MODEL, OTHER], limit=4)
    entry, base = native.suite.preparations[0], native.data["base"]
    assert base.view is not None, "digits are never resized"
    free = type(base)(**{**base.__dict__, "view": None})
    made = {native.preparation_key(entry, m.id, free) for m in native.models}
    assert len(made) == 2
    assert len({native.preparation_key(entry, m.id, base) for m in native.models}) == 1
