"""A gate that is looked at after every image: when it is settled, how often it errs, what it leaves open."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from robobench.engine.sets import visiting_order
from robobench.errors import RobobenchError
from robobench.leaderboard.board import ScoreSpec
from robobench.leaderboard.gate import FAIL, INCONCLUSIVE, PASS, gate
from robobench.leaderboard.gate_lines import line_specs
from robobench.leaderboard.gate_sequential import gate_in_sequence
from robobench.leaderboard.looks import LOOKS
from robobench.leaderboard.policy import Policy
from robobench.sequential import _DIFFERENCE, Doubt, difference_sequence, signed_sequence
from tests.boards import condition, info
from tests.unit.test_gate import CONDITIONS, answers, board, everywhere, pair, verdicts


def order(n, seed=0):
    """Images in a visiting order that is not that of their names."""
    return tuple(np.random.default_rng(seed).permutation([f"i{k:05d}" for k in range(n)]).tolist())


def judged(before, after, policy=None, visiting=None, one=None, two=None):
    one = one or board("old", before)
    two = two or board("new", after)
    n = len(next(iter(before.values())))
    return gate_in_sequence(
        one, two, {"base": visiting or order(n)}, policy or Policy(), resamples=200
    )  # fmt: skip


def cut(model_board, n, visiting):
    """A candidate whose run has come as far as the first n images."""
    (model,) = model_board.models
    kept = {
        c: {k: v[np.isin(rows["image_id"], visiting[:n])] for k, v in rows.items()}
        for c, rows in model.rows.items()
    }
    return replace(model_board, models=(replace(model, rows=kept),))


# the evidence


def test_the_evidence_is_the_mixed_product():
    values = np.random.default_rng(1).choice([-1.0, 0.0, 0.5, 1.0], 40)
    found = Doubt(0.1).add(values)
    for n in (1, 7, 40):
        wealth = np.mean([np.prod((1 - mu * values[:n]) / (1 - mu * 0.1)) for mu in _DIFFERENCE])
        assert found[n - 1] == pytest.approx(math.log(wealth))
    in_parts = Doubt(0.1)
    assert np.concatenate([in_parts.add(values[:3]), in_parts.add([]), in_parts.add(values[3:])]) == pytest.approx(found)  # fmt: skip


def test_signed_values_have_the_sequence_of_their_counts():
    low, high = difference_sequence(30, 10, 200)
    assert signed_sequence([1] * 30 + [-1] * 10 + [0] * 160) == pytest.approx((float(low), float(high)))
    with pytest.raises(ValueError, match=r"in \[-1, 1\], got 1.5"):
        signed_sequence([0.5, 1.5])
    with pytest.raises(ValueError, match="between -1 and 1, got 1"):
        Doubt(1.0).add([0.0])


@pytest.mark.parametrize(("lost", "gained", "seed"), [(0.06, 0.04, 1), (0.3, 0.28, 2), (0.02, 0.0, 3)])
def test_a_mean_at_the_limit_is_doubted_in_at_most_alpha_at_any_time(lost, gained, seed):
    runs, n, alpha = 500, 1000, 0.05
    draws = np.random.default_rng(seed).random((runs, n), np.float32)
    values = np.where(draws < lost, 1, np.where(draws < lost + gained, -1, 0))
    ever = np.mean([(Doubt(lost - gained).add(v) >= -math.log(alpha)).any() for v in values])
    assert ever <= alpha + 2.33 * math.sqrt(alpha * (1 - alpha) / runs)


# the lines


def test_a_line_is_settled_at_the_first_image_that_does_it_and_no_later_one_matters():
    right = everywhere(answers(2000, 1000))
    report = judged(right, right)
    assert set(verdicts(report).values()) == {PASS}
    (n,) = {c.settled for c in report.checks}
    first = np.argmax(Doubt(0.02).add(np.zeros(2000)) >= -math.log(LOOKS * 0.05)) + 1
    assert n == first == {c.n for c in report.checks}.pop()
    visiting = order(2000)
    late = {i for i in visiting[n:]}
    ids = np.array([f"i{k:05d}" for k in range(2000)])
    worse = {c: np.where(np.isin(ids, list(late)), False, v) for c, v in right.items()}
    assert judged(right, worse, visiting=visiting).checks == report.checks
    assert cut(board("new", right), n - 1, visiting).models[0].rows["x"]["hit"].size == n - 1
    with pytest.raises(
        RobobenchError, match=r"do not settle the gate, .* only up to place .* finish its run"
    ):
        judged(right, right, visiting=visiting, two=cut(board("new", right), n - 1, visiting))
    assert judged(right, right, visiting=visiting, two=cut(board("new", right), n, visiting)) == report


def test_a_clear_drop_ends_it_and_the_rest_stays_open():
    before = everywhere(answers(400, 300))
    after = before | {"x": answers(400, 0)}
    visiting = order(400)
    report = judged(before, after, visiting=visiting)
    line = next(c for c in report.checks if c.name == "x")
    assert (line.verdict, report.verdict, report.exit_code) == (FAIL, FAIL, 3)
    assert line.settled < 60
    again = judged(before, after, visiting=visiting, two=cut(board("new", after), line.settled, visiting))
    assert again.verdict == FAIL
    assert verdicts(again)["condition clean"] == INCONCLUSIVE
    places = [int(i[1:]) for i in visiting[: line.settled]]
    lost = int(before["x"][places].sum() - after["x"][places].sum())
    assert (line.drop, line.changed) == (pytest.approx(lost / line.settled), lost)
    low, high = difference_sequence(lost, 0, line.settled)
    assert (line.low, line.high) == pytest.approx((float(low), float(high)))
    sure = Doubt(0.0).add(after["x"][places].astype(float) - before["x"][places])
    assert np.argmax(sure >= -math.log(LOOKS * 0.05 / 6)) + 1 == line.settled


def test_a_certain_drop_inside_the_margin_waits_for_all_images():
    """A drop of 5 points, certain before it is certain that it is smaller than 7: it passes."""
    before = everywhere(answers(3000, 3000))
    after = everywhere(np.arange(3000) % 20 != 0)
    report = judged(before, after, Policy(margin=0.07))
    assert report.verdict == PASS
    assert all(c.low > 0 and c.p_fail < 0.05 for c in report.checks if c.settled)


def test_what_no_look_settles_is_tested_at_the_end_with_the_rest_of_alpha():
    rng = np.random.default_rng(5)
    before, after = pair(rng, 600, 0.0, 0.1)
    policy = Policy(margin=0.025, correction="none")
    looked, fixed = (
        judged(before, after, policy),
        gate(board("old", before), board("new", after), policy, 200),
    )
    assert any(c.settled is None for c in looked.checks)
    for mine, theirs in zip(looked.checks, fixed.checks, strict=True):
        if mine.settled is None:
            assert mine.p_pass <= theirs.p_pass / (1 - LOOKS) + 1e-12
            assert (mine.n, mine.drop, mine.low) == (theirs.n, theirs.drop, theirs.low)
            assert (mine.verdict == PASS) == (mine.p_pass < 0.05)


def test_an_unchanged_model_passes_however_few_its_images():
    for n in (3, 40):
        right = everywhere(answers(n, n // 2))
        assert set(verdicts(judged(right, right, Policy(margin=0.001))).values()) == {PASS}


def test_floors_want_all_images():
    right = everywhere(answers(2000, 1000))
    visiting, policy = order(2000), Policy(floors={"clean": 0.4, "robustness": 0.6})
    with pytest.raises(RobobenchError, match="do not settle"):
        judged(right, right, policy, visiting, two=cut(board("new", right), 1000, visiting))
    report = judged(right, right, policy, visiting)
    assert {c.name: c.verdict for c in report.checks if c.kind == "floor"} == {
        "clean": PASS,
        "robustness": FAIL,
    }
    assert report.verdict == FAIL


def test_a_score_that_is_no_share_of_images_is_refused():
    right = everywhere(answers(50, 25))
    score = replace(info(CONDITIONS).score, of="calibration.nll")
    with pytest.raises(RobobenchError, match=r"made of calibration.nll: compute all images"):
        judged(right, right, one=board("old", right, score=score), two=board("new", right, score=score))


def test_conditions_with_limits_of_their_own_are_looked_at_as_far_as_they_go():
    few = condition("few", limit=50)
    conditions = (condition("clean"), few)
    visiting = order(300)
    first = sorted(visiting[:50])
    before = {"clean": answers(300, 200), "few": answers(50, 25)}
    boards = [board(name, before, conditions) for name in ("old", "new")]
    boards = [
        replace(b, models=(replace(b.models[0], rows={**b.models[0].rows, "few": {**b.models[0].rows["few"], "image_id": np.array(first)}}),))
        for b in boards
    ]  # fmt: skip
    report = gate_in_sequence(*boards, {"base": visiting}, Policy(), 200)
    assert {c.name: c.n for c in report.checks} == {"clean": 300, "few": 50, "robustness": 50}
    assert report.verdict == PASS


def uneven(sizes, fallen):
    """Two boards over classes of these sizes and their visiting order; of each class so many images fall."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    right = np.concatenate([np.arange(n) >= k for n, k in zip(sizes, fallen, strict=True)])
    boards = [board(name, everywhere(r)) for name, r in (("old", right | True), ("new", right))]
    boards = [
        replace(b, models=(replace(b.models[0], rows={c: {**r, "label": labels} for c, r in b.models[0].rows.items()}),))
        for b in boards
    ]  # fmt: skip
    ids = tuple(f"i{k:05d}" for k in range(labels.size))
    return boards, visiting_order(ids, tuple(labels.tolist()), 0)


