"""`robobench verify`: an honest result passes however it was computed, a false one is caught."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robobench import rowfiles
from robobench.checks.sample import chance
from robobench.checks.verify import verify
from robobench.checks.verify_plan import is_shared, sample
from robobench.cli.main import _run
from robobench.engine.record import record_of, to_json
from robobench.engine.resolve import cells, identify
from robobench.engine.verified import answers, standing_verification
from robobench.errors import StoreError
from robobench.leaderboard.build import build
from robobench.leaderboard.collect import collect, newest_run
from robobench.leaderboard.render import render
from robobench.leaderboard.render_json import from_json as board_from_json
from robobench.lossless import Kept
from robobench.store import Store
from robobench.suite.suite import ModelEntry
from tests.bench import ATTACKS, HEAD, carry_out, resolved
from tests.boards import HOSTILE
from tests.fakes import conv_model

SUITE = """lot: 16
conditions:
  - {use: occlusion.random, name: occlusion, with: {grid: 7}, ladder: {fraction: [0.3, 0.6]}}
  - {use: shuffle.grid, name: shuffle, ladder: {grid: [2x2, 4x4]}}
  - {compose: [{use: shuffle.grid, with: {grid: 2x2}}, {use: occlusion.random, with: {fraction: 0.5, grid: 7}}], worst_of: 2, name: both}
  - {use: gradient.fgsm, name: fgsm, ladder: {eps: [8/255, 24/255]}}
