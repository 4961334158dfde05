"""Images that were crafted against one model, shown to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from robobench.draws import Draws
from robobench.errors import BadParameter, DataError
from robobench.registry import perturbations
from robobench.types import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor


@perturbations.register("show", version=1)
@dataclass(frozen=True, kw_only=True)
class TransferShow:
    """Show the image that an attack made of it against some model, in place of the image.

    Measures whether what fools one model fools another. The images are `inputs["crafted"]`, (b, 3, h, w), of
    a preparation that is an attack on the source model: `crafted: {use: gradient.mi_fgsm, model: SPEC, with:
    {eps: 16/255}}`. Judge it with `transfer.fooling_rate` and `transfer.success_rate`; a board with one of
    them has the matrix of sources and targets. Records `source_fooled`, 1 where the source is wrong about
    the image that was made of it, from `inputs["fooled"]`.

    Raises BadParameter when crafted images are missing or not of the pixels' size, DataError when they
    leave [0, 1].

    Source: Papernot et al., Transferability in Machine Learning, 2016; from transformers and to them: Naseer
    et al., On Improving Adversarial Transferability of Vision Transformers, ICLR 2022, section 4.
    """

    wants: ClassVar[tuple[str, ...]] = ("crafted", "fooled")
    shapes: ClassVar[Mapping[str, str]] = {"crafted": "pixels", "fooled": "number"}
    nested: ClassVar[str | None] = None
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch:
        crafted, fooled = batch.inputs.get("crafted"), batch.inputs.get("fooled")
        if crafted is None or fooled is None or crafted.shape != batch.pixels.shape:
            got = "none" if crafted is None else str(tuple(crafted.shape))
            raise BadParameter(
                f"transfer.show: expected crafted images of shape {tuple(batch.pixels.shape)}, got {got}; "
                "name an attack as a preparation in the suite: `inputs: {crafted: NAME, fooled: NAME}`"
            )
        low, high = crafted.aminmax()
        if not (bool(low >= 0) and bool(high <= 1)):
            raise DataError(f"transfer.show: crafted images in [{low:.4g}, {high:.4g}], expected [0, 1]")
        shown: Tensor = crafted.to(batch.pixels.dtype).clone()
        return batch.with_pixels(shown, source_fooled=fooled.float())
