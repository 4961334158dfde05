"""What a plug-in promises, and what it is given. The engine keeps the protocol, a plug-in the science."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from robobench.draws import Draws
from robobench.specs import Spec
from robobench.types import Condition, DataIndex, ImageBatch, ModelCard, ModelId, Rows

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor, nn

Loss = Callable[["Tensor", "Tensor"], "Tensor"]  # logits (b, k), labels (b,) -> loss (b,)


class Model(Protocol):
    """All that attacks, interventions, preparations and probes see of a model."""

    @property
    def module(self) -> nn.Module:
        """The bare network, for hooks. It sees normalised pixels; its outputs are not read out."""
        ...

    def __call__(self, batch: ImageBatch) -> Tensor:
        """Logits (b, classes) in the data's label space; differentiable in `batch.pixels`."""
        ...

    def gradient(self, batch: ImageBatch, loss: Loss) -> tuple[Tensor, Tensor]:
        """Logits and the gradient of the summed loss in the pixels, both float32 and detached."""
        ...

    def taps(self, *names: str) -> AbstractContextManager[Mapping[str, Tensor]]:
        """While open, every call leaves the outputs of the named sub-modules in the mapping."""
        ...


class LoadedModel(Model, Protocol):
    """What a model source gives to the engine."""

    card: ModelCard

    def reading(self, space: Any) -> Model:
        """This model answering in a label space. Raises ModelError when its outputs do not fit."""
        ...

    def at(self, side: int) -> LoadedModel:
        """This model for square images of that side. Raises Unsupported when it takes another only."""
        ...

    def check_frozen(self) -> None:
        """Raise ModelError unless the model is in eval mode with weights and buffers as loaded."""
        ...


class Perturbation(Protocol):
    """A function of pixels, named inputs and keyed draws. Never sees a model.

    Class attributes the engine reads, all optional: `wants` names the inputs it must be given
    (`donor`, or the name of a preparation's output); `identity` says that these parameters do nothing;
    `nested` names the parameter along which its masks nest. One that reads files names the parameters that
    say where in `paths`, and has a method `revision()` that digests what is in them (None: nothing is read).
    """

    def __call__(self, batch: ImageBatch, draws: Draws) -> ImageBatch: ...


class Intervention(Protocol):
    """A change to the model's own computation: logits (b, classes) of the changed model.

    It leaves the model as it found it, also when it raises. An optional method
    `check(model)` raises ModelError for a model it cannot be applied to.
    """

    def __call__(self, model: Model, batch: ImageBatch, draws: Draws) -> Tensor: ...


class Attack(Protocol):
    """A search for pixels inside a budget, over a whole lot of images at once.

    `norm` names the norm of the budget (`linf`, `l2`, or None for none), `eps` its radius in [0, 1]
    pixel units. `nested` names the parameter whose larger values contain the smaller ones: there a
    failure at a smaller level counts at every larger one. `cost` is the price of one image in forward
    passes, a backward one counted as two.
    """

    norm: ClassVar[str | None]
    nested: ClassVar[str | None]

    @property
    def cost(self) -> int: ...

    def __call__(self, model: Model, batch: ImageBatch, draws: Draws) -> Tensor:
        """Pixels (b, 3, h, w) inside the budget around `batch.pixels` and inside [0, 1]."""
        ...


@runtime_checkable
class SteppedAttack(Protocol):
    """A gradient attack told as start and step, so that an image stops the moment it falls.

    The engine runs it: each step is one forward and one backward pass over a lot of fixed shape, and
    the place of an image that fell or finished goes to the next one. `start` gives the state of some
    images: tensors with leading b, among them `pixels`. `step` gives their next state from the gradient
    of `loss` at `state["pixels"]`. Restarts are repeated starts with `draws.at(1)`, `draws.at(2)`...
    """

    norm: ClassVar[str | None]
    nested: ClassVar[str | None]
    steps: int
    restarts: int

    @property
    def cost(self) -> int: ...

    def start(self, batch: ImageBatch, draws: Draws) -> Mapping[str, Tensor]: ...

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor: ...

    def step(
        self, batch: ImageBatch, state: Mapping[str, Tensor], gradient: Tensor
    ) -> Mapping[str, Tensor]: ...


class Preparation(Protocol):
    """Something made once by a model over a split and then given to conditions by name.

    `per_image`: its tensors have one row per image, in the order of the batches; otherwise they are
    one result over all batches. `needs_model`: a model has to be named for it.

    One that reads files of its own, such as masks, is told where by `path` (and `images`). It has two more
    methods: `revision()` digests what is in the files, and `through(view)` is itself for images seen
    through that view.
    """

    per_image: ClassVar[bool]
    needs_model: ClassVar[bool]

    def __call__(
        self, model: Model | None, batches: Iterable[ImageBatch], draws: Draws
    ) -> Mapping[str, Tensor]: ...


class ModelSource(Protocol):
    """Where models of one kind come from. `identify` needs no torch and no network."""

    def identify(self, spec: Spec, *, allow_code: bool) -> ModelId: ...

    def load(self, model: ModelId, device: str) -> LoadedModel: ...


class DataSource(Protocol):
    """Where images of one kind come from; its dataclass fields are the SPEC's parameters."""

    def index(self) -> DataIndex:
        """Ids, labels and revision. Raises DataError."""
        ...

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image as stored, (h, w, 3) uint8 RGB. Raises DataError when it cannot be decoded."""
        ...


class Task(Protocol):
    """What is recorded of a model's answers, and how the record is read."""

    name: ClassVar[str]

    def record(self, logits: Tensor, labels: Tensor) -> Mapping[str, NDArray[Any]]:
        """Columns of the rows, one value per image."""
        ...

    def fallen(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(b,) bool: the answer is wrong, or not finite."""
        ...

    def schema(self) -> pa.Schema: ...


class Metric(Protocol):
    """A pure function of rows. `needs` names the columns; `unit` and `higher_is_better` describe it.

    It returns one value per image (the score is then their mean), or one value for all.
    """

    needs: ClassVar[tuple[str, ...]]
    unit: ClassVar[str]
    higher_is_better: ClassVar[bool]

    def __call__(self, rows: Rows) -> NDArray[np.float64] | float: ...


@runtime_checkable
class ResampledMetric(Protocol):
    """A metric of all rows at once that also knows its value on many resamples: fast intervals.

    Without this method such a metric is called once per resample, on the rows that were drawn.
    """

    def resampled(self, rows: Rows, weights: NDArray[Any]) -> NDArray[np.float64]:
        """The value of each resample: weights (r, n), how often each row was drawn -> (r,)."""
        ...


class Formula(Protocol):
    """A composite score over the cells of one model, for r resamples of the images at once.

    values: (r, cells); conditions in the same order. Returns (r,), NaN where undefined.

    Class attributes that are read where they are there: `unit` and `higher_is_better`, where the score's
    are not the metric's. An optional method `check(conditions, metric)` raises BadParameter for a suite
    that the formula makes no sense for.
    """

    def __call__(
        self, values: NDArray[np.float64], conditions: Sequence[Condition]
    ) -> NDArray[np.float64]: ...
