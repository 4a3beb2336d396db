"""The plots of a report, made with plotly: one module a plot, ``figure`` for all."""

from forktrace.views.plots.callers import callers_plot
from forktrace.views.plots.figure import Plot
from forktrace.views.plots.icicle import icicle_plot
from forktrace.views.plots.lengths import length_plot
from forktrace.views.plots.timeline import timeline_plot
from forktrace.views.plots.triggers import trigger_plot

__all__ = [
    "Plot",
    "callers_plot",
    "icicle_plot",
    "length_plot",
    "timeline_plot",
    "trigger_plot",
]
