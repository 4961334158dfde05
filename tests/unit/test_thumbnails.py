"""Pictures of the most hurt images: what they show, how large they are, and when none is made or kept."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import robobench
from robobench import api
from robobench.asides import Asides
from robobench.draws import Draws
from robobench.engine.frames import to_batch
from robobench.engine.thumbnails import MOST, credit, thumbnails
from robobench.errors import StoreError
from robobench.leaderboard.collect import collect
from robobench.leaderboard.hurt import pictures_wanted
from robobench.leaderboard.render import render
from robobench.registry import perturbations
from robobench.store import Store
from robobench.suite.load import parse_suite
from robobench.types import Pictures
from tests.bench import resolved
from tests.fakes import Linear, conv_model, conv_net

SUITE = """
view: {}
preparations: {m: {use: saliency.gradient, model: self}}
conditions:
  - {use: occlusion.random, name: occlusion, with: {grid: 7}, ladder: {fraction: [0.3, 0.7]}}
  - {use: gradient.fgsm, name: fgsm, with: {eps: 4/255}}
  - {use: drop.positions, name: drop, with: {after: "0", fraction: 0.5}}
  - {use: occlusion.salient, name: salient, with: {fraction: 0.3}, inputs: {saliency: m}}
  - {compose: [{use: occlusion.random, with: {fraction: 0.5, grid: 7}}], worst_of: 3, name: worst}
"""
OWN = """schema: 1
name: mine
title: T
data: {source: folder, path: PATH, label_space: own}
view: {size: 64}
conditions:
  - {use: occlusion.random, name: cut, with: {grid: 8, fraction: 0.75}}
