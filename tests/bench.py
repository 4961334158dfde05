"""A small engine run for tests: fake models on real digits, rows back as a data frame."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from robobench.contracts import LoadedModel
from robobench.engine.local import Local, Outcome
from robobench.engine.plan import Plan, plan
from robobench.engine.resolve import Resolved, ResolvedModel, cells, resolve
from robobench.store import Store
from robobench.suite.load import parse_suite
from robobench.tasks.classification import Classification
from robobench.types import ModelId

HEAD = "schema: 1\nname: t\ntitle: T\ndata: {source: digits, path: mnist}\n"
PASSIVE = """conditions:
  - {use: occlusion.random, name: occlusion, with: {grid: 7}, ladder: {fraction: [0.3, 0.7]}}
  - {use: shuffle.grid, name: shuffle, ladder: {grid: [2x2, 4x4]}}
  - {shift: {source: digits, path: uci}, name: uci}
  - {compose: [{use: shuffle.grid, with: {grid: 2x2}}, {use: occlusion.random, with: {fraction: 0.5, grid: 7}}], worst_of: 3, name: both}
"""
ATTACKS = """conditions:
  - {use: gradient.fgsm, name: fgsm, ladder: {eps: [2/255, 8/255]}}
  - {use: gradient.pgd, name: pgd, with: {steps: 4, restarts: 2}, ladder: {eps: [8/255, 2/255, 32/255]}}
  - {compose: [{use: occlusion.random, with: {fraction: 0.3, grid: 7}}, {use: gradient.fgsm, with: {eps: 4/255}}], name: under}
  - {use: torchattacks.any, name: mifgsm, with: {attack: MIFGSM, params: {steps: 3}}, ladder: {eps: [4/255]}}
"""


def resolved(text: str, model: LoadedModel, *, limit: int | None = 40, name: str = "fake") -> Resolved:
    """A suite's text with a fake model, on the digits."""
    who = ModelId(name, f"fake:{name}", f"digest-{name}")
    return resolve(parse_suite(HEAD + text, "t.yaml"), [ResolvedModel(who, lambda _: model)], limit=limit)


def left(found: Resolved, store: Store) -> Plan:
    """What the store lacks."""
    return plan(found, store.have(c.key for c in cells(found)))


def carry_out(found: Resolved, root: Path, batch_size: int = 16, **options: object) -> Outcome:
    """Plan and compute into a results folder."""
    store = Store.open(root, create=True)
    with store.writing():
        local = Local(found, store, Classification(), "cpu", batch_size=batch_size, cache=None, **options)
        return local.run(left(found, store))


def rows(found: Resolved, root: Path) -> pd.DataFrame:
    """Every row of the suite's cells, in a fixed order."""
    tables = Store.open(root).rows([c.key for c in cells(found)])
    frame = pd.concat([t.to_pandas() for t in tables.values()], ignore_index=True)
    for column in ("cell", "model", "condition"):
        frame[column] = frame[column].astype(str)
    return frame.sort_values(["condition", "image_id"], ignore_index=True)


def same_rows(one: pd.DataFrame, two: pd.DataFrame) -> None:
    """Equal answers and facts; log-probabilities within 1e-5."""
    pd.testing.assert_frame_equal(one, two, check_exact=False, atol=1e-5, rtol=0, check_like=True)
