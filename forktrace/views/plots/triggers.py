"""Why page tables were copied: a bar for the time that each trigger cost."""

from __future__ import annotations

import plotly.graph_objects as go

from forktrace.bits import ANON_VMA
from forktrace.report.study import Study
from forktrace.views import palette
from forktrace.views.plots.figure import Plot, new_figure, shown
from forktrace.views.units import counted, duration, size

_TRIGGERS = 12


def trigger_plot(study: Study) -> Plot:
    """Return the time spent copying by trigger, the dearest on top."""
    costs = [cost for cost in study.triggers if cost.copy_ns][:_TRIGGERS]
    whole = max(study.copies.sum, 1)
    both = [cost.anon_vma and cost.trigger != ANON_VMA for cost in costs]
    labels = [
        shown(cost.trigger, 32) + ("<br>(and anon_vma)" if also else "")
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
            [
                counted(cost.vmas, "VMA"),
                size(cost.page_table_bytes),
                duration(cost.copy_ns),
            ]
            for cost in costs
        ],
        hovertemplate="%{y}: %{customdata[2]}<br>%{customdata[0]}, "
        "%{customdata[1]} of page tables<extra></extra>",
        marker={
            "color": [palette.of_trigger(cost.trigger) for cost in costs],
            "pattern": {"shape": ["/" if also else "" for also in both]},
        },
    )
    dearest = max((cost.copy_ns for cost in costs), default=1) / 1e9
    figure = new_figure(
        [bars],
        # Each bar tells its length.
        xaxis={"range": [0, dearest * 1.6], "visible": False},
        yaxis={
            # Without the type, a name such as 2024 would be taken for a number.
            "type": "category",
            # From the top; a bar alone would be as high as the plot.
            "range": [max(len(costs), 4) - 0.5, -0.5],
            "automargin": True,
            "showgrid": False,
        },
        bargap=0.35,
        showlegend=False,
    )
    return Plot(figure, narrow={"xaxis.range": [0, dearest * 2.4]})
