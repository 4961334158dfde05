"""The gate: what it lets through, what it holds back, what it says of it, and the file that it starts from."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from robobench.cli.main import _run
from robobench.engine.record import Stop
from robobench.errors import RobobenchError, StoreError
from robobench.leaderboard.baseline import read_baseline, write_baseline
from robobench.leaderboard.board import BoardInput, ModelInput
from robobench.leaderboard.collect import collect, newest_run
from robobench.leaderboard.gate import FAIL, INCONCLUSIVE, PASS, gate
from robobench.leaderboard.gate_text import sentence, to_junit
from robobench.leaderboard.policy import Policy, load_policy, parse_policy
from tests.boards import condition, info, rows_of
from tests.results import make_results

CONDITIONS = (
    condition("clean"),
    *(condition(f"o f={n}", "o", along="f", level=n) for n in (1, 2)),
    condition("x"),
)


def board(name, rights, conditions=CONDITIONS, **more):
    """One model; rights: by condition, which images are right."""
    rows = {c: rows_of(np.where(np.asarray(r, bool), 0, 1)) for c, r in rights.items()}
    expected = {c.name: len(rights[c.name]) for c in conditions}
    return BoardInput(info(conditions, **more), conditions, (ModelInput(name, rows),), expected)


def answers(n=400, right=300):
    return np.arange(n) < right


def everywhere(values):
    return {c.name: values for c in CONDITIONS}


def judged(before, after, policy=None, **more):
    return gate(board("old", before), board("new", after), policy or Policy(), resamples=200, **more)


def verdicts(report):
    return {f"{c.kind} {c.name}": c.verdict for c in report.checks}


def test_an_unchanged_model_passes_every_line_however_few_its_images():
    for n in (3, 40, 400):
        right = everywhere(answers(n, n // 2))
        report = judged(right, right, Policy(margin=0.001))
        assert set(verdicts(report).values()) == {PASS}
        assert (report.verdict, report.exit_code) == (PASS, 0)


def test_a_clear_drop_fails_its_lines_and_no_other():
    after = everywhere(answers()) | {"x": answers(right=200)}
    report = judged(everywhere(answers()), after)
    assert verdicts(report) == {
        "condition clean": PASS, "condition o f=1": PASS, "condition o f=2": PASS, "condition x": FAIL,
        "group o": PASS, "score robustness": FAIL,
    }  # fmt: skip
    assert (report.verdict, report.exit_code) == (FAIL, 3)
    line = next(c for c in report.checks if c.name == "x")
    assert (line.drop, line.changed, line.n) == (0.25, 100, 400)
    assert line.low < 0.25 < line.high
    assert sentence(report).startswith("fail: new against old: condition x (75.0 to 50.0 %, a drop of +25.0 ")


@pytest.mark.parametrize("rights", [(400, 0), (0, 400)])
def test_a_drop_that_is_the_same_on_every_image_is_seen_in_groups_and_score_too(rights):
    """Then no resample differs from another, and resamples alone would know of no doubt."""
    before, after = (everywhere(answers(right=n)) for n in rights)
    report = judged(before, after, Policy(conditions=False))
    assert set(verdicts(report).values()) == {FAIL if rights[0] else PASS}
    assert all(abs(c.drop) == 1 for c in report.checks)


def test_a_candidate_that_lacks_rows_is_refused():
    before = everywhere(answers())
    after = board("new", before)
    cut = {c: {k: v[:390] for k, v in rows.items()} for c, rows in after.models[0].rows.items()}
    short = replace(after, models=(replace(after.models[0], rows=cut),))
    with pytest.raises(
        RobobenchError, match="no rows under 'clean' for 10 of 400 images: finish its run first"
    ):
        gate(board("old", before), short, Policy(), resamples=20)
    stopped = replace(short.models[0], expected={c.name: 390 for c in CONDITIONS})
    assert (
        gate(board("old", before), replace(short, models=(stopped,)), Policy(), resamples=20).verdict == PASS
    )


def test_a_better_model_passes():
    report = judged(everywhere(answers()), everywhere(answers(right=350)))
    assert report.verdict == PASS
    assert all(c.drop < 0 for c in report.checks)


def test_what_cannot_be_told_goes_as_the_policy_says():
    before = everywhere(answers(60, 40))
    after = everywhere(np.roll(answers(60, 40), 2))  # two lost, two gained: no drop, but 60 images
    report = judged(before, after)
    assert (report.verdict, report.exit_code) == (INCONCLUSIVE, 0)
    assert "cannot exclude a drop" in sentence(report)
    strict = judged(before, after, Policy(inconclusive="fail"))
    assert (strict.verdict, strict.exit_code) == (INCONCLUSIVE, 3)
    assert judged(before, after, Policy(margin=0.5)).verdict == PASS


def test_margins_groups_and_floors():
    after = everywhere(answers(right=290))
    policy = Policy(
        margins={"x": 0.2, "o *": 0.15}, groups={"hard": {"conditions": ("o *", "x"), "margin": 0.1}},
        floors={"clean": 0.9, "x": 0.7},
    )  # fmt: skip
    report = judged(everywhere(answers()), after, policy)
    lines = {f"{c.kind} {c.name}": c for c in report.checks}
    assert lines["condition x"].margin == 0.2
    assert lines["condition o f=1"].margin == 0.15
    assert lines["condition clean"].margin == 0.02
    assert lines["group hard"].margin == 0.1
    assert "group o" not in lines
    assert lines["floor clean"].verdict == FAIL
    assert lines["floor x"].verdict == PASS
    assert report.verdict == FAIL


def test_a_metric_that_is_better_when_lower_turns_round():
    rows = everywhere(answers())
    score = replace(info(CONDITIONS).score, of="calibration.nll")
    one = board("old", rows, score=score)
    worse = board("new", everywhere(answers(right=250)), score=score)
    assert gate(one, worse, Policy(), resamples=200).verdict == FAIL
    assert gate(worse, one, Policy(), resamples=200).verdict == PASS


def test_the_floor_of_a_number_that_is_better_when_lower_is_a_ceiling():
    score = replace(info(CONDITIONS).score, of="calibration.ece")
    one = board("old", everywhere(answers()), score=score)
    value = next(c.candidate for c in gate(one, one, Policy(), resamples=200).checks if c.kind == "score")
    for floor, verdict in ((value + 0.1, PASS), (value - 0.1, FAIL)):
        report = gate(one, one, Policy(floors={score.name: floor}), resamples=200)
        (line,) = (c for c in report.checks if c.kind == "floor")
        assert line.verdict == report.verdict == verdict
        assert line.drop == pytest.approx(value - floor)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: replace(b, suite=replace(b.suite, fingerprint="0" * 20)), "under the protocol"),
        (lambda b: replace(b, models=(replace(b.models[0], rows={"clean": b.models[0].rows["clean"]}),)),
         "has no rows under"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(change, message):
    one = board("old", everywhere(answers()))
    with pytest.raises(RobobenchError, match=message):
        gate(one, change(board("new", everywhere(answers()))), Policy(), resamples=20)


def test_a_policy_that_names_nothing_is_refused():
    before = everywhere(answers())
    with pytest.raises(RobobenchError, match=r"group 'g' fits no condition .* there are: clean, o f=1"):
        judged(before, before, Policy(groups={"g": {"conditions": ("nothing*",)}}))
    with pytest.raises(RobobenchError, match="floor for 'claen', which is no line of this gate"):
        judged(before, before, Policy(floors={"claen": 0.5}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("margn: 0.1", "a policy has no 'margn'; it has schema, margin"),
        ("margin: 2", "margin: Input should be less than 1, got 2"),
        ("schema: 2", "schema: Input should be 1"),
        ("[1]", "expected keys such as"),
        ("a: &x [*x]", "gate.yaml"),
    ],
)
def test_a_policy_file_that_is_wrong_is_answered(tmp_path, text, message):
    (tmp_path / "gate.yaml").write_text(text)
    with pytest.raises(RobobenchError, match=message):
        load_policy(tmp_path / "gate.yaml")
    with pytest.raises(RobobenchError, match="cannot be read"):
        load_policy(tmp_path / "none.yaml")


def test_a_policy_is_read_as_it_is_written(tmp_path):
    (tmp_path / "gate.yaml").write_text(
        "schema: 1\nmargin: 0.03\nalpha: 0.1\ncorrection: none\nmargins: {robustness: 0.01}\n"
        "groups: {g: {conditions: [x]}}\nfloors: {clean: 0.5}\ninconclusive: fail\nconditions: false\n"
    )
    found = load_policy(tmp_path / "gate.yaml")
    assert (found.margin, found.margin_of("robustness"), found.alpha) == (0.03, 0.01, 0.1)
    before = everywhere(answers())
    assert list(verdicts(judged(before, before, parse_policy({"conditions": False}, "p")))) == [
        "group o",
        "score robustness",
    ]


# what it says


def test_junit_has_a_case_for_each_line():
    report = judged(everywhere(answers()), everywhere(answers()) | {"x": answers(right=200)})
    root = ET.fromstring(to_junit(report))  # noqa: S314
    suite = root[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("6", "2", "0")
    failed = {c.get("name") for c in suite if c.find("failure") is not None}
    assert failed == {"x", "robustness"}
    open_ = judged(everywhere(answers(60, 40)), everywhere(np.roll(answers(60, 40), 2)))
    assert ET.fromstring(to_junit(open_))[0].get("skipped") != "0"  # noqa: S314


# the file


def test_a_baseline_is_small_and_says_the_same_as_the_store(tmp_path):
    store = make_results(tmp_path / "r")
    record = newest_run(store)
    path = tmp_path / "good.baseline"
    rows = write_baseline(store, record, "good", path)
    assert rows == 60
    assert path.stat().st_size < 10_000
    kept = read_baseline(path)
    one = collect(kept.record, kept)
    two = collect(record, store)
    assert one.suite.fingerprint == two.suite.fingerprint
    (mine,) = one.models
    theirs = next(m for m in two.models if m.name == "good")
    for name, columns in mine.rows.items():
        for column, values in columns.items():
            np.testing.assert_array_equal(values, theirs.rows[name][column])
    assert mine.weights == theirs.weights


def test_mistakes_with_baselines_are_answered(tmp_path):
    store = make_results(tmp_path / "r")
    with pytest.raises(RobobenchError, match=r"no model 'god' .* did you mean 'good'"):
        write_baseline(store, newest_run(store), "god", tmp_path / "b")
    with pytest.raises(StoreError, match="no such file: make it with"):
        read_baseline(tmp_path / "b")
    (tmp_path / "b").write_bytes(b"no parquet")
    with pytest.raises(
        StoreError, match="b is not a baseline: `robobench baseline MODEL --to FILE` makes one"
    ):
        read_baseline(tmp_path / "b")
    (tmp_path / "b").write_bytes(b"PAR1 cut short")
    with pytest.raises(StoreError, match="the baseline is damaged: take it from version control"):
        read_baseline(tmp_path / "b")
    with pytest.raises(StoreError, match="is a folder, and a baseline is a file"):
        read_baseline(tmp_path)
    rows = next((tmp_path / "r" / "rows").glob("*.parquet"))
    with pytest.raises(StoreError, match="not a baseline"):
        read_baseline(rows)


def test_a_model_that_a_gate_has_stopped_is_no_baseline(tmp_path):
    store = make_results(tmp_path / "r")
    record = newest_run(store)
    for precision, refused in ((None, True), (0.1, False)):
        stopped = {"base": Stop(len(record.data[0].order), precision, "a rule")}
        models = tuple(replace(m, stopped=stopped) for m in record.models)
        if refused:
            with pytest.raises(
                StoreError, match=r"a gate was settled, .* finish its run first, .* without --against"
            ):
                write_baseline(store, replace(record, models=models), "good", tmp_path / "b")
        else:
            assert write_baseline(store, replace(record, models=models), "good", tmp_path / "b") == 60


def test_the_commands(tmp_path, capsys, monkeypatch):
    make_results(tmp_path / "r")
    out, file = str(tmp_path / "r"), str(tmp_path / "good.baseline")
    assert _run(["baseline", "good", "--to", file, "-o", out]) == 0
    assert "60 answers of good" in capsys.readouterr().out
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    junit = tmp_path / "gate.xml"
    assert _run(["gate", file, "bad", "-o", out, "--junit", str(junit), "--github"]) == 3
    said = capsys.readouterr().out
    assert "fail: bad against good" in said
    assert "::error title=robobench " in said
    assert ET.fromstring(junit.read_text()).tag == "testsuites"  # noqa: S314
    assert "robobench gate: fail" in (tmp_path / "summary.md").read_text()
    assert _run(["gate", file, file, "-o", out]) == 0
    assert "pass: good against good" in capsys.readouterr().out
    assert _run(["gate", file, "bad", "-o", out, "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["exit_code"]) == ("fail", 3)
    assert _run(["gate", file, "bda", "-o", out]) == 2
    assert "did you mean 'bad'" in capsys.readouterr().err
    assert _run(["gate", file, "good", "-o", out, "--sequential"]) == 0
    assert "good: no line was looked at early" in capsys.readouterr().err


# how often it is wrong


def pair(rng, n, drop, changed):
    """Answers before and after, of images that are hard for all conditions alike."""
    before, after = {}, {}
    hard = rng.random(n)
    for place, c in enumerate(CONDITIONS):
        old = hard < 0.75 - 0.1 * place
        lost = np.flatnonzero(old)[rng.random(int(old.sum())) < (changed + drop) / 2 / old.mean()]
        gained = np.flatnonzero(~old)[rng.random(int((~old).sum())) < (changed - drop) / 2 / (~old).mean()]
        new = old.copy()
        new[lost], new[gained] = False, True
        before[c.name], after[c.name] = old, new
    return before, after


@pytest.mark.slow
@pytest.mark.parametrize("changed", [0.05, 0.1, 0.2])
def test_a_thousand_pairs_at_each_drop(changed):
    """Fails at most alpha at no drop, passes at most alpha at the margin, has its power at twice the margin."""
    runs, n, policy = 1000, 1000, Policy(margin=0.02)
    seen = {}
    for step, drop in enumerate((0.0, 0.02, 0.04)):
        rng = np.random.Generator(np.random.PCG64([20261124, step, int(100 * changed)]))
        seen[drop] = [judged(*pair(rng, n, drop, changed), policy) for _ in range(runs)]
    most = policy.alpha + 3 * math.sqrt(policy.alpha * (1 - policy.alpha) / runs)
    assert sum(r.verdict == FAIL for r in seen[0.0]) / runs <= most
    assert sum(r.verdict == PASS for r in seen[0.02]) / runs <= most
    for place in range(len(seen[0.04][0].checks)):
        lines = [r.checks[place] for r in seen[0.04]]
        failed, power = sum(c.verdict == FAIL for c in lines), float(np.mean([c.power for c in lines]))
        assert binomtest(failed, runs, min(power, 1.0), alternative="less").pvalue > 1e-3, lines[0].name
