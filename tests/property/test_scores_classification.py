"""What is recorded of logits, against a plain loop over the classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robobench.tasks.classification import Classification

torch.set_num_threads(1)

# few values, so that equal logits are common
some = st.sampled_from([-2.0, -0.5, 0.0, 0.5, 1.0, 3.0]) | st.floats(-30, 30, width=32)
broken = st.sampled_from([np.nan, np.inf, -np.inf])


@st.composite
def batches(draw, values=some):
    b, k = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    logits = draw(hnp.arrays(np.float32, (b, k), elements=values))
    labels = draw(hnp.arrays(np.int64, (b,), elements=st.integers(0, k - 1)))
    return logits, labels


def by_hand(row, label):
    """One image's record by sorting (logit, class) pairs and exponentials in float64."""
    nothing = [-1] * 5, -1, [np.nan] * 4
    if not np.isfinite(row).all():
        return nothing
    order = sorted(range(len(row)), key=lambda c: (-row[c], c))
    shifted = np.exp(row.astype(np.float64) - row.astype(np.float64).max())
    p = shifted / shifted.sum()
    logp = row.astype(np.float64) - row.astype(np.float64).max() - np.log(shifted.sum())
    best = (order + [-1] * 5)[:5]
    second = logp[order[1]] if len(row) > 1 else np.nan
    return best, order.index(label), [logp[order[0]], second, logp[label], (p**2).sum()]


def check(logits, labels):
    task = Classification()
    rows = task.record(torch.from_numpy(logits), torch.from_numpy(labels))
    fallen = task.fallen(torch.from_numpy(logits), torch.from_numpy(labels)).numpy()
    assert list(rows) == task.schema().names
    for i, (row, label) in enumerate(zip(logits, labels, strict=True)):
        best, hit, shares = by_hand(row, int(label))
        assert [int(rows[f"top{k + 1}"][i]) for k in range(5)] == best
        assert int(rows["hit"][i]) == hit
        assert int(rows["label"][i]) == label
        assert bool(fallen[i]) is (hit != 0)
        found = [float(rows[n][i]) for n in ("logp_top1", "logp_top2", "logp_label", "sum_p2")]
        assert found == pytest.approx(shares, rel=1e-6, abs=1e-6, nan_ok=True)


@given(batches())
def test_the_record_is_that_of_a_plain_loop(batch):
    check(*batch)


@given(batches(some | broken))
def test_rows_that_are_not_finite_say_so_and_touch_no_other(batch):
    check(*batch)


@given(batches(some | broken), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_an_image_does_not_depend_on_its_company(batch, random):
    logits, labels = batch
    order = list(range(len(labels)))
    random.shuffle(order)
    task = Classification()
    whole = task.record(torch.from_numpy(logits), torch.from_numpy(labels))
    for place in order:
        one = slice(place, place + 1)
        alone = task.record(torch.from_numpy(logits[one]), torch.from_numpy(labels[one]))
        for name in whole:
            assert np.array_equal(whole[name][one], alone[name], equal_nan=True), name


def test_types_are_those_of_the_schema():
    import pyarrow as pa

    task = Classification()
    rows = task.record(torch.randn(3, 7, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2]))
    table = pa.table(dict(rows))
    assert table.schema == task.schema()


def test_half_precision_and_gradients_are_read_as_they_are():
    logits = torch.tensor([[1.0, 1.0, 3.0]], dtype=torch.bfloat16, requires_grad=True)
    rows = Classification().record(logits, torch.tensor([1]))
    assert [int(rows[n][0]) for n in ("top1", "top2", "top3", "top4", "hit")] == [2, 0, 1, -1, 2]


def test_confident_answers_keep_their_tail():
    """float32 softmax would lose the wrong answers of a confident model."""
    rows = Classification().record(torch.tensor([[0.0, 200.0]]), torch.tensor([0]))
    assert float(rows["logp_label"][0]) == pytest.approx(-200.0)
    assert float(rows["logp_top1"][0]) == pytest.approx(0.0, abs=1e-12)
