"""The lock bites: a number, a default or a part of a suite that changes without a new version is named."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from robobench.metrics.calibration.errors import ExpectedCalibrationError as ECE
from robobench.registry import REGISTRIES, metrics
from robobench.suite.load import load_suite, parse_suite
from tests.golden import lock
from tests.golden.lock import FILE, SUITES, entries, fault, faults, plugin_entry, read, suite_entry, write

STORED = read(FILE)


@pytest.fixture(scope="module")
def now() -> dict[str, lock.Entry]:
    return entries()


def test_nothing_changed_without_a_new_version(now):
    assert faults(STORED, now) == []


def test_everything_that_ships_is_locked(now):
    plugins = {f"{r.kind} {n}" for r in REGISTRIES.values() for n in r.names() if "/" not in n}
    assert set(now) == plugins | {f"suite {p.stem}" for p in SUITES.glob("*.yaml")}
    assert len(now) > 200


def test_every_metric_and_formula_has_numbers_that_could_change(now):
    for name, entry in now.items():
        if name.startswith(("metric ", "formula ")):
            found = {v for k, vs in entry["fixed"].items() if k.startswith("numbers ") for v in vs}
            assert len(found) >= 2, name
            assert found - {None, "inf"}, name


def suite_with(**overrides):
    return suite_entry(load_suite("quickstart", {k.replace("__", "."): v for k, v in overrides.items()}))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"conditions__0__with__grid": 14}, "conditions.occlusion"),
        ({"conditions__4__ladder__eps": ["8/255", "16/255"]}, "conditions.PGD-20"),
        ({"data__split": "train"}, "data.base"),
        ({"score__formula": "ladder.worst"}, "score"),
        ({"metrics": ["accuracy.top1"]}, "metrics"),
        ({"seed": 1}, "seed"),
        ({"view": {"size": 28}}, "view"),
        ({"store": "logits"}, "store"),
        ({"lot": 32}, "lot"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_suite_that_changes_needs_a_new_version(change, part):
    old = STORED["suite quickstart"]
    said = fault("suite quickstart", old, suite_with(**change))
    assert said == (
        f"suite quickstart changed ({part}) without a version bump: raise `version` (it is 1), then run "
        "`python -m tests.golden.lock`"
    )
    raised = suite_with(**change, version=2)
    assert "version 2, the lock is of 1: run" in fault("suite quickstart", old, raised)
    assert fault("suite quickstart", raised, raised) == ""


def test_a_condition_more_is_a_change_and_a_title_is_none():
    text = (SUITES / "quickstart.yaml").read_text()
    more = text.replace(
        "metrics:", "  - {use: occlusion.random, name: more, with: {fraction: 0.2}}\nmetrics:"
    )
    old = STORED["suite quickstart"]
    assert "changed (conditions.more)" in fault(
        "suite quickstart", old, suite_entry(parse_suite(more, "q.yaml"))
    )
    other = text.replace("title: Handwritten", "title: Other handwritten")
    assert other != text
    assert fault("suite quickstart", old, suite_entry(parse_suite(other, "q.yaml"))) == ""


def test_the_version_of_a_plugin_is_the_plugins_own_business():
    suite = load_suite("quickstart")
    newer = tuple(replace(c, steps=tuple(replace(s, version=9) for s in c.steps)) for c in suite.conditions)
    newer = replace(suite, conditions=newer)
    assert newer.digest != suite.digest
    assert suite_entry(newer) == suite_entry(suite)


def test_a_version_is_in_the_digest_once_it_is_not_the_first():
    suite = load_suite("quickstart")
    assert suite.version == 1
    assert load_suite("quickstart", {"version": 1}).digest == suite.digest
    assert load_suite("quickstart", {"version": 2}).digest != suite.digest


PLUGIN = "metric calibration.ece"


def entry_of(cls=None, version=1):
    plugin = metrics.get("calibration.ece")
    return plugin_entry(replace(plugin, cls=cls or plugin.cls, version=version))


def test_a_number_that_changes_needs_a_new_version(monkeypatch):
    resampled = ECE.resampled
    monkeypatch.setattr(
        ECE, "resampled", lambda self, rows, weights: resampled(self, rows, weights) * 1.000001
    )
    said = fault(PLUGIN, STORED[PLUGIN], entry_of())
    assert said.startswith(
        'metric calibration.ece changed (numbers {"bins": 7}, numbers {}) without a version bump'
    )
    assert "run `python -m tests.golden.lock`" in fault(PLUGIN, STORED[PLUGIN], entry_of(version=2))
    monkeypatch.setattr(
        ECE, "resampled", lambda self, rows, weights: resampled(self, rows, weights) * (1 + 1e-12)
    )
    assert fault(PLUGIN, STORED[PLUGIN], entry_of()) == "", "as another machine's sums may differ"


def test_a_default_that_changes_needs_a_new_version():
    @dataclass(frozen=True)
    class Other(ECE):
        bins: int = 10

    said = fault(PLUGIN, STORED[PLUGIN], entry_of(Other))
    assert "changed (default.bins, numbers {}) without a version bump: raise `version` (it is 1)" in said


def test_a_parameter_more_or_wider_is_written_anew_without_a_version():
    @dataclass(frozen=True)
    class Wider(ECE):
        bins: int = 15  # any

    @dataclass(frozen=True)
    class More(ECE):
        more: bool = False

    for cls in (Wider, More):
        said = fault(PLUGIN, STORED[PLUGIN], entry_of(cls))
        assert "the form of its parameters changed, no number did: run `python -m tests.golden.lock`" in said


def test_a_version_does_not_go_down():
    old = {**STORED[PLUGIN], "version": 3}
    assert "`version` went down, from 3 to 1" in fault(PLUGIN, old, STORED[PLUGIN])


def test_what_is_new_or_gone_is_named():
    assert (
        fault("metric x", None, STORED[PLUGIN])
        == "metric x is not locked yet: run `python -m tests.golden.lock`"
    )
    assert "no longer there" in fault("metric x", STORED[PLUGIN], None)


def test_the_writer_refuses_until_the_version_went_up(now, tmp_path):
    path = tmp_path / "lock.json"
    assert write(path, now) == []
    assert faults(read(path), now) == []
    before = path.read_bytes()
    changed = copy.deepcopy(now)
    changed["suite quickstart"] = suite_with(lot=32)
    changed["metric new"] = changed.pop("metric shape.bias")
    (refused,) = write(path, changed)
    assert refused.startswith("suite quickstart changed (lot) without a version bump")
    assert path.read_bytes() == before
    changed["suite quickstart"] = suite_with(lot=32, version=2)
    assert write(path, changed) == []
    assert faults(read(path), changed) == []
    assert "metric shape.bias" not in read(path)


def test_a_lock_that_holds_is_written_as_it_is(now, tmp_path):
    path = tmp_path / "lock.json"
    path.write_bytes(FILE.read_bytes())
    assert write(path, now) == []
    assert path.read_bytes() == FILE.read_bytes()


@pytest.mark.slow
def test_the_command_leaves_a_lock_that_holds_as_it_is():
    before = FILE.read_bytes()
    ran = subprocess.run(
        [sys.executable, "-m", "tests.golden.lock"], cwd=Path(__file__).parents[2], check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert FILE.read_bytes() == before
