"""The published shift sets as sources: where they lie, what is counted, and what is refused."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robobench.data.cifar_10_1 import Cifar101
from robobench.data.cifar_10_2 import Cifar102
from robobench.data.folder import Folder
from robobench.data.imagenet_9 import ImageNet9
from robobench.data.imagenet_a import ImageNetA
from robobench.data.imagenet_o import ImageNetO
from robobench.data.imagenet_r import ImageNetR
from robobench.data.imagenet_real import ImageNetReal
from robobench.data.imagenet_sketch import ImageNetSketch
from robobench.data.imagenet_v2 import ImageNetV2
from robobench.data.imagenet_val import ImageNetVal
from robobench.data.imagenet_x import ImageNetX
from robobench.data.label_space import class_folders, label_space
from robobench.data.mappings import imagenet_o
from robobench.data.objectnet import ObjectNet
from robobench.data.outliers import Outliers
from robobench.data.published import Published
from robobench.data.stylized_imagenet import StylizedImageNet
from robobench.engine.sets import data_set
from robobench.errors import BadParameter, DataError
from robobench.registry import data
from robobench.suite.load import parse_suite
from robobench.suite.suite import BASE, DataEntry
from robobench.types import View
from tests.data_fixtures import class_tree, encoded, picture, write_old
from tests.shift_trees import framed, write_annotations


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def whole_o(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet-O in its full numbers: 200 folders of ten images, of one pixel each."""
    root = tmp_path_factory.mktemp("O") / "imagenet-o"
    pixel = encoded(np.zeros((1, 1, 3), np.uint8))
    for folder in imagenet_o():
        (root / folder).mkdir(parents=True)
        for k in range(10):
            (root / folder / f"{k}.png").write_bytes(pixel)
    return root


def val_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}.JPEG"


# Counts


def test_a_whole_set_is_fine_and_one_that_lacks_something_is_not(whole_o: Path) -> None:
    index = ImageNetO(path=str(whole_o)).index()
    assert (len(index.ids), set(index.labels)) == (2000, {-1})
    image = whole_o / "n01443537" / "3.png"
    content = image.read_bytes()
    image.unlink()
    with pytest.raises(
        DataError,
        match=r"^imagenet_o:.*: 1,999 readable images, published were 2,000; unpack the archive again, or set "
        r"partial=true, which the title then says$",
    ):
        ImageNetO(path=str(whole_o)).index()
    assert len(ImageNetO(path=str(whole_o), partial=True).index().ids) == 1999
    image.write_bytes(b"")
    with pytest.raises(DataError, match=r"1,999 readable .*; damaged: n01443537/3\.png; unpack"):
        ImageNetO(path=str(whole_o)).index()
    image.write_bytes(content)
    extra = image.with_name("11.png")
    extra.write_bytes(content)
    with pytest.raises(DataError, match="2,001 readable images, published were 2,000"):
        ImageNetO(path=str(whole_o)).index()
    extra.unlink()
    folder = whole_o / "n13052670"
    away = whole_o.parent / "away"
    folder.rename(away)
    with pytest.raises(
        DataError, match=r"1,990 readable .*; 199 classes, published were 200; without images: n13052670;"
    ):
        ImageNetO(path=str(whole_o)).index()
    away.rename(folder)
    assert len(ImageNetO(path=str(whole_o.parent)).index().ids) == 2000  # or the folder above


def test_many_missing_classes_are_named_in_part(tmp_path: Path) -> None:
    tree = class_tree(tmp_path, ["n01498041"])
    with pytest.raises(
        DataError,
        match=r"2 readable images, published were 7,500; 1 class, published were 200; without images: n01531178, "
        r"(n\d{8}, ){3}n\d{8} and 194 more; unpack",
    ):
        ImageNetA(path=str(tree)).index()


def test_a_partial_set_says_so_in_its_title(tmp_path: Path) -> None:
    class_tree(tmp_path / "A", ["n01498041"])
    suite = parse_suite("schema: 1\nname: t\ntitle: T\ndata: {source: digits, path: mnist}\n", "t.yaml")
    entry = DataEntry(BASE, "imagenet_a", {"path": str(tmp_path / "A"), "partial": True})
    assert data_set(suite, entry).title == "imagenet_a:A?partial=True"


