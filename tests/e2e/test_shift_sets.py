"""Every shift set through the whole pipeline: models with known answers in, known numbers out.

The trees are small and in the published layouts. What each number must be is worked out here with plain
loops from the classes that are written below, not with the label spaces of the package: a wrong label map,
mask or denominator cannot pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import robobench
from robobench.api import Results
from robobench.data.installed import installed_folder
from robobench.data.mappings import imagenet_o
from tests.data_fixtures import encoded
from tests.label_tables import NINE_TEXT, SIXTEEN_TEXT, numbers, objects
from tests.shift_trees import OUTLIER, Fake, Shot, colour, shots, write, write_annotations

INFO = installed_folder("timm") / "data" / "_info"
ALL = frozenset(range(1000))
A, R = (frozenset(map(int, (INFO / f"imagenet_{x}_indices.txt").read_text().split())) for x in ("a", "r"))
O_MASK = frozenset((INFO / "imagenet_synsets.txt").read_text().split().index(w) for w in imagenet_o())
IDS = {  # class numbers and WordNet ids as ILSVRC 2012 has them
    0: "n01440764", 1: "n01443537", 2: "n01484850", 6: "n01498041", 10: "n01530575", 11: "n01531178",
    404: "n02690373", 409: "n02708093", 423: "n02791124", 530: "n03196217", 559: "n03376595",
    765: "n04099969", 954: "n07753592", 999: "n15075141",
}  # fmt: skip
OLD = {1: 65, 2: 970, 3: 230, 4: 809, 5: 516, 6: 57}  # ILSVRC's labels of the first validation images ...
FOLDER = {
    65: "n01751748",
    970: "n09193705",
    230: "n02105855",
    809: "n04263257",
    516: "n03125729",
    57: "n01735189",
}
REAL = {
    1: (),
    2: (970, 795),
    3: (230, 231),
    4: (809,),
    5: (516, 850),
    6: (57,),
}  # ... and the reassessed ones
OBJECTS = {"alarm_clock": (409, 530), "banana": (954,), "chair": (423, 559, 765), "toilet_paper_roll": (999,)}
NINE = {"00_dog": (151, 170), "01_bird": (7, 24), "02_wheeled vehicle": (407, 408), "08_fish": (0, 6)}
SIXTEEN = {"airplane": (404,), "chair": (423, 559, 765, 857), "clock": (409, 530, 892)}
ANSWERS = {
    "oracle": Fake("oracle"),
    "constant": Fake("constant"),
    "random": Fake("random"),
    "sixty": Fake("share", share=0.6),
    "outside": Fake("outside"),
    "twin": Fake("twin"),
}

Right = Callable[[Shot, np.ndarray], bool]


def among(allowed: frozenset[int]) -> Right:
    """The best of some outputs is one of the right ones. Equal logits: the first output."""
    order = sorted(allowed)
    return lambda shot, logits: order[int(np.argmax(logits[order]))] in shot.right


def mean_of(groups: Mapping[str, Sequence[int]]) -> Right:
    """The group with the largest mean probability holds the right outputs."""

    def right(shot: Shot, logits: np.ndarray) -> bool:
        p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        best = max(groups, key=lambda g: p[list(groups[g])].mean())
        return bool(set(groups[best]) & set(shot.right))

    return right


def share(model: Fake, images: Sequence[Shot], right: Right) -> float:
    """How many images a model gets right, one after the other."""
    logits = [model.logits(np.array([s.code]), np.array([s.hard]))[0].astype(np.float32) for s in images]
    return sum(right(s, z) for s, z in zip(images, logits, strict=True)) / len(images)


def per_class(numbers: Sequence[int]) -> dict[str, tuple[int, ...]]:
    return {IDS[n]: (n,) for n in numbers}


VAL = [
    *shots({IDS[n]: (n,) for n in IDS}),
    *(Shot(f"{FOLDER[c]}/ILSVRC2012_val_{n:08d}.JPEG", c, (c,), hard=n) for n, c in OLD.items()),
]
TREES: Mapping[str, list[Shot]] = {
    "val": VAL,
    "imagenet-a": shots(per_class([6, 11, 404, 530, 765, 954]), suffix="jpg"),
    "imagenet-r": shots(per_class([1, 2, 6, 11, 954]), suffix="jpg"),
    "imagenet-o": [replace(s, hard=OUTLIER, right=()) for s in shots(per_class([1, 530, 559, 954]))],
    "sketch": shots(per_class([0, 2, 10, 999]), suffix="JPEG"),
    "v2/imagenetv2-matched-frequency-format-val": shots({str(n): (n,) for n in (0, 1, 2, 10, 11, 999)}),
    "v2/imagenetv2-threshold0.7-format-val": shots({str(n): (n,) for n in (1, 10, 530)}),
    "v2/imagenetv2-top-images-format-val": shots(per_class([2, 10, 954])),
    "stylized": shots({f"val/{IDS[n]}": (n,) for n in (6, 409, 999)}),
    "objectnet": [
        *(Shot(f"images/{f}/{k}.png", ids[k % len(ids)], ids, hard=3 * k) for f, ids in OBJECTS.items() for k in range(3)),
        Shot("images/squeegee/0.png", 954, ()),  # one of the 200 objects that ImageNet does not have
    ],
    "nine": shots({f"mixed_rand/val/{f}": ids for f, ids in NINE.items()}),
    "sixteen": shots(SIXTEEN),
    "textures": [Shot(f"{p}.png", 954, (), hard=OUTLIER) for p in ("a/b/1", "a/2", "3")],
    **{  # the more severe, the more of ten images are beyond a model that copes with some
        f"C/fog/{s}": [replace(shot, hard=k + s) for k, shot in enumerate(shots(per_class([0, 1, 6, 10, 954])))]
        for s in (1, 3, 5)
    },
    "real": [
        Shot(f"{FOLDER[OLD[n]]}/ILSVRC2012_val_{n:08d}.JPEG", code, REAL[n], hard=n)
        for n, code in {1: 65, 2: 795, 3: 231, 4: 809, 5: 1, 6: 57}.items()
    ],
}  # fmt: skip

SUITE = """
schema: 1
name: shifts
title: Every shift set
data: {{source: folder, path: '{root}/val'}}
view: {{}}
conditions:
  - {{name: A, shift: {{source: imagenet_a, path: '{root}', partial: true}}, ladder: {{read_out: [classes, all]}}}}
  - {{name: R, shift: {{source: imagenet_r, path: '{root}', partial: true}}, ladder: {{read_out: [classes, all]}}}}
  - {{name: O, shift: {{source: imagenet_o, path: '{root}', partial: true}}}}
  - {{name: sketch, shift: {{source: imagenet_sketch, path: '{root}', partial: true}}}}
  - {{name: V2, shift: {{source: imagenet_v2, path: '{root}/v2', partial: true}},
     ladder: {{variant: [matched-frequency, threshold-0.7, top-images]}}}}
  - {{name: stylized, shift: {{source: stylized_imagenet, path: '{root}/stylized', partial: true}}}}
  - {{name: objects, shift: {{source: objectnet, path: '{root}/objectnet', partial: true}}, ladder: {{read_out: [classes, all]}}}}
  - {{name: nine, shift: {{source: imagenet_9, path: '{root}/nine', variation: mixed_rand, partial: true}}}}
  - {{name: sixteen, shift: {{source: folder, path: '{root}/sixteen', label_space: imagenet-16}}}}
  - {{name: ReaL, shift: {{source: imagenet_real, path: '{root}/real', partial: true}}}}
  - {{name: X, shift: {{source: imagenet_x, path: '{root}/val', annotations: '{root}/x'}}, ladder: {{factor: [pose, style]}}}}
  - {{name: hard, shift: {{source: imagenet_hard, path: '{root}/hard', partial: true}}}}
  - {{name: textures, shift: {{source: outliers, path: '{root}/textures'}}}}
  - {{name: fog, shift: {{source: imagenet_c, path: '{root}/C', corruption: fog}}, ladder: {{severity: [1, 3, 5]}}}}
  - {{name: val, shift: {{source: imagenet_val, path: '{root}', partial: true}}}}
