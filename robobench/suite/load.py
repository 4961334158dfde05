"""YAML -> Suite. Every error starts with `file:line`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from robobench.errors import RobobenchError, SuiteError, UnknownName, nearest
from robobench.suite.expand import expand_suite
from robobench.suite.schema import VERSION, SuitePart
from robobench.suite.suite import Suite
from robobench.suite.yaml_lines import Document, read_yaml

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def suite_folders() -> tuple[Path, ...]:
    """Where suites are found by name: the working folder's suites/, then the shipped ones."""
    package = Path(str(files("robobench")))
    return (Path("suites"), package / "_suites", package.parent / "suites")


def suite_names() -> dict[str, Path]:
    """Name -> file of every suite that can be found."""
    found: dict[str, Path] = {}
    for folder in suite_folders():
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def find_suite(name: str) -> Path:
    """The file of a suite given by path or by name. Raises UnknownName."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        if path.is_file():
            return path
        raise SuiteError(f"{name}: there is no such suite file")
    known = suite_names()
    if name not in known:
        raise UnknownName(f"unknown suite {name!r}; {nearest(name, known)}")
    return known[name]


def load_suite(source: str | Path, overrides: Mapping[str, Any] | None = None) -> Suite:
    """Read, check and spell out a suite, without data, models or torch.

    overrides: values by dotted path (`data.limit`, `conditions.0.ladder.fraction`) that replace what
    the file says. Raises SuiteError and UnknownName.
    """
    path = find_suite(str(source))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path}: cannot be read: {error}") from None
    return parse_suite(text, path.name if str(source) == path.stem else str(path), overrides)


def parse_suite(text: str, name: str, overrides: Mapping[str, Any] | None = None) -> Suite:
    """A suite from YAML text. Raises SuiteError."""
    document = read_yaml(text, name)
    if not isinstance(document.value, dict):
        raise document.error((), "a suite is a mapping, with `schema: 1` first")
    for key, value in (overrides or {}).items():
        _override(document.value, key, value)
    _check_version(document)
    try:
        part = SuitePart.model_validate(document.value, strict=True)
    except ValidationError as error:
        raise _form_error(document, error) from None
    return expand_suite(part, document)


def substitute(value: Any, environment: Mapping[str, str] | None = None) -> Any:
    """Replace `${NAME}` in text by the environment variable. Raises RobobenchError when it is unset."""
    variables = os.environ if environment is None else environment
    if isinstance(value, Mapping):
        return {k: substitute(v, variables) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [substitute(v, variables) for v in value]
    if not isinstance(value, str):
        return value

    def of(match: re.Match[str]) -> str:
        if match[1] not in variables:
            raise RobobenchError(
                f"the suite needs the environment variable {match[1]}, which is not set: "
                f"`export {match[1]}=/path/to/the/data`, or give --data source:path"
            )
        return variables[match[1]]

    return _VARIABLE.sub(of, value)


def _check_version(document: Document) -> None:
    got = document.value.get("schema")
    if got is None:
        raise document.error((), f"`schema: {VERSION}` is missing")
    if got != VERSION:
        raise document.error(
            ("schema",),
            f"schema {got!r} is not known: this robobench reads schema {VERSION}; "
            "upgrade it (`pip install -U robobench`) or write the suite in that schema",
        )


def _override(value: Any, key: str, new: Any) -> None:
    """Set one dotted path. Raises SuiteError when a part on the way is not there."""
    *parents, last = key.split(".")
    for part in parents:
        value = _child(value, part, key)
    if isinstance(value, list):
        _child(value, last, key)
        value[int(last)] = new
    elif isinstance(value, dict):
        value[last] = new
    else:
        raise SuiteError(f"--set {key}: there is nothing to set inside {value!r}")


def _child(value: Any, part: str, key: str) -> Any:
    if isinstance(value, dict) and part in value:
        return value[part]
    if isinstance(value, list) and part.isdigit() and int(part) < len(value):
        return value[int(part)]
    length = len(value) if isinstance(value, list) else 0
    known = list(value) if isinstance(value, dict) else [str(i) for i in range(length)]
    raise SuiteError(f"--set {key}: no {part!r} there; {nearest(part, known)}")


def _form_error(document: Document, error: ValidationError) -> SuiteError:
    """The most telling of pydantic's complaints: of a union, the one deepest in the file."""
    worst = max(error.errors(include_url=False), key=lambda e: len(_clean_path(document, e["loc"])))
    path = _clean_path(document, worst["loc"])
    if worst["type"] == "extra_forbidden":
        key = str(worst["loc"][-1])
        return document.error(path, f"unknown key {key!r}; {nearest(key, _known_keys(worst['loc']))}")
    where = ".".join(str(p) for p in path or worst["loc"])  # a value from --set has no place in the file
    if worst["type"] == "missing":
        return document.error(path, f"{worst['loc'][-1]!r} is missing" + (f" in {where}" if where else ""))
    rule = worst["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if worst["type"] == "value_error":
        return document.error(path, f"{where}: {rule}")
    rule = (
        rule.replace("tuple", "list")
        .replace("dictionary", "mapping")
        .removesuffix(" or an instance of Mapping")
    )
    return document.error(path, f"{where}: expected {rule}, got {worst['input']!r}")


def _clean_path(document: Document, loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Pydantic's location without the names of union members."""
    path: tuple[int | str, ...] = ()
    for part in loc:
        if (*path, part) in document.lines:
            path = (*path, part)
    return path


def _known_keys(loc: tuple[int | str, ...]) -> Iterator[str]:
    from robobench.suite import schema

    model: Any = schema.SuitePart
    parts = {
        "data": schema.DataPart, "view": schema.ViewPart, "models": schema.ModelPart,
        "conditions": schema.ConditionPart, "preparations": schema.PreparationPart,
        "score": schema.ScorePart, "compose": schema.StepPart, "shift": schema.DataPart,
    }  # fmt: skip
    for part in loc[:-1]:
        model = parts.get(str(part), model)
    return (f.alias or n for n, f in model.model_fields.items())
