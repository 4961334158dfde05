"""Figures for papers: their numbers are the board's, their files are whole and the same each time."""

from __future__ import annotations

import builtins
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from robobench.cli.main import _run
from robobench.errors import MissingExtra, StoreError
from robobench.leaderboard.board import Leaderboard
from robobench.leaderboard.build import build
from robobench.leaderboard.figure_style import PALETTE, style
from robobench.leaderboard.figures import NARROW, WIDE, curve, figures, save_figures, scatter
from robobench.leaderboard.render_html import asset
from robobench.leaderboard.scatter import fit_of
from tests.boards import HOSTILE, realistic, with_troubles
from tests.results import make_results

pytest.importorskip("matplotlib")

BOARD = build(realistic(models=6, n=200, seed=2), resamples=50)  # five have a finite logit: there is a line
OF = "accuracy.top1"
NAMES = (HOSTILE, "$x^2$ \\frac", "_hidden", "\x00\x1b[31mred", "\ufffe\uffff&<b>", "a" * 300)


@pytest.fixture
def styled():
    with style():
        yield


def hostile() -> Leaderboard:
    entries = tuple(replace(e, name=n) for e, n in zip(BOARD.entries, NAMES, strict=True))
    ladders = (replace(BOARD.ladders[0], name="../../$a_b$\x00", along="$\\alpha$"), *BOARD.ladders[1:])
    entries = tuple(
        replace(e, ladders={**e.ladders, "../../$a_b$\x00": next(iter(e.ladders.values()))}) for e in entries
    )
    return replace(BOARD, entries=entries, ladders=ladders)


def segments(axes):
    return [
        tuple(map(tuple, s)) for c in axes.collections if hasattr(c, "get_segments") for s in c.get_segments()
    ]


def parsed(text):
    return ElementTree.fromstring(text)  # noqa: S314


def points(axes):
    return [(float(x), float(y)) for line in axes.lines for x, y in zip(*line.get_data(), strict=True)]


