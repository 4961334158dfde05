"""Tables and references in a real LaTeX, hostile names among them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from robobench.leaderboard.build import build
from robobench.leaderboard.render import FILES, render
from robobench.leaderboard.render_json import from_json
from tests.boards import realistic, with_troubles
from tests.unit.test_leaderboard_formats import WICKED

pytestmark = pytest.mark.pages

QUICKSTART = Path(__file__).parents[2] / "leaderboards" / "quickstart"
PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{textcomp}
\usepackage{booktabs}
\usepackage[landscape,margin=1cm]{geometry}
\begin{document}
"""


def run(program, *arguments, cwd):
    done = subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def boards():
    quickstart = from_json((QUICKSTART / FILES["json"]).read_text(encoding="utf-8"))
    return [quickstart, build(with_troubles(realistic(n=100)), resamples=50), WICKED]


def test_every_table_compiles_unedited_with_intervals_and_without(tmp_path):
    assert shutil.which("pdflatex"), "no LaTeX: `make test-pages` installs it"
    tables = "\n".join(render(b, "latex") for b in boards())
    short = (
        r"\renewcommand{\rbinterval}[2]{}" + "\n" + render(boards()[0], "latex").replace("tab:", "tab:short-")
    )
    (tmp_path / "paper.tex").write_text(f"{PREAMBLE}{tables}\n{short}\n\\end{{document}}\n", encoding="utf-8")
    log = run("pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex", cwd=tmp_path)
    assert "Output written on paper.pdf" in log
    assert "Undefined control sequence" not in log
    assert "undefined references" not in log


def test_the_references_are_read_by_bibtex(tmp_path):
    text = "\n".join(render(b, "bibtex").replace("@misc{", f"@misc{{b{i}") for i, b in enumerate(boards()))
    (tmp_path / "refs.bib").write_text(text, encoding="utf-8")
    cite = r"\nocite{*}\bibliographystyle{plain}\bibliography{refs}"
    (tmp_path / "paper.tex").write_text(f"{PREAMBLE}{cite}\n\\end{{document}}\n", encoding="utf-8")
    latex = ("pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex")
    run(*latex, cwd=tmp_path)
    said = run("bibtex", "paper", cwd=tmp_path)
    assert "error" not in said.lower()
    assert (tmp_path / "paper.bbl").read_text(encoding="utf-8").count(r"\bibitem") == text.count("@misc{")
    run(*latex, cwd=tmp_path)
