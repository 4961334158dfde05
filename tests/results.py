"""A results folder made by hand: two models, three conditions, twenty images, no torch.

Import as `from tests.results import make_results`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from robobench.engine.record import DataRecord, ModelRecord, RunRecord, to_json
from robobench.store import Store
from robobench.suite.suite import ScoreSpec
from robobench.types import Cell, Condition, ModelId, Step, WorkItem
from tests.boards import rows_of

IMAGES = tuple(f"test/{i:05d}" for i in range(20))
RIGHT = {"good": {"clean": 20, "occlusion fraction=0.5": 15, "occlusion fraction=0.9": 8},
         "bad": {"clean": 18, "occlusion fraction=0.5": 6, "occlusion fraction=0.9": 1}}  # fmt: skip
CONDITIONS = (
    Condition("clean", "clean", "base"),
    *(
        Condition(
            f"occlusion fraction={level}", "occlusion", "base",
            (Step("perturbation", "occlusion.random", 1, {"fraction": level, "grid": 7}),),
            along="fraction", level=level,
        )
        for level in (0.5, 0.9)
    ),
)  # fmt: skip


def make_results(root: Path) -> Store:
    """Write rows, their provenance and the record of the run."""
    store = Store.open(root, create=True)
    models = tuple(_put(store, name) for name in RIGHT)
    record = RunRecord(
        fingerprint="f" * 20,
        suite="handmade",
        title="Made by hand",
        description="",
        citation=None,
        suite_digest="d" * 20,
        seed=0,
        lot=32,
        metrics=("accuracy.top1",),
        score=ScoreSpec("robustness", "mean", "ladders", "accuracy.top1"),
        conditions=CONDITIONS,
        data=(DataRecord("base", "digits:mnist", "digits", 10, "r" * 20, "as stored", IMAGES, ()),),
        models=models,
        command="robobench run handmade",
    )
    store.put_run(record.fingerprint, to_json(record))
    return store


def _put(store: Store, name: str) -> ModelRecord:
    who = ModelId(name, f"fake:{name}", f"digest-of-{name}", "cnn")
    cells = {c.name: Cell(f"{name}-{i}".ljust(20, "0"), who, c) for i, c in enumerate(CONDITIONS)}
    tables = [_table(cell, RIGHT[name][condition]) for condition, cell in cells.items()]
    missing = {cell.key: frozenset(IMAGES) for cell in cells.values()}
    item = WorkItem(who, "base", IMAGES, tuple(cells.values()), missing, cost=60)
    with store.writing():
        store.put(item, tables, _provenance(who))
    return ModelRecord(name, who.digest, who.family, None, None, {n: c.key for n, c in cells.items()})


def _table(cell: Cell, right: int) -> pa.Table:
    hits = np.where(np.arange(len(IMAGES)) < right, 0, 1)
    same = {"cell": cell.key, "model": cell.model.name, "condition": cell.condition.name}
    columns = {k: pa.array([v] * len(IMAGES)).dictionary_encode() for k, v in same.items()}
    return pa.table({**columns, **{k: pa.array(v) for k, v in rows_of(hits, IMAGES).items()}})


def _provenance(who: ModelId) -> dict[str, object]:
    return {
        "suite": "handmade",
        "suite_digest": "d" * 20,
        "model": {"name": who.name, "digest": who.digest, "family": "cnn", "parameters": 1000,
                  "weights": "w" * 20, "input_size": 28},
        "data": {"title": "digits:mnist", "revision": "r" * 20, "view": "as stored"},
        "seed": 0,
        "precision": "float32",
        "device": "cpu",
        "hardware": "a CPU",
        "versions": {"robobench": "0.1.0"},
        "commit": None,
        "platform": "linux",
        "time": "2025-01-01T00:00:00+00:00",
    }  # fmt: skip
