"""Rows under a heading, and the costs of several forks in one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from statistics import median

from forktrace.views.units import duration, size
from tests.demo.report import WIDTH
from tests.investigations.explained import Record

Costs = dict[str, tuple[int, float, float]]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return lines: the first column to the left, numbers to the right."""
    cells = [tuple(head), *(tuple(row) for row in rows)]
    wide = [max(len(row[n]) for row in cells) for n in range(len(head))]
    return tuple(
        "  "
        + "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, wide))
        ).rstrip()
        for row in cells
    )


def wrapped(text: str) -> tuple[str, ...]:
    """Return a paragraph."""
    lines = textwrap.wrap(text, WIDTH - 2, break_on_hyphens=False)
    return tuple(f"  {line}" for line in lines)


def costs(forks: Sequence[Record]) -> Costs:
    """Return VMAs, the least copy_ns and the median page_table_bytes by trigger.

    The least, since whatever else runs on an emulated CPU only adds to a time.
    """
    names = {cost["trigger"] for fork in forks for cost in fork["triggers"]}
    found: Costs = {}
    for name in sorted(names):
        each = [_of(fork, name) for fork in forks]
        vmas, times, sizes = zip(*each)
        found[name] = (max(vmas), min(times), median(sizes))
    return found


def _of(fork: Record, trigger: str) -> tuple[int, int, int]:
    own = [cost for cost in fork["triggers"] if cost["trigger"] == trigger]
    keys = ("vmas", "copy_ns", "page_table_bytes")
    vmas, copy_ns, page_table_bytes = (sum(c[key] for c in own) for key in keys)
    return vmas, copy_ns, page_table_bytes


def time_of(forks: Sequence[Record], key: str = "copy_ns") -> str:
    """Return the least of a time."""
    return duration(min(fork[key] for fork in forks))


def tables_of(forks: Sequence[Record]) -> str:
    """Return the median of the page tables."""
    return size(median(fork["page_table_bytes"] for fork in forks))
