"""How long forks took, and how long of it they copied: how many of each length."""

from __future__ import annotations

import plotly.graph_objects as go

from forktrace.report.spread import FINE_EDGES, Bin
from forktrace.report.study import QUANTILES, Study
from forktrace.views import palette
from forktrace.views.plots.figure import Plot, length_axis, log_ns, new_figure
from forktrace.views.units import counted, duration

_NARROW_TICKS = 6


def length_plot(study: Study) -> Plot:
    """Return how many forks took how long, and how long they copied."""
    whole = study.durations.bins(FINE_EDGES)
    copied = [each for each in study.copies.bins(FINE_EDGES) if each.low]
    step = 1 / 12
    bars = go.Bar(
        name="whole fork",
        x=[round(log_ns(each.low) + step / 2, 4) for each in whole],
        y=[each.count for each in whole],
        width=step * 0.94,
        customdata=[_told(each) for each in whole],
        hovertemplate="%{customdata[0]} took %{customdata[1]} to %{customdata[2]}"
        "<extra></extra>",
        marker={"color": palette.NO_TRIGGER},
    )
    line = go.Scatter(
        name="of it copying page tables",
        x=[round(log_ns(each.low) + step / 2, 4) for each in copied],
        y=[each.count for each in copied],
        # A line needs more than one point to be seen.
        mode="lines" if len(copied) > 1 else "lines+markers",
        line={"shape": "hvh", "width": 2.2},
        customdata=[_told(each) for each in copied],
        hovertemplate="%{customdata[0]} copied for %{customdata[1]} to "
        "%{customdata[2]}<extra></extra>",
    )
    ends = [log_ns(each.low) for each in whole + copied if each.low]
    ends += [log_ns(each.high) for each in whole + copied]
    most = max(each.count for each in whole + copied)
    axis = length_axis(ends, "length of the fork")
    figure = new_figure(
        [bars, line],
        xaxis=axis,
        yaxis={
            "title": {"text": "forks"},
            "zeroline": False,
            # Above the bars there is room for the quantiles.
            "range": [0, most * 1.35],
            "tickformat": ",d",
            "automargin": True,
            # Half a fork is none.
            **({"dtick": 1} if most <= 5 else {}),
        },
        showlegend=True,
    )
    low, high = figure.layout.xaxis.range
    for position, (name, share) in enumerate(QUANTILES.items()):
        value = study.durations.quantile(share)
        beyond = (log_ns(value) - low) / (high - low) > 0.5
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
        name: {"line.color": theme.text, "marker.color": theme.text}
        for name, theme in palette.THEMES.items()
    }
    sparse = {f"xaxis.{each}": axis[each][::2] for each in ("tickvals", "ticktext")}
    narrow = sparse if len(axis["tickvals"]) > _NARROW_TICKS else {}
    return Plot(figure, {1: themed}, narrow)


def _told(each: Bin) -> list[str]:
    return [counted(each.count, "fork"), duration(each.low), duration(each.high)]
