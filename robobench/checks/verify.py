"""`robobench verify`: a random sample of a run's rows computed again, and held against what it claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from robobench.checks.verify_attacks import (
    STANDS,
    WRONG,
    Counts,
    Pair,
    alike,
    contradictions,
    states,
    weigh,
)
from robobench.checks.verify_claims import Made, columns_of, impossible, rows_at
from robobench.checks.verify_pictures import Pictures
from robobench.checks.verify_plan import Sample, is_shared, sample, work
from robobench.checks.verify_rows import Columns, Fault, judge, room_of, rounding
from robobench.contracts import LoadedModel
from robobench.engine.local import Local, Progress, Silent, repeatable
from robobench.engine.provenance import hardware, versions
from robobench.engine.record import ModelRecord, RunRecord
from robobench.engine.resolve import PRECISION, Resolved
from robobench.engine.verified import Verification, answers
from robobench.errors import DataError, UnreachableData
from robobench.store import Store
from robobench.tasks.classification import LOGITS, Classification
from robobench.types import Cell


@dataclass(frozen=True)
class Disagreement:
    """A row that is not as claimed."""

    condition: str
    image: str
    fault: Fault


@dataclass(frozen=True)
class Verdict:
    """What was found about one model.

    open: why some drawn rows could not be computed again: unless others are false, nothing is decided then.
    pictures: attack rows that were judged on their kept images too.
    """

    name: str
    found: Verification
    disagreements: tuple[Disagreement, ...]
    counts: Counts
    pictures: int
    open: tuple[str, ...]
    versions: Mapping[str, str]  # that the rows are said to be made with

    @property
    def decided(self) -> bool:
        """Whether the model passed or failed. One false row is enough to fail, whatever could not be seen."""
        return self.found.passed or not self.open or bool(self.disagreements or self.found.faults)


def verify(
    record: RunRecord,
    resolved: Resolved,
    store: Store,
    *,
    fraction: float,
    seed: int,
    device: str,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Compute a sample of the rows of each model of the record again, and judge what the store has of them.

    resolved: the record's run, from `engine.recipe.again`. fraction: the share of the rows that is drawn at
    least; of those that are judged one by one as many more as it takes to catch 1 % of false ones with a
    chance of 99 %. seed: what the draw goes by; nobody who made rows may know it. Nothing is written into the
    store. Raises RobobenchError.
    """
    samples = [sample(record, m, resolved, store, fraction, seed) for m in record.models]
    digests = {m.digest: answers(record, m, store) for m in record.models}
    gone = _decodable(resolved)
    with TemporaryDirectory(prefix="robobench-verify-") as folder:
        again = Store.open(Path(folder) / "rows", create=True)
        local = Local(
            resolved, again, Classification(logits=True), device, batch_size=batch_size,
            progress=progress or Silent(),
        )  # fmt: skip
        outcome = local.run(work(resolved, samples))
        if outcome.interrupted:
            raise KeyboardInterrupt
        reasons = {f.cell: f.reason for f in outcome.failures}
        judges = [_Judge(one, resolved, store, local, reasons, list(gone)) for one in samples]
        with repeatable():
            for judge_ in judges:
                judge_.look()
                judge_.loaded = None  # its memory is the next one's
        return [judge_.verdict(record, digests, fraction, seed) for judge_ in judges]


def _decodable(resolved: Resolved) -> list[str]:
    """Images that were left out because they cannot be decoded, and can."""
    found = []
    for data in resolved.data.values():
        for image in sorted(set(data.excluded) & set(data.order)):
            try:
                data.source.read(image)
            except UnreachableData:
                raise
            except DataError:
                continue
            found.append(f"{image!r} of {data.title} was left out as undecodable, and can be decoded")
    return list(dict.fromkeys(found))


