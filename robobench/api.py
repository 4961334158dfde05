"""`robobench.run`: the whole way from a suite to a leaderboard, as the command line goes it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robobench.data.digests import cache_folder
from robobench.engine.local import Local, Outcome, Progress, Silent, best_device, check_idle
from robobench.engine.plan import Plan, plan
from robobench.engine.record import RunRecord, merged, read_run, record_of, to_json
from robobench.engine.resolve import Resolved, ResolvedModel, cells, resolve
from robobench.engine.stopping import Stopping, StopRule
from robobench.engine.thumbnails import credit, thumbnails
from robobench.engine.yardsticks import yardsticks
from robobench.errors import RobobenchError
from robobench.leaderboard.board import Leaderboard
from robobench.leaderboard.build import build
from robobench.leaderboard.collect import collect
from robobench.leaderboard.gate_stopping import Against, GateStopping
from robobench.leaderboard.hurt import pictures_wanted
from robobench.store import Store
from robobench.suite.load import load_suite
from robobench.suite.suite import ModelEntry, Suite
from robobench.tracking.track import Tracker, track, tracker_of
from robobench.types import Keep, Pictures

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn


@dataclass(frozen=True)
class Results:
    """What a run found. Rows and leaderboard are read from the results folder when asked for."""

    store: Store
    record: RunRecord
    outcome: Outcome
    planned: Plan = field(repr=False)

    @cached_property
    def leaderboard(self) -> Leaderboard:
        """Models ranked by the suite's score, with intervals and ties."""
        return build(collect(self.record, self.store))

    @cached_property
    def rows(self) -> pd.DataFrame:
        """One row per model, condition and image."""
        import pandas as pd

        tables = self.store.rows({key for m in self.record.models for key in m.cells.values()})
        parts = [pd.DataFrame(columns=["model", "condition", "image_id"])]
        for model in self.record.models:
            for condition in self.record.conditions:
                table = tables.get(model.cells[condition.name])
                if table is not None:
                    frame = table.to_pandas().assign(model=model.name, condition=condition.name)
                    parts.append(frame[frame.image_id.isin(self.record.images(condition, model))])
        whole: pd.DataFrame = pd.concat(parts[1:] or parts, ignore_index=True)
        return whole

    @property
    def scores(self) -> pd.DataFrame:
        """One row per model, condition and metric: value, interval, n."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "model": entry.name,
                    "condition": name,
                    "metric": score.name,
                    "value": score.value,
                    "low": score.low,
                    "high": score.high,
                    "n": score.n,
                }
                for entry in self.leaderboard.entries
                for name, cell in entry.cells.items()
                for score in cell.scores
            ]
        )

    def tell(self, trackers: Sequence[Tracker]) -> tuple[str, ...]:
        """Tell trackers of this run's models. What they did not take comes back in words."""
        return track(self.leaderboard, trackers, {c.model.name for c in self.planned.cells})

    @property
    def complete(self) -> bool:
        return not self.outcome.broken and not self.outcome.interrupted


def run(
    suite: str | Path | Suite,
    models: Mapping[str, nn.Module | str] | Sequence[str] | None = None,
    *,
    data: str | None = None,
    limit: int | None = None,
    out: str | Path = "results",
    device: str | None = None,
    batch_size: int = 64,
    fail_fast: bool = False,
    allow_code: bool = False,
    keep_images: Keep | None = None,
    precision: float | None = None,
    show_images: bool = False,
    against: str | Path | Against | None = None,
    trackers: Sequence[str | Tracker] = (),
    progress: Progress | None = None,
) -> Results:
    """Evaluate models under a suite, computing only what the results folder lacks.

    suite: a name (`robobench list suites`), a YAML file or a Suite. models: SPECs, or names with SPECs
    or with `torch.nn.Module`s in memory, instead of the suite's own; a module takes (b, 3, h, w)
    float32 in [0, 1] and gives logits, and is evaluated in eval mode. data: a SPEC instead of the
    suite's data. limit: at most so many images of each data set. out: the results folder. allow_code:
    let code run that the suite file names; what `models` names may run anyway. keep_images: store the pixels
    of attacked images beside their rows, of those that `fallen` or of `all`. precision: end a model's work on
    a data set as soon as every cell there is known to +- so much (`robobench.engine.stopping`). show_images:
    let the page show and name the most hurt images, also where no licence of the data is known. against: end
    a model's work as soon as its gate against this baseline is settled (`robobench.leaderboard.looks`).
    trackers: told of the results at the end: `mlflow:URI`, `wandb:PROJECT`, `tensorboard:DIR`, or a Tracker
    of `robobench.tracking.track`; what fails there is a RuntimeWarning.

    Raises RobobenchError for what a user can mend. Work that fails is recorded in
    `results.outcome.failures` and the rest goes on, unless `fail_fast`.
    """
    listeners = [tracker_of(t) if isinstance(t, str) else t for t in trackers]
    chosen = load_suite(suite) if isinstance(suite, (str, Path)) else suite
    store = Store.open(Path(out), create=True)
    resolved = resolve(
        chosen, _entries(models), data=data, limit=limit, allow_code=allow_code, excluded=store.excluded
    )
    results = execute(
        resolved,
        store,
        command=f"robobench.run({chosen.name!r})",
        device=device,
        batch_size=batch_size,
        fail_fast=fail_fast,
        progress=progress or Silent(),
        keep_images=keep_images,
        precision=precision,
        show_images=show_images,
        against=Against(Path(against)) if isinstance(against, (str, Path)) else against,
    )
    if not results.outcome.interrupted:
        for said in results.tell(listeners):
            warnings.warn(said, RuntimeWarning, stacklevel=2)
    return results


