"""How figures for papers look: settings, colours, markers and dashes of models, and names as text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from robobench.errors import MissingExtra
from robobench.leaderboard.svg import COLOURS, DASHES
from robobench.leaderboard.text import shown

PALETTE = ("#0f67b1", "#c8500a", "#00795b", "#a03c88", "#94690a", "#2a8fb8", "#5d6167", "#963434")  # page.css
INK, SOFT, GRID = "#16191d", "#5b636d", "#e3e7ea"
LONGEST = 34  # characters of a name
_MARKERS = ("o", "s", "^", "D", "x", "v", "P", "d")
_RULES: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 7.5,
    "axes.titlesize": 8.0,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,
    "text.usetex": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.6,
    "savefig.dpi": 300,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "robobench",
    "pdf.fonttype": 42,
}
_FORBIDDEN = re.compile("[\ufffe\uffff]")  # what no XML may hold; `shown` takes out all other


@contextmanager
def style() -> Iterator[None]:
    """Our settings, whatever the user's own are. Raises MissingExtra without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra("drawing figures", "matplotlib", "figures") from None
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RULES)
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a script that the font lacks
        yield


def colour_of(index: int) -> str:
    """The colour of a model by its place on the board."""
    return PALETTE[index % COLOURS]


def marker_of(index: int) -> str:
    """Its marker."""
    return _MARKERS[(index + index // COLOURS) % len(_MARKERS)]


def dash_of(index: int) -> Any:
    """Its kind of line."""
    pattern = DASHES[(index + index // COLOURS) % len(DASHES)]
    return (0, tuple(float(v) / 2 for v in pattern.split())) if pattern else "-"


def legal(name: str) -> str:
    """Text from outside on one line, without what an XML file must not hold."""
    return _FORBIDDEN.sub("\ufffd", shown(name))


def short_name(name: str) -> str:
    """A name, cut where it would be too long."""
    return short(legal(name), LONGEST)


def short(name: str, most: int) -> str:
    """At most so many characters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
