"""Measured to what a person wants to see: sections of lines, 80 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from forktrace.views.lines import trigger_table
from forktrace.views.units import duration, size
from tests.demo.measured import SERVER, TOLERANCE, Measured, difference
from tests.demo.scrape import process_forks, trigger_costs

WIDTH = 80


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    lines: tuple[str, ...]


def sections(measured: Measured) -> Iterator[Section]:
    """Yield the whole report, the most wanted first."""
    data = size(measured.data_bytes)
    yield Section(
        f"What fork copied in {len(measured.saves)} BGSAVEs of {data}, and why",
        tuple(trigger_table(trigger_costs(measured.metrics))),
    )
    yield Section(
        "How long each fork took, beside Redis's own latest_fork_usec",
        tuple(_fork_table(measured)),
    )
    yield Section(
        "The kernel's rule, and how its forks were traced",
        (*_wrapped(f"{measured.rule}."), *_wrapped(f"On {measured.tracing}")),
    )
    yield _verdict(measured)


def next_steps(url: str) -> Section:
    """Return where to go from here; ``url`` is where metrics are served."""
    return Section(
        "Next, on a host whose kernel has kprobes",
        (
            f"  {'sudo forktrace':<29}live table, {url}",
            f"  {'sudo forktrace trace --vmas':<29}each fork, VMA by VMA",
            f"  {'sudo forktrace doctor':<29}can it be traced, and its kernel's rule",
        ),
    )


def _fork_table(measured: Measured) -> Iterator[str]:
    yield _row("BGSAVE", "FORK", "COPYING", "TABLES", "REDIS SAYS", "APART")
    pairs = list(measured.pairs())
    for number, (fork, saved) in enumerate(pairs, start=1):
        yield _row(
            str(number),
            duration(fork["duration_ns"]),
            duration(fork["copy_ns"]),
            size(fork["page_table_bytes"]),
            duration(saved.fork_ns),
            f"{difference(fork, saved):.1%}",
        )
    if not pairs:
        return
    for name, of in (("median", median), ("max", max)):
        yield _row(
            name,
            duration(of([fork["duration_ns"] for fork, _ in pairs])),
            duration(of([fork["copy_ns"] for fork, _ in pairs])),
            size(of([fork["page_table_bytes"] for fork, _ in pairs])),
            duration(of([saved.fork_ns for _, saved in pairs])),
            f"{of([difference(fork, saved) for fork, saved in pairs]):.1%}",
        )


def _row(name: str, *cells: str) -> str:
    widths = (12, 12, 12, 14, 10)
    return f"  {name:<8}" + "".join(f"{c:>{w}}" for c, w in zip(cells, widths))


def _verdict(measured: Measured) -> Section:
    which = _which_forks(measured)
    if problems := measured.problems():
        lines = [line for text in (which, *problems) for line in _wrapped(text)]
        return Section("WRONG", tuple(lines))
    agreed = f"forktrace and Redis agree on each within {TOLERANCE:.0%}."
    return Section("Checked", tuple(_wrapped(f"{which} {agreed}")))


def _which_forks(measured: Measured) -> str:
    counts = process_forks(measured.metrics)
    if list(counts) == [SERVER]:
        return f"All {counts[SERVER]} forks in the metrics are BGSAVEs of {SERVER}."
    ranked = sorted(counts.items(), key=lambda pair: -pair[1])
    named = ", ".join(f"{count} by {comm}" for comm, count in ranked)
    return f"Forks in the metrics: {named or 'none'}."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")
