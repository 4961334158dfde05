"""Conditions with a view of their own: resolution ladders, and models that take one size only."""

from __future__ import annotations

import pytest
import torch

from robobench.engine.resolve import cells
from robobench.errors import SuiteError, Unsupported
from robobench.models.handle import Described, Handle
from robobench.store import Store
from robobench.suite.load import parse_suite
from robobench.types import View
from tests.bench import HEAD, carry_out, left, resolved, rows
from tests.fakes import FakeModel, conv_model, make_batch, mixer_model, vit_model

LADDER = """
conditions:
  - {name: resolution, view: {crop_pct: 0.5}, ladder: {side: [14, 28, 56]}}
  - {use: occlusion.random, name: small, with: {fraction: 0.5, grid: 4}, view: {size: 16}}
"""


class Sizes(torch.nn.Module):
    """Remembers the sizes it was shown; refuses the unwanted one."""

    def __init__(self, refused: int | None = None) -> None:
        super().__init__()
        self.net, self.seen, self.refused = conv_model(10).module, [], refused

    def forward(self, pixels):
        if pixels.shape[-1] == self.refused:
            raise AssertionError(f"no {self.refused} please")
        self.seen.append(tuple(pixels.shape[-2:]))
        return self.net(pixels)


def test_a_ladder_of_resolutions_is_a_ladder_of_views():
    suite = parse_suite(HEAD + LADDER, "t.yaml")
    views = {d.name: d.view for d in suite.data}
    assert views == {
        "base": None,
        "resolution side=14": View(28, 14),
        "resolution side=28": View(56, 28),
        "resolution side=56": View(112, 56),
        "small": View(size=16),
    }
    assert [(c.ladder, c.along, c.level) for c in suite.conditions[1:4]] == [
        ("resolution", "side", s) for s in (14, 28, 56)
    ]


def test_the_model_sees_the_size_of_each_view(tmp_path):
    module = Sizes()
    found = resolved(LADDER, FakeModel(module, outputs=10))
    outcome = carry_out(found, tmp_path)
    assert not outcome.failures
    assert set(module.seen) == {(28, 28), (14, 14), (56, 56), (16, 16)}
    counts = rows(found, tmp_path).groupby("condition").size()
    assert dict(counts) == dict.fromkeys((c.name for c in found.conditions), 40)
    assert found.data["small"].ids == found.data["base"].ids


def test_a_view_changes_the_cell_and_nothing_else(tmp_path):
    found = resolved(LADDER, conv_model(10))
    keys = {c.condition.name: c.key for c in cells(found)}
    assert len(set(keys.values())) == len(keys)
    other = resolved(LADDER.replace("[14, 28, 56]", "[14, 28]"), conv_model(10))
    assert {c.key for c in cells(other)} < set(keys.values())


def test_a_size_that_a_model_refuses_is_unsupported_and_no_failure(tmp_path):
    module = Sizes(refused=56)
    found = resolved(LADDER, FakeModel(module, outputs=10))
    outcome = carry_out(found, tmp_path)
    assert [(f.condition, f.unsupported) for f in outcome.failures] == [("resolution side=56", True)]
    assert (
        outcome.failures[0].reason
        == "takes no images of resize 112, crop 56, bilinear: AssertionError: no 56 please"
    )
    assert outcome.broken == []
    (item,) = left(found, Store.open(tmp_path)).items
    assert [c.condition.name for c in item.cells] == ["resolution side=56"]


def test_another_mistake_of_the_model_stays_a_failure(tmp_path):
    class Broken(Sizes):
        def forward(self, pixels):
            if len(pixels) > 1 and pixels.shape[-1] == 56:
                raise RuntimeError("a weight fell out")
            return super().forward(pixels)

    outcome = carry_out(resolved(LADDER, FakeModel(Broken(), outputs=10)), tmp_path)
    assert [f.unsupported for f in outcome.failures] == [False]
    assert outcome.broken == outcome.failures


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("side: [14", "sides: [14"), "t.yaml:7: no step and no view has 'sides'; did you mean 'side' or 'size'?"),
        (("[14, 28", "[14.5, 28"), "t.yaml:7: view.side: Input should be a valid integer, got 14.5"),
        (("[14, 28", "[28, 28"), "t.yaml:7: ladder side: a level is given twice"),
        (("{crop_pct: 0.5}", "{side: 14}"), "t.yaml:7: 'side' stands in `view` and in `ladder`"),
        (("{size: 16}", "{crop_pct: 0.5}"), "t.yaml:8: view: `crop_pct` belongs to a `side`, and there is none"),
        (("{size: 16}", "{size: 16, side: 3}"), "`side` stands for `resize` and `crop`"),
        (("view: {size: 16}", "view: {sise: 16}"), "unknown key 'sise'; did you mean 'size' or 'side' or 'resize'?"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_line(wrong, message):
    with pytest.raises(SuiteError) as error:
        parse_suite(HEAD + LADDER.replace(*wrong), "t.yaml")
    assert message in str(error.value)


def handle(model: FakeModel, side: int | None) -> Handle:
    return Handle("m", Described(model.module, side=side))


def test_a_vit_of_timm_is_told_its_size_and_others_are_not_resized():
    small = handle(vit_model(side=32, patch=8), 32)
    assert small.at(32) is small
    large = small.at(48)
    batch = make_batch(2, 48)
    answers = large(batch)
    assert answers.shape == (2, 5)
    assert large.resized == set()
    assert not torch.allclose(answers, small(batch))  # the small one squeezes them to 32
    assert small.module.pos_embed.shape != large.module.pos_embed.shape
    small.check_frozen()


def test_a_mixer_takes_one_size_only():
    with pytest.raises(Unsupported, match="takes images of 32x32 only, 48x48 were asked for"):
        handle(mixer_model(side=32, patch=8), 32).at(48)


def test_a_size_that_patches_do_not_fill_is_unsupported():
    fitting = handle(vit_model(side=32, patch=8), 32)
    with pytest.raises(Unsupported):
        fitting.at(5)(make_batch(2, 5))


def test_a_model_without_a_size_is_itself():
    convolutional = handle(conv_model(), None)
    assert convolutional.at(48) is convolutional
