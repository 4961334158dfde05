"""Tests of your own that fail when the model has become worse than it was.

    pytest --robobench-update    # once, and whenever a drop is meant: writes a baseline beside; commit it
    pytest

Nothing has to be imported: whoever has robobench and pytest has the mark and the fixture.
"""
# ruff: noqa: ANN001, ANN201, D103, S101

import pytest


@pytest.mark.robobench(suite="quickstart", limit=500, max_drop=0.02)
def test_the_model_is_no_worse(robobench):
    robobench("zoo:mixer")  # a SPEC, or a torch.nn.Module: robobench(load_my_model())


@pytest.mark.robobench(suite="quickstart", limit=500, min_score=0.3)
def test_the_model_reaches_its_floor(robobench):
    results = robobench("zoo:mixer")
    clean = results.scores.query("condition == 'clean' and metric == 'accuracy.top1'")
    assert clean.value.item() > 0.9
