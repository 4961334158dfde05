"""A run that is handed in: written whole, checked without data, repeated from its own record, told apart."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robobench import rowfiles
from robobench.api import run
from robobench.checks.rerun import repeats
from robobench.checks.submission import check
from robobench.checks.submit import submit
from robobench.cli.main import _run
from robobench.engine.recipe import again
from robobench.engine.record import to_json
from robobench.errors import BadParameter, ModelError, RobobenchError, StoreError, UnknownName
from robobench.leaderboard.collect import columns, newest_run
from robobench.store import Store
from robobench.suite.suite import ModelEntry

SUITE = """schema: 1
name: small
title: Small
data: {source: digits, path: mnist}
conditions:
  - {use: occlusion.random, name: occlusion, with: {grid: 7}, ladder: {fraction: [0.3, 0.7]}}
  - {use: gradient.fgsm, name: fgsm, ladder: {eps: [8/255, 24/255]}}
  - {compose: [{use: shuffle.grid, with: {grid: 2x2}}, {use: gradient.fgsm, with: {eps: 8/255}}], name: both}
  - {shift: {source: digits, path: uci}, name: uci}
metrics: [accuracy.top1, accuracy.top5]
"""
CODE = """import torch
from torch import nn
from robobench.registry import data

class Nearest(nn.Module):
    def __init__(self, scale):
        super().__init__()
        source = data.build("digits", {"path": "uci"})
        index = source.index()
        ids, labels = index.ids[:300], torch.tensor(index.labels[:300])
        images = torch.stack([torch.from_numpy(source.read(i).copy()).float() for i in ids]) / 255
        images = images.mean(-1) if images.ndim == 4 else images
        images = nn.functional.interpolate(images[:, None], size=28).flatten(1)
        means = torch.stack([images[labels == c].mean(0) for c in range(10)])
        self.means, self.scale = nn.Parameter(means, requires_grad=False), scale

    def forward(self, pixels):
        flat = pixels.mean(1).flatten(1)
        return -self.scale * (flat[:, None] - self.means).square().sum(-1)

def build(scale: float = 1.0):
    return Nearest(scale)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suite, a model file, and the results of a run, started from within."""
    root = tmp_path_factory.mktemp("place")
    (root / "small.yaml").write_text(SUITE)
    (root / "code.py").write_text(CODE)
    models = {"near": f"{root}/code.py:build", "mine": f"{root}/code.py:build?scale=0.2"}
    found = run(
        root / "small.yaml", models, limit=20, out=root / "results", device="cpu", keep_images="fallen"
    )
    assert found.complete
    return root


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """What is handed in of it."""
    store = Store.open(place / "results")
    record = newest_run(store)
    submit(store, record, place / "handed", columns(record))
    return place / "handed"


@pytest.fixture
def handed(whole: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(whole, tmp_path / "handed"))


SPECS = {"near": "code.py:build", "mine": "code.py:build?scale=0.2"}


def here(place: Path) -> list[ModelEntry]:
    """Where the models are on this machine."""
    return [ModelEntry(f"{place}/{spec}", name=name, trusted=True) for name, spec in SPECS.items()]


def rows_file(folder: Path) -> Path:
    (found,) = (folder / "rows").glob("*.parquet")
    return found


def run_file(folder: Path) -> Path:
    (found,) = (folder / "runs").glob("*.json")
    return found


def rewrite(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    path = rows_file(folder)
    rowfiles.write(change(pq.read_table(path)), path)


def at(folder: Path, model: str, condition: str) -> np.ndarray:
    """Where a cell's rows stand in the only file."""
    key = next(m for m in newest_run(Store.open(folder)).models if m.name == model).cells[condition]
    return np.flatnonzero(np.array(pq.read_table(rows_file(folder))["cell"].to_pylist()) == key)


