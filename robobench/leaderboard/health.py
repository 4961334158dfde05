"""How far each attack's number can be believed: checks on its rows and on those of its companions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from robobench.leaderboard.board import Health
from robobench.leaderboard.score import Resampling, build_metrics, score_cells, size
from robobench.registry import instance_of
from robobench.suite.health import BLACK_BOX, NOISE, RESTARTS, STEPS, UNBOUNDED
from robobench.types import Condition, Rows, Step

FALLEN = "fooled"  # the column that only rows of attacks have
ROUNDING, BLIND = "rounding", "blind"
_FEW = 1.5  # images: one alone is no finding


@dataclass(frozen=True)
class Check:
    """A share of images above which an attack is doubted. says: what then is the matter with it."""

    name: str
    metric: str
    limit: float
    says: str


OWN = (
    Check("gradients", "health.zero_gradient", 0.05, "no gradient to follow on {} of the images that stand"),
    Check("loss", "health.flat_loss", 0.05, "its loss never rose on {} of the images that stand"),
    Check("repeats", "health.unlike", 0.05, "{} of what fell stands when the same pixels are asked again"),
    Check(ROUNDING, "health.rounding", 0.5, "{} of the adversarial images fool no more in 8 bits"),
    Check("logits", "health.probabilities", 0.5, "the model gives probabilities, not logits"),
    Check(BLIND, "health.blind", 0.01, "its black box felled {} of all images where its gradients failed"),
)
COMPANIONS = (
    Check(NOISE, "health.more", 0.02, "random noise of the same size fools another {} of the images"),
    Check(STEPS, "health.more", 0.02, "twice the steps fool another {} of the images"),
    Check(RESTARTS, "health.more", 0.02, "two more restarts fool another {} of the images"),
    Check(BLACK_BOX, "health.more", 0.02, "a black box fools another {} of the images"),
    Check(UNBOUNDED, "accuracy.top1", 0.02, "{} of the images are right whatever is done to the pixels"),
)


def examine(
    conditions: Sequence[Condition], rows: Mapping[str, Rows], resampling: Resampling
) -> tuple[Health, ...]:
    """Every check of every attack of a model, in the order of the conditions.

    A check whose rows or columns are not there is left out: nothing is said of what was not looked at.
    """
    found = []
    for condition in conditions:
        if condition.attack is None or condition.check:
            continue
        own = rows.get(condition.name, {})
        asked = [c for c in OWN if c.name not in _unasked(condition.attack)]
        found += [h for c in asked if (h := _look(c, condition.name, own, resampling))]
        for other in conditions:
            if other.checked == condition.name:
                check = next(c for c in COMPANIONS if c.name == other.check)
                looked = _look(check, condition.name, rows.get(other.name, {}), resampling)
                found += [looked] if looked else []
    return tuple(found)


def asked_columns(conditions: Sequence[Condition]) -> frozenset[str]:
    """The columns that the checks of some conditions go by: none where nothing is attacked."""
    if all(c.attack is None for c in conditions):
        return frozenset()
    checks = build_metrics([c.metric for c in (*OWN, *COMPANIONS)])
    return frozenset({FALLEN, *(column for m in checks.values() for column in m.needs)})


def _unasked(step: Step) -> set[str]:
    """The checks that make no sense for an attack.

    One without a budget stops right behind the boundary, where rounding undoes anything; only an ensemble
    can have a black box that is better than its gradients.
    """
    attack = instance_of(step)
    return {name for name, apt in ((ROUNDING, attack.norm), (BLIND, hasattr(attack, "stages"))) if not apt}


def flags(health: Sequence[Health]) -> Iterator[str]:
    """One sentence for each check that failed anywhere, with the worst share and where."""
    for check in (*OWN, *COMPANIONS):
        failed = [h for h in health if h.check == check.name and not h.ok]
        if failed:
            worst = max(failed, key=lambda h: h.score.value)
            where = ", ".join(h.condition for h in failed[:3]) + (", ..." if len(failed) > 3 else "")
            yield f"may be less robust than shown: {worst.said} ({where})"


def _look(check: Check, condition: str, rows: Rows, resampling: Resampling) -> Health | None:
    metric = build_metrics([check.metric])[check.metric]
    if not size(rows) or not set(metric.needs) <= set(rows):
        return None
    score = score_cells(check.metric, metric, [rows], resampling)[0]
    if not score.n:
        return None
    ok = score.value <= check.limit or score.value * score.n < _FEW
    return Health(condition, check.name, score, check.limit, ok, check.says.format(f"{score.value:.0%}"))
