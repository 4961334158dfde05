"""The labelled photos in foolbox's wheel."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest

from robobench.data import samples
from robobench.data.samples import Samples
from robobench.errors import BadParameter, DataError, MissingExtra
from robobench.registry import data
from robobench.types import View

pytestmark = pytest.mark.skipif(importlib.util.find_spec("foolbox") is None, reason="extra `samples`")


@pytest.mark.parametrize(
    ("path", "space", "first", "view"),
    [
        ("imagenet", "imagenet-1k", ("imagenet_00_243.jpg", "bull mastiff"), None),
        ("cifar10", "cifar-10", ("cifar10_00_3.png", "cat"), View()),
        ("cifar100", "cifar-100", ("cifar100_00_49.png", "mountain"), View()),
    ],
)
def test_twenty_photos_with_the_labels_of_their_names(
    path: str, space: str, first: tuple[str, str], view: View | None
) -> None:
    source = data.build("samples", {"path": path})
    index = source.index()
    assert len(index.ids) == len(set(index.ids)) == 20
    assert index.space.name == space
    assert (index.ids[0], index.space.classes[index.labels[0]]) == first
    assert index.view == view
    assert index == source.index()
    images = [source.read(i) for i in index.ids]
    assert all(i.dtype == np.uint8 and i.shape[2] == 3 for i in images)
    if view is not None:
        assert {i.shape for i in images} == {(32, 32, 3)}


def test_labels_agree_with_foolbox() -> None:
    """A second source: foolbox's own reading of its files, in the order of their numbers."""
    foolbox = pytest.importorskip("foolbox")
    folder = Path(foolbox.__file__).parent / "data"
    by_number = sorted(folder.glob("imagenet_*.jpg"), key=lambda p: int(p.stem.split("_")[1]))
    theirs = [int(p.stem.split("_")[2]) for p in by_number]
    assert list(Samples(path="imagenet").index().labels) == theirs


def test_an_id_that_is_none_of_its_images() -> None:
    for name in ("cifar10_00_3.png", "../imagenet_00_243.jpg", "imagenet_x"):
        with pytest.raises(DataError, match=r"samples:imagenet: .* is none of its images"):
            Samples(path="imagenet").read(name)


def test_without_foolbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "installed_folder", lambda _: None)
    with pytest.raises(
        MissingExtra, match=r"samples:cifar10 needs the package 'foolbox'.*robobench\[samples\]"
    ):
        Samples(path="cifar10").index()


def test_with_a_foolbox_that_has_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "installed_folder", lambda _: tmp_path)
    with pytest.raises(DataError, match=r"class numbers below 10, got 0 of them; run `pip install 'foolbox"):
        Samples(path="cifar10").index()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar10_00_12.png").touch()
    with pytest.raises(DataError, match="class numbers below 10"):
        Samples(path="cifar10").index()


def test_an_unknown_set() -> None:
    with pytest.raises(BadParameter, match="path: expected 'imagenet', 'cifar10' or 'cifar100', got 'coco'"):
        data.build("samples", {"path": "coco"})


def test_pickle() -> None:
    assert pickle.loads(pickle.dumps(Samples(path="cifar10"))) == Samples(path="cifar10")  # noqa: S301
