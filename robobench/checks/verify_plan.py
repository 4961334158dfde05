"""Which of a run's rows are computed again, and the work that takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from robobench.checks.sample import chance, draw, enough
from robobench.engine.plan import ITEM_PASSES, Plan, needs_whole_lots, plan
from robobench.engine.record import ModelRecord, RunRecord
from robobench.engine.resolve import Resolved, ResolvedModel, cells, per_image
from robobench.engine.verified import images_by_cell
from robobench.errors import StoreError
from robobench.store import Store
from robobench.types import Cell, WorkItem

Drawn = Mapping[str, frozenset[str]]  # image ids by cell


@dataclass(frozen=True)
class Sample:
    """The drawn rows of one model.

    cells: by key, each once. rows, searched: how many rows there are to draw from, of those that are judged
    one by one, and of those that something that was searched for stands behind. drawn: of both kinds.
    """

    model: ResolvedModel
    record: ModelRecord
    cells: Mapping[str, Cell]
    searched_cells: frozenset[str]
    rows: int
    searched: int
    drawn: Drawn

    def count(self, *, searched: bool) -> int:
        """How many rows of a kind were drawn."""
        return sum(len(ids) for cell, ids in self.drawn.items() if (cell in self.searched_cells) == searched)

    @property
    def chance(self) -> float:
        """Of catching 1 % of false rows among those that are judged one by one."""
        return chance(self.rows, self.count(searched=False))


def sample(
    record: RunRecord, model: ModelRecord, resolved: Resolved, store: Store, fraction: float, seed: int
) -> Sample:
    """Draw from all rows of a model that its board goes by, of each kind the same share at least.

    Of the rows that are judged one by one as many more as a chance of 99 % takes. Raises StoreError where
    the record says of another cell that it holds a condition's rows.
    """
    who = next(m for m in resolved.models if m.id.digest == model.digest)
    found = {c.condition.name: c for c in cells(replace(resolved, models=(who,)))}
    for name, cell in found.items():
        if model.cells.get(name) != cell.key:
            raise StoreError(
                f"{store.root}: the record says that the rows of {model.name} under {name!r} are those of "
                f"cell {model.cells.get(name)}, and they are those of {cell.key}"
            )
    by_key = {c.key: c for c in reversed(found.values())}
    wanted = images_by_cell(record, model)
    have = store.have(wanted)
    there = {key: wanted[key] & have[key] for key in by_key}
    searched = frozenset(key for key, cell in by_key.items() if is_searched(cell, resolved))
    sure = [(key, i) for key in by_key if key not in searched for i in there[key]]
    other = [(key, i) for key in searched for i in there[key]]
    size = enough(len(sure), at_least=share(fraction, len(sure)))
    rows = [*draw(sure, size, seed), *draw(other, share(fraction, len(other)), seed)]
    drawn: dict[str, set[str]] = {}
    for key, image in rows:
        drawn.setdefault(key, set()).add(image)
    return Sample(
        who, model, by_key, searched, len(sure), len(other),
        {key: frozenset(ids) for key, ids in drawn.items()},
    )  # fmt: skip


def is_searched(cell: Cell, resolved: Resolved) -> bool:
    """Whether an attack, or something that a model prepared, stands behind a cell's images.

    A search follows differences of rounding to other ends, so on another machine single rows may differ.
    """
    made = {entry.name for entry in resolved.suite.preparations if entry.model is not None}
    steps = cell.condition.steps
    return cell.condition.attack is not None or any(made & set(s.inputs.values()) for s in steps)


def is_shared(cell: Cell, resolved: Resolved) -> bool:
    """Whether one change, searched for once, is shown on every image: then these are one witness only."""
    made = {e.name for e in resolved.suite.preparations if e.model is not None and not per_image(e)}
    return any(made & set(s.inputs.values()) for s in cell.condition.steps)


def share(fraction: float, rows: int) -> int:
    """So much of the rows, rounded up.

    >>> share(0.05, 1000), share(0.05, 1001), share(1, 7)
    (50, 51, 7)
    """
    return min(rows, -int(-fraction * rows // 1))


def work(resolved: Resolved, samples: Iterable[Sample]) -> Plan:
    """What computing the drawn rows takes: items as a run has them, cut down to these rows."""
    items: list[WorkItem] = []
    wanted: dict[str, int] = {}
    for one in samples:
        alone = replace(resolved, models=(one.model,))
        have = {
            key: _others(alone.data[cell.condition.data].visiting, one.drawn.get(key, frozenset()))
            for key, cell in one.cells.items()
        }
        items += _joined(_cut(item, resolved.suite.lot) for item in plan(alone, have).items)
        wanted |= {key: len(ids) for key, ids in one.drawn.items()}
    return Plan((), tuple(items), wanted, wanted)


def _others(ids: Sequence[str], drawn: AbstractSet[str]) -> frozenset[str]:
    return frozenset(ids) - drawn


def _cut(item: WorkItem, lot: int) -> WorkItem:
    """An item over the images that its rows need: under most attacks these alone, else their whole lots."""
    asked = frozenset().union(*item.missing.values())
    if not _by_lots(item):
        return replace(item, ids=tuple(i for i in item.ids if i in asked))
    lots = (item.ids[start : start + lot] for start in range(0, len(item.ids), lot))
    return replace(item, ids=tuple(i for members in lots if asked.intersection(members) for i in members))


def _joined(items: Iterable[WorkItem]) -> Iterator[WorkItem]:
    """Items of the same conditions joined up to a usual size, so that lots and batches are full."""
    last: WorkItem | None = None
    for item in items:
        if last is not None and _fit(last, item):
            by_key = {c.key: c for c in (*last.cells, *item.cells)}
            last = replace(
                last,
                ids=(*last.ids, *item.ids),
                cells=tuple(sorted(by_key.values(), key=lambda c: len(c.lower))),
                missing={
                    key: last.missing.get(key, frozenset()) | item.missing.get(key, frozenset())
                    for key in {**last.missing, **item.missing}
                },
                cost=last.cost + item.cost,
            )
            continue
        if last is not None:
            yield last
        last = item
    if last is not None:
        yield last


def _fit(one: WorkItem, two: WorkItem) -> bool:
    """Whether two items that follow one another may be one."""
    kinds = [(i.data, _ladder(i)) for i in (one, two)]
    return kinds[0] == kinds[1] and not _by_lots(one) and one.cost + two.cost <= ITEM_PASSES


def _ladder(item: WorkItem) -> str | None:
    """The ladder of an item of an attack; passive conditions of all ladders share items."""
    condition = item.cells[0].condition
    return condition.ladder if condition.attack is not None else None


def _by_lots(item: WorkItem) -> bool:
    return needs_whole_lots(item.cells[0].condition)
