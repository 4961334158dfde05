"""Stored corrupted sets through the whole pipeline: known answers in, known scores out, pairs with clean."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robobench.data.label_space import wordnet_ids
from robobench.engine.record import from_json, record_of, to_json
from robobench.engine.resolve import Resolved, ResolvedModel, resolve
from robobench.formulas.corruption import ALEXNET
from robobench.leaderboard.board import Leaderboard
from robobench.leaderboard.build import build
from robobench.leaderboard.collect import collect
from robobench.store import Store
from robobench.suite.load import load_suite, parse_suite
from robobench.suite.suite import Suite
from robobench.types import ModelId, View
from tests.bench import carry_out, rows
from tests.data_fixtures import encoded, write_old
from tests.fakes import FakeModel

VALIDATION = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
CLASSES = 4  # of the 1,000, two images each
N = 2 * CLASSES
STEP = 60  # of grey between the classes


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOBENCH_CACHE", str(tmp_path / "cache"))


class ReadsGrey(nn.Module):
    """Answers with the class that an image's mean grey stands for, and keeps the sizes it was shown."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs, self.sides = outputs, set[int]()

    def forward(self, pixels: Tensor) -> Tensor:
        self.sides.add(pixels.shape[-1])
        code = pixels.mean((1, 2, 3)) * 255 / STEP
        return -(torch.arange(self.outputs) - code[:, None]).square()


def resolved(suite: Suite, net: ReadsGrey, limit: int | None = None) -> Resolved:
    model = FakeModel(net, outputs=net.outputs)
    return resolve(suite, [ResolvedModel(ModelId("fake", "fake:grey", "d"), lambda _: model)], limit=limit)


def board(found: Resolved, root: Path) -> Leaderboard:
    return build(collect(record_of(found, "robobench run"), Store.open(root)), resamples=50)


def grey(side: int, code: int) -> NDArray[np.uint8]:
    return np.full((side, side, 3), STEP * code, np.uint8)


def lost(corruption: str, severity: int) -> int:
    """How many of the images a corruption turns into another class: it differs from one to the next."""
    names = (*ALEXNET, *VALIDATION)
    return (names.index(corruption) + 2 * severity) % (N + 1)


def write_set(root: Path, side: int, wrong: int) -> None:
    """Two JPEGs for each class, of which the first `wrong` show the class above."""
    for number, folder in enumerate(wordnet_ids()[:CLASSES]):
        (root / folder).mkdir(parents=True)
        for k in range(2):
            code = number if 2 * number + k >= wrong else (number + 1) % CLASSES
            write_old(root / folder / f"ILSVRC2012_val_{k:08d}.JPEG", encoded(grey(side, code), "JPEG"))


def test_imagenet_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped suite on a small tree of the published layout, some of it in the archives' folders."""
    write_set(tmp_path / "val", 300, wrong=1)
    for corruption in (*ALEXNET, *VALIDATION):
        for severity in range(1, 6):
            place = tmp_path / "C" / ("extra" if corruption in VALIDATION else "") / corruption
            write_set(place / str(severity), 24, lost(corruption, severity))
    monkeypatch.setenv("IMAGENET_VAL", str(tmp_path / "val"))
    monkeypatch.setenv("IMAGENET_C", str(tmp_path / "C"))
    net = ReadsGrey(1000)
    found = resolved(load_suite("imagenet-c-stored"), net)
    assert not carry_out(found, tmp_path / "out").failures
    assert net.sides == {224, 24}, "clean through the suite's view, the stored images as they are"

    made = board(found, tmp_path / "out")
    (entry,) = made.entries
    errors = {c: [lost(c, s) / N for s in range(1, 6)] for c in ALEXNET}
    ratios = [sum(errors[c]) / sum(ALEXNET[c]) for c in ALEXNET]
    assert entry.score.value == pytest.approx(100 * sum(ratios) / 15, abs=1e-6)
    assert entry.score.n == N
    assert entry.rank == (1, 1)
    for corruption in (*ALEXNET, *VALIDATION):
        for severity in range(1, 6):
            cell = entry.cells[f"{corruption} severity={severity}"]
            assert cell.score("accuracy.top1").value == pytest.approx(1 - lost(corruption, severity) / N)
    assert all(v.compared_with == "clean" for ladder in made.ladders for v in ladder.levels)

    frame = rows(found, tmp_path / "out")
    by_image = frame.pivot_table(index="image_id", columns="condition", values="label")
    assert by_image.notna().all().all(), "every condition has the ids of the clean images"
    assert (by_image.nunique(axis=1) == 1).all()


