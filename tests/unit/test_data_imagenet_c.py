"""Stored ImageNet-C trees: both layouts, ids that pair with the clean images, strengths, every refusal."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from robobench.data.folder import Folder
from robobench.data.imagenet_c import ImageNetC
from robobench.errors import BadParameter, DataError
from robobench.registry import data
from robobench.types import View
from tests.data_fixtures import class_tree, picture

CLASSES = ["n15075141", "n01440764", "n01443537"]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two corruptions, one in the folder of its archive, at severities 1 to 5; one image differs in each."""
    for place in ("fog", "noise/shot_noise"):
        for severity in range(1, 6):
            tree = class_tree(tmp_path / "C" / place / str(severity), CLASSES)
            shutil.copy(tree / CLASSES[0] / "0.png", tree / CLASSES[0] / f"{severity}.png")
    return tmp_path / "C"


def source(root: Path, corruption: str = "fog", severity: int = 3, **more: str) -> ImageNetC:
    return ImageNetC(path=str(root), corruption=corruption, severity=severity, **more)


def test_ids_and_labels_are_those_of_the_clean_folder(root: Path, tmp_path: Path) -> None:
    clean = Folder(path=str(class_tree(tmp_path / "val", CLASSES))).index()
    found = source(root).index()
    assert found.ids == (*clean.ids, "n15075141/3.png")
    assert found.labels == (*clean.labels, 999)
    assert found.space == clean.space
    assert clean.view is None
    assert found.view == View()  # shown as stored, whatever the suite's view


def test_each_severity_is_its_own_folder(root: Path) -> None:
    found = [source(root, severity=s) for s in range(1, 6)]
    assert [s.index().ids[-1] for s in found] == [
        "n15075141/1.png", "n15075141/2.png", "n15075141/3.png", "n15075141/4.png", "n15075141/5.png",
    ]  # fmt: skip
    assert len({s.index().revision for s in found}) == 5


def test_the_folders_of_the_archives_may_lie_in_between(root: Path) -> None:
    assert source(root, "shot_noise", 2).index().ids[-1] == "n15075141/2.png"
    np.testing.assert_array_equal(source(root, "shot_noise").read("n15075141/0.png"), picture(seed=0))


def test_missing_images_are_fewer_ids(root: Path) -> None:
    (root / "fog" / "3" / "n01440764" / "0.png").unlink()
    assert "n01440764/0.png" not in source(root).index().ids
    assert len(source(root).index().ids) == 6


def test_folders_named_by_strength_are_counted_from_the_weakest(root: Path) -> None:
    """As text, "10.00" comes before "2.00"."""
    for severity, strength in zip(range(1, 6), ("1.00", "2.00", "4.00", "9.00", "10.00"), strict=True):
        (root / "fog" / str(severity)).rename(root / "fog" / strength)
    assert [source(root, severity=s).index().ids[-1] for s in (1, 2, 5)] == [
        "n15075141/1.png", "n15075141/2.png", "n15075141/5.png",
    ]  # fmt: skip
    shutil.rmtree(root / "fog" / "2.00")
    with pytest.raises(DataError, match=r"no severity 2 of 'fog'; there are: 1\.00, 10\.00, 4\.00, 9\.00$"):
        source(root, severity=2).index()


def test_what_is_not_there_is_answered_with_what_is(root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^imagenet_c:.*C: no corruption 'fogg'; there are: fog, shot_noise$"
    ):
        source(root, "fogg").index()
    with pytest.raises(DataError, match=r"no severity 3 of 'noise'; there are: shot_noise$"):
        source(root, "noise").index()
    shutil.rmtree(root / "fog" / "3")
    with pytest.raises(DataError, match=r"no severity 3 of 'fog'; there are: 1, 2, 4, 5$"):
        source(root).index()
    with pytest.raises(DataError, match=r"no such folder; expected <corruption>/<severity>/<class>/<image>"):
        source(tmp_path / "none").index()
    with pytest.raises(DataError, match=r"no folder of a corruption; expected <corruption>/"):
        source(root / "fog" / "1").index()
    class_tree(root / "fog" / "4" / "cat", ["x"])
    with pytest.raises(DataError, match=r"^folder:.*fog/4: .*name no class of imagenet-1k: cat"):
        source(root, severity=4).index()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"severity": 0}, "severity: expected greater than or equal to 1, got 0"),
        ({"severity": 6}, "severity: expected less than or equal to 5, got 6"),
        ({"corruption": "../secret"}, "corruption: .*got '../secret'"),
        ({"label_space": "imagenet"}, "label_space: unknown label space 'imagenet'; did you mean"),
    ],
)
def test_parameters_are_checked(params: dict[str, object], message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        data.build("imagenet_c", {"path": "x", "corruption": "fog", "severity": 1, **params})


def test_tiny_imagenet_c_has_the_classes_of_its_folders(root: Path) -> None:
    found = source(root, label_space="own").index()
    assert found.space.classes == ("n01440764", "n01443537", "n15075141")
    assert found.space.outputs == 3


def test_ids_of_many_sets_are_one_text(root: Path) -> None:
    one, two = source(root, severity=1).index().ids, source(root, "shot_noise", 5).index().ids
    assert all(a is b for a, b in zip(one[:4], two[:4], strict=True))


def test_a_used_source_travels_light(root: Path) -> None:
    used = source(root)
    used.index()
    again = pickle.loads(pickle.dumps(used))  # noqa: S301
    assert again == used
    assert set(vars(again)) == {"path", "corruption", "severity", "label_space"}
    assert again.read("n15075141/1.png").shape == (12, 9, 3)
