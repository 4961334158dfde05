"""Work items carried out one after the other on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Protocol

from robobench.contracts import LoadedModel, Task
from robobench.data.digests import cache_folder
from robobench.engine.frames import Frames, batches, open_frames
from robobench.engine.lots import predict
from robobench.engine.plan import Plan
from robobench.engine.prepare import Prepared
from robobench.engine.provenance import provenance
from robobench.engine.resolve import Resolved, ResolvedModel
from robobench.engine.sets import DataSet
from robobench.engine.stopping import StopRule
from robobench.engine.sweep import PROBABILITIES, Bench, are_probabilities, failure, sweep
from robobench.errors import ModelError, RobobenchError, StoreError, Unsupported
from robobench.store import Store
from robobench.types import Cell, CellFailure, CellRows, Keep, ModelId, View, WorkItem

REPEATS = 1e-4  # how far the logits of the same images may lie apart from one pass to the next
RANDOM = (
    "its answers to the same images change from one pass to the next: rows do not repeat, and an image that "
    "falls by chance counts as fallen; if it is meant to be random, attack it with `eot` (gradient.pgd) or "
    "autoattack.rand"
)


class Progress(Protocol):
    """Told how the work goes on."""

    def begin(self, cost: int) -> None: ...

    def model(self, name: str) -> None: ...

    def advance(self, item: WorkItem, failures: int) -> None: ...

    def spare(self, item: WorkItem) -> None: ...


class Silent:
    """Progress that nobody watches."""

    def begin(self, cost: int) -> None: ...

    def model(self, name: str) -> None: ...

    def advance(self, item: WorkItem, failures: int) -> None: ...

    def spare(self, item: WorkItem) -> None: ...


@dataclass
class Outcome:
    """What a run did. Everything committed is in the store, also when it was interrupted."""

    rows: int = 0
    failures: list[CellFailure] = field(default_factory=list)
    undecodable: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)  # by model
    interrupted: bool = False

    @property
    def broken(self) -> list[CellFailure]:
        """The failures that another run might mend."""
        return [f for f in self.failures if not f.unsupported]


@dataclass
class Local:
    """The executor of one machine.

    device: `cpu`, `cuda`, `cuda:1`, `mps`. batch_size: images of a passive forward pass; no number
    depends on it. fail_fast: stop at the first failure instead of going on with the rest. keep: the pixels of
    which attacked images are stored with their rows. stopping: where it says so, the rest of a model's items
    on a data set is left.
    """

    resolved: Resolved
    store: Store
    task: Task
    device: str
    batch_size: int = 64
    fail_fast: bool = False
    keep: Keep | None = None
    stopping: StopRule | None = None
    progress: Progress = field(default_factory=Silent)
    cache: Path | None = field(default_factory=cache_folder)
    frames: dict[tuple[str, View], Frames] = field(default_factory=dict)
    looked_at: set[str] = field(default_factory=set)

    def run(self, plan: Plan) -> Outcome:
        """Carry the plan out. Ctrl-C ends it cleanly; StoreError (a full disk) ends it at once."""
        outcome = Outcome()
        self.progress.begin(plan.cost)
        try:
            with repeatable():
                for model, items in groupby(plan.items, key=lambda i: i.model):
                    self._model(model, list(items), outcome)
                    if self.fail_fast and outcome.broken:
                        break
        except KeyboardInterrupt:
            outcome.interrupted = True
        return outcome

    def _model(self, model: ModelId, items: list[WorkItem], outcome: Outcome) -> None:
        self.progress.model(model.name)
        try:
            loaded = self.load(model)
        except StoreError:
            raise
        except Exception as error:
            for item in items:
                self._fail(item, error, outcome)
            return
        for item in items:
            if self._enough(item):
                self.progress.spare(item)
                continue
            self._item(item, loaded, outcome)
            if self.fail_fast and outcome.broken:
                return

    def _enough(self, item: WorkItem) -> bool:
        """Whether the model may stop before this item's images."""
        if self.stopping is None:
            return False
        end = self.stopping.judge((item.model.digest, item.data))
        return end is not None and item.start >= end

    def load(self, model: ModelId) -> LoadedModel:
        """Load a model; its weights must be those of the rows that the store has of it."""
        known = [*self.resolved.models, *self.resolved.helpers.values()]
        return same_weights(next(m for m in known if m.id.digest == model.digest), self.store, self.device)

    def _item(self, item: WorkItem, model: LoadedModel, outcome: Outcome) -> None:
        data = self.resolved.data[item.data]
        try:
            bench, prepared = self.bench(model, item.model, data, item.cells, item.ids)
            self._warn(item, bench, outcome)
            results = list(sweep(item, bench))
        except StoreError:
            raise
        except Exception as error:
            self._fail(item, error, outcome)
            return
        self._commit(item, results, model, outcome)
        for revision, gone in {**prepared.undecodable, data.revision: bench.frames.undecodable}.items():
            if gone:
                self.store.exclude(revision, gone)
                outcome.undecodable.update(gone)
                if self.stopping is not None:
                    self.stopping.exclude(revision, gone)

    def bench(
        self, model: LoadedModel, who: ModelId, data: DataSet, cells: Sequence[Cell], ids: tuple[str, ...]
    ) -> tuple[Bench, Prepared]:
        """What work on some cells and images of one model and data set needs, preparations made."""
        frames = self._frames(data, model)
        shown = self._at_its_size(model, data, frames, ids) if data.sized else model
        prepared = Prepared(
            self.resolved, self.store, who, data, frames, self.device,
            lambda other: shown if other.digest == who.digest else self.load(other),
            lambda split: self._frames(split, model),
        )  # fmt: skip
        prepared.ensure(cells, ids)
        bench = Bench(
            shown, data, frames, self.task, self.resolved.suite.seed, self.resolved.suite.lot,
            self.device, self.batch_size, prepared.inputs, self.keep,
        )  # fmt: skip
        return bench, prepared

    def _warn(self, item: WorkItem, bench: Bench, outcome: Outcome) -> None:
        """Look once at a model's first answers for what rows do not show. What fails, fails in the sweep."""
        name = item.model.name
        if name in self.looked_at:
            return
        self.looked_at.add(name)
        with suppress(Exception):
            few = next(batches(bench.frames, item.ids[:2], bench.data.labels, 2, self.device))
            one, two = (predict(bench.read, few, range(len(few)), 2) for _ in range(2))
            said = [PROBABILITIES] if bool(are_probabilities(one).all()) else []
            if float((one - two).abs().max()) > REPEATS:
                said.append(RANDOM)
            if said:
                outcome.warnings[name] = "; ".join(said)

    def _commit(
        self, item: WorkItem, results: list[CellRows | CellFailure], model: LoadedModel, outcome: Outcome
    ) -> None:
        done = [r for r in results if isinstance(r, CellRows)]
        failed = [r for r in results if isinstance(r, CellFailure)]
        if done:
            kept = {r.cell.key: frozenset(r.rows["image_id"].to_pylist()) for r in done}
            written = replace(item, missing=kept, cells=tuple(r.cell for r in done))
            record = provenance(self.resolved, item.model, model.card, item.data, self.device)
            record["model"]["warning"] = outcome.warnings.get(item.model.name)
            images = {r.cell.key: r.images for r in done if r.images is not None}
            self.store.put(written, [r.rows for r in done], record, images if self.keep else None)
            outcome.rows += sum(len(ids) for ids in kept.values())
        for entry in failed:
            self.store.put_failure(entry)
        outcome.failures.extend(failed)
        if self.stopping is not None:
            for result in done:
                self.stopping.learn(result.cell.key, result.rows["image_id"].to_pylist(), result.rows)
            self.stopping.excuse(failed)
        self.progress.advance(item, len(failed))

    def _fail(self, item: WorkItem, error: Exception, outcome: Outcome) -> None:
        """The whole item failed: a record for each of its cells."""
        for cell in item.cells:
            if cell.key in item.missing:
                entry = failure(cell, tuple(sorted(item.missing[cell.key])), error)
                self.store.put_failure(entry)
                outcome.failures.append(entry)
                if self.stopping is not None:
                    self.stopping.excuse([entry])
        self.progress.advance(item, len(item.missing))

    def _at_its_size(
        self, model: LoadedModel, data: DataSet, frames: Frames, ids: tuple[str, ...]
    ) -> LoadedModel:
        """The model at the size of a condition's own view. Raises Unsupported when it does not take it."""
        side = frames.view.side
        sized = model if side is None else model.at(side)
        try:
            batch = next(batches(frames, ids, data.labels, 1, self.device), None)
            if batch is not None:
                predict(sized.reading(data.space), batch, (0,), 1)
        except RobobenchError:
            raise
        except (RuntimeError, ValueError, AssertionError) as error:
            if "out of memory" in str(error):
                raise
            raise Unsupported(f"takes no images of {frames.view}: {type(error).__name__}: {error}") from error
        return sized

    def _frames(self, data: DataSet, model: LoadedModel) -> Frames:
        view = data.view or model.card.view
        if view is None:
            raise RobobenchError(
                "`view: native`, and this model names no view of its own: give the suite one"
            )
        key = (data.revision, view)
        if key not in self.frames:
            self.frames[key] = open_frames(data, view, self.cache)
        return self.frames[key]


