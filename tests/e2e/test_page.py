"""The page, read back as a browser would parse it: its numbers are the scores, and it loads nothing."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from html.parser import HTMLParser

import pytest

from robobench.leaderboard.build import build
from robobench.leaderboard.render import render
from robobench.leaderboard.render_html import to_html
from robobench.leaderboard.text import number, ranks, shown, span
from tests.boards import HOSTILE, realistic, with_troubles

WHOLE = build(realistic(n=200), resamples=200)
TROUBLED = build(with_troubles(realistic(n=200)), resamples=200)
VOID = {"meta", "link", "img", "input", "br", "hr", "wbr", "base", "embed", "source"}
LOADERS = {
    "src",
    "href",
    "srcset",
    "action",
    "formaction",
    "data",
    "poster",
    "xlink:href",
    "background",
    "ping",
}


class Page(HTMLParser):
    """Every element with its attributes and text, and the tables by row and column."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[dict] = []
        self.open: list[dict] = []
        self.tables: list[dict] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "attrs": dict(attrs), "text": "", "parts": {}}
        self.elements.append(element)
        if tag == "table":
            self.tables.append({"class": element["attrs"].get("class", ""), "rows": []})
        if tag == "tr":
            self.tables[-1]["rows"].append([])
        if tag in ("td", "th"):
            self.tables[-1]["rows"][-1].append(element)
        if tag not in VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)  # which leaves it closed

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1]["tag"] == tag, f"</{tag}> closes <{self.open[-1]['tag']}>"
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data
            if element["tag"] in ("td", "th"):
                inner = self.open[-1]["tag"]
                element["parts"][inner] = element["parts"].get(inner, "") + data

    def numbers(self):
        """Every table cell that is a score, with the head above it."""
        for table in self.tables:
            heads = [h["text"] for h in table["rows"][0]]
            for row in table["rows"][1:]:
                for head, cell in zip(heads, row, strict=True):
                    if "data-k" in cell["attrs"]:
                        yield table["class"], head, row, cell


def scores_of(board):
    """Every score that the page must show: (model, column, metric) -> Score."""
    found = {}
    for m, entry in enumerate(board.entries):
        found[m, "score", board.suite.score.name] = entry.score
        for name, score in entry.ladders.items():
            found[m, f"ladder {name}", score.name] = score
        for name, cell in entry.cells.items():
            for score in cell.scores:
                found[m, name, score.name] = score
        for ladder in board.ladders:
            first = ladder.levels[0].condition
            if entry.cells[first].clean is not None and any(
                e.cells[first].clean is not None for e in board.entries
            ):
                found[m, f"clean of {first}", board.suite.score.of] = entry.cells[first].clean
    for part in board.classes:
        found[None, f"class {part.label} clean", part.clean.name] = part.clean
        found[None, f"class {part.label}", part.hurt.name] = part.hurt
        for m, entry in enumerate(board.entries):
            if entry.name in part.models:
                found[m, f"class {part.label}", part.models[entry.name].name] = part.models[entry.name]
    return found


@pytest.fixture(scope="module", params=["whole", "troubled"])
def case(request):
    board = WHOLE if request.param == "whole" else TROUBLED
    source = render(board, "html")
    return board, source, Page(source)


def test_every_number_on_the_page_is_a_score_and_every_score_is_on_it(case):
    board, _, page = case
    wanted = scores_of(board)
    seen = set()
    for _, _, _, cell in page.numbers():
        attrs = cell["attrs"]
        model = int(attrs["data-m"]) if attrs["data-m"] else None  # of all models together
        key = (model, attrs["data-c"], attrs["data-k"])
        score = wanted[key]
        seen.add(key)
        assert int(attrs["data-n"]) == score.n
        assert cell["parts"]["b"] == number(score.value, score.unit)
        assert f"n = {score.n}" in attrs["title"]
        if math.isnan(score.value):
            assert "data-v" not in attrs
            assert cell["parts"]["b"] == "–"
        else:
            assert [float(attrs[k]) for k in ("data-v", "data-l", "data-h")] == [
                score.value,
                score.low,
                score.high,
            ]
            assert cell["parts"]["small"].startswith(span(score))
    assert seen == set(wanted)


