"""Attacked images from the store: which are there, and whether the model still answers as the rows say."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robobench.engine.local import Local, repeatable
from robobench.engine.lots import distance, predict, within_budget
from robobench.engine.pictures import pictures
from robobench.engine.resolve import Resolved, cells
from robobench.engine.steps import Applied
from robobench.engine.sweep import Bench
from robobench.errors import DataError, StoreError
from robobench.store import Store
from robobench.tasks.classification import Classification
from robobench.types import Cell, ImageBatch

if TYPE_CHECKING:
    import pyarrow as pa

TIE = 1e-4  # nats: a row whose two best classes lie closer may answer either way on another machine
ROUNDING = 1e-6  # how far pixels of the same image agree across devices, a value
CHUNK = 8  # lots that are read and asked about together


@dataclass(frozen=True)
class Stock:
    """What the store has of a model under an attack.

    images: how many have rows. rows: the record of each that was attacked, by its id, in the data's order.
    where: the file that holds an image's pixels. lacking: images that fell and whose pixels are nowhere.
    faults: files that are gone or damaged. size: bytes of the files that only this cell has.
    """

    cell: Cell
    images: int
    rows: Mapping[str, Mapping[str, Any]]
    where: Mapping[str, Path]
    lacking: tuple[str, ...]
    faults: tuple[str, ...]
    size: int

    @property
    def fell(self) -> int:
        return sum(bool(row["fooled"]) for row in self.rows.values())

    def files(self) -> dict[Path, list[str]]:
        """The images by file, so that each file is read once."""
        found: dict[Path, list[str]] = defaultdict(list)
        for image, path in self.where.items():
            found[path].append(image)
        return found


@dataclass(frozen=True)
class Verdict:
    """What asking again found for one model under one attack: how many images differ, and in what.

    clean: wrong before the attack now, which the rows say it was not. answer: another first class. fooled:
    fell or stood, and now the other way. distance: another length of the change. budget: outside of it.
    ties: another class, but the row's two best were equal up to rounding: no difference. logp: the largest
    change of the label's log-probability. faults: images that could not be looked at, and why.
    """

    model: str
    condition: str
    images: int
    lacking: int
    clean: int = 0
    answer: int = 0
    fooled: int = 0
    distance: int = 0
    budget: int = 0
    ties: int = 0
    logp: float = 0.0
    faults: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Every image that is there was looked at, and is as its row says."""
        return not (self.clean or self.answer or self.fooled or self.distance or self.budget or self.faults)


def survey(resolved: Resolved, store: Store) -> list[Stock]:
    """What is there for every attack of a suite. Raises StoreError."""
    wanted = [c for c in cells(resolved) if c.condition.attack is not None and not c.condition.check]
    tables = store.rows({c.key for c in wanted})
    files = store.image_files({key for c in wanted for key in (c.key, *c.lower)})
    names = {path: _names(store, path) for paths in files.values() for path in paths}
    return [_stock(c, resolved, tables[c.key], files, names) for c in wanted if c.key in tables]


def unknown_models(resolved: Resolved, store: Store) -> list[str]:
    """Models that the store knows by name and not by their identity: they, or what they saw, have changed."""
    said = {entry["model"] for entry in store.describe().values()}
    have = store.have(c.key for c in cells(resolved))
    with_rows = {c.model.name for c in cells(resolved) if have[c.key]}
    return [m.id.name for m in resolved.models if m.id.name in said and m.id.name not in with_rows]


def _names(store: Store, path: Path) -> dict[str, bool] | str:
    try:
        return store.image_names(path)
    except StoreError as error:
        return str(error)


def _stock(
    cell: Cell,
    resolved: Resolved,
    table: pa.Table,
    files: Mapping[str, Sequence[Path]],
    names: Mapping[Path, dict[str, bool] | str],
) -> Stock:
    rows = {row["image_id"]: row for row in table.to_pylist()}
    mine = {i: rows[i] for i in resolved.ids(cell.condition) if i in rows}
    attacked = {i: row for i, row in mine.items() if row["fooled"] or row["hit"] == 0}
    where: dict[str, Path] = {}
    for key in (*cell.lower, cell.key):  # what fell at a smaller level is kept there; the nearest one counts
        for path in files[key]:
            held = names[path]
            there = {} if isinstance(held, str) else held
            for image, fell in there.items():
                if image in attacked and (key == cell.key or fell):
                    where[image] = path
    faults = tuple(text for path in files[cell.key] if isinstance(text := names[path], str))
    lacking = tuple(i for i, row in attacked.items() if row["fooled"] and i not in where)
    size = sum(path.stat().st_size for path in files[cell.key] if path.exists())
    return Stock(cell, len(mine), attacked, where, lacking, faults, size)


