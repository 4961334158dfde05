"""Signs that an attack, not the model, is what failed: each a share of images, near 0 when all is well.

Read off the rows of an attack, or of the companion conditions that `health: true` adds to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.registry import metrics
from robobench.types import Rows

Values = NDArray[np.float64]


@metrics.register("zero_gradient", version=1)
@dataclass(frozen=True)
class ZeroGradient:
    """The share of images still standing whose gradient was zero everywhere in most steps.

    Per attacked image that was not fooled 1 if `grad_zero`, the share of its steps with a gradient of
    zero, is above a half, else 0; NaN for other images and for attacks without gradients. Such an image
    stands because there was nothing to follow. Fraction in [0, 1], lower is better.

    Source: Athalye et al., Obfuscated Gradients Give a False Sense of Security, ICML 2018, section 3; one
    of the flags of AutoAttack (Croce and Hein, ICML 2020).

    >>> rows = {"grad_zero": np.array([1.0, 0.0, np.nan, 1.0]), "fooled": np.array([0, 0, 0, 1], bool)}
    >>> ZeroGradient()(rows).tolist()
    [1.0, 0.0, nan, nan]
    """

    needs: ClassVar[tuple[str, ...]] = ("grad_zero", "fooled")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows: Rows) -> Values:
        share = np.asarray(rows["grad_zero"], np.float64)
        return np.where(np.isnan(share) | rows["fooled"], np.nan, share > 0.5)


@metrics.register("flat_loss", version=1)
@dataclass(frozen=True)
class FlatLoss:
    """The share of images still standing on which the attack never raised its own loss.

    Per attacked image that was not fooled 1 if `loss_gain`, the largest loss seen minus the first, is not
    above 0, else 0; NaN for other images, for attacks that ask once, and where the gradient was zero in
    most steps (`health.zero_gradient` counts those). Ascent that does not ascend has a wrong gradient or a
    wrong step. Fraction in [0, 1], lower is better.

    Source: Carlini et al., On Evaluating Adversarial Robustness, arXiv 1902.06705, section 5.2 (verify
    that attacks have converged).

    >>> rows = {"loss_gain": np.array([0.0, 0.7, np.nan]), "grad_zero": np.zeros(3),
    ...         "fooled": np.zeros(3, bool)}
    >>> FlatLoss()(rows).tolist()
    [1.0, 0.0, nan]
    """

    needs: ClassVar[tuple[str, ...]] = ("loss_gain", "grad_zero", "fooled")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows: Rows) -> Values:
        gain = np.asarray(rows["loss_gain"], np.float64)
        explained = np.asarray(rows["grad_zero"], np.float64) > 0.5
        return np.where(np.isnan(gain) | explained | rows["fooled"], np.nan, gain <= 0)


@metrics.register("unlike", version=1)
@dataclass(frozen=True)
class Unlike:
    """The share of images that fell during the attack and stand when the same pixels are asked about again.

    Per image that fell 1 if the second answer to the same pixels was right, else 0; NaN for images that
    never fell. A model whose forward pass repeats gives 0. Fraction in [0, 1], lower is better.

    Source: AutoAttack's flag for randomised defences (Croce and Hein, ICML 2020).

    >>> Unlike()({"unlike": np.array([1, 0, 0], bool), "fooled": np.array([0, 1, 0], bool)}).tolist()
    [1.0, 0.0, nan]
    """

    needs: ClassVar[tuple[str, ...]] = ("unlike", "fooled")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows: Rows) -> Values:
        return np.where(rows["unlike"] | rows["fooled"], rows["unlike"], np.nan)


@metrics.register("rounding", version=1)
@dataclass(frozen=True)
class Rounding:
    """The share of adversarial images that no longer fool once they are rounded to 8 bits.

    Per fooled image 1 if the image rounded to multiples of 1/255 is answered rightly, else 0; NaN for
    others. Near 1 the attack lives below what an image file can hold. Fraction in [0, 1], lower is better.

    Own: of robobench.

    >>> Rounding()({"fooled": np.array([1, 1, 0], bool), "fooled_8bit": np.array([0, 1, 0], bool)}).tolist()
    [1.0, 0.0, nan]
    """

    needs: ClassVar[tuple[str, ...]] = ("fooled", "fooled_8bit")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows: Rows) -> Values:
        return np.where(rows["fooled"], ~np.asarray(rows["fooled_8bit"], bool), np.nan)


@metrics.register("probabilities", version=1)
@dataclass(frozen=True)
class Probabilities:
    """The share of images whose clean answer is a list of probabilities instead of logits.

    Per image 1 if the outputs are never negative and sum to one, else 0. A softmax inside the model takes
    the gradient away. Fraction in [0, 1], lower is better.

    Source: AutoAttack's check that outputs are logits (Croce and Hein, ICML 2020).

    >>> Probabilities()({"probabilities": np.array([True, False])}).tolist()
    [1.0, 0.0]
    """

    needs: ClassVar[tuple[str, ...]] = ("probabilities",)
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows: Rows) -> Values:
        return np.asarray(rows["probabilities"], np.float64)


@metrics.register("blind", version=1)
@dataclass(frozen=True)
class Blind:
    """The share of images that an ensemble's gradient attacks left standing and its black box felled.

    Per image 1 if it fell to a stage without gradients after stages with gradients had failed, else 0.
    Gradients should not be worse than none. Fraction in [0, 1], lower is better.

    Source: Carlini et al., arXiv 1902.06705, section 5.3; AutoAttack's flag for Square.

    >>> Blind()({"blind": np.array([True, False])}).tolist()
    [1.0, 0.0]
    """

    needs: ClassVar[tuple[str, ...]] = ("blind",)
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows: Rows) -> Values:
        return np.asarray(rows["blind"], np.float64)


@metrics.register("more", version=1)
@dataclass(frozen=True)
class More:
    """What a companion condition fells beyond the attack that it checks, as a share of all its images.

    Per image 1 if it was fooled here and not there, else 0: the mean is by how much the attack
    overstates robust accuracy. Fraction in [0, 1], lower is better.

    Own: of robobench, after Carlini et al., arXiv 1902.06705, section 5.

    >>> rows = {"fooled": np.array([1, 1, 0], bool), "inherited": np.array([1, 0, 0], bool)}
    >>> More()(rows).tolist()
    [0.0, 1.0, 0.0]
    """

    needs: ClassVar[tuple[str, ...]] = ("fooled", "inherited")
    unit: ClassVar[str] = "fraction"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, rows: Rows) -> Values:
        return np.asarray(rows["fooled"] & ~np.asarray(rows["inherited"], bool), np.float64)
