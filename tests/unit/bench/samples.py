"""Results as a guest would give them, where every figure is known beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.bench.figures import AFTER, BEFORE, TRACERS, WORKLOADS, WRITES, Workload

FORK = 40_000
VMA = 3_000
PAGE = 250
PROBES_A_FORK = 2_000

ADDED_A_VMA = {
    "forktrace fentry": 500,
    "bpftrace fentry": 2_000,
    "forktrace kprobe": 1_350,
    "bpftrace kprobe": 3_300,
    "forktrace --vmas": 900,
    "forktrace --stacks": 501,
    "forktrace --cow": 502,
    "empty fentry": 400,
    "empty kprobe": 1_100,
}
COUNTED = {"forks": 75, "copied": 90_000, "skipped": 9_000, "page_table_bytes": 4096}


def plain(workload: Workload) -> int:
    """Return the instructions of an untraced fork."""
    return FORK + workload.vmas * (VMA + workload.pages * PAGE)


def sample(added: Mapping[str, int] = ADDED_A_VMA) -> dict[str, Any]:
    """Return results that keep every budget, with ``added`` a VMA by each tracer."""

    def forks(extra: int) -> dict[str, list[int]]:
        return {
            work.name: [plain(work) + extra * work.vmas + late for late in (9_000, 0)]
            for work in WORKLOADS
        }

    traced = {name: forks(extra) for name, extra in added.items()}
    for works in traced.values():
        for each in works.values():
            each[:] = [count + PROBES_A_FORK for count in each]
    return {
        "release": "7.3.4",
        "forks": {BEFORE: forks(0), **traced, AFTER: forks(0)},
        "writes": {
            name: [WRITES * (4_000 + (300 if name == "forktrace --cow" else 0))]
            for name in (BEFORE, *added, AFTER)
        },
        "tracers": {name: {"start_ns": 10**9, **COUNTED} for name in TRACERS},
        "daemon": {
            way: {"start_ns": 6 * 10**9, "rss_bytes": 50_000_000}
            for way in ("fentry", "kprobe")
        },
        "scrape": {"seconds": 0.012, "cpu_seconds": 0.01},
        "start": {
            "forktrace": {"seconds": 0.8, "cpu_seconds": 0.7, "words": "loaded"},
            "with headers": {"seconds": 3.2, "cpu_seconds": 3.0, "words": "the same"},
            "bpftrace": {"seconds": 0.2, "cpu_seconds": 0.1, "words": "compiled only"},
        },
    }
