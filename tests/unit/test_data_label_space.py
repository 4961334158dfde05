"""Label spaces against the lists of the literature, and which folders stand for which class."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from robobench.data import label_space as spaces
from robobench.data.label_space import (
    class_folders,
    imagenet_folders,
    label_space,
    match_folders,
    match_names,
    own_space,
    wordnet_ids,
)
from robobench.errors import DataError, UnknownName


def _listed(name: str) -> list[str]:
    spec = importlib.util.find_spec("timm")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return (Path(spec.submodule_search_locations[0]) / "data" / "_info" / name).read_text().split()


def test_imagenet() -> None:
    space = label_space("imagenet-1k")
    assert space.outputs == len(space.classes) == len(set(space.classes)) == 1000
    assert space.groups is None
    assert space.classes[0].startswith("tench")
    assert space.classes[243] == "bull mastiff"
    assert space.classes[999].startswith("toilet tissue")
    assert list(wordnet_ids()) == sorted(set(wordnet_ids()))
    assert wordnet_ids()[:2] == ("n01440764", "n01443537")


def test_imagenet_names_agree_with_torchvisions() -> None:
    """A second source: the same 1,000 classes in the same order, under torchvision's shorter names."""
    from torchvision.models import ResNet50_Weights

    theirs = ResNet50_Weights.DEFAULT.meta["categories"]
    same = sum(
        a.split(",")[0].lower() == b.lower()
        for a, b in zip(label_space("imagenet-1k").classes, theirs, strict=True)
    )
    assert len(theirs) == 1000
    assert same > 970


def test_two_classes_of_one_name_are_told_apart() -> None:
    classes = label_space("imagenet-1k").classes
    assert [c for c in classes if c.startswith("crane")] == ["crane (n02012849)", "crane (n03126707)"]


@pytest.mark.parametrize(("name", "stem"), [("imagenet-a", "imagenet_a"), ("imagenet-r", "imagenet_r")])
def test_parts_of_imagenet_are_timms(name: str, stem: str) -> None:
    space = label_space(name)
    assert space.parent == "imagenet-1k"
    assert space.outputs == 1000
    assert space.groups is not None
    assert len(space.groups) == len(space.classes) == 200
    members = [g[0] for g in space.groups]
    assert all(len(g) == 1 for g in space.groups)
    assert [wordnet_ids()[m] for m in members] == _listed(f"{stem}_synsets.txt") == list(class_folders(name))
    assert space.classes == tuple(label_space("imagenet-1k").classes[m] for m in members)


def test_overlap_of_imagenet_a_and_r() -> None:
    a, r = (set(label_space(n).groups or ()) for n in ("imagenet-a", "imagenet-r"))
    assert (len(a & r), len(a | r)) == (86, 314)


def test_cifar_and_digits() -> None:
    assert label_space("cifar-10").classes[3] == "cat"
    hundred = label_space("cifar-100").classes
    assert len(set(hundred)) == 100
    assert list(hundred) == sorted(hundred)
    assert hundred[49] == "mountain"
    assert label_space("digits").classes == tuple("0123456789")


def test_an_unknown_space() -> None:
    with pytest.raises(UnknownName, match=r"unknown label space 'imagenet1k'; did you mean 'imagenet-1k'"):
        label_space("imagenet1k")


def test_own_classes_are_in_order_and_numbers_count_as_numbers() -> None:
    assert own_space(["cat", "ant", "Bee"]).classes == ("Bee", "ant", "cat")
    assert own_space(["10", "9", "2"]).classes == ("2", "9", "10")
    assert own_space(["10", "9", "b"]).classes == ("10", "9", "b")
    assert own_space(["a", "b"]).outputs == 2


def test_imagenet_folders() -> None:
    folders = imagenet_folders()
    assert len(folders) == 2000
    assert folders["n01440764"] == folders["0"] == 0
    assert folders["n15075141"] == folders["999"] == 999


def test_numbers_are_not_sorted_as_text() -> None:
    assert match_folders("imagenet-1k", ["0", "1", "10", "2"]) == {"0": 0, "1": 1, "10": 10, "2": 2}
    assert match_folders("imagenet-1k", ["0002", "0010"]) == {"0002": 2, "0010": 10}


@pytest.mark.parametrize(
    ("name", "folders", "message"),
    [
        (
            "imagenet-1k",
            ["cat", "dog", "n01440764"],
            "2 of 3 folders name no class of imagenet-1k: cat, dog; expected WordNet ids such as n01440764 "
            "or class numbers 0 to 999; for classes of your own use label_space=own",
        ),
        ("imagenet-1k", ["1000"], "1 of 1 folders name no class of imagenet-1k: 1000; expected"),
        (
            "imagenet-a",
            ["0", "1"],
            "expected WordNet ids such as n01498041 (class numbers are ambiguous here)",
        ),
        ("imagenet-1k", ["n01440764", "3"], "class numbers and class names are mixed (3, n01440764)"),
        ("imagenet-1k", ["7", "07"], "the folders 7 and 07 stand for the same class"),
        ("cifar-10", ["plane"], "expected class names such as airplane or class numbers 0 to 9"),
        ("digits", ["zero"], "expected class numbers 0 to 9"),
        ("cifar-10", list("abcdefg"), "7 of 7 folders name no class of cifar-10: a, b, c, d, e, ...;"),
    ],
)
def test_folders_that_do_not_fit(name: str, folders: list[str], message: str) -> None:
    with pytest.raises(DataError) as caught:
        match_folders(name, folders)
    assert message in str(caught.value)


def test_names_of_a_label_column() -> None:
    imagenet = label_space("imagenet-1k").classes
    assert match_names("imagenet-1k", wordnet_ids()) == tuple(range(1000))
    assert match_names("imagenet-1k", imagenet) == tuple(range(1000))
    assert match_names("cifar-10", ["cat", "airplane"]) == (3, 0)
    assert match_names("imagenet-r", ["n01484850"]) == (1,)
    named = [c.partition(" (n0")[0] for c in imagenet]
    assert match_names("imagenet-1k", named) == tuple(range(1000))  # both cranes, told apart by place
    named[134], named[517] = "crane bird", "crane2"
    assert match_names("imagenet-1k", named) == tuple(range(1000))


def test_names_that_do_not_fit() -> None:
    message = r"1 of 2 class names are not in imagenet-1k: crane; expected the classes' names or WordNet ids"
    with pytest.raises(DataError, match=message):
        match_names("imagenet-1k", ["goldfish, Carassius auratus", "crane"])


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "installed_folder", lambda _: None)
    with pytest.raises(
        DataError, match=r"imagenet_synsets\.txt: ImageNet's class lists come with timm and cannot"
    ):
        spaces._lines("imagenet_synsets.txt")
