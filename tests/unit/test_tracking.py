"""Trackers by their own clients: what they are told reads back, hostile names and all, and failing loses nothing."""

from __future__ import annotations

import json
import os
import string
import struct
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

import pytest

import robobench.tracking.track as tracking
from robobench.errors import MissingExtra, RobobenchError
from robobench.leaderboard.build import build
from robobench.tracking.mlflow import MLflow
from robobench.tracking.tensorboard import TensorBoard
from robobench.tracking.told import told
from robobench.tracking.track import track, tracker_of
from robobench.tracking.wandb import WandB
from tests.boards import HOSTILE, condition, exact, with_troubles

HITS = {"clean": [0] * 8, "o f=1": [0] * 6 + [1] * 2, "o f=2": [0] * 2 + [1] * 6}
CONDITIONS = (condition("clean"), *(condition(f"o f={n}", "o", along="f", level=n) for n in (1, 2)))
BAD = ["../../../tmp/x", "a=1", "a_1", "..", "a\x00b\x1b[31m\ud800", "%s{}$(id)`", "é" * 300, HOSTILE]


def small(name="m"):
    return build(exact({name: HITS, "other": HITS}, CONDITIONS))


def hostile():
    """Every model, ladder and condition has a bad name."""
    conditions = (CONDITIONS[0], *(condition(f"{b} {n}", b, along=b, level=n) for b in BAD for n in (1, 2)))
    hits = {c.name: [0, 0, 1, 1] for c in conditions}
    board = exact({b: hits for b in BAD[:-1]}, conditions, name="../s%\n", title="<b>")
    return build(with_troubles(board))


@dataclass
class Kept:
    models: list = field(default_factory=list)

    def keep(self, model, files):
        self.models.append((model, {p.name: p.read_text() for p in files}))


def test_a_tracker_is_told_of_parameters_numbers_along_ladders_and_doubts():
    kept = Kept()
    assert track(small(), [kept], {"m"}) == ()
    ((model, files),) = kept.models
    assert (model.suite, model.model, model.place) == ("fake", "m", "m")
    assert (model.params["fingerprint"], model.params["seed"]) == ("f" * 20, "0")
    assert model.params["data.base"] == "folder:base, 10 images"
    numbers = {(n.name, n.step): n.value for n in model.numbers}
    assert numbers["accuracy.top1/o", 0] == 0.75
    assert numbers["accuracy.top1/o", 1] == 0.25
    assert numbers["accuracy.top1/clean", 0] == 1.0
    assert numbers["score/robustness", 0] == 0.5
    assert numbers["score/robustness.low", 0] < 0.5 < numbers["score/robustness.high", 0]
    assert json.loads(files["leaderboard.json"])["entries"][0]["name"] == "m"
    assert files["index.html"].startswith("<!")


def test_undefined_numbers_are_left_out_and_doubts_are_counted():
    board = hostile()
    whole = [told(board, e) for e in board.entries]
    for model, entry in zip(whole, board.entries, strict=True):
        (count,) = (n.value for n in model.numbers if n.name == "doubts")
        assert count == len(model.doubts) == len(entry.flags) + sum(not h.ok for h in entry.health)
        assert all(n.value == n.value for n in model.numbers)
    assert any(m.doubts for m in whole)


def test_names_are_safe_and_stay_apart():
    board = hostile()
    allowed = set(string.ascii_letters + string.digits + "_. -/")
    for model in (told(board, e) for e in board.entries):
        names = [n.name for n in model.numbers]
        assert set("".join(names)) <= allowed
        assert all(part.strip(".") and len(part) <= 100 for n in names for part in n.split("/"))
        assert len({(n.name.casefold(), n.step) for n in model.numbers}) == len(names)
        texts = (model.suite, model.model, *model.params, *model.params.values(), *model.doubts)
        assert all(t.isprintable() or "\ufffd" in t for t in texts)
        assert all(len(t) <= 500 for t in texts)
        "".join(texts).encode()
    places = [told(board, e).place for e in board.entries]
    assert len({p.casefold() for p in places}) == len(board.entries)


def test_specs_are_read_before_anything_is_computed(monkeypatch):
    with pytest.raises(RobobenchError, match=r"--track mlfow: no such tracker; did you mean 'mlflow'"):
        tracker_of("mlfow")
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"needs the package 'wandb'.*robobench\[wandb\]"):
        tracker_of("wandb:mine")
    monkeypatch.setattr(tracking, "find_spec", lambda _: object())
    assert tracker_of("mlflow:http://host:5000") == MLflow("http://host:5000")
    assert tracker_of("tensorboard") == TensorBoard()


def test_a_tracker_that_fails_is_a_sentence_and_the_others_are_told():
    class Down:
        def keep(self, model, files):
            raise ConnectionError("no route to host\nsecond line")

    kept = Kept()
    assert track(small(), [Down(), kept]) == (
        "Down was not told everything: ConnectionError: no route to host",
    )
    assert len(kept.models) == 2


@pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")
def test_mlflow_reads_back_what_it_was_told(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri, board = (tmp_path / "store").as_uri(), hostile()
    assert track(board, [MLflow(uri)]) == ()
    client = MlflowClient(tracking_uri=uri)
    (experiment,) = (e for e in client.search_experiments() if e.name.startswith("robobench "))
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    for model in (told(board, e) for e in board.entries):
        run = runs[model.model]
        assert run.info.status == "FINISHED"
        assert run.data.params == dict(model.params)
        last = {n.name: n.value for n in model.numbers}
        assert run.data.metrics == pytest.approx(last)
        ladder = next(n.name for n in model.numbers if n.step == 1)
        history = client.get_metric_history(run.info.run_id, ladder)
        assert [(m.step, m.value) for m in history] == [
            (n.step, pytest.approx(n.value)) for n in model.numbers if n.name == ladder
        ]
        files = {f.path for f in client.list_artifacts(run.info.run_id)}
        assert files == {"leaderboard.json", "index.html"}
    assert {p.name for p in tmp_path.iterdir()} == {"store"}


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_reads_back_what_it_was_told(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = hostile()
    assert track(board, [TensorBoard(str(tmp_path / "logs"))]) == ()
    (suite,) = (tmp_path / "logs").iterdir()
    assert len(list(suite.iterdir())) == len(board.entries)
    for model in (told(board, e) for e in board.entries):
        events = EventAccumulator(str(suite / model.place))
        events.Reload()
        assert set(events.Tags()["scalars"]) == {n.name for n in model.numbers}
        found = [(n.name, s.step, s.value) for n in model.numbers[:1] for s in events.Scalars(n.name)]
        assert found == [
            (n.name, n.step, pytest.approx(n.value)) for n in model.numbers if n.name == found[0][0]
        ]
        assert json.loads((suite / model.place / "leaderboard.json").read_text())["suite"]["name"]
    assert {p.name for p in tmp_path.iterdir()} == {"logs"}


def records(path):
    """What an offline run of W&B holds: a log in blocks of 32 KiB, as LevelDB writes them."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = path.read_bytes(), 7, []  # behind the file's own header
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        size, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        parts.append(data[at + 7 : at + 7 + size])
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(b"".join(parts))
            parts = []
            yield record


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_keeps_runs_offline(tmp_path, monkeypatch):
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true",
                        "WANDB_CONSOLE": "off", "WANDB_DISABLE_GIT": "true", "WANDB_CACHE_DIR": str(tmp_path),
                        "WANDB_DATA_DIR": str(tmp_path), "WANDB_CONFIG_DIR": str(tmp_path)}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    board = hostile()
    board = replace(board, entries=board.entries[:1])
    assert track(board, [WandB("mine")]) == ()
    (path,) = tmp_path.rglob("*.wandb")
    logged, config = {}, {}
    for record in records(path):
        for item in record.history.item:
            logged.setdefault(item.key or "/".join(item.nested_key), []).append(json.loads(item.value_json))
        for item in record.run.config.update:
            config[item.key] = json.loads(item.value_json)
    model = told(board, board.entries[0])
    assert {k: v for k, v in config.items() if k in model.params} == dict(model.params)
    for name in {n.name for n in model.numbers}:
        assert logged[name] == pytest.approx([n.value for n in model.numbers if n.name == name])


def test_nothing_of_a_tracker_is_imported_before_it_is_asked_for():
    import subprocess
    import sys

    code = "import sys, robobench.api; sys.exit(bool({'mlflow', 'wandb', 'tensorboard', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False).returncode == 0


def test_a_run_tells_its_trackers_and_keeps_its_results_when_they_fail(tmp_path):
    import robobench
    from tests.known import Known, make_images, write_suite

    class Down:
        def keep(self, model, files):
            raise ConnectionError("no route to host")

    suite, kept = write_suite(tmp_path / "s.yaml", make_images(tmp_path / "i", 2), attacked=4), Kept()
    with pytest.warns(
        RuntimeWarning, match="Down was not told everything: ConnectionError: no route to host"
    ):
        results = robobench.run(
            suite, {"m": Known(0.9)}, out=tmp_path / "r", device="cpu", trackers=[Down(), kept]
        )
    assert [m.model for m, _ in kept.models] == ["m"]
    assert results.complete
    again = robobench.run(suite, {"n": Known(0.5)}, out=tmp_path / "r", device="cpu", trackers=[kept])
    assert [m.model for m, _ in kept.models] == ["m", "n"], "models of earlier runs are not told again"
    assert len(again.leaderboard.entries) == 2


def test_a_mistyped_tracker_ends_the_command_before_anything_is_computed(tmp_path, capsys):
    from robobench.cli.main import _run

    assert _run(["run", "quickstart", "--track", "mlfow", "--out", str(tmp_path / "r")]) == 2
    assert "did you mean 'mlflow'" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
