"""What a gate lets through: margins, error rate and floors, as a small YAML file says it."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from robobench.errors import RobobenchError

Margin = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Group(BaseModel):
    """Conditions that are judged by their mean; names may have the wildcards * and ?."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    conditions: tuple[str, ...]
    margin: Margin | None = None

    @field_validator("conditions", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class Policy(BaseModel):
    """When a candidate passes.

    margin: the drop that does not matter, as a share (0.02 is two points); margins: other ones for single
    conditions, groups or the score, by name. alpha: how often a gate may err. correction: `holm` keeps alpha
    over all lines together when it fails something, `none` in each. groups: means over conditions; without
    any, the suite's ladders. floors: what a condition, a group or the score must reach, whatever the baseline
    was. inconclusive: what comes of a gate that these images cannot decide. conditions: whether single
    conditions are judged, too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    schema_: Literal[1] = Field(alias="schema", default=1)
    margin: Margin = 0.02
    margins: Mapping[str, Margin] = Field(default_factory=dict)
    alpha: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    correction: Literal["holm", "none"] = "holm"
    groups: Mapping[str, Group] = Field(default_factory=dict)
    floors: Mapping[str, Share] = Field(default_factory=dict)
    inconclusive: Literal["pass", "fail"] = "pass"
    conditions: bool = True

    def margin_of(self, name: str) -> float:
        """The margin of a line: its own, that of a pattern that it fits, or the common one."""
        if name in self.margins:
            return self.margins[name]
        fitting = [m for pattern, m in self.margins.items() if fnmatchcase(name, pattern)]
        return min(fitting) if fitting else self.margin


def load_policy(path: Path) -> Policy:
    """A policy from a YAML file; executed is nothing. Raises RobobenchError that names the key."""
    from robobench.suite.yaml_lines import read_yaml

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RobobenchError(f"{path}: the policy cannot be read: {error}") from None
    document = read_yaml(text, str(path))
    return parse_policy(document.value, str(path))


def parse_policy(content: Any, where: str) -> Policy:
    """A policy from plain values. Raises RobobenchError."""
    if not isinstance(content, Mapping):
        raise RobobenchError(f"{where}: expected keys such as `margin: 0.02`, got {type(content).__name__}")
    try:
        return Policy.model_validate(dict(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(p) for p in first["loc"])
        known = ", ".join(f.alias or n for n, f in Policy.model_fields.items())
        if first["type"] == "extra_forbidden":
            raise RobobenchError(f"{where}: a policy has no {key!r}; it has {known}") from None
        raise RobobenchError(f"{where}: {key}: {first['msg']}, got {first['input']!r}") from None
