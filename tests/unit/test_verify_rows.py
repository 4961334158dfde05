"""Whether a claimed row can be that of some logits: rounding is let through, forgery is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robobench.checks.verify import right_classes
from robobench.checks.verify_attacks import alike, contradictions, states
from robobench.checks.verify_rows import ROUNDING, judge, number, room_of, rounding, whole
from robobench.errors import StoreError
from robobench.tasks.classification import LOGITS, Classification

TASK = Classification(logits=True)
N, CLASSES = 200, 12
FLOAT = ROUNDING["float32"]


def recorded(logits, labels, accepted=None):
    given = torch.as_tensor(np.asarray(logits, np.float32))
    more = None if accepted is None else torch.as_tensor(accepted)
    return dict(TASK.record(given, torch.as_tensor(labels), more))


@pytest.fixture(scope="module")
def honest():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (N, CLASSES))
    return logits, rng.integers(0, CLASSES, N)


def verdicts(claimed, ours, right, tolerance=FLOAT):
    return [f.column if f else None for f in judge(claimed, ours, right, tolerance)]


@pytest.mark.parametrize("precision", sorted(ROUNDING))
def test_any_rounding_within_the_tolerance_passes(honest, precision):
    """Also where it turns answers round: ties are in the logits on purpose."""
    logits, labels = honest
    logits = logits.copy()
    top = np.sort(logits, axis=1)[:, -1]
    logits[:50, 0] = top[:50] - 1e-9
    logits[50:100, labels[50:100]] = top[50:100, None][:, 0]
    spread = np.abs(logits - logits.mean(1, keepdims=True)).max(1, keepdims=True)
    tolerance = ROUNDING[precision]
    rng = np.random.default_rng(1)
    moved = logits + rng.uniform(-0.95, 0.95, logits.shape) * tolerance * np.maximum(0.1, spread)
    one, two = recorded(logits, labels), recorded(moved, labels)
    assert (one["top1"] != two["top1"]).any(), "or nothing was tried"
    assert verdicts(one, two, labels[:, None], tolerance) == [None] * N


def test_ten_times_the_tolerance_does_not_pass(honest):
    logits, labels = honest
    rng = np.random.default_rng(2)
    moved = logits + rng.choice([-1, 1], logits.shape) * 10 * FLOAT * np.abs(logits).max(1, keepdims=True)
    found = verdicts(recorded(moved, labels), recorded(logits, labels), labels[:, None])
    assert all(found)


def changed(columns, **values):
    return {**columns, **{k: np.where(np.arange(N) == 0, v, columns[k]) for k, v in values.items()}}


def test_every_forgery_of_one_row_is_seen(honest):
    logits, labels = honest
    ours = recorded(logits, labels)
    wrong = int(np.flatnonzero(ours["hit"] > 2)[0])
    order = np.r_[wrong, np.delete(np.arange(N), wrong)]
    ours = {k: v[order] for k, v in ours.items()}
    labels = labels[order]
    plain = {k: v for k, v in ours.items() if k != LOGITS}
    nan = float("nan")
    forged = {
        "the answer alone": (changed(plain, top1=labels[0]), "top1"),
        "hit and not top1": (changed(plain, hit=0), "hit"),
        "both": (changed(plain, top1=labels[0], hit=0), "top1"),
        "with a claimed gap of nothing": (
            changed(plain, top1=labels[0], hit=0, logp_top2=plain["logp_top1"][0]), "top1"
        ),
        "into the first five": (changed(plain, hit=plain["hit"][0] - 1), "hit"),
        "the label": (changed(plain, label=plain["top1"][0], hit=0), "label"),
        "the probability of the answer": (changed(plain, logp_top1=-0.01), "logp_top1"),
        "the probability of the label": (changed(plain, logp_label=-0.01), "logp_label"),
        "the squares": (changed(plain, sum_p2=0.99), "sum_p2"),
        "undefined": (changed(plain, logp_label=nan), "logp_label"),
        "infinite": (changed(plain, logp_top1=np.inf), "logp_top1"),
        "not answered": (changed(plain, top1=-1), "top1"),
        "a class that is not there": (changed(plain, top1=CLASSES), "top1"),
        "a lower place": (changed(plain, top4=plain["top1"][0]), "top4"),
        "logits": ({**plain, LOGITS: np.where(np.arange(N)[:, None] == 0, 0, ours[LOGITS])}, LOGITS),
    }  # fmt: skip
    for what, (claimed, column) in forged.items():
        found = verdicts(claimed, ours, labels[:, None])
        assert found == [column] + [None] * (N - 1), what


@pytest.mark.parametrize("column", ["label", "top1", "hit", "logp_top1", "logp_label", "sum_p2"])
def test_a_column_that_is_gone_or_no_numbers_is_false_everywhere(honest, column):
    logits, labels = honest
    ours = recorded(logits, labels)
    texts = np.array(["<script>"] * N, object)
    for claimed in ({k: v for k, v in ours.items() if k != column}, {**ours, column: texts}):
        assert verdicts(claimed, ours, labels[:, None]) == [column] * N


def test_logits_that_are_not_finite_must_be_claimed_so(honest):
    logits, labels = honest
    broken = logits.copy()
    broken[0, 3] = np.nan
    ours, claimed = recorded(broken, labels), recorded(logits, labels)
    assert verdicts(ours, ours, labels[:, None]) == [None] * N
    assert verdicts(claimed, ours, labels[:, None])[0] == "top1"
    assert verdicts(ours, claimed, labels[:, None])[0] == "top1"


def test_outliers_and_several_right_answers(honest):
    logits, _ = honest
    none = np.full(N, -1)
    ours = recorded(logits, none)
    assert verdicts(ours, ours, none[:, None]) == [None] * N
    assert verdicts(changed(ours, hit=0), ours, none[:, None])[0] == "hit"
    accepted = right_classes(
        [(k % CLASSES, (k + 5) % CLASSES) if k % 2 else (k % CLASSES,) for k in range(N)]
    )
    both = recorded(logits, accepted[:, 0], accepted)
    assert verdicts(both, both, accepted) == [None] * N
    alone = recorded(logits, accepted[:, 0])
    assert any(verdicts(alone, both, accepted)), "as if only the first were right"


def test_facts_count_too(honest):
    logits, labels = honest
    ours = {**recorded(logits, labels), "x_share": np.linspace(0, 1, N, dtype=np.float32)}
    assert verdicts(ours, ours, labels[:, None]) == [None] * N
    assert verdicts(changed(ours, x_share=0.5), ours, labels[:, None])[0] == "x_share"
    bare = {k: v for k, v in ours.items() if k != "x_share"}
    assert verdicts(bare, ours, labels[:, None]) == ["x_share"] * N


def test_the_gap_is_that_of_our_logits(honest):
    logits, labels = honest
    ours = recorded(logits, labels)
    row = int(np.flatnonzero(ours["hit"] > 0)[0])
    claimed = {k: v.copy() for k, v in ours.items()}
    claimed["top1"][row] = labels[row]
    fault = judge(claimed, ours, labels[:, None], FLOAT)[row]
    assert fault.gap == pytest.approx(logits[row].max() - logits[row, labels[row]], rel=1e-5)
    assert fault.gap > fault.room == pytest.approx(room_of(ours[LOGITS].astype(float), FLOAT)[row])


def test_an_unknown_precision_is_refused():
    assert rounding("float32", "float16") == ROUNDING["float16"]
    with pytest.raises(StoreError, match="expected one of float32, float16, bfloat16"):
        rounding("float31")


def test_numbers_from_outside():
    assert whole(np.array([1.0, 1.5, np.nan, np.inf]), 4).tolist()[0] == 1
    assert len(set(whole(np.array([1.5, np.nan, np.inf]), 3).tolist())) == 1
    assert whole(np.array([[1], [2]]), 2).tolist() == whole(None, 2).tolist()
    assert np.isnan(number(np.array(["1"], object), 1)).all()


def attack_rows(hit, fooled, label=0, **more):
    hit = np.asarray(hit)
    top1 = np.where(hit == 0, label, label + 1)
    base = {"label": np.full(hit.size, label), "hit": hit, "top1": top1, "fooled": np.asarray(fooled)}
    return {**base, "queries": np.full(hit.size, 3), "linf": np.full(hit.size, 0.03), **more}


def test_what_a_row_says_of_its_image():
    rows = attack_rows([0, 2, 2], [False, True, False])
    assert states(rows, 3, attacked=True) == ["stands", "fell", "wrong before the attack"]
    assert states(rows, 3, attacked=False) == ["stands", "fell", "fell"]


def test_a_row_of_an_attack_must_not_contradict_itself():
    ours = attack_rows([0, 2, 2, 0], [False, True, False, False])
    assert contradictions(ours, ours, attacked=True) == [None] * 4
    right_and_fooled = attack_rows([0, 0, 2, 0], [False, True, False, False])
    another_answer = {**ours, "top1": np.array([5, 1, 1, 0])}
    another_label = {**ours, "label": np.array([0, 0, 0, 7])}
    no_fooled = {k: v for k, v in ours.items() if k != "fooled"}
    found = [
        [f.column if f else None for f in contradictions(c, ours, attacked=True)]
        for c in (right_and_fooled, another_answer, another_label, no_fooled)
    ]
    assert found[0] == [None, "fooled", None, None]
    assert found[1] == ["hit", None, None, None]
    assert found[2] == [None, None, None, "label"]
    assert found[3] == ["fooled"] * 4


def test_rows_are_alike_when_the_search_took_the_same_way():
    ours = attack_rows([0, 2, 2], [False, True, False])
    assert alike(ours, ours).all()
    assert alike({**ours, "queries": np.array([3, 3, 4])}, ours).tolist() == [True, True, False]
    assert alike({**ours, "linf": np.array([0.03, 0.05, 0.03])}, ours).tolist() == [True, False, True]
