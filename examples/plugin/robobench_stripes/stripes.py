"""Stripes: bars of one shade over the whole image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from robobench.draws import Draws
from robobench.registry import Field, perturbations
from robobench.types import ImageBatch


@perturbations.register("bars", version=1)  # the name is "<package>/<file>.<key>"
@dataclass(frozen=True, kw_only=True)
class Bars:
    """Cover an image with upright bars of one shade.

    Every `period` pixels begins a bar of floor(width * period) pixels; where the first one begins is drawn
    per image. Wider bars contain narrower ones. Records `covered`, the share of columns under bars.

    Own: an example of a plug-in outside of robobench.
    """

    width: Annotated[float, Field(ge=0, le=1)]  # share of each period that a bar takes
    period: Annotated[int, Field(ge=2)] = 8  # pixels from one bar to the next
    shade: Annotated[float, Field(ge=0, le=1)] = 0.0  # the bars' value in all channels, 0 is black

    nested: ClassVar[str | None] = "width"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"width": 0.25}, {"width": 0.75}, {"width": 0.1})

    @property
    def identity(self) -> bool:
        """A bar is less than one pixel wide."""
        return int(self.width * self.period) == 0

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        import torch

        begin = draws.integers("begin", 0, self.period, 1)  # (b, 1)
        column = torch.arange(batch.pixels.shape[3], device=batch.pixels.device)
        bar = (column - begin) % self.period < int(self.width * self.period)  # (b, w)
        pixels = batch.pixels.masked_fill(bar[:, None, None, :], self.shade)
        return batch.with_pixels(pixels, covered=bar.float().mean(1))
