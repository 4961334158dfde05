"""Iterated sign steps whose gradients come from resized images, and are smoothed in the plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from robobench import filters
from robobench.attacks.gradient.momentum import SignSteps
from robobench.contracts import Seen, State
from robobench.draws import Draws
from robobench.errors import BadParameter
from robobench.registry import Field, attacks
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ResizedSteps(SignSteps):
    """Steps whose gradient is taken at the image made smaller, somewhere on black of the old size.

    The gradient there is carried back to the pixels of the image by the transpose of that resizing.
    """

    decay: Annotated[float, Field(ge=0)] = 0.0  # weight of the momentum of the step before
    resize_rate: Annotated[float, Field(gt=0, lt=1)] = 0.9  # smallest side of the shrunken image, as a share
    diversity_prob: Annotated[float, Field(ge=0, le=1)] = 0.5  # how likely a step shrinks the image

    def start(self, batch: ImageBatch, logits: Tensor, restart: int, draws: Draws) -> State:
        """The images themselves, and what is done to them in each step."""
        import torch

        begun = super().start(batch, logits, restart, draws)
        names = ("shrink", "size", "top", "left")
        plan = {name: draws.uniform(name, self.steps) for name in names}
        return {**begun, **plan, "made": torch.zeros_like(batch.labels)}

    def probe(self, batch: ImageBatch, state: State) -> Tensor:
        """The point it is at, shrunken or not."""
        return self._shown(state["pixels"], state)

    def step(self, batch: ImageBatch, state: State, seen: Seen) -> State:
        """A step with the gradient as carried back; the next one has draws of its own."""
        return {**super().step(batch, state, seen), "made": state["made"] + 1}

    def felt(self, state: State, gradient: Tensor) -> Tensor:
        """The gradient in the pixels of the image: the resizing is linear, this is its transpose."""
        import torch

        with torch.enable_grad():
            pixels = torch.zeros_like(gradient).requires_grad_()
            (found,) = torch.autograd.grad(self._shown(pixels, state), pixels, gradient)
        return found

    def _shown(self, pixels: Tensor, state: State) -> Tensor:
        """Each image as its own step shows it."""
        import torch

        now = state["made"].clamp(max=self.steps - 1)[:, None]
        names = ("shrink", "size", "top", "left")
        drawn = torch.cat([state[name].gather(1, now) for name in names], dim=1).tolist()
        shown = [
            self._shrunken(image, size, top, left) if shrink < self.diversity_prob else image
            for image, (shrink, size, top, left) in zip(pixels, drawn, strict=True)
        ]
        return torch.stack(shown)

    def _shrunken(self, image: Tensor, size: float, top: float, left: float) -> Tensor:
        """One image (3, h, w) at a smaller size, on black; the draws are in [0, 1)."""
        from torch.nn.functional import interpolate, pad

        height, width = (int(n) for n in image.shape[1:])
        tall, wide = self._side(height, size), self._side(width, size)
        above, before = int(top * (height - tall)), int(left * (width - wide))
        small = interpolate(image[None], (tall, wide), mode="bilinear", align_corners=False)[0]
        return pad(small, (before, width - wide - before, above, height - tall - above))

    def _side(self, whole: int, size: float) -> int:
        """A side from resize_rate of the whole to one pixel less than it; that of one pixel stays."""
        least = max(int(whole * self.resize_rate), 1)
        return least + int(size * (whole - least))


@attacks.register("di_fgsm", version=1)
@dataclass(frozen=True, kw_only=True)
class DiverseInput(ResizedSteps):
    """DI-FGSM: iterated sign steps whose gradients come from the image at random sizes and places.

    In each step, with probability `diversity_prob`, the model is asked about the image shrunken to
    between `resize_rate` of its sides and one pixel less (bilinear), at a random place on black. Such an
    answer does not count as a fall; those to the image itself do. With a decay it is MI-DI-FGSM. All else
    is as in gradient.mi_fgsm. eps = 0 is the image itself. `dlr` needs three classes, with a target four.

    Source: Xie et al., Improving Transferability of Adversarial Examples with Input Diversity, CVPR 2019,
    section 3.3; the defaults are those of torchattacks' DIFGSM, with whose steps it agrees.
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": "8/255", "steps": 3},
        {"eps": "8/255", "steps": 3, "decay": 1.0, "resize_rate": 0.7, "diversity_prob": 1.0},
        {"eps": 0, "steps": 2},
    )


@attacks.register("ti_fgsm", version=1)
@dataclass(frozen=True, kw_only=True)
class TranslationInvariant(ResizedSteps):
    """TI-FGSM: sign steps along gradients smoothed in the plane, as if the image were shifted about.

    Each gradient is filtered by a kernel of `kernel_size` pixels a side: `gaussian` (over three standard
    deviations either way), `linear` (a pyramid) or `uniform`. With the default `diversity_prob` it is
    TI-DIM, as in torchattacks; 0 leaves the shrinking out, and a decay adds momentum. All else is as in
    gradient.di_fgsm. eps = 0 is the image itself. `dlr` needs three classes, with a target four.

    Source: Dong et al., Evading Defenses to Transferable Adversarial Examples by Translation-Invariant
    Attacks, CVPR 2019, section 3; the defaults are those of torchattacks' TIFGSM, with whose steps it
    agrees.
    """

    kernel: Literal["gaussian", "linear", "uniform"] = "gaussian"  # how shifted gradients are weighted
    kernel_size: Annotated[int, Field(ge=1)] = 15  # side of the kernel in pixels, an odd number

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": "8/255", "steps": 3},
        {"eps": "8/255", "steps": 3, "decay": 1.0, "diversity_prob": 0, "kernel": "linear"},
        {"eps": 0, "steps": 2, "kernel": "uniform", "kernel_size": 3},
    )

    def __post_init__(self) -> None:
        if self.kernel_size % 2 == 0:
            raise BadParameter(
                f"gradient.ti_fgsm: kernel_size: expected an odd number, got {self.kernel_size}",
                ("kernel_size",),
            )

    @property
    def taps(self) -> filters.Taps:
        """The weights of one row of the kernel, which add up to 1."""
        place = np.linspace(-1, 1, self.kernel_size) if self.kernel_size > 1 else np.zeros(1)
        reach = self.kernel_size // 2
        weights = {
            "gaussian": np.exp(-0.5 * (3 * place) ** 2),
            "linear": 1 - np.abs(place) * reach / (reach + 1),
            "uniform": np.ones(self.kernel_size),
        }[self.kernel]
        return np.asarray(weights / weights.sum(), np.float64)

    def felt(self, state: State, gradient: Tensor) -> Tensor:
        """The gradient in the pixels of the image, smoothed; around it there is nothing."""
        return filters.separable(super().felt(state, gradient), self.taps, self.taps, border="zero")