@pytest.mark.parametrize("cls", [ImageNetSketch, ObjectNet, ImageNet9])
def test_images_are_not_counted_where_sources_contradict_one_another(cls: Any, tmp_path: Path) -> None:
    known = {
        ImageNetSketch: class_folders("imagenet-1k"),
        ObjectNet: class_folders("objectnet"),
        ImageNet9: class_folders("imagenet-9"),
    }[cls]
    folders = [f for f in known if not f.isdigit()]
    root = tmp_path / "set"
    place = root / "original/val" if cls is ImageNet9 else root
    class_tree(place, folders, images=1)
    assert cls.published.images is None
    assert len(cls(path=str(root)).index().ids) == len(folders) == cls.published.classes
    next((place / folders[0]).iterdir()).unlink()
    with pytest.raises(DataError, match=f"without images: {folders[0]}; unpack"):
        cls(path=str(root)).index()


def test_every_published_set_says_what_it_is() -> None:
    sets = [data.get(n) for n in data.names()]
    published = {p.name: p.cls.published for p in sets if hasattr(p.cls, "published")}
    assert {
        "imagenet_val", "imagenet_a", "imagenet_r", "imagenet_o", "imagenet_sketch", "imagenet_v2",
        "imagenet_real", "stylized_imagenet", "objectnet", "imagenet_9", "imagenet_x", "imagenet_hard",
        "cifar_10_1", "cifar_10_2",
    } <= set(published)  # fmt: skip
    for facts in published.values():
        words = dict(facts.facts())
        assert list(words) == ["set", "licence", "citation", "homepage", "images", "classes"]
        assert all(words.values())
        assert words["homepage"].startswith("https://")


