"""Opponent colours: what was reddish becomes greenish, at the same luminance, on the monitor of the study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from robobench.draws import Draws
from robobench.registry import perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

# Light of the monitor (1 is its white) at every fifth 8-bit value, as measured in the study.
_LIGHT = (
    0.0, 0.000064, 0.000295, 0.000842, 0.001883, 0.00354, 0.005977, 0.009083, 0.012825, 0.017426, 0.023031,
    0.029569, 0.037156, 0.045872, 0.05536, 0.065937, 0.077864, 0.090856, 0.105069, 0.120592, 0.136268,
    0.152685, 0.170384, 0.189476, 0.209496, 0.230711, 0.252515, 0.274431, 0.297401, 0.321446, 0.346036,
    0.37152, 0.398163, 0.426738, 0.456023, 0.485595, 0.516019, 0.546738, 0.577751, 0.608438, 0.639469,
    0.67118, 0.704457, 0.73896, 0.774758, 0.811322, 0.847744, 0.884745, 0.920756, 0.953921, 0.981559, 1.0,
)  # fmt: skip
# Excitation of the three cones (long, middle, short) by the monitor's red, green and blue.
_CONES = (
    (0.1619982647, 0.208049264, 0.0389347448),
    (0.0330275785, 0.2496504557, 0.0618343518),
    (0.0015524055, 0.0198861001, 0.1890224274),
)
_GREY = (0.20449114, 0.17225619, 0.10523047)  # of mid-grey: the colours are opposite with regard to it
# Luminance, red against green, and blue against yellow, from differences of the cones.
_OPPONENT = (
    (9.27590805, 9.27590805, 0.0),
    (7.86421647, -9.33587662, 0.0),
    (-3.39709047, -3.39709047, 12.16230246),
)


@perturbations.register("false_colour", version=1)
@dataclass(frozen=True, kw_only=True)
class FalseColour:
    """Turn every colour into its opponent colour of the same luminance.

    Measures whether objects are known in wrong colours. Pixels become light (by the monitor's curve), light
    the excitation of the three cones, that an opponent space of luminance, red-green and blue-yellow;
    the two colour axes change sign with regard to mid-grey, and everything is undone. Colours that the
    monitor cannot show are clipped to [0, 1].

    Source: Geirhos et al., Generalisation in humans and deep neural networks, NeurIPS 2018, as in its
    code, with its matrices. The monitor's curve is kept at every fifth of its 256 values, straight between
    them, and the result is not rounded to 8 bits: pixels differ by a quarter of an 8-bit level on average,
    which is the rounding, and by up to 10 levels next to black.
    """

    wants: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        import torch

        red, green, blue = _light(batch.pixels).unbind(1)
        matrix, shift = _opposite()
        found = torch.stack(
            [m[0] * red + m[1] * green + m[2] * blue + s for m, s in zip(matrix, shift, strict=True)], dim=1
        )
        return batch.with_pixels(_pixels(found.clamp_(0, 1)).clamp_(0, 1))


def _opposite() -> tuple[list[list[float]], list[float]]:
    """The matrix and the shift that take light (red, green, blue) to its opposite."""
    cones, opponent, grey = np.array(_CONES), np.array(_OPPONENT), np.array(_GREY)
    flip = np.linalg.inv(opponent) @ np.diag([1.0, -1.0, -1.0]) @ opponent
    matrix = np.linalg.inv(cones) @ flip @ cones
    shift = np.linalg.inv(cones) @ (grey - flip @ grey)
    return matrix.tolist(), shift.tolist()


def _light(pixels: Tensor) -> Tensor:
    """The light that pixels in [0, 1] give: the measured curve, straight between its points."""
    import torch

    curve = torch.tensor(_LIGHT, device=pixels.device)
    return _read(curve, pixels * (len(_LIGHT) - 1))


def _pixels(light: Tensor) -> Tensor:
    """The pixels that give a light in [0, 1]: the inverse of `_light`.

    Tabulated over the square root of light, of which the inverse is nearly a straight line.
    """
    import torch

    roots = np.linspace(0, 1, 1025)
    table = np.interp(roots**2, _LIGHT, np.linspace(0, 1, len(_LIGHT)))
    return _read(torch.tensor(table, dtype=torch.float32, device=light.device), light.sqrt() * 1024)


def _read(table: Tensor, places: Tensor) -> Tensor:
    """A table at fractional places, from 0 to its last entry."""
    first = places.long().clamp_(0, len(table) - 2)
    low = table[first]
    return low + (places - first) * (table[first + 1] - low)
