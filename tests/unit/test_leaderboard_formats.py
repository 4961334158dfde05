"""Formats for papers, cards, badges and shelves: what they say, and that a hostile name is only text in each."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import jsonschema
import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

from robobench.cli.main import _run
from robobench.errors import StoreError
from robobench.leaderboard import publish as publishing
from robobench.leaderboard.build import build
from robobench.leaderboard.publish import INDEX, publish, rebuild, shelf, stale
from robobench.leaderboard.render import FILES, render
from robobench.leaderboard.render_badge import badge, to_badge
from robobench.leaderboard.render_bibtex import to_bibtex
from robobench.leaderboard.render_index import to_index
from robobench.leaderboard.render_json import json_schema, to_json
from robobench.leaderboard.render_latex import latex_text, to_latex
from robobench.leaderboard.text import DASH, number, shown
from tests.boards import HOSTILE, realistic, with_troubles

WHOLE = build(realistic(n=200), resamples=200)
TROUBLED = build(with_troubles(realistic(n=200)), resamples=200)
EVIL = HOSTILE + r" \input{/etc/passwd} \end{tabular} % $x^2$ ../../x"
WICKED = replace(
    TROUBLED,
    entries=tuple(replace(e, name=f"{EVIL}{i}", citation=EVIL) for i, e in enumerate(TROUBLED.entries)),
    suite=replace(TROUBLED.suite, title=EVIL, name=EVIL, citation=EVIL),
)
BOARDS = pytest.mark.parametrize("board", [WHOLE, TROUBLED, WICKED], ids=["whole", "troubled", "wicked"])


def table_rows(text):
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    return [line.strip().removesuffix(r" \\").split(" & ") for line in body.splitlines()[1:] if line.strip()]


@BOARDS
def test_a_latex_table_has_a_row_for_each_model_and_a_cell_for_each_column(board):
    text = to_latex(board)
    head = re.search(r"\\toprule\n +(.*) \\\\", text)[1].split(" & ")
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)[1]
    rows = table_rows(text)
    assert len(head) == len(columns) == 4 + len(board.references) + len(board.ladders)
    assert len(rows) == len(board.entries)
    assert {len(r) for r in rows} == {len(head)}
    assert [r[1] for r in rows] == [latex_text(e.name) for e in board.entries]


def test_the_numbers_of_a_latex_table_are_the_board_s():
    for row, entry in zip(table_rows(to_latex(WHOLE)), WHOLE.entries, strict=True):
        scores = [entry.cells[r.condition].score("accuracy.top1") for r in WHOLE.references]
        scores += [entry.ladders[ladder.name] for ladder in WHOLE.ladders] + [entry.score]
        for cell, score in zip(row[2:-1], scores, strict=True):
            value, low, high = re.fullmatch(
                r"(?:\\textbf\{)?([\d.]+)\}?\\rbinterval\{([\d.]+)\}\{([\d.]+)\}", cell
            ).groups()
            assert [value, low, high] == [number(v, score.unit) for v in (score.value, score.low, score.high)]


def test_the_best_and_what_ties_with_it_are_bold():
    rows = table_rows(to_latex(WHOLE))
    bold = {r[1] for r in rows if r[-2].startswith(r"\textbf")}
    assert bold == {latex_text(e.name) for e in WHOLE.ranked if e.rank[0] == 1}
    for column, ladder in enumerate(WHOLE.ladders, start=2 + len(WHOLE.references)):
        best = max(e.ladders[ladder.name].value for e in WHOLE.entries)
        for row, entry in zip(rows, WHOLE.entries, strict=True):
            assert row[column].startswith(r"\textbf") is (entry.ladders[ladder.name].high >= best)


def test_what_is_undefined_or_doubted_says_so_in_latex():
    text = to_latex(TROUBLED)
    assert latex_text(DASH) in text
    assert r"\textbf{nan" not in text
    assert r"\rbinterval{nan" not in text


def test_latex_leaves_no_command_of_a_name():
    text = to_latex(WICKED)
    allowed = {
        "usepackage", "providecommand", "rbinterval", "scriptsize", "begin", "end", "centering", "caption",
        "label", "toprule", "midrule", "bottomrule", "textbf", "textbackslash", "textasciicircum",
        "textasciitilde", "textless", "textgreater", "textbar", "textquotedbl", "textquotesingle",
        "textasciigrave", "textendash", "textemdash", "textdagger", "textdaggerdbl", "texttimes", "textpm",
        "textdegree", "textmu", "le", "ge", "ldots",
    }  # fmt: skip
    assert set(re.findall(r"\\([A-Za-z]+)", text)) <= allowed
    assert text.count(r"\end{") == 2
    assert re.search(r"\\label\{tab:robobench-[A-Za-z0-9-]+\}", text)
    body = text[text.index(r"\begin{table}") :]
    assert not re.search(r"(?<!\\)%", body)
    assert len(re.findall(r"(?<!\\)\$", body)) % 2 == 0


@BOARDS
def test_bibtex_has_every_citation_once_under_keys_of_its_own(board):
    text = to_bibtex(board)
    keys = re.findall(r"^@misc\{([A-Za-z0-9]+),$", text, re.M)
    assert len(keys) == text.count("@") == len(set(keys))
    cited = {c for c in (board.suite.citation, *(e.citation for e in board.entries)) if c}
    assert len(keys) == 1 + len(cited)
    for citation in cited:
        assert text.count(f"howpublished = {{{latex_text(citation)}}}") == 1
    depth = 0
    for character in re.sub(r"\\[{}]", "", text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0


def test_a_citation_gives_a_key_and_a_year():
    board = replace(
        WHOLE, suite=replace(WHOLE.suite, citation="Naseer et al., Intriguing Properties, NeurIPS 2021")
    )
    entry = to_bibtex(board).split("@misc")[2]
    assert entry.startswith("{naseer2021intriguing,")
    assert "year = {2021}" in entry


@BOARDS
def test_the_hub_reads_the_model_cards(board):
    found = yaml.safe_load(render(board, "card"))["model-index"]
    assert [m["name"] for m in found] == [shown(e.name) for e in board.entries]
    for model, entry in zip(found, board.entries, strict=True):
        _, results = model_index_to_eval_results([model])
        values = {r.metric_name: r.metric_value for r in results}
        wanted = {f"{name} (fraction)": s.value for name, s in entry.ladders.items() if s.value == s.value}
        assert {k: v for k, v in values.items() if k in wanted} == wanted
        assert not [v for v in values.values() if v != v]


@BOARDS
def test_a_badge_is_one_svg_without_anything_to_load(board):
    root = ET.fromstring(to_badge(board))  # noqa: S314
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert {e.tag.split("}")[1] for e in root.iter()} <= {"svg", "title", "rect", "path", "g", "text"}
    assert not [a for e in root.iter() for a in e.attrib if a.startswith("on") or "href" in a]
    assert float(root.attrib["width"]) < 700


def test_a_badge_says_who_leads_or_that_nobody_does():
    assert "60.0% best" in badge("suite", "60.0% best")
    first = [e for e in WHOLE.ranked if e.rank[0] == 1]
    words = to_badge(WHOLE)
    assert (first[0].name if len(first) == 1 else f"{len(first)} models tied") in words
    assert DASH in to_badge(replace(WHOLE, entries=()))


@BOARDS
def test_the_schema_describes_what_is_written(board):
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    written = json.loads(to_json(board))
    validator.validate(written)
    for damage in (
        lambda d: d.pop("entries"),
        lambda d: d.update(more=1),
        lambda d: d["suite"].update(seed="0"),
        lambda d: d["entries"][0].update(rank=[1, 2, 3]),
        lambda d: d["entries"][0]["score"].update(value="high"),
    ):
        broken = json.loads(json.dumps(written))
        damage(broken)
        assert not validator.is_valid(broken)


class Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("href", "src")]


def test_the_index_links_to_boards_and_loads_nothing():
    text = to_index({"one": WHOLE, "a b&<x>": WICKED})
    page = Links(text)
    assert page.links == ["one/index.html", "a%20b%26%3Cx%3E/index.html"]
    assert "script" not in page.tags
    assert "<script>alert" not in text
    assert "img" not in page.tags
    assert "Content-Security-Policy" in text


def test_a_shelf_is_rebuilt_from_its_data(tmp_path, capsys):
    publish(WHOLE, tmp_path / "one")
    publish(TROUBLED, tmp_path / "two")
    assert stale(tmp_path) == (INDEX,)
    rebuild(tmp_path)
    assert stale(tmp_path) == ()
    assert to_json(shelf(tmp_path)["two"]) == to_json(TROUBLED)
    (tmp_path / "one" / FILES["csv"]).write_text("old")
    (tmp_path / "two" / FILES["latex"]).unlink()
    assert stale(tmp_path) == ("one/leaderboard.csv", "two/leaderboard.tex")
    assert _run(["leaderboard", "build", "--to", str(tmp_path), "--check"]) == 3
    assert "one/leaderboard.csv: is not what its data render to" in capsys.readouterr().out
    assert _run(["leaderboard", "build", "--to", str(tmp_path)]) == 0
    assert _run(["leaderboard", "build", "--to", str(tmp_path), "--check"]) == 0
    assert not [p for p in tmp_path.rglob(".*")]


def test_mistakes_with_a_shelf_are_answered(tmp_path, capsys):
    with pytest.raises(StoreError, match=r"no folder with a leaderboard\.json in it"):
        shelf(tmp_path)
    assert _run(["leaderboard", "--check"]) == 2
    assert "--check belongs to `robobench leaderboard build`" in capsys.readouterr().err
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / FILES["json"]).write_text("{")
    with pytest.raises(StoreError, match=r"broken.leaderboard.json: not a leaderboard: line 1"):
        rebuild(tmp_path)


def test_publishing_that_is_interrupted_leaves_the_old_board(tmp_path, monkeypatch):
    publish(WHOLE, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    real = publishing.Path.replace

    def fail(self, target):
        if target.name == FILES["html"]:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(publishing.Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        publish(TROUBLED, tmp_path)
    assert (tmp_path / FILES["html"]).read_bytes() == before[FILES["html"]]
    assert {p.name for p in tmp_path.iterdir()} == set(before)
