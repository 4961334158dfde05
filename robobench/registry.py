"""Plug-ins by name: `<file stem>.<key>`. A file dropped into the right folder exists; there is no list.

Where one stem has more plug-ins than a file should hold, it is a folder of files.

Looking a name up imports the one file it names. `build` is the only door to an instance: parameters
are checked strictly against the dataclass's fields, unknown names are answered with the nearest one.
Other packages add plug-ins through the entry-point group `robobench.plugins`; theirs are called
`<package>/<file stem>.<key>`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar, get_type_hints
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from robobench.errors import BadParameter, RobobenchError, UnknownName, nearest
from robobench.types import Step

__all__ = ["Field", "Plugin", "Registry"]

ENTRY_POINTS = "robobench.plugins"
_PACKAGE = "robobench"
_C = TypeVar("_C", bound=type[Any])


@dataclass(frozen=True)
class Plugin:
    """A registered class. `version` goes up when its numbers change."""

    kind: str
    name: str
    version: int
    cls: type[Any]

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.cls) or "").split("\n", 1)[0]


class Registry:
    """The plug-ins of one kind, found in one sub-package and through entry points."""

    def __init__(self, kind: str, folder: str) -> None:
        self.kind = kind
        self.folder = folder
        self._plugins: dict[str, Plugin] = {}

    def register(self, key: str | None = None, *, version: int) -> Callable[[_C], _C]:
        """Decorate a frozen dataclass. Without a key the plug-in is called after its file."""

        def add(cls: _C) -> _C:
            params = getattr(cls, "__dataclass_params__", None)
            if params is None or not params.frozen:
                raise TypeError(f"{cls.__qualname__}: a plug-in is a frozen dataclass")
            name = _name(cls.__module__, key)
            known = self._plugins.get(name)
            if known and known.cls.__module__ != cls.__module__:
                raise TypeError(
                    f"{self.kind} {name!r} is registered by {known.cls.__module__} and by {cls.__module__}"
                )
            self._plugins[name] = Plugin(self.kind, name, version, cls)
            return cls

        return add

    def names(self) -> tuple[str, ...]:
        """Every name, in alphabetical order. Imports all the folder's files (they are light)."""
        package = importlib.import_module(f"{_PACKAGE}.{self.folder}")
        for module in pkgutil.iter_modules(package.__path__):
            _import(f"{package.__name__}.{module.name}")
        load_entry_points()
        return tuple(sorted(self._plugins))

    def get(self, name: str) -> Plugin:
        """The plug-in of that name. Raises UnknownName with the nearest names."""
        if name not in self._plugins:
            stem = name.partition(".")[0]
            if "/" in name:
                load_entry_points()
            elif stem.isidentifier() and importlib.util.find_spec(f"{_PACKAGE}.{self.folder}.{stem}"):
                _import(f"{_PACKAGE}.{self.folder}.{stem}")
        if name not in self._plugins:
            raise UnknownName(f"unknown {self.kind} {name!r}; {nearest(name, self.names())}")
        return self._plugins[name]

    def build(self, name: str, params: Mapping[str, Any] | None = None, *, strict: bool = True) -> Any:
        """An instance with checked parameters. Raises UnknownName or BadParameter.

        Not strict: text is read as the field's type, for parameters that came in a SPEC.
        """
        plugin = self.get(name)
        model = schema(plugin.cls)  # type: ignore[arg-type]
        given = dict(params or {})
        unknown = [k for k in given if k not in model.model_fields]
        if unknown:
            known = nearest(unknown[0], model.model_fields)
            raise BadParameter(f"{name}: unknown parameter {unknown[0]!r}; {known}", (unknown[0],))
        try:
            checked = model.model_validate(given, strict=strict)
        except ValidationError as error:
            raise _bad_parameter(name, error) from None
        try:
            return plugin.cls(**{f: getattr(checked, f) for f in model.model_fields})
        except ValueError as error:  # a rule over several fields, in __post_init__
            raise BadParameter(f"{name}: {error}") from None


@cache
def schema(cls: Any) -> type[BaseModel]:
    """The pydantic model of a plug-in's fields: one declaration for checks, docs and JSON schema."""
    hints = get_type_hints(cls, include_extras=True)
    members: dict[str, Any] = {}
    for item in fields(cls):
        if not item.init:
            continue
        default: Any = ... if item.default is MISSING else item.default
        if item.default_factory is not MISSING:
            default = Field(default_factory=item.default_factory)
        members[item.name] = (hints[item.name], default)
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
    return create_model(cls.__name__, __config__=config, **members)


