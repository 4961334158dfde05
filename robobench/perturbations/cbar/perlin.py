"""Perlin noise, summed over five octaves without sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from robobench.draws import Draws
from robobench.perturbations.cbar.strength import BarCorruption, Strengths, fields, lines_of, side_of
from robobench.registry import perturbations

if TYPE_CHECKING:
    from torch import Tensor

_LATTICE = 256  # corners per axis before the lattice repeats
_OCTAVES = (1, 2, 4, 8, 16)


@perturbations.register("perlin_noise", version=1)
@dataclass(frozen=True, kw_only=True)
class PerlinNoise(BarCorruption):
    """Blend the image with the turbulence of Perlin noise.

    Measures robustness to cloudy grey patterns. Gradient noise on a lattice with 7 cells per side and on
    four finer ones, each twice as fine and half as strong as the last, is added up in absolute value; half
    of the sum plus one half, at most 1, is a grey pattern that is never darker than one half. At strength v
    it is blended in with weight 0.05 v.

    Raises BadParameter where the table has to be named.

    Source: Mintun et al., On Interaction Between Augmentations and Corruptions in Natural Corruption
    Robustness, NeurIPS 2021, section 5 and the published ImageNet-C-bar code (perlin_noise), after Perlin,
    An Image Synthesizer, SIGGRAPH 1985.
    """

    strengths: ClassVar[Strengths] = {"imagenet": (4.6, 5.2, 5.8, 7.6, 8.8)}
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"severity": 1, "table": "imagenet"},
        {"severity": 3, "table": "imagenet", "quantise": "none"},
        {"severity": 5, "table": "imagenet", "jpeg_quality": 85},
    )

    def apply(self, pixels: Tensor, strength: float, draws: Draws) -> Tensor:
        import torch

        order = draws.permutation("corners", _LATTICE)
        slopes = _unit(draws.integers("slopes", -_LATTICE, _LATTICE, _LATTICE, 2).double())
        cell = 32 * side_of(pixels) / 224
        rows, columns = (v.flatten() / cell for v in lines_of(pixels))
        grids = cache(lambda f: (_weights(rows * f), _weights(columns * f)))  # for all images, if for any

        def pattern(i: int) -> Tensor:
            octaves = [_gradient_noise(order[i], slopes[i], *grids(f)).abs_().div_(f) for f in _OCTAVES]
            return torch.stack(octaves).sum(0).mul_(0.5).add_(0.5).clamp_(0.0, 1.0)[None]

        weight = 0.05 * strength
        return (1 - weight) * pixels + weight * fields(draws, pixels, pattern)


def _unit(vectors: Tensor) -> Tensor:
    """Vectors (b, n, 2) of length 1; one of length 0 stays."""
    lengths = vectors.square().sum(-1, keepdim=True).sqrt()
    return vectors / lengths.clamp_min(1.0)


def _weights(at: Tensor) -> tuple[Tensor, Tensor]:
    """Interpolation as matrices (pixels, corners): the share of each corner, and that times the offset."""
    import torch

    below = at.floor()
    offset = at - below
    share = offset.square() * (3 - 2 * offset)
    corner = below.long()
    shares = at.new_zeros(len(at), int(corner.max()) + 2)
    offsets = torch.zeros_like(shares)
    line = torch.arange(len(at), device=at.device)
    shares[line, corner], shares[line, corner + 1] = 1 - share, share
    offsets[line, corner], offsets[line, corner + 1] = (1 - share) * offset, share * (offset - 1)
    return shares, offsets


def _gradient_noise(
    order: Tensor, slopes: Tensor, down: tuple[Tensor, Tensor], across: tuple[Tensor, Tensor]
) -> Tensor:
    """Perlin noise (h, w): at each pixel the four slopes around it, each times the way to its corner.

    Written as products of matrices, because the interpolation takes rows and columns one after the other.
    """
    import torch

    rows, columns = (torch.arange(m.shape[1], device=order.device) % _LATTICE for m in (down[0], across[0]))
    corner = slopes[order[(order[rows][:, None] + columns[None]) % _LATTICE]]
    vertical, horizontal = corner.unbind(-1)
    found = down[1] @ vertical.contiguous() @ across[0].T
    found += down[0] @ horizontal.contiguous() @ across[1].T
    return 1.5 * found
