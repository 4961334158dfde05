"""Models that stopped early: own images for their scores, common ones for ranks, and the board says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from robobench.leaderboard.build import build
from robobench.leaderboard.common import on_common_images
from robobench.leaderboard.render import render
from robobench.leaderboard.text import protocol, stopped
from tests.boards import condition, exact

CONDITIONS = (condition("clean"), condition("hard"))
N = 400


def cut(model, n):
    """A model that stopped after its first n images."""
    rows = {c: {k: v[:n] for k, v in r.items()} for c, r in model.rows.items()}
    return replace(model, rows=rows, expected=dict.fromkeys(rows, n))


def board(first, second, third=None, stops=(200, None, None)):
    hits = {f"m{i}": {"clean": h, "hard": h} for i, h in enumerate((first, second, third)) if h is not None}
    given = exact(hits, CONDITIONS, expected=dict.fromkeys(("clean", "hard"), N))
    models = tuple(m if n is None else cut(m, n) for m, n in zip(given.models, stops, strict=False))
    return replace(given, models=models)


def hits(*parts):
    """Answers by (images, share right): right ones spread evenly."""
    return np.concatenate([(np.arange(n) * share % 1 >= share).astype(int) for n, share in parts])


def test_a_model_that_stopped_is_complete_with_its_own_images():
    one = build(board(hits((200, 0.9), (200, 0.1)), hits((400, 0.6))))
    early, whole = (next(e for e in one.entries if e.name == n) for n in ("m0", "m1"))
    assert not early.missing
    assert early.cells["hard"].expected == early.cells["hard"].score("accuracy.top1").n == 200
    assert early.score.value == np.mean(hits((200, 0.9)) == 0)
    assert whole.score.value == np.mean(hits((400, 0.6)) == 0)
    assert whole.score.n == N
    given = board(hits((200, 0.9), (200, 0.1)), hits((400, 0.6)))
    unsaid = replace(given, models=tuple(replace(m, expected={}) for m in given.models))
    assert next(e for e in build(unsaid).entries if e.name == "m0").missing, "not its own n: incomplete"


def test_ranks_go_by_common_images_not_by_the_scores_shown():
    """m1 is better on the images that both have, and worse in all: easy images came first."""
    early, late = hits((200, 0.8)), hits((200, 0.95), (200, 0.2))
    entries = build(board(np.concatenate([early, early]), late)).entries
    assert [e.name for e in entries] == ["m1", "m0"]
    assert [e.rank for e in entries] == [(1, 1), (2, 2)]
    assert entries[0].score.value < entries[1].score.value
    unsaid = board(early, late[:200], stops=(None, None))
    assert all(e.rank is None for e in build(unsaid).entries), "200 of 400 without having stopped: incomplete"
    small = replace(unsaid, expected={"clean": 200, "hard": 200})
    assert [e.rank for e in build(small).entries] == [(1, 1), (2, 2)]


def test_models_alike_on_their_common_images_are_tied():
    early = hits((200, 0.8))
    entries = build(board(np.concatenate([early, early]), np.concatenate([early, hits((200, 0.1))]))).entries
    assert [e.rank for e in entries] == [(1, 2), (1, 2)]


def test_common_images_are_those_of_the_ranked_models():
    first, second, third = hits((400, 0.9)), hits((400, 0.5)), hits((400, 0.7))
    given = board(first, second, third, stops=(200, 320, None))
    common = on_common_images(given, ["m0", "m1", "m2"])
    assert [len(m.rows["hard"]["image_id"]) for m in common.models] == [200, 200, 200]
    assert common.expected == {"clean": 200, "hard": 200}
    common = on_common_images(given, ["m1", "m2"])
    assert common.expected["clean"] == 320, "a model that is not ranked takes no images away"
    assert on_common_images(given, ["m2"]) is None
    shuffled = replace(given.models[2], rows={
        c: {k: v[::-1] for k, v in r.items()} for c, r in given.models[2].rows.items()
    })  # fmt: skip
    turned = on_common_images(replace(given, models=(*given.models[:2], shuffled)), ["m0", "m1", "m2"])
    ids = [set(m.rows["hard"]["image_id"]) for m in turned.models]
    assert ids[0] == ids[1] == ids[2]


def test_the_board_says_who_stopped_where():
    made = build(board(hits((400, 0.9)), hits((400, 0.6))))
    assert stopped(made).startswith("m0 at 200 of 400 images. Scores and intervals go by each model's own")
    assert dict(protocol(made))["Stopped early"] == stopped(made)
    for format_ in ("markdown", "html"):
        assert "m0 at 200 of 400 images" in render(made, format_)
    assert '"expected": 200' in render(made, "json")
    whole = build(board(hits((400, 0.9)), hits((400, 0.6)), stops=(None, None)))
    assert stopped(whole) == ""
    assert "Stopped early" not in dict(protocol(whole))


def test_rows_of_other_lengths_are_not_taken_for_a_stop():
    short = exact({"m": {"clean": [0] * 5, "hard": [0] * 5}}, CONDITIONS, expected={"clean": 5, "hard": 9})
    made = build(short)
    assert stopped(made) == ""
    assert made.entries[0].missing == (("hard", 5, 9),)
