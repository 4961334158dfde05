"""Every line of docs/coverage.md, computed again: the intervals hold, the tests raise few false alarms."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import intervals

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"


MAKERS = [
    pytest.param(title, make, id=f"{title} {place}")
    for title, makers in intervals.PARTS.items()
    for place, make in enumerate(makers)
]


@pytest.mark.slow
@pytest.mark.parametrize(("title", "make"), MAKERS)
def test_a_part_of_the_page_holds_and_is_what_is_written(title, make):
    rows = list(make())
    assert rows
    assert [f"{r.what}, {r.where}: {r.share:.4f}" for r in rows if not r.holds] == []
    written = PAGE.read_text(encoding="utf-8")
    lines = intervals.markdown({title: rows}).splitlines()
    stale = [line for line in lines if line.startswith("|") and line not in written]
    assert stale == [], "run `python benchmarks/intervals.py`"


def test_no_line_of_the_page_lies_outside_its_band():
    """The table as committed, without computing it again."""
    found = 0
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if len(cells) == 5 and cells[2].endswith("%"):
            low, high = (float(v) for v in cells[3].split(" to "))
            assert low <= float(cells[2].removesuffix("%")) <= high, line
            found += 1
    assert found > 90
