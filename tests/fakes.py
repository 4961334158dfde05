"""Tiny models and batches for tests: what `contracts.Model` asks for, without timm and without weights.

Every fake is also a `LoadedModel` (card, reading, check_frozen), so that a test of the engine can hand
it out from a source. Import as `from tests.fakes import ...`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from robobench.contracts import Loss, SteppedAttack
from robobench.draws import Draws
from robobench.engine.stepped import ask
from robobench.errors import ModelError
from robobench.types import ImageBatch, LabelSpace, ModelCard

torch.set_num_threads(1)  # the fakes are so small that threads only wait for one another


class FakeModel:
    """A module as a model of label space "own": no normalisation, eval mode, gradients on request."""

    def __init__(self, module: nn.Module, family: str = "other", outputs: int | None = None) -> None:
        self._module = module.eval()
        self._space: LabelSpace | None = None
        self.outputs = outputs
        parameters = sum(p.numel() for p in module.parameters())
        self.card = ModelCard(family, parameters, weights="fake", input_size=None, view=None)
        self.calls: list[int] = []  # the batch size of every forward pass

    @property
    def module(self) -> nn.Module:
        return self._module

    def __call__(self, batch: ImageBatch) -> Tensor:
        self.calls.append(len(batch.pixels))
        logits = self._module(batch.pixels)
        return logits if self._space is None else self._space.answers(logits)

    def read(self, outputs: Tensor) -> Tensor:
        return outputs if self._space is None else self._space.answers(outputs)

    def gradient(self, batch: ImageBatch, loss: Loss) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            pixels = batch.pixels.detach().clone().requires_grad_(True)
            logits = self(batch.with_pixels(pixels))
            (gradient,) = torch.autograd.grad(loss(logits, batch.labels).sum(), pixels)
        return logits.detach().float(), gradient.float()

    @contextmanager
    def taps(self, *names: str) -> Iterator[Mapping[str, Tensor]]:
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            def hook(_module: nn.Module, _args: Any, output: Tensor) -> None:
                seen[name] = output

            return hook

        handles = [self._module.get_submodule(n).register_forward_hook(keep(n)) for n in names]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()

    def reading(self, space: LabelSpace) -> FakeModel:
        if self.outputs is not None and self.outputs != space.outputs:
            raise ModelError(f"the fake has {self.outputs} outputs, {space.name} needs {space.outputs}")
        other = FakeModel(self._module, self.card.family, self.outputs)
        other._space, other.calls = space, self.calls
        return other

    def at(self, side: int) -> FakeModel:
        return self

    def check_frozen(self) -> None:
        if self._module.training:
            raise ModelError("the fake is in training mode")


class ConstantLogits(nn.Module):
    """The same logits for every image, whatever it shows; the gradient is zero."""

    def __init__(self, logits: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("logits", torch.tensor(list(logits)))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.logits + 0.0 * pixels.flatten(1).sum(1, keepdim=True)


class Linear(nn.Module):
    """A weighted sum of the pixels, added up in float64 image by image: equal bits in any company."""

    def __init__(self, classes: int, side: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(classes, 3 * side * side, generator=generator, dtype=torch.float64)
        self.weight = nn.Parameter(weight / side, requires_grad=False)

    def forward(self, pixels: Tensor) -> Tensor:
        flat = pixels.flatten(1).double()
        return torch.stack([(self.weight * one).sum(1) for one in flat]).float()


def conv_net(classes: int = 5, seed: int = 0) -> nn.Module:
    """Two convolutions and a read-out, seeded; any image of at least 4x4 pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, classes),
        )
    with torch.no_grad():
        net[-1].weight.mul_(8)  # gradients of a useful size
    return net.requires_grad_(False)


def constant_model(*logits: float) -> FakeModel:
    return FakeModel(ConstantLogits(logits or (1.0, 0.0)), outputs=len(logits) or 2)


def linear_model(classes: int = 5, side: int = 16, seed: int = 0) -> FakeModel:
    return FakeModel(Linear(classes, side, seed), "mlp", classes)


def conv_model(classes: int = 5, seed: int = 0) -> FakeModel:
    return FakeModel(conv_net(classes, seed), "cnn", classes)


def vit_model(classes: int = 5, side: int = 16, patch: int = 4, seed: int = 0, **options: Any) -> FakeModel:
    """A timm VisionTransformer of three narrow blocks with random weights."""
    from timm.models.vision_transformer import VisionTransformer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = VisionTransformer(
            img_size=side,
            patch_size=patch,
            embed_dim=24,
            depth=3,
            num_heads=2,
            num_classes=classes,
            **options,
        )
        nn.init.normal_(module.head.weight, std=0.5)
    return FakeModel(module.requires_grad_(False), "vit", classes)


def mixer_model(classes: int = 5, side: int = 16, patch: int = 4, seed: int = 0) -> FakeModel:
    """A timm MlpMixer of two narrow blocks with random weights."""
    from timm.models.mlp_mixer import MlpMixer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = MlpMixer(num_classes=classes, img_size=side, patch_size=patch, num_blocks=2, embed_dim=24)
        nn.init.normal_(module.head.weight, std=0.5)
    return FakeModel(module.requires_grad_(False), "mlp", classes)


def resnet_model(classes: int = 5, seed: int = 0) -> FakeModel:
    """A timm ResNet of four narrow stages with random weights; works from 32x32 pixels on."""
    from timm.models.resnet import BasicBlock, ResNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=classes, channels=(8, 8, 16, 16), stem_width=8)
        nn.init.normal_(module.fc.weight, std=0.5)
    return FakeModel(module.requires_grad_(False), "cnn", classes)


def make_batch(
    n: int = 6, side: int = 16, classes: int = 5, seed: int = 0, width: int | None = None, **inputs: Tensor
) -> ImageBatch:
    """Random pixels in (0.02, 0.98): never black or white, so that every change shows."""
    generator = torch.Generator().manual_seed(seed)
    pixels = 0.02 + 0.96 * torch.rand(n, 3, side, width or side, generator=generator)
    labels = torch.randint(0, classes, (n,), generator=generator)
    return ImageBatch(pixels, tuple(f"img/{i:03d}.png" for i in range(n)), labels, inputs)


def make_draws(batch: ImageBatch, stream: str = "test.plugin", seed: int = 0, **options: Any) -> Draws:
    """The draws of a batch's images, on its device."""
    return Draws(seed, stream, batch.ids, batch.pixels.device, **options)


def run_stepped(
    attack: SteppedAttack,
    model: Any,
    batch: ImageBatch,
    draws: Draws,
    start: Tensor | None = None,
    restart: int = 0,
) -> Tensor:
    """One restart of a stepped attack over a whole batch, to its last step: the plainest loop there is.

    `start` replaces the pixels that the attack would begin with. Nobody is stopped.
    """
    with torch.no_grad():
        logits = model(batch)
    model = attack.within(model) if hasattr(attack, "within") else model
    state = dict(attack.start(batch, logits, restart, draws))
    if start is not None:
        state["pixels"] = start
    for _ in range(getattr(attack, "asks", attack.steps)):
        state = dict(attack.step(batch, state, ask(attack, model, batch, state, attack.probe(batch, state))))
    return state.get("best", state["pixels"])
