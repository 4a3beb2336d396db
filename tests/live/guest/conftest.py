"""What each fault promised and what was seen, kept for the table of ``make faults``.

``@pytest.mark.fault(fault, promised)`` puts a test into that table; what it passes to
``saw`` stands there as seen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

TABLE = "faults.jsonl"
_SEEN = pytest.StashKey[list[str]]()


@pytest.fixture
def saw(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say what was seen; each call adds to the line."""
    seen: list[str] = request.node.stash.setdefault(_SEEN, [])
    return seen.append


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    marker = item.get_closest_marker("fault")
    if marker and (report.when == "call" or not report.passed):
        fault, promised = marker.args
        seen = item.stash.get(_SEEN, [])
        if report.failed and call.excinfo:
            seen.append(call.excinfo.exconly().partition("\n")[0][:200])
        if report.skipped:
            seen.append("not tried")
        line = {
            "fault": fault,
            "case": item.name.partition("[")[2].rstrip("]"),
            "promised": promised,
            "seen": "; ".join(seen) or "as promised",
            "held": report.passed,
        }
        with (Path(os.environ["RESULTS"]) / TABLE).open("a") as table:
            table.write(json.dumps(line) + "\n")
    return report
