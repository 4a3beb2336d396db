"""How long forks took, and how long of it they copied: how many of each length."""

from __future__ import annotations

import plotly.graph_objects as go

from forktrace.report.spread import FINE_EDGES
from forktrace.report.study import QUANTILES, Study
from forktrace.views import palette
from forktrace.views.plots.figure import Plot, length_axis, log_ns, new_figure
from forktrace.views.units import duration


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
    figure = new_figure(
        [bars, line],
        xaxis=length_axis(ends, "length"),
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
