"""Scoring stored predictions again: five models, ImageNet-C's 75 conditions and clean, 50,000 images each.

The rows are made up and written as a run writes them, item by item, and compacted as a run does at its end:
19 million rows. Then, each in a process of its own, that is told nothing but the folder:

- a new metric on all cells, with its intervals,
- mCE of the five models and its interval from 1,000 resamples,
- the command `robobench leaderboard` with both, to the written page,
- for comparison: pyarrow reading the same columns from the same files and nothing else.

Times are of the whole process, start-up included; memory is its largest resident set. None of them may
import torch. `--images 2000` makes a small store, for a quick look: its times are mostly start-up.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from robobench.engine.record import DataRecord, ModelRecord, RunRecord, to_json
from robobench.formulas.corruption import ALEXNET, SEVERITIES
from robobench.store import Store
from robobench.suite.suite import ScoreSpec
from robobench.tasks.classification import Classification
from robobench.types import Cell, Condition, ModelId, WorkItem

MODELS = 5
CLASSES = 1000
PARTS = 20  # items of a model
SECONDS, GIBIBYTES, BOOTSTRAP_SECONDS, READING = 10.0, 2.0, 30.0, 10.0  # the goals; the last is a ratio

HEAD = """
import sys
from pathlib import Path
from robobench.leaderboard.build import build
from robobench.leaderboard.collect import collect, newest_run
from robobench.store import Store

store = Store.open(Path(sys.argv[1]))
record = newest_run(store, "%s")
board = collect(record, store)
assert len(board.models) == %d and len(board.conditions) == 76
"""
BUILD = """
made = build(board)
images = len(record.data[0].order)
assert all(e.score.n == images for e in made.entries)
assert all(e.rank and e.score.low < e.score.value < e.score.high for e in made.entries)
"""
TAIL = "\nassert 'torch' not in sys.modules\n"
METRIC = """
from robobench.leaderboard.score import Resampling, Sorter, build_metrics, score_cells
sort, (name,) = Sorter(), record.metrics
cells = [sort(rows) for model in board.models for rows in model.rows.values()]
scores = score_cells(name, build_metrics([name])[name], cells, Resampling())
assert len(scores) == 380 and all(s.low < s.value < s.high for s in scores)
"""
READ = """
import sys
import pyarrow.parquet as pq
from pathlib import Path
for path in sorted((Path(sys.argv[1]) / "rows").glob("*.parquet")):
    file = pq.ParquetFile(path)
    columns = ["cell", "image_id", "hit", "top1", "logp_label", "sum_p2"]
    for group in range(file.num_row_groups):
        file.read_row_group(group, columns=columns)
