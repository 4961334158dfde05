"""The one hot loop: a work item in, the rows of its cells out.

Passive conditions go batch by batch: an image is decoded once, then shown under every condition. Then
each attack runs over all images of the item that still stand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import LoadedModel, Model, Task
from robobench.engine.assault import run_attack
from robobench.engine.frames import Frames, annotated, batches
from robobench.engine.lots import Attacked, distance, predict
from robobench.engine.pictures import donor_pixels
from robobench.engine.rows import Columns, rows_of
from robobench.engine.sets import DataSet
from robobench.engine.steps import Applied, Memo
from robobench.errors import RobobenchError, Unsupported
from robobench.losses import margin
from robobench.lossless import Kept
from robobench.types import Cell, CellFailure, CellRows, ImageBatch, Keep, WorkItem

if TYPE_CHECKING:
    from torch import Tensor

PROBABILITIES = (
    "the outputs are probabilities, not logits: accuracy holds, but calibration and attacks are wrong; "
    "leave the softmax out of the model"
)
SUM = 1e-4  # how far the sum of probabilities may be from one

Inputs = Callable[[Cell, ImageBatch], Mapping[str, "Tensor"]]  # prepared tensors, `preparation/input`


@dataclass
class Bench:
    """What a sweep works with: one model, one data set, a device."""

    model: LoadedModel
    data: DataSet
    frames: Frames
    task: Task
    seed: int
    lot: int
    device: str
    batch_size: int
    inputs: Inputs = lambda cell, batch: {}
    keep: Keep | None = None  # the pixels of which attacked images go with the rows
    read: Model = field(init=False)

    def __post_init__(self) -> None:
        self.read = self.model.reading(self.data.space)


def sweep(item: WorkItem, bench: Bench) -> Iterator[CellRows | CellFailure]:
    """Rows for what the item's cells lack. Raises nothing but what stops everything (Ctrl-C)."""
    bench.model.check_frozen()
    found: dict[str, list[Columns]] = defaultdict(list)
    failed: dict[str, CellFailure] = {}
    images: dict[str, Kept] = {}
    passive = [c for c in item.cells if c.condition.attack is None]
    attacks = [c for c in item.cells if c.condition.attack is not None]
    if passive:
        _passive(item, passive, bench, found, failed)
    if attacks:
        _attacks(item, attacks, bench, found, failed, images)
    bench.model.check_frozen()
    for cell in item.cells:
        if cell.key in failed:
            if cell.key in item.missing:  # else it was only needed for a larger level, which says so
                yield failed[cell.key]
        elif cell.key in item.missing and found[cell.key]:
            table = rows_of(cell, found[cell.key], item.missing[cell.key])
            yield CellRows(cell, table, images.get(cell.key))


def _passive(
    item: WorkItem,
    cells: Sequence[Cell],
    bench: Bench,
    found: dict[str, list[Columns]],
    failed: dict[str, CellFailure],
) -> None:
    import torch

    applied = {c.key: Applied(c.condition, bench.seed) for c in cells}
    models = {}
    for cell in cells:
        with _recorded(cell, item, failed):
            models[cell.key] = applied[cell.key].changed(bench.read, bench.device)
    for bare in batches(bench.frames, item.ids, bench.data.labels, bench.batch_size, bench.device):
        batch = annotated(bare, bench.data)
        memo: Memo = {}
        for cell in cells:
            wanted = [r for r, i in enumerate(batch.ids) if i in item.missing.get(cell.key, ())]
            if cell.key in failed or not wanted:
                continue
            part = batch if len(wanted) == len(batch) else batch.select(wanted)
            with _recorded(cell, item, failed), torch.inference_mode():
                answer = partial(_answer, applied[cell.key], models[cell.key], cell, bench=bench, memo=memo)
                found[cell.key] += _halving(answer, part)


def _halving(work: Callable[[ImageBatch], Columns], batch: ImageBatch) -> list[Columns]:
    """Do the work on a batch; out of memory, on its halves, down to single images."""
    try:
        return [work(batch)]
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error) or len(batch) == 1:
            raise
        _free_memory()
    half = len(batch) // 2
    parts = (batch.select(range(half)), batch.select(range(half, len(batch))))
    return [columns for part in parts for columns in _halving(work, part)]


def _answer(work: Applied, model: Model, cell: Cell, batch: ImageBatch, bench: Bench, memo: Memo) -> Columns:
    """One batch under one condition, as columns. Of several draws the smallest margin is kept."""
    import torch

    inputs = _inputs(work, cell, batch, bench)
    shown = work.perturb(batch, inputs, memo=memo)
    logits = model(shown)
    for number in range(1, cell.condition.worst_of):
        other = work.perturb(batch, inputs, number, memo)
        answers = work.changed(bench.read, bench.device, number)(other)
        worse = _lead(answers, batch.labels) > _lead(logits, batch.labels)
        logits = torch.where(worse[:, None], answers, logits)
        facts = {k: torch.where(worse, other.facts[k], v) for k, v in shown.facts.items()}
        shown = replace(shown, inputs={}, facts=facts)
    return _columns(bench.task, shown, logits)


