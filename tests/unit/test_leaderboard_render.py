"""What the formats say of a board, and that nothing a model is called can break them."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from robobench.errors import StoreError, UnknownName
from robobench.leaderboard import text
from robobench.leaderboard.build import build
from robobench.leaderboard.render import FILES, FORMATS, render
from robobench.leaderboard.render_json import from_json, to_json
from robobench.leaderboard.render_markdown import escaped
from robobench.types import Score, Yardstick
from tests.boards import HOSTILE, condition, exact, realistic, with_troubles

BOARD = build(realistic(n=80), resamples=200)
TROUBLED = build(with_troubles(realistic(n=80)), resamples=200)
OF = "accuracy.top1"


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_board_gives_the_same_text(name):
    again = build(with_troubles(realistic(n=80)), resamples=200)
    assert render(again, name) == render(TROUBLED, name)
    assert name in FILES


def test_an_unknown_format_is_answered():
    with pytest.raises(UnknownName, match="unknown leaderboard format 'markdwon'; did you mean 'markdown'"):
        render(BOARD, "markdwon")


def untouched(board):
    """With a level whose images are the clean ones: their ratio of signal to noise is infinite."""
    first = board.ladders[0]
    level = replace(first.levels[0], yardstick=Yardstick(math.inf, 1.0, 80))
    return replace(board, ladders=(replace(first, levels=(level, *first.levels[1:])), *board.ladders[1:]))


@pytest.mark.parametrize(
    "board", [BOARD, TROUBLED, untouched(BOARD)], ids=["whole", "troubled", "untouched"]
)  # fmt: skip
def test_every_format_can_be_made_again_from_the_json(board):
    back = from_json(to_json(board))
    for name in FORMATS:
        assert render(back, name) == render(board, name)


def test_json_round_trips_every_value():
    assert from_json(to_json(BOARD)) == BOARD  # nothing undefined in it, so equality is meaningful
    back = from_json(to_json(TROUBLED))
    assert math.isnan(back.entries[-1].score.value)
    assert HOSTILE in [e.name for e in back.entries]
    assert "NaN" not in to_json(TROUBLED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: "{", "not a leaderboard: line 1"),
        (lambda d: "[]", "expected a JSON object with a number `format`"),
        (lambda d: {**d, "format": True}, "expected a JSON object with a number `format`"),
        (
            lambda d: {**d, "format": 5},
            "a leaderboard of format 5, this robobench reads formats up to 4: upgrade",
        ),
        (lambda d: {**d, "format": 0}, "format 0, .* make it again with `robobench leaderboard`"),
        (lambda d: {k: v for k, v in d.items() if k != "entries"}, "leaderboard: 'entries' is missing"),
        (lambda d: {**d, "more": 1}, "leaderboard: 'more' is unknown"),
        (lambda d: {**d, "resamples": "many"}, r"leaderboard\.resamples: expected int, got str"),
        (lambda d: {**d, "entries": {}}, r"leaderboard\.entries: expected list, got dict"),
        (
            lambda d: {**d, "entries": [{**d["entries"][0], "rank": [1, 2, 3]}]},
            r"leaderboard\.entries\[0\]\.rank: expected 2 values, got 3",
        ),
    ],
)
def test_json_that_is_no_leaderboard_says_where(change, message):
    changed = change(json.loads(to_json(BOARD)))
    with pytest.raises(StoreError, match=message):
        from_json(changed if isinstance(changed, str) else json.dumps(changed))


def rows_of_csv(board):
    return list(csv.DictReader(io.StringIO(render(board, "csv"))))


def test_csv_holds_every_score_of_every_cell():
    rows = rows_of_csv(TROUBLED)
    cells = {(r["model"], r["condition"], r["metric"]): r for r in rows if r["kind"] == "condition"}
    count = 0
    for entry in TROUBLED.entries:
        for name, cell in entry.cells.items():
            for score in cell.scores:
                row = cells[text.shown(entry.name), name, score.name]
                for key, value in (("value", score.value), ("low", score.low), ("high", score.high)):
                    assert row[key] == ("" if math.isnan(value) else repr(value))
                assert (int(row["n"]), int(row["expected"])) == (score.n, cell.expected)
                count += 1
    assert count == len(cells) == 4 * 17 * 3
    scores = [r for r in rows if r["kind"] == "score"]
    assert [r["value"] for r in scores][-1] == ""
    assert [(r["rank_best"], r["rank_worst"]) for r in scores][-1] == ("", "")
    assert sum(r["kind"] == "ladder" for r in rows) == 4 * 5


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1+2", "@sum", "\t=1", " =1"])
def test_csv_has_no_formula_in_it(name):
    board = build(exact({name: {"clean": [0], "b": [0]}}, [condition("clean"), condition("b")]), resamples=5)
    for row in rows_of_csv(board):
        assert row["model"].startswith("'")
        assert row["model"] == "'" + text.shown(name)
        assert not row["value"].startswith("'")


def cells_of_markdown(line):
    """The cells of a table's line, as GitHub cuts it: at pipes that are not escaped."""
    return [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]