def same_weights(model: ResolvedModel, store: Store, device: str) -> LoadedModel:
    """Load a model. Raises ModelError where a store's rows of it were made with other weights."""
    loaded = model.load(device)
    for record in store.provenance():
        earlier = record["provenance"]["model"]
        if earlier["digest"] == model.id.digest and earlier["weights"] != loaded.card.weights:
            raise ModelError(
                f"{model.id.name}: loaded with other weights ({loaded.card.weights}) than the rows in the "
                f"store ({earlier['weights']}): the checkpoint behind the name has changed; use --out"
            )
    return loaded


def check_idle(resolved: Resolved, store: Store, plan: Plan) -> None:
    """Compare the weights of models that have all their rows, where their identity does not hold them.

    Raises ModelError: rows of other weights are no answers of this model.
    """
    busy = {item.model.digest for item in plan.items}
    for model in resolved.models:
        if not model.holds_weights and model.id.digest not in busy:
            same_weights(model, store, "cpu")


@contextmanager
def repeatable() -> Iterator[None]:
    """Float arithmetic that repeats: no TF32, no autotuned kernels, while a run lasts."""
    import torch

    before = (
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
        torch.get_float32_matmul_precision(),
    )
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = before[0], before[1]
        torch.set_float32_matmul_precision(before[2])


def best_device() -> str:
    """The accelerator when there is one."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def usable_device(name: str | None) -> str | None:
    """The device, when it can be used here; None stays None. Raises RobobenchError."""
    if name is None or name == "cpu":
        return name
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RobobenchError(
            f"--device {name}: not usable here ({reason}); leave it out for the best there is"
        ) from None
    return name
