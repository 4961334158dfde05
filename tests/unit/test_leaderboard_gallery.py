"""The most hurt classes and images on the page and in Markdown, whatever their names and pictures hold."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace

import pytest
from PIL import Image

from robobench.leaderboard.board import Fall, Gallery, HurtClass, HurtImage, Leaderboard
from robobench.leaderboard.build import build
from robobench.leaderboard.gallery import coarse, picture, said, size
from robobench.leaderboard.render import FORMATS, render
from robobench.leaderboard.render_html import to_html
from robobench.leaderboard.render_json import from_json, json_schema, to_json
from robobench.leaderboard.render_markdown import to_markdown
from robobench.types import Score
from tests.boards import HOSTILE, realistic


def png(width: int = 28, height: int = 28) -> str:
    with io.BytesIO() as file:
        Image.new("RGB", (width, height), "#804020").save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()


BOARD = build(realistic(n=100), resamples=50)
MODELS = tuple(e.name for e in BOARD.entries)


def share(value: float) -> Score:
    return Score("accuracy.top1", value, max(0, value - 0.1), min(1, value + 0.1), 40)


def hurt(name: str = "cat", clean: str = "", changed: str = "", board: Leaderboard = BOARD) -> Leaderboard:
    classes = tuple(
        HurtClass(k, f"{name} {k}", share(0.9), share(0.1 * k), {m: share(0.1 * k) for m in MODELS[:3]})
        for k in range(1, 8)
    )
    falls = (
        Fall(MODELS[0], f"{name} 1", f"{name} 2", True, 4),
        Fall(MODELS[1], f"{name} 2", f"{name} 2", False, 0),
    )
    image = HurtImage(f"{name}/1.png", f"{name} 1", 0.75, f"fog {name}", falls, clean, changed)
    return replace(board, classes=classes, gallery=Gallery((image,), 1000, 5, f"CC0 {name}"))


def section(page: str) -> str:
    return re.search(r'<section aria-labelledby="h-hurt">.*?</section>', page, re.S)[0]


def test_the_page_shows_classes_with_their_numbers():
    found = section(to_html(hurt()))
    rows = re.findall(r"<tr><th scope=\"row\" class=\"model\">(cat \d)</th>(.*?)</tr>", found, re.S)
    assert [name for name, _ in rows] == [f"cat {k}" for k in range(1, 8)]
    for k, (_, cells) in enumerate(rows, start=1):
        values = [float(v) for v in re.findall(r'data-v="([^"]+)"', cells)]
        assert values == [0.9, *[0.1 * k] * 4]
        assert cells.count("–") == 1  # the fourth model has no rows
        assert set(re.findall(r'data-n="(\d+)"', cells)) == {"40"}


def test_the_page_shows_images_with_words_for_those_who_do_not_see_them():
    found = section(to_html(hurt(clean=png(), changed=png(200, 100))))
    images = re.findall(
        r"<img src=\"(data:image/png;base64,[^\"]+)\"[^>]*class=\"(\w*)\" alt=\"([^\"]+)\">", found
    )
    assert [(k, a) for _, k, a in images] == [
        ("coarse", "cat/1.png, clean: cat 1"), ("", "cat/1.png under fog cat"),
    ]  # fmt: skip
    assert Image.open(io.BytesIO(base64.b64decode(images[1][0].partition(",")[2]))).size == (200, 100)
    assert f"<b>{MODELS[0]}</b> cat 1 → cat 2, lost under 4 of 5" in found
    assert f"<b>{MODELS[1]}</b> wrong when clean: cat 2" in found
    assert "CC0 cat" in found
    assert "75.0 % lost" in found


@pytest.mark.parametrize(
    "wrong",
    [
        "https://example.org/spy.png",
        'x" onerror="alert(1)',
        base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>").decode(),
        png()[:20],
        png() + "\n<script>",
        png(1, 1).replace("iVBOR", "iVBOS"),
        "é",
        "A" * 500_000,
    ],
)
def test_what_is_no_png_is_not_put_in(wrong):
    assert (picture(wrong), size(wrong), coarse(wrong)) == ("", None, False)
    found = section(to_html(hurt(clean=wrong)))
    assert "<img" not in found
    assert "onerror" not in found


def test_small_pictures_are_coarse():
    assert (coarse(png(28, 28)), coarse(png(112, 64)), size(png(112, 64))) == (True, False, (112, 64))


@pytest.mark.parametrize("format_", sorted(FORMATS))
def test_hostile_names_do_nothing(format_):
    text = render(hurt(HOSTILE, png(), png()), format_)
    assert "<script>alert" not in text.replace("\\u003c", "<") or format_ in ("json", "csv", "bibtex", "card")
    assert "\u202e" not in text


def test_a_board_with_a_gallery_goes_through_json_and_its_schema():
    jsonschema = pytest.importorskip("jsonschema")
    board = hurt(HOSTILE, png(), png())
    assert from_json(to_json(board)) == board
    jsonschema.validate(json.loads(to_json(board)), json_schema())


def test_boards_of_earlier_formats_have_none():
    old = {k: v for k, v in json.loads(to_json(BOARD)).items() if k not in ("classes", "gallery")}
    found = from_json(json.dumps({**old, "format": 3}))
    assert (found.classes, found.gallery) == ((), None)
    assert "h-hurt" not in to_html(found)


def test_markdown_names_the_worst_classes_only():
    text = to_markdown(hurt())
    found = text[text.index("## Most hurt classes") :].split("\n## ")[0]
    assert re.findall(r"^\| (cat \d) \| 40 \|", found, re.M) == [f"cat {k}" for k in range(1, 6)]
    assert "base64" not in to_markdown(hurt(clean=png()))


def test_what_is_said_of_a_model_that_keeps_an_image():
    gallery = Gallery((), 10, 5, "")
    assert said(Fall("m", "3", "3", True, 2), gallery) == "3 → 3, lost under 2 of 5"
    assert said(Fall("m", "a crane", "3", True, 0), gallery) == "a crane → 3, lost under 0 of 5"