def test_show_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    from robobench.cli.main import _run

    assert _run(["show", "imagenet_a"]) == 0
    shown = capsys.readouterr().out
    assert "licence: MIT" in shown
    assert "images: 7,500\nclasses: 200\n" in shown
    assert _run(["show", "objectnet"]) == 0
    assert "images: not checked\nclasses: 113\n" in capsys.readouterr().out
    assert _run(["show", "imagenet_v2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["published"]["images"] == 10_000


# ImageNet-A and -R, and their two read-outs


@pytest.mark.parametrize(("cls", "name"), [(ImageNetA, "imagenet-a"), (ImageNetR, "imagenet-r")])
def test_two_read_outs_of_the_same_images(cls: Any, name: str, tmp_path: Path) -> None:
    tree = class_tree(tmp_path / name, ["n07753592", "n01498041"])
    one, two = (cls(path=str(tmp_path), read_out=r, partial=True).index() for r in ("classes", "all"))
    assert one.ids == two.ids
    assert one.revision == two.revision == Folder(path=str(tree), label_space=name).index().revision
    assert (one.space.name, two.space.name) == (name, f"{name}-full")
    assert set(two.labels) == {6, 954}
    groups = label_space(name).groups or ()
    assert {groups[c][0] for c in one.labels} == {6, 954}
    assert Folder(path=str(tree), label_space=f"{name}-full").index() == two


def test_a_read_out_that_does_not_exist() -> None:
    with pytest.raises(BadParameter, match="read_out: expected 'classes' or 'all', got 'full'"):
        data.build("imagenet_a", {"path": "x", "read_out": "full"})


def test_a_class_of_another_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^imagenet_r:.*1 of 1 folders name no class of imagenet-r: n02690373"
    ):
        ImageNetR(path=str(class_tree(tmp_path, ["n02690373"])), partial=True).index()


# ImageNetV2, Stylized-ImageNet and the validation images


@pytest.mark.parametrize(
    ("variant", "folder"),
    [
        ("matched-frequency", "imagenetv2-matched-frequency-format-val"),
        ("matched-frequency", "imagenetv2-matched-frequency"),
        ("threshold-0.7", "imagenetv2-threshold0.7-format-val"),
        ("top-images", "imagenetv2-topimages"),
    ],
)
def test_a_selection_is_found_by_its_folder(variant: Any, folder: str, tmp_path: Path) -> None:
    class_tree(tmp_path / folder, ["2", "10", "100", "999"], images=1)
    found = ImageNetV2(path=str(tmp_path), variant=variant, partial=True).index()
    assert dict(zip(found.ids, found.labels, strict=True)) == {
        "2/0.png": 2, "10/0.png": 10, "100/0.png": 100, "999/0.png": 999,
    }  # fmt: skip
    assert ImageNetV2(path=str(tmp_path / folder), variant=variant, partial=True).index() == found


def test_another_selection_is_never_read_instead(tmp_path: Path) -> None:
    tree = class_tree(tmp_path / "imagenetv2-top-images-format-val", ["0"])
    with pytest.raises(
        DataError, match=r"holds the selection top-images, not matched-frequency; set variant=top-"
    ):
        ImageNetV2(path=str(tree), partial=True).index()
    assert len(ImageNetV2(path=str(tree), variant="top-images", partial=True).index().ids) == 2
    with pytest.raises(DataError, match="2 readable images, published were 10,000; 1 class"):
        ImageNetV2(path=str(tree), variant="top-images").index()


@pytest.mark.parametrize("cls", [ImageNetVal, StylizedImageNet])
def test_validation_images_lie_in_val(cls: Any, tmp_path: Path) -> None:
    tree = class_tree(tmp_path / "val", ["n01440764", "n15075141"])
    class_tree(tmp_path / "train", ["n01440764"], images=5)
    found = cls(path=str(tmp_path), partial=True).index()
    assert found == Folder(path=str(tree)).index()
    np.testing.assert_array_equal(cls(path=str(tmp_path)).read("n01440764/1.png"), picture(seed=1))
    with pytest.raises(DataError, match=r"leads out of the folder"):
        cls(path=str(tmp_path)).read("../train/n01440764/0.png")


# ObjectNet and ImageNet-9


def test_objectnet_without_its_border(tmp_path: Path) -> None:
    place = tmp_path / "objectnet-1.0/images"
    for folder in ("chair", "squeegee", "alarm_clock"):
        (place / folder).mkdir(parents=True)
        write_old(place / folder / "a.png", encoded(framed(423)))
    source = ObjectNet(path=str(tmp_path), partial=True)
    found = source.index()
    assert found.ids == ("alarm_clock/a.png", "chair/a.png")
    assert [found.space.classes[n] for n in found.labels] == ["alarm_clock", "chair"]
    image = source.read("chair/a.png")
    assert image.shape == (8, 8, 3)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) == 1, "nothing of the red is left"
    full = ObjectNet(path=str(tmp_path), read_out="all", partial=True).index()
    assert (full.ids, full.labels, full.revision) == (found.ids, found.labels, found.revision)
    assert full.space.name == "objectnet-full"
    (place / "squeegee").rename(tmp_path / "away")
    plain = Folder(path=str(place), label_space="objectnet").index()
    assert plain.ids == found.ids
    assert plain.revision != found.revision, "with its border it is another set of images"
    write_old(place / "chair" / "b.png", encoded(np.zeros((4, 9, 3), np.uint8)))
    with pytest.raises(DataError, match=r"chair/b\.png is 9 x 4, all of it border"):
        source.read("chair/b.png")


def test_objectnet_of_which_nothing_is_known(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^objectnet:.*: none of 2 folders is one of ObjectNet's, such as alarm_clock"
    ):
        ObjectNet(path=str(class_tree(tmp_path, ["squeegee", "fork"])), partial=True).index()


def test_imagenet_9_is_shown_as_stored(tmp_path: Path) -> None:
    class_tree(tmp_path / "mixed_same/val", ["00_dog", "06_musical instrument"])
    found = ImageNet9(path=str(tmp_path), variation="mixed_same", partial=True).index()
    assert found.view == View()
    assert sorted(set(found.labels)) == [0, 6]
    with pytest.raises(DataError, match=r"no folder original/val; expected original/val/00_dog"):
        ImageNet9(path=str(tmp_path)).index()


