"""What leaderboards/ shows is what its data say, under the protocol that is shipped today."""

from __future__ import annotations

import json
import shlex
from functools import cache
from pathlib import Path

import pytest

from robobench.checks.submission import check
from robobench.cli.options import settings, split_name
from robobench.engine.resolve import Resolved, resolve
from robobench.leaderboard.publish import INDEX, scored, stale
from robobench.leaderboard.render import FILES
from robobench.leaderboard.render_json import from_json, to_json
from robobench.suite.load import load_suite
from robobench.suite.suite import ModelEntry

ROOT = Path(__file__).parents[2]
SHELF = ROOT / "leaderboards"
BOARDS = sorted(p.parent for p in SHELF.glob(f"*/{FILES['json']}"))
SMALL = "imagenet-samples"  # scored again by the fast tests too
DIGITS = {
    "quickstart", "digits-shift", "digits-calibration", "digits-stability", "transfer", "universal",
    "patch-attack", "black-box", "autoattack-l2",
}  # fmt: skip
PHOTOS = {
    "imagenet-samples", "autoattack-linf", "pgd-ladder", "occlusion", "shuffle", "frequency", "fourier-map",
    "camera", "imagenet-c", "imagenet-c-bar", "human-comparison", "resolution", "calibration-under-shift",
    "perturbation-stability",
}  # fmt: skip

each_board = pytest.mark.parametrize("folder", BOARDS, ids=lambda f: f.name)


@cache
def board_of(folder: Path):
    return from_json((folder / FILES["json"]).read_text(encoding="utf-8"))


@cache
def resolved_from(command: str) -> Resolved:
    """What a board's command runs, as the command line reads it."""
    _, run, suite, *rest = shlex.split(command)
    assert run == "run"
    given = dict.fromkeys(("--model", "--data", "--limit", "--set"))
    for flag, value in zip(rest[::2], rest[1::2], strict=True):
        given[flag] = [*(given[flag] or ()), value]
    models = [
        ModelEntry(spec, name=name, trusted=True) for name, spec in map(split_name, given["--model"] or ())
    ]
    limit = None if given["--limit"] is None else int(given["--limit"][0])
    data = None if given["--data"] is None else given["--data"][0]
    return resolve(load_suite(suite, settings(given["--set"])), models, data=data, limit=limit)


@cache
def weights_of(spec_digest: str, name: str, command: str) -> str:
    model = next(m for m in resolved_from(command).models if m.id.name == name)
    assert model.id.digest == spec_digest
    return model.load("cpu").card.weights


def numbers(value):
    """JSON with its numbers rounded: another processor adds up in another order."""
    if isinstance(value, dict):
        return {k: numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [numbers(v) for v in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def test_there_is_a_board_of_every_suite_that_runs_on_what_comes_along():
    assert {b.name for b in BOARDS} == DIGITS | PHOTOS


def test_every_file_is_what_its_data_render_to():
    assert stale(SHELF) == (), "run `robobench leaderboard build`"
    assert (SHELF / INDEX).is_file()


@each_board
def test_the_board_was_made_by_its_command_under_the_suite_as_it_is(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    board = board_of(folder)
    resolved = resolved_from(board.suite.command)
    assert resolved.suite.name == folder.name == board.suite.name
    assert resolved.fingerprint == board.suite.fingerprint
    assert board.suite.hardware
    assert board.suite.versions["torch"]


@each_board
def test_every_model_is_complete_and_as_it_is_shipped(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    board = board_of(folder)
    models = {m.id.name: m for m in resolved_from(board.suite.command).models}
    assert {e.name for e in board.entries} == set(models)
    assert board.ranked
    for entry in board.entries:
        mine = models[entry.name]
        assert weights_of(mine.id.digest, entry.name, board.suite.command) == entry.weights
    assert not board.broken
    unranked = {e.name for e in board.entries} - {e.name for e in board.ranked}
    assert unranked <= {f.model for f in board.failures if f.unsupported}


@each_board
def test_the_rows_behind_it_hold_together(folder):
    found = check(folder)
    assert not found.errors
    assert found.record.fingerprint == board_of(folder).suite.fingerprint


@pytest.mark.parametrize(
    "folder",
    [pytest.param(b, marks=() if b.name == SMALL else pytest.mark.slow, id=b.name) for b in BOARDS],
)
def test_its_numbers_are_those_of_its_rows(folder):
    again = numbers(json.loads(to_json(scored(folder))))
    assert again == numbers(json.loads(to_json(board_of(folder))))


@each_board
def test_nothing_of_the_machine_is_published(folder):
    texts = [
        p for p in folder.rglob("*") if p.suffix in (".json", ".html", ".md", ".csv", ".tex", ".yaml", ".bib")
    ]
    text = "".join(p.read_text(encoding="utf-8") for p in texts)
    for private in (str(ROOT), str(Path.home()) + "/", "/tmp/"):
        assert private not in text
