"""Attacks made for vision transformers, and to transfer from them: they reach into the blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench import norms
from robobench.attacks.gradient.momentum import SignSteps
from robobench.attention import attention_layers, check_fired, watched
from robobench.contracts import Loss, Model, Seen, State
from robobench.draws import Draws
from robobench.errors import Unsupported
from robobench.params import Cells, Eps, Grid, count_of
from robobench.registry import Field, attacks
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor, nn

_GRID = Cells(14, 14)  # the patches of the published models
_AGREE = 1e-3  # how far the last block's reading may be from the model's answer, of its largest logit


@attacks.register("pna_patchout", version=1)
@dataclass(frozen=True, kw_only=True)
class PayNoAttention(SignSteps):
    """PNA-PatchOut: sign steps whose gradient skips the attention, on a share of the patches at a time.

    No gradient flows through the attention weights of any block, so that it takes the way of the values and
    of the skip connections, which models have in common. In each step the model sees the change on
    floor(share * N) of the grid's N cells only, drawn per image and step, and `pull` times the length of
    the whole change is added to the loss. Steps of alpha go along the sign, or with `decay` along that of
    the momentum as in MI-FGSM, in the linf ball of radius eps and in [0, 1]; no random start. Published
    are eps = 16/255, 10 steps of eps / 10, 130 of 196 patches, decay 0 and 1. eps = 0 is the image itself.

    Raises Unsupported for a model without `blocks` that each have `attn` and `attn.attn_drop`, as timm
    builds vision transformers; ModelError where such a layer is not seen at work in a forward pass.

    Source: Wei et al., Towards Transferable Adversarial Attacks on Vision Transformers, AAAI 2022; their
    code draws the patches of a step alike for all images.
    """

    alpha: Eps | None = None  # length of a step in the units of eps; None is eps / steps
    decay: Annotated[float, Field(ge=0)] = 0.0  # weight of the momentum of the step before
    grid: Grid = _GRID  # cells that are left out or not: 14, or "rows x columns"
    share: Annotated[float, Field(gt=0, le=1)] = 130 / 196  # share of the cells that a step sees
    pull: Annotated[float, Field(ge=0)] = 0.1  # weight of the length of the change in the loss

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": "16/255", "steps": 3, "grid": 8},
        {"eps": "16/255", "steps": 2, "grid": "4x8", "decay": 1.0, "share": 0.5, "pull": 0.0},
        {"eps": 0, "steps": 2},
    )

    @property
    def step_size(self) -> float:
        """The length of a step."""
        return self.eps / self.steps if self.alpha is None else self.alpha

    def within(self, model: Model) -> Model:
        """The model with gradients that skip the attention. Raises Unsupported."""
        name = "vit.pna_patchout"
        layers = attention_layers(model.module, name, "gradient.mi_fgsm")
        return _Opened(model, partial(_detached, layers, name))

    def start(self, batch: ImageBatch, logits: Tensor, restart: int, draws: Draws) -> State:
        """The images themselves, and which cells are seen in which step."""
        import torch

        cells = self.grid.rows * self.grid.columns
        order = draws.uniform("cells", self.steps, cells).argsort(dim=2, stable=True)
        chosen = order[:, :, : count_of(self.share, cells)]
        return {
            **super().start(batch, logits, restart, draws),
            "seen": torch.zeros_like(order, dtype=torch.bool).scatter_(2, chosen, True),
            "taken": torch.zeros(len(batch), dtype=torch.int64, device=batch.pixels.device),
        }

    def probe(self, batch: ImageBatch, state: State) -> Tensor:
        """The image with the change on the cells of this step."""
        return state["pixels"].where(self._seen(batch, state), batch.pixels)

    def step(self, batch: ImageBatch, state: State, seen: Seen) -> State:
        """A step as of MI-FGSM, up the loss with the pull away from the image."""
        change = state["pixels"] - batch.pixels
        slope = seen.slope * self._seen(batch, state) + self.pull * norms.direction(change, "l2")
        following = super().step(batch, state, Seen(seen.logits, seen.loss, slope))
        return {**following, "taken": state["taken"] + 1}

    def _seen(self, batch: ImageBatch, state: State) -> Tensor:
        """(b, 1, h, w) bool: the pixels of the cells that this step sees."""
        import torch

        rows, columns = self.grid
        height, width = batch.pixels.shape[2:]
        place = state["taken"].clamp(max=self.steps - 1)[:, None, None].expand(-1, 1, rows * columns)
        cells = state["seen"].gather(1, place).view(-1, 1, rows, columns)
        down = torch.arange(height, device=cells.device) * rows // height
        along = torch.arange(width, device=cells.device) * columns // width
        return cells[:, :, down][:, :, :, along]


@attacks.register("self_ensemble", version=1)
@dataclass(frozen=True, kw_only=True)
class SelfEnsemble(SignSteps):
    """MI-FGSM up the losses of all blocks of a transformer, each read out by the model's own head.

    The tokens after every block go through the last norm and the head, and the losses of these answers are
    added up: an ensemble of as many models as there are blocks, in one forward pass. All else is as in
    gradient.mi_fgsm, with steps of eps / steps; published are eps = 16/255 and 8/255, 10 steps and
    `index` all and last. eps = 0 is the image itself.

    Raises Unsupported for a model without `blocks` in sequence, `norm` and `forward_head`, as timm builds
    vision transformers, or whose answer is not what these make of its last block; ModelError where a
    block is not seen at work once in a forward pass.

    Source: Naseer et al., On Improving Adversarial Transferability of Vision Transformers, ICLR 2022,
    section 3.1 (self-ensemble, without the heads that are trained for it).
    """

    alpha: Eps | None = None  # length of a step in the units of eps; None is eps / steps
    index: Literal["all", "last"] = "all"  # whose losses are followed: of all blocks, or of the model alone

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": "16/255", "steps": 3},
        {"eps": "16/255", "steps": 2, "index": "last", "decay": 0.0},
        {"eps": 0, "steps": 2},
    )

    @property
    def step_size(self) -> float:
        """The length of a step."""
        return self.eps / self.steps if self.alpha is None else self.alpha

    def within(self, model: Model) -> Model:
        """The model with the losses of its blocks added. Raises Unsupported."""
        if self.index == "last":
            return model
        parts = _blocks(model.module, "vit.self_ensemble")
        return _Opened(model, partial(self._added, model, parts))

    @contextmanager
    def _added(self, model: Model, blocks: Sequence[nn.Module], batch: ImageBatch) -> Iterator[_Change]:
        """While open, the tokens after each block are kept; gives the loss that they are part of."""
        kept: list[list[Tensor]] = [[] for _ in blocks]

        def keep(place: int, _module: Any, _args: Any, output: Tensor) -> None:
            kept[place].append(output)

        def changed(loss: Loss) -> Loss:
            def total(logits: Tensor, labels: Tensor) -> Tensor:
                check_fired(sum(len(k) == 1 for k in kept), len(blocks), "vit.self_ensemble", "blocks")
                answers = [_read_out(model, tokens) for (tokens,) in kept]
                _check_agrees(answers.pop(), logits, model.module)
                found = loss(logits, labels)
                for answer in answers:
                    found = found + self.loss(answer, labels, batch.inputs)
                return found

            return total

        handles = [b.register_forward_hook(partial(keep, place)) for place, b in enumerate(blocks)]
        try:
            yield changed
        finally:
            for handle in handles:
                handle.remove()


_Change = Callable[[Loss], Loss]


@dataclass(frozen=True)
class _Opened:
    """A model whose gradients are taken with hooks in place; its answers are its own."""

    inner: Model
    hooks: Callable[[ImageBatch], AbstractContextManager[_Change]]

    @property
    def module(self) -> nn.Module:
        return self.inner.module

    def __call__(self, batch: ImageBatch) -> Tensor:
        return self.inner(batch)

    def gradient(self, batch: ImageBatch, loss: Loss) -> tuple[Tensor, Tensor]:
        with self.hooks(batch) as change:
            return self.inner.gradient(batch, change(loss))

    def read(self, outputs: Tensor) -> Tensor:
        return self.inner.read(outputs)

    def taps(self, *names: str) -> AbstractContextManager[Mapping[str, Tensor]]:
        return self.inner.taps(*names)

    def again(self, number: int) -> _Opened:
        """Another run of a randomised model."""
        again: Any = getattr(self.inner, "again", None)
        return self if again is None else _Opened(again(number), self.hooks)


@contextmanager
def _detached(layers: Sequence[nn.Module], name: str, batch: ImageBatch) -> Iterator[_Change]:
    """While open, attention weights pass no gradient on. Raises ModelError unless each layer fires once."""
    fired = [0] * len(layers)

    def cut(place: int, attention: Tensor) -> Tensor:
        fired[place] += 1
        return attention.detach()

    with ExitStack() as stack:
        for place, layer in enumerate(layers):
            stack.enter_context(watched(layer, partial(cut, place)))
        yield lambda loss: loss
    check_fired(fired.count(1), len(layers), name)


def _blocks(module: nn.Module, name: str) -> Sequence[nn.Module]:
    """The blocks of a transformer whose tokens its own norm and head can read after each of them."""
    from torch import nn

    blocks, norm = getattr(module, "blocks", None), getattr(module, "norm", None)
    found = tuple(blocks) if isinstance(blocks, nn.Sequential | nn.ModuleList) else ()
    if not found or not isinstance(norm, nn.Module) or not callable(getattr(module, "forward_head", None)):
        raise Unsupported(
            f"{name}: {type(module).__name__} has no sequence of `blocks` with a `norm` and a `forward_head` "
            "behind it; it works on vision transformers as timm builds them, for others there is "
            "gradient.mi_fgsm"
        )
    return found


def _read_out(model: Model, tokens: Tensor) -> Tensor:
    """The answer that the model's norm and head read out of a block's tokens."""
    module: Any = model.module
    return model.read(module.forward_head(module.norm(tokens)))


def _check_agrees(own: Tensor, logits: Tensor, module: nn.Module) -> None:
    """The tokens after the last block have to give what the model says."""
    gap = float((own - logits).detach().abs().max())
    if not gap <= _AGREE * max(1.0, float(logits.detach().abs().max())):
        raise Unsupported(
            f"vit.self_ensemble: the tokens after the last block of {type(module).__name__}, through its "
            f"norm and head, are not its answer (off by {gap:.3g}), so earlier ones cannot be read so either"
        )
