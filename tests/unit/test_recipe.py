"""What a run is made again from: checked like a suite file, with variables as written and without paths in public."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from robobench.cli.rerun import entries
from robobench.engine.recipe import again, public
from robobench.engine.record import record_of
from robobench.engine.resolve import resolve
from robobench.errors import ModelError, RobobenchError
from robobench.leaderboard.baseline import read_baseline, write_baseline
from robobench.suite.load import parse_suite
from robobench.suite.saved import check_saved, faults
from robobench.suite.suite import ModelEntry, PreparationEntry, Suite
from tests.bench import HEAD, carry_out, resolved
from tests.fakes import conv_model

TEXT = """conditions:
  - {use: occlusion.random, name: occlusion, with: {grid: 7}, ladder: {fraction: [0.3, 0.7]}}
  - {use: gradient.pgd, name: pgd, with: {steps: 2}, ladder: {eps: [2/255, 8/255]}, limit: 10}
  - {compose: [{use: shuffle.grid, with: {grid: 2x2}}, {use: gradient.fgsm, with: {eps: 4/255}}], name: both}
  - {use: universal.add, name: add, inputs: {perturbation: made}}
preparations:
  made: {use: universal.perturbation, model: self, with: {eps: 8/255, epochs: 1}, skip: 40, limit: 20}
