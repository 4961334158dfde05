"""A patch of its own for each image: every pixel of a square is free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.contracts import Seen, State
from robobench.draws import Draws
from robobench.losses import cross_entropy
from robobench.params import Eps, Grid
from robobench.patches import GRID, cells, square, window
from robobench.registry import Field, attacks
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

_REACH = 0.5  # from the middle of [0, 1] to its ends: the radius of what a free pixel may be


@attacks.register("image", version=1)
@dataclass(frozen=True, kw_only=True)
class ImagePatch:
    """A square patch made for each image by steps up the cross-entropy, its pixels free in [0, 1].

    The patch is the largest square of whole pixels that covers at most a share `eps` of the image; the rest
    of the image stays as it is. It lies about a point drawn at random, the middle of the image, or the
    middle of the cell of a grid where the gradient of the image is largest (the sum of its absolute
    values); where it would stick out, it is moved inside. That point does not depend on eps, so smaller
    patches lie inside larger ones. The patch begins as noise uniform in [0, 1], the same at every eps; each
    step goes alpha along the gradient's sign. Restarts have places and noise of their own (`centre` and
    `salient` only noise). Under `salient` the model is asked about the image once more, before the first
    step. A share of less than one pixel is the image itself.

    Raises BadParameter for a grid that does not divide the images.

    Own: projected gradient descent as in gradient.pgd with the ball of radius 1/2 around mid-grey, that is
    all of [0, 1], on the pixels of a patch; the saliency of cells is that of Patch-Fool (Fu et al.,
    ICLR 2022).
    """

    eps: Eps  # share of the image's pixels that may change, in [0, 1]: the area of the patch
    place: Literal["random", "centre", "salient"] = "random"  # about which point the patch lies
    grid: Grid = GRID  # cells per side that are compared by saliency
    steps: Annotated[int, Field(ge=1)] = 50  # gradient steps per restart
    alpha: Eps | None = None  # length of a step per channel in [0, 1] units; None is 2.5 * 0.5 / steps
    restarts: Annotated[int, Field(ge=1)] = 1  # an image falls when any of them succeeds

    norm: ClassVar[str | None] = "l0"
    nested: ClassVar[str | None] = "eps"
    white: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": 0.05, "steps": 3},
        {"eps": 0.1, "steps": 2, "place": "salient", "grid": 4},
        {"eps": 0.1, "steps": 2, "place": "centre", "restarts": 2},
        {"eps": 0, "steps": 2},
    )

    @property
    def identity(self) -> bool:
        """No pixel may change."""
        return self.eps == 0

    @property
    def cost(self) -> int:
        """Forward passes per image, a backward one counted as two, with the answer to the result."""
        return 3 * self.asks * self.restarts + 1

    @property
    def asks(self) -> int:
        """How often the model is asked per restart: under `salient` once to choose the place."""
        return self.steps + (self.place == "salient")

    @property
    def step_size(self) -> float:
        """The length of a step."""
        return 2.5 * _REACH / self.steps if self.alpha is None else self.alpha

    def start(self, batch: ImageBatch, logits: Tensor, restart: int, draws: Draws) -> State:
        """The noise, and where it lies: `point`, (b, 2) the pixel it is about, negative while not chosen."""
        import torch

        b, _, height, width = batch.pixels.shape
        noise = draws.uniform("noise", *batch.pixels.shape[1:])
        size = torch.tensor([height, width], device=batch.pixels.device)
        if self.place == "random":
            point = (draws.uniform("place", 2) * size).floor().long()
        elif self.place == "centre":
            point = (size // 2).expand(b, 2)
        else:
            cells(batch.pixels, self.grid, "patch.image")  # before the first step
            return {"pixels": batch.pixels, "noise": noise, "point": torch.full_like(size, -1).expand(b, 2)}
        return {"pixels": self._filled(batch.pixels, noise, point), "noise": noise, "point": point}

    def probe(self, batch: ImageBatch, state: State) -> Tensor:
        """The point it is at."""
        return state["pixels"]

    def loss(self, logits: Tensor, labels: Tensor, state: State) -> Tensor:
        """The cross-entropy of each image."""
        return cross_entropy(logits, labels)

    def step(self, batch: ImageBatch, state: State, seen: Seen) -> State:
        """One step along the sign inside the patch; where there is none yet, it is put where seen says."""
        import torch

        point = state["point"]
        moved = (state["pixels"] + self.step_size * seen.slope.sign()).clamp_(0, 1)
        if self.place == "salient":
            fresh = point[:, 0] < 0
            point = torch.where(fresh[:, None], self._salient(seen.slope), point)
            moved = torch.where(fresh[:, None, None, None], state["noise"], moved)
        return {"pixels": self._filled(batch.pixels, moved, point), "noise": state["noise"], "point": point}

    def _filled(self, pixels: Tensor, content: Tensor, point: Tensor) -> Tensor:
        """The images with the content where their patches lie."""
        import torch

        side = len(square(self.eps, pixels.shape[2:]))
        return torch.where(window(pixels, point, side), content, pixels)

    def _salient(self, gradient: Tensor) -> Tensor:
        """The middle of the cell with the largest gradient, (b, 2); the first of equal ones."""
        import torch

        mass = cells(gradient.abs().sum(dim=1, keepdim=True), self.grid, "patch.image")
        best = mass.argmax(dim=1)
        tall, wide = (n // c for n, c in zip(gradient.shape[2:], self.grid, strict=True))
        row, column = best // self.grid.columns, best % self.grid.columns
        return torch.stack([row * tall + tall // 2, column * wide + wide // 2], dim=1)