# ReaL


@pytest.fixture
def val(tmp_path: Path) -> Path:
    """The first six validation images in their class folders."""
    folders = ("n01751748", "n09193705", "n02105855", "n04263257", "n03125729", "n01735189")
    for number, folder in enumerate(folders, start=1):
        (tmp_path / "val" / folder).mkdir(parents=True)
        write_old(tmp_path / "val" / folder / val_name(number), encoded(picture(seed=number), "JPEG"))
    return tmp_path / "val"


def test_real_labels_go_by_the_number_in_the_name(val: Path) -> None:
    source = ImageNetReal(path=str(val), partial=True)
    found = source.index()
    by_name = {i.partition("/")[2]: n for i, n in zip(found.ids, found.labels, strict=True)}
    assert by_name == {
        val_name(2): 970,
        val_name(3): 230,
        val_name(4): 809,
        val_name(5): 516,
        val_name(6): 57,
    }
    assert found.accepted == {
        f"n09193705/{val_name(2)}": (970, 795),
        f"n02105855/{val_name(3)}": (230, 231),
        f"n03125729/{val_name(5)}": (516, 850),
    }
    assert set(found.ids) < set(Folder(path=str(val)).index().ids), "paired with the clean images"
    assert found.space == label_space("imagenet-1k")
    assert source.read(found.ids[0]).shape == (12, 9, 3)


def test_real_labels_need_no_class_folders(val: Path, tmp_path: Path) -> None:
    nested = ImageNetReal(path=str(val), partial=True).index()
    (tmp_path / "flat").mkdir()
    for image in val.rglob("*.JPEG"):
        (tmp_path / "flat" / image.name).write_bytes(image.read_bytes())
    flat = ImageNetReal(path=str(tmp_path / "flat"), partial=True).index()
    assert flat.ids == tuple(val_name(n) for n in range(2, 7))
    assert flat.labels == (970, 230, 809, 516, 57)
    assert set(flat.accepted.values()) == set(nested.accepted.values())


def test_real_counts_what_it_leaves_out(val: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DataError,
        match=r"^imagenet_real:.*: 5 readable images, published were 46,837; 1 further images have no label and",
    ):
        ImageNetReal(path=str(val)).index()
    monkeypatch.setattr(ImageNetReal, "published", replace(ImageNetReal.published, images=5))
    assert len(ImageNetReal(path=str(val.parent)).index().ids) == 5


def test_real_refuses_strangers_and_twins(val: Path) -> None:
    write_old(val / "n01751748" / "cat.JPEG", encoded(picture(), "JPEG"))
    with pytest.raises(
        DataError, match=r"n01751748/cat\.JPEG is none of ImageNet's validation images; expected"
    ):
        ImageNetReal(path=str(val), partial=True).index()
    (val / "n01751748" / "cat.JPEG").rename(val / val_name(4))
    with pytest.raises(
        DataError, match=r"and n04263257/ILSVRC2012_val_00000004\.JPEG are the same image; remove one"
    ):
        ImageNetReal(path=str(val), partial=True).index()


def test_real_without_a_label(tmp_path: Path) -> None:
    write_old(tmp_path / val_name(1), encoded(picture(), "JPEG"))
    with pytest.raises(DataError, match="none of 1 images has a label"):
        ImageNetReal(path=str(tmp_path), partial=True).index()


# ImageNet-X


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    labels = {1: 65, 2: 970, 3: 230, 4: 809}
    rows = [(val_name(n), c, ("pose",) if n < 4 else ("color", "pose")) for n, c in labels.items()]
    return write_annotations(tmp_path / "x", rows, prototype=val_name(1))


