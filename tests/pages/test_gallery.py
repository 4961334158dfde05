"""The most hurt classes and images in a real Chromium."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from robobench.leaderboard.render_html import to_html
from tests.boards import HOSTILE
from tests.unit.test_leaderboard_gallery import hurt, png

pytestmark = pytest.mark.pages

ROOT = Path(__file__).parents[2]
AXE = Path(os.environ.get("AXE", ROOT / ".venv" / "pages" / "node_modules" / "axe-core" / "axe.min.js"))
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module", params=["light", "dark"])
def page(request, tmp_path_factory):
    """A board with a gallery, what went wrong on it and what it asked for."""
    from playwright.sync_api import sync_playwright

    file = tmp_path_factory.mktemp("gallery") / "index.html"
    file.write_text(to_html(hurt(HOSTILE, png(), png(200, 100))), encoding="utf-8")
    program = next((p for n in PROGRAMS if (p := shutil.which(n))), None)
    assert program, "no Chromium: `make test-pages` installs it"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        opened = browser.new_page(color_scheme=request.param)
        opened.faults = []
        opened.on(
            "console", lambda m: opened.faults.append(m.text) if m.type in ("error", "warning") else None
        )
        opened.on("pageerror", lambda e: opened.faults.append(str(e)))
        opened.on("request", lambda r: None if r.url.startswith("data:") else opened.faults.append(r.url))
        opened.on("dialog", lambda d: opened.faults.append(d.message))
        opened.goto(file.as_uri())
        opened.faults.remove(file.as_uri())
        yield opened
        browser.close()


def test_pictures_are_there_and_nothing_is_asked_for(page):
    sizes = page.eval_on_selector_all(".gallery img", "e => e.map(i => [i.naturalWidth, i.naturalHeight])")
    assert sizes == [[28, 28], [200, 100]]
    assert page.faults == []


def test_classes_are_sorted_by_a_column(page):
    head = page.locator("table.hurt thead th", has_text="under the conditions")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    values = page.eval_on_selector_all("table.hurt tbody tr", "r => r.map(e => e.children[2].dataset.v)")
    assert [float(v) for v in values] == sorted(map(float, values), reverse=True)


def test_a_screen_reader_finds_nothing_serious_in_its_way(page):
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run('section[aria-labelledby=h-hurt]', {resultTypes: ['violations']})")
    assert [v["id"] for v in found["violations"] if v["impact"] in ("serious", "critical")] == []


def test_a_narrow_window_holds_it(page):
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
