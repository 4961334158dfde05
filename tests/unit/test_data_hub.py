"""Sets of the Hugging Face Hub: read offline from a clone and from a cache laid out as the Hub's own."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robobench.data.hub import Hub
from robobench.data.imagenet_r import ImageNetR
from robobench.errors import BadParameter, DataError
from robobench.keys import bytes_digest
from robobench.registry import data
from tests.data_fixtures import encoded, picture

COMMIT = "0b2714987fa478483af9968de7c934580d0bb9a2"


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and no cache outside the test's own folder."""
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setenv("ROBOBENCH_CACHE", str(tmp_path / "cache"))


def repository(
    folder: Path,
    labels: Sequence[Any] = (1, 0, 1),
    names: Sequence[str] | None = ("cat", "dog"),
    split: str = "test",
    seed: int = 0,
) -> Path:
    """A data set repository as `push_to_hub` leaves it: a card, and Parquet files below data/."""
    from datasets import ClassLabel, Dataset, Features, Image, Value

    kind = Value("string" if isinstance(labels[0], str) else "int64")
    files = [encoded(picture(seed=seed + n)) for n in range(len(labels))]
    table = Dataset.from_dict(
        {
            "image": [{"bytes": f, "path": None} for f in files],
            "label": list(labels),
            "weight": [1.0] * len(labels),
        },
        features=Features(
            {
                "image": Image(),
                "label": ClassLabel(names=list(names)) if names else kind,
                "weight": Value("float64"),
            }
        ),
    )
    (folder / "data").mkdir(parents=True, exist_ok=True)
    table.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        + "".join(
            f"  - split: {s}\n    path: data/{s}-*\n"
            for s in ("train", "test")
            if list((folder / "data").glob(f"{s}-*"))
        )
        + "---\n# A set\n"
    )
    return folder


def test_a_clone(tmp_path: Path) -> None:
    root = repository(tmp_path / "pets")
    source = data.build("hub", {"path": str(root), "split": "test"})
    index = source.index()
    assert index.ids == ("test-000000", "test-000001", "test-000002")
    assert index.labels == (1, 0, 1)
    assert index.space.name == "own"
    assert index.space.classes == ("cat", "dog")
    assert index.space.outputs == 2
    for n, image in enumerate(index.ids):
        np.testing.assert_array_equal(source.read(image), picture(seed=n))


def test_only_the_split_asked_for_is_read(tmp_path: Path) -> None:
    root = repository(repository(tmp_path / "pets"), labels=(0,), split="train", seed=50)
    test, train = (Hub(path=str(root), split=s).index() for s in ("test", "train"))
    assert (len(test.ids), len(train.ids)) == (3, 1)
    assert test.revision != train.revision
    np.testing.assert_array_equal(Hub(path=str(root), split="train").read("train-000000"), picture(seed=50))


def test_the_revision_follows_the_content(tmp_path: Path) -> None:
    first = Hub(path=str(repository(tmp_path / "a")), split="test").index().revision
    assert Hub(path=str(repository(tmp_path / "b")), split="test").index().revision == first
    assert Hub(path=str(repository(tmp_path / "c", seed=9)), split="test").index().revision != first


def cached(tmp_path: Path, commit: str = COMMIT, **changes: Any) -> None:
    """The Hub's cache after a download of owner/pets at a commit: links to files named by content."""
    home = tmp_path / "hub" / "datasets--owner--pets"
    root = repository(home / "snapshots" / commit, **changes)
    (home / "blobs").mkdir(exist_ok=True)
    for file in [f for f in root.rglob("*") if f.is_file()]:
        blob = home / "blobs" / bytes_digest(file.read_bytes())
        file.replace(blob)
        file.symlink_to(blob)


def test_a_pinned_revision_is_read_from_the_cache(tmp_path: Path) -> None:
    other = "f" * 40
    cached(tmp_path)
    cached(tmp_path, other, labels=(0, 0), seed=70)
    spec = {"path": "owner/pets", "split": "test"}
    source = data.build("hub", {**spec, "revision": COMMIT})
    assert source.index().labels == (1, 0, 1)
    np.testing.assert_array_equal(source.read("test-000001"), picture(seed=1))
    second = data.build("hub", {**spec, "revision": other})
    assert second.index().labels == (0, 0)
    clone = Hub(path=str(repository(tmp_path / "clone")), split="test")
    assert clone.index().revision == source.index().revision != second.index().revision
    np.testing.assert_array_equal(second.read("test-000001"), picture(seed=71))