def test_a_factor_chooses_images(val: Path, annotations: Path) -> None:
    def source(**more: Any) -> ImageNetX:
        return ImageNetX(path=str(val), annotations=str(annotations), **more)

    every, one = source().index(), source(factor="color").index()
    assert set(every.labels) == {970, 230, 809}, "the prototype is left out"
    assert one.ids == (f"imagenet-x/n04263257/{val_name(4)}",)
    assert one.labels == (809,)
    assert {name for name, values in one.facts.items() if values == (1.0,)} == {"color", "pose"}
    assert len(every.facts) == 16
    assert all(len(values) == 3 for values in every.facts.values())
    assert not set(every.ids) & set(Folder(path=str(val)).index().ids)
    assert source().read(one.ids[0]).shape == (12, 9, 3)


def test_annotations_that_do_not_fit(val: Path, annotations: Path, tmp_path: Path) -> None:
    def index(**more: Any) -> Any:
        return ImageNetX(path=str(val), annotations=str(annotations), **more).index()

    with pytest.raises(DataError, match=r"the annotations imagenet_x_val_multi_factor\.jsonl .*No such file"):
        index(factors="multi")
    with pytest.raises(DataError, match="has no usable rows for factor=style"):
        index(factor="style")
    (val / "n04263257").rename(tmp_path / "away")
    with pytest.raises(
        DataError,
        match=r"1 of 3 annotated images are not there, such as ILSVRC2012_val_00000004\.JPEG; give the",
    ):
        index()
    assert len(index(partial=True).ids) == 2
    (val / "n02105855").rename(val / "n01440764")
    with pytest.raises(DataError, match=r"lies in the folder of class 0 and is annotated as class 230"):
        index(partial=True)
    (annotations / "imagenet_x_val_top_factor.jsonl").write_text('{"file_name": 3}\n')
    with pytest.raises(DataError, match="cannot be read: AttributeError"):
        index()


# Outliers


def test_every_image_below_a_folder_is_an_outlier(tmp_path: Path) -> None:
    class_tree(tmp_path / "t/n01440764/deep", ["er"])
    write_old(tmp_path / "t" / "top.png", encoded(picture(seed=9)))
    (tmp_path / "t" / "notes.txt").write_text("x")
    (tmp_path / "t" / "loop").symlink_to(tmp_path / "t")
    found = Outliers(path=str(tmp_path / "t")).index()
    assert found.ids == ("n01440764/deep/er/0.png", "n01440764/deep/er/1.png", "top.png")
    assert set(found.labels) == {-1}
    assert found.space == label_space("imagenet-1k")
    np.testing.assert_array_equal(Outliers(path=str(tmp_path / "t")).read("top.png"), picture(seed=9))


def test_outliers_are_never_mistaken_for_images_with_labels(tmp_path: Path) -> None:
    tree = class_tree(tmp_path, ["n01440764"])
    plain, out = Folder(path=str(tree)).index(), Outliers(path=str(tree)).index()
    assert plain.ids == out.ids
    assert plain.revision != out.revision


def test_outliers_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^outliers:.*: no such folder; expected a folder of images"):
        Outliers(path=str(tmp_path / "none")).index()
    with pytest.raises(DataError, match="no image in the folder or below it"):
        Outliers(path=str(tmp_path)).index()
    with pytest.raises(BadParameter, match="outliers have no classes of their own; expected imagenet-1k"):
        data.build("outliers", {"path": "x", "label_space": "own"})
    with pytest.raises(
        BadParameter, match="no class is right for the images of imagenet-o: use the source imagenet_o"
    ):
        data.build("folder", {"path": "x", "label_space": "imagenet-o"})
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 1 images can be read; a\.png: the file is empty"):
        Outliers(path=str(tmp_path)).index()


# CIFAR-10.1 and 10.2


def arrays(root: Path, n: int = 20, variant: str = "v6", **changes: Any) -> Path:
    images = changes.get("images", np.zeros((n, 32, 32, 3), np.uint8))
    labels = changes.get("labels", np.arange(n) % 10)
    root.mkdir(exist_ok=True)
    np.save(root / f"cifar10.1_{variant}_data.npy", images)
    np.save(root / f"cifar10.1_{variant}_labels.npy", labels)
    np.savez(root / "cifar102_test.npz", images=images, labels=labels)
    return root