"""
N = 50  # images: 300 passive rows, 100 of attacks
SEED = 11


@cache
def vit():
    return identify(ModelEntry("zoo:vit"), allow_code=False).load("cpu")


def made(root, text=SUITE, model=None, limit=N, batch_size=16, name="fake", **options):
    """A results folder with its run recorded."""
    found = resolved(text, model or vit(), limit=limit, name=name)
    assert not carry_out(found, root, batch_size=batch_size, **options).failures
    record = record_of(found, "robobench run t")
    Store.open(root).put_run(record.fingerprint, to_json(record))
    return found


def verdict(found, root, fraction=0.05, seed=SEED, batch_size=64):
    record = newest_run(Store.open(root))
    (one,) = verify(
        record, found, Store.open(root), fraction=fraction, seed=seed, device="cpu", batch_size=batch_size
    )
    return one


def key(found, condition):
    return next(c.key for c in cells(found) if c.condition.name == condition)


def forge(root, change):
    """Rewrite every row file: `change` gets its columns as a data frame and changes them in place."""
    for path in Store.open(root).row_files():
        table = pq.read_table(path)
        frame = table.to_pandas()
        change(frame)
        new = pa.Table.from_pandas(frame, schema=table.schema.remove_metadata(), preserve_index=False)
        rowfiles.write(new.replace_schema_metadata(table.schema.metadata), path)


def rows_where(frame, condition, *, fooled=None):
    """The positions of rows of a condition, by name or by the beginning of it."""
    mine = frame.condition.astype(str).str.startswith(condition)
    if fooled is not None:
        mine &= frame.fooled == fooled if "fooled" in frame else False
    return np.flatnonzero(mine)


def turn(frame, rows):
    """A wrong answer becomes the right one, with numbers that fit."""
    for r in rows:
        right = frame.at[r, "label"]
        frame.loc[r, ["top1", "hit"]] = [right, 0]
        frame.loc[r, ["logp_top1", "logp_label", "logp_top2"]] = [-0.1, -0.1, -3.0]


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    root = tmp_path_factory.mktemp("honest")
    return made(root), root


@pytest.fixture
def copy(honest, tmp_path):
    """An honest folder to do something bad to."""
    root = tmp_path / "copy"
    shutil.copytree(honest[1], root)
    return honest[0], root


@pytest.mark.parametrize("batch_size", [7, 64])
def test_an_honest_result_passes_in_any_batch(honest, batch_size):
    one = verdict(*honest, batch_size=batch_size)
    assert one.found.passed, (one.disagreements, one.found.faults)
    assert (one.found.rows, one.found.searched) == (6 * N, 2 * N)
    assert one.found.chance >= 0.99
    assert one.found.chance == chance(6 * N, one.found.drawn)
    assert one.found.searched_drawn == 5
    assert one.found.same == 5


def test_every_row_holds_when_all_are_computed_again(honest):
    one = verdict(*honest, fraction=1.0)
    assert one.found.passed, (one.disagreements, one.found.faults)
    assert (one.found.drawn, one.found.searched_drawn) == (6 * N, 2 * N)
    assert one.found.same == 2 * N, "on one machine attacks take the same way"
    assert one.found.chance == 1.0


def test_one_false_answer_in_a_hundred_is_caught(copy):
    found, root = copy
    turned = []

    def change(frame):
        wrong = [
            r
            for r in rows_where(frame, "")
            if frame.at[r, "hit"] > 0 and "fgsm" not in frame.at[r, "condition"]
        ]
        chosen = wrong[:: max(1, len(wrong) // 3)][: 3 - len(turned)]
        turned.extend((frame.at[r, "condition"], frame.at[r, "image_id"]) for r in chosen)
        turn(frame, chosen)

    forge(root, change)
    assert len(turned) == 3, "one per cent of 300"
    whole = verdict(found, root, fraction=1.0)
    assert {(d.condition, d.image) for d in whole.disagreements} == set(turned)
    assert {d.fault.column for d in whole.disagreements} == {"top1"}
    assert all(d.fault.gap > d.fault.room for d in whole.disagreements)
    record, store = newest_run(Store.open(root)), Store.open(root)
    false = {(key(found, c), i) for c, i in turned}
    caught = []
    for seed in range(80):
        drawn = sample(record, record.models[0], found, store, 0.05, seed).drawn
        caught.append(any(i in drawn.get(cell, ()) for cell, i in false))
    assert np.mean(caught) >= 0.99 - 3 * np.sqrt(0.01 * 0.99 / len(caught))
    one = verdict(found, root, seed=caught.index(True))
    assert not one.found.passed
    assert 1 <= one.found.disagree <= 3


def every(frame, column, value):
    frame[column] = value


SLOW = {"sums of squares", "labels", "nothing known", "not finite", "outside the range", "another shape"}
FORGERIES = {
    "log-probabilities of the label": lambda f: every(f, "logp_label", np.minimum(f.logp_label + 0.01, 0)),
    "sums of squares": lambda f: every(f, "sum_p2", f.sum_p2 * 1.02),
    "labels": lambda f: every(f, "label", f.top1),
    "ranks": lambda f: every(f, "hit", 0),
    "nothing known": lambda f: every(f, "logp_top1", np.nan),
}


@pytest.mark.parametrize(
    "what", [pytest.param(w, marks=pytest.mark.slow) if w in SLOW else w for w in FORGERIES]
)
def test_other_columns_are_held_to_the_same(copy, what):
    found, root = copy
    forge(root, FORGERIES[what])
    one = verdict(found, root)
    assert not one.found.passed
    assert one.found.disagree > 10


def stand(frame, rows):
    """Fallen images that are claimed to stand, with everything that goes with it."""
    turn(frame, rows)
    frame.loc[rows, "fooled"] = False


def test_attacks_that_succeed_more_often_than_claimed_are_caught(copy):
    found, root = copy
    forge(root, lambda f: stand(f, rows_where(f, "fgsm", fooled=True)))
    one = verdict(found, root, fraction=0.5)
    assert not one.found.passed
    assert (one.disagreements, one.found.disagree) == ((), 0), "no row of them is false by itself"
    assert one.found.fell >= 7
    assert one.found.stood == 0
    assert one.counts.refuted
    assert "claimed to stand fell again" in one.found.faults[0]


def test_what_fell_at_a_smaller_budget_cannot_stand_at_a_larger_one(copy):
    found, root = copy
    forge(root, lambda f: stand(f, rows_where(f, "fgsm eps=24/255", fooled=True)[:3]))
    fallen = verdict(found, root).found.faults
    assert any("fell at the smaller budget" in text for text in fallen)


def test_images_that_are_wrong_without_any_attack_cannot_stand(copy):
    found, root = copy

    def change(frame):
        if "fooled" in frame:
            wrong = [
                r for r in rows_where(frame, "fgsm") if frame.at[r, "hit"] > 0 and not frame.at[r, "fooled"]
            ]
            turn(frame, wrong)

    forge(root, change)
    one = verdict(found, root, fraction=1.0)
    assert one.disagreements
    assert {(d.fault.claimed, d.fault.found) for d in one.disagreements} == {
        ("stands", "wrong before the attack")
    }


@pytest.mark.slow
def test_claimed_to_be_wrong_without_attack_and_is_right(copy):
    found, root = copy

    def change(frame):
        fallen = rows_where(frame, "fgsm", fooled=True)[:4]
        if len(fallen):
            frame.loc[fallen, "fooled"] = False

    forge(root, change)
    one = verdict(found, root, fraction=1.0)
    assert len(one.disagreements) == 4
    assert {d.fault.column for d in one.disagreements} == {"top1"}


@pytest.mark.slow
def test_rows_of_other_images_are_not_drawn_and_change_nothing(honest, tmp_path):
    found, root = made(tmp_path, limit=N + 10), tmp_path
    fewer = honest[0]
    record = record_of(fewer, "robobench run t")
    Store.open(root).put_run(record.fingerprint, to_json(record))
    one = verdict(fewer, root)
    assert one.found.passed
    assert one.found.rows == 6 * N
    who = record.models[0]
    assert one.found.answers == answers(record, who, Store.open(honest[1])), "one digest for the same rows"
    assert found.fingerprint != record.fingerprint


def test_a_record_that_names_the_rows_of_another_condition_is_refused(copy):
    found, root = copy
    record = newest_run(Store.open(root))
    who = record.models[0]
    better = {**who.cells, "occlusion fraction=0.6": who.cells["clean"]}
    record = replace(record, models=(replace(who, cells=better),))
    with pytest.raises(StoreError, match=r"under 'occlusion fraction=0\.6' are those of cell"):
        verify(record, found, Store.open(root), fraction=0.05, seed=1, device="cpu")


def test_other_weights_and_another_precision_are_faults(copy):
    found, root = copy
    for path in (root / "rows").glob("*.json"):
        said = json.loads(path.read_text())
        said["provenance"]["model"]["weights"] = "other"
        said["provenance"]["precision"] = "bfloat16"
        path.write_text(json.dumps(said))
    faults = verdict(found, root).found.faults
    assert any("its rows name other" in f for f in faults)
    assert any("float32; its rows name bfloat16" in f for f in faults)


@pytest.mark.slow
def test_images_left_out_as_undecodable_that_can_be_decoded(honest):
    found, root = honest
    base = found.data["base"]
    lost = replace(base, excluded={base.order[0]: "damaged, they say"})
    record = newest_run(Store.open(root))
    (one,) = verify(
        record, replace(found, data={**found.data, "base": lost}), Store.open(root), fraction=0.05, seed=1,
        device="cpu",
    )  # fmt: skip
    assert any("left out as undecodable, and can be decoded" in f for f in one.found.faults)


def test_what_cannot_be_computed_again_is_undecided(copy):
    found, root = copy

    def load(device):
        raise RuntimeError("the weights are gone")

    lost = replace(found, models=(replace(found.models[0], load=load),))
    one = verdict(lost, root)
    assert not one.found.passed
    assert not one.decided
    assert "the weights are gone" in one.open[0]


@pytest.mark.slow
def test_attacks_of_every_kind_and_whole_lots_repeat(tmp_path):
    found = made(tmp_path, text="lot: 8\n" + ATTACKS, model=conv_model(10), limit=45)
    one = verdict(found, tmp_path, fraction=0.2, batch_size=5)
    assert one.found.passed, (one.disagreements, one.found.faults)
    assert one.found.same == one.found.searched_drawn > 50


PREPARED = """lot: 8
preparations:
  own: {use: saliency.gradient, model: self}
  crafted: {use: gradient.mi_fgsm, with: {eps: 48/255, steps: 3}, model: self}
  other: {use: gradient.fgsm, with: {eps: 32/255}, model: "zoo:mixer"}
  everyone: {use: universal.perturbation, with: {eps: 32/255, epochs: 1}, model: self, skip: 100, limit: 32}
