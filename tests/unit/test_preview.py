"""Pictures of suites and perturbations: the sheet, the page, and what is said where there is none."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from robobench.checks.contact_sheet import contact_sheet
from robobench.checks.preview import Preview, preview
from robobench.checks.preview_page import picture, preview_page
from robobench.cli.main import _run
from robobench.draws import Draws
from robobench.engine.sets import data_set
from robobench.errors import RobobenchError, UnknownName
from robobench.registry import perturbations
from robobench.suite.load import load_suite
from robobench.types import ImageBatch


@pytest.fixture(scope="module")
def quickstart() -> Preview:
    return preview("quickstart", images=3)


def test_every_passive_ladder_of_a_suite_is_there(quickstart):
    assert [(s.name, s.levels) for s in quickstart.strips] == [
        ("occlusion", ("0.1", "0.3", "0.5", "0.7", "0.9")),
        ("shuffle", ("2x2", "4x4", "7x7", "14x14")),
        ("UCI digits", ("",)),
    ]
    assert {name for name, _ in quickstart.left_out} == {"FGSM", "PGD-20"}
    assert [s.paired for s in quickstart.strips] == [True, True, False]
    assert all(len(level) == 3 for s in quickstart.strips for level in s.tiles)


def test_the_pictures_are_what_a_run_shows_to_models(quickstart):
    suite = load_suite("quickstart")
    data = data_set(suite, suite.data[0])
    ids = data.ids[:3]
    assert quickstart.images == ids
    pixels = torch.from_numpy(np.stack([data.source.read(i) for i in ids])).permute(0, 3, 1, 2) / 255.0
    batch = ImageBatch(pixels, ids, torch.zeros(3, dtype=torch.int64))
    step = perturbations.build("occlusion.random", {"fraction": 0.5, "grid": 7})
    expected = step(batch, Draws(suite.seed, "occlusion.random", ids)).pixels
    found = np.stack([t.pixels for t in quickstart.strips[0].tiles[2]])
    assert np.array_equal(found, (expected * 255).round().byte().permute(0, 2, 3, 1).numpy())


def test_a_perturbation_with_severities_is_a_ladder_of_five():
    shown = preview("corruption.gaussian_noise", images=1, data="digits:mnist", settings={"table": "cifar"})
    (strip,) = shown.strips
    assert strip.levels == ("1", "2", "3", "4", "5")
    assert [t[0].psnr for t in strip.tiles] == sorted((t[0].psnr for t in strip.tiles), reverse=True)
    assert strip.alike == ()


def test_a_perturbation_without_severities_shows_its_examples():
    shown = preview("shuffle.grid", images=1, data="digits:mnist")
    assert len(shown.strips) == len(perturbations.get("shuffle.grid").cls.examples)
    (one,) = preview("shuffle.grid", images=1, data="digits:mnist", settings={"grid": 7}).strips
    assert "grid: [7,7]" in one.steps


def test_levels_that_show_the_same_are_named(tmp_path):
    file = tmp_path / "same.yaml"
    file.write_text(
        "schema: 1\nname: s\ntitle: S\ndata: {source: digits, path: mnist}\nconditions:\n"
        "  - {use: occlusion.random, name: few, with: {grid: 2}, ladder: {fraction: [0.3, 0.4, 0.9]}}\n"
    )
    assert preview(str(file), images=1).strips[0].alike == (("0.3", "0.4"),)


def test_images_that_are_not_at_hand_are_replaced_and_said_so(monkeypatch):
    monkeypatch.delenv("IMAGENET_VAL", raising=False)
    shown = preview("shuffle", images=1)
    assert "IMAGENET_VAL" in shown.notes[0]
    assert shown.clean[0].pixels.shape == (224, 224, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "corruption.foggy"}, UnknownName, "no suite or perturbation 'corruption.foggy'; did you mean 'corruption.fog'"),
        ({"name": "quickstart", "data": "folder:/nowhere"}, RobobenchError, "no such folder"),
        ({"name": "shuffle.grid", "data": "digits:mnist", "settings": {"gird": 3}}, RobobenchError, "did you mean 'grid'"),
        ({"name": "occlusion.salient", "data": "digits:mnist"}, RobobenchError, "saliency.gradient needs a model: give one with --model"),
    ],
)  # fmt: skip
def test_mistakes_are_answered(arguments, error, message):
    with pytest.raises(error) as raised:
        preview(arguments.pop("name"), **arguments)
    assert message in str(raised.value)


def test_a_model_prepares_what_a_condition_needs():
    shown = preview(
        "occlusion.salient",
        data="digits:mnist",
        images=2,
        model="zoo:resnet",
        settings={"fraction": 0.3, "grid": 4},
    )
    (strip,) = shown.strips
    assert all(np.isfinite(tile.psnr) for tile in strip.tiles[0])


def test_the_sheet_holds_every_picture_as_it_is(quickstart):
    sheet = np.asarray(Image.open(io.BytesIO(contact_sheet(quickstart, tile=28))))
    for strip in quickstart.strips:
        for level in strip.tiles:
            for tile in level:
                windows = np.lib.stride_tricks.sliding_window_view(sheet, (28, 28, 3))[:, :, 0]
                corner = tile.pixels[14, 14]
                places = np.argwhere((sheet[14:-13, 14:-13] == corner).all(-1))
                assert any(np.array_equal(windows[y, x], tile.pixels) for y, x in places)


def test_the_page_holds_every_picture_and_asks_nobody(quickstart):
    page = preview_page(quickstart)
    for strip in quickstart.strips:
        for level in strip.tiles:
            for tile in level:
                assert picture(tile.pixels) in page
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", page)
    assert page.count('type="range"') == 1 + 2


def test_hostile_names_do_nothing_in_the_page(quickstart):
    from dataclasses import replace

    bad = replace(quickstart, title="<script>alert(1)</script>", images=("<img src=x>", "b", "c"))
    page = preview_page(bad)
    assert "<script>alert(1)" not in page
    assert "<img src=x>" not in page
    contact_sheet(replace(bad, title="\x1b[31m" + "long " * 500))


def test_the_command_writes_both_files(tmp_path, capsys):
    assert _run(["preview", "quickstart", "--images", "1", "--to", str(tmp_path / "out")]) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"quickstart.png", "quickstart.html"}
    assert "3 ladders, 1 image" in capsys.readouterr().out


def test_a_place_that_cannot_be_written_to_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert _run(["preview", "quickstart", "--images", "1", "--to", str(tmp_path / "file")]) == 2
    assert "cannot be written to" in capsys.readouterr().err
