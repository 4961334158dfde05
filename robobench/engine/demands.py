"""What attacks ask for beyond a model, checked before the first step: optional packages, enough classes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from robobench.errors import AttackError, MissingExtra
from robobench.registry import instance_of
from robobench.types import OUTLIER, Condition, LabelSpace

if TYPE_CHECKING:
    from robobench.engine.sets import DataSet


def check_demands(conditions: Iterable[Condition], spaces: Mapping[str, LabelSpace]) -> None:
    """Look at the attack of every condition. spaces: the label space of each data set.

    Raises MissingExtra and AttackError; the message names the condition.
    """
    for condition in conditions:
        if condition.attack is not None:
            attack = instance_of(condition.attack)
            where = f"condition {condition.name!r}: {condition.attack.name}"
            check_extra(attack, where)
            _check_classes(attack, where, spaces[condition.data])


def check_truth(conditions: Iterable[Condition], sets: Mapping[str, DataSet]) -> None:
    """Raise AttackError for what needs one right answer an image on data that have several or none."""
    for condition in conditions:
        data = sets[condition.data]
        if condition.attack is None and condition.worst_of == 1:
            continue
        what = condition.attack.name if condition.attack else f"worst_of {condition.worst_of}"
        if data.accepted:
            count = "several right answers"
        elif OUTLIER in data.labels.values():
            count = "no right answer"
        else:
            continue
        raise AttackError(
            f"condition {condition.name!r}: {what} needs one right answer for each image, and images of "
            f"{data.title} have {count}: leave this condition out, or use it on other data"
        )


def check_extra(plugin: Any, where: str) -> None:
    """Raise MissingExtra unless the package that a plug-in's `extra` names is installed."""
    extra = getattr(plugin, "extra", None)
    if extra is not None and importlib.util.find_spec(extra) is None:
        raise MissingExtra(where, extra, extra)


def _check_classes(attack: Any, where: str, space: LabelSpace) -> None:
    fewest, there = getattr(attack, "classes", 2), len(space.classes)
    if there < fewest:
        raise AttackError(
            f"{where} works with {fewest} classes or more, and the label space {space.name!r} has {there}: "
            "leave this condition out, or take an attack that works with fewer, such as gradient.pgd"
        )
