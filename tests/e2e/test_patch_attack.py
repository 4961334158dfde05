"""Patches through a whole run: a learned one against its control, and what a CNN cannot be asked."""

import torch

import robobench

SUITE = """
schema: 1
name: patches
title: Patches
data: {source: digits, path: mnist, split: test, limit: 40}
view: {}
models: ["zoo:vit", "zoo:resnet"]
preparations:
  own:
    use: universal.patch
    with: {area: 0.1, epochs: 6, batch: 32}
    model: self
    data: {source: digits, path: mnist, split: train, limit: 160}
conditions:
  - {use: patch.universal, name: noise, with: {content: noise, area: 0.1}}
  - {use: patch.universal, name: learned, with: {area: 0.1}, inputs: {patch: own}}
  - {use: patch.fool, name: fool, with: {grid: 7, layer: 2, steps: 6}, ladder: {patches: [1, 4]}, limit: 12}
"""


def test_a_learned_patch_does_more_than_its_control_and_patch_fool_needs_attention(tmp_path):
    torch.set_num_threads(1)
    suite = tmp_path / "patches.yaml"
    suite.write_text(SUITE)
    results = robobench.run(str(suite), out=tmp_path / "results")
    rows = results.rows
    right = (rows["hit"] == 0).groupby([rows["model"], rows["condition"]]).mean()
    vit = next(m for m in right.index.levels[0] if "vit" in m.lower())
    cnn = next(m for m in right.index.levels[0] if "resnet" in m.lower())
    for model in (vit, cnn):
        assert right[model, "learned"] < right[model, "noise"] < right[model, "clean"]
    assert right[vit, "fool patches=4"] <= right[vit, "fool patches=1"] < right[vit, "clean"]
    assert not [c for c in right[cnn].index if c.startswith("fool")]
    lacking = [f for f in results.outcome.failures if f.model == cnn]
    assert {f.condition for f in lacking} == {"fool patches=1", "fool patches=4"}
    assert all(f.unsupported for f in lacking)
