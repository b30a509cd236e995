"""Two kinds of chart as SVG, written by hand; readable on light and on dark ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log

__all__ = ["WIDTH", "Bar", "Curve", "Group", "bars", "lines", "page", "text"]

WIDTH = 720
LEFT, RIGHT = 130, 90
"""For the names of bars, and for the figures at their ends."""
TOP = 46
BAR, BETWEEN_BARS, BETWEEN_GROUPS = 20, 6, 40
"""Heights; a group's heading stands in the space above it."""
LINE_HEIGHT = 220
INDENT = 20
"""Of curves, from the left."""

STYLE = """
svg { color: #1f2328; font: 13px system-ui, -apple-system, "Segoe UI", sans-serif }
text { fill: currentColor }
.title { font-size: 15px; font-weight: 600 }
.heading { font-weight: 600 }
.quiet { opacity: .7 }
.other { fill: #8c959f; stroke: #8c959f }
.ours { fill: #1a7f37; stroke: #1a7f37 }
@media (prefers-color-scheme: dark) {
  svg { color: #e6edf3 }
  .other { fill: #6e7681; stroke: #6e7681 }
  .ours { fill: #3fb950; stroke: #3fb950 }
}
.curve { fill: none; stroke-width: 2.5 }
.axis { fill: none; stroke: currentColor; opacity: .35 }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure."""

    name: str
    value: float
    ours: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Bars that are compared with each other, under one heading."""

    heading: str
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class Curve:
    """How one figure depends on another."""

    name: str
    points: Sequence[tuple[float, float]]
    ours: bool


def bars(title: str, description: str, unit: str, groups: Sequence[Group]) -> str:
    """Horizontal bars, one scale for all."""
    most = max(bar.value for group in groups for bar in group.bars)
    parts: list[str] = []
    y = TOP
    for group in groups:
        parts.append(text(0, y + 14, group.heading, "heading"))
        y += 24
        for bar in group.bars:
            length = max(1.0, (WIDTH - LEFT - RIGHT) * bar.value / most)
            kind = "ours" if bar.ours else "other"
            parts.append(text(LEFT - 10, y + 15, bar.name, anchor="end"))
            parts.append(
                f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}"/>'
            )
            parts.append(text(LEFT + length + 8, y + 15, f"{_short(bar.value)} {unit}"))
            y += BAR + BETWEEN_BARS
        y += BETWEEN_GROUPS - 24
    return page(title, description, y, parts)


def lines(title: str, description: str, axes: tuple[str, str], curves: Sequence[Curve]) -> str:
    """Curves through few points, each with its figure: the lower curve's stand below it.

    The axis upwards begins at 0; the one across is logarithmic.
    """
    points = [point for curve in curves for point in curve.points]
    left, right = log(min(x for x, _ in points)), log(max(x for x, _ in points))
    top = 1.15 * max(y for _, y in points)
    bottom = TOP + LINE_HEIGHT
    lowest = min(curves, key=lambda curve: curve.points[-1][1])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (log(x) - left) / (right - left)
        return INDENT + 30 + (WIDTH - LEFT - INDENT - 30) * across, bottom - LINE_HEIGHT * y / top

    parts = [f'<path class="axis" d="M{INDENT} {TOP}V{bottom}H{WIDTH - LEFT}"/>']
    for across in sorted({x for x, _ in points}):
        parts.append(text(place(across, 0)[0], bottom + 32, f"{across:g}", "quiet", "middle"))
    for curve in curves:
        kind = "ours" if curve.ours else "other"
        beside = 20 if curve is lowest and len(curves) > 1 else -10
        placed = [place(x, y) for x, y in curve.points]
        through = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline class="{kind} curve" points="{through}"/>')
        for (x, y), (_, up) in zip(placed, curve.points, strict=True):
            parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
            parts.append(text(x, y + beside, _short(up), anchor="middle"))
        parts.append(text(placed[-1][0] + 24, placed[-1][1] + 5, curve.name))
    across_name, up_name = axes
    parts.append(text(WIDTH - LEFT, bottom + 52, across_name, "quiet", "end"))
    parts.append(text(0, TOP - 6, up_name, "quiet"))
    return page(title, description, bottom + 62, parts)


def page(title: str, description: str, height: float, parts: Sequence[str]) -> str:
    """A whole picture: its parts, below its title and of the width of all of them."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}"'
            ' role="img" aria-labelledby="title description">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(description)}</desc>',
            f"<style>{STYLE}</style>",
            text(0, 18, title, "title"),
            *parts,
            "</svg>\n",
        ]
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Words at a place; `kind` is a class of the style."""
    named = f' class="{kind}"' if kind else ""
    placed = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f"<text{named} {placed}>{escape(words)}</text>"


def _short(value: float) -> str:
    """Three digits."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
