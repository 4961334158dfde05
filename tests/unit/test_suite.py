"""Suites spelled out: ladders, compositions, shifts, budgets that inherit, keys that do and do not change."""

from __future__ import annotations

import pytest

from robobench.engine.resolve import ResolvedModel, cells, resolve
from robobench.errors import RobobenchError, SuiteError
from robobench.specs import public_path
from robobench.suite.load import parse_suite, substitute, suite_names
from robobench.types import ModelId
from tests.bench import HEAD
from tests.fakes import conv_model

MODEL = ResolvedModel(ModelId("fake", "fake:x", "d"), lambda _: conv_model(10))


def suite(conditions: str, head: str = HEAD):
    return parse_suite(head + "conditions:\n" + conditions, "t.yaml")


def keys(conditions: str, head: str = HEAD, **options):
    found = resolve(suite(conditions, head), [MODEL], **options)
    return {c.condition.name: c.key for c in cells(found)}


def test_clean_is_always_there_and_ladders_are_spelled_out():
    found = suite("  - {use: occlusion.random, name: occ, ladder: {fraction: [0.1, 0.5]}}\n")
    assert [c.name for c in found.conditions] == ["clean", "occ fraction=0.1", "occ fraction=0.5"]
    assert found.conditions[0].clean
    assert [c.ladder for c in found.conditions[1:]] == ["occ", "occ"]
    assert found.conditions[1].steps[0].params == {
        "fraction": 0.1, "grid": [14, 14], "offset": 0, "fill": "black",
    }  # fmt: skip


def test_smaller_budgets_are_inherited_whatever_the_order_they_are_written_in():
    found = suite("  - {use: gradient.fgsm, name: f, ladder: {eps: [8/255, 2/255, 0.5]}}\n")
    lower = {c.name: c.lower for c in found.conditions}
    assert lower["f eps=2/255"] == ()
    assert lower["f eps=8/255"] == ("f eps=2/255",)
    assert lower["f eps=0.5"] == ("f eps=2/255", "f eps=8/255")


def test_a_ladder_along_another_parameter_inherits_nothing():
    found = suite("  - {use: gradient.pgd, name: p, with: {eps: 2/255}, ladder: {steps: [1, 5]}}\n")
    assert {c.lower for c in found.conditions} == {()}


def test_a_composition_counts_the_occurrences_of_a_name_and_finds_its_ladder():
    text = """  - compose:
      - {use: shuffle.grid, with: {grid: 2x2}}
      - {use: shuffle.grid, with: {grid: 4x4}}
      - {use: occlusion.random, with: {grid: 7}}
    ladder: {fraction: [0.1, 0.2]}
    name: mix
"""
    condition = suite(text).conditions[1]
    assert [(s.name, s.occurrence) for s in condition.steps] == [
        ("shuffle.grid", 0), ("shuffle.grid", 1), ("occlusion.random", 0),
    ]  # fmt: skip
    assert condition.steps[2].params["fraction"] == 0.1


def test_a_shift_is_a_data_set_of_its_own_and_counts_in_the_score():
    found = suite("  - {shift: {source: digits, path: uci}, name: uci}\n")
    assert [d.name for d in found.data] == ["base", "uci"]
    assert found.conditions[1].data == "uci"
    assert not found.conditions[1].clean