@dataclass
class _Judge:
    """Looks at one model's drawn rows, cell by cell."""

    sample: Sample
    resolved: Resolved
    store: Store
    local: Local
    reasons: Mapping[str, str]  # by cell, why rows could not be computed again
    faults: list[str] = field(default_factory=list)
    wrong: list[Disagreement] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    same: int = 0
    pictures: int = 0
    tolerance: float = field(default_factory=lambda: rounding(PRECISION))
    loaded: LoadedModel | None = None  # for what is asked beyond rows

    def look(self) -> None:
        made, own = (Made.of(s, self.sample.record.digest) for s in (self.store, self.local.store))
        if own.weights and made.weights != own.weights:
            said = ", ".join(sorted(made.weights)) or "none"
            self.faults.append(f"the weights are {', '.join(own.weights)} here; its rows name {said}")
        if made.precisions != {PRECISION}:
            said = ", ".join(sorted(made.precisions)) or "none"
            self.faults.append(f"the precision of its protocol is {PRECISION}; its rows name {said}")
        self.faults += impossible(self.store, self.sample.cells.values())
        claimed = columns_of(self.store, self.sample.drawn)
        ours = {key: (ids, columns) for key, ids, columns in columns_of(self.local.store, self.sample.drawn)}
        for key, ids, columns in claimed:
            mine_ids, mine = ours.get(key, ((), {}))
            self._lacking(key, ids, mine_ids)
            if mine_ids:
                place = {image: r for r, image in enumerate(ids)}
                self._cell(key, mine_ids, rows_at(columns, [place[i] for i in mine_ids]), mine)

    def _lacking(self, key: str, ids: Sequence[str], ours: Sequence[str]) -> None:
        gone = sorted(set(ids) - set(ours))
        if gone:
            name = self.sample.cells[key].condition.name
            why = self.reasons.get(key, "it cannot be decoded here")
            self.open.append(f"{name}: {len(gone)} rows, as of {gone[0]!r}: {why}")

    def _cell(self, key: str, ids: Sequence[str], claimed: Columns, ours: Columns) -> None:
        cell = self.sample.cells[key]
        if key not in self.sample.searched_cells:
            right = self._right(cell, ids)
            self._note(cell, ids, judge(claimed, ours, right, self.tolerance))
            return
        attacked = cell.condition.attack is not None
        faults = contradictions(claimed, ours, attacked=attacked)
        said, mine = (states(c, len(ids), attacked=attacked) for c in (claimed, ours))
        before = [r for r in range(len(ids)) if faults[r] is None and WRONG in (said[r], mine[r])]
        for r, fault in zip(before, self._before(cell, ids, before, claimed, ours, mine), strict=True):
            faults[r] = fault
        rest = [r for r in range(len(ids)) if faults[r] is None and WRONG not in (said[r], mine[r])]
        ladder = cell.condition.ladder
        shared = is_shared(cell, self.resolved)
        self.pairs += [
            Pair(
                ladder, f"all of {ladder}" if shared else ids[r], said[r] == STANDS, mine[r] == STANDS,
                cell.condition.name,
            )
            for r in rest
        ]  # fmt: skip
        self.same += int(alike(claimed, ours).sum())
        if attacked:
            self._pictures(cell, ids, rest, claimed, faults)
        self._note(cell, ids, faults)

    def _before(
        self, cell: Cell, ids: Sequence[str], rows: Sequence[int], claimed: Columns, ours: Columns,
        mine: Sequence[str],
    ) -> list[Fault | None]:  # fmt: skip
        """Rows of images that were wrong before the attack, as claimed or here: clean answers say which."""
        if not rows:
            return []
        known = {r: ours[LOGITS][r] for r in rows if mine[r] == WRONG}
        asked = [r for r in rows if mine[r] != WRONG]
        if asked:
            clean = self._looker(cell).clean([ids[r] for r in asked])
            known |= {r: clean[ids[r]] for r in asked}
        found: list[Fault | None] = []
        for r in rows:
            one = rows_at(claimed, [r])
            logits = np.asarray(known[r], np.float64)[None]
            right = self._right(cell, [ids[r]])
            said = states(one, 1, attacked=True)[0]
            if said == WRONG:
                answer = self._answer(cell, logits, ids[r])
                found.append(judge(one, answer, right, self.tolerance)[0])
                continue
            lead = float(logits.max() - logits[0, right[0, 0]])
            room = float(room_of(logits, self.tolerance)[0])
            found.append(Fault("hit", said, WRONG, lead, room) if lead > room else None)
        return found

    def _answer(self, cell: Cell, logits: NDArray[np.float64], image: str) -> Columns:
        """The columns of one image's logits."""
        import torch

        labels = torch.tensor([self.resolved.data[cell.condition.data].labels[image]])
        columns = self.local.task.record(torch.from_numpy(logits).float(), labels)
        return {**columns, LOGITS: logits}

    def _pictures(
        self,
        cell: Cell,
        ids: Sequence[str],
        rows: Sequence[int],
        claimed: Columns,
        faults: list[Fault | None],
    ) -> None:
        """Rows whose attacked images were kept: these are inside the budget and answered as claimed."""
        found, lost = self._looker(cell).judged([ids[r] for r in rows], rows_at(claimed, rows))
        self.faults += lost
        for r in rows:
            if ids[r] in found:
                self.pictures += 1
                faults[r] = faults[r] or found[ids[r]]

    def _looker(self, cell: Cell) -> Pictures:
        who = self.sample.model.id
        if self.loaded is None:
            self.loaded = self.local.load(who)
        return Pictures(cell, who, self.loaded, self.resolved, self.store, self.local, self.tolerance)

    def _right(self, cell: Cell, ids: Sequence[str]) -> NDArray[np.int64]:
        data = self.resolved.data[cell.condition.data]
        return right_classes([data.accepted.get(i, (data.labels[i],)) for i in ids])

    def _note(self, cell: Cell, ids: Sequence[str], faults: Sequence[Fault | None]) -> None:
        self.wrong += [
            Disagreement(cell.condition.name, image, fault)
            for image, fault in zip(ids, faults, strict=True)
            if fault is not None
        ]

    def verdict(self, record: RunRecord, digests: Mapping[str, str], fraction: float, seed: int) -> Verdict:
        one, counts = self.sample, weigh(self.pairs)
        faults = list(dict.fromkeys(self.faults))
        if counts.refuted:
            fell, stood = counts.there
            where = f" under {counts.where}" if counts.where else ""
            faults.append(
                f"{fell} images that are claimed to stand{where} fell again, {stood} the other way "
                f"round: p = {counts.p:.2g}"
            )
        if not one.drawn:
            self.open.append("it has no rows")
        found = Verification(
            fingerprint=record.fingerprint,
            model=one.record.digest,
            answers=digests[one.record.digest],
            passed=not (self.wrong or faults or self.open),
            rows=one.rows,
            drawn=one.count(searched=False),
            chance=one.chance,
            disagree=len(self.wrong),
            searched=one.searched,
            searched_drawn=one.count(searched=True),
            same=self.same,
            fell=counts.fell,
            stood=counts.stood,
            p=counts.p,
            power=counts.power,
            seed=seed,
            fraction=fraction,
            precision=PRECISION,
            device=self.local.device,
            hardware=hardware(self.local.device),
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=dict(versions()),
            faults=tuple(faults),
        )
        said = Made.of(self.store, one.record.digest).versions
        return Verdict(
            one.record.name, found, tuple(self.wrong), counts, self.pictures, tuple(self.open), said
        )


def right_classes(known: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """(n, k) the acceptable classes of images, filled up with -1.

    >>> right_classes([(3,), (1, 2)]).tolist()
    [[3, -1], [1, 2]]
    """
    found = np.full((len(known), max(map(len, known), default=1)), -1, np.int64)
    for row, classes in enumerate(known):
        found[row, : len(classes)] = classes
    return found


def selected(record: RunRecord, names: Sequence[str]) -> RunRecord:
    """The record with some of its models only; with all of them when none is named."""
    chosen: tuple[ModelRecord, ...] = tuple(m for m in record.models if m.name in names)
    return replace(record, models=chosen) if names else record