def test_the_record_of_a_run_names_the_same_images_once(tmp_path: Path) -> None:
    for severity in (1, 2):
        write_set(tmp_path / "C" / "fog" / str(severity), 24, wrong=0)
    write_set(tmp_path / "val", 24, wrong=0)
    text = (
        "schema: 1\nname: t\ntitle: T\n"
        f"data: {{source: folder, path: '{tmp_path / 'val'}'}}\n"
        f"conditions: [{{name: fog, shift: {{source: imagenet_c, path: '{tmp_path / 'C'}', corruption: fog}},"
        " ladder: {severity: [1, 2]}}, {name: uci, shift: {source: digits, path: uci, limit: 3}}]\n"
    )
    record = record_of(resolved(parse_suite(text, "t.yaml"), ReadsGrey(1000)), "robobench run")
    content = json.loads(json.dumps(to_json(record)))
    orders = {d["name"]: d["order"] for d in content["data"]}
    assert len(orders["base"]) == N
    assert [orders["fog severity=1"], orders["fog severity=2"]] == ["base", "base"]
    assert len(orders["uci"]) == 3
    assert from_json(content) == record


def test_a_limit_takes_the_same_images_of_every_set(tmp_path: Path) -> None:
    write_set(tmp_path / "val", 24, wrong=0)
    for severity in (1, 2):
        write_set(tmp_path / "C" / "fog" / str(severity), 24, wrong=0)
    text = (
        "schema: 1\nname: t\ntitle: T\n"
        f"data: {{source: folder, path: '{tmp_path / 'val'}'}}\n"
        f"conditions: [{{name: fog, shift: {{source: imagenet_c, path: '{tmp_path / 'C'}', corruption: fog}},"
        " ladder: {severity: [1, 2]}}]\n"
    )
    sets = resolved(parse_suite(text, "t.yaml"), ReadsGrey(1000), limit=5).data
    assert len({d.ids for d in sets.values()}) == 1
    assert len(sets["base"].ids) == 5
    assert [d.view for d in sets.values()] == [View(), View(), View()]


def test_cifar_10_c(tmp_path: Path) -> None:
    """Arrays beside the binary version, of which the first images show what a class looks like."""
    labels = np.arange(10_000) % 4
    wrong = {1: 3_000, 5: 7_000}
    with (tmp_path / "test_batch.bin").open("wb") as file:
        for label in labels:
            file.write(bytes([label]) + bytes([STEP * label]) * 3072)
    (tmp_path / "C").mkdir()
    fog = np.lib.format.open_memmap(tmp_path / "C" / "fog.npy", "w+", np.uint8, (50_000, 32, 32, 3))
    for severity, count in wrong.items():
        start = 10_000 * (severity - 1)
        shown = np.where(np.arange(10_000) < count, (labels + 1) % 4, labels)
        fog[start : start + 10_000] = (STEP * shown[:, None, None, None]).astype(np.uint8)
    fog.flush()
    np.save(tmp_path / "C" / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    text = (
        "schema: 1\nname: t\ntitle: T\n"
        f"data: {{source: cifar, path: '{tmp_path}'}}\n"
        f"conditions: [{{name: fog, shift: {{source: cifar_c, path: '{tmp_path / 'C'}', corruption: fog}},"
        " ladder: {severity: [1, 5]}}]\n"
    )
    found = resolved(parse_suite(text, "t.yaml"), ReadsGrey(10), limit=400)
    assert not carry_out(found, tmp_path / "out", batch_size=200).failures
    chosen = {int(i.removeprefix("test-")) for i in found.data["base"].ids}
    (entry,) = board(found, tmp_path / "out").entries
    assert entry.cells["clean"].score("accuracy.top1").value == 1
    for severity, count in wrong.items():
        expected = len([i for i in chosen if i < count])
        cell = entry.cells[f"fog severity={severity}"].score("accuracy.top1")
        assert cell.value == pytest.approx(1 - expected / 400)