conditions:
  - {use: occlusion.salient, name: salient, with: {grid: 7, fraction: 0.4}, inputs: {saliency: own}}
  - {use: transfer.show, name: itself, inputs: {crafted: crafted, fooled: crafted}}
  - {use: transfer.show, name: mixer, inputs: {crafted: other, fooled: other}}
  - {use: universal.add, name: universal, inputs: {perturbation: everyone}}
"""


@pytest.mark.slow
def test_what_a_model_prepared_is_prepared_again(tmp_path):
    found = made(tmp_path, text=PREPARED, limit=20)
    one = verdict(found, tmp_path, fraction=0.5)
    assert one.found.passed, (one.disagreements, one.found.faults)
    assert (one.found.rows, one.found.searched) == (20, 80), "these rows are judged together"
    assert one.found.same == one.found.searched_drawn == 40

    shared = {c.condition.name: is_shared(c, found) for c in cells(found)}
    assert [n for n, yes in shared.items() if yes] == ["universal"]
    assert one.counts.standing <= 20 + 1, "images, and the one change of all"

    def change(frame):
        turn(frame, [r for r in rows_where(frame, "mixer") if frame.at[r, "hit"] > 0])
        turn(frame, [r for r in rows_where(frame, "itself") if frame.at[r, "hit"] > 0])

    forge(tmp_path, change)
    two = verdict(found, tmp_path, fraction=1.0)
    assert two.counts.refuted
    assert not two.disagreements


# kept images


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    root = tmp_path_factory.mktemp("kept")
    return made(root, keep="fallen"), root


@pytest.fixture
def kept_copy(kept, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(kept[1], root)
    return kept[0], root


def test_kept_images_are_judged(kept):
    one = verdict(*kept, fraction=1.0)
    assert one.found.passed, (one.disagreements, one.found.faults)
    rows = Store.open(kept[1]).rows([key(kept[0], f"fgsm eps={e}/255") for e in (8, 24)])
    assert one.pictures == sum(sum(t["fooled"].to_pylist()) for t in rows.values()) > 10


def repaint(root, paint):
    """Write every file of kept images again with other pixels; its digest is made to fit."""
    for path in (root / "images").rglob("*.safetensors"):
        old = Kept.from_file(path)
        path.write_bytes(Kept.of(old.ids, old.fell, paint(old.pixels(old.ids))).to_bytes())


def test_swapped_images_are_caught(kept_copy):
    found, root = kept_copy
    repaint(root, lambda pixels: pixels[::-1])
    one = verdict(found, root, fraction=0.4)
    assert not one.found.passed
    assert {d.fault.column for d in one.disagreements} == {"kept image"}


PAINTS = {
    "beyond the budget": lambda p: np.clip(p + 0.5 * np.sign(p - 0.5).astype(np.float32), 0, 1),
    "not finite": lambda p: np.where(np.arange(p.shape[-1]) == 0, np.nan, p).astype(np.float32),
    "outside the range": lambda p: p * 3 - 1,
    "another shape": lambda p: p[:, :, :-1],
    "hardly changed": lambda p: np.round(p * 255).astype(np.float32) / 255 * np.float32(0.999),
}


@pytest.mark.parametrize(
    "what", [pytest.param(w, marks=pytest.mark.slow) if w in SLOW else w for w in PAINTS]
)
def test_painted_images_are_caught(kept_copy, what):
    found, root = kept_copy
    repaint(root, PAINTS[what])
    one = verdict(found, root, fraction=0.4)
    assert not one.found.passed
    assert one.disagreements


@pytest.mark.slow
def test_a_damaged_file_is_a_fault_and_a_missing_one_leaves_the_statistics(kept_copy):
    found, root = kept_copy
    files = sorted((root / "images").rglob("*.safetensors"))
    files[0].write_bytes(files[0].read_bytes()[:-20])
    assert any("damaged" in f for f in verdict(found, root, fraction=1.0).found.faults)
    for path in files:
        path.unlink()
    one = verdict(found, root, fraction=1.0)
    assert one.found.passed
    assert one.pictures == 0


# what is written down, and the board


def note(found, root, **options):
    one = verdict(found, root, **options)
    Store.open(root).asides.put_verified(one.found.fingerprint, one.found.model, one.found.to_json())
    return one


def board_of(root):
    store = Store.open(root)
    return build(collect(newest_run(store), store), resamples=50)


def test_a_board_says_verified_until_a_row_changes(copy):
    found, root = copy
    plain = board_of(root)
    assert plain.entries[0].verified is None
    assert "erified" not in render(plain, "markdown")
    assert "erified" not in render(plain, "html").partition("</style>")[2]
    one = note(found, root)
    board = board_of(root)
    assert board.entries[0].verified.drawn == one.found.drawn
    assert "✓ verified" in render(board, "markdown")
    assert ", verified</span>" in render(board, "html")
    assert f"Seed {SEED}" in render(board, "html")
    assert render(board, "csv").splitlines()[1].endswith("verified")
    assert board_from_json(render(board, "json")).entries[0].verified == board.entries[0].verified
    assert "verified:" in render(board, "card")
    Store.open(root).compact()
    assert board_of(root).entries[0].verified is not None
    forge(root, lambda f: turn(f, [0]))
    assert board_of(root).entries[0].verified is None


@pytest.mark.slow
def test_joining_files_and_longer_runs_leave_a_verification_as_it_is(copy, monkeypatch):
    found, root = copy
    note(found, root)
    monkeypatch.setattr("robobench.store._COMPACT_ABOVE", 1)
    before = len(Store.open(root).row_files())
    Store.open(root).compact()
    assert len(Store.open(root).row_files()) < before
    assert board_of(root).entries[0].verified is not None
    carry_out(resolved(SUITE, vit(), limit=N + 5), root)
    assert board_of(root).entries[0].verified is not None, "more images are another protocol"


def test_a_failed_verification_is_a_warning_and_no_mark(copy):
    found, root = copy
    forge(root, lambda f: every(f, "sum_p2", f.sum_p2 * 1.02))
    note(found, root)
    entry = board_of(root).entries[0]
    assert entry.verified is None
    assert any("failed its verification" in flag and "are false" in flag for flag in entry.flags)


def test_a_verification_that_is_none_counts_as_none(copy):
    found, root = copy
    one = note(found, root)
    path = next((root / "verified").glob("*.json"))
    record, store = newest_run(Store.open(root)), Store.open(root)
    for content in ("", "[]", '{"passed": true}', '{"format": 1e999}', "null", "\x00", "[" * 9999):
        path.write_text(content)
        kept = store.asides.verified(record.fingerprint, record.models[0].digest)
        assert standing_verification(record, record.models[0], store, kept) is None, content
    other = one.found.to_json() | {"fingerprint": "f" * 20}
    path.write_text(json.dumps(other))
    assert board_of(root).entries[0].verified is None


def test_models_of_one_board_are_verified_or_claimed(tmp_path):
    two = made(tmp_path, limit=10, name="one")
    other = made(tmp_path, model=conv_model(10), limit=10, name="two")
    record = record_of(replace(two, models=(*two.models, *other.models)), "x")
    Store.open(tmp_path).put_run(record.fingerprint, to_json(record))
    (one,) = verify(
        replace(record, models=record.models[:1]),
        two,
        Store.open(tmp_path),
        fraction=0.05,
        seed=1,
        device="cpu",
    )
    Store.open(tmp_path).asides.put_verified(one.found.fingerprint, one.found.model, one.found.to_json())
    text = render(board_of(tmp_path), "markdown")
    assert "| ✓ verified |" in text
    assert "| claimed |" in text
    assert "Verified (1 of 2 models)" in text
    assert ", claimed</span>" in render(board_of(tmp_path), "html")


# the command


@pytest.fixture(scope="module")
def run_(tmp_path_factory):
    """A run of the command line: two models, six passive conditions and two of an attack on 12 digits."""
    place = tmp_path_factory.mktemp("cli")
    (place / "small.yaml").write_text(HEAD.replace("name: t", "name: small") + SUITE)
    out = place / "results"
    command = ["run", str(place / "small.yaml"), "--limit", "12", "-m", "zoo:vit", "-m", "R=zoo:resnet"]
    assert _run([*command, "-o", str(out)]) == 0
    return out


def test_the_command_verifies_and_writes_it_down(run_, capsys):
    out = run_
    assert _run(["verify", str(out), "--model", "zoo:vit", "-b", "5"]) == 0
    shown = capsys.readouterr().out
    assert "drawn with --seed" in shown
    assert "attack rows: all 2 as claimed" in shown
    assert len(list((out / "verified").glob("*.json"))) == 1
    assert _run(["verify", str(out), "--seed", "3", "--json", "--suite", "small"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["seed"] == 3
    assert [m["verdict"] for m in said["models"]] == ["passed", "passed"]
    assert {m["drawn"] for m in said["models"]} == {72}
    assert {m["rows"] for m in said["models"]} == {72}
    assert _run(["leaderboard", "-o", str(out), "-f", "markdown"]) == 0
    assert "Verified (2 of 2 models)" in capsys.readouterr().out


def test_the_command_fails_a_false_result(run_, tmp_path, capsys):
    root = tmp_path / "false"
    shutil.copytree(run_, root)
    forge(root, lambda f: every(f, "hit", 0))
    assert _run(["verify", str(root), "-m", "R=zoo:resnet"]) == 3
    told = capsys.readouterr()
    assert "FAIL" in told.out
    assert "hit is claimed 0, found" in told.err
    assert "apart, rounding explains" in told.err
    assert _run(["verify", str(root), "-m", "R", "--json"]) == 3
    said = json.loads(capsys.readouterr().out)["models"][0]
    assert said["verdict"] == "failed"
    assert len(said["disagreements"]) == said["disagree"] > 10


def test_mistakes_are_said(run_, capsys, tmp_path):
    out = str(run_)
    for words, sign in {
        ("verify", str(tmp_path)): "no results there",
        ("verify", out, "--fraction", "0"): "expected a share above 0",
        ("verify", out, "--fraction", "1.5"): "at most 1",
        ("verify", out, "--model", "zoo:vitt"): "did you mean 'zoo:vit'",
        ("verify", out, "--model", "R=zoo:vit"): "what the run of 'small' was made with",
        ("verify", out, "--suite", "smal"): "did you mean 'small'",
        ("verify", out, "--device", "cuda:77"): "not usable here",
        ("verify", out, "--sed", "1"): "no such option",
    }.items():
        assert _run(list(words)) == 2, words
        assert sign in capsys.readouterr().err, words


@pytest.mark.slow
def test_names_steer_nothing(run_, tmp_path, capsys):
    root = tmp_path / "hostile"
    shutil.copytree(run_, root)
    path = next((root / "runs").glob("*.json"))
    record = json.loads(path.read_text())
    name = f"=evil\x1b[31m{HOSTILE}"
    record["models"] = record["models"][:1]
    record["models"][0]["name"] = name
    path.write_text(json.dumps(record))
    forge(root, lambda f: every(f, "hit", 0))
    assert _run(["verify", str(root)]) == 3
    told = capsys.readouterr()
    assert "\x1b[31m<script>" not in told.out + told.err
    assert "\u202e" not in told.out + told.err
    assert _run(["verify", str(root), "--json"]) == 3
    capsys.readouterr()
    assert _run(["leaderboard", "-o", str(root), "-f", "html"]) == 0
    assert "<script>alert" not in capsys.readouterr().out


CODE = """
from pathlib import Path

