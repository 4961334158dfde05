"""The front and the fitted line in a real Chromium: hidden with a model, sorted, and fit for a screen reader."""

from __future__ import annotations

from dataclasses import replace

import pytest

from robobench.leaderboard.build import build
from robobench.leaderboard.publish import publish
from robobench.leaderboard.render import FILES
from robobench.speed import Speed
from tests.boards import realistic
from tests.pages.test_browser import AXE, browser, show  # noqa: F401

pytestmark = pytest.mark.pages
RATES = (2500.0, 5200.0, 1800.0, 9000.0, 3000.0, 700.0)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    board = realistic(models=6, n=400)
    models = tuple(
        replace(m, speeds=(Speed(images_per_second=r, low=0.97 * r, high=1.02 * r, repeats=11, batch_size=32, side=28,
                                 precision="float32", hardware="a CPU, 2 threads", macs=int(1e10 / r)),))
        for m, r in zip(board.models, RATES, strict=True)
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("front")
    publish(build(replace(board, models=models), resamples=200), folder)
    return folder / FILES["html"]


def test_a_hidden_model_leaves_both_charts_and_the_lines_stay(show, page):  # noqa: F811
    seen = show(page)
    points = seen.page.locator("section[aria-labelledby=h-front] .series:visible")
    assert points.count() == 6
    seen.page.locator("#legend input").first.uncheck()
    assert points.count() == 5
    assert seen.page.locator(".stairs").is_visible()
    assert seen.page.locator(".fitline polyline").is_visible()
    seen.page.fill("#find", "resnet")
    assert (
        seen.page.locator("table.speed tbody tr:visible").count()
        == seen.page.locator("#ranking tbody tr:visible").count()
    )
    seen.quiet()


def test_the_table_of_speeds_is_sorted_by_its_heads(show, page):  # noqa: F811
    seen = show(page)
    head = seen.page.locator("table.speed thead th", has_text="Images/s")
    head.locator("button").click()
    cells = seen.page.locator("table.speed tbody td:nth-child(3)").all()
    assert [float(c.get_attribute("data-v")) for c in cells] == sorted(RATES, reverse=True)
    head.locator("button").click()
    cells = seen.page.locator("table.speed tbody td:nth-child(3)").all()
    assert [float(c.get_attribute("data-v")) for c in cells] == sorted(RATES)
    seen.quiet()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_screen_reader_finds_nothing_in_the_way_and_labels_stay_in_the_chart(show, page, scheme):  # noqa: F811
    seen = show(page, color_scheme=scheme, bypass_csp=True)
    for details in seen.page.locator("details").all():
        details.evaluate("d => { d.open = true; }")
    seen.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = seen.page.evaluate(
        "() => axe.run('section[aria-labelledby=h-front], .figures, details', {resultTypes: ['violations']})"
    )
    assert [v["id"] for v in found["violations"] if v["impact"] in ("serious", "critical")] == []
    chart = seen.page.locator("section[aria-labelledby=h-front] .chart")
    frame = chart.bounding_box()
    for name in chart.locator("text.name").all():
        box = name.bounding_box()
        assert box["x"] >= frame["x"] - 1
        assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1


def test_without_a_script_both_tables_can_be_read(show, page):  # noqa: F811
    seen = show(page, java_script_enabled=False)
    assert seen.page.locator("table.speed tbody tr:visible").count() == 6
    seen.page.locator("summary", has_text="Distance to the line").click()
    assert seen.page.locator("table.fitted tbody tr:visible").count() >= 5
