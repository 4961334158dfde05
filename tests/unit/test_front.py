"""The front of score and speed against brute force, what is never compared, and what the page says of it."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from robobench.leaderboard.board import Leaderboard
from robobench.leaderboard.build import build
from robobench.leaderboard.front import front_of, headline, macs, rate, rule, word
from robobench.leaderboard.front_chart import front_chart, log_ticks
from robobench.leaderboard.render import render
from robobench.leaderboard.render_html import to_html
from robobench.speed import Speed
from tests.boards import HOSTILE, realistic

WHOLE = build(realistic(models=6, n=60), resamples=50)
FIELDS = {"repeats": 11, "batch_size": 32, "side": 28, "precision": "float32", "hardware": "a CPU, 2 threads"}


def speed(rate: float, cost: int | None = None, off: float = 0.02, **more) -> Speed:
    values = {**FIELDS, "images_per_second": rate, "low": rate * (1 - off), "high": rate * (1 + off)}
    return Speed(**{**values, "macs": cost, "torch": "2.15.0", **more})


def board_of(models, *, higher: bool = True, **more) -> Leaderboard:
    """A board with (score, half of its interval, speeds) of each model."""
    entries = []
    for i, (value, off, speeds) in enumerate(models):
        old = WHOLE.entries[i % len(WHOLE.entries)]
        score = replace(old.score, value=value, low=value - off, high=value + off, higher_is_better=higher)
        entries.append(
            replace(
                old, name=f"m{i}", score=score, speeds=tuple(speeds), rank=(1, 1), parameters=1000 * (i + 1)
            )
        )
    return replace(WHOLE, entries=tuple(entries), higher_is_better=higher, **more)


def drawn(seed: int, models: int = 12):
    """Scores and rates with some that are equal."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return [
        (float(rng.integers(10, 50)) / 50, float(rng.uniform(0, 0.1)), float(rng.integers(1, 20)) * 100)
        for _ in range(models)
    ]


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("axis", ["images/s", "MACs"])
@pytest.mark.parametrize("seed", range(12))
def test_the_line_and_the_front_are_those_of_brute_force(seed, axis, higher):
    given = drawn(seed)
    if axis == "images/s":
        models = [(value, off, [speed(r)]) for value, off, r in given]
    else:  # each on a machine of its own
        models = [(v, off, [speed(7, int(r), hardware=f"cpu {i}")]) for i, (v, off, r) in enumerate(given)]
    front = front_of(board_of(models, higher=higher))
    assert front is not None
    assert front.axis == axis
    assert [p.index for p in front.points] == list(range(len(given)))
    s, c = (1 if higher else -1), (1 if axis == "images/s" else -1)
    wide = 0.02 if axis == "images/s" else 0.0
    for i, (value, off, r) in enumerate(given):
        beaten = any(
            (s * v >= s * value and c * q >= c * r) and (s * v > s * value or c * q > c * r)
            for v, _, q in given
        )
        surely = any(s * v - o > s * value + off and c * q - wide * q > c * r + wide * r for v, o, q in given)
        assert front.places[i] == ("off" if surely else "near" if beaten else "line"), i
        assert (front.beaten_by[i] is not None) == surely
    stairs = front.stairs
    assert stairs
    for a, b in pairwise(stairs):  # from the best to the cheapest, or the same twice
        assert s * a.entry.score.value >= s * b.entry.score.value
        assert c * front.cost(a) <= c * front.cost(b)


def test_a_model_is_off_only_where_both_intervals_are_clear():
    best = (0.6, 0.02, [speed(1000)])
    for other, place in [
        ((0.5, 0.02, [speed(500)]), "off"),
        ((0.57, 0.02, [speed(500)]), "near"),  # the scores' intervals touch
        ((0.5, 0.02, [speed(970)]), "near"),  # those of the speeds do
        ((0.5, 0.02, [speed(1100)]), "line"),
        ((0.7, 0.02, [speed(500)]), "line"),
    ]:
        front = front_of(board_of([best, other]))
        assert front.places[1] == place
        assert (
            word(front, 1)
            == {"off": "off it, beaten by m0", "near": "not surely off it", "line": "on the line"}[place]
        )