def test_interventions_and_preparations_pass_through():
    head = HEAD + "preparations: {own: {use: saliency.gradient, model: self}}\n"
    text = """  - {use: drop.tokens, with: {fraction: 0.5, block: 1}}
  - {use: occlusion.salient, with: {fraction: 0.3}, inputs: {saliency: own}}
"""
    found = suite(text, head)
    assert found.conditions[1].steps[0].kind == "intervention"
    assert found.conditions[2].steps[0].inputs == {"saliency": "own"}
    assert found.preparations[0].model == "self"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("  - {use: occlusion.random, with: {fraction: 0.5}, limit: 0}\n", 6, "limit: expected greater than 0"),
        ("  - {use: shuffle.grid, with: {grid: 2x2}, compose: []}\n  - {limit: 3}\n", 7, "needs one of `use`"),
        ("  - {use: occlusion.salient, with: {fraction: 0.5}}\n", 6, "needs the input 'saliency'"),
        ("  - {use: shuffle.grid, with: {grid: 2x2}, inputs: {x: y}}\n", 6, "takes no input 'x'"),
        ("  - compose:\n    - {use: gradient.fgsm, with: {eps: 1/255}}\n    - {use: shuffle.grid, with: {grid: 2x2}}\n",
         6, "the order is perturbations, interventions, then the attack"),
        ("  - {use: shuffle.grid, ladder: {grid: [2x2, 2x2]}}\n", 6, "a level is given twice"),
        ("  - {use: occlusion.random, with: {fraction: 0.5}, ladder: {fraction: [0.5]}}\n", 6, "stands in `with`"),
        ("  - {use: shuffle.grid, with: {grid: 2x2}}\n  - {use: shuffle.grid, with: {grid: 4x4}}\n", 7,
         "two conditions are called 'shuffle.grid'"),
        ("  - {use: gradient.fgsm, with: {eps: 1/255}, worst_of: 3}\n", 6, "an attack has `restarts`"),
        ("  - {use: gradient.fgsm, with: {eps: 8}}\n", 6, "did you mean 8/255"),
        ("  - use: occlusion.random\n    ladder: {fraction: [0.5,\n      1.5]}\n", 8, "fraction: expected less than"),
        ("  - {shift: {source: digitz, path: uci}}\n", 6, "did you mean 'digits'"),
        ("  - {shift: {source: digits, path: uci, splitt: all}}\n", 6, "no parameter 'splitt'"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_line(text, line, message):
    with pytest.raises(SuiteError) as caught:
        suite(text)
    assert str(caught.value).startswith(f"t.yaml:{line}: "), str(caught.value)
    assert message in str(caught.value)


def test_equal_parameters_have_equal_keys_however_they_are_written():
    one = keys("  - {use: gradient.fgsm, name: a, with: {eps: 8/255}}\n")
    two = keys("  - {use: gradient.fgsm, name: b, with: {eps: 0.03137254901960784}}\n")
    assert one["a"] == two["b"]


def test_keys_change_with_what_changes_numbers_and_with_nothing_else():
    base = "  - {use: shuffle.grid, name: s, with: {grid: 4x4}}\n"
    one = keys(base)
    assert keys(base, limit=10) == one
    assert keys(base, HEAD + "metrics: [accuracy.top1, accuracy.top5]\n") == one
    other_seed = keys(base, HEAD + "seed: 1\n")
    assert all(other_seed[n] != one[n] for n in one)
    other_view = keys(base, HEAD.replace("title", "view: {resize: 32}\ntitle"))
    assert other_view == one, "the digits' own view holds"
    bigger_lot = keys("  - {use: gradient.fgsm, name: f, with: {eps: 1/255}}\n", HEAD + "lot: 8\n")
    assert bigger_lot["clean"] == one["clean"]
    ladder = keys("  - {use: gradient.fgsm, name: f, ladder: {eps: [1/255, 2/255]}}\n")
    alone = keys("  - {use: gradient.fgsm, name: f, ladder: {eps: [2/255]}}\n")
    assert ladder["f eps=2/255"] != alone["f eps=2/255"], "it inherits what fell at 1/255"


def test_the_fingerprint_follows_protocol_and_images_not_models():
    text = "  - {use: shuffle.grid, name: s, with: {grid: 4x4}}\n"
    found = resolve(suite(text), [MODEL], limit=20)
    other = ResolvedModel(ModelId("other", "fake:y", "e"), lambda _: conv_model(10))
    assert resolve(suite(text), [other], limit=20).fingerprint == found.fingerprint
    assert resolve(suite(text), [MODEL], limit=21).fingerprint != found.fingerprint


def test_a_shift_into_part_of_the_label_space_brings_its_clean_companion(tmp_path):
    from PIL import Image

    from robobench.data.label_space import label_space, wordnet_ids

    part = label_space("imagenet-r")
    wnids = wordnet_ids()
    inside = [wnids[g[0]] for g in part.groups[:2]]
    outside = next(w for i, w in enumerate(wnids) if all(i not in g for g in part.groups))
    for folder, names in {"val": [*inside, outside], "r": inside}.items():
        for name in names:
            (tmp_path / folder / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / folder / name / "a.png")
    head = HEAD.replace("source: digits, path: mnist", f"source: folder, path: '{tmp_path}/val'")
    text = f"  - {{shift: {{source: folder, path: '{tmp_path}/r', label_space: imagenet-r}}, name: R}}\n"
    found = resolve(suite(text, head), [MODEL])
    companion = found.conditions[-1]
    assert companion.name == "clean@imagenet-r"
    assert companion.companion
    assert companion.clean
    data = found.data[companion.data]
    assert {i.split("/")[0] for i in data.ids} == set(inside)
    assert {data.labels[i] for i in data.ids} == {0, 1}
    assert data.space.name == "imagenet-r"
    assert len({data.identity, found.data["R"].identity, found.data["base"].identity}) == 3


def test_environment_variables_are_filled_in_when_the_data_are_needed():
    assert substitute({"path": "${A}/val", "n": 3}, {"A": "/x"}) == {"path": "/x/val", "n": 3}
    with pytest.raises(RobobenchError, match="the environment variable A, which is not set: `export A="):
        substitute("${A}", {})


def test_a_results_folder_holds_no_machine_paths_in_titles():
    assert public_path("folder:/data/secret/val?label_space=own") == "folder:val?label_space=own"
    assert public_path("C:\\Users\\me\\val") == "val"
    assert public_path("timm:vit_tiny?checkpoint=/home/me/w.pt") == "timm:vit_tiny?checkpoint=w.pt"


def test_every_shipped_suite_reads_and_has_its_command_on_top():
    from robobench.suite.load import load_suite

    names = suite_names()
    assert {"quickstart", "imagenet-samples", "occlusion", "shuffle"} <= set(names)
    for name, path in names.items():
        assert load_suite(name).name == name
        assert f"robobench run {name}" in path.read_text().splitlines()[0]
