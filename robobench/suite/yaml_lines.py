"""YAML read into plain values that remember their lines. Nothing is constructed, nothing executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from robobench.errors import BadParameter, RobobenchError, SuiteError

MAX_BYTES = 1 << 20
MAX_NODES = 100_000  # a few aliases can stand for more nodes than memory holds

_CORE = "tag:yaml.org,2002:"
_AS_TEXT = ("timestamp", "merge", "value")  # what YAML makes of 2026-01-01, << and =
_PLAIN = ("null", "bool", "int", "float", "str", "map", "seq", *_AS_TEXT)

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A YAML document: its value, and the line (from 1) on which each part begins."""

    name: str
    value: Any
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """The line of the part at a path, or of the nearest part around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def error(self, path: Path, message: str) -> SuiteError:
        return SuiteError(f"{self.name}:{self.line(path)}: {message}")

    def asking(self, path: Path, ask: Callable[[], Any]) -> Any:
        """The answer of a look-up or a build; its complaint gets the line that it is about."""
        try:
            return ask()
        except BadParameter as error:
            raise self.error((*path, *error.path), str(error)) from None
        except SuiteError:
            raise
        except RobobenchError as error:
            raise self.error(path, str(error)) from None


def read_yaml(text: str, name: str) -> Document:
    """Read one document. Raises SuiteError with `name:line` for bad syntax, tags and repeated keys."""
    if len(text.encode()) > MAX_BYTES:
        raise SuiteError(f"{name}: a suite file has at most {MAX_BYTES} bytes, got {len(text.encode())}")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SuiteError(f"{name}:{line}: not readable as YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise SuiteError(f"{name}: not readable as YAML: {error}") from None
    if node is None:
        raise SuiteError(f"{name}: the file is empty")
    reader = _Reader(name)
    value = reader.read(node, ())
    return Document(name, value, reader.lines)


class _Reader:
    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Path, int] = {}
        self.nodes = 0
        self.loader = yaml.constructor.SafeConstructor()
        self.open: set[int] = set()

    def read(self, node: yaml.Node, path: Path) -> Any:
        line = node.start_mark.line + 1
        self.lines[path] = line
        self.nodes += 1
        if self.nodes > MAX_NODES or id(node) in self.open:
            raise SuiteError(f"{self.name}:{line}: too many parts (an alias that multiplies or loops?)")
        self._check_tag(node, line)
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.read(child, (*path, i)) for i, child in enumerate(node.value)]
            return self._scalar(node)
        finally:
            self.open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise SuiteError(f"{self.name}:{line}: a key has to be a word")
            key = key_node.value
            if key in result:
                first = self.lines[(*path, key)]
                raise SuiteError(f"{self.name}:{line}: the key {key!r} is already there, on line {first}")
            result[key] = self.read(value_node, (*path, key))
            self.lines[(*path, key)] = line
        return result

    def _check_tag(self, node: yaml.Node, line: int) -> None:
        """Only plain values: a tag would have something constructed."""
        if node.tag.removeprefix(_CORE) not in _PLAIN:
            raise SuiteError(
                f"{self.name}:{line}: the tag {node.tag!r} is not allowed: suite files hold plain values"
            )

    def _scalar(self, node: yaml.Node) -> Any:
        if node.tag.removeprefix(_CORE) in _AS_TEXT:
            return node.value
        try:
            return self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            line = node.start_mark.line + 1
            raise SuiteError(f"{self.name}:{line}: {node.value!r} cannot be read: {error}") from None
