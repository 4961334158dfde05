"""What every perturbation, intervention, attack and preparation promises, over all that are registered.

A plug-in is tested by existing: by its fields, its docstring and its `examples`, the parameter sets it is
tried with. Examples of a plug-in with `nested` differ at least once in that parameter only; where there is
an `identity`, at least one of them is it.
"""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robobench.contracts import Ensemble, SteppedAttack
from robobench.engine.assault import run_attack
from robobench.engine.lots import within_budget
from robobench.errors import BadParameter, ModelError, Unsupported
from robobench.params import explained
from robobench.registry import (
    Plugin,
    Registry,
    attacks,
    interventions,
    perturbations,
    preparations,
    schema,
)
from robobench.tasks.classification import Classification
from robobench.types import ImageBatch
from tests.fakes import (
    FakeModel,
    conv_model,
    linear_model,
    make_batch,
    make_draws,
    mixer_model,
    resnet_model,
    run_stepped,
    vit_model,
)
from tests.stored_files import write_stored

SIDE, IMAGES = 32, 6
SIDES = (28, 32, 64, 224)  # of the shipped suites
OFTEN = (28, 28, 28, 32, 32, 64, 224)
KINDS = (perturbations, interventions, attacks, preparations)
FEW = settings(max_examples=6)
MANY = settings(max_examples=50, deadline=None)
SHUFFLES = st.tuples(st.permutations(range(IMAGES)), st.integers(0, IMAGES))


@dataclass(frozen=True)
class Case:
    """A plug-in with one of its parameter sets."""

    registry: Registry
    plugin: Plugin
    params: Mapping[str, Any]

    def build(self) -> Any:
        return self.registry.build(self.plugin.name, self.params)

    def __str__(self) -> str:
        return f"{self.plugin.name} {dict(self.params)}"


def plugins() -> list[Any]:
    found = [(r, r.get(name)) for r in KINDS for name in r.names()]
    return [pytest.param(r, p, id=p.name) for r, p in found]


def cases(*registries: Registry) -> list[Any]:
    found = [
        Case(r, r.get(name), params)
        for r in registries
        for name in r.names()
        for params in getattr(r.get(name).cls, "examples", ())
    ]
    return [pytest.param(case, id=str(case)) for case in found]


