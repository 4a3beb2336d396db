"""The tables of ``report --csv``: raw numbers, times in seconds, sizes in bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Union

from forktrace.fields import rfc3339
from forktrace.model import PARTS, Fork
from forktrace.report.study import Group, Study
from forktrace.text import printable
from forktrace.vforks import Vfork

Cell = Union[str, int]
Row = Sequence[Cell]

FORKS = (
    *("time", "pid", "tid", "comm", "thread", "child_pid", "cgroup", "outcome"),
    *("errno", "duration_seconds", "copy_seconds", "run_delay_seconds"),
    *(f"{name}_part_seconds" for name in PARTS),
    *("page_table_bytes", "pinned_bytes", "copied_vmas", "skipped_vmas"),
    *("dontcopy_vmas", "wipeonfork_vmas", "unknown_vmas", "triggers"),
)
VFORKS = (
    *("time", "pid", "tid", "comm", "thread", "child_pid", "cgroup"),
    *("held_seconds", "ended"),
)
_GROUP = (
    *("forks", "failed", "names", "duration_seconds", "p99_duration_seconds"),
    *("max_duration_seconds", "copy_seconds", "page_table_bytes", "pinned_bytes"),
    *("exec_discards", "exec_discarded_copy_seconds"),
    *("exec_discarded_page_table_bytes", "triggers"),
)


def fork_row(fork: Fork) -> Row:
    """Return a fork, beneath ``FORKS``; what is not known is empty."""
    parts = vars(fork.parts) if fork.parts else {}
    ranked = sorted(fork.triggers, key=lambda cost: -cost.copy_ns)
    return (
        *(rfc3339(fork.time_ns), fork.pid, fork.tid),
        *(fork.comm, fork.thread, fork.child_pid, fork.cgroup, fork.outcome),
        *(fork.errno or "", seconds(fork.duration_ns), seconds(fork.copy_ns)),
        seconds(fork.run_delay_ns),
        *(seconds(parts[name]) if parts else "" for name in PARTS),
        fork.page_table_bytes,
        "" if fork.pinned_bytes is None else fork.pinned_bytes,
        *(fork.vmas.copy, fork.vmas.skip, fork.vmas.dontcopy, fork.vmas.wipeonfork),
        fork.vmas.unknown,
        " ".join(dict.fromkeys(cost.trigger for cost in ranked)),
    )


def vfork_row(vfork: Vfork) -> Row:
    """Return a vfork, beneath ``VFORKS``."""
    return (
        *(rfc3339(vfork.time_ns), vfork.pid, vfork.tid, vfork.comm, vfork.thread),
        *(vfork.child_pid, vfork.cgroup, seconds(vfork.held_ns), vfork.ended),
    )


def _group_rows(groups: Iterable[Group]) -> Iterator[Row]:
    for each in groups:
        waste = each.exec_discards
        yield (
            *(each.name, each.forks, each.failed, each.names),
            seconds(each.durations.sum),
            seconds(each.durations.quantile(0.99)),
            seconds(each.durations.highest),
            *(seconds(each.copy_ns), each.page_table_bytes, each.pinned_bytes),
            *(waste.discards, seconds(waste.copy_ns), waste.page_table_bytes),
            " ".join(each.triggers),
        )


SUMS: dict[str, tuple[Row, Callable[[Study], Iterable[Row]]]] = {
    "processes": (("comm", *_GROUP), lambda study: _group_rows(study.processes)),
    "cgroups": (("cgroup", *_GROUP), lambda study: _group_rows(study.cgroups)),
    "triggers": (
        ("trigger", "anon_vma", "vmas", "copy_seconds", "page_table_bytes"),
        lambda study: (
            (
                *(each.trigger, "true" if each.anon_vma else "false", each.vmas),
                *(seconds(each.copy_ns), each.page_table_bytes),
            )
            for each in study.triggers
        ),
    ),
    "mappings": (
        ("comm", "trigger", "mapping", "copy_seconds", "page_table_bytes"),
        lambda study: (
            (
                *(each.comm, each.trigger, each.mapping),
                *(seconds(each.copy_ns), each.page_table_bytes),
            )
            for each in study.shares
        ),
    ),
    "failures": (
        ("errno", "comm", "cgroup", "forks", "duration_seconds"),
        lambda study: (
            (
                *(each.errno, each.comm, each.cgroup, each.forks),
                seconds(each.duration_ns),
            )
            for each in study.failures
        ),
    ),
}
"""The tables that add a recording up: their heads, and their rows."""


def harmless(row: Row) -> Row:
    """Return a row that cannot drive a terminal."""
    return [printable(cell) if isinstance(cell, str) else cell for cell in row]


def seconds(ns: int) -> str:
    """Return nanoseconds as seconds, with all digits."""
    whole, rest = divmod(ns, 10**9)
    return f"{whole}.{rest:09d}"
