"""Transfer: how often images that were crafted against one model change the answers of another.

Both rates go by an image's clean answer, `clean_top1` and `clean_hit`: what the same model said of the
same image without anything done to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.registry import metrics
from robobench.types import Rows


@metrics.register("fooling_rate", version=1)
@dataclass(frozen=True)
class FoolingRate:
    """The fooling rate: the share of images whose first answer is another than without the change.

    Per image 1 if `top1` is not `clean_top1`, whether or not one of them is right: an image that was read
    wrongly and is now read rightly counts too. An answer that is not finite is another one. NaN where
    there is no clean answer. Fraction in [0, 1], lower is better: it is the model that is judged.

    Source: Moosavi-Dezfooli et al., Universal Adversarial Perturbations, CVPR 2017, section 3; as the code
    of Naseer et al., On Improving Adversarial Transferability of Vision Transformers, ICLR 2022, has it.

    Four images, labels 7, 7, 7, 7; the second changes from right to wrong, the third from wrong to
    another wrong, the fourth from wrong to right:

    >>> FoolingRate()({"clean_top1": np.array([7, 7, 1, 1]), "top1": np.array([7, 2, 4, 7])}).tolist()
    [0.0, 1.0, 1.0, 1.0]
    """

    needs: ClassVar[tuple[str, ...]] = ("top1", "clean_top1")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows: Rows) -> NDArray[np.float64]:
        clean = np.asarray(rows["clean_top1"], np.float64)
        return np.where(np.isnan(clean), np.nan, np.asarray(rows["top1"]) != clean)


@metrics.register("success_rate", version=1)
@dataclass(frozen=True)
class SuccessRate:
    """The success rate: the share of images, of those the model reads rightly, that it reads wrongly now.

    Per image 1 if it was right (`clean_hit` = 0) and is wrong (`hit` > 0, or -1 for an answer that is not
    finite), 0 if it was and is right, NaN if it was wrong: the images behind the rate are the originally
    right ones. Fraction in [0, 1], lower is better: it is the model that is judged.

    Source: Naseer et al., On Improving Adversarial Transferability of Vision Transformers, ICLR 2022,
    section 4, where it is called so beside the fooling rate.

    The same four images: two were right, and one of these is wrong now, so it is one half of two images.

    >>> SuccessRate()({"clean_hit": np.array([0, 0, 3, 2]), "hit": np.array([0, 1, 2, 0])}).tolist()
    [0.0, 1.0, nan, nan]
    """

    needs: ClassVar[tuple[str, ...]] = ("hit", "clean_hit")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows: Rows) -> NDArray[np.float64]:
        right = np.asarray(rows["clean_hit"]) == 0
        return np.where(right, np.asarray(rows["hit"]) != 0, np.nan)
