"""A folder of class folders: matching, odd trees, revision, the cache of digests, and every refusal."""

from __future__ import annotations

import os
import pickle
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from robobench.data import digests, tree
from robobench.data.folder import Folder
from robobench.errors import BadParameter, DataError
from robobench.registry import data
from robobench.types import DataIndex
from tests.data_fixtures import class_tree, encoded, picture, write_old


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOBENCH_CACHE", str(tmp_path / "cache"))


def index(root: Path, space: str = "own") -> DataIndex:
    found: DataIndex = Folder(path=str(root), label_space=space).index()
    return found


def test_folders_by_wordnet_id(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "val", ["n15075141", "n01440764", "n01443537"])
    found = index(root, "imagenet-1k")
    assert found.ids == (
        *("n01440764/0.png", "n01440764/1.png", "n01443537/0.png", "n01443537/1.png"),
        *("n15075141/0.png", "n15075141/1.png"),
    )
    assert found.labels == (0, 0, 1, 1, 999, 999)
    assert found.space.outputs == 1000
    assert found.view is None
    assert found.excluded == {}


def test_folders_by_number_are_not_sorted_as_text(tmp_path: Path) -> None:
    """ImageNetV2's trap: as text, "10" sorts before "2"."""
    root = class_tree(tmp_path / "v2", [str(n) for n in range(12)], images=1)
    found = index(root, "imagenet-1k")
    assert found.labels == tuple(range(12))
    assert found.ids == tuple(f"{n}/0.png" for n in range(12))
    assert found.labels[found.ids.index("10/0.png")] == 10
    own = index(root)
    assert own.labels == tuple(range(12))
    assert own.space.classes == tuple(str(n) for n in range(12))


def test_folders_of_a_part_of_imagenet(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "r", ["n01484850", "n01443537"], images=1)
    found = index(root, "imagenet-r")
    assert found.labels == (0, 1)
    assert found.space.groups is not None
    assert found.space.groups[1] == (2,)


def test_own_classes(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "mine", ["dog", "cat", "owl"], images=1)
    (root / "ant").mkdir()  # a class without an image still has a model output
    found = index(root)
    assert found.space.classes == ("ant", "cat", "dog", "owl")
    assert found.space.outputs == 4
    assert found.labels == (1, 2, 3)


def test_words_are_an_error_without_own(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "mine", ["dog", "cat"], images=1)
    message = (
        r"^folder:.*mine: 2 of 2 folders name no class of imagenet-1k: cat, dog; expected WordNet ids such "
        r"as n01440764 or class numbers 0 to 999; for classes of your own use label_space=own$"
    )
    with pytest.raises(DataError, match=message):
        Folder(path=str(root)).index()


def test_a_folder_of_splits_is_noticed(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "set" / "val", ["n01440764"]).parent
    with pytest.raises(DataError, match=r"\('val' looks like a split: name that folder itself\)"):
        Folder(path=str(root)).index()


def test_an_unknown_label_space_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        BadParameter, match=r"folder: label_space: unknown .*'imagenet_a'; did you mean 'imagenet-a"
    ):
        data.build("folder", {"path": str(tmp_path), "label_space": "imagenet_a"})


def test_reading(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "mine", ["cat"], images=1)
    source = Folder(path=str(root), label_space="own")
    np.testing.assert_array_equal(source.read("cat/0.png"), picture(seed=0))


