"""Random search with square patches of change: an attack that asks for answers and never for a gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from robobench.contracts import Seen, State
from robobench.draws import Draws
from robobench.losses import margin
from robobench.norms import bounded, direction, length
from robobench.params import Radius, check_linf
from robobench.registry import Field, attacks
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # after these proposals the area is halved
_SCHEDULED = 10_000  # proposals that the halvings were made for
_TILES = 5  # tiles per side of an l2 or l1 start
_INSIDE = 1 - 1e-6  # an l1 change is kept so much inside its budget, as in the original
_TURN = 28  # the bit of a word that turns a bump
_TINY = 1e-12  # keeps a window without change from being divided by 0, as in the original


@attacks.register("square", version=1)
@dataclass(frozen=True, kw_only=True)
class Square:
    """The Square Attack: random squares of change, each kept when the margin of the true class gets smaller.

    Begins with vertical stripes of +-eps (linf) or a tiling of bumps (l2, l1). Each proposal then changes
    one square at a random place: under linf to +-eps per channel, under l2 and l1 by a two-sided bump that
    takes the change of a second square, so that the budget stays full. The area of a square is the share
    p_init of the image at first and is halved after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000
    proposals. eps is in [0, 1] pixel units, l1 sums over all values. Every image has draws of its own; they
    are the same for every eps, and for more queries the same ones with more behind them. eps = 0 is the
    image itself.

    Raises BadParameter for a linf radius above 1.

    Source: Andriushchenko et al., Square Attack: a query-efficient black-box adversarial attack via random
    search, ECCV 2020, algorithms 1 to 3; numbers, l1 version and start as in AutoAttack (Croce and Hein,
    ICML 2020), whose images share one square per proposal.
    """

    eps: Radius  # radius of the budget in [0, 1] pixel units: 8/255 or 0.03; under l2 often 0.5, under l1 12
    norm: Literal["linf", "l2", "l1"] = "linf"  # how the size of a change is measured
    queries: Annotated[int, Field(ge=1)] = 5000  # proposals per restart; the start is asked about besides
    p_init: Annotated[float, Field(gt=0, le=1)] = 0.8  # share of the image that the first squares cover
    rescale_schedule: bool = False  # stretch the halvings from 10,000 proposals to the queries there are
    restarts: Annotated[int, Field(ge=1)] = 1  # an image falls when any of them succeeds

    nested: ClassVar[str | None] = "eps"
    white: ClassVar[bool] = False
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": "8/255", "queries": 20},
        {"eps": 0.5, "norm": "l2", "queries": 12},
        {"eps": 3.0, "norm": "l1", "queries": 12, "restarts": 2},
        {"eps": "8/255", "queries": 12, "rescale_schedule": True, "p_init": 0.3},
        {"eps": 0, "queries": 3},
        {"eps": 0, "norm": "l2", "queries": 3},
        {"eps": 0, "norm": "l1", "queries": 3},
    )

    def __post_init__(self) -> None:
        check_linf("blackbox.square", self.norm, self.eps)

    @property
    def identity(self) -> bool:
        """The budget is empty."""
        return self.eps == 0

    @property
    def steps(self) -> int:
        """How often the model is asked: about the start and about every proposal."""
        return self.queries + 1

    @property
    def cost(self) -> int:
        """Forward passes per image, with the answer to the result."""
        return (self.steps + 1) * self.restarts

    def start(self, batch: ImageBatch, logits: Tensor, restart: int, draws: Draws) -> State:
        """Stripes or tiles, and the random numbers of every proposal."""
        import torch

        n, _, height, width = batch.pixels.shape
        squares = 1 if self.norm == "linf" else 2
        if self.norm == "linf":
            first = self.eps * _signs(draws.bits("stripes", 3, 1, width))
        else:
            first = _tiling(self.norm, height, width, draws)
        pixels = self._placed(batch.pixels, first)
        return {
            "pixels": pixels,
            "best": pixels,
            "margin": torch.full((n,), -torch.inf, device=pixels.device),
            "asked": torch.zeros(n, dtype=torch.int64, device=pixels.device),
            "places": draws.uniform("places", self.queries, squares, 2),
            "signs": draws.bits("signs", self.queries),
        }

    def probe(self, batch: ImageBatch, state: State) -> Tensor:
        """The proposal."""
        return state["pixels"]

    def loss(self, logits: Tensor, labels: Tensor, state: State) -> Tensor:
        """The best wrong logit minus the label's."""
        return margin(logits, labels)

    def step(self, batch: ImageBatch, state: State, seen: Seen) -> State:
        """Keep the proposal where it was better or fooled the model, and propose the next."""
        import torch

        better = (seen.loss > state["margin"]) | (seen.loss >= 0)
        best = torch.where(better[:, None, None, None], state["pixels"], state["best"])
        return {
            **state,
            "pixels": self._proposal(batch.pixels, best, state),
            "best": best,
            "margin": torch.where(better, seen.loss.float(), state["margin"]),
            "asked": state["asked"] + 1,
        }

    def _placed(self, images: Tensor, change: Tensor) -> Tensor:
        """The images with a change that fills the budget."""
        if self.norm == "l1":
            return bounded(images, change, "l1", self.eps * _INSIDE)
        if self.norm == "l2":
            change = self.eps * direction(change, "l2")
        return (images + change).clamp_(0, 1)

    def _proposal(self, images: Tensor, best: Tensor, state: State) -> Tensor:
        """The best points so far with another square each; every image is at a proposal of its own."""
        import torch

        n, _, height, width = images.shape
        number = state["asked"].clamp(max=self.queries - 1)
        rows = torch.arange(n, device=images.device)
        level = self._level(number)
        bank = _bank(self.norm, self.p_init, height, width, str(images.device))
        side = bank.sides[level]
        places, words = state["places"][rows, number], state["signs"][rows, number]
        signs = _channel_signs(words)[:, :, None, None]
        down, right, inside = _window(places[:, 0], side, height, width)
        if self.norm == "linf":
            # The point is in its budget, so moving a channel by +-2 eps and clipping is going to +-eps.
            return torch.where(inside, (images + self.eps * signs).clamp_(0, 1), best)
        bump = bank.bumps[level, (words >> _TURN & 1).long()]
        outside = bump.shape[-1] - 1  # a row and a column of 0
        down, right = (torch.where((at >= 0) & (at < side[:, None]), at, outside) for at in (down, right))
        bump = bump[rows[:, None, None], down[:, :, None], right[:, None, :]][:, None]
        other = _window(places[:, 1], side, height, width)[2]
        change = _moved(self.norm, self.eps, best - images, bump * signs, inside, other)
        return self._placed(images, change)

    def _level(self, number: Tensor) -> Tensor:
        """How often the area has been halved when the proposal of that number is made."""
        import torch

        if self.rescale_schedule:
            number = (number.double() / self.queries * _SCHEDULED).long()
        return (number[:, None] > torch.tensor(_HALVINGS, device=number.device)).sum(dim=1)