def test_what_a_reader_sees_is_the_number_to_its_last_digit(case):
    """Read from the words alone, without the attributes: heads, names and percentages."""
    board, _, page = case
    by_name = {shown(e.name): e for e in board.entries}
    checked = 0
    for kind, head, row, cell in page.numbers():
        if "levels" not in kind or "same images" in head:
            continue
        entry = by_name[next(c for c in row if c["attrs"].get("scope") == "row")["text"].strip()]
        level = next(
            v for ladder in board.ladders for v in ladder.levels if v.condition == cell["attrs"]["data-c"]
        )
        assert head.startswith(level.label)
        assert head.endswith(f"n = {level.expected}")
        score = entry.cells[level.condition].score("accuracy.top1")
        if math.isnan(score.value):
            continue
        low, high = re.match(r"\[([\d.]+), ([\d.]+)\]", cell["parts"]["small"]).groups()
        told = [float(cell["parts"]["b"]), float(low), float(high)]
        assert told == pytest.approx([100 * v for v in (score.value, score.low, score.high)], abs=0.0501)
        checked += 1
    assert checked >= 4 * 15 - 2


def test_models_stand_in_order_with_their_ranks_and_ties(case):
    board, _, page = case
    rows = page.tables[0]["rows"][1:]
    assert len(rows) == len(board.entries)
    for row, entry in zip(rows, board.entries, strict=True):
        assert row[0]["text"].strip() == ranks(entry)
        assert row[1]["text"].strip() == shown(entry.name)
        ties = [c["text"].split() for c in row if c["attrs"].get("class") == "ties"]
        assert "".join(x for part in ties for x in part) == "".join(entry.ties)
    unranked = [e["attrs"].get("class") for e in page.elements if e["tag"] == "tr"][1 : len(rows) + 1]
    assert unranked == ["unranked" if e.rank is None else "" for e in board.entries]


def test_an_incomplete_cell_says_how_much_of_it_there_is():
    page = Page(render(TROUBLED, "html"))
    partial = {
        (c["attrs"]["data-c"], c["parts"]["small"])
        for *_, c in page.numbers()
        if "partial" in c["attrs"]["class"]
    }
    assert any(name == "occlusion.random fraction=0.5" and "40 of 200" in told for name, told in partial)
    assert ("gradient.pgd eps=32/255", "0 of 100") in partial


def test_every_measured_point_is_in_a_chart(case):
    board, source, page = case
    titles = [e["text"] for e in page.elements if e["tag"] == "title"]
    of = board.suite.score.of
    for entry in board.entries:
        for ladder in board.ladders:
            for level in ladder.levels:
                cell = entry.cells[level.condition]
                score = cell.score(of)
                label = level.label or ladder.name
                told = f"{shown(entry.name)}, {label}: {number(score.value, score.unit)} % {span(score)}, n = {score.n}"
                assert (told in titles) is cell.complete, told
    assert source.count('class="chart"') == len(board.ladders) + 1


def test_points_stand_where_their_numbers_say():
    """Heights of markers on an axis from 0 to 100 %, read back from the drawing."""
    page = Page(render(WHOLE, "html"))
    circles = [e for e in page.elements if e["tag"] == "circle" and e["text"]]
    first = WHOLE.entries[0]
    checked = 0
    for circle in circles:
        told = re.match(re.escape(first.name) + r", (.+): ([\d.]+) %", circle["text"])
        if told is None:
            continue
        top, bottom = 12.0, 264.0 - 44.0  # the frame of a curve
        height = (bottom - float(circle["attrs"]["cy"])) / (bottom - top)
        assert 100 * height == pytest.approx(float(told[2]), abs=0.1)
        checked += 1
    assert checked == sum(len(ladder.levels) + 1 for ladder in WHOLE.ladders)


@pytest.mark.parametrize(("wrong", "top"), [(1, "5"), (8, "10"), (60, "50"), (120, "100")])
def test_small_shares_have_an_axis_of_their_own(wrong, top):
    """200 images of which so many are right; the axis ends at the first round share above the interval."""
    from robobench.leaderboard.svg import curves
    from tests.boards import condition, exact

    hits = [0] * wrong + [1] * (200 - wrong)
    board = build(
        exact({"m": {"clean": hits, "x": hits}}, (condition("clean"), condition("x"))), resamples=20
    )
    ticks = re.findall(r'text-anchor="end">([\d.]+)</text>', curves(board, board.ladders[0]))
    assert max(ticks, key=float) == top


