"""A whole dashboard: its rows, its variables, what is marked on it, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.panels import DATASOURCE, HOST, INVESTIGATE, Link, built


def board(
    uid: str,
    title: str,
    description: str,
    rows: Sequence[tuple[str, Sequence[Any]]],
    *,
    more: Sequence[Any] = (),
    link: Link = INVESTIGATE,
    folded: Sequence[str] = (),
) -> model.Dashboard:
    """Return a dashboard of rows of panels, with the variables that all have.

    ``link`` is where the corner of each panel leads; rows in ``folded`` show no more
    than their name at first.
    """
    made = (
        build.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["forktrace", "linux"])
        .readonly()
        .refresh("30s")
        .annotation(_marks("Firing alerts", "red", FIRING))
        .annotation(_marks("forktrace restarted", "blue", RESTARTED))
        .time("now-1h", "now")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(
            build.DashboardLink("forktrace")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["forktrace"])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(
            build.DatasourceVariable("datasource")
            .label("Data source")
            .type("prometheus")
        )
        .with_variable(
            chosen("job", "Job", "label_values(forktrace_build_info, job)", many=True)
        )
        .with_variable(
            chosen(
                "instance",
                "Instance",
                'label_values(forktrace_build_info{job=~"$job"}, instance)',
                many=True,
            )
        )
    )
    for variable in more:
        made = made.with_variable(variable)
    numbers = count(1)
    for name, panels in rows:
        row = build.Row(name).id(next(numbers))
        whole = [panel.id(next(numbers)).links([built(link)]) for panel in panels]
        if name in folded:
            for panel in whole:
                row = row.with_panel(panel)
            made = made.with_row(row)
            continue
        made = made.with_row(row)
        for panel in whole:
            made = made.with_panel(panel)
    return made.build()


OURS = f"on (job, instance) forktrace_build_info{{{HOST}}}"
"""What is left of ``process_*``: other programs of the same job have those too."""

FIRING = f'ALERTS{{alertname=~"Forktrace.+",alertstate="firing",{HOST}}}'
RESTARTED = (
    f"changes(process_start_time_seconds{{{HOST}}}[$__rate_interval]) > 0 and {OURS}"
)


def _marks(name: str, colour: str, expression: str) -> build.AnnotationQuery:
    return (
        build.AnnotationQuery()
        .name(name)
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(colour)
        .expr(expression)
    )


def chosen(name: str, label: str, query: str, *, many: bool) -> build.QueryVariable:
    """Return a variable whose values Prometheus knows; with ``many``, all at first."""
    variable = (
        build.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(DATASOURCE)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(many)
        .include_all(many)
    )
    if not many:
        return variable
    # Or "All" is a query that names ten thousand hosts.
    variable = variable.all_value(".+")
    everything = model.VariableOption(selected=True, text="All", value="$__all")
    return variable.current(everything)


def as_json(made: model.Dashboard) -> str:
    """Return the JSON that Grafana reads, and what grafana.com wants with it.

    Nothing is asked at import (``__inputs``): the data source is a variable.
    """
    content = json.loads(json.dumps(made, cls=JSONEncoder))
    panels = [*content["panels"]]
    for panel in content["panels"]:
        panels += panel.get("panels", [])
    kinds = sorted({panel["type"] for panel in panels} - {"row"})
    content["__inputs"] = []
    content["__requires"] = [
        {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "11.0.0"},
        {"type": "datasource", "id": "prometheus", "name": "Prometheus"},
        *({"type": "panel", "id": kind, "name": kind} for kind in kinds),
    ]
    return json.dumps(content, indent=2, sort_keys=True) + "\n"