def put(folder: Path, column: str, where: Any, new: Any) -> None:
    """Write other values into a column."""

    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_numpy().copy()
        values[where] = new(values[where]) if callable(new) else new
        place = table.column_names.index(column)
        return table.set_column(place, column, pa.array(values, table[column].type, from_pandas=True))

    rewrite(folder, change)


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def said(folder: Path) -> str:
    return "\n".join(str(p) for p in check(folder).errors)


def test_what_is_handed_in_has_every_row_and_is_found_to_be_in_order(place, whole):
    report = check(whole)
    assert report.errors == ()
    assert [p.got for p in report.problems] == [
        f"{s}: needs --allow-code and the file" for s in SPECS.values()
    ]
    assert report.rows == 2 * 7 * 20
    assert (report.keys.computed, report.keys.all) == (14, 14)
    one, two = (Store.open(f) for f in (place / "results", whole))
    record = newest_run(two)
    assert record.fingerprint == newest_run(one).fingerprint
    assert all(r.images == 20 and not (r.other or r.alone) and r.logp == 0 for r in repeats(record, one, two))


def test_it_travels_without_the_machine(place, whole):
    for path in whole.rglob("*.json"):
        assert str(place) not in path.read_text()
    assert [m.spec for m in newest_run(Store.open(whole)).models] == [
        "code.py:build",
        "code.py:build?scale=0.2",
    ]
    assert newest_run(Store.open(place / "results")).models[0].spec == f"{place}/code.py:build"
    assert {p.name for p in whole.iterdir()} <= {
        "robobench.json", "cells.json", "rows", "runs", "images", "gallery", "speed"
    }  # fmt: skip
    kept = {p.name for p in whole.rglob("*.safetensors")}
    assert kept == {p.name for p in (place / "results").rglob("*.safetensors")}
    assert kept