def test_a_damaged_image_is_named_without_the_machines_path(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "mine", ["cat"], images=1)
    whole = encoded(picture(64, 64), "JPEG")
    (root / "cat" / "bad.jpg").write_bytes(whole[: len(whole) // 2])
    source = Folder(path=str(root), label_space="own")
    assert "cat/bad.jpg" in source.index().ids
    with pytest.raises(DataError, match=r"^mine/cat/bad\.jpg: cannot be decoded: .*truncated") as caught:
        source.read("cat/bad.jpg")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("image", ["../secret.png", "/etc/passwd", "cat/../../x.png"])
def test_an_id_that_leads_out(tmp_path: Path, image: str) -> None:
    with pytest.raises(DataError, match="leads out of the folder"):
        Folder(path=str(tmp_path), label_space="own").read(image)


def test_deeper_folders_belong_to_their_class(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "mine", ["cat", "dog"], images=1)
    (root / "cat" / "2024" / "may").mkdir(parents=True)
    (root / "cat" / "2024" / "may" / "x.JPEG").write_bytes(encoded(picture(), "JPEG"))
    found = index(root)
    assert found.ids == ("cat/0.png", "cat/2024/may/x.JPEG", "dog/0.png")
    assert found.labels == (0, 0, 1)


def test_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "mine", ["cat"], images=1)
    before = index(root)
    (root / ".DS_Store").touch()
    (root / "__MACOSX").mkdir()
    (root / ".cache").mkdir()
    (root / "README.txt").write_text("mine")
    (root / "cat" / "._0.png").write_bytes(b"x")
    (root / "cat" / "notes.txt").write_text("x")
    assert index(root) == before


def test_empty_files_and_dead_links_are_excluded_by_name(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "mine", ["cat"], images=1)
    (root / "cat" / "empty.jpg").touch()
    (root / "cat" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(root / "cat" / "pipe.jpg")
    found = index(root)
    assert found.excluded == {
        "cat/empty.jpg": "the file is empty",
        "cat/gone.jpg": "a link that leads nowhere",
        "cat/pipe.jpg": "not a regular file",
    }
    assert set(found.excluded) < set(found.ids)


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    store = class_tree(tmp_path / "store", ["cats"], images=2)
    root = tmp_path / "mine"
    (root / "dog").mkdir(parents=True)
    (root / "cat").symlink_to(store / "cats")
    (root / "dog" / "0.png").write_bytes(encoded(picture()))
    (root / "dog" / "self").symlink_to(root / "dog")
    (root / "dog" / "up").symlink_to(root)
    (root / "dog" / "a").mkdir()
    (root / "dog" / "a" / "b").symlink_to(root / "dog" / "c")
    (root / "dog" / "c").mkdir()
    (root / "dog" / "c" / "d").symlink_to(root / "dog" / "a")
    (root / "dog" / "turn.png").symlink_to(root / "dog" / "turn.png")
    found = index(root)
    assert found.ids == ("cat/0.png", "cat/1.png", "dog/0.png", "dog/turn.png")
    assert found.excluded == {"dog/turn.png": "a link that leads nowhere"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, r"no such folder; expected a folder with one folder of images per class"),
        (lambda p: p.write_text(""), r"not a folder; expected a folder with"),
        (
            lambda p: p.mkdir(),
            r"the folder is empty; expected one folder of images per class, such as n01440764/",
        ),
        (
            lambda p: (p.mkdir(), [(p / f"{n}.jpg").touch() for n in range(3)]),
            r"3 images but no class folders; expected one folder",
        ),
        (
            lambda p: ((p / "cat").mkdir(parents=True), (p / "cat" / "a.txt").touch(), (p / "b.csv").touch()),
            r"no image in 1 class folders; ignored files by suffix: 1 \.csv, 1 \.txt; expected .*: \.bmp ",
        ),
        (
            lambda p: ((p / "cat").mkdir(parents=True), (p / "cat" / "a.jpg").touch()),
            r"none of 1 images can be read; cat/a\.jpg: the file is empty",
        ),
    ],
)
def test_folders_with_nothing_in_them(tmp_path: Path, make: object, message: str) -> None:
    root = tmp_path / "here"
    make(root)  # type: ignore[operator]
    with pytest.raises(DataError, match=f"^folder:.*here: {message}"):
        index(root)


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_tree(tmp_path / "mine", ["cat"], images=1)

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tree.os, "scandir", refuse)
    with pytest.raises(
        DataError, match=r"mine: the folder .* cannot be listed: Permission denied; check its rights"
    ):
        index(root)


def test_an_image_that_may_not_be_read_is_excluded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_tree(tmp_path / "mine", ["cat"])
    real = digests.file_digest

    def refuse(path: Path) -> str:
        if path.name == "1.png":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(digests, "file_digest", refuse)
    assert index(root).excluded == {"cat/1.png": "Permission denied"}


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are always UTF-8 there")
@pytest.mark.parametrize("name", [b"caf\xe9.png", b"two\nlines.png"])
def test_names_that_no_table_can_hold(tmp_path: Path, name: bytes) -> None:
    root = class_tree(tmp_path / "mine", ["cat"], images=1)
    Path(os.fsdecode(bytes(root / "cat") + b"/" + name)).write_bytes(b"x")
    with pytest.raises(DataError, match="holds control characters or is not UTF-8; rename it"):
        index(root)


