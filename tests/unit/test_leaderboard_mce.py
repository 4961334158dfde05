"""A board ranked by a formula with a unit and a direction of its own, in every format."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pytest
from numpy.typing import NDArray

from robobench.cli.table import board_table
from robobench.formulas.corruption import ALEXNET
from robobench.leaderboard.board import Leaderboard
from robobench.leaderboard.build import build
from robobench.leaderboard.render import FORMATS, render
from robobench.leaderboard.render_json import from_json, to_json
from robobench.suite.suite import ScoreSpec
from robobench.types import Condition
from tests.boards import exact

N = 50
CLEAN = Condition("clean", "clean", "base")
STORED = tuple(
    Condition(f"{c} severity={s}", c, f"{c} severity={s}", along="severity", level=s)
    for c in ALEXNET
    for s in (1, 2, 3, 4, 5)
)
TABLE = np.array([e for errors in ALEXNET.values() for e in errors])


def wrong(share: float, shift: int = 0) -> NDArray[np.int64]:
    """Ranks of the right answer: so many images wrong, the same hard ones first."""
    return (np.roll(np.arange(N), shift) < round(share * N)).astype(np.int64)


def models(**strengths: float) -> dict[str, dict[str, NDArray[np.int64]]]:
    """Models whose errors are AlexNet's times a factor, rounded to whole images."""
    return {
        name: {"clean": wrong(0.4348 * f)}
        | {c.name: wrong(min(1.0, e * f)) for c, e in zip(STORED, TABLE, strict=True)}
        for name, f in strengths.items()
    }


def board(formula: str = "corruption.mce", **strengths: float) -> Leaderboard:
    spec = ScoreSpec("mCE", formula, "ladders", "accuracy.top1")
    return build(exact(models(**strengths), [CLEAN, *STORED], score=spec), resamples=200)


def by_hand(factor: float) -> float:
    """mCE of a model, from its counts."""
    errors = np.round(np.minimum(1.0, TABLE * factor) * N).reshape(15, 5).sum(axis=1) / N
    return float(100 * (errors / TABLE.reshape(15, 5).sum(axis=1)).mean())


BOARD = board(strong=0.3, alike=0.98, alexnet=1.0)


def test_the_lowest_leads() -> None:
    assert [e.name for e in BOARD.entries] == ["strong", "alike", "alexnet"]
    assert BOARD.ranked[0].rank == (1, 1)
    assert not BOARD.higher_is_better
    for entry, factor in zip(BOARD.entries, (0.3, 0.98, 1.0), strict=True):
        assert entry.score.value == pytest.approx(by_hand(factor), abs=1e-6)
        assert entry.score.low < entry.score.value < entry.score.high
        assert (entry.score.unit, entry.score.higher_is_better) == ("% of AlexNet", False)
        assert entry.score.n == N, "the same images at every severity"
        assert entry.ladders["fog"].unit == "fraction"
        assert entry.ladders["fog"].higher_is_better


def test_the_interval_knows_that_the_images_are_the_same() -> None:
    """All 75 conditions fail on the same hard images here: their mean is as uncertain as one of them."""
    score = BOARD.entries[0].score
    one = BOARD.entries[0].cells["fog severity=3"].score("accuracy.top1")
    assert score.high - score.low > 0.5 * 100 * (one.high - one.low)


def test_the_relative_one_has_an_interval_too() -> None:
    """Clean is resampled with the others: it enters this formula."""
    found = board("corruption.relative_mce", strong=0.3, alexnet=1.0)
    assert [e.name for e in found.entries] == ["strong", "alexnet"]
    for entry in found.entries:
        assert entry.score.low <= entry.score.value <= entry.score.high
        assert entry.score.high > entry.score.low


def test_the_mean_error_is_a_share_that_should_be_low() -> None:
    found = board("corruption.mean_error", strong=0.3, alexnet=1.0)
    assert [e.name for e in found.entries] == ["strong", "alexnet"]
    assert found.entries[1].score.value == pytest.approx(0.789, abs=0.005)
    assert "mCE is better when lower." not in render(found, "markdown")
    assert "other columns are accuracy.top1 (%); there higher is better" in _plain(render(found, "markdown"))


def test_an_incomplete_model_is_not_ranked() -> None:
    hits = models(whole=1.0, half=0.5)
    del hits["half"]["snow severity=5"]
    spec = ScoreSpec("mCE", "corruption.mce", "ladders", "accuracy.top1")
    found = build(exact(hits, [CLEAN, *STORED], score=spec), resamples=50)
    assert [(e.name, e.rank) for e in found.entries] == [("whole", (1, 1)), ("half", None)]
    assert np.isnan(found.entries[1].score.value)


def _plain(text: str) -> str:
    return text.replace("\\", "")


def test_markdown_and_html_say_unit_and_direction() -> None:
    value = f"{by_hand(0.3):.1f}"
    for name in ("markdown", "html"):
        text = _plain(render(BOARD, name))
        assert re.search(rf"strong leads with a mCE of {value} % of AlexNet \[\d+\.\d, \d+\.\d\]", text)
        assert "of accuracy.top1; lower is better." in text
        assert "The other columns are accuracy.top1 (%); there higher is better." in text
    assert "| mCE (% of AlexNet) |" in _plain(render(BOARD, "markdown"))
    page = render(BOARD, "html")
    assert "<h3>fog <small>accuracy.top1, %, along severity</small></h3>" in page
    assert page.count(">accuracy.top1 (%)</text>") == 15  # the curves' axes
    assert ">mCE (% of AlexNet)</text>" in page  # the scatter's


def test_csv_says_unit_and_direction_line_by_line() -> None:
    lines = list(csv.DictReader(io.StringIO(render(BOARD, "csv"))))
    scores = {r["model"]: r for r in lines if r["kind"] == "score"}
    assert float(scores["strong"]["value"]) == pytest.approx(by_hand(0.3), abs=1e-6)
    assert {(r["unit"], r["higher_is_better"]) for r in scores.values()} == {("% of AlexNet", "no")}
    others = {(r["unit"], r["higher_is_better"]) for r in lines if r["kind"] != "score"}
    assert others == {("fraction", "yes")}


def test_json_goes_there_and_back() -> None:
    found = json.loads(render(BOARD, "json"))
    assert found["higher_is_better"] is False
    assert found["entries"][0]["score"]["unit"] == "% of AlexNet"
    again = from_json(to_json(BOARD))
    assert again == BOARD
    for name in FORMATS:
        assert render(again, name) == render(BOARD, name)


def test_the_terminal_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    board_table(BOARD)
    shown = capsys.readouterr().out
    score = BOARD.entries[0].score
    assert re.search(rf" {score.value:.1f} +{score.low:.1f}–{score.high:.1f} ", shown)
    assert "The 15 ladders do not fit in here" in shown
    assert "mCE is in % of AlexNet, better when lower." in " ".join(shown.split())


def test_a_board_of_accuracies_says_nothing_more(capsys: pytest.CaptureFixture[str]) -> None:
    plain = board("mean", strong=0.3, alexnet=1.0)
    assert plain.higher_is_better
    assert "other columns" not in render(plain, "markdown") + render(plain, "html")
    board_table(plain)
    assert "better when lower" not in capsys.readouterr().out