def test_another_revision_in_the_cache_is_never_taken_instead(tmp_path: Path) -> None:
    cached(tmp_path)
    with pytest.raises(DataError, match="has no complete copy of revision " + "e" * 40):
        Hub(path="owner/pets", split="test", revision="e" * 40).index()


def test_a_folder_of_the_same_name_is_never_taken_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository(tmp_path / "owner" / "pets")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="the Hub cannot be reached"):
        Hub(path="owner/pets", split="test", revision=COMMIT).index()
    assert len(Hub(path="./owner/pets", split="test").index().ids) == 3


def test_an_unreachable_hub_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}"
    )
    started = time.monotonic()
    message = (
        r"^hub:owner/pets: the Hub cannot be reached \(Connect\w*Error\) and the cache has no complete copy "
        rf"of revision {COMMIT}; connect, or run `hf download owner/pets --repo-type dataset --revision "
        rf"{COMMIT}` where "
        r"there is a connection and copy \$HF_HOME, or give the path of a clone \(hub:\./name\)$"
    )
    with pytest.raises(DataError, match=message):
        Hub(path="owner/pets", split="test", revision=COMMIT).index()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("RevisionNotFoundError", r"the Hub has no revision 'v9' of it"),
        (
            "RepositoryNotFoundError",
            r"the Hub has no such data set, or not for you; .* log in with `hf auth login`",
        ),
        ("GatedRepoError", r"the Hub has no such data set, or not for you; .* ask for access"),
    ],
)
def test_what_the_hub_answers(monkeypatch: pytest.MonkeyPatch, error: str, message: str) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    def answer(*_: object, **__: object) -> None:
        raise getattr(errors, error).__new__(getattr(errors, error))

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", answer)
    with pytest.raises(DataError, match=f"^hub:owner/pets: {message}"):
        Hub(path="owner/pets", split="test", revision="v9").index()


def test_the_commit_behind_a_tag_is_fetched_and_nothing_but_the_files_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    class Answer:
        sha = COMMIT

    def download(**wanted: Any) -> str:
        asked.update(wanted)
        cached(tmp_path)
        return str(tmp_path / "hub" / "datasets--owner--pets" / "snapshots" / COMMIT)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: Answer)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    source = Hub(path="owner/pets", split="test", revision="v1", files="data/test-*")
    assert len(source.index().ids) == 3
    assert asked["revision"] == COMMIT
    assert asked["repo_type"] == "dataset"
    assert asked["allow_patterns"][0] == "data/test-*"


def test_a_download_that_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    class Answer:
        sha = COMMIT

    def download(**_: Any) -> str:
        raise TimeoutError("read timed out")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: Answer)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(
        DataError, match=r"the download broke off: TimeoutError: read timed out; run it again"
    ):
        Hub(path="owner/pets", split="test", revision="v1").index()