def test_one_model_alone(place, tmp_path, capsys):
    arguments = ["submit", "--out", str(place / "results"), "--to", str(tmp_path / "one"), "--model", "mine"]
    assert _run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 7 * 20
    assert _run(["submit", "--check", str(tmp_path / "one"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == ["mine"]
    assert _run(arguments) == 2
    assert "there is something already" in capsys.readouterr().err
    assert _run([*arguments[:-1], "nine"]) == 2
    assert "did you mean 'mine'?" in capsys.readouterr().err
    assert _run(["submit"]) == 2


def test_a_run_that_is_not_finished_is_not_handed_in(handed, tmp_path):
    rewrite(handed, lambda table: table.slice(1))
    store = Store.open(handed)
    with pytest.raises(StoreError, match=r"19 of 20 rows"):
        submit(store, newest_run(store), tmp_path / "half", columns(newest_run(store)))
    assert list(tmp_path.iterdir()) == [handed]


def flipped(values: np.ndarray) -> np.ndarray:
    return ~values.astype(bool)


ROWS = [
    ("label", "clean", lambda v: (v + 1) % 10, "the label that other rows give the image"),
    ("top1", "clean", lambda v: (v + 1) % 10, "as hit the place of the label"),
    ("top1", "clean", -1, "no rank without an answer"),
    ("top2", "clean", 10, "the best 5 of 10 classes"),
    ("hit", "clean", lambda v: v + 1, "as hit the place of the label"),
    ("hit", "clean", 11, "as hit a number of classes"),
    ("hit", "clean", -2, "as hit a number of classes"),
    ("logp_top1", "clean", 0.5, "log-probabilities of at most 0"),
    ("logp_top1", "clean", np.nan, "probabilities just where there is an answer"),
    ("logp_top1", "occlusion fraction=0.3", -3.0, "the best class to be one"),
    ("logp_top2", "clean", -0.0001, "probabilities that add up to at most 1"),
    ("logp_label", "clean", -5.0, "the label's probability to go with its rank"),
    ("sum_p2", "clean", 1.1, "a sum of squares"),
    ("sum_p2", "clean", 0.0, "a sum of squares"),
    ("fooled", "fgsm eps=24/255", flipped, "to have"),
    ("linf", "fgsm eps=8/255", 9 / 255, "linf of at most 0.0313725, the budget"),
    ("linf", "fgsm eps=8/255", np.nan, "a length linf of at least 0"),
    ("l2", "fgsm eps=8/255", -1.0, "a length l2 of at least 0"),
    ("inherited", "fgsm eps=24/255", True, "what a smaller budget felled"),
]


@pytest.mark.parametrize(("column", "condition", "new", "expected"), ROWS)
def test_a_row_that_cannot_be_true_is_found(handed, column, condition, new, expected):
    rows = at(handed, "near", condition)
    hit = pq.read_table(rows_file(handed))["hit"].to_numpy()[rows]
    right = rows[hit == 0] if (hit == 0).any() else rows
    put(handed, column, right[:1], new)
    assert expected in said(handed)
    assert "near" in said(handed)


def test_an_attack_that_is_said_to_have_failed_more_often_is_found(handed):
    """Fallen rows that take over the clean answer: each by itself is possible, beside the others it is not."""
    clean, low, high = (at(handed, "near", c) for c in ("clean", "fgsm eps=8/255", "fgsm eps=24/255"))
    table = pq.read_table(rows_file(handed)).to_pandas()
    fell = table.iloc[low].set_index("image_id")["fooled"]
    image = fell[fell].index[0]
    source = next(r for r in clean if table["image_id"][r] == image)
    target = next(r for r in low if table["image_id"][r] == image)
    for column in (
        "top1",
        "top2",
        "top3",
        "top4",
        "top5",
        "hit",
        "logp_top1",
        "logp_top2",
        "logp_label",
        "sum_p2",
    ):
        put(handed, column, [target], table[column][source])
    for column in ("fooled", "fooled_8bit"):
        put(handed, column, [target], False)
    assert "to have fallen where the rows say so" in said(handed)  # its image was kept
    shutil.rmtree(handed / "images")
    (sidecar,) = (handed / "rows").glob("*.json")
    edit(sidecar, lambda records: [{k: v for k, v in r.items() if k != "kept"} for r in records])
    assert said(handed) == ""  # at the smallest budget nothing speaks against it: that is for `verify`
    target = next(r for r in high if table["image_id"][r] == image)
    for column in (
        "top1",
        "top2",
        "top3",
        "top4",
        "top5",
        "hit",
        "logp_top1",
        "logp_top2",
        "logp_label",
        "sum_p2",
    ):
        put(handed, column, [target], table[column][source])
    for column in ("fooled", "fooled_8bit", "inherited"):
        put(handed, column, [target], False)
    put(handed, "fooled", [next(r for r in low if table["image_id"][r] == image)], True)
    assert "an image that fell to have a wrong answer" in said(handed)


def test_an_image_that_was_right_and_is_said_to_have_been_wrong_before(handed):
    clean, low = (at(handed, "near", c) for c in ("clean", "fgsm eps=8/255"))
    table = pq.read_table(rows_file(handed)).to_pandas()
    right = set(table["image_id"][clean][table["hit"][clean] == 0])
    target = next(r for r in low if table["fooled"][r] and table["image_id"][r] in right)
    put(handed, "fooled", [target], False)
    for column in ("linf", "l2"):
        put(handed, column, [target], 0.0)
    assert "just the images with a right clean answer to be attacked" in said(handed)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t.slice(1), "1 missing"),
        (lambda t: pa.concat_tables([t, t.slice(0, 1)]), "an image twice"),
        (lambda t: t.set_column(t.column_names.index("image_id"), "image_id",
                                pa.array(["stranger", *t["image_id"].to_pylist()[1:]])), "1 others, as 'stranger'"),
        (lambda t: t.set_column(t.column_names.index("cell"), "cell",
                                pa.array(["0" * 20, *t["cell"].to_pylist()[1:]]).dictionary_encode()),
         "cells of the run only"),
        (lambda t: t.drop_columns(["sum_p2"]), "the column sum_p2"),
        (lambda t: t.drop_columns(["image_id"]), "expected the columns cell and image_id"),
        (lambda t: t.append_column("evil", pa.array(["=cmd()"] * t.num_rows)), "a known column"),
        (lambda t: t.set_column(t.column_names.index("hit"), "hit", t["hit"].cast(pa.float64())), "a known column"),
        (lambda t: t.set_column(t.column_names.index("image_id"), "image_id",
                                pa.array([None, *t["image_id"].to_pylist()[1:]])), "without a cell or an image"),
        (lambda t: t.replace_schema_metadata({rowfiles.REPLACES: b"{"}), "which files it stands for"),
    ],
)  # fmt: skip
def test_rows_that_are_not_those_of_the_run_are_found(handed, change, expected):
    rewrite(handed, change)
    assert expected in said(handed)


