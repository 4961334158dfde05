"""Measurements in the results folder: kept, replaced, and what a file that anybody may have written can do."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from robobench.leaderboard.build import build
from robobench.leaderboard.collect import collect, newest_run
from robobench.leaderboard.render_json import from_json, to_json
from robobench.speed import Speed
from robobench.store import Store
from tests.results import make_results

SPEED = Speed(
    images_per_second=100.0, low=90.0, high=110.0, repeats=11, batch_size=32, side=28, precision="float32",
    hardware="a CPU, 2 threads", macs=1000, torch="2.15.0", time="2026-11-29T10:00:00+00:00",
)  # fmt: skip


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "results", create=True)


def test_what_is_kept_is_read_again_and_the_newest_of_a_setting_counts(store):
    other = replace(SPEED, hardware="a GPU", peak_memory=5)
    larger = replace(SPEED, batch_size=64)
    for one in (SPEED, other, larger):
        store.asides.put_speed("abc", one)
    assert store.asides.speeds("abc") == (SPEED, other, larger)
    newer = replace(SPEED, images_per_second=95.0)
    store.asides.put_speed("abc", newer)
    assert store.asides.speeds("abc") == (other, larger, newer)
    assert store.asides.speeds("def") == ()


@pytest.mark.parametrize(
    "change",
    [
        {"images_per_second": -1.0},
        {"images_per_second": None},
        {"images_per_second": 1e308, "high": 1e308},
        {"low": 0.0},
        {"low": 120.0},
        {"batch_size": 0},
        {"side": -3},
        {"macs": -5},
        {"macs": 10**30},
        {"peak_memory": -1},
        {"hardware": "x" * 5000},
        {"images_per_second": "100"},
        {"images_per_second": True},
        {"batch_size": 1.5},
        {"hardware": ["a"]},
        {"more": 1},
    ],
)
def test_what_cannot_have_been_measured_counts_as_nothing(store, change):
    store.asides.put_speed("abc", SPEED)
    path = store.root / "speed" / "abc.json"
    path.write_text(json.dumps([{**json.loads(path.read_text())[0], **change}]))
    assert store.asides.speeds("abc") == ()
    store.asides.put_speed("abc", SPEED)  # and measuring again mends it
    assert store.asides.speeds("abc") == (SPEED,)


@pytest.mark.parametrize("text", ["", "{", "{}", "null", "[1]", "[" * 100_000, "[NaN]", "\x00"])
def test_a_damaged_file_counts_as_nothing(store, text):
    (store.root / "speed").mkdir()
    (store.root / "speed" / "abc.json").write_text(text)
    assert store.asides.speeds("abc") == ()


def test_bytes_that_are_no_text_count_as_nothing(store):
    (store.root / "speed").mkdir()
    (store.root / "speed" / "abc.json").write_bytes(b"\xff\xfe[")
    assert store.asides.speeds("abc") == ()


@pytest.mark.parametrize("name", ["../secret", "/etc/secret", "..", "", "a\x00b"])
def test_a_model_whose_digest_leads_elsewhere_has_no_speed(store, name):
    store.asides.put_speed("abc", SPEED)
    (store.root / "secret.json").write_text((store.root / "speed" / "abc.json").read_text())
    assert store.asides.speeds(name) == ()


def test_a_board_of_a_results_folder_has_the_speeds_and_keeps_them_as_json(tmp_path):
    store = make_results(tmp_path / "results")
    assert all(e.speeds == () for e in build(collect(newest_run(store), store), resamples=50).entries)
    store.asides.put_speed("digest-of-good", SPEED)
    board = build(collect(newest_run(store), store), resamples=50)
    assert {e.name: e.speeds for e in board.entries} == {"good": (SPEED,), "bad": ()}
    assert from_json(to_json(board)) == board
    old = json.loads(to_json(board))
    for entry in old["entries"]:
        del entry["speeds"]
    assert all(e.speeds == () for e in from_json(json.dumps(old)).entries)
