"""``--cow`` of trace, record and run: what a person and Prometheus are told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from forktrace.kinds import living_child
from tests.live.guest.programs import (
    Forktrace,
    growth,
    run_forktrace,
    scrape,
    wait_until,
)
from tests.live.guest.test_cow import CHILDS, PAGES, PARENTS, fork_and_write, memory

pytestmark = pytest.mark.thorough

PAGE = os.sysconf("SC_PAGE_SIZE")
PORT = 19447


def cows(text: str) -> list[dict[str, Any]]:
    records = map(json.loads, text[: text.rfind("\n") + 1].splitlines())
    return [each for each in records if each.get("type") == "cow"]


def test_trace_and_record_tell_what_it_cost(tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    ours = ("--pid", str(os.getpid()), "--cow")
    start = memory(PAGES)
    trace = Forktrace(tmp_path, "trace", "--json", "--count", "1", *ours)
    record = Forktrace(tmp_path, "record", "-o", str(recording), *ours)
    try:
        child = fork_and_write(start, PARENTS, CHILDS)
        # It ends of itself, but not before the child has.
        wait_until(trace.ended)
        assert trace.stop() == 0
        assert record.stop() == 0
    finally:
        trace.kill()
        record.kill()
    (cow,) = cows(trace.stdout.read_text())
    assert (cow["pid"], cow["parent"]) == (child, os.getpid())
    assert cow["parents"]["copied_bytes"] >= PARENTS * PAGE
    (written,) = [each for each in cow["mappings"] if each["start"] == f"{start:#x}"]
    assert written["name"] == ""
    said = run_forktrace("report", str(recording), "--json")
    report = json.loads(said.stdout)
    (group,) = report["cow"]
    assert (group["children"], group["parents_unknown"]) == (1, 0)
    assert group["parents"]["faults"] == cow["parents"]["faults"]
    text = run_forktrace("report", str(recording)).stdout
    assert "Copied on write, by mapping:" in text


def test_a_child_that_lives_on_is_not_passed_over(tmp_path: Path) -> None:
    trace = Forktrace(tmp_path, "trace", "--pid", str(os.getpid()), "--cow")
    try:
        with living_child() as child:
            wait_until(lambda: str(child) in trace.stdout.read_text())
            assert trace.stop() == 0
    finally:
        trace.kill()
    assert "What copy-on-write cost is not known for 1 child" in trace.errors()


def test_run_has_it_as_metrics(tmp_path: Path) -> None:
    run = Forktrace(tmp_path, "run", "--cow", "--listen", f"127.0.0.1:{PORT}")
    start = memory(PAGES)
    try:
        before = scrape(PORT)
        fork_and_write(start, PARENTS, CHILDS)
        after = scrape(PORT)
        assert run.stop() == 0
    finally:
        run.kill()
    grown = {
        (name, who): growth(before, after, f"forktrace_cow_{name}_total", who=who)
        for name in ("faults", "copied_bytes", "fault_seconds")
        for who in ("parent", "child")
    }
    assert grown["faults", "parent"] >= PARENTS
    assert grown["faults", "child"] >= CHILDS
    assert grown["copied_bytes", "parent"] == grown["faults", "parent"] * PAGE
    assert grown["fault_seconds", "parent"] > 0
    assert growth(before, after, "forktrace_cow_teardown_seconds_total") > 0
