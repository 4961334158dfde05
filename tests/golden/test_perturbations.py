"""No perturbation's numbers change unnoticed: not by an edit without a new version, not by a library."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest
import torch

from robobench.registry import perturbations
from tests.golden.perturbations import FILE, cases, key_of, measure, versions

TOLERANCE = 1e-4
STORED = json.loads(FILE.read_text())
BY_NAME = defaultdict(list)
for _name, _version, _params, _side in cases():
    BY_NAME[_name].append((_version, _params, _side))


def drifted(name: str, version: int, params: dict, side: int) -> str:
    """What is wrong with a case, nothing when it is as it was."""
    kept = STORED["values"].get(key_of(name, params, side))
    if kept is None:
        return f"{key_of(name, params, side)}: no golden values; `python -m tests.golden.perturbations`"
    found = measure(name, params, side)
    gap = max(abs(a - b) for a, b in zip(found, kept[1:], strict=True))
    if kept[0] != version:
        return f"{name}: version {version}, golden values of {kept[0]}: write them anew"
    if gap <= TOLERANCE:
        return ""
    now = versions()
    moved = [f"{k} {v} -> {now[k]}" for k, v in STORED["versions"].items() if now[k] != v]
    cause = f"libraries that changed: {', '.join(moved)}" if moved else "no library changed: raise `version`"
    return f"{key_of(name, params, side)}: off by {gap:.2g}; {cause}"


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_numbers_are_what_they_were(name):
    torch.set_num_threads(1)
    assert [d for d in (drifted(name, *case) for case in BY_NAME[name]) if d] == []


def test_nothing_is_kept_of_what_is_gone():
    assert set(STORED["values"]) == {key_of(n, p, s) for n, _, p, s in cases()}


def test_a_changed_number_is_noticed_with_its_cause(monkeypatch):
    from robobench.perturbations.corruption.digital import Brightness

    name, params = "corruption.brightness", None
    params = next(p for _, p, _ in BY_NAME[name])
    version = perturbations.get(name).version
    old = Brightness.levels
    monkeypatch.setattr(Brightness, "levels", {k: tuple(1.1 * x for x in v) for k, v in old.items()})
    assert "no library changed: raise `version`" in drifted(name, version, params, 32)
    monkeypatch.setitem(STORED["versions"], "torch", "1.0.0")
    assert "libraries that changed: torch 1.0.0 -> " in drifted(name, version, params, 32)
    assert "version 99, golden values of" in drifted(name, 99, params, 32)