@dataclass(frozen=True)
class _Bank:
    """What the squares of each level look like."""

    sides: Tensor  # (levels,) int64
    bumps: Tensor  # (levels, 2, side + 1, side + 1): upright and turned, with zeros behind each


@lru_cache(maxsize=16)
def _bank(norm: str, p_init: float, height: int, width: int, device: str) -> _Bank:
    import torch

    sides = [_side(norm, p_init / 2**level, height, width) for level in range(len(_HALVINGS) + 1)]
    bumps = torch.zeros(len(sides), 2, max(sides) + 1, max(sides) + 1)
    if norm != "linf":
        for level, side in enumerate(sides):
            bump = _bump(side, norm)
            bumps[level, 0, :side, :side] = bump
            bumps[level, 1, :side, :side] = bump.T
    return _Bank(torch.tensor(sides, device=device), bumps.to(device))


def _side(norm: str, share: float, height: int, width: int) -> int:
    """The side of a square of that share of the image; a bump has at least 3 pixels and a middle."""
    side = round(math.sqrt(share * height * width))
    if norm != "linf":
        side = max(side, 3)
        side += side % 2 == 0
    return min(max(side, 1), height, width)


def _bump(side: int, norm: str) -> Tensor:
    """A square (side, side) of length 1 whose upper half rises and whose lower half falls, to its middle."""
    import torch

    upper, lower = (_pyramid(rows, side, norm) for rows in (side // 2, side - side // 2))
    both = torch.cat([upper, -lower])
    size: Tensor = torch.linalg.vector_norm(both, ord=float(norm[1:]))
    return both / size


def _pyramid(rows: int, columns: int, norm: str) -> Tensor:
    """Nested rectangles around the middle, (rows, columns): the k-th from inside adds 1/k^2 (l2) or 1/k^4."""
    import torch

    middle = rows // 2, columns // 2
    apart = [(torch.arange(n) - m).abs() for n, m in zip((rows, columns), middle, strict=True)]
    ring = torch.maximum(apart[0][:, None], apart[1][None, :])
    added = torch.arange(1, max(middle) + 2).float() ** (-2.0 if norm == "l2" else -4.0)
    height = added.flip(0).cumsum(0).flip(0)[ring]
    size: Tensor = torch.linalg.vector_norm(height, ord=float(norm[1:]))
    return height / size.clamp_(min=_TINY)


def _tiling(norm: str, height: int, width: int, draws: Draws) -> Tensor:
    """Bumps side by side over the image (b, 3, h, w), each with its own turn, and a sign per channel."""
    import torch

    side = max(height // _TILES, 1)
    edge = max(height - side * _TILES, 0) // 2
    rows, columns = ((n - edge) // side for n in (height, width))  # those that fit
    words = draws.bits("tiles", height // side, width // side)[:, :rows, :columns]
    bump = _bump(side, norm).to(words.device)
    turned = (words >> _TURN & 1).bool()[:, None, :, :, None, None]
    tiles = torch.where(turned, bump.T, bump) * _channel_signs(words)[..., None, None]
    rows, columns = (n * side for n in words.shape[1:])
    change = torch.zeros(len(words), 3, height, width, device=words.device)
    change[:, :, edge : edge + rows, edge : edge + columns] = tiles.transpose(3, 4).reshape(
        len(words), 3, rows, columns
    )
    return change


def _channel_signs(words: Tensor) -> Tensor:
    """The signs of three channels (b, 3, ...), by the first three bits of each word (b, ...)."""
    import torch

    return _signs(torch.stack([words << k for k in range(3)], dim=1))


def _signs(words: Tensor) -> Tensor:
    """+1 or -1 by the first bit of each word."""
    return 1.0 - 2.0 * (words < 0)


def _window(place: Tensor, side: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """How far each row and column lies behind the upper left corner, and (b, 1, h, w) who is in the square.

    As in the original the last row and column of the image are never reached, but by a square that fills it.
    """
    import torch

    down, right = (
        torch.arange(n, device=place.device) - (place[:, k] * (n - side)).long()[:, None]
        for k, n in enumerate((height, width))
    )
    within = [(at >= 0) & (at < side[:, None]) for at in (down, right)]
    return down, right, (within[0][:, :, None] & within[1][:, None, :])[:, None]


def _moved(norm: str, eps: float, change: Tensor, bump: Tensor, here: Tensor, there: Tensor) -> Tensor:
    """The change with a bump added in one square, which gets what budget is free and what is taken there."""

    def size(values: Tensor) -> Tensor:  # of each channel
        if norm == "l1":
            return values.abs().sum(dim=(2, 3), keepdim=True)
        return values.square().sum(dim=(2, 3), keepdim=True).sqrt()

    whole = length(change, norm).to(change.dtype)
    old = change * here
    taken = size(change * (here | there))
    fresh = bump + old / (size(old) + _TINY)
    if norm == "l1":
        room = (eps - whole).clamp_(min=0) + taken * 3
    else:
        room = ((eps**2 - whole**2).clamp_(min=0) / 3 + taken**2).sqrt()
    fresh = fresh * (room / (size(fresh) + _TINY))
    return fresh + change * ~(here | there)
