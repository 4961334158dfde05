"""Dropping: part of what a network computed half-way is set to zero before the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from robobench.contracts import Model
from robobench.draws import Draws
from robobench.errors import ModelError, nearest
from robobench.params import count_of
from robobench.registry import Field, interventions
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor, nn

Change = Callable[["Tensor"], "Tensor"]
_SHOWN = 40  # sub-modules whose names are offered in a message


@interventions.register("tokens", version=1)
@dataclass(frozen=True, kw_only=True)
class TokenDrop:
    """Set a random share of the patch tokens to zero before one block of a transformer or mixer.

    Measures how much of what a block is given it needs. Works on a model in the sense of timm:
    `module.blocks` in sequence, each given tokens (b, prefix + N, d), `module.num_prefix_tokens` of which
    (class, distillation and register tokens; 0 when absent) are kept. Of the N patch tokens
    floor(fraction * N) are dropped, chosen per image; along `fraction` they nest.

    Raises ModelError for a model without such a block.

    Source: Naseer et al., Intriguing Properties of Vision Transformers, NeurIPS 2021 (feature drop:
    blocks 0, 2, 4, 8, 10 of DeiT, shares .25, .5, .75). Their code counts floor(fraction * (N + 1))
    and drops the same tokens in a whole batch; here every image has its own.
    """

    fraction: Annotated[float, Field(ge=0, le=1)]  # share of the patch tokens that is dropped
    block: Annotated[int, Field(ge=0)] = 0  # the block they are dropped before, counted from 0

    nested: ClassVar[str | None] = "fraction"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"fraction": 0.25, "block": 1},
        {"fraction": 0.75, "block": 1},
        {"fraction": 1.0},
        {"fraction": 0.0, "block": 1},
    )

    @property
    def identity(self) -> bool:
        """No token is dropped."""
        return self.fraction == 0

    def check(self, model: Model) -> None:
        """Raise ModelError for a model without this block."""
        self._block(model.module)

    def __call__(self, model: Model, batch: ImageBatch, draws: Draws) -> Tensor:
        prefix = int(getattr(model.module, "num_prefix_tokens", 0))

        def change(tokens: Tensor) -> Tensor:
            shape = tuple(tokens.shape)
            if len(shape) != 3 or shape[0] != len(batch) or shape[1] <= prefix:
                raise ModelError(
                    f"drop.tokens: block {self.block} is given a tensor of shape {shape}, not tokens "
                    f"({len(batch)}, {prefix} + N, d); for feature maps there is drop.positions"
                )
            return _drop_tokens(tokens, prefix, self.fraction, draws)

        with _changing(self._block(model.module), change, f"drop.tokens: block {self.block}", before=True):
            return model(batch)

    def _block(self, module: nn.Module) -> nn.Module:
        from torch import nn

        blocks = getattr(module, "blocks", None)
        if not isinstance(blocks, (nn.Sequential, nn.ModuleList)):
            raise ModelError(
                f"drop.tokens: {type(module).__name__} has no sequence of `blocks`; it works on vision "
                "transformers and mixers as timm builds them, for others there is drop.positions"
            )
        if self.block >= len(blocks):
            raise ModelError(
                f"drop.tokens: block: expected at most {len(blocks) - 1}, because "
                f"{type(module).__name__} has {len(blocks)} blocks, got {self.block}"
            )
        return blocks[self.block]


@interventions.register("positions", version=1)
@dataclass(frozen=True, kw_only=True)
class PositionDrop:
    """Set a random share of the positions of a feature map to zero, in all its channels.

    Measures how much of the map the rest of a convolutional network needs. Each position is dropped with
    probability `fraction`, drawn per image; along `fraction` the dropped positions nest. What is kept is
    not scaled up. Works on any sub-module that gives (b, c, h, w), or (b, h, w, c) where the model says
    `output_fmt == "NHWC"` as timm's do.

    Raises ModelError for a model without that sub-module, or where it gives something else.

    Source: Naseer et al., Intriguing Properties of Vision Transformers, NeurIPS 2021 (feature drop: the
    map after the stem and after each of the four stages of ResNet-50, shares .25, .5, .75). There one
    mask serves a whole batch; here every image has its own.
    """

    fraction: Annotated[float, Field(ge=0, le=1)]  # chance of each position to be dropped
    after: str  # the sub-module that gives the map, such as layer2 or stages.1; `stem`: all before layer1

    nested: ClassVar[str | None] = "fraction"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"fraction": 0.25, "after": "layer1"},
        {"fraction": 0.75, "after": "layer1"},
        {"fraction": 0.5, "after": "stem"},
        {"fraction": 1.0, "after": "layer2"},
        {"fraction": 0.0, "after": "layer1"},
    )

    @property
    def identity(self) -> bool:
        """No position is dropped."""
        return self.fraction == 0

    def check(self, model: Model) -> None:
        """Raise ModelError for a model without this sub-module."""
        self._stage(model.module)

    def __call__(self, model: Model, batch: ImageBatch, draws: Draws) -> Tensor:
        stage, before = self._stage(model.module)
        last = getattr(model.module, "output_fmt", "NCHW") == "NHWC"

        def change(features: Tensor) -> Tensor:
            shape = tuple(features.shape)
            if len(shape) != 4 or shape[0] != len(batch):
                raise ModelError(
                    f"drop.positions: {self.after!r} gives a tensor of shape {shape}, not a feature map "
                    f"({len(batch)}, c, h, w); for tokens there is drop.tokens"
                )
            size = shape[1:3] if last else shape[2:]
            dropped = draws.uniform("positions", *size) < self.fraction
            return features.masked_fill(dropped[..., None] if last else dropped[:, None], 0.0)

        with _changing(stage, change, f"drop.positions: {self.after!r}", before=before):
            return model(batch)

    def _stage(self, module: nn.Module) -> tuple[nn.Module, bool]:
        """The sub-module to watch, and whether its input is meant instead of its output."""
        known = dict(module.named_modules())
        if self.after and self.after in known:
            return known[self.after], False
        if self.after == "stem" and "layer1" in known:  # a ResNet's stem has no name of its own
            return known["layer1"], True
        near = [n for n in known if n and n.count(".") <= self.after.count(".")][:_SHOWN]
        raise ModelError(
            f"drop.positions: after: {type(module).__name__} has no sub-module {self.after!r}; "
            f"{nearest(self.after, near)}"
        )


def _drop_tokens(tokens: Tensor, prefix: int, fraction: float, draws: Draws) -> Tensor:
    """Tokens (b, prefix + n, d) with floor(fraction * n) of those after the prefix set to zero."""
    import torch

    b, total, _ = tokens.shape
    n = total - prefix
    order = draws.permutation("tokens", n)
    chosen = order[:, : count_of(fraction, n)] + prefix
    mask = torch.zeros(b, total, dtype=torch.bool, device=tokens.device).scatter_(1, chosen, True)
    return tokens.masked_fill(mask[..., None], 0.0)


@contextmanager
def _changing(module: nn.Module, change: Change, where: str, *, before: bool) -> Iterator[None]:
    """While open, `module` computes with a changed input (`before`) or gives a changed output.

    Raises ModelError when nothing passed through it, as in a network that was compiled or traced, or
    that hands out something other than one tensor.
    """
    import torch

    fired: list[bool] = []

    def changed(value: Any) -> Tensor:
        fired.append(True)
        if not isinstance(value, torch.Tensor):
            raise ModelError(f"{where} handles {type(value).__name__}, expected one tensor")
        return change(value)

    def pre(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (changed(args[0] if args else None), *args[1:])

    def post(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Tensor:
        return changed(output)

    handle = module.register_forward_pre_hook(pre) if before else module.register_forward_hook(post)
    try:
        yield
    finally:
        handle.remove()
    if not fired:
        raise ModelError(f"{where} was not reached in the forward pass, so nothing was dropped")
