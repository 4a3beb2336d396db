"""What all plots are made of: a figure, its colours by theme, names, axes of lengths.

Plotly takes what looks like HTML in a text for markup, so every name from a recording
goes through ``shown``.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from forktrace.text import named
from forktrace.views import palette
from forktrace.views.units import duration, fitting

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"

Paths = dict[str, Any]
"""What a theme changes, by its path in a figure's layout or in a trace."""

# On a telephone: a finger on a plot scrolls the page, and axes tell their units.
_NARROW: Paths = {
    "dragmode": False,
    "font.size": 11,
    "legend.font.size": 11,
    "margin.l": 8,
    "margin.r": 8,
    "yaxis.title.text": "",
}


@dataclass(frozen=True)
class Plot:
    """A figure, and what each theme changes in it, by path.

    ``traces`` has what changes in a trace, by its number and then by theme;
    ``narrow`` and ``narrow_traces`` what changes where there is little room.
    """

    figure: go.Figure
    traces: Mapping[int, Mapping[str, Paths]] = field(default_factory=dict)
    narrow: Paths = field(default_factory=dict)
    narrow_traces: Mapping[int, Paths] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what draw.js takes."""
        drawn = json.loads(self.figure.to_json())
        themes = {
            name: {
                "layout": {
                    **_layout(theme),
                    # Lines pass behind labels.
                    **{
                        f"annotations.{number}.bgcolor": theme.area
                        for number in range(len(self.figure.layout.annotations))
                    },
                },
                "data": {number: paths[name] for number, paths in self.traces.items()},
            }
            for name, theme in palette.THEMES.items()
        }
        return {
            "data": drawn["data"],
            "layout": drawn["layout"],
            "themes": themes,
            "narrow": {
                "layout": {**_NARROW, **self.narrow},
                "data": self.narrow_traces,
            },
        }


def shown(name: str, room: int = 60) -> str:
    """Return a name from a recording as plotly shows it letter by letter."""
    return html.escape(fitting(named(name), room))


def new_figure(traces: Iterable[Any], **layout: Any) -> go.Figure:
    """Return a figure with the layout that all plots share, and more of it."""
    figure = go.Figure(list(traces))
    figure.update_layout(
        template="none",
        font={"family": _FONT, "size": 13},
        margin={"l": 64, "r": 16, "t": 36, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"align": "left"},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        **layout,
    )
    return figure


def length_axis(values: Sequence[float], title: str) -> dict[str, Any]:
    """Return an axis of logarithms of nanoseconds, with units at its ticks."""
    low, high = min(values, default=3.0), max(values, default=9.0)
    # At least a decade, or a few forks that are alike would have no scale.
    low, high = low - _missing(low, high), high + _missing(low, high)
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [(p + math.log10(step), step * 10**p) for p in powers for step in (1, 3)]
    if len(powers) > 4:
        ticks = ticks[::2]
    return {
        "title": {"text": title, "standoff": 10},
        "automargin": True,
        "tickvals": [place for place, _ in ticks],
        "ticktext": [duration(value) for _, value in ticks],
        "range": [low - 0.1, high + 0.1],
        "zeroline": False,
        "showgrid": True,
    }


def _missing(low: float, high: float) -> float:
    return max(0, 1 - (high - low)) / 2


def log_ns(value: float) -> float:
    """Return the place of a duration on an axis of lengths."""
    return math.log10(max(value, 1))


def _layout(theme: palette.Theme) -> Paths:
    paths: Paths = {
        "font.color": theme.text,
        "hoverlabel.bgcolor": theme.raised,
        "hoverlabel.bordercolor": theme.line,
        "hoverlabel.font.color": theme.text,
        "modebar.color": theme.quiet,
        "modebar.activecolor": theme.text,
        "modebar.bgcolor": "rgba(0,0,0,0)",
    }
    for axis in ("xaxis", "yaxis"):
        paths[f"{axis}.gridcolor"] = theme.line
        paths[f"{axis}.linecolor"] = theme.line
        paths[f"{axis}.tickfont.color"] = theme.quiet
        paths[f"{axis}.title.font.color"] = theme.quiet
    return paths