"""


def decoded(png: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png, validate=True))).convert("RGB"))


def folder(root: Path, side: int = 64, images: int = 8) -> Path:
    """Noise in three classes, which no PNG makes small."""
    rng = np.random.Generator(np.random.PCG64(0))
    for name in ("ant", "bee", "cat"):
        (root / name).mkdir(parents=True)
        for k in range(images):
            pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"private-{k}.png")
    return root


def run_own(tmp_path: Path, data: Path, **options: object) -> api.Results:
    suite = parse_suite(OWN.replace("PATH", str(data)), "t.yaml")
    return robobench.run(suite, {"net": Linear(3, 64)}, out=tmp_path / "results", device="cpu", **options)


def test_pictures_show_what_a_model_sees():
    found = resolved(SUITE, conv_model(10), limit=4)
    base = found.data["base"]
    image = base.ids[2]
    made = thumbnails(found, [(image, "clean"), (image, "occlusion fraction=0.7")], None)
    stored = base.source.read(image)
    assert (decoded(made[image, "clean"]) == stored).all()
    batch = to_batch((image,), stored[None], base.labels, "cpu")
    step = perturbations.build("occlusion.random", {"fraction": 0.7, "grid": 7})
    changed = step(batch, Draws(0, "occlusion.random", (image,))).pixels[0].permute(1, 2, 0).numpy()
    assert (decoded(made[image, "occlusion fraction=0.7"]) == np.rint(changed * 255)).all()


def test_what_depends_on_a_model_or_on_luck_is_not_pictured():
    found = resolved(SUITE, conv_model(10), limit=4)
    image = found.data["base"].ids[0]
    wanted = [(image, c.name) for c in found.conditions]
    assert {name for _, name in thumbnails(found, wanted, None)} == {
        "clean", "occlusion fraction=0.3", "occlusion fraction=0.7",
    }  # fmt: skip


def test_an_image_that_cannot_be_read_is_left_out():
    found = resolved(SUITE, conv_model(10), limit=4)
    image = found.data["base"].ids[0]
    assert set(thumbnails(found, [("nowhere", "clean"), (image, "clean")], None)) == {(image, "clean")}


def test_a_view_of_each_models_own_is_not_pictured():
    found = resolved(SUITE, conv_model(10), limit=4)
    sets = {n: replace(d, view=None) for n, d in found.data.items()}
    assert thumbnails(replace(found, data=sets), [(found.data["base"].ids[0], "clean")], None) == {}


def test_other_sets_are_pictured_only_under_the_same_licence():
    text = "conditions: [{shift: {source: digits, path: uci}, name: uci}]\n"
    found = resolved(text, conv_model(10), limit=4)
    image = found.data["shift:uci" if "shift:uci" in found.data else "uci"].ids[0]
    assert thumbnails(found, [(image, "uci")], None) == {}


def test_twelve_pairs_of_noise_stay_below_the_limit(tmp_path):
    data = folder(tmp_path / "data", side=160)
    suite = OWN.replace("PATH", str(data)).replace("size: 64", "size: 160").replace("0.75", "0.25")
    found = api.resolve(parse_suite(suite, "t.yaml"), api._entries({"net": conv_net(3)}))
    ids = found.data["base"].ids[:12]
    made = thumbnails(found, [(i, c) for i in ids for c in ("clean", "cut")], None)
    assert len(made) == 24
    assert sum(map(len, made.values())) <= MOST
    assert {decoded(p).shape for p in made.values()} == {(48, 48, 3)}
    alone = thumbnails(found, [(ids[0], "clean")], None)
    assert decoded(alone[ids[0], "clean"]).shape == (112, 112, 3)


def test_only_a_licence_or_the_user_lets_images_be_shown(tmp_path):
    digits = resolved(SUITE, conv_model(10), limit=4)
    assert "CC BY-SA" in credit(digits, asked=False)
    suite = parse_suite(OWN.replace("PATH", str(folder(tmp_path / "data"))), "t.yaml")
    own = api.resolve(suite, api._entries({"net": conv_net(3)}))
    assert credit(own, asked=False) is None
    assert "--show-images" in credit(own, asked=True)


def test_a_folder_of_ones_own_is_shown_when_asked_and_no_longer_when_not(tmp_path):
    data = folder(tmp_path / "data")

    def text(results: api.Results) -> str:
        return "".join(render(results.leaderboard, f) for f in ("html", "json", "markdown", "csv"))

    private = run_own(tmp_path, data)
    assert private.leaderboard.gallery is None
    assert {c.name for c in private.leaderboard.classes} == {"ant", "bee", "cat"}
    assert "private-" not in text(private)
    assert "data:image" not in text(private)
    asked = run_own(tmp_path, data, show_images=True)
    assert asked.outcome.rows == 0
    shown = asked.leaderboard.gallery
    assert shown.images
    assert all(i.clean and i.changed for i in shown.images)
    assert "data:image/png;base64," in text(asked)
    assert run_own(tmp_path, data).leaderboard.gallery is None
    assert not list((tmp_path / "results" / "gallery").iterdir())


def test_a_second_run_with_nothing_new_makes_no_picture(tmp_path, monkeypatch):
    data = folder(tmp_path / "data", images=2)
    first = run_own(tmp_path, data, show_images=True).leaderboard.gallery
    monkeypatch.setattr("robobench.api.thumbnails", lambda *_: pytest.fail("made again"))
    assert run_own(tmp_path, data, show_images=True).leaderboard.gallery == first


def test_pictures_wanted_are_those_that_the_board_shows(tmp_path):
    results = run_own(tmp_path, folder(tmp_path / "data"), show_images=True)
    wanted = pictures_wanted(collect(results.record, results.store))
    shown = results.leaderboard.gallery.images
    assert wanted == [(i.image, c) for i in shown for c in ("clean", i.condition)]


def test_a_disk_that_refuses_pictures_breaks_no_run(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise StoreError("full")

    monkeypatch.setattr(Asides, "put_pictures", refuse)
    found = resolved(
        "conditions: [{use: shuffle.grid, name: s, with: {grid: 2x2}}]\n", conv_model(10), limit=10
    )
    store = Store.open(tmp_path / "results", create=True)
    results = api.execute(
        found, store, command="x", device="cpu", batch_size=8, fail_fast=False, progress=api.Silent()
    )
    assert results.complete
    assert results.leaderboard.gallery is None


def test_a_store_keeps_pictures(tmp_path):
    store = Store.open(tmp_path / "r", create=True)
    assert store.asides.pictures("f") is None
    kept = Pictures("CC0", {("a/b.png", "clean"): "AA==", ("a/b.png", "fog severity=1"): "BB=="})
    store.asides.put_pictures("f", kept)
    assert store.asides.pictures("f") == kept
    assert (
        store.asides.pictures("../gallery/f") == kept
    )  # a name that leads out of the folder finds what is inside
    (store.root / "gallery" / "f.json").write_text('{"credit": 1}')
    assert store.asides.pictures("f") is None
    store.asides.put_pictures("f", None)
    store.asides.put_pictures("f", None)
    assert list((store.root / "gallery").iterdir()) == []


def test_records_hold_the_names_of_the_classes(tmp_path):
    results = run_own(tmp_path, folder(tmp_path / "data", images=1))
    assert api.read_run(results.store.root, results.store.runs()[-1]).class_names == ("ant", "bee", "cat")
