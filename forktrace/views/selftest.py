"""The selftest as a table: one line a kind of VMA, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from forktrace.kinds import KINDS
from forktrace.selftest.judge import Finding, Report

_HEADER = ("KIND", "FLAGS", "DECISION", "TRIGGER", "SOURCE", "PAGES", "VERDICT")


def lines(report: Report) -> list[str]:
    """Return the table, what is wrong in words, and the verdict on the last line.

    FLAGS in brackets stand in the parent's VMA alone. PAGES is how many of the pages in
    the parent's page tables stand in the child's; ``-`` where they cannot tell.
    """
    rows = {finding.mapping.kind.name: _row(finding) for finding in report.findings}
    for skipped in report.skipped:
        rows[skipped.kind.name] = (
            *(skipped.kind.name, "-", "-", "-", "-", "-"),
            f"skipped ({skipped.reason})",
        )
    in_order = [rows[kind.name] for kind in KINDS if kind.name in rows]
    wrong = [
        f"FAIL {finding.mapping.kind.name}: {problem}"
        for finding in report.findings
        for problem in finding.problems
    ]
    wrong += [f"FAIL {problem}" for problem in report.problems]
    return [
        f"Linux {report.kernel}: {report.words}.",
        "",
        *_table([_HEADER, *in_order]),
        "",
        *wrong,
        _verdict(report),
    ]


def _row(finding: Finding) -> tuple[str, ...]:
    seen, pages = finding.recorded, finding.pages
    flags = ",".join(
        f"({name})" if name in finding.lost_flags else name for name in finding.flags
    )
    return (
        finding.mapping.kind.name,
        flags or "-",
        seen.decision if seen else "-",
        (seen.trigger if seen else None) or "-",
        seen.source if seen else "-",
        f"{pages.child}/{pages.parent}" if pages.parent else "-",
        "ok" if finding.ok else "FAIL",
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows))]
    return [
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths)), row[-1]])
        for row in rows
    ]


def _verdict(report: Report) -> str:
    right = sum(finding.ok for finding in report.findings)
    wrong = len(report.findings) - right
    counts = [f"{right} kinds right"]
    if wrong:
        counts.append(f"{wrong} WRONG")
    counts.append(f"{len(report.skipped)} skipped")
    if report.witness:
        counts += [
            f"{report.witnessed} VMAs witnessed by {report.witness}",
            f"{report.disagreements} disagreements",
        ]
    else:
        counts.append("no decision witnessed (rule only)")
    if report.lost:
        counts.append(f"{report.lost} lost on this host")
    return f"selftest {'passed' if report.passed else 'FAILED'}: {', '.join(counts)}"
