"""Images with several right answers or none, facts of the data, kept logits: from the source to the rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

import robobench
from robobench.data.digits import Digits
from robobench.engine.frames import annotated
from robobench.engine.resolve import resolve
from robobench.errors import AttackError, SuiteError
from robobench.metrics.accuracy import Top1, Top5
from robobench.suite.load import parse_suite
from robobench.suite.suite import ModelEntry
from robobench.tasks.classification import Classification
from robobench.types import DataIndex, LabelSpace
from tests.fakes import make_batch

SUITE = """
schema: 1
name: truth
title: Truth
data: {source: digits, path: mnist, limit: 30}
view: {}
metrics: [accuracy.top1, accuracy.top5]
"""


class First(nn.Module):
    """Always the same logits: 9, 8, ..., 0 for the ten digits."""

    def forward(self, pixels):
        return torch.arange(9.0, -1.0, -1.0).expand(len(pixels), 10)


@dataclass(frozen=True)
class Changed(Digits):
    """Digits whose index is changed by what a test puts here."""

    def index(self) -> DataIndex:
        return CHANGE["now"](super().index())


CHANGE = {"now": lambda index: index}


@pytest.fixture
def changed(monkeypatch):
    from robobench.engine import resolve as module

    real = module.registry.data.build

    def build(name, params=None, *, strict=True):
        made = real(name, params, strict=strict)
        return Changed(**vars(made)) if isinstance(made, Digits) else made

    monkeypatch.setattr(module.registry.data, "build", build)
    yield lambda change: CHANGE.update(now=change)
    CHANGE.update(now=lambda index: index)


def logits(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def test_the_best_of_several_right_answers_counts():
    z = logits([3.0, 2.0, 1.0, 0.0], [3.0, 2.0, 1.0, 0.0], [3.0, 2.0, 1.0, 0.0])
    accepted = torch.tensor([[2, 1], [3, -1], [2, 0]])
    rows = Classification().record(z, torch.tensor([2, 3, 2]), accepted)
    assert rows["hit"].tolist() == [1, 3, 0]
    assert rows["label"].tolist() == [2, 3, 2]
    p = np.exp([3.0, 2.0, 1.0, 0.0]) / np.exp([3.0, 2.0, 1.0, 0.0]).sum()
    np.testing.assert_allclose(np.exp(rows["logp_label"]), [p[2] + p[1], p[3], p[2] + p[0]], rtol=1e-6)


def test_one_acceptable_class_is_the_label():
    torch.manual_seed(0)
    z, labels = torch.randn(50, 7), torch.randint(0, 7, (50,))
    alone = Classification().record(z, labels)
    listed = Classification().record(z, labels, torch.stack([labels, torch.full((50,), -1)], dim=1))
    for name, values in alone.items():
        np.testing.assert_array_equal(values, listed[name])


def test_an_outlier_is_neither_right_nor_wrong():
    rows = Classification().record(
        logits([3.0, 2.0, 1.0, 0, 0, 0], [0, 1, 0, 0, 0, 0]), torch.tensor([-1, 1])
    )
    assert rows["hit"].tolist() == [-2, 0]
    assert np.isnan(rows["logp_label"]).tolist() == [True, False]
    assert np.isfinite(rows["logp_top1"]).all()
    assert rows["top1"].tolist() == [0, 1]
    for metric in (Top1(), Top5()):
        np.testing.assert_array_equal(metric(rows), [np.nan, 1.0])


def test_an_outlier_with_broken_logits_is_undefined_too_but_says_so():
    rows = Classification().record(logits([np.nan, 1.0]), torch.tensor([-1]))
    assert rows["top1"].tolist() == [-1]
    assert rows["hit"].tolist() == [-1]


def test_annotations_go_with_their_images():
    data = resolve(parse_suite(SUITE, "s.yaml"), [ModelEntry("zoo:vit")]).data["base"]
    batch = make_batch(3)
    known = replace(
        data,
        accepted={batch.ids[1]: (4, 2, 7)},
        facts={"texture": {i: float(k) for k, i in enumerate(batch.ids)}},
    )
    found = annotated(batch, known)
    assert found.accepted.tolist() == [
        [int(batch.labels[0]), -1, -1],
        [4, 2, 7],
        [int(batch.labels[2]), -1, -1],
    ]
    assert found.select([2, 1]).accepted[1].tolist() == [4, 2, 7]
    assert found.select([2, 0]).facts["texture"].tolist() == [2.0, 0.0]
    assert annotated(batch, data) is batch


def test_facts_and_several_answers_reach_the_rows(changed, tmp_path):
    def change(index):
        return replace(
            index,
            accepted={i: (5, 1) for i in index.ids},
            facts={"turn": tuple(float(i[-3:]) for i in index.ids)},
        )

    changed(change)
    found = robobench.run(parse_suite(SUITE, "s.yaml"), {"first": First()}, out=tmp_path)
    rows = found.rows
    assert len(rows) == 30
    assert set(rows.hit) == {1}  # class 1 stands second in every answer
    assert [float(i[-3:]) for i in rows.image_id] == rows.x_turn.tolist()
    accuracy = found.leaderboard.entries[0].cells["clean"].score("accuracy.top5")
    assert (accuracy.value, accuracy.n) == (1.0, 30)


def test_what_is_right_is_part_of_the_cells_identity(changed):
    def key():
        suite = parse_suite(SUITE, "s.yaml")
        return resolve(suite, [ModelEntry("zoo:vit")]).data["base"].identity

    plain = key()
    changed(lambda index: replace(index, accepted={index.ids[0]: (1, 2)}))
    one = key()
    changed(lambda index: replace(index, accepted={index.ids[0]: (1, 3)}))
    two = key()
    changed(lambda index: replace(index, facts={"x": (float("nan"),) * len(index.ids)}))
    assert len({plain, one, two, key()}) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda i: replace(i, accepted={i.ids[0]: (1, 2)}), "several right answers"),
        (lambda i: replace(i, labels=(-1,) * len(i.labels)), "no right answer"),
    ],
)
@pytest.mark.parametrize(
    "condition",
    [
        "{use: gradient.fgsm, with: {eps: 1/255}}",
        "{use: occlusion.random, with: {fraction: 0.5}, worst_of: 2}",
    ],
)
def test_what_needs_one_right_answer_is_refused_before_the_first_step(changed, change, said, condition):
    changed(change)
    suite = parse_suite(f"{SUITE}conditions:\n  - {condition}\n", "s.yaml")
    with pytest.raises(AttackError, match=f"needs one right answer for each image, and .* have {said}"):
        resolve(suite, [ModelEntry("zoo:vit")])


def test_outliers_have_no_accuracy_on_a_board(changed, tmp_path):
    changed(lambda index: replace(index, labels=(-1,) * len(index.labels)))
    found = robobench.run(parse_suite(SUITE, "s.yaml"), {"first": First()}, out=tmp_path)
    score = found.leaderboard.entries[0].cells["clean"].score("accuracy.top1")
    assert np.isnan(score.value)
    assert score.n == 0


def test_a_read_out_over_all_answers_has_a_companion_on_its_own_classes(changed):
    whole = Digits(path="mnist").index().space
    part = replace(whole, name="low", parent=whole.name, within=(0, 1, 2))
    suite = parse_suite(
        f"{SUITE}conditions:\n  - {{shift: {{source: digits, path: uci}}, name: UCI}}\n", "s.yaml"
    )

    def change(index):
        if index.ids[0].startswith("mnist"):
            return index
        kept = [k for k, label in enumerate(index.labels) if label < 3]
        return replace(
            index,
            ids=tuple(index.ids[k] for k in kept),
            labels=tuple(index.labels[k] for k in kept),
            space=part,
        )

    changed(change)
    found = resolve(suite, [ModelEntry("zoo:vit")])
    companion = found.data["clean@low"]
    assert set(companion.labels.values()) == {0, 1, 2}
    assert companion.order == tuple(i for i in found.data["base"].order if found.data["base"].labels[i] < 3)
    assert companion.space == part
    assert [c.companion for c in found.conditions] == [False, False, True]


def test_logits_are_kept_when_a_suite_asks_for_them(tmp_path):
    text = SUITE + "store: logits\n"
    found = robobench.run(parse_suite(text, "s.yaml"), {"first": First()}, out=tmp_path)
    kept = np.stack(found.rows.logits.to_numpy())
    assert kept.shape == (30, 10)
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(kept[3], np.arange(9.0, -1.0, -1.0))
    again = robobench.run(parse_suite(SUITE, "s.yaml"), {"first": First()}, out=tmp_path)
    assert again.outcome.rows == 30, "rows without logits are other rows"
    assert "logits" not in again.rows


def test_a_metric_over_logits_wants_a_suite_that_keeps_them(monkeypatch):
    monkeypatch.setattr(Top1, "needs", ("hit", "logits"))
    with pytest.raises(SuiteError, match=r"s.yaml:7: accuracy.top1 needs the logit .* add `store: logits`"):
        parse_suite(SUITE, "s.yaml")
    assert parse_suite(SUITE + "store: logits\n", "s.yaml").store == "logits"


def test_options_that_are_not_used_leave_the_digest_as_it_was():
    plain = parse_suite(SUITE, "s.yaml")
    assert parse_suite(SUITE + "store: summary\nsummaries: []\n", "s.yaml").digest == plain.digest
    kept = parse_suite(SUITE + "store: logits\n", "s.yaml")
    more = parse_suite(SUITE + "summaries: [{name: m, formula: mean}]\n", "s.yaml")
    assert len({plain.digest, kept.digest, more.digest}) == 3


def test_a_label_space_knows_which_of_its_classes_occur():
    from robobench.engine.sets import classes_within

    whole = LabelSpace("w", ("a", "b", "c"), 3)
    assert classes_within(whole) is None
    assert classes_within(replace(whole, within=(2,))) == {2: (2,)}
    grouped = LabelSpace("g", ("x", "y"), 3, groups=((0,), (1, 2)), parent="w")
    assert classes_within(grouped) == {0: (0,), 1: (1, 2)}
    assert classes_within(replace(grouped, within=(1,))) == {1: (1, 2)}
