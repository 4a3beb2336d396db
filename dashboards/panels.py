"""The kinds of panels all dashboards are made of, each with unit and description."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, groupby
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    heatmap,
    prometheus,
    stat,
    table,
    text,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heatmap_model
from grafana_foundation_sdk.models import text as text_model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.settings import OBJECTIVE_SECONDS, RUNBOOK
from forktrace import bits
from forktrace.views import palette

DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
HOST = 'job=~"$job",instance=~"$instance"'
"""Selects the hosts chosen at the top of the dashboard."""

FULL, HALF, THIRD, QUARTER = 24, 12, 8, 6
"""Widths of panels in Grafana's grid of 24 columns."""

Queries = Sequence[tuple[str, str]]
"""Pairs of (legend, expression)."""

Link = tuple[str, str]
"""What it says, and the address."""


def _link(title: str, dashboard: str, chosen: str) -> Link:
    always = "${datasource:queryparam}&${job:queryparam}"
    return title, f"/d/{dashboard}?{always}&{chosen}&${{__url_time_range}}"


INVESTIGATE = _link(
    "Investigate this host", "forktrace-investigation", "${instance:queryparam}"
)
OVERVIEW = _link("All of this host", "forktrace-overview", "${instance:queryparam}")
INVESTIGATE_ROW = _link(
    "Investigate ${__data.fields.instance}",
    "forktrace-investigation",
    "var-instance=${__data.fields.instance}",
)
INVESTIGATE_LINE = _link(
    "Investigate ${__field.labels.instance}",
    "forktrace-investigation",
    "var-instance=${__field.labels.instance}",
)
INVESTIGATE_PROCESS = _link(
    "Investigate ${__field.labels.comm}",
    "forktrace-investigation",
    "${instance:queryparam}&var-comm=${__field.labels.comm}",
)


def _common(panel: Any, title: str, description: str, width: int, height: int) -> Any:
    """Give a panel what every panel has, but for what the dashboard gives it."""
    return (
        panel.title(title)
        .description(description)
        .datasource(DATASOURCE)
        .span(width)
        .height(height)
    )


def built(link: Link) -> build.DashboardLink:
    """Return a link as the SDK wants it."""
    title, url = link
    return build.DashboardLink(title).url(url).type(model.DashboardLinkType.LINK)


def _query(expression: str, legend: str, letter: int) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expression).legend_format(legend)
    return query.datasource(DATASOURCE).ref_id(chr(ord("A") + letter))


_LOGARITHMIC = (
    common.ScaleDistributionConfig().type(common_model.ScaleDistribution.LOG).log(10)
)


def lines(
    title: str,
    description: str,
    unit: str,
    queries: Queries,
    width: int = HALF,
    *,
    stacked: bool = False,
    logarithmic: bool = False,
    link: Link | None = None,
) -> Any:
    """Return values over time; ``stacked`` where they add up to something.

    ``logarithmic`` is for values of very different size, ``link`` is where a click on
    one of the lines leads.
    """
    panel = timeseries.Panel().unit(unit).line_width(1)
    panel = panel.scale_distribution(_LOGARITHMIC) if logarithmic else panel.min(0)
    panel = panel.legend(
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(common_model.LegendDisplayMode.LIST)
        .placement(common_model.LegendPlacement.BOTTOM)
    ).tooltip(
        common.VizTooltipOptions()
        .mode(common_model.TooltipDisplayMode.MULTI)
        .sort(common_model.SortOrder.DESCENDING)
    )
    if stacked:
        stacking = common.StackingConfig().mode(common_model.StackingMode.NORMAL)
        panel = panel.fill_opacity(30).stacking(stacking)
    if link:
        panel = panel.data_links([built(link)])
    for number, (legend, expression) in enumerate(queries):
        panel = panel.with_target(_query(expression, legend, number))
    return _common(panel, title, description, width, 8)