def test_names_of_any_script_are_fine(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "mine", ["猫", "a b\u00a0c"], images=1)
    assert index(root).ids == ("a b\u00a0c/0.png", "猫/0.png")


def test_the_revision_follows_content_and_names_only(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "mine", ["cat", "dog"])
    first = index(root).revision
    assert index(class_tree(tmp_path / "other", ["cat", "dog"])).revision == first

    file = root / "cat" / "1.png"
    content = file.read_bytes()
    os.utime(file)  # touched, the same inside
    assert index(root).revision == first

    write_old(file, encoded(picture(seed=99)))
    changed = index(root).revision
    assert changed != first

    write_old(file, content)
    assert index(root).revision == first
    file.rename(root / "dog" / "9.png")
    assert index(root).revision != first


def test_the_revision_does_not_depend_on_the_label_space(tmp_path: Path) -> None:
    root = class_tree(tmp_path / "mine", ["1", "2"])
    assert index(root).revision == index(root, "imagenet-1k").revision


def test_a_warm_start_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_tree(tmp_path / "mine", ["cat", "dog"])
    first = index(root)
    read: list[str] = []

    def count(path: Path) -> str:
        read.append(path.name)
        return "0" * 20

    monkeypatch.setattr(digests, "file_digest", count)
    assert index(root) == first
    assert read == []
    write_old(root / "cat" / "1.png", encoded(picture(seed=5)), age=1800)
    assert index(root) != first
    assert read == ["1.png"]


def test_a_file_that_was_changed_a_moment_ago_is_not_remembered(tmp_path: Path) -> None:
    """Two writes within the clock's tick leave the same size and time: the second must be seen."""
    root = class_tree(tmp_path / "mine", ["cat"], images=1)
    file = root / "cat" / "0.png"
    now = time.time()
    file.write_bytes(b"a" * 100)
    os.utime(file, (now, now))
    first = index(root)
    file.write_bytes(b"b" * 100)
    os.utime(file, (now, now))
    assert index(root).revision != first.revision


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"null", b'{"format": 9}', b'{"format": 1, "files": {"cat/0.png": [1]}}', b"\xff\xfe"],
)
def test_a_damaged_cache_costs_time_and_nothing_else(tmp_path: Path, damage: bytes) -> None:
    root = class_tree(tmp_path / "mine", ["cat"])
    first = index(root)
    (cache,) = (tmp_path / "cache" / "digests").iterdir()
    whole = cache.read_bytes()
    cache.write_bytes(damage)
    assert index(root) == first
    assert cache.read_bytes() == whole


def test_a_cache_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_tree(tmp_path / "mine", ["cat"])
    first = index(root)
    (tmp_path / "file").touch()
    monkeypatch.setenv("ROBOBENCH_CACHE", str(tmp_path / "file" / "below"))
    assert index(root) == first


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_tree(tmp_path / "mine", ["cat"])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(digests.json, "dump", full)
    index(root)
    assert list((tmp_path / "cache" / "digests").iterdir()) == []


def test_no_cache_when_it_is_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_tree(tmp_path / "mine", ["cat"])
    monkeypatch.setenv("ROBOBENCH_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    first = index(root)
    assert not (tmp_path / "home").exists()
    monkeypatch.delenv("ROBOBENCH_CACHE")
    assert index(root) == first
    assert len(list((tmp_path / "home" / ".cache" / "robobench" / "digests").iterdir())) == 1


def test_the_home_folder_may_be_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_tree(tmp_path / "mine", ["cat"])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(Folder(path="~/mine", label_space="own").index().ids) == 2


def test_a_used_source_travels_light(tmp_path: Path) -> None:
    source = Folder(path=str(class_tree(tmp_path / "mine", ["cat"])), label_space="own")
    source.index()
    again = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert again == source
    assert "_index" not in vars(again)
    assert again.read("cat/1.png").shape == (12, 9, 3)


def test_the_index_is_worked_out_once(tmp_path: Path) -> None:
    source = Folder(path=str(class_tree(tmp_path / "mine", ["cat"])), label_space="own")
    assert source.index() is source.index()
