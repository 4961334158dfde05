"""The page in a real Chromium: what a person does with it, what a screen reader is told, what leaves it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from robobench.leaderboard.build import build
from robobench.leaderboard.publish import publish, rebuild
from robobench.leaderboard.render import FILES
from robobench.leaderboard.render_json import from_json
from tests.boards import HOSTILE, realistic, with_troubles

pytestmark = pytest.mark.pages

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "leaderboards" / "quickstart"
AXE = Path(os.environ.get("AXE", ROOT / ".venv" / "pages" / "node_modules" / "axe-core" / "axe.min.js"))


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    program = next(
        (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
    )
    assert program, "no Chromium: `make test-pages` installs it"
    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


class Seen:
    """A page with what went wrong on it and what it asked for."""

    def __init__(self, page, url):
        self.page, self.errors, self.requests = page, [], []
        page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("request", lambda r: self.requests.append(r.url))
        self.url = url
        page.goto(url)

    def rows(self):
        """The names in the ranking, as far as they are shown, from the top."""
        return self.page.locator("#ranking tbody tr:visible th.model").all_inner_texts()

    def quiet(self):
        assert self.errors == []
        assert {r.split("#")[0] for r in self.requests} == {self.url.split("#")[0]}


@pytest.fixture
def show(browser):
    contexts = []

    def opened(path, anchor="", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        return Seen(context.new_page(), f"{Path(path).as_uri()}{anchor}")

    yield opened
    for context in contexts:
        context.close()


PAGE = QUICKSTART / FILES["html"]
BOARD = from_json((QUICKSTART / FILES["json"]).read_text(encoding="utf-8"))
NAMES = [e.name for e in BOARD.entries]


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("troubled")
    publish(build(with_troubles(realistic(n=200)), resamples=200), folder)
    return folder / FILES["html"]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    root = tmp_path_factory.mktemp("shelf")
    publish(BOARD, root / "quickstart")
    publish(build(with_troubles(realistic(n=200)), resamples=200), root / "a b&c")
    rebuild(root)
    return root / "index.html"


def test_a_column_sorts_both_ways_and_says_so(show):
    seen = show(PAGE)
    assert seen.rows() == NAMES
    head = seen.page.locator("#ranking thead th", has_text="clean")
    clean = {e.name: e.cells["clean"].score("accuracy.top1").value for e in BOARD.entries}
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert seen.rows() == sorted(NAMES, key=lambda n: -clean[n])
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert seen.rows() == sorted(NAMES, key=lambda n: clean[n])
    assert seen.page.locator("th[aria-sort]").count() == 1
    seen.quiet()


def test_sorting_works_with_the_keyboard_alone(show):
    seen = show(PAGE)
    seen.page.locator("#ranking thead button", has_text="clean").focus()
    seen.page.keyboard.press("Enter")
    assert seen.page.locator("#ranking th[aria-sort]").get_attribute("data-column") == "clean"
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.textContent").startswith("occlusion")
    seen.quiet()


def test_models_are_found_and_families_left_out_everywhere(show):
    seen = show(PAGE)
    seen.page.fill("#find", "res")
    assert seen.rows() == ["ResNet"]
    assert seen.page.locator("#count").inner_text() == "1 of 4 models"
    for table in seen.page.locator("table.levels").all():
        assert table.locator("tbody tr:visible").count() == 1
    assert seen.page.locator(".figures .chart").first.locator(".series:visible").count() == 1
    seen.page.fill("#find", "")
    family = next(e.family for e in BOARD.entries if e.name == "ViT")
    seen.page.locator(f'#families input[value="{family}"]').uncheck()
    assert seen.rows() == [n for n in NAMES if n != "ViT"]
    seen.page.locator("#reset").click()
    assert seen.rows() == NAMES
    assert seen.page.locator("#count").inner_text() == ""
    seen.quiet()


def test_a_model_is_switched_off_in_every_chart(show):
    seen = show(PAGE)
    box = seen.page.locator("#legend input").nth(1)
    charts = seen.page.locator(".figures .chart")
    before = charts.locator(".series:visible").count()
    box.uncheck()
    assert charts.locator('.series[data-m="1"]:visible').count() == 0
    assert charts.locator(".series:visible").count() < before
    assert seen.rows() == NAMES, "the ranking keeps it"
    box.check()
    assert charts.locator(".series:visible").count() == before


def test_columns_can_be_picked(show):
    seen = show(PAGE)
    seen.page.locator("#columns summary").click()
    seen.page.locator('#columns input[value="occlusion"]').uncheck()
    heads = seen.page.locator("#ranking thead th:visible").all_inner_texts()
    assert not [h for h in heads if h.startswith("occlusion")]
    cells = {r.locator("> :visible").count() for r in seen.page.locator("#ranking tbody tr").all()}
    assert len(cells) == 1
    seen.quiet()


def test_what_is_shown_is_in_the_address_and_comes_back_from_it(show):
    seen = show(PAGE)
    seen.page.fill("#find", "r")
    seen.page.locator("#legend input").first.uncheck()
    seen.page.locator("#columns summary").click()
    seen.page.locator('#columns input[value="FGSM"]').uncheck()
    seen.page.locator("#ranking thead button", has_text="shuffle").click()
    address = seen.page.evaluate("location.hash")
    again = show(PAGE, address)
    assert again.rows() == seen.rows() != NAMES
    assert again.page.locator("#find").input_value() == "r"
    assert not again.page.locator("#legend input").first.is_checked()
    assert not again.page.locator("#ranking thead th", has_text="FGSM").is_visible()
    assert again.page.locator("#ranking th[aria-sort]").get_attribute("data-column") == "shuffle"
    again.page.locator("#reset").click()
    again.page.locator("#ranking th.rank button").click()
    again.quiet()
    strange = show(PAGE, "#find=%00&hide=nothing&off=99&sort=0up&sort=99down&without=%3Cscript%3E")
    strange.quiet()
    section = show(PAGE, "#h-protocol")
    assert section.page.evaluate("location.hash") == "#h-protocol"


def test_every_number_can_be_read_without_a_script(show):
    seen = show(PAGE, java_script_enabled=False)
    assert seen.rows() == NAMES
    for wanted in ("#ranking", "table.levels", ".chart", "#h-protocol"):
        assert seen.page.locator(wanted).first.is_visible(), wanted
    assert not seen.page.locator("#tools").is_visible()
    assert not seen.page.locator("#legend input").first.is_visible()
    seen.page.locator("section[aria-labelledby=h-numbers] summary").first.click()
    assert seen.errors == []


def colour(page, where, what):
    text = page.locator(where).first.evaluate(f"e => getComputedStyle(e).{what}")
    return [int(v) for v in re.findall(r"\d+", text)[:3]]


def test_dark_is_dark_by_wish_of_the_reader_and_by_the_button(show):
    light = show(PAGE, color_scheme="light")
    dark = show(PAGE, color_scheme="dark")
    assert sum(colour(light.page, "body", "backgroundColor")) > 700
    assert sum(colour(dark.page, "body", "backgroundColor")) < 120
    assert sum(colour(dark.page, "body", "color")) > 600
    light.page.locator("#theme").click()
    assert light.page.locator("#theme").inner_text() == "Theme: dark"
    assert sum(colour(light.page, "body", "backgroundColor")) < 120
    light.quiet()
    dark.quiet()


@pytest.mark.parametrize("width", [360, 900, 1400])
def test_nothing_sticks_out_of_the_window(show, width, troubled):
    for path in (PAGE, troubled):
        seen = show(path, viewport={"width": width, "height": 900})
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_hostile_name_runs_nothing(show, troubled, index):
    for path in (troubled, index):
        seen = show(path)
        alerts = []
        seen.page.on("dialog", lambda d, said=alerts: said.append(d.message) or d.dismiss())
        for button in seen.page.locator("#ranking thead button").all():
            button.click()
        if path == troubled:
            assert [n for n in seen.rows() if HOSTILE[:8] in n]
            seen.page.fill("#find", "<script>")
            assert len(seen.rows()) == 1
        assert alerts == []
        seen.quiet()


def test_the_index_leads_to_every_board(show, index):
    seen = show(index)
    seen.quiet()
    links = seen.page.locator("a")
    assert links.count() == 2
    for place in range(2):
        with seen.page.expect_navigation():
            links.nth(place).click()
        assert seen.page.locator("#ranking").is_visible()
        seen.page.go_back()
    assert seen.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["quickstart", "troubled", "index"])
def test_a_screen_reader_finds_nothing_serious_in_its_way(show, which, scheme, troubled, index):
    path = {"quickstart": PAGE, "troubled": troubled, "index": index}[which]
    seen = show(path, color_scheme=scheme, bypass_csp=True)
    for details in seen.page.locator("details").all():
        details.evaluate("d => { d.open = true; }")
    seen.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = seen.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    serious = [
        f"{v['id']}: {v['help']}: {[n['html'][:120] for n in v['nodes'][:3]]}"
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert len(found["violations"]) <= 2, [v["id"] for v in found["violations"]]


def test_the_page_prints(show, tmp_path):
    seen = show(PAGE)
    made = tmp_path / "page.pdf"
    seen.page.pdf(path=str(made))
    assert made.read_bytes().startswith(b"%PDF")


def test_chromium_is_a_real_one():
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert (
        "Chrom" in subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    )
