"""One panel's content as SVG or HTML: lines, numbers, bars, a heatmap, a table."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from html import escape
from typing import Any

from tests.stack.picture.units import shown

COLOURS = (
    *("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c"),
    *("#5794f2", "#b877d9", "#705da0", "#37872d", "#fade2a"),
)
LEFT, BOTTOM = 62, 18
LEGEND_LINE = 17


@dataclass(frozen=True)
class Series:
    """A line: what the legend calls it, its labels, and (time, value) pairs."""

    name: str
    labels: dict[str, str]
    points: list[tuple[float, float]]
    colour: str | None = None

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]


def named(legend: str, answer: dict[str, Any]) -> Series:
    """Return one series of an answer under the name that the legend gives it."""
    labels = answer["metric"]
    name = re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)
    points = [(float(time), float(value)) for time, value in answer["values"]]
    return Series(name, labels, points)


def lines(
    found: list[Series], unit: str, width: int, height: int, *, stacked: bool
) -> str:
    """Return lines over time with axes and a legend below."""
    shown_names = found[: max(1, (height // 3) // LEGEND_LINE)]
    plot = height - BOTTOM - LEGEND_LINE * len(shown_names) - 6
    times = sorted({time for each in found for time, _ in each.points})
    drawn = _stacked(found, times) if stacked else [each.points for each in found]
    values = [v for points in drawn for _, v in points if math.isfinite(v)]
    top = (max(values, default=0) or 1) * 1.1
    scale = _Scale(times[0], times[-1], top, width, plot)
    parts = [_axes(scale, unit)]
    for number, points in reversed(list(enumerate(drawn))):
        colour = found[number].colour or COLOURS[number % len(COLOURS)]
        path = scale.path(points)
        if stacked and path:
            area = f"{path} L{scale.x(points[-1][0]):.1f},{plot} L{LEFT},{plot} Z"
            parts.append(f'<path d="{area}" fill="{colour}" opacity=".35"/>')
        parts.append(f'<path d="{path}" stroke="{colour}" fill="none"/>')
    for number, each in enumerate(shown_names):
        y = plot + BOTTOM + LEGEND_LINE * (number + 1) - 2
        colour = each.colour or COLOURS[number % len(COLOURS)]
        more = len(found) - len(shown_names) if each is shown_names[-1] else 0
        name = f"{each.name}   {shown(each.last, unit)}" + (
            f" … {more} more" * (more > 0)
        )
        parts.append(
            f'<rect x="{LEFT}" y="{y - 6}" width="14" height="3" fill="{colour}"/>'
            f'<text x="{LEFT + 20}" y="{y}">{escape(name)}</text>'
        )
    return _svg(parts, width, height)


@dataclass(frozen=True)
class _Scale:
    begin: float
    end: float
    top: float
    width: int
    height: int

    def x(self, time: float) -> float:
        share = (time - self.begin) / max(1, self.end - self.begin)
        return LEFT + share * (self.width - LEFT - 8)

    def y(self, value: float) -> float:
        return self.height * (1 - value / self.top)

    def path(self, points: list[tuple[float, float]]) -> str:
        whole = [(t, v) for t, v in points if math.isfinite(v)]
        return " ".join(
            f"{'L' if number else 'M'}{self.x(t):.1f},{self.y(v):.1f}"
            for number, (t, v) in enumerate(whole)
        )


def _stacked(
    found: list[Series], times: list[float]
) -> list[list[tuple[float, float]]]:
    below = dict.fromkeys(times, 0.0)
    drawn = []
    for each in found:
        own = dict(each.points)
        for time in times:
            value = own.get(time, 0.0)
            below[time] += value if math.isfinite(value) else 0.0
        drawn.append([(time, below[time]) for time in times])
    return drawn


def _axes(scale: _Scale, unit: str) -> str:
    parts = []
    for value in _ticks(scale.top, unit):
        y = scale.y(value)
        parts.append(
            f'<line x1="{LEFT}" x2="{scale.width - 8}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="soft" text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">'
            f"{shown(value, unit)}</text>"
        )
    for minute in range(math.ceil(scale.begin / 60), int(scale.end // 60) + 1):
        x = scale.x(minute * 60)
        name = f"{minute // 60 % 24:02}:{minute % 60:02}"
        parts.append(
            f'<text class="soft" text-anchor="middle" x="{x:.1f}" '
            f'y="{scale.height + 14}">{name}</text>'
        )
    return "".join(parts)


def _ticks(top: float, unit: str) -> list[float]:
    """Return round numbers from 0 to ``top``, three to seven of them."""
    size = 1.0
    while unit in ("bytes", "Bps") and top / size > 3 * 1024:
        size *= 1024
    power = size * 10.0 ** math.floor(math.log10(top / size / 3))
    step = next(power * each for each in (1, 2, 5, 10) if top / (power * each) < 6)
    return [step * number for number in range(int(0.95 * top / step) + 1)]


def figure(
    found: Series, unit: str, bad_from: float | None, width: int, *, named: bool = False
) -> str:
    """Return one number, its name above it if wanted, and its course behind it."""
    bad = bad_from is not None and found.last >= bad_from
    colour = COLOURS[4 if bad else 0]
    values = [value for _, value in found.points if math.isfinite(value)]
    top = (max(values, default=0) or 1) * 1.2
    begin, end = found.points[0][0], found.points[-1][0]
    step = width / max(1, end - begin)
    line = " ".join(
        f"L{(time - begin) * step:.1f},{34 * (1 - value / top):.1f}"
        for time, value in found.points
        if math.isfinite(value)
    )
    area = f'<path d="M0,34 {line} L{width},34 Z" fill="{colour}" opacity=".25"/>'
    name = f'<div style="text-align:center">{escape(found.name)}</div>' * named
    return (
        f'{name}<div class="figure" style="color:{colour}">'
        f"{shown(found.last, unit)}</div>"
        f'<svg width="{width}" height="34">{area}</svg>'
    )


def bars(found: list[Series], unit: str) -> str:
    """Return the newest values as bars, the largest first."""
    ordered = sorted(found, key=lambda each: -each.last)
    most = max((each.last for each in ordered), default=0) or 1
    return "".join(
        f'<div class="bar"><span>{escape(each.name)}</span><div><i '
        f'style="width:{100 * each.last / most:.1f}%"></i></div>'
        f"<b>{shown(each.last, unit)}</b></div>"
        for each in ordered
    )


def heatmap(found: list[Series], width: int, height: int) -> str:
    """Return how many a second fell into each bucket of a classic histogram."""
    ordered = sorted(found, key=lambda each: float(each.labels["le"]))
    times = sorted({time for each in found for time, _ in each.points})
    own: list[dict[float, float]] = []
    below = dict.fromkeys(times, 0.0)
    for each in ordered:
        values = dict(each.points)
        own.append({time: values.get(time, 0.0) - below[time] for time in times})
        below = {time: values.get(time, 0.0) for time in times}
    most = max((v for row in own for v in row.values()), default=0) or 1
    tall, wide = (height - BOTTOM) / len(own), (width - LEFT) / max(1, len(times))
    parts = []
    for number, row in enumerate(own):
        y = height - BOTTOM - (number + 1) * tall
        bound = float(ordered[number].labels["le"])
        name = shown(bound, "s") if math.isfinite(bound) else "+Inf"
        if number % 3 == 0:
            parts.append(
                f'<text class="soft" text-anchor="end" x="{LEFT - 6}" '
                f'y="{y + tall:.1f}">{name}</text>'
            )
        for column, time in enumerate(times):
            if row[time] > 0:
                # As Grafana's "exponential" scale: few must be seen beside many.
                parts.append(
                    f'<rect x="{LEFT + column * wide:.1f}" y="{y:.1f}" '
                    f'width="{wide + 0.3:.1f}" height="{tall - 1:.1f}" fill="#ff780a" '
                    f'opacity="{0.15 + 0.85 * math.sqrt(row[time] / most):.2f}"/>'
                )
    return _svg(parts, width, height)


def table(columns: list[tuple[str, str, list[Series]]]) -> str:
    """Return one row for each host; ``columns`` are (name, unit, series by host)."""
    hosts = sorted(
        {each.labels["instance"] for _, _, found in columns for each in found}
    )
    known: dict[str, dict[str, str]] = {host: {} for host in hosts}
    for each in columns[0][2]:
        known[each.labels["instance"]] = each.labels
    labels = ("attach", "mask", "read_from", "release")
    head = "".join(f"<th>{name}</th>" for name in ("instance", *labels))
    head += "".join(f'<th class="n">{name}</th>' for name, _, _ in columns)
    body = ""
    for host in hosts:
        cells = "".join(
            f"<td>{escape(known[host].get(name, ''))}</td>" for name in labels
        )
        for _, unit, found in columns:
            values = [each.last for each in found if each.labels["instance"] == host]
            text = shown(values[0], unit) if values else ""
            cells += f'<td class="n">{text}</td>'
        body += f"<tr><td>{escape(host)}</td>{cells}</tr>"
    return f"<table><tr>{head}</tr>{body}</table>"


def _svg(parts: list[str], width: int, height: int) -> str:
    return f'<svg width="{width}" height="{height}">{"".join(parts)}</svg>'