def images(side: int = SIDE) -> ImageBatch:
    return make_batch(IMAGES if side < 100 else IMAGES // 3, side)


def with_inputs(batch: ImageBatch, instance: Any) -> ImageBatch:
    """The batch with something for every input that the plug-in wants."""
    generator = torch.Generator().manual_seed(1)
    inputs = {}
    for want in getattr(instance, "wants", ()):
        kind = "pixels" if want == "donor" else getattr(instance, "shapes", {}).get(want, "map")
        maps = (len(batch), *batch.pixels.shape[2:])
        shape = {"pixels": tuple(batch.pixels.shape), "number": (len(batch),)}.get(kind, maps)
        inputs[want] = torch.rand(shape, generator=generator)
    return ImageBatch(batch.pixels, batch.ids, batch.labels, inputs, batch.facts)


def pieces(shuffle: tuple[list[int], int]) -> list[list[int]]:
    """All images in another order and in two batches."""
    order, cut = shuffle
    return [part for part in (order[:cut], order[cut:]) if part]


# What is written about a plug-in, and what its parameters may be


@pytest.mark.parametrize(("registry", "plugin"), plugins())
def test_is_a_frozen_dataclass_that_explains_itself(registry: Registry, plugin: Plugin) -> None:
    cls = plugin.cls
    assert is_dataclass(cls)
    assert cls.__dataclass_params__.frozen
    assert plugin.version >= 1
    text = inspect.getdoc(cls) or ""
    assert plugin.summary.endswith("."), f"{plugin.name}: the docstring begins with a sentence on one line"
    assert re.search(r"^(Source|Own): \S", text, re.M), f"{plugin.name}: the docstring names its source"
    notes = explained(cls)
    missing = [f.name for f in fields(cls) if f.init and not notes.get(f.name)]
    assert not missing, f"{plugin.name}: no comment says what the fields {missing} mean"


@pytest.mark.parametrize(("registry", "plugin"), plugins())
def test_declares_examples_that_can_be_built(registry: Registry, plugin: Plugin) -> None:
    examples = getattr(plugin.cls, "examples", ())
    assert examples, f"{plugin.name}: `examples` holds the parameters it is tested with"
    built = [registry.build(plugin.name, params) for params in examples]
    nested = getattr(built[0], "nested", None)
    assert nested is None or nested in {f.name for f in fields(plugin.cls)}
    for want in getattr(built[0], "wants", ()):
        assert isinstance(want, str)
    if hasattr(plugin.cls, "identity"):
        assert any(b.identity for b in built), f"{plugin.name}: no example is the identity"
        assert not all(b.identity for b in built), f"{plugin.name}: every example is the identity"


@pytest.mark.parametrize(("registry", "plugin"), plugins())
def test_parameters_survive_being_written_down(registry: Registry, plugin: Plugin) -> None:
    """A step is built again from the canonical values of its fields, and is then the same."""
    from robobench.keys import plain

    for params in plugin.cls.examples:
        built = registry.build(plugin.name, params)
        written = {f.name: plain(getattr(built, f.name)) for f in fields(built) if f.init}
        assert registry.build(plugin.name, written, strict=False) == built


@pytest.mark.parametrize(("registry", "plugin"), plugins())
def test_an_unknown_parameter_is_refused(registry: Registry, plugin: Plugin) -> None:
    params = {**plugin.cls.examples[0], "no_such_parameter": 1}
    with pytest.raises(
        BadParameter, match=f"^{re.escape(plugin.name)}: unknown parameter 'no_such_parameter'; "
    ):
        registry.build(plugin.name, params)


def bad_values(shape: Mapping[str, Any]) -> Iterator[Any]:
    """Values outside of a field's JSON schema: of no type it has, beyond its limits, not among its choices."""
    branches = shape.get("anyOf", [shape])
    if not any(b.get("type") == "object" or not b for b in branches):
        yield {"no such": ["value"]}
    else:
        yield "no such value"
    for branch in branches:
        step = 1 if branch.get("type") == "integer" else 0.001
        if "minimum" in branch:
            yield branch["minimum"] - step
        if "maximum" in branch:
            yield branch["maximum"] + step
        for limit in ("exclusiveMinimum", "exclusiveMaximum"):
            if limit in branch:
                yield branch[limit]
        if "enum" in branch or "const" in branch:
            yield "no such choice"


@pytest.mark.parametrize(("registry", "plugin"), plugins())
def test_values_out_of_range_are_refused(registry: Registry, plugin: Plugin) -> None:
    for name, shape in schema(plugin.cls).model_json_schema().get("properties", {}).items():
        for value in bad_values(shape):
            with pytest.raises(BadParameter, match=rf"^{re.escape(plugin.name)}: .*{name}"):
                registry.build(plugin.name, {**plugin.cls.examples[0], name: value})


@pytest.mark.parametrize(("registry", "plugin"), plugins())
def test_a_missing_parameter_is_named(registry: Registry, plugin: Plugin) -> None:
    for name in schema(plugin.cls).model_json_schema().get("required", ()):
        params = {k: v for k, v in plugin.cls.examples[0].items() if k != name}
        with pytest.raises(
            BadParameter, match=rf"^{re.escape(plugin.name)}: the parameter '{name}' is missing"
        ):
            registry.build(plugin.name, params)


# Perturbations


def same(one: ImageBatch, other: ImageBatch) -> bool:
    facts = one.facts.keys() == other.facts.keys() and all(
        torch.equal(v.nan_to_num(-1), other.facts[k].nan_to_num(-1)) for k, v in one.facts.items()
    )
    return facts and torch.equal(one.pixels, other.pixels)


@pytest.mark.parametrize("case", cases(perturbations))
def test_perturbation_keeps_what_a_batch_is(case: Case) -> None:
    step = case.build()
    for side in SIDES:
        batch = with_inputs(images(side), step)
        kept = batch.pixels.clone(), {k: v.clone() for k, v in batch.inputs.items()}
        out = step(batch, make_draws(batch, case.plugin.name))
        assert out.pixels.shape == batch.pixels.shape
        assert out.pixels.dtype == torch.float32
        assert ((out.pixels >= 0) & (out.pixels <= 1)).all()
        assert out.ids == batch.ids
        assert torch.equal(out.labels, batch.labels)
        assert all(v.shape == (len(batch),) for v in out.facts.values())
        assert torch.equal(batch.pixels, kept[0]), "the given pixels were changed in place"
        assert all(torch.equal(v, kept[1][k]) for k, v in batch.inputs.items())
        changed = (out.pixels != batch.pixels).flatten(1).any(1)
        assert not changed.any() if getattr(step, "identity", False) else changed.all(), f"at {side} pixels"


@pytest.mark.parametrize(("registry", "plugin"), [p for p in plugins() if p.values[0] is perturbations])
def test_perturbation_depends_on_nothing_but_image_and_draws(registry: Registry, plugin: Plugin) -> None:
    """Neither on the order, the batch, a memo shared with other steps, nor on global random states."""
    steps = [registry.build(plugin.name, params) for params in plugin.cls.examples]
    whole: dict[tuple[int, int], tuple[ImageBatch, ImageBatch]] = {}

    @MANY
    @given(st.integers(0, len(steps) - 1), st.sampled_from(OFTEN), SHUFFLES, st.booleans())
    def any_order_and_size(which: int, side: int, shuffle: tuple[list[int], int], remembers: bool) -> None:
        step = steps[which]
        if (which, side) not in whole:
            batch = with_inputs(images(side), step)
            whole[which, side] = batch, step(batch, make_draws(batch, plugin.name, memo={}))
        torch.manual_seed(12345)
        np.random.seed(12345)  # noqa: NPY002
        random.seed(12345)
        batch, expected = whole[which, side]
        for rows in pieces(shuffle):
            rows = [r for r in rows if r < len(batch)]
            if rows:
                part = batch.select(rows)
                memo: dict[Any, Any] | None = {} if remembers else None
                assert same(step(part, make_draws(part, plugin.name, memo=memo)), expected.select(rows))

    any_order_and_size()


@pytest.mark.parametrize("case", cases(perturbations))
def test_perturbation_does_not_depend_on_how_pixels_lie_in_memory(case: Case) -> None:
    step = case.build()
    batch = with_inputs(images(), step)
    expected = step(batch, make_draws(batch, case.plugin.name)).pixels
    for pixels in (
        batch.pixels.to(memory_format=torch.channels_last),
        torch.cat([batch.pixels, batch.pixels], dim=3)[..., :SIDE],
    ):
        other = batch.with_pixels(pixels)
        found = step(other, make_draws(batch, case.plugin.name)).pixels
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("registry", "plugin"), [p for p in plugins() if p.values[0] is perturbations])
def test_perturbation_is_the_same_beside_its_other_levels(registry: Registry, plugin: Plugin) -> None:
    """What the levels of a ladder share is not changed by any of them."""
    batch = images()
    memo: dict[Any, Any] = {}
    steps = [registry.build(plugin.name, params) for params in plugin.cls.examples]
    for step in (*steps, *reversed(steps)):
        given_batch = with_inputs(batch, step)
        shared = step(given_batch, make_draws(batch, plugin.name, memo=memo))
        assert same(shared, step(given_batch, make_draws(batch, plugin.name)))


