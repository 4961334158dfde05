"""An attack of any kind over the images that stand: in steps, by whole lots, or one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from robobench.contracts import Ensemble, Model, SteppedAttack, Task
from robobench.draws import Draws
from robobench.engine.lots import Attacked, check_budget, predict, run_whole
from robobench.engine.stepped import Stepped
from robobench.errors import AttackError
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


def run_attack(
    attack: Any,
    model: Model,
    batch: ImageBatch,
    clean: Tensor,
    rows: Sequence[int],
    draws: Draws,
    lot: int,
    task: Task,
    stop: bool = True,
) -> Attacked:
    """Attack the given rows of a batch, whose logits are known. Raises AttackError.

    stop: an image that has fallen is left alone; else it goes on to the last step of its start. What leaves
    budget or range is an error, never a result.
    """
    if getattr(attack, "identity", False):
        return _untouched(batch, rows)
    if isinstance(attack, Ensemble):
        result = _one_after_the_other(attack, model, batch, clean, rows, draws, lot, task, stop)
    elif isinstance(attack, SteppedAttack):
        result = Stepped(attack, model, batch, clean, draws, lot, task, stop).run(rows)
    else:
        result = run_whole(attack, model, batch, rows, draws, lot)
    check_budget(attack, batch.select(rows).pixels, result.pixels)
    return result


def _confirmed(
    found: Attacked, model: Model, batch: ImageBatch, rows: Sequence[int], lot: int, task: Task
) -> Attacked:
    """Of a randomised model's falls those that it repeats: the others stand for the next stage."""
    images = batch.select(rows).with_pixels(found.pixels)
    again = predict(model, images, range(len(rows)), lot)
    return replace(found, fell=found.fell & task.fallen(again, images.labels).cpu())


def _untouched(batch: ImageBatch, rows: Sequence[int]) -> Attacked:
    """The images as they are: with an empty budget there is nothing to ask."""
    import torch

    none = torch.zeros(len(rows), dtype=torch.int64)
    unknown = torch.full((len(rows),), float("nan"))
    return Attacked(batch.select(rows).pixels, none, unknown, unknown, none.bool(), none - 1, none.bool())


def _one_after_the_other(
    attack: Ensemble,
    model: Model,
    batch: ImageBatch,
    clean: Tensor,
    rows: Sequence[int],
    draws: Draws,
    lot: int,
    task: Task,
    stop: bool,
) -> Attacked:
    """Each stage gets the images that stood all earlier ones; its draws are those of its own name."""
    import torch

    place = {row: i for i, row in enumerate(rows)}
    whole: Attacked | None = None
    standing = list(rows)
    followed = False
    for number, stage in enumerate(attack.stages(int(clean.shape[1]))):
        if not standing:
            break
        own = replace(draws, stream=f"{draws.stream}/{number} {type(stage).__name__}", memo=None)
        found = run_attack(stage, model, batch, clean, standing, own, lot, task, stop)
        if getattr(stage, "eot", 1) > 1:
            found = _confirmed(found, model, batch, standing, lot, task)
        blind = found.fell if followed and not stage.white else torch.zeros_like(found.fell)
        found = replace(found, stage=torch.where(found.fell, number, -1), blind=blind)
        followed = followed or bool(stage.white)
        if whole is None:
            whole = found
        else:
            _merge(whole, found, [place[row] for row in standing])
        fell = found.fell.tolist()
        standing = [row for row, down in zip(standing, fell, strict=True) if not down]
    if whole is None:
        raise AttackError(f"{type(attack).__name__}: has no stages")
    return whole


def _merge(whole: Attacked, found: Attacked, places: list[int]) -> None:
    """Into the record of all images what a later stage did to some: the last attack's word counts."""
    import torch

    at = torch.as_tensor(places)
    down = found.fell
    whole.pixels[at[down].to(whole.pixels.device)] = found.pixels[down.to(found.pixels.device)]
    whole.queries[at] += found.queries
    whole.fell[at] = down
    whole.stage[at] = found.stage
    whole.blind[at] = found.blind
    whole.grad_zero[at] = torch.fmax(whole.grad_zero[at], found.grad_zero)
    whole.loss_gain[at] = torch.fmax(whole.loss_gain[at], found.loss_gain)
