"""Rules are what promtool finds good, and each alert is explained, tested and ends."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

import pytest
import yaml

from dashboards.queries import HERE, all_rules, rules
from dashboards.settings import RUNBOOK
from forktrace.tracer.layout import BUCKET_BOUNDS_NS

ALERTS = [rule for rule in all_rules() if "alert" in rule]
RULE_TESTS = [
    case
    for path in sorted((HERE / "rules/tests").glob("*.yml"))
    for case in yaml.safe_load(path.read_text())["tests"]
]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_to_do(alert: dict[str, Any]) -> None:
    url, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert url == RUNBOOK
    _, *sections = (HERE / "RUNBOOK.md").read_text().split("\n## ")
    (text,) = (each for each in sections if each.startswith(f"{alert['alert']}\n"))
    said = re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE)
    assert said == ["Meaning", "Impact", "First"]
    assert anchor == alert["alert"].lower()
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert {"summary", "description"} <= alert["annotations"].keys()


def test_the_objective_is_a_bound_of_the_histogram_as_it_is_written_there() -> None:
    expressions = " ".join(query.expression for query in rules())
    exported_bounds = {str(bound / 1e9) for bound in BUCKET_BOUNDS_NS}
    assert set(re.findall(r'le="([^"]*)"', expressions)) <= exported_bounds


@pytest.mark.parametrize("kind", ["check", "test"])
def test_promtool_finds_the_rules_good(kind: str) -> None:
    folder = HERE / "rules" / ("tests" if kind == "test" else ".")
    files = [str(path) for path in sorted(folder.glob("*.yml"))]
    result = subprocess.run(
        ["promtool", kind, "rules", *files],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "GOGC": "400"},  # it would mostly collect garbage
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_a_test() -> None:
    names = {alert["alert"] for alert in ALERTS}
    assert names == {
        one["alertname"] for case in RULE_TESTS for one in case["alert_rule_test"]
    }


def test_every_alert_is_seen_to_come_and_to_go() -> None:
    for name in {alert["alert"] for alert in ALERTS}:
        seen = [
            [
                bool(one["exp_alerts"])
                for one in case["alert_rule_test"]
                if one["alertname"] == name
            ]
            for case in RULE_TESTS
        ]
        assert any((True, False) in zip(came, came[1:]) for came in seen), (
            f"{name} never resolves"
        )
