"""The selftest passes only when rule, record and page tables say the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from forktrace.kernel.fork import Fate
from forktrace.kernel.rule import Rule
from forktrace.kinds import Mapping
from forktrace.model import Vma
from forktrace.selftest.judge import Finding, Report, expect, judge, overall
from forktrace.selftest.pages import Pages
from tests.unit.selftest.samples import (
    NAMES,
    RULE_6_19_RC1,
    RULE_7_3,
    SKIPPED_VMA,
    copied,
    fork,
    mapping,
    totals,
)

SHMEM = mapping("shmem", "read", "write", "shared")
GUARD = mapping("maybe_guard", "shared", "maybe_guard")
UFFD = mapping("uffd_wp", "shared", "uffd_wp")
UFFD_EVENT = mapping("uffd_wp_event_fork", "shared", "uffd_wp", fork_event=True)


def found(
    subject: Mapping = SHMEM,
    *records: Any,
    rule: Rule = RULE_7_3,
    pages: Pages | None = None,
    witness: Any = "branch",
) -> Finding:
    expected = expect(subject, rule, NAMES)
    return judge(subject, expected, records, pages or Pages(), witness)


def report(*findings: Finding, problems: tuple[str, ...] = ()) -> Report:
    return Report(
        *("7.3.4", "fentry", "copy if so", "branch"),
        forks=3,
        findings=findings,
        skipped=(),
        witnessed=300,
        disagreements=0,
        lost=0,
        problems=problems,
    )


@pytest.mark.parametrize(
    ("subject", "rule", "expected"),
    [
        (SHMEM, RULE_7_3, Fate("skip")),
        (mapping("anon", anon_vma=True), RULE_7_3, Fate("copy", "anon_vma")),
        (GUARD, RULE_7_3, Fate("copy", "maybe_guard")),
        (UFFD, RULE_7_3, Fate("skip")),
        (UFFD, RULE_6_19_RC1, Fate("copy", "uffd_wp")),
        (UFFD_EVENT, RULE_7_3, Fate("copy", "uffd_wp")),
        (
            mapping("vvar", "mixedmap", "pfnmap"),
            RULE_7_3,
            Fate("copy", "pfnmap+mixedmap"),
        ),
        (
            mapping("dontfork", "dontcopy", anon_vma=True),
            RULE_7_3,
            Fate("dontcopy"),
        ),
        (
            mapping("wipeonfork", "wipeonfork", anon_vma=True),
            RULE_7_3,
            Fate("wipeonfork"),
        ),
    ],
    ids=lambda value: getattr(getattr(value, "kind", None), "name", None),
)
def test_the_rule_is_applied_to_the_flags_of_the_vma_it_asks(
    subject: Mapping, rule: Rule, expected: Fate
) -> None:
    assert expect(subject, rule, NAMES) == expected


def test_all_is_well_when_record_rule_and_page_tables_agree() -> None:
    assert found(SHMEM, SKIPPED_VMA, SKIPPED_VMA, pages=Pages(16, 0)).ok
    assert found(GUARD, copied("maybe_guard"), pages=Pages(16, 16)).ok


def test_page_tables_that_cannot_tell_are_no_complaint() -> None:
    assert found(SHMEM, SKIPPED_VMA, pages=Pages(0, 0)).ok
    assert found(GUARD, copied("maybe_guard"), pages=Pages(0, 0)).ok


@pytest.mark.parametrize(
    ("finding", "problem"),
    [
        (found(SHMEM, copied("maybe_guard")), "recorded copy by maybe_guard"),
        (found(GUARD, copied("anon_vma")), "recorded copy by anon_vma"),
        (found(GUARD, SKIPPED_VMA), "recorded skip"),
        (found(SHMEM, copied("pfnmap"), SKIPPED_VMA), "recorded copy by pfnmap"),
        (found(SHMEM, SKIPPED_VMA, None), "recorded in only 1 of 2 forks"),
        (found(SHMEM), "recorded in only 0 of 0 forks"),
        (found(SHMEM, SKIPPED_VMA, pages=Pages(16, 16)), "have 16 of 16 pages"),
        (
            found(GUARD, copied("maybe_guard"), pages=Pages(16, 0)),
            "have 0 of 16 pages",
        ),
        (
            found(SHMEM, replace(SKIPPED_VMA, source="rule")),
            "decided by rule in a fork that branch watched",
        ),
    ],
)
def test_each_contradiction_fails(finding: Finding, problem: str) -> None:
    assert not finding.ok
    assert problem in finding.problems[0]
    told = report(finding)
    assert not told.passed
    assert told.to_json()["kinds"][0]["verdict"] == "fail"
    assert problem in told.to_json()["kinds"][0]["reason"]


def test_without_a_witness_the_rule_may_decide() -> None:
    by_rule: Vma = replace(SKIPPED_VMA, source="rule")
    assert found(SHMEM, by_rule, witness=None).ok


def test_what_no_probe_meets_needs_no_witness() -> None:
    from_smaps: Vma = replace(SKIPPED_VMA, source="rule", decision="dontcopy")
    assert found(mapping("dontfork", "dontcopy"), from_smaps, pages=Pages(16, 0)).ok


def test_flags_that_the_childs_vma_did_not_keep_are_named() -> None:
    assert found(UFFD, SKIPPED_VMA).lost_flags == ("uffd_wp",)
    assert found(UFFD_EVENT, copied("uffd_wp")).lost_flags == ()
    assert found(mapping("dontfork", "dontcopy")).lost_flags == ()


def test_what_other_processes_lost_is_not_our_problem() -> None:
    lost = totals(lost={"fork_entry": 3, "copy": 1})
    assert overall([fork()], [8], 8192, lost, None) == ()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"forks": [fork()]}, "1 of 2 forks were recorded"),
        ({"forks": [fork(), fork(outcome="failed")]}, "forks were recorded"),
        ({"forks": [fork(), fork(20480)]}, "20480 bytes"),
        ({"disagreement": "The kernel skipped it."}, "The kernel skipped it."),
        ({"totals": totals(lost={"vma_event": 2})}, "2 lost at vma_event."),
    ],
    ids=["missing", "failed", "tables", "disagreement", "lost"],
)
def test_what_belongs_to_no_vma_fails_too(
    changes: dict[str, Any], problem: str
) -> None:
    usual: dict[str, Any] = {
        "forks": [fork(), fork(8192)],
        "children": (8, 9),
        "page_table_bytes": 16384,
        "totals": totals(),
        "disagreement": None,
    }
    assert overall(**usual) == ()
    (said,) = overall(**{**usual, **changes})
    assert problem in said
    good = found(SHMEM, SKIPPED_VMA)
    assert report(good).passed
    assert not report(good, problems=(said,)).passed


def test_a_selftest_of_nothing_does_not_pass() -> None:
    assert not report().passed
