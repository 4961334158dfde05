"""Every field of a protocol, changed by itself: it is named, and the fingerprint goes by it where it is said to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from robobench.engine.differences import Difference, differences, in_words
from robobench.engine.record import Recipe, RunRecord, from_json, record_of, to_json
from robobench.errors import StoreError
from robobench.keys import canonical, plain
from robobench.suite.suite import Suite
from robobench.typed_json import value
from tests.bench import resolved
from tests.fakes import conv_model

TEXT = """conditions:
  - {use: occlusion.random, name: occlusion, with: {grid: 7}, ladder: {fraction: [0.3, 0.7]}}
  - {use: gradient.pgd, name: pgd, with: {steps: 2}, ladder: {eps: [2/255, 8/255]}, limit: 10}
  - {shift: {source: digits, path: uci}, name: uci}
  - {use: universal.add, name: add, inputs: {perturbation: made}}
preparations:
  made: {use: universal.perturbation, model: self, with: {eps: 8/255, epochs: 1}, skip: 40, limit: 20}
view: {size: 28, interpolation: nearest}
metrics: [accuracy.top1, calibration.ece]
score: {name: robustness, formula: mean, over: ladders, of: accuracy.top1}
summaries: [{name: mean of all, formula: mean, of: calibration.ece}]
"""
RECORD = record_of(resolved(TEXT, conv_model(10)), "robobench run t")
SUITE = RECORD.recipe.suite
OF_DATA = ("name", "order", "excluded", "title", "view", "classes", "space", "revision", "answers", "truth")


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to each value that is no list or object."""
    if isinstance(tree, (dict, list)) and tree:
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from leaves(tree[key], (*path, key))
    else:
        yield path


def changed(tree: Any, path: tuple[Any, ...]) -> Any:
    """A tree with another value at one place, of the same type."""
    if path:
        copy = dict(tree) if isinstance(tree, dict) else list(tree)
        copy[path[0]] = changed(tree[path[0]], path[1:])
        return copy
    others = {"nearest": "bilinear", "perturbation": "intervention", "attack": "intervention"}
    if isinstance(tree, str):
        return others.get(tree, f"{tree}x")
    if isinstance(tree, bool):
        return not tree
    return {type(None): 5, list: ["x"], dict: {"x": 1}}.get(type(tree)) or tree + 1


def with_suite(suite: Suite) -> RunRecord:
    """The record of a run of another suite, on the same data."""
    companions = tuple(c for c in RECORD.conditions if c.companion)
    other = replace(
        RECORD, recipe=Recipe(suite, None, 40), suite=suite.name, suite_digest=suite.digest, title=suite.title,
        description=suite.description, citation=suite.citation, seed=suite.seed, lot=suite.lot,
        metrics=suite.metrics, score=suite.score, summaries=suite.summaries,
        conditions=(*suite.conditions, *companions),
    )  # fmt: skip
    return replace(other, fingerprint=other.protocol)


@pytest.mark.parametrize("path", list(leaves(plain(SUITE))), ids=lambda p: ".".join(map(str, p)))
def test_each_field_of_a_suite_that_changes_its_digest_is_named_and_no_other_counts(path):
    try:
        suite = value(changed(plain(SUITE), path), Suite, "suite")
    except StoreError as error:  # of no type that the field has
        pytest.skip(str(error))
    other = with_suite(suite)
    found = differences(RECORD, other)
    assert bool(suite.digest != SUITE.digest) == any(d.protocol for d in found)
    assert (other.fingerprint != RECORD.fingerprint) == any(d.protocol for d in found)
    assert not {("suite digest",), ("fingerprint",)} & {d.path for d in found}
    if path[0] not in ("models", "origin") and path[-1] != "same_as_base":  # follow from others, or are free
        assert found
        assert all(d.first != d.second for d in found)


def test_no_field_of_a_suite_is_forgotten():
    tried = {path[0] for path in leaves(plain(SUITE))}
    assert tried == {f.name for f in fields(Suite)}


@pytest.mark.parametrize("name", OF_DATA)
@pytest.mark.parametrize("place", range(len(RECORD.data)))
def test_each_field_of_the_data_is_named(name, place):
    data = RECORD.data[place]
    given = getattr(data, name)
    new = given[::-1] if name == "order" else changed(given, ()) if name != "excluded" else data.order[:1]
    moved = replace(data, **{name: new}, identity=data.identity if name in ("order", "title") else "other")
    sets = (*RECORD.data[:place], moved, *RECORD.data[place + 1 :])
    other = replace(RECORD, data=sets)
    other = replace(other, fingerprint=other.protocol)
    found = differences(RECORD, other)
    assert found
    assert any(d.protocol for d in found) == (name != "title")
    assert {d.path[0] for d in found} == {"data"}