def check(resolved: Resolved, store: Store, stocks: Sequence[Stock], device: str) -> Iterator[Verdict]:
    """Ask the models about every kept image again, and compare with the rows.

    Raises RobobenchError for a model that cannot be loaded, or whose weights are others than the rows'.
    """
    local = Local(resolved, store, Classification(), device)
    loaded: dict[str, Any] = {}
    with repeatable():
        for stock in stocks:
            who = stock.cell.model
            if who.digest not in loaded:
                loaded = {who.digest: local.load(who)}
            yield _verdict(stock, local, loaded[who.digest])


def _verdict(stock: Stock, local: Local, model: Any) -> Verdict:
    cell, faults, seen, found = stock.cell, list(stock.faults), 0, Counter[str]()
    logp = 0.0
    for path, ids in stock.files().items():
        try:
            kept = local.store.images(path)
        except StoreError as error:
            faults.append(str(error))
            continue
        bench, _ = local.bench(
            model, cell.model, local.resolved.data[cell.condition.data], [cell], tuple(ids)
        )
        for start in range(0, len(ids), CHUNK * bench.lot):
            part = ids[start : start + CHUNK * bench.lot]
            given = given_images(cell, bench, part)
            faults += [f"{i}: the image cannot be decoded any more" for i in part if i not in given.ids]
            differences, moved = _compare(cell, bench, given, kept.pixels(given.ids), stock.rows)
            found.update(differences)
            logp, seen = max(logp, moved), seen + len(given)
    return Verdict(
        cell.model.name, cell.condition.name, seen, len(stock.lacking), logp=logp,
        faults=tuple(dict.fromkeys(faults)),
        **{k: found[k] for k in ("clean", "answer", "fooled", "distance", "budget", "ties")},
    )  # fmt: skip


def given_images(cell: Cell, bench: Bench, ids: Sequence[str]) -> ImageBatch:
    """The images that an attack was given: those of the data, perturbed where the condition does so.

    Raises DataError when none can be decoded.
    """
    import torch

    shown = pictures(
        bench.data, bench.frames, [cell.condition], ids, seed=bench.seed, device=bench.device,
        batch_size=len(ids), inputs=lambda _, batch: bench.inputs(cell, batch),
    )  # fmt: skip
    with torch.no_grad():
        given = next((after for _, _, after in shown), None)
    if given is None:
        raise DataError(f"{bench.data.title}: none of {len(ids)} attacked images can be decoded any more")
    return given


def _compare(
    cell: Cell,
    bench: Bench,
    given: ImageBatch,
    kept: NDArray[np.float32],
    rows: Mapping[str, Mapping[str, Any]],
) -> tuple[Counter[str], float]:
    """How many images differ from their rows, by kind, and how far the label's log-probability has moved."""
    import torch

    mine = [rows[i] for i in given.ids]
    if kept.shape != tuple(given.pixels.shape):
        return Counter(distance=len(mine)), 0.0
    work = Applied(cell.condition, bench.seed)
    model = work.changed(bench.read, bench.device)
    pixels = torch.from_numpy(kept).to(given.pixels.device)
    right = ~bench.task.fallen(predict(model, given, range(len(given)), bench.lot), given.labels)
    logits = predict(model, given.with_pixels(pixels), range(len(given)), bench.lot)
    fell = bench.task.fallen(logits, given.labels).cpu().numpy()
    now = bench.task.record(logits, given.labels)
    said = {k: np.array([row[k] for row in mine]) for k in ("top1", "fooled", "linf", "l2")}
    close = np.array([abs(_number(r["logp_top1"]) - _number(r["logp_top2"])) <= TIE for r in mine])
    other = now["top1"] != said["top1"]
    turned = fell != said["fooled"]
    gaps = np.abs(now["logp_label"] - np.array([_number(row["logp_label"]) for row in mine]))
    slack = {"linf": 2 * ROUNDING, "l2": ROUNDING * float(np.sqrt(kept[0].size))}
    lengths = np.zeros(len(mine), bool)
    for norm, room in slack.items():
        size = distance(given.pixels, pixels, norm).cpu().numpy()
        lengths |= np.abs(size - said[norm]) > room + ROUNDING * size
    outside = ~within_budget(work.attack, given.pixels, pixels).cpu().numpy()
    return Counter(
        clean=int((~right).sum()),
        answer=int((other & ~close).sum()),
        fooled=int((turned & ~close).sum()),
        distance=int(lengths.sum()),
        budget=int(outside.sum()),
        ties=int(((other | turned) & close).sum()),
    ), float(np.nanmax(gaps, initial=0.0))


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
