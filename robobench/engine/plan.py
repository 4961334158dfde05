"""What is still to be done: the image ids each cell lacks, cut into work items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from robobench.contracts import Ensemble, SteppedAttack
from robobench.engine.resolve import Resolved, cells
from robobench.registry import instance_of
from robobench.types import Cell, Condition, WorkItem

ITEM_PASSES = 2000  # forward passes of an item: about a minute on one CPU core at 224 px
ATTACK_LOTS = 4  # an attack's item holds at least so many lots, or refilling them gains nothing

Place = tuple[str, str]  # a model's digest and the name of a data set


@dataclass(frozen=True)
class Plan:
    """The cells of a suite, what the store has of them, and the items that are left."""

    cells: tuple[Cell, ...]
    items: tuple[WorkItem, ...]
    wanted: Mapping[str, int]  # images per cell
    missing: Mapping[str, int]

    @property
    def cost(self) -> int:
        """Forward passes that are left, a backward one counted as two."""
        return sum(item.cost for item in self.items)


def plan(
    resolved: Resolved, have: Mapping[str, AbstractSet[str]], ends: Mapping[Place, int | None] | None = None
) -> Plan:
    """Cut what is missing into items of one model on one data set, in the visiting order.

    ends: how far into the visiting order a model goes on a data set, None for all of it. Where they are
    given, the items of a model on a data set are in the order of their first images, so that all its
    conditions get on together.
    """
    found = cells(resolved)
    images: dict[str, tuple[str, ...]] = {}
    owners: dict[str, Cell] = {}  # equal cells under several names are computed once
    for cell in found:
        ids = _wanted(resolved, cell, ends or {})
        if cell.key not in owners or len(ids) > len(images[cell.key]):
            owners[cell.key], images[cell.key] = cell, ids
    missing = {key: frozenset(ids) - have.get(key, frozenset()) for key, ids in images.items()}
    groups = _groups(found)
    items = [
        item for group in groups.values() for item in _items(resolved, group, owners, missing) if item.cost
    ]
    if ends is not None:
        turn = {place: i for i, place in enumerate(dict.fromkeys((m, d) for m, d, _ in groups))}
        items.sort(key=lambda item: (turn[item.model.digest, item.data], item.start))
    wanted = {k: len(v) for k, v in images.items()}
    return Plan(found, tuple(items), wanted, {k: len(v) for k, v in missing.items()})


def borders(resolved: Resolved) -> Mapping[Place, tuple[int, ...]]:
    """Where work items begin in the visiting order of each model's data sets, whatever is there already."""
    found: dict[Place, set[int]] = defaultdict(set)
    for (model, data, _), group in _groups(cells(resolved)).items():
        end = _reach(group, resolved.data[data].order)
        found[model, data].update(range(0, end, _size(resolved, group)))
    return {place: tuple(sorted(starts - {0})) for place, starts in found.items()}


def _groups(found: Iterable[Cell]) -> Mapping[tuple[str, str, str], list[Cell]]:
    """Cells that share items: of one model on one data set all passive ones, and each attack ladder."""
    groups: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in found:
        ladder = cell.condition.ladder if cell.condition.attack else ""
        groups[cell.model.digest, cell.condition.data, ladder].append(cell)
    return groups


def _wanted(resolved: Resolved, cell: Cell, ends: Mapping[Place, int | None]) -> tuple[str, ...]:
    """The images a cell should have."""
    condition = cell.condition
    limits = [v for v in (condition.limit, ends.get((cell.model.digest, condition.data))) if v is not None]
    return resolved.data[condition.data].prefix(min(limits, default=None))


def price(condition: Condition) -> int:
    """Forward passes for one image."""
    if condition.attack is None:
        return condition.worst_of
    return int(instance_of(condition.attack).cost)


def _items(
    resolved: Resolved,
    group: list[Cell],
    owners: Mapping[str, Cell],
    missing: Mapping[str, frozenset[str]],
) -> Iterable[WorkItem]:
    """Cut a group's images at multiples of the lot in the visiting order.

    The borders do not depend on what is missing, so that the lots of an attack hold the same images
    whenever they are computed.
    """
    lot = resolved.suite.lot
    data = resolved.data[group[0].condition.data]
    attack = group[0].condition.attack is not None
    size = _size(resolved, group)
    order = data.order
    usable = frozenset().union(*(resolved.ids(c.condition) for c in group))
    if attack and needs_whole_lots(group[0].condition):
        order = data.visiting[: -(-_reach(group, order) // lot) * lot]
        usable = frozenset(order) - frozenset(data.excluded)
    for start in range(0, len(order), size):
        ids = order[start : start + size]
        lacking = {c.key: missing[c.key] & set(ids) for c in group}
        left = [c for c in group if lacking[c.key] and owners[c.key] is c]
        if not left:
            continue
        # a level of an attack ladder starts from who fell at the smaller ones
        names = {n for c in left for n in (*c.condition.lower, c.condition.name)}
        needed = tuple({c.key: c for c in reversed(group) if c.condition.name in names}.values())[::-1]
        wanted = usable if attack else frozenset().union(*(lacking[c.key] for c in left))
        images = tuple(i for i in ids if i in wanted)
        yield WorkItem(
            model=group[0].model,
            data=group[0].condition.data,
            ids=images,
            cells=needed,
            missing={c.key: lacking[c.key] for c in left},
            cost=sum(price(c.condition) * len(_asked(c, needed, lacking)) for c in needed),
            start=start,
        )


def _size(resolved: Resolved, group: Sequence[Cell]) -> int:
    """How many images an item of the group holds: whole lots, as many as an item's passes allow."""
    lot = resolved.suite.lot
    each = sum(price(c.condition) for c in group)
    least = 1 if group[0].condition.attack is None else ATTACK_LOTS
    return max(ITEM_PASSES // max(each, 1) // lot, least) * lot


def _asked(cell: Cell, cells: Iterable[Cell], lacking: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The images a cell is computed for: its own, and those of the cells that inherit its failures."""
    return frozenset().union(*(lacking[c.key] for c in cells if c.key == cell.key or cell.key in c.lower))


def needs_whole_lots(condition: Condition) -> bool:
    """Whether an image's result depends on its company: then the company is fixed, limit or not."""
    if condition.attack is None:
        return False
    attack = instance_of(condition.attack)
    return not (isinstance(attack, SteppedAttack | Ensemble) or getattr(attack, "alone", False))


def _reach(group: list[Cell], order: tuple[str, ...]) -> int:
    """How far into the visiting order a group's conditions go."""
    limits = [len(order) if c.condition.limit is None else c.condition.limit for c in group]
    return min(max(limits), len(order))
