"""The line in the clean-vs-score scatter: against numpy's own least squares, and only where it means something."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from robobench.leaderboard.axes import Frame
from robobench.leaderboard.build import build
from robobench.leaderboard.labels import Mark, labels
from robobench.leaderboard.render import render
from robobench.leaderboard.render_html import to_html
from robobench.leaderboard.scatter import FEWEST, fit_of, scatter
from tests.boards import realistic

WHOLE = build(realistic(models=9, n=120), resamples=300)


def board_of(pairs, unit="fraction", of="accuracy.top1", higher=True):
    """A board with these (clean, score)."""
    score_spec = replace(WHOLE.suite.score, of=of)
    entries = []
    for i, (clean, total) in enumerate(pairs):
        old = WHOLE.entries[i % len(WHOLE.entries)]
        cell = old.cells["clean"]
        said = replace(cell.score("accuracy.top1"), name=of, value=clean, low=clean, high=clean)
        entries.append(
            replace(
                old, name=f"m{i}", rank=(1, 1),
                cells={**old.cells, "clean": replace(cell, scores=(said, *cell.scores[1:]))},
                score=replace(old.score, value=total, low=total, high=total, unit=unit, higher_is_better=higher),
            )
        )  # fmt: skip
    suite = replace(WHOLE.suite, score=score_spec)
    return replace(WHOLE, entries=tuple(entries), suite=suite, higher_is_better=higher)


def cloud(seed: int, models: int):
    rng = np.random.Generator(np.random.PCG64(seed))
    clean = rng.uniform(0.5, 0.95, models)
    logits = 0.8 * np.log(clean / (1 - clean)) - 1 + rng.normal(0, 0.3, models)
    return list(zip(clean.tolist(), (1 / (1 + np.exp(-logits))).tolist(), strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_the_line_is_that_of_polyfit_on_logits_and_distances_are_to_it(seed):
    pairs = cloud(seed, 8)
    clean, total = np.array(pairs).T
    slope, intercept = np.polyfit(np.log(clean / (1 - clean)), np.log(total / (1 - total)), 1)
    fit = fit_of(board_of(pairs))
    assert (fit.line.slope, fit.line.intercept) == pytest.approx((slope, intercept))
    promised = 1 / (1 + np.exp(-(slope * np.log(clean / (1 - clean)) + intercept)))
    rows = fit.distances
    assert [r[4] for r in rows] == sorted((r[4] for r in rows), reverse=True)
    for pair, said, low, high, above in rows:
        assert said == pytest.approx(promised[pair.index])
        assert above == pytest.approx(100 * (total[pair.index] - promised[pair.index]))
        assert low < said < high


def test_the_drawn_line_goes_where_the_numbers_say():
    pairs = cloud(1, 7)
    board = board_of(pairs)
    fit, source = fit_of(board), scatter(board)
    (points,) = re.findall(r'fitline">.*?<polyline class="line" points="([^"]*)"', source)
    drawn = np.array([[float(v) for v in p.split(",")] for p in points.split()])
    bars = re.findall(r'data-m="\d+"><path class="range" d="M([\d.]+) ([\d.]+)', source)
    x, y = np.array([[float(a), float(b)] for a, b in bars]).T  # of the models, in the drawing
    clean, total = np.array(pairs).T
    to_x, to_y = np.polyfit(clean, x, 1), np.polyfit(total, y, 1)
    ends = np.array([clean.min(), clean.max()])
    assert np.polyval(to_x, ends) == pytest.approx(drawn[[0, -1], 0], abs=0.2)
    assert np.polyval(to_y, fit.line.at(ends)) == pytest.approx(drawn[[0, -1], 1], abs=0.4)


def test_the_band_stays_inside_of_the_frame():
    source = scatter(board_of(cloud(2, FEWEST)))
    (points,) = re.findall(r'fitline"><polygon class="band" points="([^"]*)"', source)
    heights = [float(p.split(",")[1]) for p in points.split()]
    assert min(heights) >= 12 - 0.1
    assert max(heights) <= 264 - 44 + 0.1


@pytest.mark.parametrize(
    "board",
    [
        board_of(cloud(0, FEWEST - 1)),
        board_of(cloud(0, 8), unit="% of AlexNet"),
        board_of(cloud(0, 8), higher=False),
        board_of([(0.8, 0.1 * i) for i in range(1, 8)]),  # one clean accuracy
        board_of([*cloud(0, 4), (1.0, 0.5), (0.9, 0.0)]),  # without a logit
        replace(WHOLE, entries=tuple(replace(e, rank=None) for e in WHOLE.entries)),
        replace(WHOLE, entries=()),
    ],
    ids=["few", "unit", "lower", "flat", "no logit", "unranked", "empty"],
)  # fmt: skip
def test_there_is_no_line_where_it_would_mean_nothing(board):
    assert fit_of(board) is None
    assert "fitline" not in scatter(board)
    assert "Distance to the line" not in to_html(board) + render(board, "markdown")


def test_a_metric_that_is_no_accuracy_has_no_line():
    board = board_of(cloud(0, 8), of="calibration.ece")
    assert fit_of(board) is None
    assert "fitline" not in scatter(board)


def test_a_model_without_a_logit_is_named_and_has_no_distance():
    board = board_of([*cloud(3, 6), (1.0, 0.5)])
    fit = fit_of(board)
    assert fit.models == 6
    assert "no logit: m6." in fit.rule
    assert 6 not in {pair.index for pair, *_ in fit.distances}
    assert fit.line == fit_of(board_of(cloud(3, 6))).line


def test_the_page_and_markdown_say_each_distance_and_how_many_models_are_behind_the_line():
    board = board_of(cloud(4, 6))
    source, text = to_html(board), render(board, "markdown")
    assert "line fitted to n = 6 models" in source
    assert source.count('class="fitline"') == 1
    (table,) = re.findall(r'<table class="sortable fitted">.*?</table>', source, re.S)
    rows = re.findall(r'<tr data-m="(\d+)">.*?data-v="(-?[\d.e-]+)">([+-]\d+\.\d)</td>\s*</tr>', table, re.S)
    assert len(rows) == 6
    for (m, exact, said), (pair, *_, above) in zip(rows, fit_of(board).distances, strict=True):
        assert int(m) == pair.index
        assert float(exact) == above
        assert said == f"{above:+.1f}"
        assert re.search(rf"\| m{m} \|.*\| {re.escape(said)} \|", text)


def test_labels_cover_neither_one_another_nor_the_edge():
    frame = Frame(420, 264, 44, 16, 12, 44, (0, 1), (0, 1))
    marks = [Mark(390 - 3 * i, 60 + 4 * i, 4.5, f"a long name of a model {i}") for i in range(5)]
    found = labels(frame, marks)
    boxes = []
    for x, y, anchor, name in re.findall(
        r'x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">([^<]*)', "".join(found)
    ):
        left = float(x) - (7 * len(name) if anchor == "end" else 0)
        assert left >= 0
        assert left + 7 * len(name) <= 420
        boxes.append((left, float(y), left + 7 * len(name)))
    assert len(boxes) == 5
    for i, a in enumerate(boxes):
        assert all(abs(a[1] - b[1]) >= 12 or a[2] <= b[0] or b[2] <= a[0] for b in boxes[:i])


def test_a_hostile_name_in_a_label_is_text():
    frame = Frame(420, 264, 44, 16, 12, 44, (0, 1), (0, 1))
    assert "<script>" not in labels(frame, [Mark(100, 100, 4, "<script>alert(1)</script>")])[0]
