"""Intervals as pictures: SVG that needs nothing else, and says in words what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP, _BOTTOM = 720, 240, 24, 30, 10, 34
_NAME_CHARACTERS = 34


@dataclass(frozen=True)
class Bar:
    """One interval."""

    name: str
    value: float
    low: float
    high: float
    tone: str = "plain"
    """Of the colours of the page: plain, good, bad."""


@dataclass(frozen=True)
class Marker:
    """A line across all rows."""

    name: str
    value: float


def interval_chart(
    title: str, bars: Sequence[Bar], markers: Sequence[Marker] = (), *, digits: int = 2
) -> str:
    """Return an SVG of a row for each interval on one scale, and a line for each marker."""
    scale = _Scale.of(
        [edge for bar in bars for edge in (bar.low, bar.high)] + [m.value for m in markers]
    )
    height = _TOP + _ROW * len(bars) + _BOTTOM
    words = "; ".join(
        f"{bar.name} {bar.value:.{digits}f}, from {bar.low:.{digits}f} to {bar.high:.{digits}f}"
        for bar in bars
    )
    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(title, quote=True)}: {escape(words, quote=True)}">',
        *_axis(scale, height, digits),
        *(_marker(scale, marker, height) for marker in markers),
        *(_bar(scale, bar, at, digits) for at, bar in enumerate(bars)),
        "</svg>",
    ]
    return "\n".join(parts)


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    step: float

    @classmethod
    def of(cls, values: Sequence[float]) -> _Scale:
        low, high = min(values), max(values)
        wanted = max(high - low, 0.01) / 5
        power = 10.0 ** floor(log10(wanted))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= wanted)
        return cls(
            floor(low / step) * step, max(ceil(high / step), floor(low / step) + 1) * step, step
        )

    def x(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def ticks(self) -> list[float]:
        count = round((self.high - self.low) / self.step)
        return [self.low + at * self.step for at in range(count + 1)]


def _axis(scale: _Scale, height: int, digits: int) -> list[str]:
    base = height - _BOTTOM
    lines = []
    for tick in scale.ticks():
        x = scale.x(tick)
        lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{base}"/>')
        lines.append(f'<text class="tick" x="{x:.1f}" y="{base + 18}">{tick:.{digits}f}</text>')
    return lines


def _marker(scale: _Scale, marker: Marker, height: int) -> str:
    x, base = scale.x(marker.value), height - _BOTTOM
    return (
        f'<line class="marker" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{base}"/>'
        f'<text class="tick" x="{x:.1f}" y="{base + 31}">{escape(marker.name)}</text>'
    )


def _bar(scale: _Scale, bar: Bar, at: int, digits: int) -> str:
    y = _TOP + _ROW * at + _ROW / 2
    low, value, high = (scale.x(each) for each in (bar.low, bar.value, bar.high))
    name = bar.name
    if len(name) > _NAME_CHARACTERS:
        name = name[: _NAME_CHARACTERS - 1] + "…"
    return (
        f'<g class="{escape(bar.tone)}"><text class="name" x="{_LEFT - 12}" y="{y + 4:.1f}">'
        f"{escape(name)}</text>"
        f'<line class="span" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<circle cx="{value:.1f}" cy="{y:.1f}" r="5"/></g>'
    )
