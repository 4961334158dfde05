"""The frozen values that flow through robobench. No behaviour beyond what makes them values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from robobench.keys import LATER, canonical, digest
from robobench.lossless import Kept

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

CLEAN = "clean"
OUTLIER = -1  # the label of an image that no class is right for ...
OUTLIER_HIT = -2  # ... and its `hit` in rows
Json = None | bool | int | float | str | list[Any] | dict[str, Any]
Keep = Literal["fallen", "all"]  # whose pixels an attack leaves: those that fell, or all it worked on
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box"]


@dataclass(frozen=True)
class ImageBatch:
    """Images on their way to a model.

    pixels: (b, 3, h, w) float32 RGB in [0, 1], un-normalised. ids: b image ids. labels: (b,) int64
    in the data's label space, -1 where no class is right. inputs: what a step asked for by name, each with
    leading b (`donor`, a saliency map; what a preparation made once for a whole split is repeated). facts:
    per-image numbers of the data or that steps record; each becomes a column `x_<name>`.
    """

    pixels: Tensor
    ids: tuple[str, ...]
    labels: Tensor
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    facts: Mapping[str, Tensor] = field(default_factory=dict)
    accepted: Tensor | None = None  # (b, k) int64, every acceptable class, filled up with -1; None: the label

    def __len__(self) -> int:
        return len(self.ids)

    def with_pixels(self, pixels: Tensor, **facts: Tensor) -> ImageBatch:
        """The same images with other pixels, and with facts about what was done to them."""
        return replace(self, pixels=pixels, facts={**self.facts, **facts})

    def select(self, rows: Sequence[int]) -> ImageBatch:
        """Some of the images, in the given order."""
        import torch

        index = torch.as_tensor(list(rows), dtype=torch.int64, device=self.pixels.device)
        return ImageBatch(
            pixels=self.pixels[index],
            ids=tuple(self.ids[r] for r in rows),
            labels=self.labels[index],
            inputs={k: v[index] for k, v in self.inputs.items()},
            facts={k: v[index] for k, v in self.facts.items()},
            accepted=None if self.accepted is None else self.accepted[index],
        )


@dataclass(frozen=True)
class View:
    """The geometry that turns a stored image into the pixels a model sees.

    resize: the short side in pixels (None leaves the size). crop: side of the centre crop in pixels
    (None leaves it). size: stretch to this square side, without regard to aspect (None does not).
    """

    resize: int | None = None
    crop: int | None = None
    size: int | None = None
    interpolation: Interpolation = "bilinear"

    @property
    def side(self) -> int | None:
        """The side of the square this view always gives, None where it depends on the image."""
        return self.crop or self.size

    def __str__(self) -> str:
        parts = [f"{n} {v}" for n in ("resize", "crop", "size") if (v := getattr(self, n))]
        return ", ".join([*parts, self.interpolation]) if parts else "as stored"


@dataclass(frozen=True)
class LabelSpace:
    """Names of classes, and how a model's outputs become answers among them.

    outputs: how many numbers a model must give. groups: for each class the model outputs behind it;
    None means that output i is class i. reduce: what becomes of a group with several members - `mean`
    of the softmax probabilities over all outputs, or `max` of the logits. parent: the label space
    whose class i is output i, when this one is read out of a larger one. within: the classes that images
    have, where that is fewer than all of the answers.
    """

    name: str
    classes: tuple[str, ...]
    outputs: int
    groups: tuple[tuple[int, ...], ...] | None = None
    reduce: Literal["max", "mean"] = "max"
    parent: str | None = None
    within: tuple[int, ...] | None = field(default=None, metadata={LATER: True})

    def answers(self, logits: Tensor) -> Tensor:
        """Logits (b, outputs) as logits (b, classes); differentiable."""
        if self.groups is None:
            return logits
        if all(len(g) == 1 for g in self.groups):
            return logits[:, [g[0] for g in self.groups]]
        if self.reduce == "max":
            return _stack([logits[:, list(g)].amax(dim=1) for g in self.groups])
        spread = logits.log_softmax(dim=1)  # in logarithms, so that small probabilities stay finite
        return _stack([spread[:, list(g)].logsumexp(dim=1) - math.log(len(g)) for g in self.groups])


def _stack(columns: list[Tensor]) -> Tensor:
    import torch

    return torch.stack(columns, dim=1)


@dataclass(frozen=True)
class DataIndex:
    """What a data source holds, before any image is decoded.

    ids and labels in the source's own order; revision: digest of what the images are; view: the
    source's own geometry when its images are never resized again; excluded: images that cannot be
    decoded, with the reason. A label of -1 says that no class is right (an outlier). accepted: by id, the
    acceptable classes of images that have several. facts: numbers of each image, in the order of the
    ids; each becomes a column `x_<name>` (float32: whole numbers up to 2**24).
    """

    ids: tuple[str, ...]
    labels: tuple[int, ...]
    revision: str
    space: LabelSpace
    view: View | None = None
    excluded: Mapping[str, str] = field(default_factory=dict)
    accepted: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    facts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelId:
    """Who a model is, without loading it.

    name: what tables show. spec: how it is loaded again. digest: what changes when its answers may
    change. family: vit, cnn, mlp, hybrid or other when the user said so, else None until it is loaded.
    """

    name: str
    spec: str
    digest: str
    family: str | None = None
    clean_accuracy: float | None = None
    citation: str | None = None


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model once it is loaded."""

    family: str
    parameters: int
    weights: str  # digest of every tensor of the state dict
    input_size: int | None
    view: View | None