@cache
def load_entry_points() -> None:
    """Import other packages' modules. One that cannot be imported is an error, not a log line."""
    for point in entry_points(group=ENTRY_POINTS):
        try:
            importlib.import_module(point.value.partition(":")[0])
        except Exception as error:
            raise RobobenchError(
                f"the plug-in module {point.value!r} of entry point {point.name!r} cannot be "
                f"imported: {type(error).__name__}: {error}"
            ) from error


def _import(name: str) -> None:
    """Import a plug-in file, or every file of a folder that holds the plug-ins of one stem."""
    module = importlib.import_module(name)
    for part in pkgutil.iter_modules(getattr(module, "__path__", ())):
        importlib.import_module(f"{name}.{part.name}")


def _name(module: str, key: str | None) -> str:
    parts = module.split(".")
    own = parts[0] == _PACKAGE and len(parts) > 2
    stem = parts[2] if own else parts[-1]  # robobench.<kind>.<stem>[.<file>]
    prefix = "" if own else f"{parts[0]}/"
    return f"{prefix}{stem}.{key}" if key else f"{prefix}{stem}"


def _bad_parameter(name: str, error: ValidationError) -> BadParameter:
    """The first complaint as: which parameter, what was expected, what came."""
    first = error.errors(include_url=False)[0]
    path = tuple(first["loc"])
    where = ".".join(str(p) for p in path)
    if first["type"] == "missing":
        return BadParameter(f"{name}: the parameter {where!r} is missing", path[:-1])
    rule = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return BadParameter(f"{name}: {where}: expected {rule}, got {first['input']!r}", path)


perturbations = Registry("perturbation", "perturbations")
interventions = Registry("intervention", "interventions")
attacks = Registry("attack", "attacks")
preparations = Registry("preparation", "preparations")
metrics = Registry("metric", "metrics")
formulas = Registry("formula", "formulas")
models = Registry("model source", "models")
data = Registry("data source", "data")

REGISTRIES: Mapping[str, Registry] = {
    r.folder: r
    for r in (perturbations, interventions, attacks, preparations, metrics, formulas, models, data)
}

STEPS = (perturbations, interventions, attacks)


def find_step(name: str) -> Plugin:
    """The perturbation, intervention or attack of that name. Raises UnknownName."""
    for registry in STEPS:
        try:
            return registry.get(name)
        except UnknownName:
            continue
    known = [n for registry in STEPS for n in registry.names()]
    raise UnknownName(f"unknown perturbation, intervention or attack {name!r}; {nearest(name, known)}")


def find_preparation(name: str) -> Plugin:
    """The preparation of that name; an attack is one too, of the images it crafts. Raises UnknownName."""
    try:
        return preparations.get(name)
    except UnknownName:
        if name in attacks.names():
            return attacks.get(name)
        raise


def build_preparation(name: str, params: Mapping[str, Any], *, strict: bool = True) -> Any:
    """An instance of what `find_preparation` finds. Raises UnknownName, BadParameter."""
    registry = preparations if find_preparation(name).kind == preparations.kind else attacks
    return registry.build(name, params, strict=strict)


def instance_of(step: Step) -> Any:
    """The plug-in of a step with its parameters, which are canonical and were checked before."""
    registry = next(r for r in STEPS if r.kind == step.kind)
    return registry.build(step.name, step.params, strict=False)


def build_metric(text: str) -> Any:
    """The metric of a suite's entry: its name, or `name?key=value&...`. Raises UnknownName, BadParameter.

    >>> build_metric("calibration.ece?bins=10").bins
    10
    """
    return _build_named(metrics, text)


def build_formula(text: str) -> Any:
    """The formula of a suite's entry, as `build_metric`. Raises UnknownName, BadParameter."""
    return _build_named(formulas, text)


def _build_named(registry: Registry, text: str) -> Any:
    name, mark, query = text.partition("?")
    given = parse_qsl(query, keep_blank_values=True)
    if mark and (not given or len(dict(given)) < len(given)):
        raise BadParameter(f"{text!r}: expected name?key=value&key=value, each key once")
    return registry.build(name, dict(given), strict=False)


def build_step(plugin: Plugin, params: Mapping[str, Any]) -> Any:
    """An instance of a step's plug-in. Raises BadParameter."""
    return next(r for r in STEPS if r.kind == plugin.kind).build(plugin.name, params)
