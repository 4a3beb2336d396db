"""What a recording says beside its forks comes back as it was written."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from forktrace.model import Totals, TriggerCost, VmaCounts
from forktrace.recording.records import (
    Filters,
    Header,
    HostTotals,
    Mappings,
    Progress,
    Summary,
)
from tests.unit.exporter.samples import totals
from tests.unit.recording.samples import HEADER, HOST, MAPPINGS, PROGRESS, SUMMARY

FILTERED = replace(HEADER, filters=Filters((7, 8), ("sh\n",), ("/a b",), 5))


@pytest.mark.parametrize(
    "record", [HEADER, FILTERED, HOST, MAPPINGS, PROGRESS, SUMMARY], ids=str
)
def test_it_comes_back_from_json(
    record: Header | HostTotals | Mappings | Progress | Summary,
) -> None:
    read: dict[str, Any] = json.loads(json.dumps(record.to_json()))
    assert type(record).from_json(read) == record


def test_the_first_line_says_what_the_file_is() -> None:
    said = HEADER.to_json()
    assert list(said)[:4] == ["type", "format", "version", "schema"]
    assert said["format"] == "forktrace recording"


def test_only_what_was_lost_is_named() -> None:
    assert Progress(1, {"fork_event": 0, "copy": 2}).to_json()["lost"] == {"copy": 2}


def test_totals_keep_the_triggers_that_copied_and_add_up_the_checks() -> None:
    whole: Totals = totals()
    idle = TriggerCost("uffd_wp", False, 0, 0, 0)
    kept = HostTotals.of(replace(whole, triggers=(*whole.triggers, idle)))
    assert kept.forks == 25
    assert kept.failed == 2
    assert kept.triggers == whole.triggers
    assert kept.vmas == VmaCounts(805, 230, 46, 69)
    assert kept.checks == {"agree": 805, "disagree": 1}
