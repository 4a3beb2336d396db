"""Why page tables were copied: a bar for the time that each trigger cost."""

from __future__ import annotations

import plotly.graph_objects as go

from forktrace.bits import ANON_VMA
from forktrace.report.study import Study
from forktrace.views import palette
from forktrace.views.plots.figure import Plot, new_figure, shown
from forktrace.views.units import duration, size

_TRIGGERS = 12


def trigger_plot(study: Study) -> Plot:
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
    figure = new_figure(
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