def test_the_page_loads_nothing(case):
    _, _, page = case
    for element in page.elements:
        assert element["tag"] not in (
            "link",
            "img",
            "iframe",
            "object",
            "embed",
            "base",
            "form",
            "audio",
            "video",
        )
        assert not (LOADERS & set(element["attrs"])), element
        assert not [v for v in element["attrs"].values() if v and "://" in v], element
    style = next(e["text"] for e in page.elements if e["tag"] == "style")
    assert "url(" not in style
    assert "@import" not in style
    script = next(e["text"] for e in page.elements if e["tag"] == "script")
    assert "://" not in style + script
    for word in ("fetch(", "XMLHttpRequest", "import(", "eval(", "innerHTML", "document.write", "WebSocket"):
        assert word not in script


def test_only_its_own_script_and_style_may_run(case):
    _, source, page = case
    policy = next(
        e["attrs"]["content"]
        for e in page.elements
        if e["attrs"].get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        parts = [e["text"] for e in page.elements if e["tag"] == tag]
        assert len(parts) == 1
        digest = base64.b64encode(hashlib.sha256(parts[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    for element in page.elements:
        assert "style" not in element["attrs"]
        assert not [a for a in element["attrs"] if a.startswith("on")]
    assert source.index("Content-Security-Policy") < source.index("<style")


def test_a_hostile_name_is_only_text():
    source = to_html(TROUBLED)
    page = Page(source)
    assert "<script>alert" not in source
    assert "\u202e" not in source
    assert sum(e["tag"] == "script" for e in page.elements) == 1
    assert not [e for e in page.elements if e["tag"] == "b" and e["text"] == "vit"]
    named = [e for e in page.elements if e["tag"] == "th" and shown(HOSTILE) in e["text"]]
    assert len(named) == 1 + len(TROUBLED.ladders) + 2 + 1  # ranking, ladders, two more metrics, classes


def test_the_page_can_be_read_without_a_script_and_used_with_a_keyboard(case):
    board, source, page = case
    sortable = [t for t in page.tables if "sortable" in t["class"]]
    assert len(sortable) == len(page.tables)
    tables = {
        "ranking": 1,
        "ladders": len(board.ladders),
        "metrics": len(board.suite.metrics) - 1,
        "classes": 1,
    }
    assert len(sortable) == sum(tables.values())
    buttons = [e for e in page.elements if e["tag"] == "button"]
    assert all(e["attrs"].get("type") == "button" for e in buttons)
    boxes = [e["attrs"] for e in page.elements if e["tag"] == "input"]
    shown_models = [b["data-m"] for b in boxes if "data-m" in b]
    assert shown_models == [str(i) for i in range(len(board.entries))]
    columns = {c["attrs"].get("data-column") for c in page.tables[0]["rows"][0]} - {None}
    families = {e["attrs"]["data-family"] for e in page.elements if "data-family" in e["attrs"]}
    assert {b["value"] for b in boxes if "value" in b} == columns | families
    for element in page.elements:
        if element["attrs"].get("class") == "chart":
            assert element["attrs"]["role"] == "img"
            assert element["attrs"]["aria-label"]
        if element["attrs"].get("class", "").startswith("scroll"):
            assert element["attrs"]["tabindex"] == "0"
    assert "html:not(.js) .needs-js" in source


def test_the_page_says_where_its_numbers_come_from(case):
    board, _, page = case
    words = " ".join(e["text"] for e in page.elements if e["tag"] in ("dd", "dt"))
    for part in (
        board.suite.fingerprint,
        board.suite.command,
        "torch 2.15.0",
        board.suite.hardware,
        board.suite.view,
    ):
        assert part in words
    for entry in board.entries:
        assert entry.weights in words


def test_the_page_is_small(case):
    assert len(case[1].encode()) < 400_000


def test_twelve_models_are_small_too_and_each_has_a_sign_of_its_own():
    board = build(realistic(models=12, n=60), resamples=50)
    source = to_html(board)
    assert len(source.encode()) < 400_000
    page = Page(source)
    legend = source[source.index('id="legend"') : source.index('class="figures"')]
    signs = re.findall(r'<label class="(s\d)">.*?(<svg.*?</svg>)', legend)
    assert len(signs) == 12
    assert len(set(signs)) == 12
    assert page.open == []