def quantiles(
    title: str,
    description: str,
    queries: Queries,
    width: int = HALF,
    *,
    link: Link | None = None,
) -> Any:
    """Return durations on a logarithmic axis, with a line at the objective."""
    steps = [
        model.Threshold(value=None, color="transparent"),
        model.Threshold(value=OBJECTIVE_SECONDS, color="red"),
    ]
    thresholds = build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE)
    dashed = common.GraphThresholdsStyleConfig().mode(
        common_model.GraphThresholdsStyleMode.DASHED
    )
    panel = lines(title, description, "s", queries, width, logarithmic=True, link=link)
    return (
        panel.min(0.0001).thresholds(thresholds.steps(steps)).thresholds_style(dashed)
    )


UNIT_LABELS = "unit, namespace, pod, container"
UNIT = "{{unit}} {{namespace}} {{pod}} {{container}}"
"""Legend of a unit or a container: labels that do not apply are empty."""

TRIGGER = "{{trigger}} {{anon_vma}}"
"""Legend of a line by trigger, which ``by_trigger`` puts into words."""


def by_trigger(panel: Any) -> Any:
    """Name lines by trigger in words, and give each trigger its colour."""
    for pattern, words in (
        ("^anon_vma true$", "anon_vma"),
        ("^(.*) true$", "$1 (and anon_vma)"),
        ("^(.*) false$", "$1"),
    ):
        options = {"regex": pattern, "renamePattern": words}
        panel = panel.with_transformation(
            model.DataTransformerConfig(id_val="renameByRegex", options=options)
        )
    for colour, pattern in _coloured():
        fixed = {"mode": "fixed", "fixedColor": colour}
        panel = panel.override_by_regexp(
            pattern, [model.DynamicConfigValue(id_val="color", value=fixed)]
        )
    return panel


def _coloured() -> Iterator[tuple[str, str]]:
    """Yield each colour that reports use, and what names it is for."""
    flags = [bit.name for bit in sorted(bits.COPYING)]
    names = [bits.ANON_VMA, *flags, *map("+".join, combinations(flags, 2))]
    ordered = sorted(names, key=palette.of_trigger)
    for colour, same in groupby(ordered, palette.of_trigger):
        yield colour, f"/^({'|'.join(map(re.escape, same))})( |$)/"


def coloured(panel: Any, colours: Mapping[str, str]) -> Any:
    """Give lines of these names a colour that says whether they are good."""
    for name, colour in colours.items():
        fixed = {"mode": "fixed", "fixedColor": colour}
        panel = panel.override_by_name(
            name, [model.DynamicConfigValue(id_val="color", value=fixed)]
        )
    return panel


def worst(
    title: str,
    description: str,
    unit: str,
    legend: str,
    expression: str,
    *,
    link: Link | None = None,
) -> Any:
    """Return the name of the largest of many, and how large it is."""
    panel = (
        stat.Panel()
        .unit(unit)
        .color_mode(common_model.BigValueColorMode.NONE)
        .graph_mode(common_model.BigValueGraphMode.NONE)
        .text_mode(common_model.BigValueTextMode.VALUE_AND_NAME)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_query(f"topk(1, {expression} > 0)", legend, 0).instant())
        .no_value("none")
    )
    if link:
        panel = panel.data_links([built(link)])
    return _common(panel, title, description, QUARTER, 4)


def advice(title: str, description: str) -> Any:
    """Return where to go from here: the runbook, and the view of one process."""
    name, url = INVESTIGATE
    content = f"* [{name}]({url})\n* [Runbook]({RUNBOOK})\n"
    panel = text.Panel().mode(text_model.TextMode.MARKDOWN).content(content)
    return _common(panel.unit("none"), title, description, QUARTER, 4)


def figure(
    title: str,
    description: str,
    unit: str,
    expression: str,
    *,
    bad_from: float | None = None,
) -> Any:
    """Return one number, red from ``bad_from`` on."""
    steps = [model.Threshold(value=None, color="green")]
    if bad_from is not None:
        steps.append(model.Threshold(value=bad_from, color="red"))
    thresholds = build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE)
    panel = (
        stat.Panel()
        .unit(unit)
        .min(0)
        .thresholds(thresholds.steps(steps))
        .graph_mode(common_model.BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_query(expression, "", 0))
    )
    return _common(panel, title, description, QUARTER, 4)


