"""A model whose gradient also says how to draw attention to a patch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robobench.attention import Use, attention_layers, check_attention, check_fired, prefix_tokens, watched
from robobench.contracts import Loss, Model
from robobench.errors import ModelError
from robobench.params import Cells
from robobench.patches import spread
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor, nn

_TINY = 1e-30  # keeps the logarithm of no attention, and the projection onto no gradient, finite


@dataclass(frozen=True)
class Drawn:
    """A model as Patch-Fool asks it.

    Its gradient is that of the loss plus, times `weight`, those of the attention of `blocks`, taken where the
    state says that pixels are `chosen` (under a learned mask: `shown`), and 0 elsewhere. An image whose
    patches are not chosen yet (`steps_made` below 0) gets what the choice is made by: the attention paid to
    the patch that each pixel lies in, from the block `by`, else the gradient of the loss itself. Where the
    state has a `mask`, a fourth channel is the same gradient in the mask.
    """

    inner: Model
    name: str
    grid: Cells
    by: int | None  # the block whose attention chooses; None: the gradient does
    weight: float
    layers: tuple[nn.Module, ...]  # the attention layers of all blocks; none for a model without

    @classmethod
    def of(cls, model: Model, name: str, grid: Cells, by: int | None, weight: float) -> Drawn:
        """Raises Unsupported for a model without attention where it is needed, ModelError for `by` beyond."""
        if by is None and not weight:
            return cls(model, name, grid, by, weight, ())
        instead = f"`attention: 0` with `choose: saliency` in {name}, or patch.image"
        layers = tuple(attention_layers(model.module, name, instead))
        if by is not None and by >= len(layers):
            raise ModelError(f"{name}: layer: expected at most {len(layers) - 1}, got {by}")
        return cls(model, name, grid, by, weight, layers)

    @property
    def module(self) -> nn.Module:
        return self.inner.module

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks whose attention is drawn: from the second to the middle one."""
        return tuple(range(1, len(self.layers) // 2)) if self.weight else ()

    def __call__(self, batch: ImageBatch) -> Tensor:
        return self.inner(batch)

    def read(self, outputs: Tensor) -> Tensor:
        return self.inner.read(outputs)

    def taps(self, *names: str) -> AbstractContextManager[Mapping[str, Tensor]]:
        return self.inner.taps(*names)

    def gradient(self, batch: ImageBatch, loss: Loss) -> tuple[Tensor, Tensor]:
        """Logits and what leads up, (b, 3, h, w), or (b, 4, h, w) with that of the mask."""
        import torch

        fresh = (batch.inputs["steps_made"] < 0)[:, None, None, None]
        logits, own, drawn, seen = self._slopes(batch, loss)
        with torch.no_grad():
            up = self._combined(own, drawn, batch)
            scores = own
            if self.by is not None:
                paid = self._paid(seen[self.by].detach())
                scores = spread(paid, self.grid, *own.shape[2:]).expand_as(own)
            scores = torch.nn.functional.pad(scores, (0, 0, 0, 0, 0, up.shape[1] - 3))
            return logits, torch.where(fresh, scores, up)

    def _slopes(
        self, batch: ImageBatch, loss: Loss
    ) -> tuple[Tensor, Tensor, list[Tensor], dict[int, Tensor]]:
        """Logits, the gradients of the loss and of each drawn block's attention, and what was attended.

        The same blocks are watched whether an image has to choose or not: one that is watched does not use
        the fused kernel, whose last bits differ.
        """
        import torch

        watch = sorted({*self.blocks, *(() if self.by is None else (self.by,))})
        if not watch:
            return *self.inner.gradient(batch, loss), [], {}
        with torch.inference_mode(False), torch.enable_grad():
            pixels = batch.pixels.detach().clone().requires_grad_(True)
            logits, seen = self._attended(batch.with_pixels(pixels), watch)
            total = loss(logits, batch.labels).sum()
            (own,) = torch.autograd.grad(total, pixels, retain_graph=bool(self.blocks))
            drawn = [self._drawing(seen[k], pixels, batch, last=k == self.blocks[-1]) for k in self.blocks]
        return logits.detach().float(), own, drawn, seen

    def _attended(self, batch: ImageBatch, blocks: list[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """Logits, and the attention (b, n, n) of some blocks, the mean over heads."""
        seen: dict[int, Tensor] = {}
        fired: list[int] = []

        def keep(block: int) -> Use:
            def use(attention: Tensor) -> None:
                fired.append(block)
                check_attention(attention, len(batch), self.name)
                seen[block] = attention.float().mean(dim=1)

            return use

        with ExitStack() as stack:
            for block in blocks:
                stack.enter_context(watched(self.layers[block], keep(block)))
            logits = self.inner(batch)
        check_fired(len(fired), len(blocks), self.name)
        for attention in seen.values():
            self._check_grid(attention)
        return logits, seen

    def _check_grid(self, attention: Tensor) -> None:
        tokens = int(attention.shape[2]) - prefix_tokens(self.module)
        if tokens != self.grid.total:
            raise ModelError(
                f"{self.name}: grid: {self.grid} are {self.grid.total} cells, and the model attends to "
                f"{tokens} patches: give its own grid"
            )

    def _paid(self, attention: Tensor) -> Tensor:
        """The attention paid to each patch, (b, N): the mean over the queries."""
        return attention.mean(dim=1)[:, prefix_tokens(self.module) :]

    def _drawing(self, attention: Tensor, pixels: Tensor, batch: ImageBatch, *, last: bool) -> Tensor:
        """The gradient of a block's attention to the first patch: the mean over queries of its logarithm."""
        import torch

        token = batch.inputs["token"] + prefix_tokens(self.module)
        paid = attention.gather(2, token[:, None, None].expand(-1, attention.shape[1], 1))
        total = paid.clamp(min=_TINY).log().mean(dim=1).sum()
        (found,) = torch.autograd.grad(total, pixels, retain_graph=not last)
        return found

    def _combined(self, own: Tensor, drawn: list[Tensor], batch: ImageBatch) -> Tensor:
        """The gradient of the loss with the attention's beside it, inside the patches; then in the mask."""
        import torch

        state: Mapping[str, Any] = batch.inputs
        if "mask" not in state:
            return self._sum(own, drawn, lambda g: g * state["chosen"])
        content = self._sum(own, drawn, lambda g: g * state["shown"])
        mask = self._sum(own, drawn, lambda g: (g * state["free"]).sum(1, keepdim=True) * state["chosen"])
        return torch.cat([content, mask], dim=1)

    def _sum(self, own: Tensor, drawn: list[Tensor], inside: Any) -> Tensor:
        total: Tensor = inside(own)
        first = total
        for gradient in drawn:
            total = total + self.weight * without_conflict(inside(gradient), first)
        return total


def without_conflict(gradient: Tensor, other: Tensor) -> Tensor:
    """A gradient (b, ...) less its part against another one of the same image; otherwise as it is."""
    one, two = gradient.flatten(1).double(), other.flatten(1).double()
    dot = (one * two).sum(dim=1, keepdim=True)
    part = dot.clamp(max=0) / (two**2).sum(dim=1, keepdim=True).clamp(min=_TINY)
    return (one - part * two).view(gradient.shape).to(gradient.dtype)
