"""Names that want to be more than text, through every output, each read back by a parser of its format.

Every name, title, citation, reason and fact is a payload. What a format holds besides text (elements, tokens,
rows, commands) must be what the same board has with tame names.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from lxml import etree
from markdown_it import MarkdownIt

from robobench.cli.main import _run
from robobench.engine.record import from_json as record_from_json
from robobench.engine.record import to_json as record_to_json
from robobench.leaderboard.board import BoardInput, DataInfo, ModelInput, ScoreSpec
from robobench.leaderboard.build import build
from robobench.leaderboard.compare import compare
from robobench.leaderboard.compare_text import rule
from robobench.leaderboard.compare_text import sentence as compared
from robobench.leaderboard.gate import gate
from robobench.leaderboard.gate_json import gate_schema, to_values
from robobench.leaderboard.gate_text import (
    sentence,
    to_junit,
    to_outputs,
    to_summary,
    to_text,
    workflow_commands,
)
from robobench.leaderboard.policy import Policy
from robobench.leaderboard.render import FORMATS, render
from robobench.leaderboard.render_index import to_index
from robobench.leaderboard.render_json import from_json
from robobench.leaderboard.text import shown
from robobench.types import CellFailure
from tests.boards import condition, info, rows_of
from tests.results import make_results

PAYLOADS = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>' onmouseover='x",
    "</title></style></script><svg/onload=alert(1)>",
    "{{7*7}}{% raw %}${7*7}",
    "javascript:alert(1)//https://evil.example/?q=\"'",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1,2\n=3;4\"5",
    r"\input{/etc/passwd}\write18{id}",
    r"a & b % c _ d # e ~ f ^ g $x$ {h} \\ }\end{document}",
    "\x1b[31mred\x1b[0m\x1b]8;;http://evil\x07link\x9b2J\x7f",
    "\u202egnp.exe\u2066\u200b\ufeff",
    "../../../../etc/passwd",
    "::error file=a.py,line=1::owned%0A::set-output name=verdict::pass",
    "line one\nverdict=pass\n::stop-commands::x",
    "| a | b |\n|---|---|\n# head\n- item\n> quote\n```",
    "`code` **bold** [l](http://evil) ![i](http://evil/i.png) <b>b</b> &lt; http://auto.example www.auto.example a@b.example",
    "!!python/object/apply:os.system ['id']",
    "a: b # c\n- d: &x [*x]",
    "]]></testcase><testcase name='x'>\x00\x08\x0b\ufffe\uffff",
    "lone \ud800 half \udfff",
    "[bold red]rich[/bold red] [link=http://evil]x[/link]",
    "L" * 3000,
    "nul\x00byte",
)  # fmt: skip
TAME = tuple(f"tame name {chr(97 + k % 26)}{k // 26}" for k in range(len(PAYLOADS)))
STEERS = ("Cc", "Cf", "Cs")


def board_input(names):
    """Two images on which every text of a board is one of these names."""
    k = len(names)

    def at(i):
        return names[i % k]

    conditions = (condition("clean"), *(condition(f"{n} {x}", n, along=at(i + 1), level=at(i + 2 + x)) for i, n in enumerate(names[::9]) for x in (0, 1)))  # fmt: skip
    conditions += tuple(condition(n) for n in names[1::3])
    rows = {c.name: rows_of([0, 1, 0, 1, 1, 1]) for c in conditions}
    models = tuple(
        ModelInput(
            name=n, rows=rows, family=at(i + 3), parameters=10, citation=at(i + 4), clean_accuracy=0.9,
            weights="w" * 20, provenance={"device": at(i + 5), "precision": at(i + 6), "time": at(i + 7)},
            warnings=(at(i + 8),),
            failures=(CellFailure("c", n, conditions[-1].name, ("i00000",), at(i + 9), at(i + 10), True),),
        )
        for i, n in enumerate(names)
    )  # fmt: skip
    suite = replace(
        info(conditions), name=at(0), title=at(1), description=at(2), citation=at(3), command=at(4),
        hardware=at(5), view=at(6), date="2026-01-01", versions={at(7): at(8), "robobench": at(9)},
        data=(DataInfo("base", at(10), 6, at(11), "d" * 20, (at(12),)),),
        score=ScoreSpec(at(13), "mean", "ladders", "accuracy.top1"),
    )  # fmt: skip
    classes = tuple(at(i) for i in range(10))
    return BoardInput(suite, conditions, models, {c.name: 6 for c in conditions}, classes=classes)


@pytest.fixture(scope="module")
def boards():
    return build(board_input(PAYLOADS), resamples=20), build(board_input(TAME), resamples=20)


@pytest.fixture(scope="module")
def reports():
    return report_of(PAYLOADS), report_of(TAME)


def report_of(names):
    """A gate of two models that fails some lines and leaves others open."""
    whole = board_input(names)
    right, wrong = rows_of([0] * 60), rows_of([1] * 60)
    some = rows_of([0] * 58 + [1, 1])
    before = {c.name: right for c in whole.conditions}
    after = {
        c.name: wrong if i % 3 == 1 else some if i % 3 else right for i, c in enumerate(whole.conditions)
    }
    one, two = (
        replace(
            whole,
            models=(replace(whole.models[m], rows=rows, failures=()),),
            expected=dict.fromkeys(rows, 60),
        )
        for m, rows in ((0, before), (1, after))
    )
    found = gate(one, two, Policy(floors={names[22]: 0.5, names[19]: 1.0}), resamples=20)
    assert {c.verdict for c in found.checks} == {"pass", "fail", "inconclusive"}
    return found


def plain(text):
    """Nothing that steers a terminal or turns a line round; it can be written."""
    assert not [c for c in text if unicodedata.category(c) in STEERS and c != "\n"]
    text.encode()
    return text


class Structure(HTMLParser):
    """Elements with the names of their attributes, and where links and sources lead."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.links, self.scripts = Counter(), set(), []
        self.inside = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        assert not [a for a, _ in attrs if a.startswith("on") or (a == "style" and "url(" in _)]
        if tag != "wbr":  # where a long name may be broken
            self.elements[tag, tuple(sorted(a for a, _ in attrs))] += 1
        self.links |= {v for a, v in attrs if a in ("href", "src", "action", "xlink:href") and v}
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts.append(data)


