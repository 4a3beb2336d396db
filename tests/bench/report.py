"""What was measured, as text of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.bench.figures import (
    BIG,
    COPIED,
    FLOORS,
    HALF,
    TRACERS,
    WAYS,
    WITH_OPTIONS,
    Check,
    Forks,
    added_to_write,
    plain_write,
)

COW = WITH_OPTIONS[-1]


def lines(results: Mapping[str, Any], checks: list[Check]) -> Iterator[str]:
    """Yield the report, line by line."""
    forks = Forks(results["forks"])
    yield from _per_vma(results, forks)
    yield ""
    yield from _growth(forks)
    yield ""
    yield from _starts(results)
    yield ""
    yield from _budgets(checks)


def _per_vma(results: Mapping[str, Any], forks: Forks) -> Iterator[str]:
    yield f"Linux {results['release']}: instructions that tracing adds to a fork"
    yield ""
    yield f"{'':18}{'a VMA of one page':>23}{'a fork':>10}{'20 of 2,000 pages':>22}"
    yield (
        f"{'':18}{'copied':>9}{'half skipped':>14}{'without':>10}"
        f"{'a fork':>13}{'of it':>9}"
    )
    plain, half = forks.plain_line(COPIED), forks.plain_line(HALF)
    yield (
        f"{'the fork itself':18}{plain.slope:9,.0f}{half.slope:14,.0f}"
        f"{plain.start:10,.0f}{forks.plain(BIG):13,}"
    )
    for name in (*TRACERS, *WITH_OPTIONS, *FLOORS):
        line = forks.line(name)
        yield (
            f"{name:18}{line.slope:9,.0f}{forks.line(name, HALF).slope:14,.0f}"
            f"{line.start:10,.0f}"
            f"{forks.added(name, BIG):13,}{forks.part_of_big(name):9.2%}"
        )
    for way in WAYS:
        copied, skipped = (
            forks.line(f"bpftrace {way}", works).slope
            / forks.line(f"forktrace {way}", works).slope
            for works in (COPIED, HALF)
        )
        yield f"{f'ratio, {way}':18}{f'1/{copied:.1f}':>9}{f'1/{skipped:.1f}':>14}"
    yield ""
    writes = results["writes"]
    alone, added = plain_write(writes), added_to_write(writes, COW)
    yield f"A write fault after a fork takes {alone:,.0f}; {COW} adds {added:,.0f}."
    yield f"Untraced forks changed by {forks.noise():.0f} a VMA between start and end."


def _growth(forks: Forks) -> Iterator[str]:
    yield (
        f"{'Added, by VMAs':18}"
        + "".join(f"{w.name:>12}" for w in COPIED)
        + (f"{'off a line':>12}")
    )
    for name in TRACERS:
        added = "".join(f"{forks.added(name, work):12,}" for work in COPIED)
        yield f"{name:18}{added}{forks.line(name).bend:12.2%}"


def _starts(results: Mapping[str, Any]) -> Iterator[str]:
    yield f"{'Start, natively':18}{'seconds':>9}{'of CPU':>9}"
    for name, start in results["start"].items():
        seconds, cpu = start["seconds"], start["cpu_seconds"]
        yield f"{name:18}{seconds:9.2f}{cpu:9.2f}  {start['words']}"
    scrape = results["scrape"]
    seconds, cpu = scrape["seconds"], scrape["cpu_seconds"]
    yield f"{'a scrape of all':18}{seconds:9.4f}{cpu:9.4f}  99 of 100 take less"
    yield f"{'Start, in guest':18}{'10^9 ns':>9}{'MB':>9}"
    for way in WAYS:
        daemon = results["daemon"][way]
        start, resident = daemon["start_ns"] / 1e9, daemon["rss_bytes"] / 1e6
        yield f"{f'run {way}':18}{start:9.2f}{resident:9.1f}"
    for name in TRACERS:
        yield f"{name:18}{results['tracers'][name]['start_ns'] / 1e9:9.2f}"


def _budgets(checks: list[Check]) -> Iterator[str]:
    yield f"{'Budget':44}{'found':>12}{'at most':>12}"
    for check in checks:
        found, most = check.form.format(check.found), check.form.format(check.most)
        verdict = "" if check.holds else "  BROKEN"
        yield f"{check.name:44}{found:>12}{most:>12}{verdict}"
