"""What the engine makes of an attack: who has fallen, who leaves, what is kept and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from robobench.contracts import Ensemble, Seen, State, SteppedAttack
from robobench.draws import Draws
from robobench.engine.assault import run_attack
from robobench.engine.lots import Attacked
from robobench.errors import AttackError
from robobench.losses import margin
from robobench.tasks.classification import Classification
from robobench.types import ImageBatch
from tests.fakes import FakeModel, make_draws

LOT = 4


class Bright(nn.Module):
    """Two classes and a third that never wins; class 1 from a mean brightness of a half on."""

    def forward(self, x: Tensor) -> Tensor:
        level = x.mean(dim=(1, 2, 3))
        return torch.stack([0.5 - level, level - 0.5, torch.full_like(level, -9.0)], dim=1)


@dataclass(frozen=True, kw_only=True)
class Lift:
    """Adds `pace` a step; asks about its point, or about the point that many steps ahead."""

    pace: float
    eps: float = 1.0
    steps: int = 5
    restarts: int = 1
    ahead: float = 0.0
    over: int = 10**6  # done after so many steps
    norm: str | None = "linf"
    white: bool = True
    nested: ClassVar[str | None] = "eps"
    cost: ClassVar[int] = 1

    def start(self, batch: ImageBatch, logits: Tensor, restart: int, draws: Draws) -> State:
        count = torch.zeros(len(batch))
        return {"pixels": batch.pixels, "count": count, "done": count > 0}

    def probe(self, batch: ImageBatch, state: State) -> Tensor:
        return (state["pixels"] + self.ahead).clamp(max=1)

    def loss(self, logits: Tensor, labels: Tensor, state: State) -> Tensor:
        return margin(logits, labels)

    def step(self, batch: ImageBatch, state: State, seen: Seen) -> State:
        count = state["count"] + 1
        pixels = torch.minimum((state["pixels"] + self.pace).clamp(max=1), batch.pixels + self.eps)
        return {"pixels": pixels, "count": count, "done": count >= self.over}


@dataclass(frozen=True)
class Both:
    """Two attacks one after the other."""

    parts: tuple[Any, ...]
    norm: ClassVar[str | None] = "linf"
    eps: ClassVar[float] = 1.0
    nested: ClassVar[str | None] = "eps"
    cost: ClassVar[int] = 2

    def stages(self, classes: int) -> Sequence[Any]:
        assert classes == 3
        return self.parts


def images(*levels: float) -> ImageBatch:
    pixels = torch.stack([torch.full((3, 2, 2), level) for level in levels])
    ids = tuple(f"{i}" for i in range(len(levels)))
    return ImageBatch(pixels, ids, (pixels.mean(dim=(1, 2, 3)) >= 0.5).long())


def attacked(attack: Any, batch: ImageBatch, rows: Sequence[int] | None = None) -> Attacked:
    model = FakeModel(Bright())
    clean = model(batch).detach()
    chosen = list(range(len(batch))) if rows is None else list(rows)
    return run_attack(attack, model, batch, clean, chosen, make_draws(batch), LOT, Classification())


DARK = images(0.45, 0.35, 0.05, 0.45, 0.25, 0.15)


def test_an_image_leaves_with_the_first_probe_that_fools() -> None:
    found = attacked(Lift(pace=0.1), DARK)
    assert isinstance(Lift(pace=0.1), SteppedAttack)
    assert found.fell.tolist() == [True] * 6
    assert found.queries.tolist() == [2, 3, 6, 2, 4, 5]  # the first question is about the image itself
    assert torch.allclose(found.pixels.mean(dim=(1, 2, 3)), torch.full((6,), 0.55), atol=1e-6)
    assert found.stage.tolist() == [0] * 6
    assert found.grad_zero.tolist() == [0.0] * 6


def test_who_stands_keeps_the_last_point_and_is_asked_about_it() -> None:
    found = attacked(Lift(pace=0.1, steps=2), DARK)
    assert found.fell.tolist() == [True, True, False, True, False, False]
    assert found.pixels[2].mean().item() == pytest.approx(0.25)
    assert found.queries[2] == 3
    assert found.stage[2] == -1


def test_rows_come_back_in_the_order_they_were_given() -> None:
    found = attacked(Lift(pace=0.1, steps=2), DARK, [2, 0])
    assert found.fell.tolist() == [False, True]


def test_a_probe_outside_of_the_budget_is_no_fall() -> None:
    found = attacked(Lift(pace=0.0, eps=0.2, ahead=0.3), DARK)
    assert not found.fell.any()
    inside = attacked(Lift(pace=0.0, eps=0.3, ahead=0.3), DARK)
    assert inside.fell.tolist() == [True, True, False, True, True, False]
    assert torch.allclose(inside.pixels[0], DARK.pixels[0] + 0.3)


def test_without_a_budget_nobody_is_stopped() -> None:
    found = attacked(Lift(pace=0.1, steps=4, norm=None), DARK)
    assert found.queries.tolist() == [5] * 6
    assert found.pixels[0].mean().item() == pytest.approx(0.85)


def test_done_ends_an_image_early() -> None:
    found = attacked(Lift(pace=0.01, over=2, steps=50), DARK)
    assert found.queries.tolist() == [3] * 6


def test_without_gradients_none_is_counted() -> None:
    found = attacked(Lift(pace=0.1, steps=2, white=False), DARK)
    assert found.grad_zero.isnan().all()
    assert found.loss_gain[2].item() == pytest.approx(0.2)


def test_an_ensemble_gives_each_stage_who_still_stands() -> None:
    weak, strong = Lift(pace=0.1, steps=2), Lift(pace=0.2, steps=3, white=False)
    both = Both((weak, strong))
    assert isinstance(both, Ensemble)
    found = attacked(both, DARK)
    assert found.stage.tolist() == [0, 0, 1, 0, 1, 1]
    assert found.blind.tolist() == [False, False, True, False, True, True]
    assert found.fell.all()
    assert found.queries[0] == attacked(weak, DARK).queries[0]
    assert found.queries[2] == attacked(weak, DARK).queries[2] + attacked(strong, DARK).queries[2]


def test_a_larger_ensemble_never_leaves_more_standing() -> None:
    parts = (Lift(pace=0.05, steps=2), Lift(pace=0.1, steps=2), Lift(pace=0.1, steps=4))
    left = [int((~attacked(Both(parts[:k]), DARK).fell).sum()) for k in (1, 2, 3)]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1]


def test_an_ensemble_of_black_boxes_is_not_blind() -> None:
    found = attacked(Both((Lift(pace=0.1, steps=2, white=False), Lift(pace=0.2, white=False))), DARK)
    assert not found.blind.any()


def test_company_does_not_matter() -> None:
    together = attacked(Lift(pace=0.07), DARK)
    for row in range(len(DARK)):
        alone = attacked(Lift(pace=0.07), DARK, [row])
        assert torch.equal(alone.pixels[0], together.pixels[row])
        assert alone.queries[0] == together.queries[row]


def test_leaving_the_budget_is_an_error() -> None:
    class Liar(Lift):
        def step(self, batch: ImageBatch, state: State, seen: Seen) -> Mapping[str, Tensor]:
            return {**state, "pixels": batch.pixels + 0.3}

    with pytest.raises(AttackError, match=r"moved an image by 0\.3.* in linf, budget 0\.1"):
        attacked(Liar(pace=0.1, eps=0.1, steps=1), DARK)


def test_states_that_share_memory_are_kept_apart() -> None:
    class Shared(Lift):
        def step(self, batch: ImageBatch, state: State, seen: Seen) -> Mapping[str, Tensor]:
            moved = super().step(batch, state, seen)
            return {**moved, "best": moved["pixels"]}

        def start(self, batch: ImageBatch, logits: Tensor, restart: int, draws: Draws) -> State:
            return {**super().start(batch, logits, restart, draws), "best": batch.pixels * 0}

    found = attacked(Shared(pace=0.01, steps=3), DARK)
    assert torch.allclose(found.pixels, DARK.pixels + 0.03, atol=1e-6)