FILES: list[tuple[str, Callable[[Path], object], str]] = [
    ("a damaged row file", lambda f: rows_file(f).write_bytes(rows_file(f).read_bytes()[:-100]), "damaged"),
    ("an empty row file", lambda f: rows_file(f).write_bytes(b""), "damaged"),
    ("no record of what made rows", lambda f: rows_file(f).with_suffix(".json").unlink(), "beside it"),
    ("a foreign file", lambda f: (f / "evil.sh").write_text("rm"), "only files of a results folder"),
    ("a foreign name", lambda f: (f / "rows" / "a b.json").write_text("{}"), "only files of a results folder"),
    ("a link to a file", lambda f: (f / "rows" / "x.json").symlink_to("/etc/passwd"), "a link"),
    ("a link to a folder", lambda f: (f / "speed").symlink_to("/etc"), "a link"),
    ("a pipe", lambda f: os.mkfifo(f / "rows" / "x.json"), "only files of a results folder"),
    ("no run", lambda f: run_file(f).unlink(), "none that can be read"),
    ("a run under another name", lambda f: run_file(f).rename(f / "runs" / "x.json"), "the fingerprint in its name"),
    ("JSON without end", lambda f: run_file(f).write_text("[" * 100_000), "cannot be read as JSON"),
    ("JSON that is none", lambda f: run_file(f).write_text("{"), "cannot be read as JSON"),
    ("a number that is none", lambda f: (f / "speed").mkdir() or (f / "speed" / "m.json").write_text("[NaN]"), "NaN"),
    ("a lost image file", lambda f: next(f.rglob("*.safetensors")).unlink(), "a file of attacked images"),
    ("a damaged image file",
     lambda f: next(f.rglob("*.safetensors")).write_bytes(b"x" * 200), "damaged"),
    ("an image file of nobody", lambda f: shutil.copy(
        next(f.rglob("*.safetensors")), next(f.rglob("*.safetensors")).with_name("x.safetensors")), "a record that names"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), [f[1:] for f in FILES], ids=[f[0] for f in FILES])
def test_a_file_that_is_not_as_robobench_writes_it_is_found(handed, change, expected):
    change(handed)
    assert expected in said(handed)


def test_its_own_verification_does_not_count(handed):
    (handed / "verified").mkdir()
    (handed / "verified" / "x.json").write_text("anything")
    (found,) = [p for p in check(handed).problems if "--allow-code" not in p.got]
    assert (found.warning, found.where) == (True, "verified/")


def maker(key: str, new: Any) -> Callable[[Path], None]:
    """Change one field of what made the rows of one record."""

    def change(folder: Path) -> None:
        (sidecar,) = (folder / "rows").glob("*.json")

        def inside(records: Any) -> None:
            *parents, last = key.split(".")
            target = records[0]
            for name in parents:
                target = target[name]
            target[last] = new

        edit(sidecar, inside)

    return change


