"""Who forks: what each process name's forks cost between two looks.

Counts, copy times, page tables and discards are differences of the kernel's totals and
so are exact. Durations and triggers by name are not summed up there: they come from the
forks that were delivered one by one, which may be a sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from forktrace.comms import Comms
from forktrace.model import (
    OTHER,
    SCHEMA,
    Fork,
    ProcessCost,
    Totals,
    Vforks,
    parts_to_json,
)

MOST_PIDS, MOST_NAMES = 50, 2048
"""How many processes of a name are told apart, and names: some 10 MB at the worst."""


@dataclass(frozen=True)
class Usage:
    """What one name's forks cost in ``seconds``; times are ns, sizes bytes.

    ``mean_ns`` and ``max_ns`` are of whole forks, 0 when none was delivered;
    ``triggers`` are nanoseconds of copying by trigger, the dearest first. ``pids`` are
    those of the delivered forks, likewise, and ``more_pids`` whether there are others.
    """

    comm: str
    seconds: float
    forks: int
    copy_ns: int
    page_table_bytes: int
    discards: int
    discarded_bytes: int
    mean_ns: float
    max_ns: int
    triggers: Mapping[str, int]
    failed: int = 0
    vforks: Vforks = field(default_factory=Vforks)
    pids: tuple[int, ...] = ()
    more_pids: bool = False

    @property
    def active(self) -> bool:
        """Whether anything happened."""
        return bool(self.forks or self.discards or self.vforks != Vforks())

    def to_json(self) -> dict[str, Any]:
        """Return the published object."""
        return {
            "comm": self.comm,
            "pids": list(self.pids),
            "more_pids": self.more_pids,
            "forks": self.forks,
            "failed": self.failed,
            **self.vforks.to_json(),
            "copy_ns": self.copy_ns,
            "page_table_bytes": self.page_table_bytes,
            "exec_discards": self.discards,
            "exec_discarded_page_table_bytes": self.discarded_bytes,
            "mean_duration_ns": round(self.mean_ns),
            "max_duration_ns": self.max_ns,
            "trigger_copy_ns": dict(self.triggers),
        }


@dataclass(frozen=True)
class Window:
    """All names that forked in ``seconds``, and the totals at its end.

    ``forks``, ``fork_ns``, ``copy_ns``, ``failures`` (by errno) and ``parts`` (ns) are
    of all forks of the window.
    """

    seconds: float
    forks: int
    fork_ns: int
    copy_ns: int
    usages: tuple[Usage, ...]
    totals: Totals
    failures: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, int] = field(default_factory=dict)

    def only(self, comms: Comms) -> Window:
        """Return it with these names alone; the sums stay those of the host."""
        usages = tuple(usage for usage in self.usages if comms.fit(usage.comm))
        return replace(self, usages=usages)

    def to_json(self) -> dict[str, Any]:
        """Return the published object: what ``top --json`` prints each time."""
        return {
            "schema": SCHEMA,
            "seconds": round(self.seconds, 3),
            "forks": self.forks,
            "duration_ns": self.fork_ns,
            "copy_ns": self.copy_ns,
            "parts": parts_to_json(self.parts) or None,
            "failures": dict(self.failures),
            "lost": {stage: n for stage, n in self.totals.lost.items() if n},
            "processes": [usage.to_json() for usage in self.usages],
        }


@dataclass
class _Seen:
    forks: int = 0
    sum_ns: int = 0
    max_ns: int = 0
    triggers: Counter[str] = field(default_factory=Counter)
    pids: Counter[int] = field(default_factory=Counter)
    more_pids: bool = False


class Activity:
    """Adds up forks as they come, and takes stock when asked."""

    def __init__(self, totals: Totals, now: float) -> None:
        """Start the first window; ``now`` is a time in seconds."""
        self._totals = totals
        self._began = now
        self._seen: dict[str, _Seen] = {}

    def add(self, fork: Fork) -> None:
        """Note one fork."""
        known = fork.comm in self._seen or len(self._seen) < MOST_NAMES
        seen = self._seen.setdefault(fork.comm if known else OTHER, _Seen())
        seen.forks += 1
        seen.sum_ns += fork.duration_ns
        seen.max_ns = max(seen.max_ns, fork.duration_ns)
        for cost in fork.triggers:
            seen.triggers[cost.trigger] += cost.copy_ns
        if fork.pid in seen.pids or len(seen.pids) < MOST_PIDS:
            seen.pids[fork.pid] += fork.copy_ns
        else:
            seen.more_pids = True

    def take(self, totals: Totals, now: float) -> Window:
        """Return the window that ends now, and begin the next."""
        before = {cost.comm: cost for cost in self._totals.processes}
        seconds = max(now - self._began, 1e-9)
        usages = tuple(
            _usage(cost, before.get(cost.comm), self._seen.get(cost.comm), seconds)
            for cost in totals.processes
        )
        old = self._totals
        window = Window(
            seconds=seconds,
            forks=_forks(totals) - _forks(old),
            fork_ns=totals.fork_duration.sum_ns - old.fork_duration.sum_ns,
            copy_ns=totals.copy_duration.sum_ns - old.copy_duration.sum_ns,
            usages=tuple(usage for usage in usages if usage.active),
            totals=totals,
            failures=_growth(totals.failures, old.failures),
            parts=_growth(totals.part_ns, old.part_ns),
        )
        self._totals, self._began, self._seen = totals, now, {}
        return window


def _forks(totals: Totals) -> int:
    return sum(totals.forks.values())


def _growth(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    growth = {name: count - before.get(name, 0) for name, count in now.items()}
    return {name: count for name, count in growth.items() if count}


def _usage(
    cost: ProcessCost, before: ProcessCost | None, seen: _Seen | None, seconds: float
) -> Usage:
    old = before or ProcessCost(cost.comm, 0, 0, 0)
    seen = seen or _Seen()
    waste, wasted = cost.exec_discards, old.exec_discards
    return Usage(
        comm=cost.comm,
        seconds=seconds,
        forks=cost.forks - old.forks,
        copy_ns=cost.copy_ns - old.copy_ns,
        page_table_bytes=cost.page_table_bytes - old.page_table_bytes,
        discards=waste.discards - wasted.discards,
        discarded_bytes=waste.page_table_bytes - wasted.page_table_bytes,
        mean_ns=seen.sum_ns / seen.forks if seen.forks else 0.0,
        max_ns=seen.max_ns,
        triggers=dict(seen.triggers.most_common()),
        failed=cost.failed - old.failed,
        vforks=cost.vforks.since(old.vforks),
        pids=tuple(pid for pid, _ in seen.pids.most_common()),
        more_pids=seen.more_pids,
    )