def ranking(
    title: str,
    description: str,
    unit: str,
    legend: str,
    expression: str,
    width: int = THIRD,
    *,
    link: Link | None = None,
) -> Any:
    """Return the largest of many, as bars, largest first."""
    panel = (
        bargauge.Panel()
        .unit(unit)
        .min(0)
        .orientation(common_model.VizOrientation.HORIZONTAL)
        .display_mode(common_model.BarGaugeDisplayMode.BASIC)
        # Or a single bar fills the panel, and the last of ten does not fit in.
        .sizing(common_model.BarGaugeSizing.MANUAL)
        .min_viz_height(12)
        .max_viz_height(48)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(
            build.ThresholdsConfig()
            .mode(model.ThresholdsMode.ABSOLUTE)
            .steps([model.Threshold(value=None, color="blue")])
        )
        .with_target(_query(f"sort_desc({expression})", legend, 0).instant())
    )
    if link:
        panel = panel.data_links([built(link)])
    return _common(panel, title, description, width, 8)


def histogram(title: str, description: str, expression: str, width: int = HALF) -> Any:
    """Return a heatmap of a classic histogram's buckets over time."""
    colours = heatmap.HeatmapColorOptions().mode(heatmap_model.HeatmapColorMode.SCHEME)
    query = _query(expression, "{{le}}", 0).format(PromQueryFormat.HEATMAP)
    panel = (
        heatmap.Panel()
        .unit("short")
        .calculate(False)
        .color(colours.scheme("Oranges").steps(64))
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .with_target(query)
    )
    return _common(panel, title, description, width, 8)


def hosts(title: str, description: str, columns: Sequence[tuple[str, str, str]]) -> Any:
    """Return a table of hosts; ``columns`` are (name, unit, expression by instance).

    The first column's expression carries the labels of kernel_info. Rows are sorted by
    the second, worst first, and lead to their host.
    """
    first, *others = columns
    # Rows of two queries are merged only if no label differs: not even the name.
    nameless = [
        (name, unit, f"sum by (job, instance) ({expression})")
        for name, unit, expression in others
    ]
    title_and_url = dict(zip(("title", "url"), INVESTIGATE_ROW))
    panel = rows_of(
        [first, *nameless],
        hidden=("Time", "job"),
        order=("instance", "release", "mask"),
    )
    panel = panel.override_by_name(
        "instance", [model.DynamicConfigValue(id_val="links", value=[title_and_url])]
    ).override_by_name(
        "release", [model.DynamicConfigValue(id_val="custom.width", value=240)]
    )
    return _common(panel, title, description, FULL, 10)


def units(
    title: str, description: str, columns: Sequence[tuple[str, str, str]], width: int
) -> Any:
    """Return a table of units and containers, sorted as ``hosts`` is."""
    panel = rows_of(columns, hidden=("Time",), order=())
    return _common(panel, title, description, width, 10)


def rows_of(
    columns: Sequence[tuple[str, str, str]], hidden: Sequence[str], order: Sequence[str]
) -> Any:
    """Return a table with a column for each query, sorted by the second.

    ``order`` are the labels that come first, in turn.
    """
    # Else Grafana takes the masks and the releases for numbers.
    panel = table.Panel().unit("string")
    names = {}
    for number, (name, unit, expression) in enumerate(columns):
        query = _query(expression, "", number).instant().format(PromQueryFormat.TABLE)
        panel = panel.with_target(query)
        names[f"Value #{chr(ord('A') + number)}"] = name
        panel = panel.override_by_name(
            name, [model.DynamicConfigValue(id_val="unit", value=unit)]
        )
    organized = {
        "excludeByName": dict.fromkeys(hidden, True),
        "indexByName": {name: place for place, name in enumerate(order)},
        "renameByName": names,
    }
    for transformation, options in (("merge", {}), ("organize", organized)):
        panel = panel.with_transformation(
            model.DataTransformerConfig(id_val=transformation, options=options)
        )
    sort = common.TableSortByFieldState().display_name(columns[1][0]).desc(True)
    return panel.sort_by([sort])