metrics: [accuracy.top1, accuracy.top5, ood.auroc]
"""
X = {"pose": (2, 3, 4), "style": (5, 6)}  # which of the first validation images are annotated with what
HARD = [((409, 530), 530), ((954,), 954), ((0, 1), 2), ((999,), 999)]  # labels, and what the image shows


def write_hard(root: Path) -> None:
    """ImageNet-Hard as a clone of its repository: Parquet files, a list of labels for each image."""
    from datasets import Dataset, Features, Image, List, Value

    features = Features({"image": Image(), "label": List(Value("int64")), "origin": Value("string")})
    rows = {
        "image": [{"bytes": encoded(colour(code, k)), "path": None} for k, (_, code) in enumerate(HARD)],
        "label": [list(labels) for labels, _ in HARD],
        "origin": ["imagenet"] * len(HARD),
    }
    (root / "data").mkdir(parents=True)
    Dataset.from_dict(rows, features=features).to_parquet(str(root / "data" / "validation-0.parquet"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Results:
    root = tmp_path_factory.mktemp("shifts")
    with pytest.MonkeyPatch.context() as patch:
        import datasets.config

        patch.setattr(datasets.config, "HF_DATASETS_CACHE", root / "cache")
        patch.setenv("ROBOBENCH_CACHE", str(root / "cache"))
        for name, images in TREES.items():
            write(root / name, images, border=name == "objectnet")
        name = "ILSVRC2012_val_{:08d}.JPEG".format
        rows = [(name(n), OLD[n], (f,)) for f, numbers in X.items() for n in numbers]
        write_annotations(root / "x", [*rows, (name(1), OLD[1], ("pose",))], prototype=name(1))
        write_hard(root / "hard")
        suite = root / "shifts.yaml"
        suite.write_text(SUITE.format(root=root))
        results = robobench.run(suite, ANSWERS, out=root / "out", device="cpu")
    assert not results.outcome.failures
    return results


def value(found: Results, model: str, condition: str, metric: str = "accuracy.top1") -> tuple[float, int]:
    (entry,) = [e for e in found.leaderboard.entries if e.name == model]
    score = entry.cells[condition].score(metric)
    return score.value, score.n


def within(allowed: frozenset[int], groups: Sequence[Sequence[int]] = ()) -> list[Shot]:
    """The base images of some classes; where classes are merged, each of a group is right."""
    merged = {n: tuple(g) for g in groups for n in g}
    return [replace(s, right=merged.get(s.right[0], s.right)) for s in VAL if s.right[0] in allowed]


O_CLASSES = frozenset({1, 530, 559, 954})  # of the base's classes those that ImageNet-O has
NINES = {folder: numbers(words) for folder, words in NINE_TEXT.items()}
SIXTEENS = {name: numbers(words) for name, words in SIXTEEN_TEXT.items()}


def every_number() -> dict[str, tuple[Sequence[Shot], Right]]:
    """For each condition with a right answer its images and the rule that an answer is judged by."""
    objectnet = frozenset(n for ids in objects().values() for n in ids)
    things = [s for s in TREES["objectnet"] if s.right]
    on_things = within(objectnet, list(objects().values()))
    in_nine, in_sixteen = (frozenset(n for ids in g.values() for n in ids) for g in (NINES, SIXTEENS))
    v2 = "v2/imagenetv2-{}-format-val".format
    old = {int(s.path[-13:-5]): s for s in VAL if "ILSVRC" in s.path}
    return {
        "clean": (VAL, among(ALL)),
        "A read_out=classes": (TREES["imagenet-a"], among(A)),
        "A read_out=all": (TREES["imagenet-a"], among(ALL)),
        "clean@imagenet-a": (within(A), among(A)),
        "clean@imagenet-a-full": (within(A), among(ALL)),
        "R read_out=classes": (TREES["imagenet-r"], among(R)),
        "R read_out=all": (TREES["imagenet-r"], among(ALL)),
        "clean@imagenet-r": (within(R), among(R)),
        "clean@imagenet-r-full": (within(R), among(ALL)),
        "clean@imagenet-o": (within(O_CLASSES), among(O_MASK)),
        "sketch": (TREES["sketch"], among(ALL)),
        "V2 variant=matched-frequency": (TREES[v2("matched-frequency")], among(ALL)),
        "V2 variant=threshold-0.7": (TREES[v2("threshold0.7")], among(ALL)),
        "V2 variant=top-images": (TREES[v2("top-images")], among(ALL)),
        "stylized": (TREES["stylized"], among(ALL)),
        "objects read_out=classes": (things, among(objectnet)),
        "objects read_out=all": (things, among(ALL)),
        "clean@objectnet": (on_things, among(objectnet)),
        "clean@objectnet-full": (on_things, among(ALL)),
        "nine": ([replace(s, right=NINES[s.path.split("/")[2]]) for s in TREES["nine"]], among(ALL)),
        "clean@imagenet-9": (within(in_nine, list(NINES.values())), among(ALL)),
        "sixteen": (TREES["sixteen"], mean_of(SIXTEENS)),
        "clean@imagenet-16": (within(in_sixteen, list(SIXTEENS.values())), mean_of(SIXTEENS)),
        "ReaL": ([s for s in TREES["real"] if s.right], among(ALL)),
        "X factor=pose": ([old[n] for n in X["pose"]], among(ALL)),
        "X factor=style": ([old[n] for n in X["style"]], among(ALL)),
        "hard": ([Shot("", code, labels, hard=k) for k, (labels, code) in enumerate(HARD)], among(ALL)),
        **{f"fog severity={n}": (TREES[f"C/fog/{n}"], among(ALL)) for n in (1, 3, 5)},
        "val": (VAL, among(ALL)),
    }


@pytest.mark.parametrize("model", ANSWERS)
def test_every_number_of_every_set(found: Results, model: str) -> None:
    expected = every_number()
    (entry,) = [e for e in found.leaderboard.entries if e.name == model]
    assert set(entry.cells) == {*expected, "O", "textures"}
    for condition, (images, right) in expected.items():
        got, n = value(found, model, condition)
        assert n == len(images), condition
        assert got == pytest.approx(share(ANSWERS[model], images, right)), condition


@pytest.mark.parametrize(
    ("model", "condition", "right"),
    [
        ("oracle", "clean", 1.0),
        ("oracle", "A read_out=all", 1.0),
        ("oracle", "objects read_out=classes", 1.0),
        ("oracle", "nine", 1.0),
        ("oracle", "sixteen", 1.0),
        ("oracle", "ReaL", 4 / 5),  # the image without a label does not count
        ("oracle", "hard", 3 / 4),
        ("oracle", "X factor=pose", 1.0),
        ("constant", "clean", 2 / 34),
        ("constant", "A read_out=classes", 2 / 12),
        ("constant", "R read_out=all", 2 / 10),
        ("constant", "clean@imagenet-a", 2 / 14),
        ("constant", "clean@imagenet-o", 2 / 8),
        (
            "constant",
            "objects read_out=classes",
            3 / 12,
        ),  # the banana that is filed under squeegee is left out
        ("constant", "clean@objectnet", 2 / 15),
        ("constant", "sketch", 0.0),
        ("outside", "clean", 0.0),
        ("outside", "A read_out=classes", 1.0),  # the wrong answer is not among the 200 ...
        ("outside", "A read_out=all", 0.0),  # ... but among the 1,000
        ("outside", "clean@imagenet-a", 1.0),
        ("outside", "clean@imagenet-a-full", 0.0),
        ("outside", "R read_out=classes", 1.0),
        ("outside", "R read_out=all", 0.0),
        ("outside", "objects read_out=classes", 1.0),
        ("outside", "objects read_out=all", 0.0),
        ("outside", "clean@objectnet", 1.0),
        ("outside", "clean@objectnet-full", 0.0),
        ("outside", "nine", 0.0),  # class 68 is a reptile
        ("twin", "clean", 22 / 34),
        ("twin", "objects read_out=classes", 1.0),  # any of an object's classes is right
        ("twin", "objects read_out=all", 1.0),
        ("twin", "clean@objectnet", 1.0),
        ("twin", "sixteen", 2 / 6),  # by the mean, one sure class of three loses against a lone one
        ("sixty", "fog severity=1", 0.5),
        ("sixty", "fog severity=3", 0.3),
        ("sixty", "fog severity=5", 0.1),
    ],
)
def test_numbers_that_can_be_said_beforehand(
    found: Results, model: str, condition: str, right: float
) -> None:
    assert value(found, model, condition)[0] == pytest.approx(right)


def test_the_right_answer_is_the_second_best(found: Results) -> None:
    for condition in ("clean", "sketch", "V2 variant=top-images", "stylized", "A read_out=all"):
        assert value(found, "outside", condition, "accuracy.top5")[0] == 1.0


def test_outliers_have_no_accuracy_and_are_found_beside_ordinary_images(found: Results) -> None:
    for model in ANSWERS:
        for condition, beside in (("O", within(O_CLASSES)), ("textures", VAL)):
            got, n = value(found, model, condition)
            assert math.isnan(got)
            assert n == 0
            detected, both = value(found, model, condition, "ood.auroc")
            assert both == len(TREES["imagenet-o" if condition == "O" else condition]) + len(beside)
            if model in ("oracle", "constant", "outside"):  # all but sure of what shows no class
                assert detected == 1.0
    assert value(found, "random", "O", "ood.auroc")[0] == pytest.approx(auroc(ANSWERS["random"]))


def auroc(model: Fake) -> float:
    """Over all pairs of an outlier and an ordinary image: how often the outlier's answer is less sure."""
    order = sorted(O_MASK)

    def sure(shot: Shot) -> float:
        logits = model.logits(np.array([shot.code]), np.array([shot.hard]))[0].astype(np.float32)[order]
        return float(np.exp(logits.max()) / np.exp(logits).sum())

    out, ordinary = [[sure(s) for s in images] for images in (TREES["imagenet-o"], within(O_CLASSES))]
    return float(np.mean([(a < b) + 0.5 * (a == b) for a in out for b in ordinary]))


