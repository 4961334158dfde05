"""What a plug-in promises, and what it is given. The engine keeps the protocol, a plug-in the science."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from robobench.draws import Draws
from robobench.errors import AttackError
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

    def read(self, outputs: Tensor) -> Tensor:
        """Logits (b, classes) in the data's label space from the bare network's outputs (b, outputs)."""
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
    (`donor`, or the name of a preparation's output), `shapes` says of those that are no map (h, w) of an
    image what they are: `pixels` (3, h, w) or a `number`; `identity` says that these parameters do nothing;
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

    `norm` names the norm of the budget: `linf`, `l2`, `l1` (sum of the changes of all values), `l0` (share of
    the pixels that changed), or None for none. `eps` is its radius in [0, 1] pixel units. `nested` names the
    parameter whose larger values contain the smaller ones: there a failure at a smaller level counts at every
    larger one. `cost` is the price of one image in forward passes, a backward one counted as two.

    Read where they are there: `white` says that it follows gradients, `classes` is the smallest number of
    classes it works with, `wants` names the inputs it must be given, as for perturbations, `alone` says that
    it attacks each image by itself, so that only images that stand are given to it.
    """

    norm: ClassVar[str | None]
    nested: ClassVar[str | None]

    @property
    def cost(self) -> int: ...

    def __call__(self, model: Model, batch: ImageBatch, draws: Draws) -> Tensor:
        """Pixels (b, 3, h, w) inside the budget around `batch.pixels` and inside [0, 1]."""
        ...


@dataclass(frozen=True)
class Seen:
    """What a model said of the pixels an attack asked about.

    logits: (b, classes). loss: (b,), of the attack's own loss. gradient: of the summed loss in the pixels,
    (b, 3, h, w), float32; None for an attack, or a step, that does not look at gradients.
    """

    logits: Tensor
    loss: Tensor
    gradient: Tensor | None

    @property
    def slope(self) -> Tensor:
        """The gradient with 0 where it is not a number: those pixels stay where they are."""
        if self.gradient is None:
            raise AttackError("an attack with `white = False` asked for the gradient")
        return self.gradient.nan_to_num(nan=0.0)


State = Mapping[str, "Tensor"]


@runtime_checkable
class SteppedAttack(Protocol):
    """An attack told as start and step, so that an image stops the moment it falls.

    The engine runs it: at each step the model is asked about a lot of fixed shape, and the place of an image
    that fell or finished goes to the next one. So the images of one call may be at different steps: whatever
    an attack counts or remembers, it keeps in the state, one row an image. State tensors have leading b.
    Draws are made in `start`, those of every step at once where steps need some.

    `start` begins: batch holds the images, logits (b, classes) the model's answers to them. restart counts
    from 0; the draws are already those of the restart. `probe` gives the pixels that the model is asked
    about, `loss` what is followed (up), `step` the next state from what was seen there. Of the state the
    engine reads `pixels`, the point it is at; `best`, where there is one, the point that stands for the
    image when nothing fooled the model (else `pixels` does); `done`, (b,) bool, those that have finished
    early.

    An image has fallen when the model is wrong about any probe that lies inside budget and range. An attack
    without a budget (`norm` None) is never stopped: its `best` is what it found.

    steps: how often the model is asked, at most, in each of `restarts` starts; an image falls when any of
    them succeeds. Where these are parameters that say less than the whole (steps of each of several runs,
    restarts of each target), the whole is in `asks` and `starts`. `white` says that it follows gradients.
    `eot`: over how many runs of a randomised model loss and gradient are averaged; the answer is that of
    the last. An optional method `within(model)` gives the model as the attack asks it, with hooks of its
    own; there `batch.inputs` holds the state too. An optional method `looks(state)` says whether a lot in
    that state is asked for gradients; without it a white attack always does.
    """

    norm: ClassVar[str | None]
    nested: ClassVar[str | None]
    white: ClassVar[bool]
    steps: int
    restarts: int

    @property
    def cost(self) -> int: ...

    def start(self, batch: ImageBatch, logits: Tensor, restart: int, draws: Draws) -> State: ...

    def probe(self, batch: ImageBatch, state: State) -> Tensor: ...

    def loss(self, logits: Tensor, labels: Tensor, state: State) -> Tensor: ...

    def step(self, batch: ImageBatch, state: State, seen: Seen) -> State: ...


@runtime_checkable
class Ensemble(Protocol):
    """Attacks one after the other, each on the images that still stand: the worst case of all of them.

    `stages` gives them for a model with so many classes. Their budget is that of the ensemble. The column
    `stage` of the rows says which of them an image fell to.
    """

    norm: ClassVar[str | None]
    nested: ClassVar[str | None]

    @property
    def cost(self) -> int: ...

    def stages(self, classes: int) -> Sequence[Any]: ...


class Preparation(Protocol):
    """Something made once by a model over a split and then given to conditions by name.

    `per_image`: its tensors have one row per image, in the order of the batches; otherwise they are
    one result over all batches, which the suite may take from a split of their own. `needs_model`: a model
    has to be named for it. `batches` may be gone through several times, and comes in lots of any size.

    Any attack without `wants` can stand in a preparation's place: then the engine crafts the images with it,
    `crafted` and `fooled`, one row per image.

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
    """Where models of one kind come from. `identify` needs no torch and no network.

    Read where it is there: `holds_weights`, False where other weights may stand behind the same identity.
    Then a run loads the model also when all its rows are there, and compares the weights with theirs.
    """

    def identify(self, spec: Spec, *, allow_code: bool) -> ModelId: ...

    def load(self, model: ModelId, device: str) -> LoadedModel: ...


class DataSource(Protocol):
    """Where images of one kind come from; its dataclass fields are the SPEC's parameters.

    Read where it is there: `showable`, the licence under which anybody may be shown the images, and whose
    they are. Without it no page shows or names one, unless the user of a run asks for that.
    """

    def index(self) -> DataIndex:
        """Ids, labels and revision. Raises DataError."""
        ...

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image as stored, (h, w, 3) uint8 RGB. Raises DataError when it cannot be decoded."""
        ...


class Task(Protocol):
    """What is recorded of a model's answers, and how the record is read."""

    name: ClassVar[str]

    def record(
        self, logits: Tensor, labels: Tensor, accepted: Tensor | None = None
    ) -> Mapping[str, NDArray[Any]]:
        """Columns of the rows, one value per image. accepted: (b, k) every acceptable class, -1 for none."""
        ...

    def fallen(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(b,) bool: the answer is wrong, or not finite."""
        ...

    def schema(self) -> pa.Schema: ...


class Metric(Protocol):
    """A pure function of rows. `needs` names the columns; `unit` and `higher_is_better` describe it.

    It returns one value per image (the score is then their mean), or one value for all; an infinite one is
    undefined. An optional method `uses(rows)` says of a value for all which rows, (n,) bool, it goes by.

    Besides the columns of the task there are `x_<fact>`; `logits`, (n, classes), where the suite keeps them;
    `clean_<column>`, the same image's clean answer; and `reference_<column>`, its answer at the frame that a
    frame of a sequence is compared with. With `with_clean: ClassVar[bool] = True` a metric for all gets its
    cell's rows followed by those of the clean condition that it is compared with, and `own`, which says
    which rows are the cell's own; it is undefined where one side has none.
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
