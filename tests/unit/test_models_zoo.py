"""The zoo: its weights are what its records say, small enough, good enough, and trained by what is written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import pytest
import torch

from robobench.checks import zoo_train
from robobench.errors import BadSpec, ModelError, StoreError, UnknownName
from robobench.models import zoo
from robobench.models.family import family_of
from robobench.registry import models
from robobench.specs import parse_spec
from robobench.stats import wilson


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


def test_all_weights_together_are_small():
    files = list(zoo.WEIGHTS.glob("*.safetensors"))
    assert {f.stem for f in files} == set(zoo.NAMES)
    assert sum(f.stat().st_size for f in files) < 4_000_000


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
def test_all_four_retrained_land_in_the_intervals_of_the_shipped_ones(tmp_path):
    made = zoo_train.train_all(tmp_path, seed=3)
    for card in zoo.cards():
        assert card.low <= made[card.name]["held_out"]["accuracy"] <= card.high, card.name
