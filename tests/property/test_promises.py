"""The promises of the engine, on fake models and real digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robobench.engine.lots import check_budget
from robobench.engine.sets import visiting_order
from robobench.errors import AttackError
from robobench.store import Store
from tests.bench import ATTACKS, PASSIVE, carry_out, left, resolved, rows, same_rows
from tests.fakes import FakeModel, conv_model, conv_net


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    frames = {}
    for text in (PASSIVE, ATTACKS):
        root = tmp_path_factory.mktemp("reference")
        found = resolved(text, conv_model(10))
        assert not carry_out(found, root).failures
        frames[text] = rows(found, root)
    return frames


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("text", [PASSIVE, ATTACKS], ids=["passive", "attacks"])
def test_rows_do_not_depend_on_the_batch_size(text, batch_size, reference, tmp_path):
    found = resolved(text, conv_model(10))
    carry_out(found, tmp_path, batch_size)
    same_rows(rows(found, tmp_path), reference[text])


@pytest.mark.parametrize("text", [PASSIVE, ATTACKS], ids=["passive", "attacks"])
def test_rows_do_not_depend_on_how_the_work_is_cut(text, reference, tmp_path, monkeypatch):
    monkeypatch.setattr("robobench.engine.plan.ITEM_PASSES", 1)
    monkeypatch.setattr("robobench.engine.plan.ATTACK_LOTS", 1)
    found = resolved(text, conv_model(10))
    assert len(left(found, Store.open(tmp_path, create=True)).items) > 3
    carry_out(found, tmp_path)
    same_rows(rows(found, tmp_path), reference[text])


def test_a_longer_run_adds_rows_and_changes_none(tmp_path):
    short, long = (
        resolved(PASSIVE + ATTACKS.removeprefix("conditions:\n"), conv_model(10), limit=n) for n in (20, 40)
    )
    carry_out(short, tmp_path)
    first = rows(short, tmp_path)
    carry_out(long, tmp_path)
    both = rows(long, tmp_path)
    kept = both.merge(first[["cell", "image_id"]]).sort_values(["condition", "image_id"], ignore_index=True)
    same_rows(kept[first.columns], first)
    assert len(both) == 2 * len(first)


def test_the_second_run_computes_nothing(tmp_path):
    found = resolved(PASSIVE, conv_model(10))
    assert carry_out(found, tmp_path).rows == sum(left(found, Store(tmp_path)).wanted.values())
    model = conv_model(10)
    again = resolved(PASSIVE, model)
    assert carry_out(again, tmp_path).rows == 0
    assert model.calls == []


def test_every_pass_under_an_attack_has_the_shape_of_the_lot(tmp_path):
    model = conv_model(10)
    attacks_only = resolved("lot: 8\n" + ATTACKS, model)
    item = next(
        i for i in left(attacks_only, Store.open(tmp_path, create=True)).items if i.cells[0].condition.attack
    )
    assert len(item.ids) == 40
    carry_out(attacks_only, tmp_path, batch_size=13)
    under_attack = [n for n in model.calls if n != 13]
    assert under_attack.count(8) > 50
    # what is not a lot of 8: a first look at two images, twice, and the clean condition in batches of 13
    assert [n for n in model.calls if n != 8] == [2, 2, 13, 13, 13, 1]


def test_robust_accuracy_never_rises_along_a_budget_and_failures_are_inherited(reference):
    pgd = reference[ATTACKS].query("condition.str.startswith('pgd')")
    wrong = pgd.assign(wrong=pgd.hit != 0).pivot(index="image_id", columns="condition", values="wrong")
    small, middle, large = (wrong[f"pgd eps={n}/255"] for n in (2, 8, 32))
    assert (small <= middle).all()
    assert (middle <= large).all()
    assert small.sum() < large.sum()
    both = pgd.pivot(index="image_id", columns="condition", values="linf")
    fell_early = small & (both["pgd eps=2/255"] > 0)
    assert fell_early.any()
    assert (both["pgd eps=32/255"][fell_early] <= 2 / 255 + 1e-6).all()


def test_an_attack_stays_in_its_budget_and_counts_its_queries(reference):
    frame = reference[ATTACKS]
    for name, eps in [("fgsm eps=2/255", 2), ("fgsm eps=8/255", 8), ("pgd eps=32/255", 32), ("under", 4)]:
        assert frame[frame.condition == name].linf.max() <= eps / 255 + 1e-6
    fgsm = frame[frame.condition == "fgsm eps=2/255"]
    assert set(fgsm.queries) == {1, 3}  # wrong before: one look; else also a gradient and the answer to it
    pgd = frame[frame.condition == "pgd eps=2/255"]
    standing = pgd[pgd.hit == 0]
    assert (standing.queries == 1 + 2 * (4 + 1)).all()


def test_an_attack_is_measured_from_the_image_it_was_given(reference):
    frame = reference[ATTACKS]
    under = frame[frame.condition == "under"]
    assert (under.x_information_loss > 0).all()
    assert under.linf.max() <= 4 / 255 + 1e-6


def test_an_attack_outside_its_budget_or_range_is_an_error():
    from robobench.registry import attacks

    attack = attacks.build("gradient.fgsm", {"eps": "2/255"})
    clean = torch.full((2, 3, 4, 4), 0.5)
    check_budget(attack, clean, clean + 2 / 255)
    with pytest.raises(AttackError, match=r"moved an image by 0.01.* in linf, budget 0.0078"):
        check_budget(attack, clean, clean + 3 / 255)
    with pytest.raises(AttackError, match=r"expected \[0, 1\]"):
        check_budget(attack, torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2) * 1.001)
    with pytest.raises(AttackError, match="not finite"):
        check_budget(attack, clean, clean * float("nan"))


def test_logits_that_are_not_finite_are_wrong_answers_not_lost_ones(tmp_path):
    class Sick(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = conv_net(10)

        def forward(self, pixels):
            logits = self.net(pixels)
            return torch.where(pixels.mean((1, 2, 3))[:, None] > 0.14, torch.nan, logits)

    found = resolved(PASSIVE, FakeModel(Sick(), outputs=10))
    assert not carry_out(found, tmp_path).failures
    frame = rows(found, tmp_path)
    sick = frame[frame.top1 == -1]
    assert 0 < len(sick) < len(frame)
    assert (sick.hit == -1).all()
    assert sick.logp_label.isna().all()
    assert frame[frame.top1 >= 0].logp_label.notna().all()


@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    seed=st.integers(0, 3),
    prefix=st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
def test_the_visiting_order_is_balanced_at_every_prefix(counts, seed, prefix):
    labels = tuple(c for c, n in enumerate(counts) for _ in range(n))
    ids = tuple(f"{c}/{i}" for c, n in enumerate(counts) for i in range(n))
    order = visiting_order(ids, labels, seed)
    assert sorted(order) == sorted(ids)
    shuffled = np.random.default_rng(seed).permutation(len(ids))
    assert visiting_order(tuple(ids[i] for i in shuffled), tuple(labels[i] for i in shuffled), seed) == order
    seen = [sum(int(i.split("/")[0]) == c for i in order[:prefix]) for c in range(len(counts))]
    for c, n in enumerate(counts):
        assert seen[c] == n or seen[c] >= max(seen) - 1


def test_a_donor_comes_from_the_whole_data_set_and_is_never_the_image_itself():
    from robobench.draws import Draws
    from robobench.engine.steps import donors

    everything = tuple(f"i{n}" for n in range(30))
    alone = {i: next(donors(Draws(0, "p.q", (i,)), everything)) for i in everything}
    together = dict(zip(everything, donors(Draws(0, "p.q", everything), everything), strict=True))
    assert alone == together
    assert all(i != d for i, d in together.items())
    few = dict(zip(everything[:4], donors(Draws(0, "p.q", everything[:4]), everything), strict=True))
    assert few == {i: together[i] for i in everything[:4]}
    assert set(few.values()) - set(everything[:4])
