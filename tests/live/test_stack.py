"""Prometheus with all rules scrapes forktrace: every query answers, and rightly.

And the daemon outlives clients that mean harm, while others fork.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from dashboards.queries import HERE
from tests.demo.machine import REPOSITORY, newest_series
from tests.lab import run_guest
from tests.lab.cache import cache_folder
from tests.stack import siege
from tests.stack.picture.answers import answered, kept, silent

# One worker, for one boot.
pytestmark = pytest.mark.xdist_group("stack")

SECONDS = 150
MAX_SERIES = 600


@pytest.fixture(scope="module")
def found() -> Any:
    """Boot once; every test looks at what that guest left behind."""
    folder = cache_folder() / "results" / "stack"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    result = run_guest(
        newest_series(),
        [sys.executable, "-m", "tests.stack.guest", str(SECONDS)],
        results=folder,
        cwd=REPOSITORY,
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


@pytest.mark.parametrize(
    "path", sorted(HERE.glob("*.json")), ids=lambda path: path.stem
)
def test_no_panel_of_a_picture_is_empty(found: Any, path: Path) -> None:
    answers = kept(cache_folder() / "results" / "stack" / "curves.json")
    assert silent(answered(json.loads(path.read_text()), answers)) == []


def test_prometheus_finds_nothing_wrong_with_a_rule(found: Any) -> None:
    assert found["rule_problems"] == []


@pytest.mark.parametrize("what", ["forks", "vmas", "page_table_bytes"])
def test_prometheus_has_what_trace_counted(found: Any, what: str) -> None:
    assert found["prometheus"][what] == found["trace"][what] > 0


def test_prometheus_has_the_time_that_trace_measured(found: Any) -> None:
    """Each has its own probes, which see each other's work as well."""
    measured = found["trace"]["copy_seconds"]
    assert found["prometheus"]["copy_seconds"] == pytest.approx(measured, rel=0.3)


def test_promtool_finds_nothing_in_the_metrics(found: Any) -> None:
    assert found["promtool"] == ""


def test_the_textfile_holds_the_same_at_the_end(found: Any) -> None:
    assert found["written"]


def test_there_are_no_more_series_than_promised(found: Any) -> None:
    assert found["series"] <= MAX_SERIES


def test_fifty_scrapers_at_once_all_have_their_answer(found: Any) -> None:
    for each in found["besieged"]:
        assert each["scrapers_answered"] == siege.SCRAPERS


def test_slow_silent_and_long_clients_keep_nobody_out(found: Any) -> None:
    for each in found["besieged"]:
        assert each["answered_meanwhile"]
        assert each["long_requests_refused"] == siege.LONG


def test_no_fork_is_missed_meanwhile(found: Any) -> None:
    for each in found["besieged"]:
        assert each["forks_counted"] == each["forks_made"] > 0


def test_the_daemons_memory_does_not_grow_with_each_siege(found: Any) -> None:
    first, second = (each["resident"] for each in found["besieged"])
    assert second - first < 2e6
    assert second < 60e6
