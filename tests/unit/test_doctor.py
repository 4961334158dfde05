"""The doctor: each check has a model that trips it and no other, and a sound model trips none."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from PIL import Image
from scipy.stats import binomtest

from robobench import registry
from robobench.checks import doctor_cost
from robobench.checks.doctor import examine
from robobench.checks.doctor_input import class_order, normalisation, surely_more
from robobench.cli.main import _run
from robobench.engine.plan import plan
from robobench.engine.resolve import resolve
from robobench.suite.load import load_suite
from robobench.suite.suite import ModelEntry
from robobench.types import ImageBatch, LabelSpace
from tests.fakes import FakeModel, conv_model, make_batch

IMAGES = 48


def look(name: str, data: str | None = None, **options) -> dict[str, object]:
    """The findings about one of the sick models, by check."""
    declared = options.pop("declared", None)
    entry = ModelEntry(f"tests.sick_models:{name}", name=name, clean_accuracy=declared, trusted=True)
    found = examine(entry, data, limit=IMAGES, device="cpu", **options)
    assert {f.model for f in found} == {name}
    assert len({f.check for f in found}) == len(found)
    return {f.check: f for f in found}


def tripped(found: dict[str, object]) -> dict[str, bool]:
    """The checks that did not hold; True where that is more than a warning."""
    return {name: not f.warning for name, f in found.items() if not f.ok}


def test_nothing_is_wrong_with_a_sound_model():
    found = look("sound", declared=0.97)
    assert tripped(found) == {}
    assert set(found) == {
        "loads", "eval mode", "data", "finite", "sees pixels", "repeats", "batch size", "logits",
        "normalisation", "class order", "above chance", "clean accuracy", "classes", "gradient",
        "finite gradient", "zero gradient", "saturation", "rising loss", "state",
    }  # fmt: skip


SICK = {
    "no_normalisation": ("normalisation", True, "given 0.00 to 1.00 .* with mean 0.5 and std 0.5 it would be"),
    "normalised_twice": ("normalisation", True, "with pixels from 0 to 1 as they are it would be about 4"),
    "other_order": ("class order", True, "after some other fixed renumbering: .* is answered by '.' 5 times"),
    "counted_from_one": ("class order", True, "would be after counting the classes from 1 instead of 0"),
    "training": ("eval mode", True, "left eval mode"),
    "random": ("repeats", True, "the forward pass is random"),
    "slightly_random": ("repeats", False, "twice differ by"),
    "company": ("batch size", True, r"alone and together differ by 0.0"),
    "not_finite": ("finite", True, "NaN or infinite"),
    "blind": ("sees pixels", True, "by 0$"),
    "probabilities": ("logits", False, "probabilities, not logits"),
    "guessing": ("above chance", False, "chance is 10.0 %"),
    "no_gradient": ("gradient", False, "torch.no_grad"),
    "broken_gradient": ("finite gradient", False, "for 32 of 32 images"),
    "rounded": ("zero gradient", False, "for 32 of 32 images: rounding"),
    "saturated": ("saturation", False, "attack by margin or dlr"),
    "misleading": ("rising loss", False, "of 0 of 32 images: it is not the gradient"),
    "counting": ("state", True, "was changed since it was loaded"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "check", "fails", "said"), [(n, *s) for n, s in SICK.items()], ids=SICK)
def test_each_fault_trips_its_own_check_and_no_other(name, check, fails, said):
    found = look(name)
    assert tripped(found) == {check: fails}
    assert re.search(said, found[check].found), found[check].found


def test_a_declared_accuracy_has_to_lie_in_the_interval():
    found = look("sound", declared=0.5)
    assert tripped(found) == {"clean accuracy": True}
    assert found["clean accuracy"].found.endswith("declared 50.0 %")
    # where the reason is known, only the reason is said
    assert tripped(look("other_order", declared=0.97)) == {"class order": True}


@pytest.fixture
def two_digits(tmp_path) -> str:
    """A folder of zeros and ones."""
    source = registry.data.build("digits", {"path": "mnist"})
    index = source.index()
    wanted = {
        label: [i for i, y in zip(index.ids, index.labels, strict=True) if y == label] for label in (0, 1)
    }
    for label, ids in wanted.items():
        (tmp_path / "data" / str(label)).mkdir(parents=True)
        for image in ids[:12]:
            name = f"{image.replace('/', '_')}.png"
            Image.fromarray(source.read(image)).save(tmp_path / "data" / str(label) / name)
    return f"folder:{tmp_path / 'data'}?label_space=own"


def test_too_few_classes_for_an_attack(two_digits, tmp_path):
    found = look("two_classes", two_digits)
    assert tripped(found) == {"classes": False}
    assert "autoattack.standard needs 4" in found["classes"].found
    suite = tmp_path / "s.yaml"
    suite.write_text(SUITE.format("{use: autoattack.standard, with: {eps: 1/255}}"))
    found = look("two_classes", two_digits, suite=str(suite))
    assert tripped(found) == {"examination": True}
    assert "autoattack.standard works with 4 classes or more" in found["examination"].found
    suite.write_text(SUITE.format("{use: gradient.fgsm, with: {eps: 1/255}}"))
    assert tripped(look("two_classes", two_digits, suite=str(suite))) == {}


SUITE = (
    "schema: 1\nname: t\ntitle: T\ndata: {{source: digits, path: mnist, limit: 40}}\n"
    "conditions:\n  - {{use: occlusion.random, with: {{fraction: 0.5}}}}\n  - {}\n"
)


@pytest.mark.parametrize("name", ["no_gradient", "broken_gradient", "rounded", "saturated", "misleading"])
def test_a_fault_of_the_gradient_is_one_where_the_suite_follows_gradients(name, tmp_path):
    suite = tmp_path / "s.yaml"
    suite.write_text(SUITE.format("{use: gradient.fgsm, with: {eps: 1/255}}"))
    assert tripped(look(name, suite=str(suite))) == {SICK[name][0]: True}
    suite.write_text(SUITE.format("{use: shuffle.grid, with: {grid: 2}}"))
    assert tripped(look(name, suite=str(suite))) == {SICK[name][0]: False}


def test_a_model_that_cannot_be_examined_says_why(tmp_path):
    found = look("wrong_shape")
    assert tripped(found) == {"examination": True}
    assert "RuntimeError" in found["examination"].found
    found = look("nobody_wrote_this")
    assert tripped(found) == {"examination": True}
    found = look("sound", f"folder:{tmp_path / 'nowhere'}")
    assert "nowhere" in found["examination"].found


# what stands behind the checks


def test_a_better_reading_is_believed_as_by_a_sign_test():
    for wins in range(0, 30, 3):
        for losses in range(0, 12, 2):
            one = torch.tensor([True] * wins + [False] * losses + [True] * 5 + [False] * 5)
            other = torch.tensor([False] * wins + [True] * losses + [True] * 5 + [False] * 5)
            n = wins + losses
            p = binomtest(wins, n, alternative="greater").pvalue if n else 1.0
            assert surely_more(one, other) == (p < 1e-3)


def test_red_and_blue_that_were_swapped_are_found():
    class Redder(torch.nn.Module):
        def __init__(self, first: int) -> None:
            super().__init__()
            self.first = first

        def forward(self, x):
            shade = x.mean(dim=(2, 3))
            return torch.stack([shade[:, self.first], shade[:, 2 - self.first]], dim=1)

    batch = make_batch(n=40, classes=2)
    labels = (batch.pixels.mean(dim=(2, 3))[:, 0] < batch.pixels.mean(dim=(2, 3))[:, 2]).long()
    batch = ImageBatch(batch.pixels, batch.ids, labels)
    assert normalisation(FakeModel(Redder(0)), batch).ok
    found = normalisation(FakeModel(Redder(2)), batch)
    assert not found.ok
    assert "about 0 of 40 images; with red and blue swapped it would be about 40" in found.found


def test_the_scale_is_shown_as_the_network_is_given_it():
    batch = make_batch(n=2)
    assert "given 0.00 to 1.00 for pixels" in normalisation(conv_model(), batch).found
    inner = conv_model().module
    inner.register_forward_pre_hook(lambda _, given: ((given[0] - IMAGENET_MEAN) / IMAGENET_STD,))
    found = normalisation(FakeModel(inner), batch).found
    assert "-2.12 to 2.25, -2.04 to 2.43, -1.80 to 2.64 (red, green, blue)" in found
    assert len(inner._forward_pre_hooks) == 1


IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def answers(space: LabelSpace, labels: torch.Tensor, numbering: list[int]) -> torch.Tensor:
    """Logits of a model that knows every image; its output i is class numbering[i]."""
    outputs = torch.tensor(numbering).argsort()
    return torch.nn.functional.one_hot(outputs[labels], len(numbering)).float()


@pytest.mark.parametrize(
    ("names", "numbering", "said"),
    [
        (
            [str(i) for i in range(12)],
            [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9],
            "sorting the class names as text",
        ),
        (["1", "10", "11", "2", "20", "3"], [0, 3, 5, 1, 2, 4], "sorting the class names as numbers"),
        (["apple", "Bee", "cat", "Dog", "eel"], [1, 3, 0, 2, 4], "sorting the class names as text"),
        (
            ["Zoo", "Yak", "ant", "bee", "cow"],
            [2, 3, 4, 1, 0],
            "sorting the class names without regard to case",
        ),
        (list("edcba"), [4, 3, 2, 1, 0], "sorting the class names as text"),
        (list("abcde"), [4, 3, 2, 1, 0], "counting the classes backwards"),
        (list("abcde"), [1, 2, 3, 4, 0], "counting the classes from 0 instead of 1"),
        (list("abcde"), [4, 0, 1, 2, 3], "counting the classes from 1 instead of 0"),
        (list("abcde"), [1, 0, 3, 4, 2], "some other fixed renumbering"),
    ],
)
def test_orders_that_class_folders_are_numbered_by(names, numbering, said):
    space = LabelSpace("own", tuple(names), len(names))
    labels = torch.arange(60) % len(names)
    found = class_order(space, answers(space, labels, numbering), labels)
    assert not found.ok
    assert f"60 would be after {said}: " in found.found
    assert class_order(space, answers(space, labels, list(range(len(names)))), labels).ok


def test_an_order_is_not_read_into_mistakes():
    space = LabelSpace("own", tuple("abcdefghij"), 10)
    labels = torch.arange(64) % 10
    for seed in range(30):
        logits = torch.randn(64, 10, generator=torch.Generator().manual_seed(seed))
        assert class_order(space, logits, labels).ok
    merged = answers(space, labels // 2 * 2, list(range(10)))  # takes every second class for its neighbour
    assert class_order(space, merged, labels).ok
    many = LabelSpace("own", tuple(f"n{i:04d}" for i in range(1000)), 1000)
    labels = torch.arange(64) * 15
    assert class_order(many, torch.randn(64, 1000, generator=torch.Generator().manual_seed(0)), labels).ok
    assert not class_order(many, answers(many, (labels + 1) % 1000, list(range(1000))), labels).ok


@pytest.fixture
def planned(tmp_path):
    place = tmp_path / "s.yaml"
    place.write_text(
        SUITE.format("{use: gradient.pgd, with: {steps: 5, restarts: 2}, ladder: {eps: [1/255, 2/255]}}")
    )
    return resolve(load_suite(str(place)), [ModelEntry("zoo:vit")])


def test_time_is_the_plans_passes_at_the_measured_pace(planned, tmp_path):
    batch = make_batch(n=2, side=28)
    cost = plan(planned, {}).cost
    attack = 2 * registry.attacks.build("gradient.pgd", {"steps": 5, "restarts": 2, "eps": 0.1}).cost
    assert cost == 40 * (2 + attack)
    pace = doctor_cost.Pace(forward=10.0, both=60.0, reading=100.0)
    (said, room) = doctor_cost.cost(planned, pace, batch, tmp_path / "results")
    total = 40 * (100 + 2 * 10 + attack * 60 / 3)
    assert said.ok
    assert said.found.startswith(f"at most {doctor_cost.spoken(total)} (reading {doctor_cost.spoken(4000)}, ")
    assert f"model {doctor_cost.spoken(800)}, attacks {doctor_cost.spoken(40 * attack * 20)}" in said.found
    assert "about 10 kB of rows" in room.found  # 2 x 40 of 48 bytes, 2 x 40 of 80
    assert not (tmp_path / "results").exists()


def test_a_full_disk_is_said(planned, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 5, 5_000))
    *_, room = doctor_cost.cost(planned, doctor_cost.Pace(1, 3, 1), make_batch(n=2, side=28), tmp_path)
    assert not room.ok
    assert not room.warning
    assert "5 kB are free: choose another --out" in room.found


def test_the_pace_is_that_of_the_model():
    class Slow(torch.nn.Module):
        def forward(self, x):
            time.sleep(0.02)
            return x.mean(dim=(2, 3))

    fake = FakeModel(Slow())
    pace = doctor_cost.measured(fake, make_batch(n=3, classes=3), 8, 0.5)
    assert set(fake.calls) == {8}
    assert 0.02 / 8 <= pace.forward < 0.2 / 8
    assert pace.both >= 0.02 / 8
    assert pace.reading == 0.5


def test_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    suite = Path("s.yaml")
    suite.write_text(SUITE.format("{use: gradient.fgsm, with: {eps: 1/255}}"))
    sick = ["-m", "tests.sick_models:other_order"]
    assert _run(["doctor", "-m", "A=zoo:vit", *sick, "-s", "s.yaml", "-n", "32", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert {f["model"] for f in found} == {"", "A", "tests.sick_models:other_order"}
    assert [(f["check"], f["model"]) for f in found if not f["ok"]] == [("class order", sick[1])]
    assert {"time", "disk"} <= {f["check"] for f in found}
    assert _run(["doctor", "-m", "tests.sick_models:guessing", "-n", "16"]) == 0  # a warning
    assert "warn" in capsys.readouterr().out
    assert _run(["doctor", "-m", "zoo:vit", "-n", "16", "--clean-accuracy", "0.3"]) == 3
    assert "declared 30.0 %" in capsys.readouterr().out
    assert _run(["doctor", "-m", "zoo:vit", "-m", "zoo:mixer", "--clean-accuracy", "0.3"]) == 2
    assert "--clean-accuracy is of one model, 2 are looked at: give one --model" in capsys.readouterr().err
    assert _run(["doctor", "-s", "quickstrat"]) == 2
    assert "did you mean 'quickstart'?" in capsys.readouterr().err


def test_code_that_a_suite_names_needs_to_be_allowed(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = SUITE.format("{use: shuffle.grid, with: {grid: 2}}")
    Path("s.yaml").write_text(text + 'models: ["tests.sick_models:sound"]\n')
    assert _run(["doctor", "-s", "s.yaml", "-n", "16"]) == 3
    assert "--allow-code" in capsys.readouterr().out
    assert _run(["doctor", "-s", "s.yaml", "-n", "16", "--allow-code"]) == 0
