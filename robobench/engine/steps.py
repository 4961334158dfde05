"""A condition at work on a batch: perturbed pixels, then the logits of the model, changed or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from robobench.contracts import Intervention, Loss, Model
from robobench.draws import Draws
from robobench.errors import DataError, RobobenchError
from robobench.registry import instance_of
from robobench.types import Condition, ImageBatch, Step

if TYPE_CHECKING:
    from torch import Tensor, nn

Memo = dict[Any, Any]


@dataclass(frozen=True)
class Applied:
    """A condition's steps, built and seeded. Prepared inputs are called `preparation/input`."""

    condition: Condition
    seed: int
    parts: tuple[tuple[Step, Any], ...] = field(init=False)

    def __post_init__(self) -> None:
        parts = tuple((step, instance_of(step)) for step in self.condition.steps)
        object.__setattr__(self, "parts", parts)

    @property
    def attack(self) -> Any:
        return next((p for s, p in self.parts if s.kind == "attack"), None)

    @property
    def wants_donor(self) -> bool:
        return any("donor" in getattr(p, "wants", ()) for _, p in self.parts)

    def perturb(
        self, batch: ImageBatch, inputs: Mapping[str, Tensor], number: int = 0, memo: Memo | None = None
    ) -> ImageBatch:
        """The batch after every perturbation, with the inputs of interventions and attack.

        Raises RobobenchError when a perturbation breaks its contract.
        """
        for step, instance in self.parts:
            if step.kind != "perturbation":
                continue
            given = _given(step, inputs)
            if "donor" in getattr(instance, "wants", ()):
                given["donor"] = inputs["donor"]
            ready = replace(batch, inputs=given)
            changed = instance(ready, self.draws(step, batch, number, memo))
            _check(step, batch, changed)
            batch = replace(batch, pixels=changed.pixels, inputs={}, facts=changed.facts)
        later = (step for step, _ in self.parts if step.kind != "perturbation")
        given = {name: values for step in later for name, values in _given(step, inputs).items()}
        return replace(batch, inputs=given)

    def changed(self, model: Model, device: str, number: int = 0) -> Model:
        """The model under the condition's interventions."""
        for step, instance in self.parts:
            if step.kind == "intervention":
                if hasattr(instance, "check"):
                    instance.check(model)
                draws = Draws(self.seed, step.name, (), device, step.occurrence, number)
                model = Changed(model, instance, draws)
        return model

    def attack_draws(self, batch: ImageBatch) -> Draws:
        return self.draws(self.parts[-1][0], batch, 0, None)

    def draws(self, step: Step, batch: ImageBatch, number: int, memo: Memo | None) -> Draws:
        device = batch.pixels.device
        return Draws(self.seed, step.name, batch.ids, device, step.occurrence, number, memo)


@dataclass(frozen=True)
class Changed:
    """A model under an intervention; its draws follow the images, not the batch."""

    inner: Model
    intervention: Intervention
    draws: Draws

    @property
    def module(self) -> nn.Module:
        return self.inner.module

    def __call__(self, batch: ImageBatch) -> Tensor:
        return self.intervention(self.inner, batch, self.draws.select(batch.ids))

    def gradient(self, batch: ImageBatch, loss: Loss) -> tuple[Tensor, Tensor]:
        return input_gradient(self, batch, loss)

    def read(self, outputs: Tensor) -> Tensor:
        return self.inner.read(outputs)

    def again(self, number: int) -> Changed:
        """The same intervention with the draws of another repetition."""
        inner = self.inner.again(number) if isinstance(self.inner, Changed) else self.inner
        return Changed(inner, self.intervention, self.draws.at(number))

    def taps(self, *names: str) -> AbstractContextManager[Mapping[str, Tensor]]:
        return self.inner.taps(*names)


def _given(step: Step, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The prepared tensors a step asks for, by its own names."""
    return {name: inputs[f"{prepared}/{name}"] for name, prepared in step.inputs.items()}


def input_gradient(model: Model, batch: ImageBatch, loss: Loss) -> tuple[Tensor, Tensor]:
    """Logits and the gradient of the summed loss in the pixels, detached."""
    import torch

    with torch.enable_grad():
        pixels = batch.pixels.detach().float().requires_grad_()
        logits = model(batch.with_pixels(pixels))
        (gradient,) = torch.autograd.grad(loss(logits, batch.labels).sum(), pixels)
    return logits.detach(), gradient.detach()


def donors(draws: Draws, everything: tuple[str, ...]) -> Iterator[str]:
    """For each image of the draws another one, by key from the whole data set, never itself."""
    if len(everything) < 2:
        raise DataError("a donor image is needed, and the data set holds one image only")
    picks = draws.integers("donor", 0, len(everything) - 1, 1).flatten().tolist()
    for image, pick in zip(draws.ids, picks, strict=True):
        yield everything[pick] if everything[pick] != image else everything[-1]


def _check(step: Step, before: ImageBatch, after: ImageBatch) -> None:
    """A perturbation keeps shape, type and range; facts are one number an image."""
    pixels = after.pixels
    if pixels.shape != before.pixels.shape or pixels.dtype != before.pixels.dtype:
        raise RobobenchError(
            f"{step.name}: gave pixels {tuple(pixels.shape)} {pixels.dtype}, expected "
            f"{tuple(before.pixels.shape)} {before.pixels.dtype}"
        )
    low, high = (float(v) for v in pixels.aminmax())
    if not (low >= 0.0 and high <= 1.0):
        raise RobobenchError(f"{step.name}: gave pixels in [{low:.4g}, {high:.4g}], expected [0, 1]")
    for name, values in after.facts.items():
        if tuple(values.shape) != (len(before),):
            raise RobobenchError(
                f"{step.name}: the fact {name!r} has shape {tuple(values.shape)}, expected (b,)"
            )