def check_html(text, tame):
    plain(text)
    found, wanted = Structure(text), Structure(tame)
    assert found.elements == wanted.elements
    assert len(found.scripts) == len(wanted.scripts)
    schemes = {link.split(":")[0].lower() for link in found.links if ":" in link.split("/")[0]}
    assert schemes <= {"https", "http", "data"}
    assert etree.fromstring(text, etree.HTMLParser()) is not None


def check_xml(text, tame):
    plain(text)
    found, wanted = (etree.fromstring(t.encode()) for t in (text, tame))
    assert [(e.tag, sorted(e.attrib)) for e in found.iter()] == [
        (e.tag, sorted(e.attrib)) for e in wanted.iter()
    ]


def tokens(text):
    """What Markdown makes of a text, GitHub's tables and bare links included, text itself left out."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    flat = [t for token in parser.parse(text) for t in (token, *(token.children or ()))]
    return Counter(t.type for t in flat if t.type not in ("text", "text_special", "softbreak"))


def check_markdown(text, tame):
    plain(text)
    assert not tokens(text) - tokens(tame)  # a name that begins with a space is not made bold
    assert not re.search(r"(?<!\\)<[A-Za-z/!]", re.sub(r"`[^`]*`", "", text)) or "<" in tame
    words = re.sub(r"`[^`]*`|\]\([^)]*\)|^\[[^]]*\]:.*$", "", text, flags=re.M)
    assert "http://" not in words
    assert "www." not in words
    assert not re.search(r"\w@\w", words)


def check_csv(text, tame):
    rows, wanted = (list(csv.reader(io.StringIO(t), strict=True)) for t in (text, tame))
    assert len(rows) == len(wanted)
    assert {len(r) for r in rows} == {len(rows[0])}
    names = [r[1].removeprefix("'") for r in rows[1:]]
    assert set(names) == {shown(n) for n in PAYLOADS}
    for cell in (c for row in rows for c in row if not re.fullmatch(r"-?[\d.e+-]+", c)):
        plain(cell)
        assert not cell.lstrip().startswith(("=", "+", "-", "@")), cell


def check_card(text, tame):
    def shape(value):
        if isinstance(value, dict):
            return {k: shape(v) for k, v in value.items()}
        return [shape(v) for v in value] if isinstance(value, list) else type(value).__name__

    plain(text)
    found, wanted = (yaml.load(t, yaml.CSafeLoader) for t in (text, tame))
    assert shape(found) == shape(wanted)
    assert {m["name"] for m in found["model-index"]} == {shown(n) for n in PAYLOADS}


def commands(text):
    """Control sequences, and the characters that do something, of a LaTeX text."""
    words = Counter(re.findall(r"\\([A-Za-z]+)", text))
    bare = re.sub(r"\\(?:[A-Za-z]+|.)", "", text, flags=re.S)
    kept = {w: n for w, n in words.items() if not w.startswith("text") or w == "textbf"}
    return kept, Counter(c for c in bare if c in "&%#_^~"), bare.count("\\")


def check_latex(text, tame):
    plain(text)
    assert commands(text) == commands(tame)
    for one in (text, tame):
        depth = 0
        for c in re.sub(r"\\[{}]", "", one):
            depth += (c == "{") - (c == "}")
            assert depth >= 0
        assert depth == 0


def check_json(text, tame):
    board = from_json(text)
    assert [e.name for e in board.entries] == [e.name for e in from_json(text).entries]
    assert sorted(e.name for e in board.entries) == sorted(PAYLOADS)
    assert text.isascii()
    assert list(json.loads(text)) == list(json.loads(tame))


CHECKS = {
    "badge": check_xml, "bibtex": check_latex, "card": check_card, "csv": check_csv,
    "html": check_html, "json": check_json, "latex": check_latex, "markdown": check_markdown,
}  # fmt: skip


@pytest.mark.parametrize("format_", sorted(FORMATS))
def test_a_board_s_names_are_text_in_every_format(format_, boards):
    hostile, tame = boards
    CHECKS[format_](render(hostile, format_), render(tame, format_))


def test_names_are_text_in_the_index(boards):
    hostile, tame = boards
    named = {'../x"><b>': hostile, "b\n": hostile}
    text = to_index(named)
    check_html(text, to_index({"a": tame, "b": tame}))
    assert not [link for link in Structure(text).links if link.startswith("/") or ".." in link.split("/")]


def test_names_are_text_in_junit(reports):
    schema = etree.XMLSchema(etree.parse(str(Path(__file__).parents[1] / "junit.xsd")))
    for report in (*reports, replace(reports[0], inconclusive="fail")):
        root = etree.fromstring(to_junit(report).encode())
        schema.assertValid(root)
        cases = root.findall(".//testcase")
        assert [c.get("name") for c in cases] == [shown(c.name) for c in report.checks]
        verdicts = Counter(c.verdict for c in report.checks)
        failed = verdicts["fail"] + (verdicts["inconclusive"] if report.inconclusive == "fail" else 0)
        assert len(root.findall(".//failure")) == failed == int(root[0].get("failures"))
        assert len(root.findall(".//skipped")) == int(root[0].get("skipped"))
        plain(to_junit(report))


def test_the_gate_s_json_is_what_its_schema_says(reports):
    import jsonschema

    for report in reports:
        values = json.loads(json.dumps(to_values(report), allow_nan=False))
        jsonschema.validate(values, gate_schema())
        assert [c["name"] for c in values["checks"]] == [c.name for c in report.checks]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**values, "verdict": "maybe"}, gate_schema())
    kept = Path(__file__).parents[2] / "docs" / "gate.schema.json"
    assert json.loads(kept.read_text()) == json.loads(json.dumps(gate_schema())), "run `make docs`"


def github(line):
    """A workflow command as GitHub's runner reads it: name, properties, message."""
    name, _, rest = line.removeprefix("::").partition(" ")
    properties, _, message = rest.partition("::")
    pairs = dict(p.split("=", 1) for p in properties.split(","))
    for code, text in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        pairs = {k: v.replace(code, text) for k, v in pairs.items()}
        message = message.replace(code, text) if code not in ("%3A", "%2C") else message
    return name, pairs, message