def texts(figure):
    return [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text"))]


def test_the_ranking_holds_every_score_and_interval(styled):
    axes = figures(BOARD)["ranking"].axes[0]
    assert points(axes) == [(e.score.value, i) for i, e in enumerate(BOARD.entries)]
    assert segments(axes) == [
        ((e.score.low, i), (e.score.high, i)) for i, e in enumerate(BOARD.entries)
    ]  # fmt: skip
    assert axes.yaxis_inverted()


def test_the_scatter_holds_both_numbers_and_the_line(styled):
    axes = scatter(BOARD).axes[0]
    clean = [e.cells["clean"].score(OF) for e in BOARD.entries]
    pairs = list(zip(clean, (e.score for e in BOARD.entries), strict=True))
    assert points(axes)[-len(pairs) :] == [(c.value, s.value) for c, s in pairs]
    drawn = segments(axes)
    for c, s in pairs:
        assert ((c.low, s.value), (c.high, s.value)) in drawn
        assert ((c.value, s.low), (c.value, s.high)) in drawn
    fit = fit_of(BOARD)
    x, y = axes.lines[0].get_data()
    assert (x[0], x[-1]) == fit.ends
    assert y == pytest.approx(fit.line.at(x))


@pytest.mark.parametrize("ladder", BOARD.ladders, ids=lambda la: la.name)
def test_curves_hold_every_level_and_their_bands(styled, ladder):
    axes = curve(BOARD, ladder).axes[0]
    assert len(axes.lines) == len(BOARD.entries)
    for entry, line, band in zip(BOARD.entries, axes.lines, axes.collections, strict=True):
        start = entry.cells[ladder.levels[0].condition].clean or entry.cells["clean"].score(OF)
        scores = [start, *(entry.cells[v.condition].score(OF) for v in ladder.levels)]
        assert line.get_ydata().tolist() == [s.value for s in scores]
        corners = {tuple(p) for p in band.get_paths()[0].vertices.tolist()}
        assert {(float(k), v) for k, s in enumerate(scores) for v in (s.low, s.high)} <= corners


def test_the_map_holds_every_cell(styled):
    axes = figures(BOARD)["conditions"].axes[0]
    levels = [*BOARD.references, *(v for ladder in BOARD.ladders for v in ladder.levels)]
    drawn = axes.collections[0].get_array()
    expected = [[e.cells[v.condition].score(OF).value for v in levels] for e in BOARD.entries]
    assert np.asarray(drawn).reshape(len(BOARD.entries), -1).tolist() == expected


def test_what_is_missing_is_left_out_and_not_nought(styled):
    board = build(with_troubles(realistic(n=100)), resamples=50)
    drawn = figures(board)
    levels = [*board.references, *(v for ladder in board.ladders for v in ladder.levels)]
    shown = np.ma.asarray(drawn["conditions"].axes[0].collections[0].get_array())
    hidden = np.ma.getmaskarray(shown).reshape(len(board.entries), -1)
    gone = [[not e.cells[v.condition].complete for v in levels] for e in board.entries]
    assert hidden.tolist() == gone
    assert np.sum(gone) == 2
    ranked = [e for e in board.entries if np.isfinite(e.score.value)]
    assert len(points(drawn["ranking"].axes[0])) == len(ranked) < len(board.entries)


def test_widths_fit_the_columns_of_a_paper(styled):
    found = {name: f.get_figwidth() for name, f in figures(BOARD).items()}
    assert found.pop("conditions") == WIDE
    assert set(found.values()) == {NARROW}


def test_a_model_has_the_colour_that_it_has_on_the_page():
    light = asset("page.css").split("@media")[0]
    assert tuple(re.findall(r"--c\d: (#\w+);", light)) == PALETTE


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_files_are_whole_and_the_same_each_time(tmp_path, kind):
    board = replace(BOARD, entries=BOARD.entries[:1], ladders=BOARD.ladders[1:2])
    first = save_figures(board, tmp_path / "a", kind)
    second = save_figures(board, tmp_path / "b", kind)
    assert [p.name for p in first] == [
        f"{n}.{kind}" for n in ("ranking", "clean-vs-score", "conditions", "curve-shuffle-grid")
    ]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted(p.name for p in first)
    for one, two in zip(first, second, strict=True):
        data = one.read_bytes()
        assert data == two.read_bytes()
        if kind == "svg":
            root = parsed(data)
            assert root.tag == "{http://www.w3.org/2000/svg}svg"
            assert root.findall(".//{http://www.w3.org/2000/svg}text")
            assert b"date" not in data
        elif kind == "pdf":
            assert data.startswith(b"%PDF-")
            assert data.rstrip().endswith(b"%%EOF")
            assert b"CreationDate" not in data
        else:
            from PIL import Image

            with Image.open(one) as picture:
                picture.load()
                assert picture.width == round(300 * (WIDE if "conditions" in one.name else NARROW))


def test_hostile_names_are_text_and_nothing_else(tmp_path):
    paths = save_figures(hostile(), tmp_path / "out")
    assert {p.parent for p in paths} == {tmp_path / "out"}
    assert "curve-a-b.svg" in {p.name for p in paths}
    for path in paths:
        text = path.read_text(encoding="utf-8")
        tags = {e.tag.partition("}")[2] for e in parsed(text).iter()}
        assert not tags & {"script", "a", "image", "foreignObject"}
        assert "\x1b" not in text
    words = "".join(parsed(paths[0].read_bytes()).itertext())
    assert "$x^2$ \\frac" in words
    assert "_hidden" in words
    assert "<script>alert(1)</script>" in words


def test_the_legend_names_every_model_also_those_that_begin_with_an_underscore(styled):
    legend = curve(hostile(), BOARD.ladders[1]).legends[0]
    said = [t.get_text() for t in legend.get_texts()]
    assert len(said) == len(NAMES)
    assert "_hidden" in said
    assert all(len(t) <= 34 for t in said)
    assert not any(t.get_parse_math() for t in legend.get_texts())


def test_the_users_own_settings_play_no_part(tmp_path):
    import matplotlib

    board = replace(BOARD, ladders=())
    plain = [p.read_bytes() for p in save_figures(board, tmp_path / "a")]
    with matplotlib.rc_context(
        {"text.usetex": True, "font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}
    ):
        mine = [p.read_bytes() for p in save_figures(board, tmp_path / "b")]
        assert matplotlib.rcParams["font.size"] == 30
    assert plain == mine


def test_a_board_without_a_number_has_no_figures(styled):
    assert figures(replace(BOARD, entries=())) == {}


def test_two_ladders_of_like_names_have_a_file_each(styled):
    ladders = tuple(replace(BOARD.ladders[0], name=n) for n in ("a b", "a-b", "A.B"))
    found = figures(replace(BOARD, ladders=ladders))
    assert [n for n in found if n.startswith("curve")] == ["curve-a-b", "curve-a-b-2", "curve-a-b-3"]


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=re.escape("robobench[figures]")):
        save_figures(BOARD, tmp_path)


def test_a_folder_that_is_a_file_is_a_message(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(StoreError):
        save_figures(replace(BOARD, ladders=()), tmp_path / "f")


def test_the_command_draws_figures(tmp_path, capsys):
    root = make_results(tmp_path / "results").root
    assert _run(["leaderboard", "--out", str(root), "--figures", str(tmp_path / "f"), "--as", "pdf"]) == 0
    assert f"figure: {tmp_path / 'f' / 'ranking.pdf'}" in capsys.readouterr().out
    assert {p.suffix for p in (tmp_path / "f").iterdir()} == {".pdf"}
    assert _run(["leaderboard", "--out", str(root), "--figures", str(tmp_path / "f"), "--as", "jpg"]) == 2
    assert _run(["leaderboard", "--out", str(root), "--as", "png"]) == 2
    assert "--as png belongs to --figures" in capsys.readouterr().err
    assert _run(["leaderboard", "build", "--figures", str(tmp_path / "f")]) == 2
    assert "--figures draws the board of a results folder" in capsys.readouterr().err
