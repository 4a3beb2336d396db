"""A correction that comes late makes no counter fall."""

from __future__ import annotations

from dataclasses import replace

from forktrace.model import Source, VmaCounts
from forktrace.tracer.layout import Layout
from forktrace.tracer.maps import totals_of
from forktrace.tracer.most import Most
from tests.unit.tracer.test_maps import NAMING


def test_what_was_counted_as_lost_stays_counted() -> None:
    totals = totals_of(Layout(3).KernelTotals(), NAMING)
    most = Most()
    counted = [
        most.of(replace(totals, lost={"copy": count})).lost["copy"]
        for count in (500, 501, 500, 502)
    ]
    assert counted == [500, 501, 501, 502]


def test_wipeonfork_does_not_fall_when_a_missed_copy_is_noticed() -> None:
    totals = totals_of(Layout(3).KernelTotals(), NAMING)
    most = Most()
    counted = [
        most.of(replace(totals, vmas=VmaCounts(wipeonfork=count))).vmas.wipeonfork
        for count in (10, 5, 11)
    ]
    assert counted == [10, 10, 11]


def test_so_do_disagreements() -> None:
    totals = totals_of(Layout(3).KernelTotals(), NAMING)
    most = Most()
    key: tuple[Source, str] = ("branch", "disagree")
    counted = [
        most.of(replace(totals, decision_checks={key: count})).decision_checks[key]
        for count in (1, 0)
    ]
    assert counted == [1, 1]