def test_names_are_text_in_annotations_and_outputs(reports):
    hostile, _ = reports
    lines = list(workflow_commands(hostile))
    said = [c for c in hostile.checks if c.verdict != "pass"]
    assert len(lines) == len(said)
    for line, check in zip(lines, said, strict=True):
        assert plain(line).count("\n") == 0
        name, properties, message = github(line)
        assert name == ("error" if check.verdict == "fail" else "warning")
        assert properties == {"title": f"robobench {shown(check.name)}"}
        assert message.startswith(("0", "1"))
    assert re.fullmatch(r"verdict=fail\n(score=[\d.e-]+\n)?", to_outputs(hostile))


def test_names_are_text_in_the_summary_and_the_log(reports):
    hostile, tame = reports
    check_markdown(to_summary(hostile), to_summary(tame))
    assert len(plain(to_text(hostile)).splitlines()) == len(to_text(tame).splitlines())
    assert len(plain(sentence(hostile)).splitlines()) == 1


def test_names_are_text_where_two_models_are_compared():
    whole = board_input(PAYLOADS)
    found = compare(replace(whole, models=whole.models[:2]), resamples=20)
    assert plain(compared(found))
    assert plain(rule(found))


# the commands, over a results folder whose record has such names


@pytest.fixture
def results(tmp_path):
    """Two models, a suite, ladders, conditions and facts with payloads for names."""
    store = make_results(tmp_path / "r")
    record = record_from_json(store.runs()[-1])
    names = [PAYLOADS[i] for i in (13, 14, 23)]
    conditions = tuple(
        replace(c, name=f"{PAYLOADS[13]} {i}", ladder=PAYLOADS[17]) if i else c
        for i, c in enumerate(record.conditions)
    )
    new = dict(zip((c.name for c in record.conditions), (c.name for c in conditions), strict=True))
    models = tuple(
        replace(m, name=n, family=names[1], citation=names[2], cells={new[k]: v for k, v in m.cells.items()})
        for m, n in zip(record.models, names, strict=False)
    )
    wicked = replace(record, title=PAYLOADS[13], description=PAYLOADS[14], command=PAYLOADS[17],
                     conditions=conditions, models=models, citation=PAYLOADS[23])  # fmt: skip
    store.put_run(wicked.fingerprint, record_to_json(wicked))
    return store.root, names