def _lead(logits: Tensor, labels: Tensor) -> Tensor:
    """By how much the best wrong class leads; where an answer is not finite, by more than any other."""
    import torch

    return torch.where(torch.isfinite(logits).all(dim=1), margin(logits, labels), torch.inf)


def _inputs(work: Applied, cell: Cell, batch: ImageBatch, bench: Bench) -> Mapping[str, Tensor]:
    given = dict(bench.inputs(cell, batch))
    if work.wants_donor:
        given["donor"] = donor_pixels(work, batch, bench.data, bench.frames)
    return given


def _attacks(
    item: WorkItem,
    cells: Sequence[Cell],
    bench: Bench,
    found: dict[str, list[Columns]],
    failed: dict[str, CellFailure],
    images: dict[str, Kept],
) -> None:
    """Attack ladders, smallest budget first; who fell there has fallen at every larger one."""
    import torch

    parts = list(batches(bench.frames, item.ids, bench.data.labels, bench.batch_size, bench.device))
    if not parts:
        return
    bare = ImageBatch(
        torch.cat([p.pixels for p in parts]),
        tuple(i for p in parts for i in p.ids),
        torch.cat([p.labels for p in parts]),
    )
    whole = annotated(bare, bench.data)
    fallen: dict[str, _Fallen] = {}
    for cell in sorted(cells, key=lambda c: len(c.lower)):
        wanted = frozenset().union(*(item.missing.get(c.key, frozenset()) for c in cells if _needs(c, cell)))
        with _recorded(cell, item, failed):
            lower = fallen.get(cell.lower[-1]) if cell.lower else None
            if cell.lower and lower is None:
                smaller = failed[cell.lower[-1]]
                if smaller.unsupported:  # then so is this one, for the same reason
                    raise Unsupported(smaller.reason)
                raise RobobenchError(
                    f"the smaller level {cell.condition.lower[-1]!r} failed: {smaller.reason}"
                )
            fallen[cell.key] = _attack(cell, whole, bench, lower, wanted)
            found[cell.key].append(fallen[cell.key].columns)
            kept = _kept(cell, item, fallen[cell.key], bench.keep)
            images |= {cell.key: kept} if kept else {}


def _needs(cell: Cell, other: Cell) -> bool:
    """Whether a cell cannot do without the other: it is the same, or inherits its failures."""
    return cell.key == other.key or other.key in cell.lower


@dataclass(frozen=True)
class _Fallen:
    """An attack level's outcome: what the next level starts from."""

    logits: Tensor
    down: NDArray[np.bool_]
    columns: Columns
    pixels: Tensor | None = None  # of every image, where pixels are kept
    source: tuple[str, ...] = ()  # the cell that each image's pixels are of; "" where nothing attacked it


def _kept(cell: Cell, item: WorkItem, level: _Fallen, keep: Keep | None) -> Kept | None:
    """The pixels that go with a cell's rows; those of a smaller level stay with its rows, if it has any."""
    if level.pixels is None or cell.key not in item.missing:
        return None
    ids = level.columns["image_id"]
    rows = [
        r
        for r, source in enumerate(level.source)
        if source and ids[r] in item.missing[cell.key] and (level.down[r] or keep == "all")
        if source == cell.key or ids[r] not in item.missing.get(source, ())
    ]
    if not rows:
        return None
    pixels = level.pixels[rows].cpu().numpy()
    return Kept.of([str(ids[r]) for r in rows], level.down[rows].tolist(), pixels)


def _attack(
    cell: Cell, whole: ImageBatch, bench: Bench, lower: _Fallen | None, wanted: frozenset[str]
) -> _Fallen:
    """One level, on those of the wanted images that stand; the rows of others are not complete."""
    import torch

    work = Applied(cell.condition, bench.seed)
    model = work.changed(bench.read, bench.device)
    inputs = _inputs(work, cell, whole, bench)
    with torch.no_grad():
        given = work.perturb(whole, inputs)
    everyone = range(len(given))
    clean = predict(model, given, everyone, bench.lot)
    wrong = bench.task.fallen(clean, given.labels).cpu().numpy()
    down = wrong if lower is None else wrong | lower.down
    standing = [r for r in everyone if not down[r] and given.ids[r] in wanted]
    logits = (clean if lower is None else lower.logits).clone()
    pixels, source = None, [""] * len(given)
    if bench.keep is not None and not cell.condition.check:
        # one tensor for the whole ladder: what fell earlier stays as it is
        pixels = given.pixels.clone() if lower is None else lower.pixels
        source = source if lower is None else list(lower.source)
    columns = _blank(len(given)) if lower is None else {k: lower.columns[k].copy() for k in _ATTACK}
    if standing:
        draws = work.attack_draws(given)
        result = run_attack(work.attack, model, given, clean, standing, draws, bench.lot, bench.task)
        _fill(columns, standing, given, result, model, bench, logits)
        if pixels is not None:
            pixels[standing] = result.pixels.clamp(0.0, 1.0)
            for r in standing:
                source[r] = cell.key
    now = bench.task.fallen(logits, given.labels).cpu().numpy()
    columns["fooled"][:] = now & ~wrong
    columns["inherited"][:] = down & ~wrong
    columns["probabilities"][:] = are_probabilities(clean).cpu().numpy()
    columns["unlike"][standing] &= ~now[standing]
    columns = _columns(bench.task, given, logits) | columns
    return _Fallen(logits, now, columns, pixels, tuple(source))


