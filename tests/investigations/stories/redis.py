"""The story of a Redis whose library guards half a gigabyte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from forktrace.views.units import duration, size
from tests.demo.report import Section
from tests.investigations.redis import Found, Round
from tests.investigations.stories.table import (
    costs,
    table,
    tables_of,
    time_of,
    wrapped,
)

NO_COST = (0, 0.0, 0.0)


def sections(found: Found) -> Iterator[Section]:
    """Tell who, why, what to do, and what that was worth."""
    yield Section("1. forktrace top: who forks, and what it costs", _who(found))
    yield Section(
        f"2. forktrace explain {found.before.pid}: why",
        tuple(f"  {line}".rstrip() for line in found.told.splitlines()),
    )
    yield Section(
        "3. The advice taken: PROT_NONE in place of the guard page, mapped anew",
        wrapped(_said(found.after)),
    )
    yield Section(
        f"4. forktrace trace: one BGSAVE, the better of {len(found.before.forks)}",
        (*_worth(found.before, found.after), "", *_sum(found.before, found.after)),
    )


def _who(found: Found) -> tuple[str, ...]:
    forks: Counter[str] = Counter()
    copied: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    triggers: dict[str, Counter[str]] = {}
    for window in found.windows:
        for usage in window["processes"]:
            comm = usage["comm"]
            forks[comm] += usage["forks"]
            copied[comm] += usage["copy_ns"]
            sizes[comm] += usage["page_table_bytes"]
            triggers.setdefault(comm, Counter()).update(usage["trigger_copy_ns"])
    rows = [
        (
            comm,
            str(forks[comm]),
            duration(copy_ns / max(1, forks[comm])),
            size(sizes[comm] / max(1, forks[comm])),
            _shares(triggers[comm]),
        )
        for comm, copy_ns in copied.most_common(5)
    ]
    return table(("COMM", "FORKS", "COPY/FORK", "TABLES/FORK", "COPY TIME BY"), rows)


def _shares(copied: Counter[str]) -> str:
    total = sum(copied.values())
    worth = [(name, spent / total) for name, spent in copied.most_common(2) if spent]
    return ", ".join(f"{name} {share:.0%}" for name, share in worth) or "-"


def _said(found: Round) -> str:
    answer = found.explained
    advised = ", ".join(advice["action"] for advice in answer["advice"])
    return (
        f"explain {found.pid} now foretells {size(answer['page_table_bytes'])} for "
        f"{answer['vmas']['copy']} VMAs, and advises only: {advised}."
    )


def _worth(before: Round, after: Round) -> tuple[str, ...]:
    one, two = costs(before.forks), costs(after.forks)
    rows = []
    for trigger in sorted(one.keys() | two.keys()):
        pair = (one.get(trigger, NO_COST), two.get(trigger, NO_COST))
        vmas, times, sizes = zip(*pair)
        rows.append(
            (
                trigger,
                *(str(count) for count in vmas),
                *(duration(each) for each in times),
                *(size(each) for each in sizes),
            )
        )
    head = ("TRIGGER", "VMAS", "THEN", "COPYING", "THEN", "TABLES", "THEN")
    return table(head, rows)


def _sum(before: Round, after: Round) -> tuple[str, ...]:
    return wrapped(
        f"In all {tables_of(before.forks)} of page tables before and "
        f"{tables_of(after.forks)} then; copying took {time_of(before.forks)} of a "
        f"fork's {time_of(before.forks, 'duration_ns')} before and "
        f"{time_of(after.forks)} of {time_of(after.forks, 'duration_ns')} then "
        "(emulated: many times what real hardware takes)."
    )