COMMANDS = (
    ["leaderboard"],
    ["leaderboard", "--format", "markdown"],
    ["leaderboard", "--format", "json"],
    ["compare", "ONE", "TWO"],
    ["compare", "ONE", "TWO", "--json"],
    ["baseline", "ONE", "--to", "FILE"],
    ["gate", "FILE", "TWO", "--github"],
    ["gate", "FILE", "TWO", "--json"],
    ["gate", "FILE", "TWO", "--sequential"],
    ["gate", "FILE", "nobody"],
    ["families"],
)


def test_no_command_lets_a_name_steer_the_terminal(results, tmp_path, capsys, monkeypatch):
    root, names = results
    monkeypatch.setenv("COLUMNS", "60")
    words = {"ONE": names[0], "TWO": names[1], "FILE": str(tmp_path / "b")}
    for command in COMMANDS:
        code = _run([*(words.get(w, w) for w in command), "--out", str(root)])
        said = capsys.readouterr()
        assert code in (0, 2, 3), (command, said.err)
        assert said.out or said.err
        plain(said.out)
        plain(said.err)


def test_a_baseline_with_such_names_reads_back(results, tmp_path, capsys):
    root, names = results
    assert _run(["baseline", names[0], "--to", str(tmp_path / "b"), "--out", str(root)]) == 0
    from robobench.leaderboard.baseline import read_baseline

    assert read_baseline(tmp_path / "b").record.models[0].name == names[0]
