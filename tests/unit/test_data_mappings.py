"""Label spaces that merge or narrow ImageNet's outputs, against tables typed a second time."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest
import torch

from robobench.data import mappings
from robobench.data.imagenet_real import real_labels, val_number
from robobench.data.label_space import LABEL_SPACES, class_folders, label_space, match_folders, wordnet_ids
from robobench.engine.sets import classes_within
from robobench.errors import DataError
from tests.label_tables import NINE_COUNTS, NINE_TEXT, SIXTEEN_COUNTS, SIXTEEN_TEXT, numbers, objects


def test_objectnet_is_113_names_and_125_outputs() -> None:
    table = mappings.objectnet()
    assert table == objects()
    outputs = [n for ids in table.values() for n in ids]
    assert (len(table), len(outputs), len(set(outputs))) == (113, 125, 125)
    assert list(table) == sorted(table)
    assert Counter(map(len, table.values())) == {1: 104, 2: 6, 3: 3}


def test_the_sixteen_categories() -> None:
    table = mappings.entry_level()
    assert table == {name: numbers(words) for name, words in SIXTEEN_TEXT.items()}
    assert [len(ids) for ids in table.values()] == SIXTEEN_COUNTS
    assert list(table) == sorted(table), "the order of the classes is that of the alphabet"
    assert sum(SIXTEEN_COUNTS) == len({n for ids in table.values() for n in ids}) == 207


def test_imagenet_9() -> None:
    table = mappings.imagenet_9()
    assert list(table.values()) == [numbers(words) for words in NINE_TEXT.values()]
    assert [len(ids) for ids in table.values()] == NINE_COUNTS
    assert len({n for ids in table.values() for n in ids}) == sum(NINE_COUNTS) == 370
    assert class_folders("imagenet-9") == {folder: n for n, folder in enumerate(NINE_TEXT)}


def test_imagenet_o() -> None:
    synsets = mappings.imagenet_o()
    assert len(set(synsets)) == 200
    assert list(synsets) == sorted(synsets)
    assert set(synsets) <= set(wordnet_ids())
    # of the list in the authors' code, joined by blanks
    digest = "55722c5b79803f3068747ee03f6506845c70cb9ff9bd3fca9e09d45357c793eb"
    assert hashlib.sha256(" ".join(synsets).encode()).hexdigest() == digest
    parts = {
        n: {g[0] for g in label_space(n).groups or ()} for n in ("imagenet-a", "imagenet-r", "imagenet-o")
    }
    assert len(parts["imagenet-a"] & parts["imagenet-o"]) == 59
    assert len(parts["imagenet-a"] & parts["imagenet-r"]) == 86
    assert len(parts["imagenet-a"] | parts["imagenet-r"]) == 314


def test_real_labels() -> None:
    labels = real_labels()
    counts = Counter(map(len, labels))
    assert counts == {0: 3163, 1: 39394, 2: 5408, 3: 1319, 4: 411, 5: 161, 6: 88, 7: 41, 8: 13, 9: 2}
    assert len(labels) == 50_000
    assert len(labels) - counts[0] == 46_837
    assert labels[:6] == ((), (970, 795), (230, 231), (809,), (516, 850), (57,))
    assert sum(map(len, labels)) / 46_837 == pytest.approx(1.229, abs=5e-4)
    assert {n for some in labels for n in some} == set(range(1000))


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("ILSVRC2012_val_00000293.JPEG", 293),
        ("n01440764/ILSVRC2012_val_00050000.png", 50_000),
        ("ILSVRC2012_val_293.JPEG", 0),
        ("ILSVRC2012_val_00000293", 0),
        ("ILSVRC2012_val_00000000.JPEG", 0),
        ("n01440764/n01440764_10026.JPEG", 0),
    ],
)
def test_the_number_of_a_validation_image(name: str, number: int) -> None:
    assert val_number(name) == number


@pytest.mark.parametrize("name", [n for n in LABEL_SPACES if n.startswith(("imagenet", "objectnet"))])
def test_every_space_reads_a_thousand_outputs(name: str) -> None:
    space = label_space(name)
    assert space.outputs == 1000
    assert space.parent == (None if name == "imagenet-1k" else "imagenet-1k")
    logits = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0))
    assert space.answers(logits).shape == (3, len(space.classes))
    members = [n for group in space.groups or () for n in group]
    assert len(members) == len(set(members)), "no output counts for two classes"
    assert len(set(space.classes)) == len(space.classes)
    folders = class_folders(name)
    assert set(folders.values()) == set(classes_within(space) or range(len(space.classes)))


def test_a_full_read_out_leaves_every_answer_in_the_running() -> None:
    logits = torch.randn(50, 1000, generator=torch.Generator().manual_seed(0))
    a = label_space("imagenet-a-full")
    assert a.groups is None
    assert a.within == tuple(g[0] for g in label_space("imagenet-a").groups or ())
    assert torch.equal(a.answers(logits), logits)
    on = label_space("objectnet-full")
    assert len(on.classes) == 113 + 875
    assert on.groups is not None
    best = on.answers(logits).argmax(dim=1).tolist()
    assert [int(n) in on.groups[b] for n, b in zip(logits.argmax(dim=1), best, strict=True)] == [True] * 50
    assert on.within == tuple(range(113))


def test_objectnet_answers_are_those_of_the_published_evaluation() -> None:
    """There: the best of 125 outputs is one of the object's. Here: the best of 113 maxima is the object."""
    logits = torch.randn(200, 1000, generator=torch.Generator().manual_seed(1))
    table = [objects()[name] for name in label_space("objectnet").classes]
    outputs = [n for ids in table for n in ids]
    theirs = [outputs[i] for i in logits[:, outputs].argmax(dim=1).tolist()]
    ours = label_space("objectnet").answers(logits).argmax(dim=1).tolist()
    assert all(one in table[b] for one, b in zip(theirs, ours, strict=True))