def record(key: str, new: Any) -> Callable[[Path], None]:
    """Change one field of the run."""

    def change(folder: Path) -> None:
        def inside(content: Any) -> None:
            *parents, last = key.split(".")
            target = content
            for name in parents:
                target = target[int(name) if name.isdigit() else name]
            where = int(last) if last.isdigit() else last
            target[where] = new(target[where]) if callable(new) else new

        edit(run_file(folder), inside)

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (maker("provenance.model.weights", "other"), "one digest of its weights"),
        (maker("provenance.versions", {}), "the version of torch"),
        (maker("provenance.time", "yesterday"), "a time (ISO 8601) that has been"),
        (maker("provenance.time", "2999-01-01T00:00:00+00:00"), "a time (ISO 8601) that has been"),
        (maker("provenance.precision", "bfloat16"), "float32"),
        (maker("provenance.seed", 1), "expected 0, got 1"),
        (maker("provenance.data.revision", "other"), "a revision of the run's data"),
        (maker("provenance.hardware", ""), "what it ran on"),
        (maker("provenance.data.title", "folder:/home/me/val"), "no absolute path"),
        (maker("provenance.host", "my-laptop"), "'host' is unknown"),
        (maker("provenance.model.digest", 5), "expected str, got int"),
        (maker("kept", {"../../x": "y.safetensors"}), "no name of a cell or a file"),
        (maker("kept", {"x": "../../../y.safetensors"}), "no name of a cell or a file"),
        (maker("cells", []), "what made every cell"),
    ],
)
def test_what_made_the_rows_is_looked_at(handed, change, expected):
    change(handed)
    assert expected in said(handed)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (record("seed", 1), "run: seed"),
        (record("recipe.suite.seed", 1), "run: seed"),
        (record("lot", 64), "run: lot"),
        (record("metrics", ["accuracy.top1"]), "run: metrics"),
        (record("score.formula", "max"), "run: score"),
        (record("title", "Better"), "run: title"),
        (record("suite", "other"), "run: suite"),
        (record("suite_digest", "d" * 20), "run: suite_digest"),
        (record("fingerprint", "evil"), "the fingerprint in its name"),
        (record("fingerprint", "../../evil"), "run.fingerprint: expected a key, got '../../evil'"),
        (record("models.0.cells.clean", "../../evil"), "expected a key, got '../../evil'"),
        (record("data.0.revision", "../../evil"), "run.data[0].revision: expected a key"),
        (record("conditions.1.steps.0.params.fraction", 0.1), "what its suite says"),
        (record("conditions", lambda c: c[:-1]), "a cell for each condition"),
        (
            record("conditions", lambda c: [*c, {**c[1], "name": "x", "companion": True}]),
            "untouched images beside a shift",
        ),
        (record("data.0.identity", "d" * 20), "run: fingerprint"),
        (record("data.0.order", lambda o: o[:-1]), "run: fingerprint"),
        (record("data.0.order", lambda o: o + o[:1]), "every image once"),
        (record("data.0.excluded", ["nobody"]), "excluded images to be among its own"),
        (record("data.0.classes", 5), "labels of 5 classes"),
        (record("recipe", None), "a recipe"),
        (record("recipe.limit", 10), "at most 10 images"),
        (record("models.0.digest", "d" * 20), "the cell"),
        (record("models.0.cells.clean", "d" * 20), "expected the cell"),
        (record("models.0.name", "mine"), "'mine' twice"),
        (record("models.0.name", "../mine"), "run: model 1: expected a name without '/'"),
        (record("models.0.name", "mine\u202e"), "run: model 1: expected no control characters"),
        (record("suite", "a/b"), "run: suite: expected a name without '/'"),
        (
            record("models.0.stopped", {"base": {"images": 10, "precision": 0.1, "rule": "r"}}),
            "to have stopped",
        ),
        (record("recipe.suite.conditions.1.steps.0.name", "occlusion.evil"), "did you mean"),
        (record("recipe.suite.conditions.1.steps.0.name", "os.system"), "unknown perturbation"),
        (record("recipe.suite.conditions.1.steps.0.version", 99), "version 99"),
        (record("recipe.suite.conditions.1.steps.0.params.fraction", 7), "fraction"),
        (record("recipe.suite.conditions.1.steps.0.params.more", 7), "unknown parameter 'more'"),
        (record("recipe.suite.data.0.source", "evil"), "unknown data source"),
        (record("recipe.suite.metrics.0", "evil"), "unknown metric"),
        (record("recipe.data", "folder:/data/val"), "no absolute path"),
        (record("command", "robobench run x --data folder:/home/me/x"), "no absolute path"),
    ],
)
def test_a_protocol_that_does_not_hold_together_is_found(handed, change, expected):
    change(handed)
    assert expected in said(handed)