def test_files_name_the_split(tmp_path: Path) -> None:
    """Of a large set only one split is fetched; its card still lists the other."""
    root = repository(repository(tmp_path / "pets"), labels=(0,), split="train")
    (root / "data" / "train-00000-of-00001.parquet").unlink()
    assert len(Hub(path=str(root), split="test", files="data/test-*").index().ids) == 3


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, r"revision: missing; a set on the Hub changes, so name the commit \(or tag\).*/commits/main"),
        ({"revision": "main"}, r"revision: main; a set on the Hub changes"),
        (
            {"revision": COMMIT, "path": "pets"},
            r"path: expected owner/name, or a folder such as \./name, got 'pets'",
        ),
        ({"revision": COMMIT, "path": "./pets"}, r"revision: a clone has no revision to choose"),
        (
            {"revision": COMMIT, "split": "test[:10%]"},
            r"split: expected a plain name such as test, got 'test\[",
        ),
        (
            {"revision": COMMIT, "label_space": "imagenet"},
            r"label_space: unknown label space 'imagenet'; did you mean 'imagenet-",
        ),
    ],
)
def test_parameters_are_checked(params: dict[str, str], message: str) -> None:
    with pytest.raises(BadParameter, match=f"^hub: {message}"):
        data.build("hub", {"path": "owner/pets", "split": "test", **params})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"split": "validation"}, r"no split 'validation'; known: test"),
        ({"image": "x"}, r"no image column 'x'; known: image, label, weight \(set image=\.\.\.\)"),
        ({"label": "labels"}, r"no label column 'labels'; did you mean 'label'\?"),
        ({"image": "weight"}, r"the column 'weight' holds no images; columns that do: \['image'\]"),
        (
            {"label": "weight"},
            r"the column 'weight' has no class names, so the order of the classes is not known",
        ),
        ({"config": "large"}, r"cannot be read as a data set: ValueError: BuilderConfig 'large' not found"),
        ({"label_space": "imagenet-1k"}, r"2 of 2 class names are not in imagenet-1k: cat, dog; expected"),
    ],
)
def test_what_the_set_does_not_have(tmp_path: Path, params: dict[str, str], message: str) -> None:
    root = repository(tmp_path / "pets")
    with pytest.raises(DataError, match=f"^hub:pets: {message}"):
        data.build("hub", {"path": str(root), "split": "test", **params}).index()


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; expected a clone of a data set of the Hub"):
        Hub(path=str(tmp_path / "x"), split="test").index()


def test_rows_without_a_label(tmp_path: Path) -> None:
    root = repository(tmp_path / "pets", labels=(-1, 0, -1))
    with pytest.raises(DataError, match=r"2 of 3 rows of the split 'test' have no label; choose a split"):
        Hub(path=str(root), split="test").index()


def test_class_names_are_matched_to_a_known_space(tmp_path: Path) -> None:
    root = repository(tmp_path / "a", labels=(0, 1, 2), names=("ship", "cat", "airplane"))
    index = Hub(path=str(root), split="test", label_space="cifar-10").index()
    assert index.labels == (8, 3, 0)
    assert index.space.outputs == 10
    root = repository(tmp_path / "b", labels=(0, 1), names=("n01484850", "n01443537"))
    assert Hub(path=str(root), split="test", label_space="imagenet-r").index().labels == (1, 0)


def test_labels_without_class_names(tmp_path: Path) -> None:
    numbers = repository(tmp_path / "a", labels=(7, 999, 7), names=None)
    assert Hub(path=str(numbers), split="test", label_space="imagenet-1k").index().labels == (7, 999, 7)
    with pytest.raises(DataError, match="class numbers are ambiguous here"):
        Hub(path=str(numbers), split="test", label_space="imagenet-a").index()
    words = repository(tmp_path / "b", labels=("cat", "frog"), names=None)
    assert Hub(path=str(words), split="test", label_space="cifar-10").index().labels == (3, 6)