def test_more_images_of_the_same_order_are_a_number_and_another_order_is_one():
    base = RECORD.data[0]
    shorter = replace(RECORD, data=(replace(base, order=base.order[:30]), *RECORD.data[1:]))
    (found,) = differences(RECORD, shorter)
    assert (found.path, found.first, found.second) == (("data", "base", "images"), 40, 30)
    other = replace(RECORD, data=(replace(base, order=base.order[::-1]), *RECORD.data[1:]))
    assert [d.path[-1] for d in differences(RECORD, other)] == ["order of images"]


def test_the_exact_parameter_is_named():
    steps = (
        replace(
            SUITE.conditions[1].steps[0], params={**SUITE.conditions[1].steps[0].params, "grid": [14, 14]}
        ),
    )
    conditions = (SUITE.conditions[0], replace(SUITE.conditions[1], steps=steps), *SUITE.conditions[2:])
    (found,) = differences(RECORD, with_suite(replace(SUITE, conditions=conditions)))
    assert found.field == "conditions > occlusion fraction=0.3 > step 1 > params > grid"
    assert str(found) == f"{found.field}: [7,7], [14,14]"


def test_models_differ_without_another_protocol():
    (model,) = RECORD.models
    other = replace(RECORD, models=(replace(model, digest="other"),))
    (found,) = differences(RECORD, other)
    assert (found.path, found.protocol) == (("models", "fake", "digest"), False)
    added = replace(RECORD, models=(model, replace(model, name="two")))
    (found,) = differences(RECORD, added)
    assert (found.path, found.first) == (("models", "two"), None)


def test_a_condition_more_is_one_difference():
    fewer = with_suite(replace(SUITE, conditions=SUITE.conditions[:-1]))
    (found,) = differences(RECORD, fewer)
    assert (found.path, found.second, found.protocol) == (("conditions", "add"), None, True)
    assert in_words(found.first) == "there"


def test_another_order_of_the_same_conditions_is_named():
    one, two, *rest = SUITE.conditions[1:]
    turned = with_suite(replace(SUITE, conditions=(SUITE.conditions[0], two, one, *rest)))
    assert [d.path for d in differences(RECORD, turned)] == [("order of conditions",)]


def test_what_an_older_record_does_not_know_is_not_compared():
    content = json.loads(canonical(to_json(RECORD)))
    for name in ("recipe", "splits"):
        del content[name]
    for data in content["data"]:
        for name in ("identity", "answers", "truth"):
            del data[name]
    old = from_json({**content, "format": 3})
    assert (old.recipe, old.protocol) == (None, None)
    assert differences(RECORD, old) == ()
    (found,) = differences(RECORD, replace(old, suite_digest="x", fingerprint="y"))
    assert found == Difference(("suite digest",), RECORD.suite_digest, "x", True)


def test_a_record_comes_back_from_json_with_its_recipe():
    again = from_json(json.loads(canonical(to_json(RECORD))))
    assert plain(again) == plain(RECORD)
    assert again.protocol == again.fingerprint == RECORD.fingerprint
    assert again.recipe.suite.digest == RECORD.suite_digest


def test_nobody_else_says_that_code_may_run():
    content = json.loads(canonical(to_json(RECORD)))
    content["recipe"]["suite"]["models"] = [{"spec": "evil.py:run", "trusted": True}]
    assert [m.trusted for m in from_json(content).recipe.suite.models] == [False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "reads formats up to"),
        ({"format": None}, "run.format"),
        ({"data": [{"name": "base", "order": "nobody"}]}, "no earlier data set is called 'nobody'"),
        ({"data": [{"name": "base", "order": [1]}]}, "expected str, got int"),
        ({"recipe": {"suite": 1}}, "run.recipe.suite: expected dict, got int"),
        ({"seed": "0"}, "run.seed: expected int, got str"),
        ({"evil": 1}, "'evil' is unknown"),
    ],
)
def test_a_record_that_is_none_says_where(change, message):
    content = json.loads(canonical(to_json(RECORD)))
    with pytest.raises(StoreError, match=message):
        from_json({**content, **change})
