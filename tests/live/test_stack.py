"""Prometheus with all rules scrapes forktrace: every query answers, and rightly."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import pytest

from tests.demo.machine import REPOSITORY, newest_series
from tests.lab import Machine, run_guest

# One worker, for one boot.
pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("stack")]

SECONDS = 100


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Boot once; every test looks at what that guest left behind."""
    folder = tmp_path_factory.mktemp("stack")
    result = run_guest(
        newest_series(),
        [sys.executable, "-m", "tests.stack.guest", str(SECONDS)],
        results=folder,
        cwd=REPOSITORY,
        machine=Machine(timeout=600),
        stream=sys.stdout.buffer,
    )
    assert result.status == 0, result.output
    return json.loads((folder / "stack.json").read_text())


def test_every_query_of_every_panel_and_rule_returns_data(found: Any) -> None:
    silent = [answer for answer in found["answers"] if not answer.get("values")]
    assert silent == []


def test_no_answer_is_only_nothing_divided_by_nothing(found: Any) -> None:
    for answer in found["answers"]:
        assert not all(math.isnan(value) for value in answer["values"]), answer


def test_prometheus_finds_nothing_wrong_with_a_rule(found: Any) -> None:
    assert found["rule_problems"] == []


@pytest.mark.parametrize("what", ["forks", "vmas", "page_table_bytes"])
def test_prometheus_has_what_trace_counted(found: Any, what: str) -> None:
    assert found["prometheus"][what] == found["trace"][what] > 0


def test_prometheus_has_the_time_that_trace_measured(found: Any) -> None:
    """Each has its own probes, which see each other's work as well."""
    measured = found["trace"]["copy_seconds"]
    assert found["prometheus"]["copy_seconds"] == pytest.approx(measured, rel=0.3)