@pytest.mark.parametrize(("registry", "plugin"), [p for p in plugins() if p.values[0] is perturbations])
def test_perturbation_nests_where_it_says_so(registry: Registry, plugin: Plugin) -> None:
    """What the smaller level changes, the larger one changes too."""
    along = getattr(plugin.cls, "nested", None)
    if along is None:
        return
    levels = [registry.build(plugin.name, params) for params in plugin.cls.examples]
    pairs = []
    for one, other in combinations(levels, 2):
        differing = [f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)]
        if differing == [along]:
            pairs.append(sorted((one, other), key=lambda step: getattr(step, along)))
    assert pairs, f"{plugin.name}: no two examples differ in {along!r} only"
    for small, large in pairs:
        batch = with_inputs(images(), small)
        draws = make_draws(batch, plugin.name)
        less, more = (step(batch, draws).pixels != batch.pixels for step in (small, large))
        assert not (less & ~more).any()


# Interventions


def model_for(step: Any) -> FakeModel:
    """The first fake that the intervention can be applied to."""
    complaints, batch = [], images()
    for model in (vit_model(side=SIDE, patch=8), resnet_model(), mixer_model(side=SIDE, patch=8)):
        try:
            if hasattr(step, "check"):
                step.check(model)
            step(model, batch, make_draws(batch))
        except ModelError as error:
            complaints.append(str(error))
        else:
            return model
    raise AssertionError(f"no fake model fits: {complaints}")


@pytest.mark.parametrize("case", cases(interventions))
def test_intervention_gives_logits_and_leaves_the_model_as_it_was(case: Case) -> None:
    step, batch = case.build(), images()
    model = model_for(step)
    weights = {k: v.clone() for k, v in model.module.state_dict().items()}
    before = model(batch)
    out = step(model, batch, make_draws(batch, case.plugin.name))
    assert out.shape == before.shape
    assert torch.isfinite(out).all()
    assert getattr(step, "identity", False) == torch.equal(out, before)
    assert torch.equal(step(model, batch, make_draws(batch, case.plugin.name)), out)
    assert torch.equal(model(batch), before)
    assert not model.module.training
    assert all(torch.equal(v, weights[k]) for k, v in model.module.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.module.modules())


