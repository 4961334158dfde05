"""What `health: true` adds to an attack: conditions on a few images that say how far it can be believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from robobench.keys import plain
from robobench.registry import build_step, find_step, instance_of
from robobench.types import Condition, Json, Step

IMAGES = 64  # of each companion: what only an attack's failure would bring is seen on few
QUERIES = 1000  # of Square as a companion; a fifth of the published attack
EVERYTHING: Mapping[str, float] = {"linf": 1.0, "l2": 1e4, "l1": 1e8}  # budgets that hold every image

NOISE = "noise"
STEPS = "steps"
RESTARTS = "restarts"
UNBOUNDED = "unbounded"
BLACK_BOX = "black box"


def companions(condition: Condition, step: Step, *, last: bool) -> Iterator[Condition]:
    """The companions of a condition whose attack is `step`; the unbounded one only of the largest level.

    Each starts from the images that stand the attack, so that what it fells is what the attack missed.
    An attack without a budget has none.
    """
    attack = instance_of(step)
    if attack.norm not in EVERYTHING:
        return
    for check, other in _steps(step, attack, last):
        yield replace(
            condition,
            name=f"{condition.name} / {check}",
            steps=(*condition.steps[:-1], other),
            limit=min(condition.limit or IMAGES, IMAGES),
            lower=(*condition.lower, condition.name),
            check=check,
            checked=condition.name,
        )


def _steps(step: Step, attack: Any, last: bool) -> Iterator[tuple[str, Step]]:
    budget: dict[str, Json] = {"norm": attack.norm, "eps": attack.eps}
    own = {f.name for f in fields(attack) if f.init}
    white = getattr(attack, "white", True)
    yield NOISE, _built("noise.uniform", budget)
    if white and "steps" in own:
        yield STEPS, _with(step, steps=attack.steps * 2)
    if white and "restarts" in own and getattr(attack, "random_start", True):
        yield RESTARTS, _with(step, restarts=attack.restarts + 2)
    if white and not hasattr(attack, "stages"):
        yield BLACK_BOX, _built("blackbox.square", {**budget, "queries": QUERIES})
    if last:
        more = {"alpha": None} if "alpha" in own else {}
        yield UNBOUNDED, _with(step, eps=EVERYTHING[attack.norm], **more)


def _with(step: Step, **params: Json) -> Step:
    """The same attack with other parameters."""
    return replace(step, params={**step.params, **params})


def _built(name: str, params: Mapping[str, Json]) -> Step:
    plugin = find_step(name)
    instance = build_step(plugin, params)
    values = {f.name: plain(getattr(instance, f.name)) for f in fields(instance) if f.init}
    return Step("attack", plugin.name, plugin.version, values)