"""
SUITE = parse_suite(HEAD + TEXT, "t.yaml")
NAMES = [c.name for c in SUITE.conditions]


def test_every_shipped_suite_is_found_to_be_what_it_is():
    from robobench.suite.load import load_suite, suite_names

    for name in suite_names():
        assert list(faults(load_suite(name))) == []


def changed(name: str, /, **fields: object) -> Suite:
    place = NAMES.index(name)
    new = replace(SUITE.conditions[place], **fields)
    return replace(SUITE, conditions=(*SUITE.conditions[:place], new, *SUITE.conditions[place + 1 :]))


def step(condition: str, place: int = 0, /, **fields: object) -> Suite:
    steps = list(SUITE.conditions[NAMES.index(condition)].steps)
    steps[place] = replace(steps[place], **fields)
    return changed(condition, steps=tuple(steps))


def preparation(**fields: object) -> Suite:
    (made,) = SUITE.preparations
    return replace(SUITE, preparations=(replace(made, **fields),))


BOTH = SUITE.conditions[NAMES.index("both")].steps


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        (replace(SUITE, data=()), "its own data first"),
        (replace(SUITE, data=SUITE.data * 2), "two data sets are called 'base'"),
        (replace(SUITE, conditions=SUITE.conditions * 2), "two conditions are called 'clean'"),
        (replace(SUITE, lot=0), "above 0"),
        (replace(SUITE, store="everything"), "`store`"),
        (replace(SUITE, metrics=("accuracy.top9",)), "unknown metric"),
        (replace(SUITE, score=replace(SUITE.score, formula="means")), "unknown formula"),
        (replace(SUITE, data=(replace(SUITE.data[0], source="digit"),)), "did you mean 'digits'"),
        (changed("clean", data="nowhere"), "no data set of the suite is called 'nowhere'"),
        (changed("clean", worst_of=0), "above 0"),
        (changed("pgd eps=8/255", lower=("x",)), "no condition before it is called 'x'"),
        (changed("pgd eps=2/255", lower=("pgd eps=8/255",)), "no condition before it"),
        (changed("both", steps=BOTH[::-1]), "perturbations, interventions, then at most one attack"),
        (changed("both", steps=(*BOTH, replace(BOTH[1], occurrence=1))), "at most one attack"),
        (step("both", occurrence=1), "use number 0, not 1"),
        (step("both", name="shuffle.grit"), "did you mean 'shuffle.grid'"),
        (step("add", kind="intervention"), "the perturbation of that name"),
        (step("both", version=7), "made with version 7 of it"),
        (step("both", params={"grid": "no grid"}), "a grid"),
        (step("both", params={}), "grid"),
        (step("both", 1, params={"eps": 4}), "eps"),
        (step("add", inputs={}), r"expected the inputs \['perturbation'\]"),
        (step("add", inputs={"perturbation": "nobody"}), "no preparation of the suite is called 'nobody'"),
        (step("add", inputs={"perturbation": "made", "x": "made"}), "expected the inputs"),
        (preparation(plugin="universal.nothing"), "unknown"),
        (preparation(version=9), "made with version 9"),
        (preparation(params={"eps": 0.03, "evil": 1}), "unknown parameter 'evil'"),
        (preparation(model=None), "needs a model"),
        (preparation(limit=0), "above 0"),
    ],
)
def test_what_no_suite_file_could_say_is_refused(suite, message):
    assert list(faults(SUITE)) == []
    with pytest.raises(RobobenchError, match=message):
        check_saved(suite)


def test_a_parameter_that_is_not_spelled_out_is_refused():
    given = SUITE.conditions[NAMES.index("both")].steps[0].params
    with pytest.raises(RobobenchError, match="as it is spelled out"):
        check_saved(step("both", params={**given, "grid": "2x2"}))


def test_variables_stay_as_written_and_are_looked_up_where_the_run_is_made_again(monkeypatch):
    monkeypatch.setenv("WHICH", "mnist")
    suite = parse_suite(HEAD.replace("path: mnist", 'path: "${WHICH}"') + "conditions: []\n", "t.yaml")
    found = resolve(suite, [ModelEntry("zoo:mixer", name="m")], limit=10)
    kept = record_of(found, "robobench run t")
    assert kept.recipe.suite.data[0].params["path"] == "${WHICH}"
    assert (kept.recipe.limit, kept.models[0].spec) == (10, "zoo:mixer")
    assert public(kept) == kept
    assert again(kept).fingerprint == kept.fingerprint
    monkeypatch.setenv("WHICH", "uci")
    with pytest.raises(RobobenchError, match="data > base > revision"):
        again(kept)
    assert again(kept, data="digits:mnist").fingerprint == kept.fingerprint


def test_names_that_a_board_shows_are_those_of_what_is_found():
    suite = parse_suite(HEAD + "conditions: []\n", "t.yaml")
    kept = record_of(resolve(suite, [ModelEntry("zoo:mixer", name="m")], limit=10), "robobench run t")
    with pytest.raises(RobobenchError, match=r"class names .*: 'cat', '0'"):
        again(replace(kept, class_names=("cat", *kept.class_names[1:])))
    with pytest.raises(RobobenchError, match=r"class names .*: '1', '10'"):
        again(replace(kept, class_names=kept.class_names[:1]))
    forged = replace(kept, data=(replace(kept.data[0], title="ImageNet"),))
    with pytest.raises(RobobenchError, match=r"data > base > title .*: 'ImageNet', 'digits:mnist'"):
        again(forged)
    assert again(forged, data="digits:mnist").fingerprint == kept.fingerprint
    assert again(replace(kept, class_names=())).fingerprint == kept.fingerprint


def test_a_variable_that_leads_elsewhere_changes_no_name_but_the_path(monkeypatch, tmp_path):
    for place in (tmp_path / name / label for name in ("here", "there") for label in "ab"):
        place.mkdir(parents=True)
        Image.new("RGB", (8, 8), "red" if place.name == "a" else "blue").save(place / "1.png")
    data = '{source: folder, path: "${WHERE}", label_space: own}'
    suite = parse_suite(HEAD.replace("{source: digits, path: mnist}", data) + "conditions: []\n", "t.yaml")
    monkeypatch.setenv("WHERE", str(tmp_path / "here"))
    kept = record_of(resolve(suite, [ModelEntry("zoo:mixer", name="m")]), "robobench run t")
    monkeypatch.setenv("WHERE", str(tmp_path / "there"))
    assert again(kept).data["base"].title != kept.data[0].title
    with pytest.raises(RobobenchError, match="data > base > title"):
        again(replace(kept, data=(replace(kept.data[0], title="ImageNet"),)))


def test_what_is_published_names_no_place_of_this_machine():
    prepared = PreparationEntry("p", "saliency.file", 1, {"path": "/home/me/maps"}, "/home/me/m.py:build")
    suite = replace(
        SUITE,
        data=(replace(SUITE.data[0], params={"path": "/data/val"}),),
        models=(ModelEntry("/home/me/m.py:build"),),
        preparations=(prepared,),
    )
    kept = record_of(resolved(TEXT, conv_model(10)), "c")
    kept = replace(
        kept,
        recipe=replace(kept.recipe, suite=suite, data="folder:/data/val"),
        models=(replace(kept.models[0], spec="/home/me/m.py:build?checkpoint=/home/me/w.pt"),),
    )
    shown = public(kept)
    assert "/home" not in repr(shown)
    assert "/data" not in repr(shown)
    assert shown.models[0].spec == "m.py:build?checkpoint=w.pt"


def test_a_module_in_memory_has_to_be_named_again():
    kept = record_of(resolved(TEXT, conv_model(10)), "c")
    with pytest.raises(ModelError, match="--model fake=SPEC"):
        again(kept)
    (entry,) = entries(kept, ["zoo:mixer"])  # the only model there is
    assert (entry.name, entry.spec, entry.trusted) == ("fake", "zoo:mixer", True)
    with pytest.raises(RobobenchError, match="models > fake > digest"):
        again(kept, models=[entry])


def test_a_baseline_keeps_the_recipe_too(tmp_path):
    from robobench.engine.record import to_json
    from robobench.store import Store

    found = resolved("conditions: []\n", conv_model(10), limit=5)
    carry_out(found, tmp_path / "results")
    store = Store.open(tmp_path / "results")
    kept = record_of(found, "c")
    kept = replace(kept, recipe=replace(kept.recipe, data="folder:/home/me/val"))
    store.put_run(kept.fingerprint, to_json(kept))
    write_baseline(store, kept, "fake", tmp_path / "fake.base")
    assert read_baseline(tmp_path / "fake.base").record.recipe.data == "folder:val"
