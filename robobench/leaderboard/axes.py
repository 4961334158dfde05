"""Frames, axes and ticks of the charts, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from robobench.leaderboard.text import shown, unit_sign

_GLYPH = 6.5  # width of a character at the axis' size, for placing labels


@dataclass(frozen=True)
class Frame:
    """A plot's place in its drawing, and the numbers at its edges."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        low, high = self.y_range
        share = (value - low) / (high - low)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)


def snug(values: Sequence[float], unit: str) -> tuple[float, float]:
    """A range that holds the values with some room, inside [0, 1] for a fraction."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = max(0.08 * (high - low), 0.005)
    if unit == "fraction" and low >= 0 and high <= 1:
        return max(low - room, 0.0), min(high + room, 1.0)
    return low - room, high + room


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def tick(value: float, unit: str) -> str:
    """A number at an axis: per cent for a fraction."""
    return f"{100 * value:.3g}" if unit == "fraction" else f"{value:.3g}"


def y_axis(frame: Frame, unit: str, title: str) -> str:
    """Numbers, grid lines and title at the left."""
    parts = []
    for value in ticks(*frame.y_range):
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{frame.left:.1f} {y:.1f}H{frame.width - frame.right:.1f}"/>')
        parts.append(
            f'<text x="{frame.left - 7:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick(value, unit)}</text>'
        )
    middle = (frame.top + frame.height - frame.bottom) / 2
    parts.append(
        f'<text class="what" transform="translate(11 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(title)} ({escape(unit_sign(unit))})</text>"
    )
    return "".join(parts)


def x_ticks(frame: Frame, unit: str, title: str) -> str:
    """Numbers, grid lines and title below."""
    foot = frame.height - frame.bottom
    parts = []
    for value in ticks(*frame.x_range):
        x = frame.x(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {frame.top:.1f}V{foot:.1f}"/>')
        parts.append(f'<text x="{x:.1f}" y="{foot + 18:.1f}" text-anchor="middle">{tick(value, unit)}</text>')
    return "".join(parts) + x_title(frame, f"{title} ({unit_sign(unit)})")


def x_labels(frame: Frame, names: Sequence[str], along: str) -> str:
    """Names at the places 0, 1, ..., as many of them as there is room for, and the title."""
    foot = frame.height - frame.bottom
    room = frame.x(1) - frame.x(0)
    most = max(8, int(room / _GLYPH))
    shorts = [n if len(n) <= most else n[: most - 1] + "…" for n in names]
    every = max(1, math.ceil(max((len(n) for n in shorts), default=1) * _GLYPH / room))
    parts = [f'<path class="axis" d="M{frame.left:.1f} {foot:.1f}H{frame.width - frame.right:.1f}"/>']
    for place, name in enumerate(shorts):
        if place % every == 0 or place == len(shorts) - 1:
            x = frame.x(place)
            parts.append(f'<text x="{x:.1f}" y="{foot + 18:.1f}" text-anchor="middle">{escape(name)}</text>')
    return "".join(parts) + x_title(frame, along)


def x_title(frame: Frame, text: str) -> str:
    """What is along the x axis."""
    middle = (frame.left + frame.width - frame.right) / 2
    return (
        f'<text class="what" x="{middle:.1f}" y="{frame.height - 8:.1f}" text-anchor="middle">'
        f"{escape(shown(text))}</text>"
    )


def drawing(frame: Frame, title: str, body: Sequence[str]) -> str:
    """The whole chart; the title is what a screen reader says."""
    return (
        f'<svg class="chart" viewBox="0 0 {frame.width:.0f} {frame.height:.0f}" role="img" '
        f'aria-label="{escape(title)}">{"".join(body)}</svg>'
    )