StepKind = Literal["perturbation", "intervention", "attack"]


@dataclass(frozen=True)
class Step:
    """One plug-in at work in a condition.

    occurrence: how many earlier steps of the condition have the same name. inputs: which
    preparation (by its name in the suite) fills which of the plug-in's inputs.
    """

    kind: StepKind
    name: str
    version: int
    params: Mapping[str, Json]
    occurrence: int = 0
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Condition:
    """One data set and what is done to its images, every parameter fixed.

    name: unique in its suite. ladder: the curve it belongs to. along: the parameter that the ladder
    varies, level: its value here as the suite writes it. data: the data set's name in the suite.
    lower: the conditions of the smaller budgets of an attack ladder, smallest first.
    """

    name: str
    ladder: str
    data: str
    steps: tuple[Step, ...] = ()
    along: str | None = None
    level: Json = None
    limit: int | None = None
    worst_of: int = 1
    lower: tuple[str, ...] = ()
    companion: bool = False  # `clean@<label space>`: compared with a shift, never scored
    check: str = field(default="", metadata={LATER: True})  # what it finds out about `checked`; never scored
    checked: str = field(default="", metadata={LATER: True})  # the attack whose health it looks at

    @property
    def clean(self) -> bool:
        """Untouched images of the base data set, under its own or a shift's read-out."""
        return self.ladder == CLEAN

    @property
    def attack(self) -> Step | None:
        """The attack, always the last step."""
        return self.steps[-1] if self.steps and self.steps[-1].kind == "attack" else None


@dataclass(frozen=True)
class Cell:
    """A model under a condition; `key` digests what changes its numbers, and nothing else."""

    key: str
    model: ModelId
    condition: Condition
    lower: tuple[str, ...] = ()  # keys of the cells whose failures this one inherits


@dataclass(frozen=True)
class WorkItem:
    """About a minute of work that is written whole or not at all.

    missing: for each cell the ids it lacks, all of them among `ids`. start: where its part of the
    visiting order begins, whatever of it is there already.
    """

    model: ModelId
    data: str
    ids: tuple[str, ...]
    cells: tuple[Cell, ...]
    missing: Mapping[str, frozenset[str]]
    cost: int  # forward passes, a backward one counted as two
    start: int = 0

    @property
    def key(self) -> str:
        """What the item's file is named after: the same work gets the same name."""
        return digest({k: sorted(v) for k, v in self.missing.items()})


@dataclass(frozen=True)
class CellRows:
    """The per-image record of a cell over some images."""

    cell: Cell
    rows: pa.Table
    images: Kept | None = None  # of attacked images, where the run keeps them


@dataclass(frozen=True)
class CellFailure:
    """Work that could not be done. A record, not a result: the next run tries it again."""

    cell: str
    model: str
    condition: str
    ids: tuple[str, ...]
    reason: str
    hint: str = ""
    unsupported: bool = False  # the model cannot do this by its build: no fault of the run


@dataclass(frozen=True)
class Score:
    """A number that says how sure it is.

    low, high: the 95 % interval. n: images behind it. Undefined is NaN with its n, never 0.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    unit: str = "fraction"
    higher_is_better: bool = True


@dataclass(frozen=True)
class Yardstick:
    """How far a condition takes images from the clean ones, as means over some of them.

    psnr: in dB, over the images that changed; infinite when none did. ssim: in [-1, 1]; NaN for images
    smaller than its window.
    """

    psnr: float
    ssim: float
    images: int


@dataclass(frozen=True)
class Pictures:
    """Pictures that a run made of images which may be shown. credit: their licence and whose they are.

    png: by (image, condition), a PNG in base64; an image as it is stored stands under the clean condition.
    """

    credit: str
    png: Mapping[tuple[str, str], str]


Rows = Mapping[str, NDArray[Any]]


def freeze(params: Mapping[str, Json]) -> str:
    """Parameters as one line of canonical text, for names and sorting."""
    return canonical(params)


def finite(value: float) -> float | None:
    """A number for JSON: NaN and infinities become null."""
    return float(value) if np.isfinite(value) else None