def test_what_each_condition_is_compared_with(found: Results) -> None:
    compared = {v.condition: v.compared_with for ladder in found.leaderboard.ladders for v in ladder.levels}
    assert compared["A read_out=classes"] == "clean@imagenet-a"
    assert compared["A read_out=all"] == "clean@imagenet-a-full"
    assert compared["objects read_out=classes"] == "clean@objectnet"
    assert compared["objects read_out=all"] == "clean@objectnet-full"
    assert compared["O"] == "clean@imagenet-o"
    assert compared["nine"] == "clean@imagenet-9"
    for condition in ("textures", "sketch", "V2 variant=top-images", "ReaL", "X factor=pose", "hard", "val"):
        assert compared[condition] == "clean"


def test_cifar(tmp_path: Path) -> None:
    """CIFAR-10.1 and 10.2 as they are published: arrays of ten classes, never paired by their ids."""
    rng = np.random.default_rng(0)
    labels = {"v6": rng.integers(0, 10, 20), "v4": rng.integers(0, 10, 30), "10.2": rng.integers(0, 10, 40)}
    for name, of in labels.items():
        images = np.stack([colour(int(c), k % 10, side=32) for k, c in enumerate(of)])
        if name == "10.2":
            np.savez(tmp_path / "cifar102_test.npz", images=images, labels=of, label_names=np.array(["a"]))
        else:
            np.save(tmp_path / f"cifar10.1_{name}_data.npy", images)
            np.save(tmp_path / f"cifar10.1_{name}_labels.npy", of.astype(np.int32))
    (tmp_path / "cifar.yaml").write_text(
        "schema: 1\nname: cifar\ntitle: T\n"
        f"data: {{source: cifar_10_1, path: '{tmp_path}', partial: true}}\n"
        "conditions:\n"
        f"  - {{name: v4, shift: {{source: cifar_10_1, path: '{tmp_path}', variant: v4, partial: true}}}}\n"
        f"  - {{name: '10.2', shift: {{source: cifar_10_2, path: '{tmp_path}', partial: true}}}}\n"
    )
    models = {what: Fake(what, outputs=10, share=0.5) for what in ("oracle", "constant", "random", "share")}
    got = robobench.run(tmp_path / "cifar.yaml", models, out=tmp_path / "out", device="cpu")
    for condition, name in (("clean", "v6"), ("v4", "v4"), ("10.2", "10.2")):
        images = [Shot("", int(c), (int(c),), hard=k % 10) for k, c in enumerate(labels[name])]
        for model, net in models.items():
            right = share(net, images, among(frozenset(range(10))))
            assert value(got, model, condition) == (pytest.approx(right), len(images)), (model, condition)
    assert value(got, "share", "clean")[0] == 0.5
    assert not set(got.rows[got.rows.condition == "clean"].image_id) & set(
        got.rows[got.rows.condition != "clean"].image_id
    )
