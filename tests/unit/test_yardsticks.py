"""How far conditions take images from clean: measured once, kept, shown; and severities that differ."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from robobench.draws import Draws
from robobench.engine.yardsticks import IMAGES, yardsticks
from robobench.fidelity import psnr, ssim
from robobench.images import apply_view
from robobench.registry import data, perturbations
from robobench.store import Store
from robobench.types import ImageBatch, View
from tests.bench import resolved
from tests.fakes import conv_model, make_batch

SUITE = """
view: {}
conditions:
  - {use: occlusion.random, name: occlusion, with: {grid: 7}, ladder: {fraction: [0.0, 0.3, 0.7]}}
  - {shift: {source: digits, path: uci}, name: uci}
  - {use: gradient.fgsm, name: fgsm, with: {eps: 4/255}}
  - {name: resolution, view: {size: 14}}
  - {use: drop.positions, name: drop, with: {after: "0", fraction: 0.5}}
"""


def measured(tmp_path, text=SUITE, limit=10):
    began = []
    store = Store.open(tmp_path / "results", create=True)
    found = resolved(text, conv_model(10), limit=limit)
    return found, store, yardsticks(found, store, "cpu", None, lambda: began.append(1)), began


def test_it_is_the_mean_over_the_first_images_whatever_the_limit(tmp_path):
    found, _, marks, began = measured(tmp_path)
    assert set(marks) == {f"occlusion fraction={f}" for f in (0.0, 0.3, 0.7)}
    base = found.data["base"]
    ids = base.visiting[:IMAGES]
    stored = np.stack([base.source.read(i) for i in ids])
    clean = torch.from_numpy(stored).permute(0, 3, 1, 2).float() / 255.0
    step = perturbations.build("occlusion.random", {"fraction": 0.3, "grid": 7})
    batch = ImageBatch(clean, ids, torch.zeros(len(ids), dtype=torch.int64))
    changed = step(batch, Draws(0, "occlusion.random", ids)).pixels
    ratios = psnr(changed, clean)
    mark = marks["occlusion fraction=0.3"]
    assert mark.images == IMAGES
    assert mark.psnr == pytest.approx(float(ratios[ratios.isfinite()].mean()))
    assert mark.ssim == pytest.approx(float(ssim(changed, clean).mean()))
    assert marks["occlusion fraction=0.0"].psnr == float("inf")
    assert began == [1]


def test_it_is_measured_once(tmp_path, monkeypatch):
    _, store, marks, _ = measured(tmp_path)
    monkeypatch.setattr(
        "robobench.engine.yardsticks.pictures", lambda *_, **__: pytest.fail("measured again")
    )
    found = resolved(SUITE, conv_model(10), limit=33)
    assert yardsticks(found, store, "cpu", None, lambda: pytest.fail("began again")) == marks


def test_a_damaged_record_is_measured_again(tmp_path):
    _, store, marks, _ = measured(tmp_path)
    for file in (store.root / "yardsticks").iterdir():
        file.write_text("{")
    found = resolved(SUITE, conv_model(10), limit=10)
    assert yardsticks(found, store, "cpu", None, lambda: None) == marks


def test_native_views_and_prepared_inputs_are_left_out(tmp_path):
    text = SUITE.replace("view: {}", "view: native\npreparations: {m: {use: saliency.gradient, model: self}}")
    text = text.replace(
        "conditions:",
        "conditions:\n  - {use: occlusion.salient, with: {fraction: 0.3}, inputs: {saliency: m}}",
    )
    _, _, marks, _ = measured(tmp_path, text)
    assert set(marks) == {f"occlusion fraction={f}" for f in (0.0, 0.3, 0.7)}  # the digits fix their own view


def severities() -> list[str]:
    names = (n for n in perturbations.names() if "/" not in n)
    return [n for n in names if "severity" in {f.name for f in fields(perturbations.get(n).cls)}]


@pytest.fixture(scope="module")
def photos() -> ImageBatch:
    source = data.build("samples", {"path": "imagenet"})
    ids = source.index().ids[:3]
    view = View(256, 224, None, "bicubic")
    frames = np.stack([apply_view(source.read(i), view) for i in ids])
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255.0
    return ImageBatch(pixels, ids, torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("name", severities())
def test_severities_are_distinct(name, photos):
    """On real photos no two of the five look alike; how they are ordered is the benchmark's own matter."""
    known = {f.name for f in fields(perturbations.get(name).cls)}
    if "table" in known and name.startswith("cbar."):
        params = {"table": perturbations.get(name).cls.examples[0]["table"]}
    else:
        params = {}
    draws = Draws(0, name, photos.ids)
    shown = [
        perturbations.build(name, {**params, "severity": s})(photos, draws).pixels for s in (1, 2, 3, 4, 5)
    ]
    for i, one in enumerate(shown):
        assert (psnr(one, photos.pixels) < 60).any()
        for other in shown[i + 1 :]:
            assert (psnr(one, other) < 50).any()


def test_levels_that_are_alike_would_be_noticed():
    pixels = make_batch(2, 32).pixels
    assert not (psnr(pixels, pixels) < 50).any()
