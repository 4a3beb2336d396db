"""What a recording shows as a whole, and its published JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from forktrace.model import (
    SCHEMA,
    ExecDiscards,
    Fork,
    TriggerCost,
    VmaCounts,
    parts_to_json,
)
from forktrace.recording.records import Header, HostTotals
from forktrace.report.callers import Caller
from forktrace.report.choice import ALL, Choice
from forktrace.report.cow import CowGroup, CowShare
from forktrace.report.failures import Failure
from forktrace.report.spread import TEXT_EDGES, Spread
from forktrace.report.timeline import Timeline
from forktrace.vforks import Vfork

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
CUT_OFF = "cut_off"
"""How a recording ended that has no summary."""


@dataclass(frozen=True)
class Group:
    """What the forks of one process name, or in one cgroup, cost.

    ``triggers`` are nanoseconds of copying by trigger, the dearest first; ``names``
    is how many names stand behind a group that gathers the rest, else 1.
    """

    name: str
    forks: int
    failed: int
    durations: Spread
    copy_ns: int
    page_table_bytes: int
    triggers: Mapping[str, int]
    exec_discards: ExecDiscards
    names: int = 1
    pinned_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the published object, without the name."""
        return {
            "forks": self.forks,
            "failed": self.failed,
            "names": self.names,
            "duration_ns": self.durations.sum,
            "p99_duration_ns": self.durations.quantile(0.99),
            "max_duration_ns": self.durations.highest,
            "copy_ns": self.copy_ns,
            "page_table_bytes": self.page_table_bytes,
            "pinned_bytes": self.pinned_bytes,
            "trigger_copy_ns": dict(self.triggers),
            "exec_discards": self.exec_discards.to_json(),
        }


@dataclass(frozen=True)
class Dear:
    """One of the most expensive forks, and the names of its mappings by address.

    The name is empty for anonymous memory; what is not known is not there.
    """

    fork: Fork
    names: Mapping[int, str]

    def to_json(self) -> dict[str, Any]:
        """Return the published fork with ``names`` beside it."""
        names = {f"{start:#x}": name for start, name in self.names.items() if name}
        return {**self.fork.to_json(), "names": names}


@dataclass(frozen=True)
class Point:
    """One fork to be drawn; ``trigger`` is the one that cost it most, or empty."""

    since_ns: int
    duration_ns: int
    copy_ns: int
    comm: str
    pid: int
    trigger: str


@dataclass(frozen=True)
class Share:
    """What copying one mapping of a process cost, in the forks whose VMAs were kept.

    ``copy_ns`` leaves out what the task waited for a CPU meanwhile.
    """

    comm: str
    trigger: str
    mapping: str
    copy_ns: int
    page_table_bytes: int


@dataclass(frozen=True)
class Study:
    """Everything about a recording; times are ns, sizes bytes.

    ``durations`` and ``copies`` spread whole forks and the time they copied.
    ``points`` are all forks when there are few, else the longest. ``detailed`` is how
    many forks came with their VMAs. ``parts`` is what the time of forks was spent on,
    of those where that is known; it is empty when of none. So is ``callers``, who
    called fork: ``without_stack`` forks are not in it, of ``cut_stacks`` the outermost
    functions are not. ``vforks`` is how many were recorded one by one,
    ``longest_vforks`` are those that held their callers longest. ``ended`` is as in the
    recording's summary, or ``CUT_OFF``; ``host`` is None then. It is about the forks
    that ``choice`` takes of ``recorded`` ones; ``lost``, ``unwritten`` and ``host`` are
    about all.
    """

    header: Header
    ended: str
    span_ns: int
    failed: int
    durations: Spread
    copies: Spread
    page_table_bytes: int
    vmas: VmaCounts
    triggers: tuple[TriggerCost, ...]
    processes: tuple[Group, ...]
    cgroups: tuple[Group, ...]
    costliest: tuple[Dear, ...]
    exec_discards: ExecDiscards
    lost: Mapping[str, int]
    unwritten: int
    host: HostTotals | None
    timeline: Timeline
    points: tuple[Point, ...]
    shares: tuple[Share, ...]
    detailed: int
    parts: Mapping[str, int] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    vforks: int = 0
    longest_vforks: tuple[Vfork, ...] = ()
    left_out: int = 0
    unkept: int = 0
    callers: tuple[Caller, ...] = ()
    cow: tuple[CowGroup, ...] = ()
    cow_mappings: tuple[CowShare, ...] = ()
    without_stack: int = 0
    cut_stacks: int = 0
    pinned_bytes: int = 0
    choice: Choice = ALL
    recorded: int = 0

    @property
    def forks(self) -> int:
        """How many forks it is about."""
        return self.durations.count

    def of_rows(self, rows: int | None) -> Study:
        """Return it with so many at most of what is shown one by one."""
        return replace(
            self,
            costliest=self.costliest[:rows],
            longest_vforks=self.longest_vforks[:rows],
        )

    @property
    def all_drawn(self) -> bool:
        """Whether ``points`` are all forks."""
        return len(self.points) == self.forks

    def to_json(self) -> dict[str, Any]:
        """Return the published object of ``report --json``.

        ``recording`` is the recording's first line; quantiles are at most 1/64 too
        high; ``names`` of a group is above 1 where it gathers what is rare.
        """
        return {
            "schema": SCHEMA,
            "recording": self.header.to_json(),
            "ended": self.ended,
            "span_ns": self.span_ns,
            "chosen": self.choice.to_json(),
            "recorded_forks": self.recorded,
            "forks": self.forks,
            "failed": self.failed,
            "duration_ns": self.durations.sum,
            "copy_ns": self.copies.sum,
            "parts": parts_to_json(self.parts) or None,
            "page_table_bytes": self.page_table_bytes,
            "pinned_bytes": self.pinned_bytes,
            "vmas": self.vmas.to_json(),
            "latency_ns": {
                "fork": quantiles(self.durations),
                "copy": quantiles(self.copies),
            },
            "histogram": [
                {"from_ns": each.low, "to_ns": each.high, "forks": each.count}
                for each in self.durations.bins(TEXT_EDGES)
            ],
            "triggers": [cost.to_json() for cost in self.triggers],
            "processes": [
                {"comm": each.name, **each.to_json()} for each in self.processes
            ],
            "cgroups": [
                {"cgroup": each.name, **each.to_json()} for each in self.cgroups
            ],
            "costliest": [dear.to_json() for dear in self.costliest],
            "cow": [each.to_json() for each in self.cow],
            "cow_mappings": [each.to_json() for each in self.cow_mappings],
            "callers": [each.to_json() for each in self.callers],
            "without_stack": self.without_stack,
            "cut_stacks": self.cut_stacks,
            "exec_discards": self.exec_discards.to_json(),
            "failures": [each.to_json() for each in self.failures],
            "vforks": self.vforks,
            "longest_vforks": [each.to_json() for each in self.longest_vforks],
            "lost": dict(self.lost),
            "unwritten": self.unwritten,
            "host_totals": self.host.to_json() if self.host else None,
        }


def quantiles(spread: Spread) -> dict[str, int]:
    """Return the quantiles that are told, and the highest."""
    told = {name: spread.quantile(share) for name, share in QUANTILES.items()}
    return {**told, "max": spread.highest}
