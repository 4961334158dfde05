"""Two models compared: hand-computed counts and p-values, every verdict, and what cannot be compared."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from robobench.cli.main import _run
from robobench.engine.record import from_json, to_json
from robobench.errors import RobobenchError, StoreError, UnknownName
from robobench.leaderboard.board import ScoreSpec, SummarySpec
from robobench.leaderboard.build import build
from robobench.leaderboard.compare import compare, stored_pair
from robobench.leaderboard.compare_text import rounded_up, sentence, signed
from robobench.leaderboard.verdict import CANNOT_TELL, Subject, judge, of_samples, of_shares
from robobench.proportions import equivalent, paired_interval
from robobench.stats import difference_interval, resample_weights
from tests.boards import condition, exact, realistic
from tests.results import make_results

N = 400
CONDITIONS = [condition(name) for name in ("clean", "fog", "snow", "rain")]
# images that the first model alone has right, and the second alone; the others both have right
ALONE = {"clean": (0, 0), "fog": (40, 10), "snow": (10, 40), "rain": (40, 30)}


def hits(alone):
    """Ranks of the right answer of both models, 0 where it is right."""
    first, second = np.zeros(N, int), np.zeros(N, int)
    one, two = alone
    second[:one] = 1
    first[one : one + two] = 1
    return first, second


def board(alone=ALONE, **more):
    pairs = {name: hits(counts) for name, counts in alone.items()}
    models = {m: {name: pair[i] for name, pair in pairs.items()} for i, m in enumerate(("one", "two"))}
    return exact(models, [condition(name) for name in alone], **more)


def test_every_verdict_of_accuracy_with_its_counts_and_p_values():
    found = compare(board(), margin=0.05)
    lines = {line.name: line for line in found.conditions}
    assert {k: v.verdict for k, v in lines.items()} == {
        "clean": "equivalent", "fog": "better", "snow": "worse", "rain": "cannot tell",
    }  # fmt: skip
    assert {k: (v.only_first, v.only_second) for k, v in lines.items()} == ALONE
    assert [v.n for v in lines.values()] == [N] * 4
    assert lines["fog"].first, lines["fog"].second == (0.975, 0.9)
    assert lines["fog"].difference == pytest.approx(0.075)
    assert (lines["fog"].low, lines["fog"].high) == pytest.approx(
        [float(v) for v in paired_interval(40, 10, N)]
    )
    # Holm by hand: fog and snow have one p-value each, the smallest; rain the next; clean is 1
    tied, rain = binomtest(10, 50).pvalue, binomtest(30, 70).pvalue
    assert lines["fog"].p == pytest.approx(4 * tied)
    assert lines["snow"].p == pytest.approx(4 * tied)
    assert lines["rain"].p == pytest.approx(2 * rain)
    assert lines["clean"].p == 1
    # of equivalence: clean by the formula of the score test, 20 of 400 images being the margin
    assert lines["clean"].p_equivalent == pytest.approx(4 * norm.sf((20 - 0.5) / np.sqrt(N * 0.05 * 0.95)))
    assert lines["rain"].p_equivalent == pytest.approx(3 * float(equivalent(40, 30, N, 0.05)))


def test_only_what_cannot_be_told_says_how_many_images_would():
    """Of 17.5 % of images with a difference of 2.5: at half of 5 %, with three of the four lines left."""
    found = compare(board(), margin=0.05)
    enough = {line.name: line.enough for line in found.conditions}
    assert enough.pop("rain") == pytest.approx(images_by_hand(0.1, 0.075, 0.05, 2, 3), rel=0.05)
    assert set(enough.values()) == {None}


def images_by_hand(first, second, margin, undecided, unlike):
    """The smaller n: of finding the difference, or of showing that it is within the margin."""
    gap, spread = first - second, np.sqrt(first + second - (first - second) ** 2)
    z = norm.ppf(1 - 0.025 / undecided)
    find = ((z * np.sqrt(first + second) + norm.ppf(0.8) * spread) / gap) ** 2
    fit = ((norm.ppf(1 - 0.05 / unlike) + norm.ppf(0.8)) * spread / (margin - gap)) ** 2
    return min(find, fit)


def test_with_as_many_images_as_it_says_most_tables_tell():
    """The promise of 80 in 100, by drawing tables of one line again at the number that is named."""
    rng = np.random.Generator(np.random.PCG64(21))
    first, second = 0.06, 0.04
    subject = Subject("x", "m", Share(), 500, 0.7, 0.68)
    (line,) = judge([of_shares(subject, 30, 20, 0.01)])
    assert line.verdict == CANNOT_TELL
    told = 0
    for _ in range(200):
        only_first, only_second, _ = rng.multinomial(line.enough, [first, second, 1 - first - second])
        again = replace(subject, n=line.enough)
        told += judge([of_shares(again, only_first, only_second, 0.01)])[0].verdict == "better"
    assert told / 200 == pytest.approx(0.8, abs=0.09)


class Share:
    unit = "fraction"
    higher_is_better = True


class Loss:
    unit = "nats"
    higher_is_better = False


@pytest.mark.parametrize(
    ("gap", "scale", "said"),
    [(0.2, Share, "better"), (-0.2, Share, "worse"), (0.2, Loss, "worse"), (-0.2, Loss, "better"),
     (0.0, Loss, "equivalent"), (0.005, Share, "equivalent"), (0.055, Share, "cannot tell")],
)  # fmt: skip
def test_resampled_differences_are_judged_by_their_spread_and_direction(gap, scale, said):
    rng = np.random.Generator(np.random.PCG64(22))
    samples = gap + 0.05 * rng.normal(size=4000) * (0.05 if abs(gap) < 0.01 else 1)
    (line,) = judge([of_samples(Subject("x", "m", scale(), 100, 1 + gap, 1.0), samples, 0.01)])
    assert line.verdict == said
    z = gap / samples.std()
    assert line.p == pytest.approx(2 * norm.sf(abs(z)), abs=0.01)
    if said == "cannot tell":
        needed = 100 * ((norm.ppf(0.975) + norm.ppf(0.8)) / z) ** 2
        assert line.enough == pytest.approx(needed, rel=0.05)


def test_a_difference_within_the_margin_is_equivalent_even_where_it_is_sure():
    samples = 0.005 + 0.0005 * np.random.Generator(np.random.PCG64(1)).normal(size=4000)
    (line,) = judge([of_samples(Subject("x", "m", Share(), 10**6, 0.705, 0.7), samples, 0.01)])
    assert line.p < 1e-6
    assert line.verdict == "equivalent"


def test_a_margin_of_what_is_counted_in_per_cent_is_in_points():
    class Percent:
        unit, higher_is_better = "% of AlexNet", False

    samples = 0.6 + 0.1 * np.random.Generator(np.random.PCG64(1)).normal(size=4000)
    (line,) = judge([of_samples(Subject("mce", "m", Percent(), 500, 60.6, 60.0), samples, 0.01)])
    assert line.verdict == "equivalent"


@pytest.mark.parametrize(("first", "n", "said"), [(1.0, 5, "cannot tell"), (1.0, 6, "better")])
def test_where_no_resample_differs_a_share_goes_by_its_images(first, n, said):
    (line,) = judge([of_samples(Subject("x", "m", Share(), n, first, 0.0), np.full(100, first), 0.01)])
    assert line.verdict == said
    assert (line.low, line.high) == pytest.approx([float(v) for v in paired_interval(n, 0, n)])


def test_where_no_resample_differs_other_units_have_no_interval():
    same, apart = (Subject("x", "m", Loss(), 30, 1.0 + gap, 1.0) for gap in (0.0, 0.5))
    lines = judge([of_samples(s, np.full(100, s.difference), 0.01) for s in (same, apart)])
    assert [line.verdict for line in lines] == ["cannot tell", "worse"]
    assert np.isnan([lines[0].low, lines[0].high]).all()
    assert lines[0].enough is None


def test_the_score_goes_by_the_same_resampled_images_in_all_conditions():
    given = board(seed=5)
    found = compare(given, resamples=300)
    right = {n: np.stack([h == 0 for h in hits(a)], axis=1) for n, a in ALONE.items() if n != "clean"}
    gaps = []
    for counts in resample_weights(N, 300, "5 base"):
        means = [(counts @ r.astype(float)) / N for r in right.values()]
        gaps.append(np.mean([m[0] - m[1] for m in means]))
    expected = 10 / N / 3
    low, high = difference_interval(expected, np.array(gaps))
    assert found.score.difference == pytest.approx(expected)
    assert (found.score.low, found.score.high) == pytest.approx((float(low), float(high)), abs=1e-9)
    assert found.score.verdict == "cannot tell"
    assert found.score.n == N


def test_the_comparison_agrees_with_the_board_it_is_made_of():
    given = realistic(2, n=300)
    entries = {e.name: e for e in build(given, resamples=200).entries}
    found = compare(given, resamples=200)
    assert found.score.first == pytest.approx(entries[found.first].score.value)
    assert found.score.second == pytest.approx(entries[found.second].score.value)
    for line in found.conditions:
        assert line.first == pytest.approx(entries[found.first].cells[line.name].score("accuracy.top1").value)


@pytest.mark.parametrize("metric", ["calibration.ece", "calibration.nll", "calibration.brier"])
def test_another_metric_is_compared_on_resampled_images(metric):
    given = realistic(2, n=300)
    found = compare(given, metric=metric, resamples=200)
    assert found.metric == metric
    lines = {line.name: line for line in found.conditions}
    assert len(lines) == len(given.conditions)
    assert {line.only_first for line in lines.values()} == {None}
    assert all(line.low <= line.difference <= line.high for line in lines.values())
    assert found.score.metric == "accuracy.top1"
    turned = compare(replace(given, models=given.models[::-1]), metric=metric, resamples=200)
    swap = {"better": "worse", "worse": "better"}
    for line in turned.conditions:
        assert line.difference == pytest.approx(-lines[line.name].difference)
        assert line.verdict == swap.get(lines[line.name].verdict, lines[line.name].verdict)


def test_a_lower_loss_is_better():
    right = realistic(2, n=300).models[0]
    loss = np.asarray(right.rows["clean"]["logp_label"])
    worse = {c: {**rows, "logp_label": rows["logp_label"] - 1.0} for c, rows in right.rows.items()}
    given = replace(realistic(2, n=300), models=(right, replace(right, name="unsure", rows=worse)))
    line = compare(given, metric="calibration.nll", resamples=100).conditions[0]
    assert (line.first, line.second) == pytest.approx((-loss.mean(), 1 - loss.mean()), rel=1e-6)
    assert line.verdict == "better"
    assert not line.higher_is_better


def test_further_numbers_of_the_suite_are_compared():
    further = (SummarySpec("mean top-5", "mean", "accuracy.top5"),)
    found = compare(board(summaries=further, metrics=("accuracy.top1", "accuracy.top5")))
    assert [s.name for s in found.summaries] == ["mean top-5"]
    assert found.summaries[0].difference == 0


def only(given, model, keep):
    """The board with some of the images of a model."""
    cut = tuple(
        replace(m, rows={c: {k: v[keep] for k, v in r.items()} for c, r in m.rows.items()})
        if i == model
        else m
        for i, m in enumerate(given.models)
    )
    return replace(given, models=cut)


def test_only_images_that_both_have_count():
    keep = np.arange(N) >= 20
    found = compare(only(board(), 1, keep), margin=0.05)
    fog = next(line for line in found.conditions if line.name == "fog")
    assert (fog.n, fog.only_first, fog.only_second) == (380, 20, 10)
    assert found.score.n == 380
    both = compare(only(only(board(), 1, keep), 0, keep), margin=0.05)
    assert both == found


def test_the_order_of_rows_does_not_matter():
    shuffled = np.random.Generator(np.random.PCG64(2)).permutation(N)
    assert compare(only(board(), 0, shuffled)) == compare(board())


def test_models_without_a_common_image_are_refused():
    apart = only(only(board(), 0, np.arange(N) < 50), 1, np.arange(N) >= 50)
    with pytest.raises(RobobenchError, match="one and two have no image of suite 'fake' in common"):
        compare(apart)


def test_a_missing_condition_is_named_and_leaves_the_score_undefined():
    given = board()
    rows = {c: r for c, r in given.models[1].rows.items() if c != "snow"}
    given = replace(given, models=(given.models[0], replace(given.models[1], rows=rows)))
    found = compare(given)
    assert found.skipped == {"snow": "no rows of two"}
    assert [line.name for line in found.conditions] == ["clean", "fog", "rain"]
    assert found.score is None
    assert "undefined, because a condition is missing" in sentence(found)


def test_conditions_that_check_attacks_are_left_out():
    given = board()
    checks = replace(given.conditions[-1], name="rain check", check="fog")
    rows = [replace(m, rows={**m.rows, "rain check": m.rows["rain"]}) for m in given.models]
    given = replace(given, conditions=(*given.conditions, checks), models=tuple(rows))
    assert compare(given).conditions == compare(board()).conditions


def test_a_metric_that_cannot_be_had_is_refused():
    with pytest.raises(UnknownName, match=r"did you mean 'calibration\.ece'"):
        compare(board(), metric="calibration.ec")
    with pytest.raises(StoreError, match="needs the column"):
        compare(board(), metric="attack.median_l2")


@pytest.mark.parametrize(
    ("alone", "margin", "said"),
    [
        ({"clean": (0, 0), "fog": (40, 0)}, 0.01, "one is better than two in robustness: +10.0 points ["),
        ({"clean": (0, 0), "fog": (0, 40)}, 0.01, "one is worse than two in robustness: -10.0 points ["),
        ({"clean": (0, 0), "fog": (2, 2)}, 0.05, "one and two are equivalent in robustness, within 5 points: 0.0"),
        ({"clean": (0, 0), "fog": (7, 3)}, 0.01, "400 images cannot tell one from two in robustness: +1.0 points"),
    ],
)  # fmt: skip
def test_one_sentence_says_it(alone, margin, said):
    text = sentence(compare(board(alone), margin=margin))
    assert text.startswith(said)
    assert "under 2 conditions (accuracy.top1) " in text
    assert text.endswith(".")
    assert ". " not in text
    if "cannot" in said:
        assert ", and about " in text


def test_numbers_as_they_are_said():
    assert [signed(v, "fraction") for v in (0.031, -0.031, 0.0001, -0.0001, 0.0)] == [
        "+3.1",
        "-3.1",
        "0.0",
        "0.0",
        "0.0",
    ]
    assert [rounded_up(n) for n in (1, 99, 100, 101, 123_456)] == [1, 99, 100, 110, 130_000]


@pytest.fixture
def store(tmp_path):
    return make_results(tmp_path / "results")


def command(*arguments, store):
    return _run(["compare", *arguments, "--out", str(store.root)])


def test_the_command_prints_a_table_and_a_sentence(store, capsys):
    assert command("good", "bad", store=store) == 0
    printed = capsys.readouterr().out
    assert "Made by hand: A = good, B = bad" in printed
    row = next(line for line in printed.splitlines() if "fraction=0.5" in line)
    # 9 of 20 images only `good` has right: p = 2 / 2**9, times the three conditions
    assert [cell.strip() for cell in row.split("│")[2:-2]] == [
        "20", "75.0", "30.0", "+45.0", "[+21.6, +65.8]", "0.012", "better",
    ]  # fmt: skip
    assert (
        printed.rstrip().splitlines()[-1].startswith("good is better than bad in robustness: +40.0 points [")
    )


def test_the_command_gives_json_with_every_number(store, capsys):
    assert command("good", "bad", "--json", "--margin", "0.2", "--suite", "handmade", store=store) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["first"], found["second"], found["margin"]) == ("good", "bad", 0.2)
    assert found["fingerprint"] == "f" * 20
    assert found["score"]["difference"] == pytest.approx(0.4)
    by_name = {line["name"]: line for line in found["conditions"]}
    assert by_name["occlusion fraction=0.9"]["p"] == pytest.approx(2 * 2 * 0.5**7)
    assert by_name["clean"]["verdict"] == "cannot tell"
    assert by_name["clean"]["enough"] > 20
    assert found["verdict"].startswith("good is better than bad")


MISTAKES = {
    "a wrong name": (("good", "bat"), "no model 'bat' in a run of any suite; did you mean 'bad'?"),
    "a wrong suite": (("good", "bad", "--suite", "handmad"), "did you mean 'handmade'?"),
    "one model twice": (("good", "good"), "good is compared with itself: name two different models"),
    "a margin of nothing": (("good", "bad", "--margin", "0"), "--margin"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_answered_with_what_to_do(case, store, capsys):
    arguments, message = MISTAKES[case]
    assert command(*arguments, store=store) == 2
    assert message in capsys.readouterr().err


def again(store, models, **more):
    """The record of another run, with some of the models."""
    record = from_json(store.runs()[0])
    kept = tuple(replace(m, name=n) for m, n in zip(record.models, models, strict=False))
    record = replace(record, models=kept, **more)
    store.put_run(record.fingerprint, to_json(record))


def test_the_newest_run_with_both_models_is_taken(store):
    again(store, ["good"], fingerprint="e" * 20, title="newer, of one")
    assert stored_pair(store, "good", "bad").suite.title == "Made by hand"
    again(store, ["good", "bad"], fingerprint="d" * 20, title="newer, of both")
    assert stored_pair(store, "bad", "good").suite.title == "newer, of both"
    assert [m.name for m in stored_pair(store, "bad", "good").models] == ["bad", "good"]


def test_models_of_two_fingerprints_are_refused(store):
    again(store, ["third"], fingerprint="e" * 20)
    with pytest.raises(
        RobobenchError, match=f"third was run under the fingerprint {'e' * 20} of suite 'handmade'"
    ):
        stored_pair(store, "third", "bad")


def test_models_of_two_suites_are_refused(store):
    again(store, ["third"], fingerprint="e" * 20, suite="other")
    with pytest.raises(
        RobobenchError, match="no suite has both models, only third in other and bad in handmade"
    ):
        stored_pair(store, "third", "bad")
    with pytest.raises(UnknownName, match="no model 'bad' in a run of suite 'other'; known: third"):
        stored_pair(store, "third", "bad", "other")


def test_the_score_spec_names_the_number():
    found = compare(board(score=ScoreSpec("sturdiness", "mean", "ladders", "accuracy.top1")))
    assert found.score.name == "sturdiness"
    assert "in sturdiness" in sentence(found)
