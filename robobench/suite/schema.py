"""What a suite file may say. Extra keys are refused, nothing is guessed, nothing is executed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from robobench.types import Interpolation, View

VERSION = 1
NAME = r"^[a-zA-Z0-9][a-zA-Z0-9 ._@+-]{0,79}$"

Name = Annotated[str, Field(pattern=NAME)]
Limit = Annotated[int, Field(gt=0)]
Level = bool | int | float | str


class Part(BaseModel):
    """Strict, frozen, no extra keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class DataPart(Part):
    """A data source and its parameters; `limit` keeps a prefix of the visiting order."""

    source: Name
    limit: Limit | None = None
    params: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        """Everything but `source` and `limit` is the source's own."""
        if not isinstance(value, Mapping) or "params" in value:
            return value
        own = {k: v for k, v in value.items() if k not in ("source", "limit")}
        return {k: v for k, v in value.items() if k not in own} | {"params": own}


class ViewPart(Part):
    """The geometry every model gets; see `robobench.types.View`.

    `side` and `crop_pct` are a crop of that side after the short side was resized to
    floor(side / crop_pct), as timm evaluates its models: one number for a ladder of resolutions.
    """

    resize: Annotated[int, Field(gt=0)] | None = None
    crop: Annotated[int, Field(gt=0)] | None = None
    size: Annotated[int, Field(gt=0)] | None = None
    side: Annotated[int, Field(gt=0)] | None = None
    crop_pct: Annotated[float, Field(gt=0, le=1)] = 0.875
    interpolation: Interpolation = "bilinear"

    @model_validator(mode="after")
    def _one_way(self) -> ViewPart:
        if self.side and (self.resize or self.crop or self.size):
            raise ValueError("`side` stands for `resize` and `crop`: give one or the other")
        return self

    def value(self) -> View:
        """The view, once a ladder's level is in its place. Raises ValueError."""
        if self.side is None and "crop_pct" in self.model_fields_set:
            raise ValueError("`crop_pct` belongs to a `side`, and there is none")
        if self.side is None:
            return View(self.resize, self.crop, self.size, self.interpolation)
        return View(math.floor(self.side / self.crop_pct), self.side, None, self.interpolation)


class ModelPart(Part):
    """A default model: its SPEC, and what tables show of it."""

    spec: str
    name: str | None = None
    family: Literal["vit", "cnn", "mlp", "hybrid", "other"] | None = None
    clean_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    citation: str | None = None


class StepPart(Part):
    """A plug-in at work. `inputs` gives it preparations by their names in the suite."""

    use: str
    with_: Mapping[str, Any] = Field(default_factory=dict, alias="with")
    inputs: Mapping[str, str] = Field(default_factory=dict)


class MetricPart(Part):
    """A metric with parameters; `name?key=value` says the same."""

    use: str
    with_: Mapping[str, bool | int | float | str] = Field(default_factory=dict, alias="with")

    def __str__(self) -> str:
        return with_parameters(self.use, self.with_)


def with_parameters(name: str, params: Mapping[str, Any]) -> str:
    """`name?key=value&...`, the keys in order; the bare name without parameters."""
    query = "&".join(f"{k}={v}" for k, v in sorted(params.items()))
    return f"{name}?{query}" if query else name


class PreparationPart(Part):
    """Something made once and given to conditions by name. `model: self` is the evaluated model.

    It is made from the images it is used on, unless it says which: those of another data set, `data`, or of
    the suite's own data those after the first `skip` of the visiting order, at most `limit` of them.
    """

    use: str
    with_: Mapping[str, Any] = Field(default_factory=dict, alias="with")
    model: str | None = None
    data: DataPart | None = None
    skip: Annotated[int, Field(ge=0)] | None = None
    limit: Limit | None = None

    @model_validator(mode="after")
    def _one_split(self) -> PreparationPart:
        if self.data is not None and (self.skip is not None or self.limit is not None):
            raise ValueError(
                "`skip` and `limit` choose among the suite's own data: beside `data` there is no `skip`, and "
                "`limit` belongs inside it"
            )
        return self


class ConditionPart(Part):
    """One condition, or a ladder of them along one parameter."""

    use: str | None = None
    with_: Mapping[str, Any] = Field(default_factory=dict, alias="with")
    inputs: Mapping[str, str] = Field(default_factory=dict)
    compose: tuple[StepPart, ...] = ()
    shift: DataPart | None = None
    view: ViewPart | None = None
    ladder: Mapping[str, tuple[Level, ...]] = Field(default_factory=dict)
    limit: Limit | None = None
    name: Name | None = None
    worst_of: Annotated[int, Field(gt=0)] = 1
    health: bool = False

    @field_validator("compose", "ladder", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        """YAML has lists where a frozen value has tuples."""
        if isinstance(value, Mapping):
            return {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one_kind(self) -> ConditionPart:
        if self.use and self.compose:
            raise ValueError("a condition has `use` or `compose`, not both")
        if not (self.use or self.compose or self.shift or self.view):
            raise ValueError("a condition needs one of `use`, `compose`, `shift` and `view`")
        if (self.with_ or self.inputs) and not self.use:
            raise ValueError("`with` and `inputs` belong to a `use`")
        if len(self.ladder) > 1:
            raise ValueError(f"a ladder varies one parameter, got {len(self.ladder)}")
        if any(len(levels) == 0 for levels in self.ladder.values()):
            raise ValueError("a ladder needs at least one level")
        return self

    @property
    def steps(self) -> tuple[StepPart, ...]:
        if self.use:
            return (StepPart(use=self.use, with_=self.with_, inputs=self.inputs),)
        return self.compose


class ScorePart(Part):
    """The number that ranks models: a formula over ladders of a metric."""

    name: Name
    formula: str = "mean"
    with_: Mapping[str, bool | int | float | str] = Field(default_factory=dict, alias="with")
    over: Literal["ladders"] = "ladders"
    of: str = "accuracy.top1"


class SummaryPart(Part):
    """A further number of a model beside its score: a formula of a metric over all conditions."""

    name: Name
    formula: str
    with_: Mapping[str, bool | int | float | str] = Field(default_factory=dict, alias="with")
    of: str = "accuracy.top1"


class SuitePart(Part):
    """A suite file as written, checked for form only."""

    schema_: int = Field(alias="schema")
    name: Name
    title: str
    description: str = ""
    citation: str | None = None
    version: Annotated[int, Field(ge=1)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    lot: Annotated[int, Field(gt=0, le=4096)] = 32
    data: DataPart
    view: Literal["native"] | ViewPart = Field(default_factory=ViewPart)
    models: tuple[ModelPart, ...] = ()
    preparations: Mapping[Name, PreparationPart] = Field(default_factory=dict)
    conditions: tuple[ConditionPart, ...] = ()
    metrics: tuple[str | MetricPart, ...] = ("accuracy.top1",)
    score: ScorePart = Field(default_factory=lambda: ScorePart(name="robustness"))
    summaries: tuple[SummaryPart, ...] = ()
    store: Literal["summary", "logits"] = "summary"

    @field_validator("models", "conditions", "metrics", "summaries", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("models", mode="before")
    @classmethod
    def _short_models(cls, value: Any) -> Any:
        """A model may be written as its SPEC alone."""
        if not isinstance(value, (list, tuple)):
            return value
        return tuple({"spec": v} if isinstance(v, str) else v for v in value)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics as tables name them: `name` or `name?key=value`."""
        return tuple(str(m) for m in self.metrics)
