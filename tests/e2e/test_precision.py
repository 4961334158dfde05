"""`run --precision`: ends early where it may, the same however often it is interrupted, and goes on from there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import robobench
from robobench.cli.main import _run
from robobench.engine import local
from robobench.engine import plan as planning
from robobench.engine.record import from_json, to_json
from robobench.errors import RobobenchError
from robobench.sequential import reach
from robobench.store import Store
from tests.known import Known, make_images, write_suite

ALL = 2000
P = 0.05


@pytest.fixture(scope="module", autouse=True)
def _short_items():
    """Work items of 96 images: many borders on few images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "ITEM_PASSES", 300)
        yield


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    root = tmp_path_factory.mktemp("known")
    return write_suite(root / "known.yaml", make_images(root / "images", ALL // 10))


def run(suite, out, share=0.95, precision=P, **options):
    return robobench.run(suite, {"m": Known(share)}, out=out, precision=precision, device="cpu", **options)


def stop(results):
    (model,) = results.record.models
    return model.stopped.get("base")


def answers(results):
    """Rows in one order, without what names a run."""
    rows = results.rows.sort_values(["condition", "image_id"], ignore_index=True)
    return rows[["condition", "image_id", "label", "top1", "hit"]]


@pytest.fixture(scope="module")
def once(suite, tmp_path_factory):
    return run(suite, tmp_path_factory.mktemp("once"))


def test_a_run_ends_at_the_first_border_where_all_its_cells_are_known(once):
    found = stop(once)
    assert found is not None
    assert found.precision == P
    assert 300 < found.images < 0.6 * ALL
    rows = once.rows
    order = once.record.data[0].order
    assert set(rows.image_id) == set(order[: found.images])
    counts = rows.groupby("condition").hit.agg([lambda h: (h == 0).sum(), "size"])
    assert counts["size"]["fgsm"] == 128, "a cell with a limit of its own has all its images"
    for name in ("clean", "occlusion fraction=0.25", "occlusion fraction=0.5"):
        right, n = counts.loc[name]
        assert n == found.images
        assert reach(right, n) <= P
    hits = {c: part.set_index("image_id").hit == 0 for c, part in rows.groupby("condition") if c != "fgsm"}
    for border in range(96, found.images, 96):
        off = [float(reach(h.loc[list(order[:border])].sum(), border)) for h in hits.values()]
        assert max(off) > P, "no earlier border would have done"
    assert found.images % 96 == 0


def test_what_was_measured_is_what_is_true_to_that_precision(once):
    for score in once.scores.itertuples():
        true = 0.95 - {"occlusion fraction=0.25": 0.125, "occlusion fraction=0.5": 0.25}.get(
            score.condition, 0
        )
        if score.condition != "fgsm":
            assert abs(score.value - true) < P


def test_the_same_command_again_computes_nothing(suite, once):
    again = run(suite, once.store.root)
    assert again.outcome.rows == 0
    assert not again.planned.items
    assert again.record.models == once.record.models


@pytest.mark.parametrize("at", [1, 3, 4])
def test_an_interrupted_run_ends_where_an_undisturbed_one_does(suite, once, tmp_path, monkeypatch, at):
    commit, left = local.Local._commit, [at]

    def struck(self, *args):
        commit(self, *args)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(local.Local, "_commit", struck)
    first = run(suite, tmp_path)
    assert first.outcome.interrupted
    monkeypatch.undo()
    second = run(suite, tmp_path)
    assert first.outcome.rows + second.outcome.rows == once.outcome.rows
    assert second.record.models == once.record.models
    assert answers(second).equals(answers(once))
    assert run(suite, tmp_path).outcome.rows == 0, "a third time it computes nothing"


def test_a_killed_run_ends_there_too(suite, once, tmp_path):
    """SIGKILL between two items, in a process of its own."""
    code = (
        "import os, signal, sys, robobench\n"
        "from robobench.engine import local, plan\n"
        "from tests.known import Known\n"
        "plan.ITEM_PASSES, commit, left = 300, local.Local._commit, [5]\n"
        "def struck(self, *args):\n"
        "    left[0] -= 1\n"
        "    left[0] or os.kill(os.getpid(), signal.SIGKILL)\n"
        "    commit(self, *args)\n"
        "local.Local._commit = struck\n"
        "robobench.run(sys.argv[1], {'m': Known(0.95)}, out=sys.argv[2], precision=float(sys.argv[3]), device='cpu')\n"
    )
    command = [sys.executable, "-c", code, str(suite), str(tmp_path), str(P)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], timeout=120, check=False).returncode
    assert killed == -signal.SIGKILL
    results = run(suite, tmp_path)
    assert 0 < results.outcome.rows < once.outcome.rows
    assert results.record.models == once.record.models
    assert answers(results).equals(answers(once))
    assert run(suite, tmp_path).outcome.rows == 0


def test_a_smaller_precision_goes_on_and_so_does_none(suite, once, tmp_path):
    wide = run(suite, tmp_path, precision=0.08)
    before, n = wide.outcome.rows, stop(wide).images
    assert n < stop(once).images
    narrow = run(suite, tmp_path)
    assert before + narrow.outcome.rows == once.outcome.rows, "nothing is computed twice"
    assert answers(narrow).equals(answers(once))
    assert narrow.record.models == once.record.models
    whole = run(suite, tmp_path, precision=None)
    assert stop(whole) is None
    assert whole.outcome.rows == 3 * (ALL - stop(once).images)
    assert whole.record.fingerprint == once.record.fingerprint, "they are the same rows"
    back = run(suite, tmp_path, precision=0.08)
    assert back.outcome.rows == 0
    assert stop(back).images == n, "the rule looks at rows in their order, whatever is there behind them"


def test_what_does_not_get_narrow_runs_to_the_end_and_is_complete(suite, tmp_path):
    results = run(suite, tmp_path, precision=0.004)
    assert stop(results) is None
    assert len(results.rows) == 3 * ALL + 128
    assert results.leaderboard.entries[0].rank == (1, 1)


def test_models_that_stop_apart_stand_on_one_board(suite, once, tmp_path, capsys):
    """Each with its own images; compared on the common ones; said in every format."""
    results = robobench.run(
        suite, {"m": Known(0.95), "easy": Known(0.995)}, out=tmp_path, precision=P, device="cpu"
    )
    ends = {m.name: m.stopped["base"].images for m in results.record.models}
    assert ends["m"] == stop(once).images > ends["easy"]
    board = results.leaderboard
    assert [e.name for e in board.entries] == ["easy", "m"]
    for entry in board.entries:
        assert not entry.missing
        assert entry.cells["clean"].expected == entry.cells["clean"].scores[0].n == ends[entry.name]
        assert any(f"stopped at n = {ends[entry.name]:,} of {ALL:,} images" in f for f in entry.flags)
    assert results.rows.groupby("model").image_id.nunique().to_dict() == ends
    for format_ in ("markdown", "html", "table"):
        assert _run(["leaderboard", "-o", str(tmp_path), "-f", format_]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert f"{ends['m']:,} of {ALL:,} images" in shown
    sql = "select model, count(distinct image_id) n from rows group by model"
    assert _run(["query", sql, "-o", str(tmp_path), "--json"]) == 0
    assert {r["model"]: r["n"] for r in json.loads(capsys.readouterr().out)} == ends
    more = robobench.run(suite, {"easy": Known(0.995)}, out=tmp_path, device="cpu")
    assert {m.name: "base" in m.stopped for m in more.record.models} == {"m": True, "easy": False}
    assert not any(e.missing for e in more.leaderboard.entries), "m keeps its own n beside a whole model"


def test_what_a_model_cannot_do_is_not_waited_for(suite, tmp_path, monkeypatch):
    from robobench.engine import sweep
    from robobench.errors import Unsupported

    answer = sweep._answer

    def refuse(work, model, cell, *args, **more):
        if cell.condition.name == "occlusion fraction=0.5":
            raise Unsupported("cannot be occluded so much")
        return answer(work, model, cell, *args, **more)

    monkeypatch.setattr(sweep, "_answer", refuse)
    first = run(suite, tmp_path)
    assert stop(first).images < ALL
    again = run(suite, tmp_path)
    assert (again.outcome.rows, stop(again)) == (0, stop(first))


def test_the_record_comes_back_and_old_ones_are_read(once):
    content = json.loads(json.dumps(to_json(once.record)))
    assert from_json(content).models == once.record.models
    assert content["models"][0]["stopped"]["base"]["rule"].startswith("confidence sequence, 95 %")
    for model in content["models"]:
        del model["stopped"]
    assert all(m.stopped == {} for m in from_json(content).models)


def test_plan_knows_where_a_run_has_ended_and_where_one_may(suite, once, tmp_path, capsys):
    import torch

    factory = tmp_path / "known_factory.py"
    factory.write_text("from tests.known import Known\n\ndef build():\n    return Known(0.95)\n")
    command = [
        str(suite),
        "-m",
        f"m={factory}:build",
        "-o",
        str(tmp_path / "r"),
        "--precision",
        str(P),
        "--json",
    ]
    torch.manual_seed(0)
    assert _run(["plan", *command, "--difference", "0.03"]) == 0
    before = json.loads(capsys.readouterr().out)
    clean, *_, fgsm = before["cells"]
    assert clean["images_for_precision"] <= clean["expected_images"] < ALL
    assert fgsm["expected_images"] == 128
    assert clean["smallest_difference"]["0.1"] < 0.03 < clean["smallest_difference"]["0.5"]
    assert before["images_for_difference"]["0.1"] < ALL < before["images_for_difference"]["0.5"]
    assert _run(["run", *command]) == 0
    capsys.readouterr()
    assert _run(["plan", *command]) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["passes"] == 0
    assert {c["expected_images"] for c in after["cells"]} == {stop(once).images, 128}


def test_mistakes_are_told(suite, tmp_path):
    with pytest.raises(RobobenchError, match="expected a share between 0 and"):
        run(suite, tmp_path / "a", precision=1.0)
    text = (
        suite.read_text()
        .replace("of: accuracy.top1", "of: calibration.ece")
        .replace("[accuracy.top1]", "[accuracy.top1, calibration.ece]")
    )
    other = tmp_path / "other.yaml"
    other.write_text(text)
    with pytest.raises(RobobenchError, match="which is no share"):
        run(other, tmp_path / "b")
    assert not Store.open(tmp_path / "b").row_files()
