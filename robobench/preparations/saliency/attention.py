"""Saliency by attention: what the class token of a vision transformer looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.attention import attention_layers, check_attention, check_fired, prefix_tokens, watched
from robobench.contracts import Model
from robobench.draws import Draws
from robobench.errors import ModelError
from robobench.params import count_of
from robobench.registry import Field, preparations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor, nn

_OTHERS = "saliency.gradient"  # for models that have no such attention


@preparations.register("attention", version=1)
@dataclass(frozen=True, kw_only=True)
class AttentionSaliency:
    """How much the class token attends to the patch that each pixel lies in.

    For each image the attention from the class token to the patches in one block of a vision
    transformer, the mean over its heads or one of them; in a model without a class token, the mean over the
    queries of all patches. Works on a model in the sense of timm: `module.blocks`, each with `attn` and
    `attn.attn_drop`, and tokens in the order class, other prefix (`num_prefix_tokens` in all), patches.
    Fused attention is switched off for the time of the call. Gives `saliency`, (n, h, w) float32 on the
    CPU, in [0, 1]: the weight of the patch at every pixel of it, so that its sum over patches is 1 less
    what goes to prefix tokens. Costs one forward pass per image.

    Raises ModelError without a model, and for one that has no such block or head or whose attention is
    not over a grid of patches, as in windows.

    Source: Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021 (the class
    token's attention in the last block); Naseer et al., Intriguing Properties of Vision Transformers,
    NeurIPS 2021, take head 1, counted from 0, of DINO ViT-S/16.
    """

    block: Annotated[int, Field(ge=0)] | None = None  # which block, counted from 0; null: the last
    head: Annotated[int, Field(ge=0)] | None = None  # which head, counted from 0; null: the mean over all

    per_image: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"block": 0, "head": 1})

    def __call__(
        self, model: Model | None, batches: Iterable[ImageBatch], draws: Draws
    ) -> Mapping[str, Tensor]:
        name = "saliency.attention"
        if model is None:
            raise ModelError(f"{name} needs a model: name one in the suite's preparation")
        found = attention_layers(model.module, name, _OTHERS)
        block = len(found) - 1 if self.block is None else self.block
        if block >= len(found):
            raise ModelError(f"{name}: block: expected at most {len(found) - 1}, got {block}")
        return {"saliency": _maps(model, batches, [found[block]], self._rows, name)}

    def _rows(self, module: nn.Module, attention: Tensor, _earlier: Tensor | None) -> Tensor:
        """The map of one head or of the mean, (b, n, n)."""
        if self.head is None:
            return attention.mean(1)
        if self.head >= attention.shape[1]:
            raise ModelError(
                f"saliency.attention: head: expected at most {attention.shape[1] - 1}, got {self.head}"
            )
        return attention[:, self.head]


@preparations.register("rollout", version=1)
@dataclass(frozen=True, kw_only=True)
class AttentionRollout:
    """How much of each patch reaches the class token when attention is followed through all blocks.

    In every block the attention A, (n, n), is that of the heads together (`fuse`); with `discard` the
    lowest share of an image's weights on patches, and those equal to the last of them, are set to 0, while
    weights on prefix tokens are kept. The residual connection is added and rows are brought to 1 again:
    A + I, divided by the sum of each row. The product of these from the first block to the last has one
    row for the class token; its entries for the patches are the map (in a model without a class token, the
    mean over the rows of all patches). Works on the models of saliency.attention, of which it has the
    form, the errors and the cost.

    Source: Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020 (attention rollout: mean
    over the heads, nothing discarded). `max`, `min` and `discard` are from the vit-explain
    implementation, which divides columns where rows are meant and shields one entry where the class
    token is meant.
    """

    fuse: Literal["mean", "max", "min"] = "mean"  # how the heads of a block become one
    discard: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the lowest weights that is set to 0

    per_image: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"fuse": "max", "discard": 0.9})

    def __call__(
        self, model: Model | None, batches: Iterable[ImageBatch], draws: Draws
    ) -> Mapping[str, Tensor]:
        name = "saliency.rollout"
        if model is None:
            raise ModelError(f"{name} needs a model: name one in the suite's preparation")
        found = attention_layers(model.module, name, _OTHERS)
        return {"saliency": _maps(model, batches, found, self._flow, name)}

    def _flow(self, module: nn.Module, attention: Tensor, earlier: Tensor | None) -> Tensor:
        """What reaches each token of this block from the input, (b, n, n)."""
        import torch

        fused = attention.mean(1) if self.fuse == "mean" else getattr(attention, f"a{self.fuse}")(1)
        patches = fused[:, :, prefix_tokens(module) :]
        count = count_of(self.discard, patches[0].numel())
        if count:
            limit = patches.flatten(1).kthvalue(count, dim=1).values[:, None, None]
            kept = patches.where(patches > limit, 0.0)
            fused = torch.cat([fused[:, :, : prefix_tokens(module)], kept], dim=2)
        mixed = fused + torch.eye(fused.shape[1], device=fused.device)
        mixed = mixed / mixed.sum(2, keepdim=True)
        return mixed if earlier is None else mixed @ earlier


def _maps(
    model: Model,
    batches: Iterable[ImageBatch],
    attentions: Sequence[nn.Module],
    step: Callable[[nn.Module, Tensor, Tensor | None], Tensor],
    name: str,
) -> Tensor:
    """The class token's row, as pixels, of what `step` makes of one block's attention after another."""
    import torch

    maps = []
    for batch in batches:
        state: list[Tensor] = []
        fired = 0

        def use(attention: Tensor, batch: ImageBatch = batch, state: list[Tensor] = state) -> None:
            nonlocal fired
            fired += 1
            check_attention(attention, len(batch), name)
            state[:] = [step(model.module, attention.float(), state[0] if state else None)]

        with torch.no_grad(), ExitStack() as stack:
            for attention in attentions:
                stack.enter_context(watched(attention, use))
            model(batch)
        check_fired(fired, len(attentions), name)
        maps.append(_pixels(_class_row(state[0], model.module), model.module, batch, name))
    return torch.cat(maps) if maps else torch.empty(0, 0, 0)


def _class_row(weights: Tensor, module: nn.Module) -> Tensor:
    """What the class token, or all patches in the mean, take from each patch: (b, n, n) -> (b, N)."""
    patches = weights[:, :, prefix_tokens(module) :]
    if getattr(module, "cls_token", None) is not None:
        return patches[:, 0]
    return patches[:, prefix_tokens(module) :].mean(1)


def _pixels(weights: Tensor, module: nn.Module, batch: ImageBatch, name: str) -> Tensor:
    """The weight of the patch that each pixel lies in: (b, N) -> (b, h, w) on the CPU."""
    from torch.nn.functional import interpolate

    embed: Any = getattr(module, "patch_embed", None)
    count, size = weights.shape[1], tuple(batch.pixels.shape[2:])
    grid = getattr(embed, "grid_size", None) or size
    if grid[0] * grid[1] != count:  # a model of any size
        patch = getattr(embed, "patch_size", 1)
        tall, wide = (patch, patch) if isinstance(patch, int) else patch
        grid = (size[0] // tall, size[1] // wide)
    if grid[0] * grid[1] != count:
        raise ModelError(
            f"{name}: {count} tokens beside {prefix_tokens(module)} prefix tokens are not the "
            f"{grid[0]}x{grid[1]} patches of images of {size[0]}x{size[1]}"
        )
    return interpolate(weights.view(-1, 1, *grid), size=size, mode="nearest")[:, 0].float().cpu()