"""


@dataclass(frozen=True)
class Used:
    """What a process took."""

    seconds: float
    gibibytes: float


def conditions() -> tuple[Condition, ...]:
    stored = [(c, s) for c in ALEXNET for s in SEVERITIES]
    return (
        Condition("clean", "clean", "base"),
        *(
            Condition(f"{c} severity={s}", c, f"{c} severity={s}", along="severity", level=s)
            for c, s in stored
        ),
    )


def write_store(root: Path, images: int) -> Store:
    """The folder of a finished run, and its record under three suites that score it differently."""
    rng = np.random.Generator(np.random.PCG64(0))
    store = Store.open(root, create=True)
    labels = np.arange(images) % CLASSES
    ids = [f"n{14_000_00 + c:08d}/ILSVRC2012_val_{i:08d}.JPEG" for i, c in enumerate(labels)]
    shown, hard = rng.permutation(images), rng.normal(size=images).astype(np.float32)
    cells = conditions()
    models = []
    with store.writing():
        for m in range(MODELS):
            who = ModelId(f"model {m}", f"fake:{m}", f"{m:020x}", "cnn")
            mine = {c.name: Cell(f"{m:02x}{i:018x}", who, c) for i, c in enumerate(cells)}
            columns = [answers(rng, labels, 1.8 + 0.05 * m - 0.3 * (c.level or 0) - hard) for c in cells]
            for some in np.array_split(shown, PARTS):
                write_item(store, who, mine, ids, some, columns)
            keys = {name: cell.key for name, cell in mine.items()}
            models.append(ModelRecord(who.name, who.digest, "cnn", None, None, keys))
        store.compact()
    for record in records(tuple(ids[i] for i in shown), tuple(models)):
        store.put_run(record.fingerprint, to_json(record))
    return store


def records(order: tuple[str, ...], models: tuple[ModelRecord, ...]) -> Iterator[RunRecord]:
    base = RunRecord(
        "f" * 20, "both", "Made up", "", None, "d" * 20, 0, 32, ("accuracy.top1", "calibration.brier"),
        ScoreSpec("mCE", "corruption.mce", "ladders", "accuracy.top1"), conditions(),
        tuple(
            DataRecord(c.data, c.data, "imagenet-1k", CLASSES, f"{i:020x}", "as stored", order, ())
            for i, c in enumerate(conditions())
        ),
        models, "robobench run",
    )  # fmt: skip
    yield base
    yield replace(base, fingerprint="1" * 20, suite="metric", metrics=("calibration.brier",))
    yield replace(base, fingerprint="2" * 20, suite="mce", metrics=("accuracy.top1",))


def answers(
    rng: np.random.Generator, labels: NDArray[np.int64], margin: NDArray[np.float32]
) -> dict[str, NDArray[Any]]:
    """Rows whose right answer wins where the margin, blurred, is above zero."""
    n = margin.size
    logit = margin + rng.normal(size=n, scale=0.5).astype(np.float32)
    hit = np.where(logit > 0, 0, 1 + np.minimum(rng.exponential(4 * np.abs(logit)), CLASSES - 2))
    best = np.float32(1) / (1 + np.exp(-np.abs(logit)))
    own = np.where(hit == 0, best, (1 - best) / (1 + hit)).astype(np.float32)
    others = rng.integers(0, CLASSES, (5, n), np.int32)
    others[0] = np.where(hit == 0, labels, others[0])
    return {
        "label": labels.astype(np.int32),
        **{f"top{k + 1}": others[k] for k in range(5)},
        "hit": hit.astype(np.int32),
        "logp_top1": np.log(best),
        "logp_top2": np.log((1 - best) * np.float32(0.7)),
        "logp_label": np.log(own),
        "sum_p2": best**2 + np.float32(0.5) * (1 - best) ** 2,
    }


def write_item(
    store: Store,
    who: ModelId,
    cells: dict[str, Cell],
    ids: list[str],
    some: NDArray[np.int64],
    columns: list[dict[str, NDArray[Any]]],
) -> None:
    mine = pa.array([ids[i] for i in some])
    schema = Classification().schema()
    tables = []
    for cell, values in zip(cells.values(), columns, strict=True):
        same = {"cell": cell.key, "model": who.name, "condition": cell.condition.name}
        fixed = {k: pa.array([v] * len(some)).dictionary_encode() for k, v in same.items()}
        measured = {f.name: pa.array(values[f.name][some], f.type) for f in schema}
        tables.append(pa.table({**fixed, "image_id": mine, **measured}))
    names = tuple(mine.to_pylist())
    missing = dict.fromkeys((c.key for c in cells.values()), frozenset(names))
    item = WorkItem(who, "base", names, tuple(cells.values()), missing, len(names) * len(cells))
    model = {"name": who.name, "digest": who.digest, "weights": "w" * 20, "parameters": 1, "family": "cnn"}
    store.put(
        item,
        tables,
        {
            "model": model, "data": {"title": "made up", "revision": "r" * 20, "view": "as stored"},
            "precision": "float32", "device": "cpu", "hardware": "a CPU", "commit": None,
            "versions": {"robobench": "0.1.0"}, "time": "2025-01-01T00:00:00+00:00",
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    began, images = time.perf_counter(), request.config.getoption("--images")
    store = write_store(tmp_path_factory.mktemp("rescoring") / "results", images)
    size = sum(p.stat().st_size for p in store.row_files()) / 2**20
    rows = MODELS * len(conditions()) * images
    seconds = time.perf_counter() - began
    print(f"\n{rows:,} rows in {len(store.row_files())} files, {size:.0f} MiB, written in {seconds:.0f} s")
    return store.root


def measure(*command: str) -> Used:
    """Run a fresh Python; its own largest resident set, not that of this process."""
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return Used(time.perf_counter() - began, usage.ru_maxrss / 2**20)


@pytest.fixture
def bare(stored: Path) -> Used:
    """pyarrow reading what the metric and mCE need."""
    return min((measure("-c", READ, str(stored)) for _ in range(3)), key=lambda u: u.seconds)


def judge(benchmark: Any, report: Any, goal: float, command: tuple[str, ...], **more: Any) -> Used:
    """The median time of three rounds, and the most memory of any."""
    found: list[Used] = []
    benchmark.pedantic(lambda: found.append(measure(*command)), rounds=3)
    most = max(u.gibibytes for u in found)
    verdict = "met" if most <= GIBIBYTES else "MISSED"
    report(benchmark.stats["median"], goal, "s", peak=f"{most:.2f} GiB of {GIBIBYTES:g}: {verdict}", **more)
    return Used(benchmark.stats["median"], most)


def test_a_new_metric(benchmark, report, stored, bare):
    used = judge(
        benchmark, report, SECONDS, ("-c", HEAD % ("metric", MODELS) + METRIC + TAIL, str(stored)),
        bare_reading=f"{bare.seconds:.2f} s, {bare.gibibytes:.2f} GiB",
    )  # fmt: skip
    print(f"{used.seconds / bare.seconds:.1f} times as long as bare reading (goal {READING:g})")


def test_a_thousand_resamples_of_mce(benchmark, report, stored):
    judge(benchmark, report, BOOTSTRAP_SECONDS, ("-c", HEAD % ("mce", MODELS) + BUILD + TAIL, str(stored)))


def test_the_leaderboard_command(benchmark, report, stored, tmp_path):
    line = ("-m", "robobench", "leaderboard", "both", "-o", str(stored), "--to", str(tmp_path))
    judge(benchmark, report, BOOTSTRAP_SECONDS, line)
