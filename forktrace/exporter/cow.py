"""What copy-on-write costs after forks, as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from forktrace.cow import CowTotals
from forktrace.exporter.families import NS, counter

_WHO = (
    "by who wrote: the parent while a child of it lived, or the child until it exited "
    "or called exec (who)."
)


def cow_families(totals: CowTotals) -> Iterator[Metric]:
    """Yield the families of one scrape."""
    sides = {"parent": totals.parents, "child": totals.children}
    yield counter(
        "forktrace_cow_faults",
        f"Write faults that copied a page which a fork had shared, {_WHO}",
        ["who"],
        [([who], cost.faults) for who, cost in sides.items()],
    )
    yield counter(
        "forktrace_cow_copied_bytes",
        f"Bytes that these faults copied, {_WHO}",
        ["who"],
        [([who], cost.copied_bytes) for who, cost in sides.items()],
        "bytes",
    )
    yield counter(
        "forktrace_cow_fault_seconds",
        f"Time spent in these faults, splitting huge pages included, {_WHO}",
        ["who"],
        [([who], cost.fault_ns / NS) for who, cost in sides.items()],
        "seconds",
    )
    yield counter(
        "forktrace_cow_teardown_seconds",
        "Time spent freeing the memory of forked children (exit_mmap).",
        [],
        [([], totals.teardown_ns / NS)],
        "seconds",
    )
