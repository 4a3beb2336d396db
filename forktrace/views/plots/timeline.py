"""When forks happened and how long they took: each a point, or counts behind a few."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import plotly.graph_objects as go

from forktrace.report.study import Point, Study
from forktrace.report.timeline import COLUMNS, ROWS_A_DECADE
from forktrace.views import palette
from forktrace.views.plots.figure import (
    Paths,
    Plot,
    length_axis,
    log_ns,
    new_figure,
    shown,
)
from forktrace.views.units import duration


def timeline_plot(study: Study) -> Plot:
    """Return every fork as a point, or counts with the longest as points.

    Points are there twice, by trigger and by process, as their ``meta`` says; draw.js
    shows the ones that are asked for.
    """
    traces: list[Any] = []
    themed: dict[int, dict[str, Paths]] = {}
    heights = [log_ns(point.duration_ns) for point in study.points]
    if not study.all_drawn:
        heat, heights = _heat(study)
        traces.append(heat)
        themed[0] = {
            name: {
                "colorscale": [[0, theme.few], [1, theme.many]],
                "colorbar.tickfont.color": theme.quiet,
                "colorbar.title.font.color": theme.quiet,
            }
            for name, theme in palette.THEMES.items()
        }
    for points in _by_trigger(study) + _by_process(study):
        themed[len(traces)] = {
            name: {"marker.line.color": theme.area}
            for name, theme in palette.THEMES.items()
        }
        traces.append(points)
    figure = new_figure(
        traces,
        xaxis=_clock_axis(study),
        yaxis=length_axis(heights, "length of the fork"),
        hovermode="closest",
        showlegend=True,
    )
    # What the shades count can be had by pointing at them.
    narrow: dict[int, Paths] = {} if study.all_drawn else {0: {"showscale": False}}
    return Plot(figure, themed, {"xaxis.nticks": 4}, narrow)


def _clock_axis(study: Study) -> dict[str, Any]:
    """Return an axis of all the time that was recorded."""
    last = max((point.since_ns for point in study.points), default=0)
    span = max(study.span_ns, last, 10**9)
    return {
        "type": "date",
        "title": {"text": "time (UTC)"},
        "range": [_clock(study, -span // 50), _clock(study, span + span // 50)],
        "tickangle": 0,
        "nticks": 8,
    }


def _clock(study: Study, since_ns: int) -> str:
    """Return a time as plotly takes it for what it is, in whatever zone it is read."""
    micro = (study.header.time_ns + since_ns) // 1000
    return str(datetime(1970, 1, 1) + timedelta(microseconds=micro))


def _by_trigger(study: Study) -> list[Any]:
    groups: dict[str, list[Point]] = defaultdict(list)
    for point in study.points:
        groups[point.trigger].append(point)
    # What comes last is drawn on top, and rare triggers are looked for.
    order = sorted(groups, key=lambda name: -len(groups[name]))
    return [
        _points(
            study,
            "trigger",
            shown(name) if name else "nothing copied",
            palette.of_trigger(name),
            groups[name],
        )
        for name in order
    ]


def _by_process(study: Study) -> list[Any]:
    costliest = [group.name for group in study.processes][: len(palette.PROCESSES)]
    colours = dict(zip(costliest, palette.PROCESSES))
    groups: dict[str | None, list[Point]] = defaultdict(list)
    for point in study.points:
        groups[point.comm if point.comm in colours else None].append(point)
    others = groups.pop(None, [])
    drawn = (
        [_points(study, "process", "others", palette.NO_TRIGGER, others)]
        if others
        else []
    )
    return drawn + [
        _points(study, "process", shown(name), colour, groups[name])
        for name, colour in colours.items()
        if name in groups
    ]


def _points(
    study: Study, by: str, name: str, colour: str, points: Sequence[Point]
) -> Any:
    return go.Scatter(
        name=name,
        meta=by,
        mode="markers",
        x=[_clock(study, point.since_ns) for point in points],
        y=[round(log_ns(point.duration_ns), 4) for point in points],
        customdata=[
            [
                f"{shown(point.comm)}[{point.pid}]",
                duration(point.duration_ns),
                duration(point.copy_ns),
                f"mostly by {shown(point.trigger)}" if point.trigger else "",
            ]
            for point in points
        ],
        hovertemplate="%{customdata[0]} at %{x|%H:%M:%S.%L}<br>%{customdata[1]}, of it "
        "%{customdata[2]} copying<br>%{customdata[3]}<extra></extra>",
        marker={
            "color": colour,
            "size": 7,
            "opacity": 0.85,
            "line": {"width": 0.8},
        },
    )


def _heat(study: Study) -> tuple[Any, list[float]]:
    cells = list(study.timeline.cells())
    step = study.timeline.step_ns
    rows = [round(log_ns(cell.low_ns) * ROWS_A_DECADE) for cell in cells]
    lowest, highest = min(rows), max(rows)
    columns = min(COLUMNS, max(cell.begin_ns // step for cell in cells) + 1)
    counts: list[list[float | None]] = [
        [None] * columns for _ in range(highest - lowest + 1)
    ]
    told = [[0] * columns for _ in counts]
    for cell, row in zip(cells, rows):
        column = cell.begin_ns // step
        counts[row - lowest][column] = round(math.log10(cell.forks), 3)
        told[row - lowest][column] = cell.forks
    most = max(cell.forks for cell in cells)
    powers = range(math.ceil(math.log10(most)) + 1)
    edges = [row / ROWS_A_DECADE for row in range(lowest, highest + 2)]
    heat = go.Heatmap(
        x0=_clock(study, step // 2),
        dx=step / 1e6,
        y0=(lowest + 0.5) / ROWS_A_DECADE,
        dy=1 / ROWS_A_DECADE,
        z=counts,
        zmin=0,
        zmax=max(log_ns(most), 0.3),
        customdata=told,
        hovertemplate="forks: %{customdata:,}<br>at %{x|%H:%M:%S.%L}<extra></extra>",
        name="all forks",
        colorbar={
            "title": {"text": "forks"},
            "tickvals": list(powers),
            "ticktext": [f"{10**power:,}" for power in powers],
            "thickness": 12,
            "outlinewidth": 0,
        },
    )
    return heat, [edges[0], edges[-1]]
