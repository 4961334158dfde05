"""A leaderboard as one HTML file: nothing is loaded, and everything can be read without a script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from robobench.leaderboard import front as front_words
from robobench.leaderboard import gallery, svg, text, verified
from robobench.leaderboard.board import Entry, Leaderboard, Level
from robobench.leaderboard.front_chart import front_chart
from robobench.leaderboard.heat import condition_map
from robobench.leaderboard.limits import LimitCurve, limit_curves
from robobench.leaderboard.matrix import RULE, Matrix, heat_map, matrices
from robobench.leaderboard.scatter import Fit, fit_of, scatter
from robobench.speed import Speed
from robobench.types import Score

if TYPE_CHECKING:
    from jinja2 import Environment

SITE = "site"


def to_html(board: Leaderboard) -> str:
    """The page. Its content security policy allows its own script and style, by digest, and no request.

    Numbers carry `data-m` (the model's place), `data-c` (a column of `columns`, or `score`), `data-k` (the
    metric's name) and `data-v`, `data-l`, `data-h`, `data-n`, so that they can be read back.
    """
    css, js = asset("page.css"), asset("page.js")
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            board=board,
            page=_Page(board),
            text=text,
            verified=verified,
            gallery=gallery,
            front_words=front_words,
            policy=policy(css, js),
            css=raw(css),
            js=raw(js),
        )
    )


@dataclass(frozen=True)
class _Page:
    """What the template asks of a board."""

    board: Leaderboard

    @property
    def of(self) -> str:
        return self.board.suite.score.of

    @property
    def unit(self) -> str:
        return text.unit_sign(next((e.score.unit for e in self.board.entries), "fraction"))

    @property
    def levels(self) -> tuple[Level, ...]:
        """Every condition: clean ones, then ladder by ladder."""
        return (*self.board.references, *(v for ladder in self.board.ladders for v in ladder.levels))

    @property
    def further(self) -> tuple[str, ...]:
        """The metrics besides the composite's."""
        return tuple(m for m in self.board.suite.metrics if m != self.of)

    @property
    def lanes(self) -> tuple[str, ...]:
        """The letters that several models share, in order: a column each, so that ties read as bars."""
        letters = [letter for e in self.board.entries for letter in e.ties]
        return tuple(dict.fromkeys(x for x in letters if letters.count(x) > 1))

    @property
    def families(self) -> tuple[str, ...]:
        """The families of the models, those that are not known as a dash."""
        return tuple(sorted({text.shown(e.family or text.DASH) for e in self.board.entries}))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the ranking that can be left out."""
        named = [r.condition for r in self.board.references] + [la.name for la in self.board.ladders]
        return (*(text.shown(name) for name in named), "Family", "Params")

    def condition_map(self) -> str:
        return raw(condition_map(self.board))

    @property
    def axis(self) -> tuple[float, float]:
        return svg.range_of([e.score for e in self.board.entries])

    @property
    def axis_ends(self) -> str:
        """The ends of the strips' axis, as the strips' head."""
        unit = next((e.score.unit for e in self.board.entries), "")
        return " … ".join(text.number(v, unit) for v in self.axis)

    @property
    def health(self) -> tuple[list[str], list[list[str]]]:
        return text.health(self.board)

    def doubts(self, entry: Entry, levels: Sequence[Level]) -> tuple[str, ...]:
        """What is the matter with the attacks behind a number."""
        return tuple(text.shown(d) for d in entry.doubts(v.condition for v in levels))

    def unit_of(self, metric: str) -> str:
        first = next(iter(self.board.entries), None)
        if first is None:
            return ""
        return text.unit_sign(first.cells[self.levels[0].condition].score(metric).unit)

    def wrapped(self, name: str) -> str:
        """A column's head that may break after its dots."""
        from markupsafe import escape

        return raw(str(escape(name)).replace(".", ".<wbr>").replace(":", ":<wbr>"))

    def strip(self, entry: Entry, index: int) -> str:
        return raw(svg.strip(entry.score, index, *self.axis))

    def key(self, index: int) -> str:
        return raw(svg.key(index))

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        return matrices(self.board)

    def heat_map(self, matrix: Matrix) -> str:
        return raw(heat_map(matrix))

    @property
    def matrix_rule(self) -> str:
        return RULE

    def scatter(self) -> str:
        return raw(scatter(self.board))

    @cached_property
    def fit(self) -> Fit | None:
        return fit_of(self.board)

    @cached_property
    def front(self) -> front_words.Front | None:
        return front_words.front_of(self.board)

    def front_chart(self, found: front_words.Front) -> str:
        return raw(front_chart(found, self.board.suite.score.name))

    def speed(self, entry: Entry) -> Speed | None:
        """The measurement that the front goes by."""
        return None if self.front is None else front_words.speed_in(entry, self.front.setting)

    @property
    def speed_memory(self) -> bool:
        """Whether the device told how much memory was in use."""
        found = [self.speed(e) for e in self.board.entries]
        return any(s is not None and s.peak_memory for s in found)

    def curves(self, ladder: int) -> str:
        return raw(svg.curves(self.board, self.board.ladders[ladder]))

    @property
    def limits(self) -> tuple[LimitCurve, ...]:
        return limit_curves(self.board)

    def within(self, curve: LimitCurve) -> str:
        return raw(svg.limits(self.board, curve))

    def clean_parts(self, ladder: int) -> list[tuple[int, Score]]:
        """(model, clean on a ladder's own images), where those are fewer than all clean images."""
        levels = self.board.ladders[ladder].levels
        found = [(i, e.cells[levels[0].condition].clean) for i, e in enumerate(self.board.entries) if levels]
        return [(i, s) for i, s in found if s is not None]

    def facts(self, entry: Entry) -> list[tuple[str, str]]:
        """What is known of a model beyond its numbers."""
        lines = [
            ("Verified", verified.details(entry)),
            ("Weights", entry.weights),
            ("Citation", entry.citation or ""),
            *((k.capitalize(), v) for k, v in entry.provenance.items()),
        ]
        return [(text.shown(k), text.shown(v)) for k, v in lines if v]


def policy(css: str, js: str = "") -> str:
    """A content security policy that allows this style and this script, and no request."""
    script = f"script-src '{_hash(js)}'; " if js else ""
    return (
        f"default-src 'none'; {script}style-src '{_hash(css)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _seen(value: Any) -> Any:
    """Text from outside, in attributes too, without what turns a line round or no page can hold."""
    if type(value) is not str:  # our own markup is a subclass
        return value
    return "\n".join(text.shown(line) for line in value.split("\n"))


def environment() -> Environment:
    """The templates; everything from outside is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("robobench.leaderboard", SITE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> str:
    """A style sheet or a script of ours."""
    return (files("robobench.leaderboard") / SITE / name).read_text(encoding="utf-8").strip()


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def raw(content: str) -> str:
    """Our own markup, whose parts from outside are escaped already."""
    from markupsafe import Markup

    return Markup(content)  # noqa: S704
