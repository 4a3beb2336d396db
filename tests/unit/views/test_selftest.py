"""The selftest's table: a line a kind, what is wrong in words, the verdict last."""

from __future__ import annotations

from forktrace.kinds import KINDS, Skipped
from forktrace.selftest.judge import Finding, Report, expect, judge
from forktrace.selftest.pages import Pages
from forktrace.views.selftest import lines
from tests.unit.selftest.samples import NAMES, RULE_7_3, SKIPPED_VMA, copied, mapping

RWP = next(kind for kind in KINDS if kind.name == "uffd_rwp")
UFFD = mapping("uffd_wp", "shared", "uffd_wp")


def finding(pages: Pages) -> Finding:
    expected = expect(UFFD, RULE_7_3, NAMES)
    return judge(UFFD, expected, [SKIPPED_VMA] * 3, pages, "branch")


def guard() -> Finding:
    guarded = mapping("maybe_guard", "maybe_guard")
    expected = expect(guarded, RULE_7_3, NAMES)
    record = copied("maybe_guard")
    return judge(guarded, expected, [record], Pages(16, 16), "branch")


def report(*findings: Finding, problems: tuple[str, ...] = ()) -> Report:
    return Report(
        *("7.3.4", "fentry", "copy if so", "branch"),
        forks=3,
        findings=findings,
        skipped=(Skipped(RWP, "Invalid argument"),),
        witnessed=301,
        disagreements=0,
        lost=0,
        problems=problems,
    )


def test_a_passing_table() -> None:
    assert lines(report(finding(Pages(16, 0)), guard())) == [
        "Linux 7.3.4: copy if so.",
        "",
        "KIND         FLAGS        DECISION  TRIGGER      SOURCE  PAGES  VERDICT",
        "maybe_guard  maybe_guard  copy      maybe_guard  branch  16/16  ok",
        "uffd_wp      (uffd_wp)    skip      -            branch  0/16   ok",
        "uffd_rwp     -            -         -            -       -      "
        "skipped (Invalid argument)",
        "",
        "selftest passed: 2 kinds right, 1 skipped, "
        "301 VMAs witnessed by branch, 0 disagreements",
    ]


def test_what_is_wrong_stands_above_the_verdict() -> None:
    told = lines(report(finding(Pages(16, 16)), problems=("2 lost at vma_event.",)))
    assert any(line.endswith("  FAIL") for line in told)
    assert told[-3].startswith("FAIL uffd_wp: the child's page tables have 16 of 16")
    assert told[-2] == "FAIL 2 lost at vma_event."
    assert told[-1].startswith("selftest FAILED: 0 kinds right, 1 WRONG, 1 skipped")