@pytest.mark.parametrize("case", cases(interventions))
def test_intervention_depends_on_nothing_but_model_image_and_draws(case: Case) -> None:
    step, batch = case.build(), images()
    model = model_for(step)
    whole = step(model, batch, make_draws(batch, case.plugin.name))

    @FEW
    @given(SHUFFLES)
    def any_order_and_size(shuffle: tuple[list[int], int]) -> None:
        for rows in pieces(shuffle):
            part = batch.select(rows)
            out = step(model, part, make_draws(part, case.plugin.name))
            torch.testing.assert_close(out, whole[rows], atol=1e-5, rtol=1e-5)

    any_order_and_size()


# Attacks


def attacked(attack: Any, model: FakeModel, batch: ImageBatch, stream: str) -> torch.Tensor:
    draws = make_draws(batch, stream)
    if isinstance(attack, SteppedAttack):
        return run_stepped(attack, model, batch, draws)
    if isinstance(attack, Ensemble):
        clean = model(batch).detach()
        return run_attack(
            attack, model, batch, clean, range(len(batch)), draws, len(batch), Classification()
        ).pixels
    return attack(model, batch, draws)


def attackable(attack: Any, fallback: FakeModel) -> FakeModel:
    """A model that an attack can be made on: one with attention where it looks at that."""
    try:
        if hasattr(attack, "within"):
            attack.within(fallback)(images())
    except Unsupported:
        return vit_model(side=SIDE, patch=8)
    return fallback


@pytest.mark.parametrize("case", cases(attacks))
def test_attack_stays_in_budget_and_range_and_is_repeatable(case: Case) -> None:
    attack, batch = case.build(), images()
    model = attackable(attack, conv_model())
    batch = ImageBatch(batch.pixels, batch.ids, model(batch).argmax(1))
    kept = batch.pixels.clone()
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    found = attacked(attack, model, batch, case.plugin.name)
    assert found.shape == batch.pixels.shape
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert ((found >= 0) & (found <= 1)).all()
    assert torch.equal(batch.pixels, kept), "the given pixels were changed in place"
    assert within_budget(attack, batch.pixels, found).all()
    assert attack.nested is None or attack.nested in {f.name for f in fields(attack)}
    assert isinstance(attack.cost, int)
    assert attack.cost >= 1
    if getattr(attack, "identity", False):
        assert torch.equal(found, batch.pixels)
    assert torch.equal(torch.get_rng_state(), states[0]), "torch's global generator was used"
    assert (np.random.get_state()[1] == states[1]).all(), "numpy's global generator was used"  # noqa: NPY002
    assert random.getstate() == states[2], "Python's global generator was used"
    torch.manual_seed(12345)
    assert torch.equal(attacked(attack, model, batch, case.plugin.name), found)


@pytest.mark.parametrize("case", cases(attacks))
def test_stepped_attack_depends_on_nothing_but_model_image_and_draws(case: Case) -> None:
    """An attack on whole lots is given the same lots; one told in steps treats each image alone."""
    attack, batch = case.build(), images()
    if not isinstance(attack, SteppedAttack):
        return
    model = attackable(attack, linear_model(side=SIDE))
    whole = attacked(attack, model, batch, case.plugin.name)

    @FEW
    @given(SHUFFLES)
    def any_order_and_size(shuffle: tuple[list[int], int]) -> None:
        for rows in pieces(shuffle):
            found = attacked(attack, model, batch.select(rows), case.plugin.name)
            torch.testing.assert_close(found, whole[rows], atol=1e-6, rtol=0)

    any_order_and_size()


# Preparations


@pytest.mark.parametrize("case", cases(preparations))
def test_preparation_gives_finite_tensors_that_do_not_depend_on_the_batches(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, model, batch = case.build(), vit_model(side=SIDE, patch=8), images()
    monkeypatch.chdir(tmp_path)  # where the examples look for files
    write_stored(tmp_path, batch.ids, SIDE)
    assert isinstance(make.per_image, bool)
    assert isinstance(make.needs_model, bool)
    given_model = model if make.needs_model else None
    draws = make_draws(batch, case.plugin.name)
    whole = make(given_model, [batch], draws)
    parts = make(given_model, [batch.select(range(2)), batch.select(range(2, IMAGES))], draws)
    assert whole
    for name, values in whole.items():
        assert torch.isfinite(values).all()
        if make.per_image:
            assert len(values) == IMAGES
        torch.testing.assert_close(parts[name], values, atol=1e-6, rtol=1e-5)
