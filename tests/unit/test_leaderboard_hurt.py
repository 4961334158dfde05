"""Which classes and images models lose: against plain loops, and what is left out of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robobench.leaderboard.board import BoardInput, ModelInput
from robobench.leaderboard.build import build
from robobench.leaderboard.hurt import MOST_CLASSES, MOST_IMAGES, answered, hurt_classes, hurt_images
from robobench.types import Condition, Pictures, Rows, Step
from tests.boards import condition, exact, info

NAMES = ("ant", "bee", "cat", "dog")


def rows(ids, labels, hits, says=None) -> Rows:
    hit = np.asarray(hits, np.int32)
    label = np.asarray(labels, np.int32)
    said = np.where(hit == 0, label, (label + hit) % len(NAMES)) if says is None else np.asarray(says)
    return {"image_id": np.array(ids), "label": label, "hit": hit, "top1": said.astype(np.int32)}


def board(cells, conditions, spaces=(), **more) -> BoardInput:
    """model -> condition -> rows."""
    suite = info(conditions)
    space = dict(spaces)
    data = tuple(replace(d, label_space=space.get(d.name, d.label_space)) for d in suite.data)
    expected = {
        c.name: max(len(m[c.name]["hit"]) if c.name in m else 0 for m in cells.values()) for c in conditions
    }
    models = tuple(ModelInput(name, own) for name, own in cells.items())
    return BoardInput(replace(suite, data=data), tuple(conditions), models, expected, classes=NAMES, **more)


def random_board(seed: int, images: int = 60, few: int = 40) -> BoardInput:
    """Three models, five conditions of the same images, two of them on fewer; and one of other images."""
    rng = np.random.Generator(np.random.PCG64(seed))
    conditions = [
        condition("clean"), condition("fog=1", "fog"), condition("fog=2", "fog"), condition("cut"),
        Condition("pgd", "pgd", "base", (Step("attack", "gradient.pgd", 1, {"eps": 0.1}),), limit=few),
        Condition("shift", "shift", "other"),
    ]  # fmt: skip
    ids = np.array([f"i{k:03d}" for k in rng.permutation(images)])
    labels = rng.integers(0, 4, images)
    other, theirs = np.array([f"o{k:03d}" for k in range(30)]), rng.integers(0, 4, 30)
    hard = {"clean": 0.1, "fog=1": 0.3, "fog=2": 0.6, "cut": 0.5, "pgd": 0.8, "shift": 0.4}
    cells = {}
    for model in ("m0", "m1", "m2"):
        own = {}
        for c in conditions:
            at, of = (other, theirs) if c.data == "other" else (ids[: c.limit], labels[: c.limit])
            wrong = rng.random(len(at)) < hard[c.name]
            own[c.name] = rows(at, of, np.where(wrong, rng.integers(1, 4, len(at)), 0))
        cells[model] = own
    return board(cells, conditions)


def truth(found: BoardInput):
    """model -> condition -> image -> (label, right)."""
    return {
        m.name: {
            c: {
                str(i): (int(k), bool(h == 0))
                for i, k, h in zip(r["image_id"], r["label"], r["hit"], strict=True)
            }
            for c, r in m.rows.items()
        }
        for m in found.models
    }


@pytest.mark.parametrize("seed", range(8))
def test_classes_are_what_loops_over_rows_say(seed):
    given = random_board(seed)
    found = hurt_classes(answered(given))
    known = truth(given)

    def images(condition: str, label: int) -> int:
        return sum(k == label for k, _ in known["m0"][condition].values())

    others = [c.name for c in given.conditions if not c.clean]
    others = [c for c in others if all(images(c, k) >= 5 for k in range(4))]
    assert others
    plain = {}
    for k in range(4):
        each = {}
        for model, cells in known.items():
            shares = []
            for c in others:
                mine = [right for label, right in cells[c].values() if label == k]
                shares.append(sum(mine) / len(mine))
            each[model] = sum(shares) / len(shares)
        fewest = min(images(c, k) for c in others)
        plain[k] = (sum(each.values()) / 3, each, fewest)
    assert [c.label for c in found] == sorted(range(4), key=lambda k: plain[k][0])
    for c in found:
        value, each, fewest = plain[c.label]
        assert c.name == NAMES[c.label]
        assert c.hurt.value == pytest.approx(value)
        assert c.hurt.n == fewest
        assert {m: s.value for m, s in c.models.items()} == pytest.approx(each)
        clean = [sum(r for k, r in cells["clean"].values() if k == c.label) for cells in known.values()]
        assert c.clean.value == pytest.approx(sum(clean) / 3 / c.clean.n)
        assert c.hurt.low <= c.hurt.value <= c.hurt.high


@pytest.mark.parametrize("seed", range(8))
def test_images_are_what_loops_over_rows_say(seed):
    given = random_board(seed)
    among, conditions, found = hurt_images(answered(given))
    known = truth(given)
    others = [c.name for c in given.conditions if not c.clean and c.data == "base"]
    ids = [i for i in known["m0"]["clean"] if all(i in known["m0"][c] for c in others)]
    assert (among, conditions) == (len(ids), len(others)) == (40, 4)

    def lost(image: str) -> float:
        total = 0.0
        for cells in known.values():
            if cells["clean"][image][1]:
                total += sum(not cells[c][image][1] for c in others) / len(others)
        return total / len(known)

    worst = sorted(ids, key=lambda i: (-lost(i), i))[:MOST_IMAGES]
    assert [i.image for i in found] == worst
    accuracy = {c: np.mean([known[m][c][i][1] for m in known for i in ids]) for c in others}
    for image in found:
        assert image.share == pytest.approx(lost(image.image))
        falls = {
            c: sum(known[m]["clean"][image.image][1] and not known[m][c][image.image][1] for m in known)
            for c in others
        }
        most = [c for c in others if 2 * falls[c] > len(known)] or [c for c in others if falls[c]]
        drawn = [c for c in most if c != "pgd"] or most
        assert image.condition == max(drawn, key=lambda c: accuracy[c])
        for fall in image.falls:
            clean = known[fall.model]["clean"][image.image][1]
            missed = sum(not known[fall.model][c][image.image][1] for c in others)
            assert (fall.right, fall.fell) == (clean, missed if clean else 0)


def test_neither_the_order_of_models_nor_of_rows_matters():
    given = random_board(3)
    turned = tuple(
        replace(m, rows={c: {k: v[::-1] for k, v in r.items()} for c, r in m.rows.items()})
        for m in reversed(given.models)
    )
    other = replace(given, models=turned)
    assert hurt_classes(answered(other)) == hurt_classes(answered(given))
    assert hurt_images(answered(other)) == hurt_images(answered(given))


def test_the_interval_of_a_class_holds_the_truth_where_models_fall_on_the_same_images():
    """The worst case: every model and condition is right about the same images, so that they are n and no more."""
    rng = np.random.Generator(np.random.PCG64(0))
    conditions = [condition("clean"), condition("a"), condition("b")]
    held = 0
    for _ in range(400):
        hits = (rng.random(30) < 0.4).astype(int)
        one = rows([f"i{k:02d}" for k in range(30)], np.zeros(30), hits)
        found = hurt_classes(
            answered(board({m: dict.fromkeys(("clean", "a", "b"), one) for m in "xyz"}, conditions))
        )
        held += found[0].hurt.low <= 0.6 <= found[0].hurt.high
    assert held >= 370  # 95 % of 400 less two standard deviations


def test_conditions_with_too_few_images_of_a_class_count_for_none():
    conditions = [condition("clean"), condition("all"), condition("few", limit=7)]
    ids, labels = [f"i{k:02d}" for k in range(12)], [0] * 5 + [1] * 5 + [2] * 2
    cells = {
        "clean": rows(ids, labels, [0] * 12),
        "all": rows(ids, labels, [0] * 9 + [1, 1, 1]),
        "few": rows(ids[:7], labels[:7], [1] * 7),
    }
    found = hurt_classes(answered(board({"m": cells}, conditions)))
    assert [(c.label, c.hurt.value, c.hurt.n) for c in found] == [(1, 0.8, 5), (0, 1.0, 5)]


def test_incomplete_models_and_other_label_spaces_are_left_out():
    given = random_board(0)
    short = replace(given.models[2], rows={k: v for k, v in given.models[2].rows.items() if k != "cut"})
    found = answered(replace(given, models=(*given.models[:2], short)))
    assert found.models == ("m0", "m1")
    data = tuple(replace(d, label_space="imagenet-r") if d.name == "other" else d for d in given.suite.data)
    elsewhere = answered(replace(given, suite=replace(given.suite, data=data)))
    assert [c.name for c in elsewhere.others] == ["fog=1", "fog=2", "cut", "pgd"]


def test_checks_of_attacks_are_no_conditions():
    given = random_board(0)
    marked = tuple(
        replace(c, check="noise", checked="pgd") if c.name == "cut" else c for c in given.conditions
    )
    assert [c.name for c in answered(replace(given, conditions=marked)).others] == [
        "fog=1",
        "fog=2",
        "pgd",
        "shift",
    ]


def test_rows_without_answers_say_nothing():
    given = random_board(0)
    bare = tuple(
        replace(m, rows={c: {k: v for k, v in r.items() if k != "label"} for c, r in m.rows.items()})
        for m in given.models
    )
    assert answered(replace(given, models=bare)) is None
    assert answered(replace(given, models=())) is None
    assert answered(replace(given, conditions=given.conditions[1:])) is None


def test_answers_that_are_not_finite_are_wrong_and_outliers_have_no_class():
    conditions = [condition("clean"), condition("a")]
    ids, labels = [f"i{k}" for k in range(7)], [0] * 5 + [-1] * 2
    cells = {
        "clean": rows(ids, labels, [0] * 5 + [-2] * 2, says=[0] * 5 + [1] * 2),
        "a": rows(ids, labels, [-1] + [0] * 4 + [-2] * 2, says=[-1] + [0] * 4 + [1] * 2),
    }
    found = answered(board({"m": cells}, conditions))
    assert [(c.label, c.hurt.value, c.hurt.n) for c in hurt_classes(found)] == [(0, 0.8, 5)]
    (image,) = hurt_images(found)[2]
    assert (image.image, image.falls[0].answer) == ("i0", "not a number")


def test_at_most_so_many_classes_and_images():
    labels = np.repeat(np.arange(50), 5)
    ids = [f"i{k:03d}" for k in range(labels.size)]
    cells = {"clean": rows(ids, labels, 0 * labels), "a": rows(ids, labels, 0 * labels + 1)}
    found = answered(board({"m": cells}, [condition("clean"), condition("a")]))
    assert [c.label for c in hurt_classes(found)] == list(range(MOST_CLASSES))
    assert hurt_classes(found)[-1].name == "19"  # a class whose name nobody knows
    assert [i.image for i in hurt_images(found)[2]] == ids[:MOST_IMAGES]


def test_images_stand_on_a_board_only_where_they_may_be_shown():
    given = random_board(0)
    assert build(given, resamples=20).gallery is None
    first = hurt_images(answered(given))[2][0]
    png = {(first.image, "clean"): "Y2xlYW4=", (first.image, first.condition): "ZmFsbGVu"}
    gallery = build(replace(given, pictures=Pictures("CC0", png)), resamples=20).gallery
    assert gallery.credit == "CC0"
    assert (gallery.images[0].clean, gallery.images[0].changed) == ("Y2xlYW4=", "ZmFsbGVu")
    assert (gallery.images[1].clean, gallery.images[1].changed) == ("", "")


def test_models_that_stopped_early_are_compared_on_common_images():
    given = random_board(1)
    few = frozenset(str(i) for i in given.models[0].rows["clean"]["image_id"][:45])
    cut = {
        c: {k: v[np.isin(r["image_id"], list(few))] for k, v in r.items()} if c not in ("shift", "pgd") else r
        for c, r in given.models[0].rows.items()
    }
    stopped = replace(given.models[0], rows=cut, expected={"clean": 45, "fog=1": 45, "fog=2": 45, "cut": 45})
    found = answered(replace(given, models=(stopped, *given.models[1:])))
    assert found.models == ("m0", "m1", "m2")
    assert {of["hit"].size for cells in found.rows for of in cells[:4]} == {45}


def test_a_board_without_a_finished_model_has_no_classes():
    board = build(
        exact({"m": {"clean": [0, 0]}}, [condition("clean"), condition("a")], expected={"clean": 2, "a": 2})
    )
    assert (board.classes, board.gallery) == ((), None)
