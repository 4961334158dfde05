"""Whether attacks that follow gradients can do their work on a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from robobench.checks.finding import Finding
from robobench.contracts import Model
from robobench.errors import RobobenchError
from robobench.losses import cross_entropy, margin
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

IMAGES = 32
STEP = 0.25 / 255  # so small that the gradient speaks for it
RISES = 0.75  # of the images: half of them would for a direction without meaning


def gradients(model: Model, batch: ImageBatch, *, needed: bool, steady: bool) -> Iterator[Finding]:
    """What the gradient in the pixels is like. needed: a fault is more than a warning.

    steady: the model repeats its answers, so that two of them can be compared.
    """
    import torch

    few = batch.select(range(min(IMAGES, len(batch))))
    n = len(few)

    def said(check: str, ok: bool, found: str) -> Finding:
        return Finding(check, ok, found, warning=not needed)

    try:
        _, slope = model.gradient(few, margin)
        _, usual = model.gradient(few, cross_entropy)
    except RobobenchError as error:
        yield said("gradient", False, f"none: {error}; attacks that follow gradients cannot run")
        return
    yield said("gradient", True, "the outputs depend differentiably on the pixels")
    bad = int((~torch.isfinite(slope) | ~torch.isfinite(usual)).flatten(1).any(dim=1).sum())
    if bad:
        yield said(
            "finite gradient", False, f"NaN or infinite for {bad} of {n} images: attacks lose their way"
        )
        return
    yield said("finite gradient", True, f"for all {n} images")
    flat, faint = (_zero(g) for g in (slope, usual))
    count = int(flat.sum())
    why = ": rounding, clipping or a dead layer hides the way from attacks" if count else ""
    yield said("zero gradient", count == 0, f"zero everywhere for {count} of {n} images{why}")
    yield _saturated(faint & ~flat, n, needed)
    if steady and count < n:
        yield _rises(model, few.select(torch.nonzero(~flat).flatten().tolist()), slope[~flat], needed)


def _saturated(lost: Tensor, n: int, needed: bool) -> Finding:
    """Logits so far apart that the softmax rounds to 1 leave the cross entropy without a gradient."""
    count = int(lost.sum())
    found = f"the cross entropy loses the gradient for {count} of {n} images"
    if count:
        found += ": the logits are so far apart that its softmax rounds to 1; attack by margin or dlr"
    return Finding("saturation", count == 0, found, warning=not needed)


def _rises(model: Model, batch: ImageBatch, slope: Tensor, needed: bool) -> Finding:
    """Along the gradient the loss is above the loss against it, or the gradient is of something else."""
    import torch

    step = STEP * slope.sign()
    with torch.inference_mode():
        ahead, back = (
            margin(model(batch.with_pixels((batch.pixels + way).clamp(0, 1))), batch.labels)
            for way in (step, -step)
        )
    rose = int((ahead > back).sum())
    ok = rose >= RISES * len(batch)
    why = "" if ok else ": it is not the gradient of what the model answers"
    found = f"a small step along the gradient raises the loss of {rose} of {len(batch)} images{why}"
    return Finding("rising loss", ok, found, warning=not needed)


def _zero(gradient: Tensor) -> Tensor:
    return (gradient.flatten(1) == 0).all(dim=1)
