"""The zoo: its weights are what its records say, small enough, good enough, and trained by what is written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import pytest
import torch
import torchattacks

from robobench.checks import adversarial_training, zoo_train
from robobench.errors import BadSpec, ModelError, StoreError, UnknownName
from robobench.models import zoo
from robobench.models.family import family_of
from robobench.registry import models
from robobench.specs import parse_spec
from robobench.stats import wilson
from tests.fakes import conv_net


def load(text: str):
    spec = parse_spec(text)
    source = models.build("zoo")
    return source.load(source.identify(spec, allow_code=False), "cpu")


def record(name: str) -> dict:
    return json.loads((zoo.WEIGHTS / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def held():
    return zoo_train.digits(zoo_train.HELD_OUT)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_accuracy_is_the_recorded_one_and_at_least_95_percent(name, held):
    said = record(name)["held_out"]
    assert len(held.labels) == said["n"] == 1000
    assert held.revision == said["revision"]
    hits = zoo_train.correct(load(f"zoo:{name}"), held)
    assert abs(hits - said["correct"]) <= 1  # another machine may round one image differently
    assert said["accuracy"] == said["correct"] / 1000 >= 0.95
    low, high = wilson(said["correct"], 1000)
    assert (said["low"], said["high"]) == pytest.approx((float(low), float(high)))


@pytest.mark.parametrize("name", zoo.NAMES)
def test_the_record_is_of_the_shipped_file_and_of_the_recipe_in_the_code(name):
    said, handle = record(name), load(f"zoo:{name}")
    data = (zoo.WEIGHTS / f"{name}.safetensors").read_bytes()
    assert said["sha256"] == hashlib.sha256(data).hexdigest()
    assert said["weights"] == handle.card.weights
    assert said["parameters"] == handle.card.parameters
    assert said["family"] == handle.card.family == family_of(handle.module) == zoo.FAMILIES[name]
    assert said["recipe"] == asdict(zoo_train.RECIPES[name])
    assert said["trained_on"]["n"] == 4000
    assert set(said["versions"]) == {"robobench", "torch", "timm", "numpy"}
    assert handle.card.input_size == 28
    handle.check_frozen()


def test_the_robust_model_stands_attacks_that_no_other_does(held):
    said = record("cnn-robust")["held_out"]["attacked"]
    assert {k: said[k] for k in zoo_train.ATTACKED} == zoo_train.ATTACKED
    assert said["low"] > 0.5  # of its answers at the radius of the record
    low, high = wilson(said["correct"], said["n"])
    assert (said["low"], said["high"]) == pytest.approx((float(low), float(high)))

    def stand(name: str, n: int) -> int:
        """Under another implementation of the attack, with one start and few steps."""
        handle = load(f"zoo:{name}")
        module = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Identity())  # it looks for a device
        module.forward = handle.raw
        eps = said["eps"]
        pixels, labels = held.pixels[:n].expand(-1, 3, -1, -1).contiguous(), held.labels[:n]
        attack = torchattacks.PGD(module.eval(), eps=eps, alpha=eps / 4, steps=10)
        torch.manual_seed(0)
        return int((handle.raw(attack(pixels, labels)).argmax(1) == labels).sum())

    assert stand("cnn-robust", 60) / 60 > said["low"]
    assert stand("resnet", 10) == 0


def test_the_worst_pixels_are_inside_the_budget_and_worse():
    net = conv_net(classes=4, seed=1)
    pixels, labels = torch.rand(6, 3, 12, 12), torch.tensor([0, 1, 2, 3, 0, 1])
    given = pixels.clone()

    def worst(seed: int, steps: int, stride: float = 0.5) -> torch.Tensor:
        draws = torch.Generator().manual_seed(seed)
        return adversarial_training.worst(
            net, pixels, labels, eps=0.1, steps=steps, stride=stride, generator=draws
        )

    def loss(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(net(x), labels, reduction="none")

    found = worst(0, 5)
    assert torch.equal(pixels, given)
    assert not found.requires_grad
    assert (found - pixels).abs().max() <= 0.1 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(found, worst(0, 5))
    assert not torch.equal(found, worst(1, 5))
    assert (loss(found) > loss(worst(0, 0))).all()  # better than where it began
    assert (loss(found) > loss(pixels)).all()
    below = (worst(0, 1, 2.0) - pixels).abs()  # a step of the budget's width ends on its edge
    inside = (pixels > 0.1) & (pixels < 0.9)
    assert torch.allclose(below[inside], torch.tensor(0.1), atol=1e-6)


def test_what_stands_is_what_no_start_fools():
    net = conv_net(classes=3, seed=2)
    pixels = torch.rand(40, 3, 12, 12)
    labels = net(pixels).argmax(1)
    labels[:5] = (labels[:5] + 1) % 3  # wrong from the beginning

    def standing(eps: float, restarts: int = 1) -> int:
        return adversarial_training.standing(
            net, pixels, labels, eps=eps, steps=3, stride=0.5, restarts=restarts, seed=0
        )

    assert standing(0.0) == 35
    counts = [standing(0.01), standing(0.03), standing(0.3)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0] <= 35
    assert standing(0.03, restarts=3) <= counts[1]


def test_all_weights_together_are_small():
    files = list(zoo.WEIGHTS.glob("*.safetensors"))
    assert {f.stem for f in files} == set(zoo.NAMES)
    assert sum(f.stat().st_size for f in files) < 4_000_000
    assert (zoo.WEIGHTS / "cnn-robust.safetensors").stat().st_size < 1_000_000


def test_cards_are_the_records():
    for card in zoo.cards():
        said = record(card.name)
        assert (card.accuracy, card.low, card.high) == tuple(
            said["held_out"][k] for k in ("accuracy", "low", "high")
        )
        assert (card.family, card.parameters, card.n) == (said["family"], said["parameters"], 1000)


def test_identity_follows_the_weights(tmp_path, monkeypatch):
    def digest(text):
        return models.build("zoo").identify(parse_spec(text), allow_code=False).digest

    own = digest("zoo:vit")
    assert digest("zoo:vit") == own != digest("zoo:mixer")
    shipped = zoo.WEIGHTS / "vit.safetensors"
    other = tmp_path / "vit.safetensors"
    other.write_bytes(shipped.read_bytes() + b" ")
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    assert digest("zoo:vit") != own
    other.write_bytes(shipped.read_bytes())
    assert digest("zoo:vit") == own


def test_messages(tmp_path, monkeypatch):
    with pytest.raises(UnknownName, match=r"the zoo has no model 'vitt'; did you mean 'vit'\?"):
        load("zoo:vitt")
    with pytest.raises(
        BadSpec, match=r"zoo:vit\?pretrained=false: unknown parameter 'pretrained'; known: checkpoint"
    ):
        load("zoo:vit?pretrained=false")
    with pytest.raises(UnknownName, match=r"the zoo has no model 'resnet5'; did you mean 'resnet'\?"):
        zoo_train.train_all(tmp_path, ["vit", "resnet5"])
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file: cannot be made: "):
        zoo_train.train_all(tmp_path / "file", ["vit"])
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    with pytest.raises(ModelError, match=r"zoo:vit: its weights are missing from this installation"):
        load("zoo:vit")
    with pytest.raises(ModelError, match=r"zoo:vit: vit.json is missing or damaged"):
        zoo.cards()


def test_training_is_repeatable_and_its_files_load(tmp_path, monkeypatch):
    few = zoo_train.digits(zoo_train.TRAIN)
    few = zoo_train.Digits(few.pixels[::20], few.labels[::20], few.revision)
    monkeypatch.setattr(zoo_train, "digits", lambda _: few)
    lines: list[str] = []
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = zoo_train.train("hybrid", seed=3, epochs=2, progress=lines.append)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again = zoo_train.train("hybrid", seed=3, epochs=2)
    other = zoo_train.train("hybrid", seed=4, epochs=2)
    assert one.record == again.record
    assert one.record["weights"] != other.record["weights"]
    assert lines[1].startswith("zoo:hybrid: epoch 2 of 2, loss ")
    zoo_train.write(one, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"hybrid.safetensors", "hybrid.json"}
    loaded = load(f"zoo:hybrid?checkpoint={tmp_path}/hybrid.safetensors")
    assert loaded.card.weights == one.record["weights"]


def test_adversarial_training_sees_the_worst_pixels_within_a_growing_radius(monkeypatch):
    few = zoo_train.digits(zoo_train.TRAIN)
    few = zoo_train.Digits(few.pixels[::40], few.labels[::40], few.revision)
    monkeypatch.setattr(zoo_train, "digits", lambda _: few)
    radii = []

    def watched(forward, pixels, labels, **how):
        radii.append((how["eps"], how["steps"], how["stride"]))
        return adversarial_training.worst(forward, pixels, labels, **how)

    monkeypatch.setattr(zoo_train, "worst", watched)
    monkeypatch.setattr(zoo_train, "ATTACKED_DIGITS", 5)
    made = zoo_train.train("cnn-robust", epochs=4)
    recipe = zoo_train.RECIPES["cnn-robust"]
    shares = [eps / recipe.eps for eps, _, _ in radii]
    assert shares == pytest.approx(
        [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]
    )  # two batches an epoch, half of it the ramp
    assert {how[1:] for how in radii} == {(recipe.steps, recipe.stride)}
    assert made.record["held_out"]["attacked"]["n"] == 5
    radii.clear()
    zoo_train.train("vit", epochs=1)
    assert radii == []


def test_augmentation_moves_each_image_by_its_own_amounts_within_the_recipe():
    pixels = torch.zeros(64, 1, 28, 28)
    pixels[:, :, 13:15, 13:15] = 1
    recipe = zoo_train.Recipe(epochs=1, rotate=0, scale=0, shear=0, shift=0.07)
    moved = zoo_train.augment(pixels, recipe, torch.Generator().manual_seed(0))
    place = torch.arange(28.0)
    centre = (moved.sum((1, 2)) @ place) / moved.sum((1, 2, 3))
    offset = (centre - 13.5).abs()
    assert offset.max() <= 0.07 * 28 + 1e-3
    assert offset.max() > 0.05 * 28
    assert len(centre.unique()) > 50
    still = zoo_train.Recipe(epochs=1, rotate=0, scale=0, shear=0, shift=0)
    same = zoo_train.augment(pixels, still, torch.Generator().manual_seed(0))
    assert torch.allclose(same, pixels, atol=1e-4)


@pytest.mark.slow
def test_all_retrained_land_in_the_intervals_of_the_shipped_ones(tmp_path):
    made = zoo_train.train_all(tmp_path, seed=3)
    for card in zoo.cards():
        assert card.low <= made[card.name]["held_out"]["accuracy"] <= card.high, card.name
    shipped = record("cnn-robust")["held_out"]["attacked"]
    again = made["cnn-robust"]["held_out"]["attacked"]["accuracy"]
    assert shipped["low"] - 0.02 <= again <= shipped["high"] + 0.02
