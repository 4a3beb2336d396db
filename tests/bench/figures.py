"""What is measured, and what the figures mean: slopes, ratios and budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BEFORE = "nothing"
AFTER = "nothing, at the end"
WAYS = ("fentry", "kprobe")
TRACERS = tuple(f"{tool} {way}" for way in WAYS for tool in ("forktrace", "bpftrace"))
OPTIONS = ("vmas", "stacks", "cow")
"""Of trace and record: what each adds to a fork when it is asked for."""

WITH_OPTIONS = tuple(f"forktrace --{option}" for option in OPTIONS)
WRITES = 2000
"""Pages written to after a fork, each of which the kernel copies then."""

FLOORS = tuple(f"empty {way}" for way in WAYS)
"""Probes at both ends of copy_page_range that do nothing: no tracer costs less."""

MOST_ADDED = {"fentry": 600.0, "kprobe": 1500.0}
MOST_OF_BPFTRACE = {"fentry": 0.3, "kprobe": 0.45}
MOST_OF_BIG_FORKS = 0.015
MOST_START_SECONDS = 1.0
MOST_OF_HEADERS = 1 / 3
MOST_RESIDENT_MB = 60.0
MOST_SCRAPE_MS = 20.0
MOST_BEND = 0.02
"""How far a point may lie from the straight line, as a part of the line's rise."""


@dataclass(frozen=True)
class Workload:
    """VMAs of a process that forks: how many, of how many pages, how many copied."""

    name: str
    vmas: int
    pages: int = 1
    copied: str = "all"
    forks: int = 4

    def arguments(self) -> list[str]:
        """Return the arguments of tests.bench.workload."""
        return [
            *("--vmas", str(self.vmas), "--pages", str(self.pages)),
            *("--copied", self.copied, "--forks", str(self.forks)),
        ]


COPIED = (
    Workload("20", 20, forks=20),
    Workload("1,000", 1000, forks=8),
    Workload("5,000", 5000),
    Workload("20,000", 20000, forks=3),
)
"""Every VMA is copied: one private page each."""

HALF = (
    Workload("20, half", 20, copied="half", forks=20),
    Workload("1,000, half", 1000, copied="half", forks=8),
    Workload("5,000, half", 5000, copied="half"),
)
"""Every other VMA is skipped."""

BIG = Workload("20 of 2,000 pages", 20, pages=2000, forks=8)

WORKLOADS = (*COPIED, *HALF, BIG)


@dataclass(frozen=True)
class Line:
    """A straight line: ``slope`` a VMA, ``start`` what the first point has besides.

    ``bend`` is the largest distance of a point from it, as a part of its rise.
    """

    slope: float
    start: float
    bend: float


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """Return the line of least squares through points of different x.

    What a fork costs besides its VMAs is not the line's own intercept: in that, a
    thousandth of the largest fork would weigh more than the whole of the smallest.
    """
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    slope = sum((x - middle_x) * (y - middle_y) for x, y in points) / spread
    intercept = middle_y - slope * middle_x
    rise = abs(slope) * (max(x for x, _ in points) - min(x for x, _ in points))
    furthest = max(abs(y - intercept - slope * x) for x, y in points)
    first_x, first_y = min(points)
    start = first_y - slope * first_x
    return Line(slope, start, furthest / rise if rise else 0.0)


