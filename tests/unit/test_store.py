"""The results folder: written whole or not at all, locked, versioned, crash-safe when compacted."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os

import pyarrow as pa
import pytest

from robobench.errors import StoreError
from robobench.store import FORMAT, Store
from robobench.types import Cell, CellFailure, Condition, ModelId, WorkItem

MODEL = ModelId("m", "zoo:m", "digest")


def cell(key: str) -> Cell:
    return Cell(key, MODEL, Condition(key, key, "base"))


def item(key: str, ids: list[str]) -> WorkItem:
    return WorkItem(MODEL, "base", tuple(ids), (cell(key),), {key: frozenset(ids)}, len(ids))


def table(key: str, ids: list[str], **more: list[float]) -> pa.Table:
    n = len(ids)
    fixed = {
        "cell": pa.array([key] * n).dictionary_encode(),
        "model": ["m"] * n,
        "condition": [key] * n,
        "image_id": ids,
    }
    return pa.table({**fixed, "label": list(range(n)), **more})


PROVENANCE = {"model": {"digest": "m", "weights": "w"}, "time": "2025-01-01T00:00:00+00:00"}


def put(store: Store, key: str, ids: list[str], **more: list[float]) -> None:
    store.put(item(key, ids), [table(key, ids, **more)], PROVENANCE)


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "results", create=True)


def test_rows_come_back_and_are_counted(store):
    with store.writing():
        put(store, "a", ["2", "1"])
        put(store, "a", ["3"], x_fact=[0.5])
        put(store, "b", ["1"])
    assert store.have(["a", "c"]) == {"a": {"1", "2", "3"}, "c": set()}
    found = store.rows(["a", "c"])
    assert found.keys() == {"a"}
    assert found["a"]["image_id"].to_pylist() == ["1", "2", "3"]
    assert found["a"]["x_fact"].to_pylist() == [None, None, 0.5]
    assert len(store.provenance()) == 3
    assert store.describe()["b"]["model"] == "m"


def test_an_image_that_is_there_twice_is_an_error(store):
    with store.writing():
        put(store, "a", ["1", "2"])
        put(store, "a", ["2", "3"])
    with pytest.raises(StoreError, match="cell a has an image twice"):
        store.rows(["a"])


def test_compaction_keeps_rows_and_survives_a_kill_before_the_old_files_are_gone(store, monkeypatch):
    with store.writing():
        for n in range(20):
            put(store, "a", [f"{n:02d}"])
    before = store.rows(["a"])["a"]
    with monkeypatch.context() as patched:
        patched.setattr(Store, "_tidy", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.compact()
    assert len(list((store.root / "rows").glob("*.parquet"))) == 21
    assert store.rows(["a"])["a"].equals(before)
    assert len(store.provenance()) == 20
    with store.writing():  # the next run tidies up
        pass
    assert len(list((store.root / "rows").glob("*.parquet"))) == 1
    assert store.rows(["a"])["a"].equals(before)
    with store.writing():
        put(store, "a", ["99"])
        store.compact()
    assert len(store.have(["a"])["a"]) == 21


def test_a_failure_is_kept_until_its_cell_has_rows(store):
    failure = CellFailure("a", "m", "a", ("1",), "broke", "mend it")
    with store.writing():
        store.put_failure(failure)
        assert store.failures(["a", "b"]) == [failure]
        put(store, "a", ["1"])
    assert store.failures(["a"]) == []


def test_images_that_cannot_be_decoded_are_remembered(store):
    store.exclude("rev", {"x": "truncated"})
    store.exclude("rev", {"y": "empty"})
    assert store.excluded("rev") == {"x": "truncated", "y": "empty"}
    assert store.excluded("other") == {}


def test_a_newer_format_is_refused_with_what_to_do(store):
    (store.root / "robobench.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(
        StoreError, match=rf"results format {FORMAT + 1}; this robobench reads {FORMAT}. Upgrade"
    ):
        Store.open(store.root)


def test_a_folder_with_other_files_is_not_written_to(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="holds other files"):
        Store.open(tmp_path, create=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_missing_folder_says_how_to_get_one(tmp_path):
    with pytest.raises(StoreError, match="no results there; `robobench run SUITE"):
        Store.open(tmp_path / "none")


def _hold(root, held, done):
    with Store.open(root).writing():
        held.set()
        done.wait(30)


def test_two_runs_do_not_write_to_the_same_folder(store):
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(store.root, held, done))
    other.start()
    try:
        assert held.wait(30)
        with (
            pytest.raises(StoreError, match=rf"another run \(process {other.pid}\) is writing to it"),
            store.writing(),
        ):
            pass
    finally:
        done.set()
        other.join()
    with store.writing():
        pass


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, r"the disk is full \(\d+ MiB free\). What was finished is safe"),
        (errno.EROFS, "cannot be written .*choose another folder with --out"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_disk_error_is_a_message_and_leaves_no_half_file(store, monkeypatch, number, message):
    with store.writing():
        put(store, "a", ["1"])

        def fail(fd):
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patched:
            patched.setattr("robobench.atomic.os.fsync", fail)
            with pytest.raises(StoreError, match=message):
                put(store, "b", ["1"])
    assert not list(store.root.rglob("*.part"))
    assert store.have(["a", "b"]) == {"a": {"1"}, "b": set()}


def test_a_really_full_disk(tmp_path):
    """/dev/full refuses every write, as a full disk does."""
    from pathlib import Path

    from robobench.atomic import disk

    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(StoreError, match="the disk is full"), disk(tmp_path / "x"):
        Path("/dev/full").write_bytes(b"x" * 10)


def test_a_damaged_row_file_is_named(store):
    with store.writing():
        put(store, "a", ["1"])
    path = next((store.root / "rows").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StoreError, match=rf"{path.name}: the row file is damaged .*delete it"):
        store.rows(["a"])


def test_half_written_files_are_never_read_and_are_removed(store):
    with store.writing():
        put(store, "a", ["1"])
    half = store.root / "rows" / ".b.parquet.1234.part"
    half.write_bytes(b"PAR1 half")
    orphan = store.root / "rows" / "c.json"
    orphan.write_text("{}")
    assert store.have(["a"]) == {"a": {"1"}}
    with store.writing():
        pass
    assert not half.exists()
    assert not orphan.exists()
