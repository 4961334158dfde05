"""AutoAttack: attacks of several kinds with nothing to tune, one after the other on what still stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from robobench.norms import Norm
from robobench.params import Radius, check_linf
from robobench.registry import attacks

_TARGETS = 9  # wrong classes that a targeted stage aims at, where there are so many
_TARGETS_L1 = 5  # of Auto-PGD under l1
_STARTS = 5  # of each untargeted stage of `plus`, and of Auto-PGD under l1
_EOT = 20  # runs of a randomised model behind each gradient
_QUERIES = 5000
_USUAL = 1000  # classes that the cost is told for


@dataclass(frozen=True, kw_only=True)
class _AutoAttack(ABC):
    """What the versions share: a budget, and stages that all have it."""

    eps: Radius  # radius of the budget in [0, 1] pixel units: 4/255 or 8/255; under l2 often 0.5 or 3
    norm: Norm = "linf"  # how the size of a change is measured

    nested: ClassVar[str | None] = "eps"
    key: ClassVar[str]

    def __post_init__(self) -> None:
        check_linf(f"autoattack.{self.key}", self.norm, self.eps)

    @property
    def identity(self) -> bool:
        """The budget is empty."""
        return self.eps == 0

    @property
    def cost(self) -> int:
        """Forward passes of an image that no stage fells, a backward one counted as two."""
        return sum(stage.cost for stage in self.stages(_USUAL))

    @abstractmethod
    def stages(self, classes: int) -> Sequence[Any]:
        """The attacks for a model with so many classes, in their order."""

    def _stage(self, name: str, **params: Any) -> Any:
        return attacks.build(name, {"eps": self.eps, "norm": self.norm, **params})


@attacks.register("standard", version=1)
@dataclass(frozen=True, kw_only=True)
class Standard(_AutoAttack):
    """AutoAttack, standard version: the ensemble behind RobustBench's numbers.

    Four stages, each on the images that stood all earlier ones; the worst case of all is the result.
    Auto-PGD on the cross-entropy (100 steps, one start); Auto-PGD on the targeted difference of logits
    ratio towards the 9 highest ranked wrong classes (100 steps each); the targeted Fast Adaptive Boundary
    attack towards the same 9 (100 steps each); the Square Attack with 5,000 queries. Under l1 Auto-PGD
    runs through balls of 3, 2 and 1 eps, from 5 starts, and towards 5 classes. eps is in [0, 1] pixel units.

    A model with fewer than 10 classes is attacked towards all of its wrong ones. It needs 4 classes, because
    the targeted loss does. The model has to give logits and the same answer every time; for a randomised
    one there is autoattack.rand.

    Raises BadParameter for a linf radius above 1.

    Source: Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks, ICML 2020, section 6; l1: Croce and Hein, Mind the Box, ICML 2021. Numbers as in
    the version "standard" of the authors' implementation.
    """

    key: ClassVar[str] = "standard"
    classes: ClassVar[int] = 4
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"eps": 1},
        {"eps": 100, "norm": "l2"},
        {"eps": 3000, "norm": "l1"},
        {"eps": 0},
    )

    def stages(self, classes: int) -> Sequence[Any]:
        """Auto-PGD, targeted Auto-PGD, targeted FAB, Square."""
        sparse = self.norm == "l1"
        wrong = classes - 1
        return (
            self._stage("gradient.apgd", larger_eps=sparse, restarts=_STARTS if sparse else 1),
            self._stage(
                "gradient.apgd_t", larger_eps=sparse, targets=min(_TARGETS_L1 if sparse else _TARGETS, wrong)
            ),
            self._stage("gradient.fab", targets=min(_TARGETS, wrong)),
            self._stage("blackbox.square", queries=_QUERIES),
        )


@attacks.register("plus", version=1)
@dataclass(frozen=True, kw_only=True)
class Plus(_AutoAttack):
    """AutoAttack, version plus: more stages from more starts, for about five times the work.

    Six stages, each on the images that stood all earlier ones: Auto-PGD on the cross-entropy and on the
    difference of logits ratio and the untargeted Fast Adaptive Boundary attack, each from 5 starts; the
    Square Attack with 5,000 queries; targeted Auto-PGD and targeted FAB towards the 9 highest ranked wrong
    classes. Every gradient stage makes 100 steps. It needs 4 classes. eps is in [0, 1] pixel units.

    Untargeted FAB takes as many backward passes a step as there are classes: with 1,000 of them it takes
    nearly all of the time.

    Raises BadParameter for a linf radius above 1.

    Source: Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks, ICML 2020; numbers as in the version "plus" of the authors' implementation.
    """

    norm: Literal["linf", "l2"] = "linf"  # how the size of a change is measured

    key: ClassVar[str] = "plus"
    classes: ClassVar[int] = 4
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"eps": 1}, {"eps": 100, "norm": "l2"}, {"eps": 0})

    def stages(self, classes: int) -> Sequence[Any]:
        """Auto-PGD twice, FAB, Square, targeted Auto-PGD, targeted FAB."""
        targets = min(_TARGETS, classes - 1)
        return (
            self._stage("gradient.apgd", restarts=_STARTS),
            self._stage("gradient.apgd", objective="dlr", restarts=_STARTS),
            self._stage("gradient.fab", targets=0, restarts=_STARTS),
            self._stage("blackbox.square", queries=_QUERIES),
            self._stage("gradient.apgd_t", targets=targets),
            self._stage("gradient.fab", targets=targets),
        )


@attacks.register("rand", version=1)
@dataclass(frozen=True, kw_only=True)
class Rand(_AutoAttack):
    """AutoAttack, version rand, for models that do not give the same answer twice.

    Two stages: Auto-PGD on the cross-entropy, then on the difference of logits ratio, 100 steps from one
    start each; every gradient is the mean of 20 runs of the model. It needs 3 classes. eps is in [0, 1]
    pixel units.

    Raises BadParameter for a linf radius above 1.

    Source: Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks, ICML 2020; numbers as in the version "rand" of the authors' implementation.
    """

    norm: Literal["linf", "l2"] = "linf"  # how the size of a change is measured

    key: ClassVar[str] = "rand"
    classes: ClassVar[int] = 3
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"eps": 1}, {"eps": 100, "norm": "l2"}, {"eps": 0})

    def stages(self, classes: int) -> Sequence[Any]:
        """Auto-PGD on two losses."""
        return (
            self._stage("gradient.apgd", eot=_EOT),
            self._stage("gradient.apgd", objective="dlr", eot=_EOT),
        )