class Forks:
    """The forks of one run: instructions by tracer and workload, as the guest says."""

    def __init__(self, forks: Mapping[str, Mapping[str, Sequence[int]]]) -> None:
        """Take the least of each: whatever else ran only adds."""
        self._least = {
            tracer: {work: min(each) for work, each in works.items()}
            for tracer, works in forks.items()
        }

    def plain(self, workload: Workload) -> int:
        """Return the instructions of a fork that nobody traces."""
        return min(self._least[name][workload.name] for name in (BEFORE, AFTER))

    def added(self, tracer: str, workload: Workload) -> int:
        """Return the instructions that a tracer adds to a fork."""
        return self._least[tracer][workload.name] - self.plain(workload)

    def part_of_big(self, tracer: str) -> float:
        """Return what a tracer adds to a fork of large VMAs, as a part of that fork.

        As many small VMAs meet the probes as often and are measured without the noise
        of thousands of pages: the larger of the two counts.
        """
        small = next(work for work in COPIED if work.vmas == BIG.vmas)
        added = max(self.added(tracer, BIG), self.added(tracer, small))
        return added / self.plain(BIG)

    def plain_line(self, workloads: Sequence[Workload]) -> Line:
        """Return how an untraced fork grows with its VMAs."""
        return fit([(work.vmas, self.plain(work)) for work in workloads])

    def line(self, tracer: str, workloads: Sequence[Workload] = COPIED) -> Line:
        """Return how what a tracer adds grows with the VMAs."""
        return fit([(work.vmas, self.added(tracer, work)) for work in workloads])

    def noise(self) -> float:
        """Return by how much a VMA's share of an untraced fork changed in this run."""
        most = max(COPIED, key=lambda work: work.vmas)
        before, after = (self._least[name][most.name] for name in (BEFORE, AFTER))
        return abs(before - after) / most.vmas


@dataclass(frozen=True)
class Check:
    """One budget: what was found, the most it may be, and how both are written."""

    name: str
    found: float
    most: float
    form: str = "{:,.0f}"

    @property
    def holds(self) -> bool:
        """Tell whether the budget is kept."""
        return self.found <= self.most


def checks(results: Mapping[str, Any]) -> list[Check]:
    """Hold everything that was measured against its budget."""
    forks = Forks(results["forks"])
    found = []
    for way in WAYS:
        ours = forks.line(f"forktrace {way}").slope
        theirs = forks.line(f"bpftrace {way}").slope
        big = forks.part_of_big(f"forktrace {way}")
        found += [
            Check(f"{way}: added instructions a VMA", ours, MOST_ADDED[way]),
            _part(f"{way}: part of bpftrace's", ours / theirs, MOST_OF_BPFTRACE[way]),
            _percent(f"{way}: of forks with 2,000 pages a VMA", big, MOST_OF_BIG_FORKS),
        ]
    bend = max(forks.line(f"forktrace {way}").bend for way in WAYS)
    found.append(_percent("growth with VMAs: off a straight line", bend, MOST_BEND))
    differing = len({_counts(tracer) for tracer in _tracing(results)}) - 1
    found.append(Check("tracers that counted something else", differing, 0))
    return found + _start_checks(results)


def _start_checks(results: Mapping[str, Any]) -> list[Check]:
    start = results["start"]
    ours = start["forktrace"]["seconds"]
    headers = start["with headers"]["seconds"]
    scrape = results["scrape"]["cpu_seconds"] * 1e3
    resident = max(way["rss_bytes"] for way in results["daemon"].values())
    return [
        Check("start, natively: seconds", ours, MOST_START_SECONDS, "{:.2f}"),
        _part("start: part of that with headers", ours / headers, MOST_OF_HEADERS),
        Check("scrape, natively: ms of CPU", scrape, MOST_SCRAPE_MS, "{:.1f}"),
        Check("daemon: MB resident", resident / 1e6, MOST_RESIDENT_MB, "{:.1f}"),
    ]


def _tracing(results: Mapping[str, Any]) -> list[Mapping[str, int]]:
    return [results["tracers"][name] for name in TRACERS]


def _counts(tracer: Mapping[str, int]) -> tuple[int, ...]:
    names = ("forks", "copied", "skipped", "page_table_bytes")
    return tuple(tracer[name] for name in names)


def _part(name: str, found: float, most: float) -> Check:
    return Check(name, found, most, "{:.3f}")


def _percent(name: str, found: float, most: float) -> Check:
    return Check(name, found, most, "{:.2%}")


def added_to_write(writes: Mapping[str, Sequence[int]], tracer: str) -> float:
    """Return the instructions that a tracer adds to a write fault after a fork."""
    return min(writes[tracer]) / WRITES - plain_write(writes)


def plain_write(writes: Mapping[str, Sequence[int]]) -> float:
    """Return the instructions of such a fault that nobody traces."""
    return min(*writes[BEFORE], *writes[AFTER]) / WRITES
