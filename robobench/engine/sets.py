"""The data sets of a suite as its conditions see them: ids, order, labels, view. Nothing is decoded."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from robobench import registry
from robobench.contracts import DataSource
from robobench.draws import image_key
from robobench.errors import DataError
from robobench.keys import digest
from robobench.specs import parse_spec, public_path
from robobench.suite.load import substitute
from robobench.suite.suite import BASE, DataEntry, Suite
from robobench.types import CLEAN, Condition, DataIndex, LabelSpace, View

Excluded = Callable[[str], Mapping[str, str]]  # data revision -> images that cannot be decoded


@dataclass(frozen=True)
class DataSet:
    """A data set as the conditions see it.

    visiting: all ids in visiting order. order: its prefix that is evaluated, undecodable ones
    included. view: None where each model has its own. everything: all ids of the source, for donors.
    accepted, facts: as in `DataIndex`, both by id.
    """

    name: str
    title: str
    source: DataSource
    space: LabelSpace
    revision: str
    view: View | None
    visiting: tuple[str, ...]
    order: tuple[str, ...]
    labels: Mapping[str, int]
    excluded: Mapping[str, str]
    everything: tuple[str, ...]
    sized: bool = False  # models are asked at the size of this view, or do not take part
    accepted: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    truth: str | None = None  # digest of these two, where there are any

    @property
    def ids(self) -> tuple[str, ...]:
        """What is evaluated: the order without images that cannot be decoded."""
        return tuple(i for i in self.order if i not in self.excluded) if self.excluded else self.order

    def prefix(self, limit: int | None) -> tuple[str, ...]:
        """A condition's own images: a prefix of the order."""
        if limit is None:
            return self.ids
        return tuple(i for i in self.order[:limit] if i not in self.excluded)

    @property
    def identity(self) -> str:
        """Digest of what the images and their read-out are; of no limit."""
        known = () if self.truth is None else (self.truth,)
        return digest(self.revision, self.answers, self.view, *known)

    @property
    def answers(self) -> Mapping[str, Any]:
        """The label space as it enters keys."""
        return {k: v for k, v in asdict(self.space).items() if k not in ("parent", "within")}


@lru_cache(maxsize=8)  # the 95 stored sets of a corruption benchmark have the same images
def visiting_order(ids: tuple[str, ...], labels: tuple[int, ...], seed: int) -> tuple[str, ...]:
    """A seeded, class-balanced order: every prefix holds each class as evenly as the data allow.

    Within a class, images come in the order of a keyed hash of their id; the classes take turns, in
    an order that is drawn anew for every round.
    """
    by_class: dict[int, list[str]] = defaultdict(list)
    for image, label in zip(ids, labels, strict=True):
        by_class[label].append(image)
    for members in by_class.values():
        members.sort(key=lambda i: (image_key(seed, "order", 0, 0, "image", i), i))
    ranked = (
        (turn, image_key(seed, "order", 0, turn, "class", str(label)), label, image)
        for label, members in by_class.items()
        for turn, image in enumerate(members)
    )
    return tuple(image for *_, image in sorted(ranked))


def through_view(base: DataSet, entry: DataEntry) -> DataSet:
    """The base data set, seen through a condition's own view."""
    return replace(base, name=entry.name, view=entry.view, sized=True)


def data_set(
    suite: Suite,
    entry: DataEntry,
    override: str | DataEntry | None = None,
    limit: int | None = None,
    excluded: Excluded = lambda _: {},
) -> DataSet:
    """One data set of a suite, with the base's place taken by `override`. Raises DataError."""
    strict = True
    if override is not None and entry.name == BASE:
        if isinstance(override, str):
            spec = parse_spec(override)
            params: dict[str, Any] = dict(spec.params)
            own_limit = params.pop("limit", None)
            override = DataEntry(BASE, spec.source, {"path": spec.path, **params}, _limit(own_limit))
            strict = False
        entry = replace(override, limit=override.limit or entry.limit)
    values = substitute(entry.params)
    source: DataSource = registry.data.build(entry.source, values, strict=strict)
    index: DataIndex = source.index()
    order = visiting_order(index.ids, index.labels, suite.seed)
    limits = [v for v in (entry.limit, limit) if v is not None]
    return DataSet(
        name=entry.name,
        title=public_title(replace(entry, params=values)),
        source=source,
        space=index.space,
        revision=index.revision,
        view=next((v for v in (entry.view, index.view) if v is not None), suite.view),
        visiting=order,
        order=order[: min(limits)] if limits else order,
        labels=dict(zip(index.ids, index.labels, strict=True)),
        excluded={**index.excluded, **excluded(index.revision)},
        everything=tuple(sorted(index.ids)),
        sized=entry.view is not None,
        accepted=index.accepted,
        facts={k: dict(zip(index.ids, v, strict=True)) for k, v in index.facts.items()},
        truth=_truth(index),
    )


def _truth(index: DataIndex) -> str | None:
    """A digest of the facts of images and of the acceptable classes, where there are any."""
    if not (index.accepted or index.facts):
        return None
    facts = {k: [None if math.isnan(x) else x for x in v] for k, v in index.facts.items()}
    return digest(index.accepted, index.ids if facts else (), facts)


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdigit() or int(text) < 1:
        raise DataError(f"limit={text}: expected a number of images above 0")
    return int(text)


def public_title(entry: DataEntry) -> str:
    """A data set's SPEC without its machine."""
    path = public_path(str(entry.params.get("path", "")))
    return public_path(replace(entry, params={**entry.params, "path": path}).title)


def with_companions(suite: Suite, sets: dict[str, DataSet]) -> tuple[Condition, ...]:
    """Beside each shift read out of a part of the base's label space: clean, on the same classes."""
    base = sets[BASE]
    extra = []
    for name in list(sets):
        shift = sets[name]
        label = f"{CLEAN}@{shift.space.name}"
        part = classes_within(shift.space)
        if shift.space.parent != base.space.name or part is None or label in sets:
            continue
        where = {output: c for c, outputs in part.items() for output in outputs}
        labels = {i: where[base.labels[i]] for i in base.visiting if base.labels[i] in where}
        order = tuple(i for i in base.order if i in labels)
        if not order:  # a small limit: nothing of the base lies in the shift's classes
            continue
        sets[label] = replace(
            base,
            name=label,
            space=shift.space,
            labels=labels,
            accepted=_within(base.accepted, labels, where),
            visiting=tuple(i for i in base.visiting if i in labels),
            order=order,
        )
        extra.append(Condition(name=label, ladder=CLEAN, data=label, companion=True))
    return (*suite.conditions, *extra)


def _within(
    accepted: Mapping[str, tuple[int, ...]], labels: Mapping[str, int], where: Mapping[int, int]
) -> dict[str, tuple[int, ...]]:
    """The acceptable classes of some images, as classes of another read-out; those outside of it are none."""
    return {
        image: tuple(dict.fromkeys(where[c] for c in classes if c in where))
        for image, classes in accepted.items()
        if image in labels
    }


def classes_within(space: LabelSpace) -> Mapping[int, tuple[int, ...]] | None:
    """The model outputs behind each class that images have; None where those are simply all."""
    if space.within is not None:
        groups = space.groups or tuple((c,) for c in range(space.outputs))
        return {c: groups[c] for c in space.within}
    return None if space.groups is None else dict(enumerate(space.groups))
