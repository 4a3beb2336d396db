"""Dashboards and rules ask only for what is exported, and explain themselves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dashboards.queries import (
    HERE,
    Query,
    all_panels,
    all_rules,
    choices,
    marks,
    panels,
    rules,
)
from forktrace.bits import ANON_VMA
from forktrace.exporter.metrics import ForktraceCollector, new_registry
from forktrace.model import CgroupCost, ProcessCost
from forktrace.views import palette
from tests.unit.dashboards.each import of_each
from tests.unit.exporter.samples import INFO, totals
from tests.unit.exporter.watching import watched_forks

DASHBOARDS = sorted(HERE.glob("*.json"))
PANELS: list[tuple[str, dict[str, Any]]] = [
    (f"{path.stem}, {panel['title']}", panel)
    for path in DASHBOARDS
    for panel in all_panels(json.loads(path.read_text()))
]
QUERIES = [
    (query.where, query) for query in (*panels(), *marks(), *choices(), *rules())
]
NAME = re.compile(
    r"\b(?:\w+:)?(?:(?:forktrace|process)_\w+(?::\w+)?|forktrace:\w+(?::\w+)?)"
)
NOT_OURS = re.compile(r"\b(?:node_textfile_mtime_seconds|ALERTS)\{|\bvector\(")


@lru_cache(maxsize=1)
def exported() -> dict[str, set[str]]:
    """Return the labels of every series name that forktrace exports."""
    full = totals(
        (ProcessCost("sh", 1, 2, 3),), (CgroupCost(7, "a.service", "", 1, 2, 3),)
    )
    collector = ForktraceCollector(
        *(lambda: full, lambda: INFO),
        bits=("maybe_guard",),
        watched=watched_forks(["sh"]),
    )
    text = generate_latest(new_registry(collector)).decode()
    names: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


@lru_cache(maxsize=1)
def recorded() -> set[str]:
    return {rule["record"] for rule in all_rules() if "record" in rule}


def test_the_json_is_what_the_modules_make() -> None:
    command = [sys.executable, "-m", "dashboards", "--check"]
    result = subprocess.run(
        command, cwd=HERE.parent, check=False, capture_output=True, text=True
    )
    assert (result.stdout, result.returncode) == ("", 0)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_passes_through_the_sdks_own_types(path: Path) -> None:
    register_default_plugins()
    read_by_grafana_com = ("__inputs", "__requires")
    content = json.loads(path.read_text())
    given = {k: v for k, v in content.items() if k not in read_by_grafana_com}
    read = Dashboard.from_json(given)
    written = json.loads(json.dumps(read, cls=JSONEncoder))
    assert_holds(written, given)


def assert_holds(whole: Any, part: Any) -> None:
    """Reading adds defaults, and otherwise changes nothing."""
    if isinstance(part, dict):
        for key, value in part.items():
            assert_holds(whole[key], value)
    elif isinstance(part, list):
        assert len(whole) == len(part)
        for left, right in zip(whole, part):
            assert_holds(left, right)
    else:
        assert whole == part


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_data_source_job_and_host_are_variables(path: Path) -> None:
    variables = json.loads(path.read_text())["templating"]["list"]
    names = [variable["name"] for variable in variables]
    assert names[:3] == ["datasource", "job", "instance"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_panel_covers_another_and_each_has_its_number(path: Path) -> None:
    made = json.loads(path.read_text())["panels"]
    numbers = [panel["id"] for panel in made]
    assert numbers == sorted(set(numbers))
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in made):
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + x, place["y"] + y)
            for x in range(place["w"])
            for y in range(place["h"])
        }
        assert not cells & taken
        taken |= cells


@of_each(PANELS)
def test_a_tables_queries_merge_into_one_row_each(panel: dict[str, Any]) -> None:
    """Grafana merges two rows only where no label of the same name differs."""
    if panel["type"] == "table" and panel["title"].startswith("Units"):
        sums = {target["expr"].partition(" (")[0] for target in panel["targets"]}
        assert sums == {"sum by"}
        groups = {target["expr"].split("(")[1] for target in panel["targets"]}
        assert groups == {"unit, namespace, container) "}
    elif panel["type"] == "table":
        first, *others = (target["expr"] for target in panel["targets"])
        assert " * on (job, instance) group_left " in first, "which drops the name"
        assert all(other.startswith("sum by (job, instance) (") for other in others)


@of_each(PANELS)
def test_a_table_takes_no_label_for_a_number(panel: dict[str, Any]) -> None:
    """As Grafana does with "0x1400" and "6.10" where the unit is one of numbers."""
    if panel["type"] == "table":
        assert panel["fieldConfig"]["defaults"]["unit"] == "string"
        units = {
            override["matcher"]["options"]: each["value"]
            for override in panel["fieldConfig"]["overrides"]
            for each in override["properties"]
            if each["id"] == "unit"
        }
        _, organized = panel["transformations"]
        assert units.keys() == set(organized["options"]["renameByName"].values())


@of_each(PANELS)
def test_a_trigger_has_the_colour_that_reports_give_it(panel: dict[str, Any]) -> None:
    if not panel["title"].endswith("by trigger"):
        return
    overrides = panel["fieldConfig"]["overrides"]
    for name in (ANON_VMA, "uffd_wp", "pfnmap+mixedmap"):
        for shown in (name, f"{name} (and anon_vma)"):
            (colour,) = (
                each["properties"][0]["value"]["fixedColor"]
                for each in overrides
                if re.search(each["matcher"]["options"].strip("/"), shown)
            )
            assert colour == palette.of_trigger(name)


@of_each(PANELS)
def test_a_failed_fork_is_red(panel: dict[str, Any]) -> None:
    if any(t["legendFormat"] == "{{outcome}}" for t in panel.get("targets", ())):
        colours = {
            each["matcher"]["options"]: each["properties"][0]["value"]["fixedColor"]
            for each in panel["fieldConfig"]["overrides"]
        }
        assert colours == {"ok": "green", "failed": "red"}


@of_each(PANELS)
def test_links_lead_to_dashboards_that_exist(panel: dict[str, Any]) -> None:
    overrides = panel["fieldConfig"]["overrides"]
    more = [each["value"] for one in overrides for each in one["properties"]]
    links = [*panel["links"], *panel["fieldConfig"]["defaults"].get("links", [])]
    links += [link for value in more if isinstance(value, list) for link in value]
    known = {path.stem for path in DASHBOARDS}
    assert {link["url"].split("?")[0].split("/")[2] for link in links} <= known


@of_each(PANELS)
def test_a_panel_has_description_unit_link_and_the_chosen_data_source(
    panel: dict[str, Any],
) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["links"]
    sources = [panel, *panel.get("targets", ())]
    assert {source["datasource"]["uid"] for source in sources} == {"${datasource}"}


@of_each(PANELS)
def test_a_panels_rates_fit_the_scrape_interval(panel: dict[str, Any]) -> None:
    for target in panel.get("targets", ()):
        ranges = re.findall(r"rate\([^[]*\[([^]]*)\]", target["expr"])
        assert set(ranges) <= {"$__rate_interval"}


@of_each(QUERIES)
def test_a_query_asks_for_what_exists(query: Query) -> None:
    names = set(NAME.findall(query.expression))
    assert names or NOT_OURS.search(query.expression)
    assert names <= exported().keys() | recorded()


@of_each(QUERIES)
def test_a_query_sorts_by_labels_that_exist(query: Query) -> None:
    known = {"job", "instance", "le"}.union(*exported().values())
    for group in re.findall(r"\b(?:by|on|group_left) ?\(([^)]*)\)", query.expression):
        assert {label.strip() for label in group.split(",")} <= known


@of_each(QUERIES)
def test_a_query_matches_by_labels_that_its_metric_has(query: Query) -> None:
    """What rules record has their labels; two metrics are not ours."""
    theirs = {
        "ALERTS": {"alertname", "alertstate"},
        "node_textfile_mtime_seconds": {"file"},
    }
    for name, matchers in re.findall(r"\b([\w:]+)\{([^}]*)\}", query.expression):
        known = {"job", "instance"} | theirs.get(name, exported().get(name, set()))
        assert set(re.findall(r"(\w+)(?:=|!)", matchers)) <= known, (name, matchers)


@of_each(PANELS)
def test_a_legend_names_labels_that_the_answer_has(panel: dict[str, Any]) -> None:
    for target in panel.get("targets", ()):
        kept = re.findall(r"\bby \(([^)]*)\)", target["expr"])
        labels = {label.strip() for group in kept for label in group.split(",")}
        labels |= set() if kept else {"instance"}
        wanted = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
        assert wanted <= labels, target