def test_lines_over_uneven_classes_are_not_looked_at():
    """All of the drop is in the large class, which the first images have a hundredth of: 5.3 % in the whole."""
    boards, visiting = uneven([5000] + [50] * 99, [530] + [0] * 99)
    report = gate_in_sequence(*boards, {"base": visiting}, Policy(), 200)
    assert {(c.settled, c.verdict) for c in report.checks} == {(None, FAIL)}
    without = {c: {k: v for k, v in r.items() if k != "label"} for c, r in boards[0].models[0].rows.items()}
    bare = replace(boards[0], models=(replace(boards[0].models[0], rows=without),))
    report = gate_in_sequence(bare, boards[0], {"base": visiting}, Policy(), 200)
    assert {c.settled for c in report.checks} == {None}, "an old baseline, without labels"


@pytest.mark.parametrize("sizes", [[100] * 10, [101] * 5 + [100] * 5])
def test_lines_over_even_classes_are_looked_at(sizes):
    boards, visiting = uneven(sizes, [50] * 10)
    assert any(c.settled for c in gate_in_sequence(*boards, {"base": visiting}, Policy(), 200).checks)


def test_which_formulas_are_weighted_sums():
    def weights(formula, conditions):
        suite = info(conditions, score=ScoreSpec("s", formula, "ladders", "accuracy.top1"))
        (score,) = (s for s in line_specs(suite, conditions, Policy()) if s.kind == "score")
        return score.weights(suite, conditions)

    np.testing.assert_allclose(weights("mean", CONDITIONS), [0, 0.25, 0.25, 0.5])
    np.testing.assert_allclose(weights("ladder.area?ladder=o", CONDITIONS), [0, 0.5, 0.5, 0])
    assert weights("ladder.worst", CONDITIONS) is None
    assert weights("ladder.half?ladder=o", CONDITIONS) is None


