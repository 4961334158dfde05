"""JSON that anybody may have written becomes a dataclass of the right types, or a message with its place."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest

from robobench.errors import StoreError
from robobench.typed_json import value
from robobench.types import Json


@dataclass(frozen=True)
class Leaf:
    name: str
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Tree:
    size: float
    count: int
    leaves: tuple[Leaf, ...]
    pair: tuple[int, str] = (1, "x")
    by_name: Mapping[str, Leaf] = field(default_factory=dict)
    anything: Json = None
    maybe: Leaf | None = None


WHOLE = Tree(
    0.5, 3, (Leaf("x"), Leaf("y", "b")), (2, "z"), {"x": Leaf("x")}, {"a": [1, None, "t"]}, Leaf("m")
)


def plain(tree: Tree) -> dict[str, Any]:
    return dict(json.loads(json.dumps(asdict(tree))))


def test_what_was_written_comes_back():
    assert value(plain(WHOLE), Tree, "tree") == WHOLE


def test_what_has_a_default_may_be_missing_and_a_number_that_is_null_is_undefined():
    found = value({"size": None, "count": 1, "leaves": []}, Tree, "tree")
    assert math.isnan(found.size)
    assert found.pair == (1, "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 1.5}, "tree.count: expected int, got float"),
        ({"count": True}, "tree.count: expected int, got bool"),
        ({"count": None}, "tree.count: expected int, got NoneType"),
        ({"size": "1"}, "tree.size: expected number, got str"),
        ({"size": 10**400}, "tree.size: expected a number that a float can hold"),
        ({"leaves": {}}, "tree.leaves: expected list, got dict"),
        ({"leaves": [{"name": 1}]}, r"tree.leaves\[0\].name: expected str, got int"),
        ({"leaves": [{"name": "x", "kind": "c"}]}, r"tree.leaves\[0\].kind: expected one of a, b, got 'c'"),
        ({"leaves": [{"name": "x", "kind": ["a"]}]}, "kind: expected one of a, b"),
        ({"leaves": [{}]}, r"tree.leaves\[0\]: 'name' is missing"),
        ({"leaves": [{"name": "x", "__class__": "os"}]}, r"tree.leaves\[0\]: '__class__' is unknown"),
        ({"pair": [1]}, "tree.pair: expected 2 values, got 1"),
        ({"by_name": {"x": 1}}, "tree.by_name.x: expected dict, got int"),
        ({"anything": math.nan}, "tree.anything: expected a value of JSON"),
        ({"more": 1}, "tree: 'more' is unknown"),
    ],
)
def test_another_type_is_refused_with_its_place(change, message):
    with pytest.raises(StoreError, match=message):
        value({**plain(WHOLE), **change}, Tree, "tree")


def test_what_nests_without_end_is_refused():
    deep: Any = None
    for _ in range(200):
        deep = [deep]
    with pytest.raises(StoreError, match="inside one another"):
        value({**plain(WHOLE), "anything": deep}, Tree, "tree")


def test_a_list_of_later_fields_takes_the_place_of_defaults():
    content = plain(WHOLE)
    del content["maybe"]
    assert value(content, Tree, "tree", frozenset({"maybe"})).maybe is None
    with pytest.raises(StoreError, match="'maybe' is missing"):
        value(content, Tree, "tree", frozenset())
    with pytest.raises(StoreError, match="'maybe' is unknown"):  # of another dataclass
        value({**plain(WHOLE), "leaves": [{"name": "x", "kind": "a", "maybe": 1}]}, Tree, "t", {"maybe"})
