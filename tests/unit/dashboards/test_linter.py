"""What Grafana's dashboard-linter asks of a dashboard, rule by rule, by its names.

Left out are target-logql-rule and target-logql-auto-rule, for nothing here asks Loki,
and those that do nothing without settings (required matchers, required variables).
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.queries import HERE, LABEL_VALUES, all_panels, choices, marks, panels

PATHS = sorted(HERE.glob("*.json"))
SELECTOR = re.compile(r"\b([a-z]\w*(?::\w+)*)\{([^}]*)\}")
"""A metric, and what it is matched by."""

WHOLE_FLEET = {
    "trigger:forktrace_copy_seconds:rate5m",
    "job_le:forktrace_fork_duration_seconds_bucket:rate5m",
    "unit:forktrace_unit_forks:rate5m",
    "unit:forktrace_unit_copy_seconds:rate5m",
    "unit:forktrace_unit_page_table_bytes:rate5m",
}
"""Recorded of all hosts together, for ten thousand of them are too many to add up."""

UNITS = {"Bps", "bytes", "none", "ops", "percentunit", "s", "short", "string"}
"""Those of Grafana's that we use; what it does not know it would print as it is."""


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture
def dashboard(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text())
    return read


def test_every_metric_has_its_braces(dashboard: dict[str, Any]) -> None:
    """So that what follows sees all of them."""
    for expression in expressions(dashboard):
        for name in re.finditer(r"\b\w*(?:forktrace|process)_[\w:]*", expression):
            assert expression[name.end()] == "{", (expression, name)


def variable(dashboard: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (v for v in dashboard["templating"]["list"] if v["name"] == name)
    return dict(found)


def expressions(dashboard: dict[str, Any]) -> Iterator[str]:
    for panel in all_panels(dashboard):
        yield from (target["expr"] for target in panel.get("targets", ()))


def test_template_datasource(dashboard: dict[str, Any]) -> None:
    found = variable(dashboard, "datasource")
    assert (found["type"], found["query"]) == ("datasource", "prometheus")
    assert found["label"] == "Data source"


@pytest.mark.parametrize("name", ["job", "instance"])
def test_template_job_and_instance(dashboard: dict[str, Any], name: str) -> None:
    found = variable(dashboard, name)
    assert (found["type"], found["label"]) == ("query", name.capitalize())
    assert found["datasource"]["uid"] == "${datasource}"
    assert (found["multi"], found["includeAll"]) == (True, True)
    assert found["allValue"] == ".+"


def test_template_label_promql(dashboard: dict[str, Any]) -> None:
    """That the selector within is PromQL, promtool says in test_dashboards."""
    for each in dashboard["templating"]["list"]:
        if each["type"] == "query":
            assert LABEL_VALUES.fullmatch(each["query"]), each["name"]


def test_template_on_time_change_reload(dashboard: dict[str, Any]) -> None:
    queries = [v for v in dashboard["templating"]["list"] if v["type"] == "query"]
    assert {found["refresh"] for found in queries} == {2}


def test_panel_no_targets(dashboard: dict[str, Any]) -> None:
    for panel in all_panels(dashboard):
        assert panel["type"] == "text" or panel["targets"], panel["title"]


def test_panel_title_and_description(dashboard: dict[str, Any]) -> None:
    for panel in all_panels(dashboard):
        assert panel["title"]
        assert panel["description"]


def test_panel_datasource(dashboard: dict[str, Any]) -> None:
    for panel in all_panels(dashboard):
        asked = [panel, *panel.get("targets", ())]
        assert {each["datasource"]["uid"] for each in asked} == {"${datasource}"}


def test_panel_units(dashboard: dict[str, Any]) -> None:
    for panel in all_panels(dashboard):
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]


def test_target_job_and_instance(dashboard: dict[str, Any]) -> None:
    """Each selector of a metric has the chosen jobs, and the chosen hosts."""
    for expression in expressions(dashboard):
        for name, matchers in SELECTOR.findall(expression):
            assert 'job=~"$job"' in matchers, expression
            assert 'instance=~"$instance"' in matchers or name in WHOLE_FLEET


def test_target_promql(tmp_path: Path) -> None:
    """Of panels, of marks and of variables."""
    asked = [query.expression for query in (*panels(), *marks(), *choices())]
    rules = [{"record": f"asked:{number}", "expr": e} for number, e in enumerate(asked)]
    (tmp_path / "asked.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]})
    )
    result = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "asked.yml"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_target_rate_interval(dashboard: dict[str, Any]) -> None:
    for expression in expressions(dashboard):
        assert set(re.findall(r"\[([^]]*)\]", expression)) <= {"$__rate_interval"}


def test_target_counter_aggregation(dashboard: dict[str, Any]) -> None:
    """A counter is only asked for its rate."""
    for expression in expressions(dashboard):
        for name in re.finditer(r"\b\w+_total\{", expression):
            assert expression[: name.start()].endswith("rate("), expression


def test_uneditable(dashboard: dict[str, Any]) -> None:
    assert dashboard["editable"] is False


def test_what_grafana_com_asks_for_is_there(dashboard: dict[str, Any]) -> None:
    """Without it an import says "Old dashboard JSON format"."""
    assert dashboard["__inputs"] == []
    needed = {(each["type"], each["id"]) for each in dashboard["__requires"]}
    kinds = {("panel", panel["type"]) for panel in all_panels(dashboard)}
    assert needed == {("grafana", "grafana"), ("datasource", "prometheus"), *kinds}


def test_every_line_has_its_name(dashboard: dict[str, Any]) -> None:
    for panel in all_panels(dashboard):
        if panel["type"] == "timeseries":
            assert panel["options"]["legend"]["showLegend"], panel["title"]
            assert all(target["legendFormat"] for target in panel["targets"])


def test_time_a_second_is_a_share_of_a_processor(dashboard: dict[str, Any]) -> None:
    """And not "8 ms"."""
    for panel in all_panels(dashboard):
        said = panel["description"]
        if "percent of a CPU" in said:
            assert panel["fieldConfig"]["defaults"]["unit"] == "percentunit"
        assert "econds in a second" not in said
