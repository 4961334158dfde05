"""Accuracy against what an attack may spend: the curves that a suite's limits make, and how they are drawn."""

from __future__ import annotations

import re
from html import unescape

import numpy as np
import pytest

from robobench.leaderboard.board import BoardInput, ModelInput
from robobench.leaderboard.build import build
from robobench.leaderboard.limits import limit_curves
from robobench.leaderboard.render_html import to_html
from robobench.types import Step
from tests.boards import HOSTILE, condition, info, rows_of

METRICS = (
    "accuracy.top1",
    "attack.accuracy_within?l2=2.0",
    "attack.accuracy_within?l2=1/2",
    "attack.accuracy_within?l2=10",
    "attack.accuracy_within?linf=8/255",
    "attack.accuracy_within?queries=5&l2=1",
)
DISTANCES = {"A": [0.4, 1.0, 3.0, np.inf], "B": [0.1, 0.2, 0.3, 0.4]}


def attacked(distances):
    far = np.array(distances)
    fooled = np.isfinite(far)
    rows = rows_of(np.where(fooled, 1, 0))
    moved = np.where(fooled, far, 0).astype(np.float32)
    return {**rows, "fooled": fooled, "l2": moved, "linf": moved / 30, "queries": fooled * 9 + 1}


def board(metrics=METRICS, name="Boundary", flat=False):
    attack = Step("attack", "blackbox.boundary", 1, {"steps": 5})
    conditions = (condition("clean"), condition(name, steps=(attack,)), condition("other"))
    models = tuple(
        ModelInput(
            m,
            {
                "clean": rows_of([0] * 4),
                name: attacked([np.inf] * 4 if flat else d),
                "other": rows_of([0, 1, 1, 1]),
            },
        )
        for m, d in DISTANCES.items()
    )
    given = BoardInput(info(conditions, metrics), conditions, models, {c.name: 4 for c in conditions})
    return build(given, resamples=50)


def test_limits_of_one_kind_make_a_curve_smallest_first():
    (curve,) = limit_curves(board())
    assert (curve.level.condition, curve.along) == ("Boundary", "l2 distance")
    assert curve.limits == ("1/2", "2.0", "10")
    for entry in board().entries:
        expected = [sum(v > limit for v in DISTANCES[entry.name]) / 4 for limit in (0.5, 2.0, 10)]
        assert [s.value for _, s in curve.points(entry)] == expected


@pytest.mark.parametrize(
    "given",
    [
        board(METRICS[:2]),
        board(("accuracy.top1", METRICS[4], METRICS[5])),
        board(flat=True),
    ],
    ids=["one limit", "one of a kind", "nothing falls"],
)
def test_where_there_is_nothing_to_see_there_is_no_curve(given):
    assert limit_curves(given) == ()


def test_the_page_draws_the_curve_with_its_numbers():
    page = to_html(board())
    figure = next(f for f in page.split("<figure>") if "<b>Boundary</b> within l2 distance" in f)
    titles = [unescape(t) for t in re.findall(r"<title>(.*?)</title>", figure.partition("</figure>")[0])]
    said = [re.match(r"(\w), (\S+): ([\d.]+) %", t) for t in titles]
    found = {(m[1], m[2]): float(m[3]) for m in said if m}
    assert found == {
        ("A", "1/2"): 75.0,
        ("A", "2.0"): 50.0,
        ("A", "10"): 25.0,
        ("B", "1/2"): 0.0,
        ("B", "2.0"): 0.0,
        ("B", "10"): 0.0,
    }


def test_the_page_escapes_a_name():
    assert "<script>alert" not in to_html(board(name=HOSTILE))
