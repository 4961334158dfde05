"""How a comparison of two models is said: one sentence, and the numbers of its lines."""

from __future__ import annotations

import math

from robobench.leaderboard.compare import Comparison
from robobench.leaderboard.text import DASH, number, shown
from robobench.leaderboard.verdict import CANNOT_TELL, EQUIVALENT, VERDICTS, Line, Verdict, margin_in


def sentence(found: Comparison) -> str:
    """The comparison in one sentence."""
    return shown(f"{_of_score(found)}{_of_conditions(found)}.")


def _of_score(found: Comparison) -> str:
    one, two, line = shown(found.first), shown(found.second), found.score
    if line is None:
        return f"The {found.score_name} of {one} or {two} is undefined, because a condition is missing"
    gap = f"{signed(line.difference, line.unit)} {_points(line.unit)} {bracket(line)}"
    if line.verdict == EQUIVALENT:
        return f"{one} and {two} are equivalent in {found.score_name}, {_within(found, line.unit)}: {gap}"
    if line.verdict == CANNOT_TELL:
        more = f", and {about(line.enough)} would" if line.enough else ""
        return f"{line.n:,} images cannot tell {one} from {two} in {found.score_name}: {gap}{more}"
    return f"{one} is {line.verdict} than {two} in {found.score_name}: {gap}"


def _of_conditions(found: Comparison) -> str:
    """How many conditions have which verdict."""
    total = len(found.conditions)
    if not total:
        return ""
    tally = {v: sum(line.verdict == v for line in found.conditions) for v in VERDICTS}
    where = f"under {total} condition{'s' if total > 1 else ''} ({found.metric})"
    return f"; {where} " + ", ".join(f"{_told(v, found)} in {n}" for v, n in tally.items() if n)


def _told(verdict: Verdict, found: Comparison) -> str:
    if verdict == EQUIVALENT:
        return f"equivalent {_within(found, found.conditions[0].unit)}"
    return "not to be told apart" if verdict == CANNOT_TELL else verdict


def _within(found: Comparison, unit: str) -> str:
    margin = margin_in(unit, found.margin)
    return f"within {100 * margin if unit == 'fraction' else margin:g} {_points(unit)}"


def _points(unit: str) -> str:
    """What a difference is counted in."""
    return "points" if unit == "fraction" else unit


def rule(found: Comparison) -> str:
    """How the lines are to be read."""
    return (
        "Shares in %. p: of no difference, by McNemar's exact test for right and wrong answers, else by "
        f"{found.resamples:,} resamples of the images, the same for both models. Over the conditions p and "
        "verdicts are adjusted by Holm's method, intervals are not. Equivalent: surely closer than the "
        "margin, whether or not there is a difference. Would tell: the images that reach a verdict in 80 of "
        "100 cases, if things are as they look."
    )


def signed(difference: float, unit: str) -> str:
    """A difference with its sign.

    >>> signed(0.0312, "fraction"), signed(-0.0001, "fraction")
    ('+3.1', '0.0')
    """
    text = number(difference, unit)
    return f"+{text}" if difference > 0 and float(text) > 0 else text


def bracket(line: Line) -> str:
    """The interval of a difference, a dash where there is none."""
    if not math.isfinite(line.low):
        return DASH
    return f"[{signed(line.low, line.unit)}, {signed(line.high, line.unit)}]"


def about(images: int) -> str:
    """A number of images that is not known better than to two digits, rounded up.

    >>> about(8437), about(101), about(7)
    ('about 8,500 images', 'about 110 images', 'about 7 images')
    """
    return f"about {rounded_up(images):,} images"


def rounded_up(n: int) -> int:
    """A whole number with two digits, never smaller.

    >>> rounded_up(8437), rounded_up(101), rounded_up(7)
    (8500, 110, 7)
    """
    step: int = 10 ** max(0, len(str(n)) - 2)
    return -(-n // step) * step