import torch


def build():
    Path(__file__).with_suffix(".ran").touch()
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 28 * 28, 10))
"""


@pytest.mark.slow
def test_code_that_a_result_names_runs_only_when_allowed(tmp_path, capsys):
    suite, code, out = tmp_path / "s.yaml", tmp_path / "mine.py", tmp_path / "results"
    suite.write_text(HEAD + "conditions: [{use: shuffle.grid, name: shuffle, with: {grid: 2x2}}]\n")
    code.write_text(CODE)
    assert _run(["run", str(suite), "--limit", "8", "-m", f"mine={code}:build", "-o", str(out)]) == 0
    ran = code.with_suffix(".ran")
    ran.unlink()
    assert _run(["verify", str(out)]) == 2
    assert "--allow-code" in capsys.readouterr().err
    assert not ran.exists()
    assert _run(["verify", str(out), "--allow-code"]) == 0
    assert _run(["verify", str(out), "--model", f"mine={code}:build"]) == 0, "what is typed may run"
    assert ran.exists()
    code.write_text(CODE.replace("manual_seed(0)", "manual_seed(1)"))
    assert _run(["verify", str(out), "--allow-code"]) == 2
    assert "models > mine > digest" in capsys.readouterr().err
    code.unlink()
    assert _run(["verify", str(out), "--allow-code"]) == 2
    assert "mine.py" in capsys.readouterr().err
