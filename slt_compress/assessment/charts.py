"""Charts as SVG, for a page that is read in light and in dark: lines take the page's colours by class."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 16, 16, 48
_TICKS = 5


@dataclass(frozen=True)
class Series:
    """What is drawn in one colour.

    Attributes:
        name: in the legend.
        points: (x, y), in the order of x.
        ranges: (low, high) around each point, empty without them.
        dashed: whether its line is.
    """

    name: str
    points: Sequence[tuple[float, float]]
    ranges: Sequence[tuple[float, float]] = ()
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """One of the two axes.

    Attributes:
        label: what it shows.
        ticks: positions with their texts; where they are none, round numbers are chosen.
        logarithmic: whether equal factors take equal room.
        percent: whether values are shares.
    """

    label: str
    ticks: Sequence[tuple[float, str]] = ()
    logarithmic: bool = False
    percent: bool = False

    def text(self, value: float) -> str:
        """Return a value as a tick shows it."""
        return f"{100 * value:.3g} %" if self.percent else f"{value:,.4g}"


class _Scale:
    """From values to pixels."""

    def __init__(self, axis: Axis, values: Sequence[float], start: float, end: float) -> None:
        self._log = axis.logarithmic
        places = [self._place(value) for value in (*values, *(tick for tick, _ in axis.ticks))]
        low, high = min(places), max(places)
        margin = 0.06 * (high - low) or 0.5
        self._low, self._high = low - margin, high + margin
        self._start, self._end = start, end
        self.ticks = list(axis.ticks) or [(value, axis.text(value)) for value in self._round_values()]

    def __call__(self, value: float) -> float:
        share = (self._place(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def _place(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self._log else value

    def _round_values(self) -> list[float]:
        """Return round values across the axis: multiples of 1, 2 or 5 times a power of ten, or these themselves."""
        if self._log:
            powers = range(math.floor(self._low), math.ceil(self._high) + 1)
            choices: list[tuple[float, ...]] = [(1, 2, 5), (1, 3), (1,)]
            found = [[factor * 10.0**power for power in powers for factor in factors] for factors in choices]
            shown = [[value for value in values if self._low <= math.log10(value) <= self._high] for values in found]
            return next((values for values in shown if len(values) <= _TICKS + 2), shown[-1])
        step = 10 ** math.floor(math.log10((self._high - self._low) / _TICKS))
        step = next(step * factor for factor in (1, 2, 5, 10) if (self._high - self._low) / (step * factor) <= _TICKS)
        first = math.ceil(self._low / step)
        return [step * index for index in range(first, math.floor(self._high / step) + 1)]


def lines(series: Sequence[Series], x: Axis, y: Axis, title: str) -> str:
    """Return an SVG with a line and a dot a point for each series, and a legend under it."""
    points = [point for one in series for point in one.points]
    bounds = [value for one in series for pair in one.ranges for value in pair]
    across = _Scale(x, [point[0] for point in points], _LEFT, WIDTH - _RIGHT)
    up = _Scale(y, [point[1] for point in points] + bounds, HEIGHT - _BOTTOM, _TOP)
    parts = [*_frame(across, up, x, y)]
    for index, one in enumerate(series):
        places = [(across(a), up(b)) for a, b in one.points]
        for (place, _), (low, high) in zip(places, one.ranges, strict=False):
            ends = f'y1="{up(low):.1f}" y2="{up(high):.1f}"'
            parts.append(f'<line class="s{index} range" x1="{place:.1f}" x2="{place:.1f}" {ends}/>')
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        dashed = " dashed" if one.dashed else ""
        parts.append(f'<polyline class="s{index}{dashed}" points="{path}"/>')
        parts += [f'<circle class="s{index}" cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>' for a, b in places]
    return _figure(parts, [one.name for one in series], title)


def bars(values: Sequence[tuple[str, float, str]], title: str) -> str:
    """Return an SVG with a bar for each (name, value, text of the value), downwards, on a logarithmic axis."""
    row, left = 30, 130
    least = min(value for _, value, _ in values) / 3
    most = max(value for _, value, _ in values)
    parts = []
    for index, (name, value, text) in enumerate(values):
        length = (WIDTH - left - 110) * math.log(value / least) / math.log(most / least)
        middle, width = row * index + row / 2 + 5, max(length, 1)
        parts += [
            f'<text class="label end" x="{left - 8}" y="{middle:.1f}">{escape(name)}</text>',
            f'<rect class="s0" x="{left}" y="{row * index + 5}" width="{width:.1f}" height="{row - 10}" rx="3"/>',
            f'<text class="label" x="{left + width + 8:.1f}" y="{middle:.1f}">{escape(text)}</text>',
        ]
    return _figure(parts, [], title, height=row * len(values))


def _frame(across: _Scale, up: _Scale, x: Axis, y: Axis) -> list[str]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    turned = f"translate(14 {(_TOP + bottom) / 2}) rotate(-90)"
    parts = []
    for value, text in up.ticks:
        place = up(value)
        parts += [
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{place:.1f}" y2="{place:.1f}"/>',
            f'<text class="label end" x="{_LEFT - 8}" y="{place + 4:.1f}">{escape(text)}</text>',
        ]
    for value, text in across.ticks:
        place = across(value)
        parts += [
            f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{bottom}"/>',
            f'<text class="label middle" x="{place:.1f}" y="{bottom + 18}">{escape(text)}</text>',
        ]
    parts += [
        f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>',
        f'<text class="label middle" x="{(_LEFT + right) / 2}" y="{HEIGHT - 8}">{escape(x.label)}</text>',
        f'<text class="label middle" transform="{turned}">{escape(y.label)}</text>',
    ]
    return parts


def _figure(parts: Sequence[str], names: Sequence[str], title: str, height: int = HEIGHT) -> str:
    legend = "".join(f'<li><span class="key s{index}"></span>{escape(name)}</li>' for index, name in enumerate(names))
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title, quote=True)}">{"".join(parts)}</svg>'
        + (f'<ul class="legend">{legend}</ul>' if legend else "")
        + "</figure>"
    )
