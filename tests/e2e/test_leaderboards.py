"""What leaderboards/ shows is what its data say, under the protocol that is shipped today."""

from __future__ import annotations

from pathlib import Path

import pytest

from robobench.engine.resolve import resolve
from robobench.leaderboard.render import FILES, render
from robobench.leaderboard.render_json import from_json
from robobench.suite.load import load_suite

ROOT = Path(__file__).parents[2]
BOARDS = sorted(p.parent for p in (ROOT / "leaderboards").glob(f"*/{FILES['json']}"))


def board_of(folder: Path):
    return from_json((folder / FILES["json"]).read_text(encoding="utf-8"))


def test_there_are_boards():
    assert [b.name for b in BOARDS]


@pytest.mark.parametrize("folder", BOARDS, ids=lambda f: f.name)
@pytest.mark.parametrize("format_", FILES)
def test_the_output_is_what_the_data_render_to(folder, format_):
    shown = (folder / FILES[format_]).read_text(encoding="utf-8")
    assert shown == render(board_of(folder), format_), (
        f"leaderboards/{folder.name} is stale: "
        f"`robobench run {folder.name}` and `robobench leaderboard {folder.name} --to leaderboards/{folder.name}`"
    )


@pytest.mark.parametrize("folder", BOARDS, ids=lambda f: f.name)
def test_the_board_was_made_under_the_suite_as_it_is(folder):
    board = board_of(folder)
    assert resolve(load_suite(folder.name)).fingerprint == board.suite.fingerprint
    assert board.suite.command.startswith(f"robobench run {folder.name}")
    assert board.suite.hardware
    assert board.suite.versions["torch"]


@pytest.mark.parametrize("folder", BOARDS, ids=lambda f: f.name)
def test_every_model_is_complete_and_as_it_is_shipped(folder):
    board = board_of(folder)
    models = {m.id.name: m for m in resolve(load_suite(folder.name)).models}
    assert {e.name for e in board.entries} == set(models)
    for entry in board.ranked:
        assert models[entry.name].load("cpu").card.weights == entry.weights
    assert len(board.ranked) == len(board.entries)
    assert not board.failures


@pytest.mark.parametrize("folder", BOARDS, ids=lambda f: f.name)
def test_nothing_of_the_machine_is_published(folder):
    text = "".join(p.read_text(encoding="utf-8") for p in folder.iterdir() if p.suffix != ".png")
    for private in (str(ROOT), str(Path.home()) + "/"):
        assert private not in text
