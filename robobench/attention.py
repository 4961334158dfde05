"""The attention of vision transformers as timm builds them, seen at work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from robobench.errors import ModelError, Unsupported

if TYPE_CHECKING:
    from torch import Tensor, nn

# is given the attention (b, heads, n, n) of a block; a tensor that it gives back takes its place
Use = Callable[["Tensor"], "Tensor | None"]
_TOLERANCE = 0.01  # how far a row of attention in half precision may be from 1


def attention_layers(module: nn.Module, name: str, instead: str) -> list[nn.Module]:
    """The attention layers of all blocks, in order. instead: what works on other models.

    Raises Unsupported unless the model has `blocks`, each with `attn` and `attn.attn_drop`.
    """
    from torch import nn

    blocks = getattr(module, "blocks", None)
    layers = [getattr(b, "attn", None) for b in blocks] if isinstance(blocks, Iterable) else []
    if not layers or not all(isinstance(getattr(a, "attn_drop", None), nn.Module) for a in layers):
        raise Unsupported(
            f"{name}: {type(module).__name__} has no `blocks` with `attn.attn_drop` in each; it works on "
            f"vision transformers as timm builds them, for others there is {instead}"
        )
    return [a for a in layers if a is not None]


@contextmanager
def watched(attention: Any, use: Use) -> Iterator[None]:
    """While open, `use` is given every attention matrix after its softmax.

    The fused kernel never forms that matrix, so it is switched off meanwhile.
    """
    fused = getattr(attention, "fused_attn", None)
    if fused is not None:
        attention.fused_attn = False
    handle = attention.attn_drop.register_forward_pre_hook(lambda _module, args: use(args[0]))
    try:
        yield
    finally:
        handle.remove()
        if fused is not None:
            attention.fused_attn = fused


def check_attention(attention: Tensor, images: int, name: str) -> None:
    """Raise ModelError unless it is (images, heads, n, n), every row a share of the whole."""
    shape = tuple(attention.shape)
    if len(shape) != 4 or shape[0] != images or shape[2] != shape[3]:
        raise ModelError(
            f"{name}: the attention has shape {shape}, expected ({images}, heads, n, n); attention in "
            "windows or with fewer keys has no map of the whole image"
        )
    if not bool(((attention.detach().float().sum(3) - 1).abs() < _TOLERANCE).all()):
        raise ModelError(f"{name}: the rows of the attention do not add up to 1, so it is not a share")


def check_fired(fired: int, layers: int, name: str, what: str = "attention layers") -> None:
    """Raise ModelError unless every watched layer was seen once in a forward pass."""
    if fired != layers:
        raise ModelError(
            f"{name}: {fired} of {layers} {what} were seen at work in a forward pass, "
            "as in a network that is compiled or that runs a layer twice"
        )


def prefix_tokens(module: nn.Module) -> int:
    """How many tokens stand before those of the patches: the class token and registers."""
    return int(getattr(module, "num_prefix_tokens", 0))