def test_what_was_measured_otherwise_is_never_in_one_front():
    here, there = speed(100), speed(90_000, hardware="a GPU")
    front = front_of(
        board_of(
            [(0.5, 0.01, [here, there]), (0.6, 0.01, [there]), (0.7, 0.01, [there]), (0.8, 0.01, [here])]
        )
    )
    assert front.setting == there.setting
    assert {p.speed.hardware for p in front.points} == {"a GPU"}
    assert [p.index for p in front.points] == [0, 1, 2]
    assert front.elsewhere == ("m3",)
    assert "a GPU" in rule(front)
    assert "left out: m3" in rule(front)
    assert word(front, 3) == "–"
    for change in ({"batch_size": 64}, {"precision": "bfloat16"}, {"hardware": "a CPU, 4 threads"}):
        pair = [(0.5, 0.01, [here]), (0.6, 0.01, [here]), (0.7, 0.01, [replace(here, **change)])]
        assert [p.index for p in front_of(board_of(pair)).points] == [0, 1]


def test_macs_stand_in_where_no_two_models_share_a_machine():
    models = [(0.5, 0.01, [speed(10, 100, hardware="a")]), (0.6, 0.01, [speed(99, 300, hardware="b")])]
    front = front_of(board_of(models))
    assert (front.axis, front.setting) == ("MACs", None)
    assert front.places == ("line", "line")
    assert "MACs" in front_chart(front, "robustness")
    assert "a," not in rule(front)
    one = front_of(board_of(models[:1]))
    assert (one.axis, one.setting) == ("images/s", ("a", "float32", 32))


def test_models_that_are_not_ranked_are_not_in_it():
    board = board_of([(0.9, 0.01, [speed(9000)]), (0.5, 0.01, [speed(10)])])
    half = replace(board, entries=(replace(board.entries[0], rank=None), board.entries[1]))
    assert [p.index for p in front_of(half).points] == [1]
    none = replace(board, entries=tuple(replace(e, rank=None) for e in board.entries))
    assert front_of(none) is None


@pytest.mark.parametrize(
    "bad", [{"low": -1.0}, {"low": math.nan}, {"macs": -1}, {"batch_size": 0}, {"hardware": "x" * 999}]
)
def test_a_measurement_that_cannot_be_true_counts_as_none(bad):
    assert front_of(board_of([(0.5, 0.01, [replace(speed(100), **bad)])])) is None


def test_the_words_name_everybody_on_the_front():
    board = board_of(
        [
            (0.6, 0.01, [speed(1000)]),
            (0.595, 0.01, [speed(900)]),
            (0.4, 0.01, [speed(4000)]),
            (0.3, 0.01, [speed(100)]),
        ]
    )
    front = front_of(board)
    assert headline(front) == (
        "On the front: m0 and m2. m1 lies behind the line, but no model is surely faster and surely better. "
        "1 model is off it."
    )


@pytest.mark.parametrize(("low", "high"), [(-0.3, 0.5), (1.9, 3.1), (0.0, 9.0), (2.2, 2.9)])
def test_ticks_are_round_inside_and_at_least_two(low, high):
    found = log_ticks(low, high)
    assert 2 <= len(found) <= 12
    assert all(low <= math.log10(v) <= high for v in found)
    assert all(f"{v:.6e}"[0] in "125" and float(f"{v:.6e}"[1:8]) == 0 for v in found)


