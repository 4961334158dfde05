from dataclasses import dataclass
from typing import ClassVar

import pytest

from robobench.params import Cells, count_of, explained, pixel_radius, read_grid, read_radius
from robobench.registry import schema


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/255", 8 / 255),
        (" 0.5 / 255 ", 0.5 / 255),
        (0.03, 0.03),
        ("0.03", 0.03),
        (0, 0.0),
        (1, 1.0),
        ("1e-3", 1e-3),
    ],
)
def test_a_radius_is_a_number_or_a_fraction(text, value):
    assert read_radius(text) == value
    assert pixel_radius(text) == value


@pytest.mark.parametrize(
    "value", ["", "a/255", "8/", "8/0", "8/255/2", None, True, float("nan"), "inf", "nan", [8]]
)
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^a number or a fraction such as 8/255$"):
        read_radius(value)
    with pytest.raises(ValueError, match=r"^a radius in \[0, 1\] pixel units, such as 8/255 or 0.03$"):
        pixel_radius(value)


@pytest.mark.parametrize(("value", "asked"), [(8, "8"), (-8, "8"), (1.5, "1.5"), ("16", "16"), (255, "255")])
def test_a_radius_beyond_the_pixels_asks_whether_255ths_were_meant(value, asked):
    with pytest.raises(ValueError, match=rf"\(did you mean {asked}/255\?\)$"):
        pixel_radius(value)


def test_a_radius_that_cannot_be_in_255ths_is_refused_without_a_guess():
    with pytest.raises(ValueError, match=r"or 0\.03$"):
        pixel_radius(1000)


def test_a_radius_may_exceed_the_pixels_but_not_be_negative():
    assert read_radius(3) == 3.0
    with pytest.raises(ValueError, match=r"^a radius of at least 0 \(did you mean 3/255\?\)$"):
        read_radius(-3)


@pytest.mark.parametrize(
    ("value", "cells"),
    [
        (14, (14, 14)),
        ("14", (14, 14)),
        ("2x4", (2, 4)),
        (" 4 X 8 ", (4, 8)),
        ((3, 5), (3, 5)),
        ([3, 5], (3, 5)),
    ],
)
def test_a_grid_is_a_number_or_rows_by_columns(value, cells):
    assert read_grid(value) == Cells(*cells)
    assert read_grid(str(read_grid(value))) == Cells(*cells)


@pytest.mark.parametrize(
    "value", [0, -2, "0x4", "4x", "x4", "4by4", 2.0, True, None, [2], [2, 2.5], [True, 2], ""]
)
def test_what_is_no_grid_is_refused(value):
    with pytest.raises(ValueError, match=r"^a grid such as 14 or 4x8 \(rows x columns\), at least 1x1$"):
        read_grid(value)


def test_binary_rounding_never_drops_one():
    """Every share in hundredths of every total to 400: the count that whole numbers give."""
    wrong = [(p, n) for n in range(401) for p in range(101) if count_of(p / 100, n) != p * n // 100]
    assert not wrong
    assert any(int(p / 100 * n) != p * n // 100 for n in range(401) for p in range(101))


def test_a_share_in_thousandths_of_an_image_of_pixels():
    assert all(count_of(p / 1000, 224 * 224) == p * 224 * 224 // 1000 for p in range(1001))


def test_a_grid_in_a_json_schema_shows_its_default_as_text():
    @dataclass(frozen=True)
    class Plug:
        grid: Cells = Cells(3, 4)  # noqa: RUF009

    shape = schema(Plug).model_json_schema()["properties"]["grid"]
    assert shape["default"] == "3x4"
    assert [part["type"] for part in shape["anyOf"]] == ["integer", "string"]
    assert schema(Plug)(grid="5x6").model_dump(mode="json") == {"grid": "5x6"}


@dataclass(frozen=True)
class Parent:
    first: int = 1  # from the parent
    second: int = 1  # overridden below


@dataclass(frozen=True)
class Child(Parent):
    """Nothing about `bare` here."""

    # two lines
    # above it
    third: str = "# no comment"
    second: int = 2  # behind it
    bare: int = 3
    fourth: tuple[int, ...] = ()  # behind the last line

    kept: ClassVar[int] = 0  # of no field


def test_fields_are_explained_by_their_comments():
    assert explained(Child) == {
        "first": "from the parent",
        "second": "behind it",
        "third": "two lines above it",
        "fourth": "behind the last line",
        "kept": "of no field",
    }
