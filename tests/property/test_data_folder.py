"""A tree of class folders is listed alike whatever order it was made in, and as imagefolder lists it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robobench.data.folder import Folder
from robobench.data.label_space import own_space
from tests.data_fixtures import encoded, picture

_FILE = encoded(picture(2, 2))
_name = st.text("abcXYZ019 -é猫", min_size=1, max_size=6).map(str.strip).filter(bool)
_trees = st.dictionaries(_name, st.sets(_name, min_size=1, max_size=3), min_size=1, max_size=4)


def build(root: Path, tree: dict[str, set[str]], seed: int) -> Path:
    files = [(folder, name) for folder, names in tree.items() for name in names]
    random.Random(seed).shuffle(files)  # noqa: S311
    for folder, name in files:
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / f"{name}.png").write_bytes(_FILE)
    return root


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_trees, st.integers(0, 2**32))
def test_a_tree_is_indexed_alike_whatever_order_it_was_made_in(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    tree: dict[str, set[str]],
    seed: int,
) -> None:
    monkeypatch.setenv("ROBOBENCH_CACHE", "")
    first = Folder(path=str(build(tmp_path_factory.mktemp("a"), tree, seed)), label_space="own").index()
    second = Folder(path=str(build(tmp_path_factory.mktemp("b"), tree, seed + 1)), label_space="own").index()
    assert first == second
    assert len(first.ids) == len(set(first.ids)) == sum(len(n) for n in tree.values())
    assert first.space == own_space(tree)
    assert list(first.labels) == sorted(first.labels)
    for image, label in zip(first.ids, first.labels, strict=True):
        assert image.split("/")[0] == first.space.classes[label]


def test_a_tree_is_what_imagefolder_makes_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second source: the same files under the same class names in the same order."""
    import datasets

    monkeypatch.setenv("ROBOBENCH_CACHE", "")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    root = build(tmp_path / "set", {"owl": {"a", "b"}, "cat": {"1", "2", "10"}, "Bee": {"x"}}, 3)
    table = datasets.load_dataset("imagefolder", data_dir=str(root), split="train")
    theirs = table.cast_column("image", datasets.Image(decode=False))
    ours = Folder(path=str(root), label_space="own").index()
    assert tuple(table.features["label"].names) == ours.space.classes
    found = {(Path(row["image"]["path"]).relative_to(root).as_posix(), row["label"]) for row in theirs}
    assert found == set(zip(ours.ids, ours.labels, strict=True))
