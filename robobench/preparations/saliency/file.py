"""Saliency maps that another program has made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import Model
from robobench.draws import Draws
from robobench.preparations.stored import (
    ARRAYS,
    IMAGES,
    Stored,
    contents,
    file_of,
    files_below,
    fitted,
    read_levels,
    stacked,
)
from robobench.registry import preparations
from robobench.types import ImageBatch, View

if TYPE_CHECKING:
    from torch import Tensor

NAME = "saliency.file"


@preparations.register("file", version=1)
@dataclass(frozen=True, kw_only=True)
class SaliencyFiles(Stored):
    """Saliency maps from a folder of files, one for each image.

    The map of image `n01440764/one.JPEG` is `n01440764/one.npy` (an array (h, w) of any kind of number) or
    `n01440764/one.png` (grey levels; any format of images). One that covers the `stored` image has its size,
    or its shape at another size, and goes through the view of the images, resampled to the nearest
    pixel, 0 where the view adds a border. One that covers the `view` has any size, such as 14x14 patches,
    and is stretched over the pixels. Gives `saliency`, (n, h, w) float32, in the unit of the files. Needs
    no model.

    Raises DataError for a folder that is missing or empty, for an image without a map, and for a map that
    cannot be read, holds NaN or infinity, or has another shape than its image.

    Own: the layout of the files.
    """

    path: str  # the folder; `~` is the home folder
    covers: Literal["stored", "view"] = "stored"  # what a map covers: the stored image, or what a model sees

    view: View | None = field(init=False, default=None)
    per_image: ClassVar[bool] = True
    needs_model: ClassVar[bool] = False
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"path": "maps"}, {"path": "maps", "covers": "view"})

    def revision(self) -> str:
        """Digest of the maps' names and contents."""
        return contents(self._files(), NAME)

    def __call__(
        self, model: Model | None, batches: Iterable[ImageBatch], draws: Draws
    ) -> Mapping[str, Tensor]:
        files = self._files()
        return {"saliency": stacked([self._map(files, b, image) for b in batches for image in b.ids])}

    def _files(self) -> dict[str, Path]:
        return files_below(self.path, ARRAYS | IMAGES, NAME)

    def _map(self, files: Mapping[str, Path], batch: ImageBatch, image: str) -> NDArray[np.float32]:
        file = file_of(files, image, NAME, self.path)
        values = read_levels(file, f"{NAME}: {file.name}")
        if self.covers == "stored":
            return fitted(self.seen(values), batch, image, NAME)
        rows, columns = (
            np.arange(n) * m // n for n, m in zip(batch.pixels.shape[2:], values.shape, strict=True)
        )
        stretched: NDArray[np.float32] = values[rows][:, columns]
        return stretched