def test_an_image_that_cannot_be_decoded_or_does_not_exist(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Image

    root = repository(tmp_path / "pets")
    file = encoded(picture(40, 40), "JPEG")
    Dataset.from_dict(
        {"image": [{"bytes": file[: len(file) // 2], "path": None}, None], "label": [0, 1]},
        features=Features({"image": Image(), "label": ClassLabel(names=["cat", "dog"])}),
    ).to_parquet(str(root / "data" / "test-00000-of-00001.parquet"))
    source = Hub(path=str(root), split="test")
    with pytest.raises(DataError, match=r"^hub:pets: test-000000: cannot be decoded: .*truncated"):
        source.read("test-000000")
    with pytest.raises(DataError, match=r"^hub:pets: test-000001: cannot be decoded: the file is empty"):
        source.read("test-000001")
    for image in ("test-000002", "train-000000", "test-x", "0"):
        with pytest.raises(DataError, match=r"no image '.*'; expected test-000000 to test-000001"):
            source.read(image)


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    root = repository(tmp_path / "pets")
    file = root / "data" / "test-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match=r"^hub:pets: cannot be read as a data set: "):
        Hub(path=str(root), split="test").index()


def test_a_used_source_travels_light(tmp_path: Path) -> None:
    source = Hub(path=str(repository(tmp_path / "pets")), split="test")
    source.index()
    packed = pickle.dumps(source)
    assert len(packed) < 1000
    np.testing.assert_array_equal(pickle.loads(packed).read("test-000002"), picture(seed=2))  # noqa: S301


# The same sets by hub id: their label spaces and read-outs, several labels, none


@pytest.mark.parametrize("space", ["imagenet-r", "imagenet-r-full"])
def test_imagenet_r_by_hub_id_is_read_as_from_its_folders(space: str, tmp_path: Path) -> None:
    """A column of WordNet ids, as in axiong/imagenet-r, against the same images in class folders."""
    wordnet = ["n07753592", "n01498041", "n07753592"]
    cached(tmp_path, labels=wordnet, names=None)
    params = {"path": "owner/pets", "split": "test", "revision": COMMIT, "label_space": space}
    found = data.build("hub", params).index()
    for number, folder in enumerate(wordnet):
        (tmp_path / "R" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "R" / folder / f"{number}.png").write_bytes(encoded(picture(seed=number)))
    read_out = "all" if space.endswith("full") else "classes"
    source = ImageNetR(path=str(tmp_path / "R"), read_out=read_out, partial=True)
    folders = source.index()
    assert found.space == folders.space
    by_pixels = {source.read(i).tobytes(): n for i, n in zip(folders.ids, folders.labels, strict=True)}
    hub = data.build("hub", params)
    assert {hub.read(i).tobytes(): n for i, n in zip(found.ids, found.labels, strict=True)} == by_pixels


def several(folder: Path, labels: Sequence[Sequence[int]]) -> Path:
    """A repository whose label column holds lists, as ImageNet-Hard's does."""
    from datasets import Dataset, Features, Image, List, Value

    rows = {
        "image": [{"bytes": encoded(picture(seed=n)), "path": None} for n in range(len(labels))],
        "label": [list(some) for some in labels],
    }
    (folder / "data").mkdir(parents=True, exist_ok=True)
    features = Features({"image": Image(), "label": List(Value("int64"))})
    Dataset.from_dict(rows, features=features).to_parquet(str(folder / "data" / "validation-0.parquet"))
    return folder


def test_a_column_of_lists_says_every_right_class(tmp_path: Path) -> None:
    root = several(tmp_path / "hard", [[970, 795], [0], [5, 5]])
    found = Hub(path=str(root), split="validation", label_space="imagenet-1k").index()
    assert found.labels == (970, 0, 5)
    assert found.accepted == {"validation-000000": (970, 795)}
    with pytest.raises(DataError, match="1 of 2 rows of the split 'validation' have no label"):
        Hub(
            path=str(several(tmp_path / "b", [[1], []])), split="validation", label_space="imagenet-1k"
        ).index()
    with pytest.raises(DataError, match="has no class names"):
        Hub(path=str(root), split="validation").index()


def test_imagenet_hard_is_counted(tmp_path: Path) -> None:
    root = several(tmp_path / "hard", [[970, 795], [0]])
    found = data.build("imagenet_hard", {"path": str(root), "partial": True})
    assert found.index().labels == (970, 0)
    np.testing.assert_array_equal(found.read("validation-000001"), picture(seed=1))
    with pytest.raises(
        DataError, match=r"^imagenet_hard:.*hard: 2 readable images, published were 10,980; unpack"
    ):
        data.build("imagenet_hard", {"path": str(root)}).index()
    with pytest.raises(BadParameter, match="revision: missing; a set on the Hub changes"):
        data.build("imagenet_hard", {"path": "taesiri/imagenet-hard"})


def test_outliers_of_the_hub(tmp_path: Path) -> None:
    root = str(repository(tmp_path / "o"))
    found = Hub(path=root, split="test", label_space="imagenet-o", outliers=True)
    assert set(found.index().labels) == {-1}
    assert found.index().space.name == "imagenet-o"
    np.testing.assert_array_equal(found.read("test-000001"), picture(seed=1))
    plain = Hub(path=root, split="test").index()
    assert plain.revision != found.index().revision
    for params, said in (
        (
            {"label_space": "imagenet-o"},
            "no class is right for the images of imagenet-o: use the source imagenet_o",
        ),
        (
            {"outliers": True},
            "label_space: outliers have no classes of their own; name that of the base data",
        ),
    ):
        with pytest.raises(BadParameter, match=said):
            data.build("hub", {"path": root, "split": "test", **params})