@pytest.mark.parametrize(("variant", "n"), [("v6", 2000), ("v4", 2021)])
def test_cifar_10_1_in_its_full_numbers(variant: Any, n: int, tmp_path: Path) -> None:
    arrays(tmp_path / "datasets", n, variant)
    source = Cifar101(path=str(tmp_path), variant=variant)
    found = source.index()
    assert found.ids[-1] == f"{variant}-{n - 1:04d}"
    assert found.labels[:11] == (*range(10), 0)
    assert found.view == View()
    assert source.read(found.ids[0]).shape == (32, 32, 3)
    with pytest.raises(DataError, match=rf"no image 'v5-0000'; expected {variant}-0000 to {variant}-{n - 1}"):
        source.read("v5-0000")
    if variant == "v6":
        assert len(Cifar102(path=str(tmp_path / "datasets")).index().ids) == 2000


def test_cifar_10_2(tmp_path: Path) -> None:
    arrays(tmp_path, 20)
    with pytest.raises(DataError, match="20 readable images, published were 2,000; unpack"):
        Cifar102(path=str(tmp_path)).index()
    source = Cifar102(path=str(tmp_path), partial=True)
    assert source.index().ids[3] == "cifar-10.2-test-0003"
    assert source.read("cifar-10.2-test-0003").dtype == np.uint8
    with pytest.raises(DataError, match=r"no image 'test-00003'; expected cifar-10\.2-test-0000 to"):
        source.read("test-00003")
    with pytest.raises(DataError, match=r"cifar102_train\.npz cannot be read: No such file"):
        Cifar102(path=str(tmp_path), split="train").index()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"images": np.zeros((20, 3, 32, 32), np.uint8)},
            r"is uint8 \(20, 3, 32, 32\), expected uint8 \(n, 32, 32, 3\)",
        ),
        ({"images": np.zeros((20, 32, 32, 3))}, "is float64"),
        ({"labels": np.arange(20)}, "labels run from 0 to 19, expected 0 to 9"),
        ({"labels": np.zeros(20)}, "labels are float64"),
        ({"labels": np.arange(19) % 10}, r"labels are int64 \(19,\), expected 20 whole numbers"),
        ({"labels": np.array([{}] * 20)}, "damaged, cut short or no array of plain numbers"),
    ],
)
@pytest.mark.parametrize("cls", [Cifar101, Cifar102])
def test_arrays_that_do_not_fit(cls: Any, changes: Any, said: str, tmp_path: Path) -> None:
    arrays(tmp_path, **changes)
    with pytest.raises(DataError, match=said):
        cls(path=str(tmp_path), partial=True).index()


def test_files_that_are_no_arrays(tmp_path: Path) -> None:
    arrays(tmp_path)
    for name in ("cifar102_test.npz", "cifar10.1_v6_data.npy"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:300])
    for cls in (Cifar101, Cifar102):
        with pytest.raises(DataError, match="is damaged, cut short or no array"):
            cls(path=str(tmp_path), partial=True).index()
    np.savez(tmp_path / "cifar102_test.npz", pictures=np.zeros(3))
    with pytest.raises(DataError, match=r"has no array 'images', it has pictures"):
        Cifar102(path=str(tmp_path), partial=True).index()


def test_used_sources_travel_light(tmp_path: Path, whole_o: Path, val: Path, annotations: Path) -> None:
    arrays(tmp_path / "cifar")
    used = [
        ImageNetO(path=str(whole_o)),
        ImageNetReal(path=str(val), partial=True),
        ImageNetX(path=str(val), annotations=str(annotations)),
        Outliers(path=str(val)),
        Cifar101(path=str(tmp_path / "cifar"), partial=True),
        Cifar102(path=str(tmp_path / "cifar"), partial=True),
    ]
    for source in used:
        image = source.index().ids[0]
        again = pickle.loads(pickle.dumps(source))  # noqa: S301
        assert again == source
        assert not any(name.startswith("_") for name in vars(again))
        np.testing.assert_array_equal(again.read(image), source.read(image))


def test_published_without_counts_is_never_checked() -> None:
    facts = dict(Published("T", "l", "c", "https://h", None, None).facts())
    assert facts["images"] == facts["classes"] == "not checked"