def tables(markdown):
    """Every table as lists of cells, heads first."""
    found, current = [], []
    for line in [*markdown.split("\n"), ""]:
        if line.startswith("|"):
            current.append(cells_of_markdown(line))
        elif current:
            found.append(current)
            current = []
    return found


def test_markdown_tables_are_whole_and_hold_the_numbers():
    for board in (BOARD, TROUBLED):
        made = tables(render(board, "markdown"))
        assert len(made) == 1 + len(board.ladders) + 2 + 1  # ranking, ladders, further metrics, classes
        for table in made:
            assert len({len(line) for line in table}) == 1
        main = made[0]
        assert len(main) == 2 + len(board.entries)
        for line, entry in zip(main[2:], board.entries, strict=True):
            assert line[0] == text.ranks(entry)
            shown = line[3].replace("\\", "").replace("*", "")
            score = entry.score
            if math.isnan(score.value):
                assert shown == "–"
            else:
                assert shown == f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def test_markdown_leaves_no_markup_of_a_name():
    made = render(TROUBLED, "markdown")
    bare = re.sub(r"\\.", "", made)  # what is left when everything escaped is taken away
    assert "<script" not in bare
    assert "](" not in bare
    assert "`x`" not in bare
    assert "\u202e" not in made
    assert set(re.findall(r"<[^>]*>", bare)) <= {"<details>", "</details>", "<summary>", "</summary>"}


def test_markdown_escapes_links_mentions_and_lists():
    assert "://" not in escaped("https://a.example")
    assert "www." not in escaped("www.example.org")
    assert "@" not in escaped("@someone")
    assert escaped("- item") == "\\- item"
    assert escaped("1. item") == "1\\. item"
    assert escaped("0.5") == "0.5"
    assert escaped("2026-11-22") == "2026-11-22"


def test_troubles_are_said():
    made = render(TROUBLED, "markdown").replace("\\", "")
    assert "## Beware" in made
    assert (
        "**zoo:resnet-digits** is not ranked, it is incomplete: occlusion.random fraction=0.5 (40 of 80 images), "
        "gradient.pgd eps=32/255 (0 of 40 images)" in made
    )
    assert "out of memory at batch 1 (1 image); use a GPU" in made
    assert "## Beware" not in render(BOARD, "markdown")
    assert "## Failures" not in render(BOARD, "markdown")


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        ([], "No model is complete yet, so none is ranked."),
        ([(1, 1)], "m0 has a robustness of 50.0 % [40.0, 60.0]."),
        ([(1, 1), (2, 2)], "m0 leads with a robustness of 50.0 % [40.0, 60.0], clear of every other model."),
        ([(1, 2), (1, 2)], "m0 has the best robustness, 50.0 % [40.0, 60.0], but no model is clearly worse."),
        ([(1, 2), (1, 2), (3, 3)], "m0 has the best robustness, 50.0 % [40.0, 60.0]; one other model is not"),
        ([(1, 3)] * 3 + [(4, 4)], "m0 has the best robustness, 50.0 % [40.0, 60.0]; 2 other models are not"),
    ],
)
def test_the_headline_claims_no_more_than_is_clear(ranks, expected):
    score = Score("robustness", 0.5, 0.4, 0.6, 100)
    entries = tuple(replace(BOARD.entries[0], name=f"m{i}", rank=r, score=score) for i, r in enumerate(ranks))
    assert text.headline(replace(BOARD, entries=entries)).startswith(expected)


def test_an_empty_board_can_be_shown():
    empty = build(exact({}, [condition("clean"), condition("b")], expected={"clean": 1, "b": 1}))
    for name in FORMATS:
        assert render(empty, name)


def test_numbers_are_never_minus_zero():
    assert text.number(-0.0, "fraction") == "0.0"
    assert text.number(-0.00001, "nats") == "0.000"
    assert text.number(-0.25, "fraction") == "-25.0"


def test_a_board_is_built_and_shown_without_heavy_packages():
    program = (
        "import sys; from tests.boards import realistic; from robobench.leaderboard.build import build; "
        "from robobench.leaderboard.render import FORMATS, render; b = build(realistic(n=20), resamples=20); "
        "[render(b, f) for f in FORMATS]; "
        "heavy = {'torch', 'pandas', 'pyarrow', 'scipy', 'sklearn', 'timm', 'datasets', 'duckdb'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
