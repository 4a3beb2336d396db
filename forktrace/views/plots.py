"""The plots of a report, made with plotly: what to draw, and its colours by theme.

Plotly takes what looks like HTML in a text for markup, so every name from a recording
goes through ``shown``.
"""

from __future__ import annotations

import html
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from forktrace.model import ANON_VMA
from forktrace.report.aggregate import ANONYMOUS
from forktrace.report.spread import FINE_EDGES
from forktrace.report.study import QUANTILES, Group, Point, Share, Study
from forktrace.report.timeline import COLUMNS, ROWS_A_DECADE
from forktrace.text import printable
from forktrace.views import palette
from forktrace.views.report import fitting, group_label, named
from forktrace.views.units import duration, size

_PROCESSES = 12
_MAPPINGS = 8
_TRIGGERS = 12
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"

_Paths = dict[str, Any]


@dataclass(frozen=True)
class Plot:
    """A figure, and what each theme changes in it, by path.

    ``traces`` has what changes in a trace, by its number and then by theme.
    """

    figure: go.Figure
    traces: Mapping[int, Mapping[str, _Paths]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what draw.js takes."""
        drawn = json.loads(self.figure.to_json())
        themes = {
            name: {
                "layout": _layout(theme),
                "data": {number: paths[name] for number, paths in self.traces.items()},
            }
            for name, theme in palette.THEMES.items()
        }
        return {"data": drawn["data"], "layout": drawn["layout"], "themes": themes}


def shown(name: str, room: int = 60) -> str:
    """Return a name from a recording as plotly shows it letter by letter."""
    return html.escape(fitting(named(name), room))


def _layout(theme: palette.Theme) -> _Paths:
    paths: _Paths = {
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


def _figure(traces: Iterable[Any], **layout: Any) -> go.Figure:
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


def _length_axis(values: Sequence[float], title: str) -> dict[str, Any]:
    """Return an axis of logarithms of nanoseconds, with units at its ticks."""
    low, high = min(values, default=3.0), max(values, default=9.0)
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


def log_ns(value: float) -> float:
    """Return the place of a duration on an axis of lengths."""
    return math.log10(max(value, 1))


# -- when ---------------------------------------------------------------------


def timeline(study: Study) -> Plot:
    """Return every fork as a point, or counts with the longest as points.

    Points are there twice, by trigger and by process, as their ``meta`` says; draw.js
    shows the ones that are asked for.
    """
    traces: list[Any] = []
    themed: dict[int, dict[str, _Paths]] = {}
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
    figure = _figure(
        traces,
        xaxis={
            "title": {"text": "seconds since the recording began"},
            "zeroline": False,
            "rangemode": "tozero",
        },
        yaxis=_length_axis(heights, "length of the fork"),
        hovermode="closest",
        showlegend=True,
    )
    return Plot(figure, themed)


def _by_trigger(study: Study) -> list[Any]:
    groups: dict[str, list[Point]] = defaultdict(list)
    for point in study.points:
        groups[point.trigger].append(point)
    # What comes last is drawn on top, and rare triggers are looked for.
    order = sorted(groups, key=lambda name: -len(groups[name]))
    return [
        _points(
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
    drawn = [_points("process", "others", palette.NO_TRIGGER, others)] if others else []
    return drawn + [
        _points("process", shown(name), colour, groups[name])
        for name, colour in colours.items()
        if name in groups
    ]


def _points(by: str, name: str, colour: str, points: Sequence[Point]) -> Any:
    return go.Scatter(
        name=name,
        meta=by,
        mode="markers",
        x=[round(point.since_ns / 1e9, 6) for point in points],
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
        hovertemplate="%{customdata[0]} at %{x:.3f} s<br>%{customdata[1]}, of it "
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
        x0=step / 2e9,
        dx=step / 1e9,
        y0=(lowest + 0.5) / ROWS_A_DECADE,
        dy=1 / ROWS_A_DECADE,
        z=counts,
        zmin=0,
        zmax=max(log_ns(most), 0.3),
        customdata=told,
        hovertemplate="%{customdata} forks<br>at %{x:.2f} s<extra></extra>",
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


# -- why ----------------------------------------------------------------------


def triggers(study: Study) -> Plot:
    """Return the time spent copying by trigger, the dearest on top."""
    costs = [cost for cost in study.triggers if cost.copy_ns][:_TRIGGERS]
    whole = max(study.copies.sum, 1)
    both = [cost.anon_vma and cost.trigger != ANON_VMA for cost in costs]
    labels = [
        shown(cost.trigger) + (" (and anon_vma)" if also else "")
        for cost, also in zip(costs, both)
    ]
    bars = go.Bar(
        orientation="h",
        y=labels,
        x=[cost.copy_ns / 1e9 for cost in costs],
        text=[
            f" {duration(cost.copy_ns)}, {cost.copy_ns / whole:.1%}" for cost in costs
        ],
        textposition="outside",
        cliponaxis=False,
        customdata=[
            [f"{cost.vmas:,}", size(cost.page_table_bytes), duration(cost.copy_ns)]
            for cost in costs
        ],
        hovertemplate="%{y}: %{customdata[2]}<br>%{customdata[0]} VMAs, "
        "%{customdata[1]} of page tables<extra></extra>",
        marker={
            "color": [palette.of_trigger(cost.trigger) for cost in costs],
            "pattern": {"shape": ["/" if also else "" for also in both]},
        },
    )
    dearest = max((cost.copy_ns for cost in costs), default=1) / 1e9
    figure = _figure(
        [bars],
        xaxis={
            "title": {"text": "seconds inside copy_page_range"},
            "range": [0, dearest * 1.6],
            "zeroline": False,
        },
        # Without the type, a name such as 2024 would be taken for a number.
        yaxis={"type": "category", "autorange": "reversed", "automargin": True},
        bargap=0.35,
        showlegend=False,
    )
    return Plot(figure)


def lengths(study: Study) -> Plot:
    """Return how many forks took how long, and how long they copied."""
    whole = study.durations.bins(FINE_EDGES)
    copied = [each for each in study.copies.bins(FINE_EDGES) if each.low]
    step = 1 / 12
    bars = go.Bar(
        name="whole fork",
        x=[round(log_ns(each.low) + step / 2, 4) for each in whole],
        y=[each.count for each in whole],
        width=step * 0.94,
        customdata=[[duration(each.low), duration(each.high)] for each in whole],
        hovertemplate="%{y:,} forks took %{customdata[0]} to %{customdata[1]}"
        "<extra></extra>",
        marker={"color": palette.NO_TRIGGER},
    )
    line = go.Scatter(
        name="of it copying page tables",
        x=[round(log_ns(each.low) + step / 2, 4) for each in copied],
        y=[each.count for each in copied],
        mode="lines",
        line={"shape": "hvh", "width": 2.2},
        customdata=[[duration(each.low), duration(each.high)] for each in copied],
        hovertemplate="%{y:,} forks copied for %{customdata[0]} to %{customdata[1]}"
        "<extra></extra>",
    )
    ends = [log_ns(each.low) for each in whole + copied if each.low]
    ends += [log_ns(each.high) for each in whole + copied]
    figure = _figure(
        [bars, line],
        xaxis=_length_axis(ends, "length"),
        yaxis={"title": {"text": "forks"}, "zeroline": False, "rangemode": "tozero"},
        showlegend=True,
    )
    low, high = figure.layout.xaxis.range
    for position, (name, share) in enumerate(QUANTILES.items()):
        value = study.durations.quantile(share)
        beyond = (log_ns(value) - low) / (high - low) > 0.7
        figure.add_vline(
            x=log_ns(value),
            line={"width": 1.2, "dash": "dot", "color": palette.NO_TRIGGER},
            annotation={
                "text": f"{name} {duration(value)}",
                # One below the other, because they may lie close together.
                "y": 1 - 0.08 * position,
                "yanchor": "top",
                "xanchor": "right" if beyond else "left",
                "font": {"size": 12},
            },
        )
    themed = {
        name: {"line.color": theme.text} for name, theme in palette.THEMES.items()
    }
    return Plot(figure, {1: themed})


# -- who, why and where ---------------------------------------------------------


@dataclass
class _Tree:
    """Nodes of an icicle: every list has one entry a node."""

    ids: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    # None: a neutral colour, which depends on the theme.
    colours: list[str | None] = field(default_factory=list)

    def add(
        self, parent: str, label: str, value: int, colour: str | None, note: str = ""
    ) -> str:
        """Add a node and return its id."""
        made = str(len(self.ids))
        self.ids.append(made)
        self.labels.append(label)
        self.parents.append(parent)
        self.values.append(value)
        self.told.append(duration(value) + note)
        self.colours.append(colour)
        return made


def icicle(study: Study) -> Plot:
    """Return whose copying took how long, by which trigger, in which mapping."""
    tree = _Tree()
    root = tree.add("", "all copying", study.copies.sum, None)
    shares: dict[tuple[str, str], list[Share]] = defaultdict(list)
    for share in study.shares:
        shares[share.comm, share.trigger].append(share)
    for group in study.processes[:_PROCESSES]:
        if group.copy_ns:
            _add_process(tree, root, group, shares)
    rest = study.processes[_PROCESSES:]
    if copied := sum(group.copy_ns for group in rest):
        names = sum(group.names for group in rest)
        tree.add(root, f"{names:,} more names", copied, None)
    figure = _figure(
        [
            go.Icicle(
                ids=tree.ids,
                labels=tree.labels,
                parents=tree.parents,
                values=tree.values,
                customdata=tree.told,
                branchvalues="total",
                sort=False,
                tiling={"orientation": "h", "pad": 2},
                leaf={"opacity": 1},
                texttemplate="%{label}<br>%{customdata}",
                hovertemplate="%{label}<br>%{customdata}, %{percentRoot:.1%} of all"
                "<extra></extra>",
                pathbar={"visible": False},
                maxdepth=4,
            )
        ]
    )
    figure.update_layout(
        margin={"l": 4, "r": 4, "t": 8, "b": 8},
        # What cannot be read is better left out.
        uniformtext={"minsize": 10, "mode": "hide"},
    )
    themed = {
        name: {
            "marker.colors": [colour or theme.raised for colour in tree.colours],
            "marker.line.color": theme.area,
            "textfont.color": [
                theme.text if colour is None else palette.ON_COLOUR
                for colour in tree.colours
            ],
        }
        for name, theme in palette.THEMES.items()
    }
    return Plot(figure, {0: themed})


def _add_process(
    tree: _Tree,
    root: str,
    group: Group,
    shares: Mapping[tuple[str, str], Sequence[Share]],
) -> None:
    count = f", {group.forks:,} forks"
    process = tree.add(
        root, html.escape(group_label(group)), group.copy_ns, None, count
    )
    for name, copy_ns in group.triggers.items():
        if not copy_ns:
            continue
        colour = palette.of_trigger(name)
        trigger = tree.add(process, shown(name), copy_ns, colour)
        _add_mappings(
            tree, trigger, copy_ns, colour, shares.get((group.name, name), ())
        )


def _add_mappings(
    tree: _Tree, trigger: str, copy_ns: int, colour: str, shares: Sequence[Share]
) -> None:
    """Divide a trigger's cost as it was divided in the forks whose VMAs were kept."""
    whole = sum(share.copy_ns for share in shares)
    if not whole:
        return
    left = copy_ns
    for share in shares[:_MAPPINGS]:
        # Rounded down, or the parts could exceed the whole, which plotly refuses.
        part = copy_ns * share.copy_ns // whole
        left -= part
        if part:
            tree.add(trigger, mapping_label(share.mapping), part, colour)
    if len(shares) > _MAPPINGS and left > 0:
        count = len(shares) - _MAPPINGS
        tree.add(trigger, f"{count} more mappings", left, colour)


def mapping_label(name: str) -> str:
    """Return the end of a mapping's name, which tells most."""
    if name == ANONYMOUS:
        return "anonymous memory"
    return html.escape(fitting(printable(name), 40))