def test_the_nine_classes_and_the_rest() -> None:
    space = label_space("imagenet-9")
    assert space.classes[-1] == "none of these"
    logits = torch.randn(300, 1000, generator=torch.Generator().manual_seed(2))
    whole = {n: k for k, words in enumerate(NINE_TEXT.values()) for n in numbers(words)}
    expected = [whole.get(n, 9) for n in logits.argmax(dim=1).tolist()]
    assert space.answers(logits).argmax(dim=1).tolist() == expected
    assert 9 in expected


def test_the_sixteen_categories_take_the_mean_probability() -> None:
    """Not the sum, by which dogs would always win, and not the largest."""
    space = label_space("imagenet-16")
    logits = 3 * torch.randn(200, 1000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    p = logits.softmax(dim=1).numpy()
    rules = {
        rule: np.stack([rule(p[:, list(numbers(w))], axis=1) for w in SIXTEEN_TEXT.values()], axis=1).argmax(
            1
        )
        for rule in (np.mean, np.sum, np.max)
    }
    ours = space.answers(logits)
    np.testing.assert_array_equal(ours.argmax(dim=1).numpy(), rules[np.mean])
    assert (rules[np.mean] != rules[np.sum]).any()
    assert (rules[np.mean] != rules[np.max]).any()
    means = [p[:, list(numbers(w))].mean(axis=1) for w in SIXTEEN_TEXT.values()]
    np.testing.assert_allclose(ours.exp().numpy(), np.stack(means, axis=1), rtol=1e-9)


@pytest.mark.parametrize(
    ("space", "folder", "expected"),
    [
        ("imagenet-o", "7", r"expected WordNet ids such as n01443537 \(class numbers are ambiguous here\)"),
        ("imagenet-r-full", "n01440764", "expected WordNet ids such as n01443537"),
        ("objectnet", "Alarm clock", "expected the published folder names such as 'alarm_clock'"),
        ("imagenet-9", "dog", "expected the published folder names such as '00_dog'"),
        ("imagenet-16", "wolf", "expected class names such as airplane or class numbers 0 to 15"),
    ],
)
def test_folders_that_name_no_class(space: str, folder: str, expected: str) -> None:
    with pytest.raises(DataError, match=rf"1 of 1 folders name no class of {space}: {folder}; {expected}"):
        match_folders(space, [folder])