def test_another_order_than_that_of_the_seed_is_found(handed):
    store = Store.open(handed)
    kept = newest_run(store)
    base = replace(kept.data[0], order=kept.data[0].order[::-1])
    turned = replace(kept, data=(base, *kept.data[1:]))
    turned = replace(turned, fingerprint=turned.protocol)
    run_file(handed).unlink()
    store.put_run(turned.fingerprint, to_json(turned))
    assert said(handed) == "data 'base': expected the order of seed 0, classes in turn, got another one"


def test_a_declared_accuracy_far_from_the_measured_one_is_a_warning(handed):
    record("models.0.clean_accuracy", 0.999)(handed)
    found, *rest = [p for p in check(handed).problems if "--allow-code" not in p.got]
    assert found.warning
    assert not rest
    assert "99.9% right on clean images" in found.expected


def test_a_suite_that_is_called_like_a_shipped_one_is_a_warning(handed):
    record("suite", "quickstart")(handed)
    record("recipe.suite.name", "quickstart")(handed)
    assert any(
        "the suite 'quickstart' as it is here" in p.expected for p in check(handed).problems if p.warning
    )


def test_a_damaged_run_is_named_by_its_file(handed):
    record("recipe.suite", 5)(handed)
    with pytest.raises(
        StoreError, match=rf"{run_file(handed).name}: run\.recipe\.suite: expected dict, got int"
    ):
        newest_run(Store.open(handed))