_ATTACK = (
    "linf", "l2", "fooled", "fooled_8bit", "queries", "grad_zero", "loss_gain",
    "stage", "blind", "inherited", "unlike", "probabilities",
)  # fmt: skip


def _blank(n: int) -> Columns:
    """The attack's columns for images that were wrong before it began: one query, nothing moved.

    Of these, `stage` is the attack of an ensemble that an image fell to (-1: to none), `blind` says that it
    fell to one without gradients after those with gradients had failed, `inherited` that it fell at a
    smaller level, `unlike` that the attack saw it fall and the answer to the same pixels asked
    for again is right, `probabilities` that the clean answer is never negative and sums to one.
    """
    return {
        "stage": np.full(n, -1, np.int32),
        "blind": np.zeros(n, bool),
        "inherited": np.zeros(n, bool),
        "unlike": np.zeros(n, bool),
        "probabilities": np.zeros(n, bool),
        "linf": np.zeros(n, np.float32),
        "l2": np.zeros(n, np.float32),
        "fooled": np.zeros(n, bool),
        "fooled_8bit": np.zeros(n, bool),
        "queries": np.ones(n, np.int32),
        "grad_zero": np.full(n, np.nan, np.float32),
        "loss_gain": np.full(n, np.nan, np.float32),
    }


def _fill(
    columns: Columns,
    rows: list[int],
    given: ImageBatch,
    result: Attacked,
    model: Model,
    bench: Bench,
    logits: Tensor,
) -> None:
    """Re-predict what the attack made, as it is and rounded to 8 bits, and note what it took."""
    import torch

    attacked = given.select(rows)
    pixels = result.pixels.clamp(0.0, 1.0)
    again = predict(model, attacked.with_pixels(pixels), range(len(rows)), bench.lot)
    logits[torch.as_tensor(rows, device=logits.device)] = again
    rounded = attacked.with_pixels((pixels * 255.0).round() / 255.0)
    coarse = predict(model, rounded, range(len(rows)), bench.lot)
    columns["linf"][rows] = distance(attacked.pixels, pixels, "linf").cpu().numpy()
    columns["l2"][rows] = distance(attacked.pixels, pixels, "l2").cpu().numpy()
    columns["fooled_8bit"][rows] = bench.task.fallen(coarse, attacked.labels).cpu().numpy()
    columns["queries"][rows] = 1 + result.queries.numpy().astype(np.int32)
    columns["grad_zero"][rows] = result.grad_zero.numpy()
    columns["loss_gain"][rows] = result.loss_gain.numpy()
    columns["stage"][rows] = result.stage.numpy()
    columns["blind"][rows] = result.blind.numpy()
    columns["unlike"][rows] = result.fell.numpy()


def _columns(task: Task, batch: ImageBatch, logits: Tensor) -> Columns:
    facts = {f"x_{k}": v.detach().float().cpu().numpy() for k, v in batch.facts.items()}
    record = task.record(logits, batch.labels, batch.accepted)
    return {"image_id": np.array(batch.ids, object), **record, **facts}


@contextmanager
def _recorded(cell: Cell, item: WorkItem, failed: dict[str, CellFailure]) -> Iterator[None]:
    """Turn what goes wrong with a cell into its failure record; Ctrl-C passes through."""
    try:
        yield
    except Exception as error:
        failed[cell.key] = failure(cell, tuple(sorted(item.missing.get(cell.key, ()))), error)


def are_probabilities(logits: Tensor) -> Tensor:
    """(b,) bool: never negative and summing to one, as from a softmax at the end of the model."""
    return (logits >= 0).all(dim=1) & ((logits.sum(dim=1) - 1).abs() <= SUM)


def failure(cell: Cell, ids: tuple[str, ...], error: Exception) -> CellFailure:
    """A failure record: the message of a known mistake, the kind and message of any other."""
    hint = ""
    if _out_of_memory(error):
        reason = "out of memory with a single image"
        hint = "use a smaller model, a smaller view, or --device cpu"
        _free_memory()
    elif isinstance(error, RobobenchError):
        reason = str(error)
    else:
        reason = f"{type(error).__name__}: {error}"
    cannot = isinstance(error, Unsupported)
    return CellFailure(cell.key, cell.model.name, cell.condition.name, ids, reason, hint, cannot)


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and ("out of memory" in str(error).lower() or "can't allocate memory" in str(error).lower())
    )


def _free_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