def execute(
    resolved: Resolved,
    store: Store,
    *,
    command: str,
    device: str | None,
    batch_size: int,
    fail_fast: bool,
    progress: Progress,
    keep_images: Keep | None = None,
    precision: float | None = None,
    show_images: bool = False,
    against: Against | None = None,
) -> Results:
    """Plan what the store lacks, compute it, and keep the record that boards are built from."""
    with store.writing():
        stopping = _stopping(resolved, store, precision, against)
        have = store.have(c.key for c in cells(resolved))
        planned = plan(resolved, have, None if stopping is None else stopping.ends)
        check_idle(resolved, store, planned)
        outcome = Outcome()
        if planned.items:
            outcome = _compute(
                resolved, store, planned, device, batch_size, fail_fast, progress, keep_images, stopping
            )
        record = _keep_record(resolved, store, command, outcome, device, progress, stopping)
        _keep_pictures(resolved, store, record, outcome, show_images)
        store.compact()
    return Results(store, record, outcome, planned)


def _stopping(
    resolved: Resolved, store: Store, precision: float | None, against: Against | None
) -> StopRule | None:
    """What may end a model's work before its images do."""
    if precision is not None and against is not None:
        raise RobobenchError("a run ends at a precision or when a gate is settled, not at both")
    if precision is not None:
        return Stopping.of(resolved, store, precision)
    return None if against is None else GateStopping.of(resolved, store, against)


def _compute(
    resolved: Resolved,
    store: Store,
    planned: Plan,
    device: str | None,
    batch_size: int,
    fail_fast: bool,
    progress: Progress,
    keep_images: Keep | None,
    stopping: StopRule | None,
) -> Outcome:
    from robobench.tasks.classification import LOGITS, Classification

    executor = Local(
        resolved,
        store,
        Classification(logits=resolved.suite.store == LOGITS),
        device or best_device(),
        batch_size=batch_size,
        fail_fast=fail_fast,
        keep=keep_images,
        stopping=stopping,
        progress=progress,
    )
    return executor.run(planned)


def _keep_record(
    resolved: Resolved,
    store: Store,
    command: str,
    outcome: Outcome,
    device: str | None,
    progress: Progress,
    stopping: StopRule | None,
) -> RunRecord:
    """The run's protocol, with the models of earlier runs under the same fingerprint."""
    if outcome.undecodable:  # they have left the data, and so the fingerprint
        data, splits = (
            {n: replace(d, excluded={**d.excluded, **store.excluded(d.revision)}) for n, d in sets.items()}
            for sets in (resolved.data, resolved.splits)
        )
        resolved = replace(resolved, data=data, splits=splits)
    new = record_of(resolved, command, stopping)
    if not outcome.interrupted:
        new = replace(
            new,
            yardsticks=yardsticks(
                resolved, store, device or "cpu", cache_folder(),
                lambda: progress.model("distance of each condition to the clean images"),
            ),
        )  # fmt: skip
    earlier = [r for r in store.runs() if r["fingerprint"] == new.fingerprint]
    record = merged(read_run(store.root, earlier[-1]) if earlier else None, new)
    store.put_run(record.fingerprint, to_json(record))
    return record


def _keep_pictures(
    resolved: Resolved, store: Store, record: RunRecord, outcome: Outcome, asked: bool
) -> None:
    """Pictures of the most hurt images, where they may be shown; with nothing new they stay as they are."""
    allowed, kept = credit(resolved, asked), store.asides.pictures(record.fingerprint)
    if allowed is None:
        store.asides.put_pictures(record.fingerprint, None)
        return
    if outcome.interrupted or (kept is not None and kept.credit == allowed and not outcome.rows):
        return
    png = thumbnails(resolved, pictures_wanted(collect(record, store)), cache_folder())
    with suppress(RobobenchError):  # a page without pictures is better than no run
        store.asides.put_pictures(record.fingerprint, Pictures(allowed, png))


def _entries(
    models: Mapping[str, nn.Module | str] | Sequence[str] | None,
) -> tuple[ModelEntry | ResolvedModel, ...]:
    if models is None:
        return ()
    if isinstance(models, Mapping):
        return tuple(_entry(name, model) for name, model in models.items())
    return tuple(ModelEntry(spec, trusted=True) for spec in models)


def _entry(name: str, model: Any) -> ModelEntry | ResolvedModel:
    if isinstance(model, str):
        return ModelEntry(model, name=name, trusted=True)
    from robobench.models.handle import wrap

    who, twin = wrap(model, name=name)  # a copy: the caller's module stays as and where it is
    return ResolvedModel(who, lambda device: wrap(twin.module.to(device), name=name)[1])