# how often it is wrong


@pytest.mark.slow
@pytest.mark.parametrize("changed", [0.05, 0.1, 0.2])
def test_a_thousand_pairs_at_each_drop_looked_at_after_every_image(changed, record_property):
    """Fails at most alpha at no drop, passes at most alpha at the margin, nearly the power of the fixed gate."""
    runs, n, policy = 1000, 1000, Policy(margin=0.02)
    most = policy.alpha + 3 * math.sqrt(policy.alpha * (1 - policy.alpha) / runs)
    found = {}
    for step, drop in enumerate((0.0, 0.02, 0.04)):
        rng = np.random.Generator(np.random.PCG64([20261129, step, int(100 * changed)]))
        reports = [judged(*pair(rng, n, drop, changed), policy, order(n, i)) for i in range(runs)]
        found[drop] = {v: sum(r.verdict == v for r in reports) / runs for v in (PASS, FAIL)}
        found[drop]["images"] = float(np.mean([ended(r, n) for r in reports])) / n
        record_property(f"{drop:g} of {changed:g}", found[drop])
    assert found[0.0][FAIL] <= most
    assert found[0.02][PASS] <= most
    rng = np.random.Generator(np.random.PCG64([20261129, 2, int(100 * changed)]))
    fixed = [gate(board("old", b), board("new", a), policy, 200) for b, a in (pair(rng, n, 0.04, changed) for _ in range(200))]  # fmt: skip
    assert found[0.04][FAIL] >= sum(r.verdict == FAIL for r in fixed) / 200 - 0.1
    assert found[0.04]["images"] < 0.9


def ended(report, n):
    """How many images a run would have computed: up to the first failure, or until all is settled."""
    fails = [c.settled for c in report.checks if c.verdict == FAIL and c.settled]
    return min(fails) if fails else max(c.settled or n for c in report.checks)