def test_the_command_says_what_is_wrong_and_leaves_with_3(handed, capsys):
    assert _run(["submit", "--check", str(handed)]) == 0
    assert "0 errors, 2 warnings" in capsys.readouterr().out
    record("title", "\x1b[31m[bold]evil")(handed)
    assert _run(["submit", "--check", str(handed)]) == 3
    out = capsys.readouterr().out
    assert "1 error" in out
    assert "\x1b[31m" not in out
    assert _run(["submit", "--check", str(handed), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["errors"][0]["where"] == "run: title"


def test_a_run_is_resolved_again_from_its_record(place, whole):
    kept = newest_run(Store.open(place / "results"))
    found = again(kept, allow_code=True)
    assert found.fingerprint == kept.fingerprint
    handed_in = newest_run(Store.open(whole))
    with pytest.raises(ModelError, match="--allow-code"):
        again(kept)
    assert again(handed_in, models=here(place)).fingerprint == kept.fingerprint


def test_another_model_or_other_data_under_the_name_are_refused(place, whole, tmp_path):
    kept = newest_run(Store.open(whole))
    (tmp_path / "code.py").write_text(CODE + "# other\n")
    with pytest.raises(RobobenchError, match="models > near > digest"):
        again(kept, models=here(tmp_path))
    with pytest.raises(RobobenchError, match="data > base > revision"):
        again(kept, models=here(place), data="digits:uci")
    with pytest.raises(UnknownName, match="did you mean 'mine'"):
        again(kept, models=[ModelEntry("zoo:vit", name="mien")])


@pytest.mark.parametrize(
    "change",
    [
        maker("kept", {"../../x": "y.safetensors"}),
        maker("kept", {"x": "../../../y.safetensors"}),
        maker("kept", ["x"]),
        record("models.0.cells.clean", "../../evil"),
        record("data.0.revision", "../../evil"),
    ],
)
def test_a_folder_whose_names_lead_out_is_not_handed_on(handed, change, tmp_path):
    change(handed)
    before = sorted(tmp_path.rglob("*"))

    def hand_on() -> None:
        store = Store.open(handed)
        kept = newest_run(store)
        submit(store, kept, tmp_path / "to", columns(kept))

    with pytest.raises(StoreError, match=r"no name of a cell|expected a key|does not say what made"):
        hand_on()
    assert sorted(tmp_path.rglob("*")) == before


def test_hostile_recipes_run_nothing(whole, handed):
    record("recipe.suite.conditions.1.steps.0.params.grid", "evil")(handed)
    with pytest.raises(BadParameter, match="grid"):
        again(newest_run(Store.open(handed)), allow_code=True)
    record("recipe", None)(handed)
    with pytest.raises(RobobenchError, match="keeps no recipe"):
        again(newest_run(Store.open(handed)))


def test_a_rerun_gives_the_same_rows_and_says_where_they_were_changed(place, handed, tmp_path, capsys):
    code = [part for name, spec in SPECS.items() for part in ("--model", f"{name}={place}/{spec}")]
    arguments = ["rerun", str(handed), "--out", str(tmp_path / "again"), *code, "--batch-size", "7"]
    assert _run([*arguments, "--device", "cpu"]) == 0
    assert "0 of 280 answers differ" in capsys.readouterr().out
    put(handed, "top1", at(handed, "mine", "clean")[:3], lambda v: (v + 1) % 10)
    assert _run([*arguments, "--device", "cpu", "--json"]) == 2
    assert "rows there would not be computed" in capsys.readouterr().err
    assert _run([*arguments, "--device", "cpu", "--json", "--resume"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["other"], found["images"], found["computed"], found["same"]) == (3, 280, 0, False)
    assert found["before"] == 280
    assert [(c["model"], c["condition"]) for c in found["cells"] if not c["same"]] == [("mine", "clean")]
    assert _run(["rerun", str(handed), "--out", str(handed), *code, "--resume"]) == 2
    assert "is the result itself" in capsys.readouterr().err
    assert _run(["rerun", str(handed), "--model", "zoo:vit"]) == 2
    assert "expected NAME=SPEC" in capsys.readouterr().err
    shutil.copytree(handed, f"{handed}-again")
    assert _run(["rerun", str(handed), *code]) == 2, "a folder that came along is not believed"
    assert "rows there would not be computed" in capsys.readouterr().err


def test_two_results_side_by_side(place, whole, tmp_path, capsys):
    assert _run(["diff", str(place / "results"), str(whole)]) == 0
    assert "one protocol" in capsys.readouterr().out
    other = run(
        place / "small.yaml",
        {"mine": f"{place}/{SPECS['mine']}"},
        limit=12,
        out=tmp_path / "other",
        device="cpu",
    )
    assert _run(["leaderboard", "--out", str(tmp_path / "other"), "--to", str(tmp_path / "board")]) == 0
    assert (
        _run(["baseline", "mine", "--out", str(tmp_path / "other"), "--to", str(tmp_path / "mine.base")]) == 0
    )
    capsys.readouterr()
    assert _run(["diff", str(whole), str(tmp_path / "other"), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    apart = [d["field"] for d in found["differences"] if d["protocol"]]
    assert apart == ["data > base > images", "data > uci > images"]
    assert found["scores"] == []
    for same in ("board", "board/leaderboard.json", "mine.base"):
        assert _run(["diff", str(tmp_path / "other"), str(tmp_path / same), "--json"]) == 0
        pairs = json.loads(capsys.readouterr().out)["scores"]
        assert [p["model"] for p in pairs] == ["mine"]
        assert pairs[0]["first"]["value"] == pytest.approx(pairs[0]["second"]["value"])
    assert _run(["diff", str(whole), str(tmp_path / "board")]) == 3
    assert "data > base > images" in capsys.readouterr().out
    assert _run(["diff", str(whole), str(tmp_path / "nothing")]) == 2
    assert "expected a results folder" in capsys.readouterr().err
    assert other.complete


def test_a_published_board_is_read_from_its_data(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "board" / "results")
    assert _run(["diff", str(whole), str(tmp_path / "board")]) == 0
    assert "one protocol" in capsys.readouterr().out