@pytest.mark.parametrize("seed", range(5))
def test_numbers_are_shown_to_three_digits(seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    for value in 10 ** rng.uniform(-1, 9, 200):
        assert float(rate(value).replace(",", "")) == pytest.approx(float(f"{value:.3g}"), rel=1e-9)
        said, sign = macs(value * 1000).split()
        assert float(said.replace(",", "")) * {"k": 1e3, "M": 1e6, "G": 1e9}[sign] == pytest.approx(
            value * 1000, rel=0.0051
        )


def places(source: str) -> dict[int, tuple[float, float]]:
    """Where each model's marker is, by the bars of its intervals."""
    found = {}
    for m, x, low, high in re.findall(
        r'at-\w+" data-m="(\d+)"><path class="range" d="M([\d.]+) ([\d.]+)V([\d.]+)', source
    ):
        found[int(m)] = float(x), (float(low) + float(high)) / 2
    return found


def test_the_chart_has_speed_on_a_logarithmic_axis_and_the_line_through_the_front():
    rates = (100.0, 1000.0, 10_000.0)
    front = front_of(board_of([(0.6 - 0.2 * i, 0.01, [speed(r)]) for i, r in enumerate(rates)]))
    source = front_chart(front, "robustness")
    at = places(source)
    assert at[1][0] - at[0][0] == pytest.approx(at[2][0] - at[1][0], abs=0.11)
    assert at[0][1] < at[1][1] < at[2][1]
    (path,) = re.findall(r'class="stairs" d="([^"]*)"', source)
    corners = [float(x) for x in re.findall(r"H([\d.]+)", path)]
    assert corners == pytest.approx([at[i][0] for i in range(3)], abs=0.11)
    heights = [float(y) for y in re.findall(r"V([\d.]+)", path)]
    assert heights[:3] == pytest.approx([at[i][1] for i in range(3)], abs=0.11)
    assert source.count("<title>") == 3
    assert 'role="img"' in source


def test_the_page_has_the_front_as_a_chart_a_sentence_and_a_table_and_only_where_it_was_measured():
    board = board_of([(0.6 - 0.1 * i, 0.01, [speed(1000.0 * (i + 1), 10**9)]) for i in range(3)])
    source = to_html(board)
    assert source.count('class="stairs"') == 1
    assert "On the front: m0, m1 and m2." in source
    assert "Measured on a CPU, 2 threads: float32, batches of 32" in source
    (table,) = re.findall(r'<table class="sortable speed">.*?</table>', source, re.S)
    assert re.findall(r'<td class="num" data-v="([\d.]+)" title', table) == ["1000.0", "2000.0", "3000.0"]
    assert table.count("1.00 G") == 3
    plain = to_html(replace(board, entries=tuple(replace(e, speeds=()) for e in board.entries)))
    for sign in ('id="h-front"', 'class="stairs"', "Images/s", "On the front"):
        assert sign not in plain


def test_csv_and_markdown_have_the_same_numbers():
    board = board_of([(0.6, 0.01, [speed(1234.5, 4_089_184_256)]), (0.5, 0.01, [])])
    lines = list(csv.DictReader(io.StringIO(render(board, "csv"))))
    first = {(r["macs"], r["images_per_second"], r["measured_on"]) for r in lines if r["model"] == "m0"}
    assert first == {("4089184256", "1234.5", "a CPU, 2 threads; float32, batches of 32")}
    assert {(r["macs"], r["images_per_second"]) for r in lines if r["model"] == "m1"} == {("", "")}
    text = render(board, "markdown")
    assert "| m0 | 60.0 \\[59.0, 61.0\\] | 1,230 \\[1,210, 1,260\\] | 4.09 G | 0.00 M | on the line |" in text
    assert "| m1 | 50.0 \\[49.0, 51.0\\] | – | – | 0.00 M | – |" in text


def test_hostile_hardware_is_only_text():
    board = board_of([(0.6, 0.01, [speed(10, hardware=HOSTILE, torch="<i>")]), (0.5, 0.01, [])])
    source = to_html(board)
    assert "<script>alert(1)" not in source
    assert "<i>" not in source
    assert "\u202e" not in source + render(board, "markdown") + render(board, "csv")
    assert "<script>" not in render(board, "markdown").replace("\\<script\\>", "")
    formula = render(board_of([(0.6, 0.01, [speed(10, hardware="=cmd()")])]), "csv")
    assert "'=cmd()" in formula
