"""All processes of the host, by what a fork of each would cost.

No fork can allocate more page tables than its process has, nor copy more VMAs. Both
are cheap to read, and the former (VmPTE) is open to everybody. So the processes are
looked at by it, largest first; who cannot be among the dearest is passed over, and
looking ends when the time is up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from forktrace.errors import ForktraceError
from forktrace.explain.predict import Forecast
from forktrace.explain.process import Process
from forktrace.procfs import (
    NotPermitted,
    Status,
    count_vmas,
    read_status,
    require_mounted,
)

PATIENCE_SECONDS = 10.0

Price = Callable[[int, int], int]
"""What so many VMAs and so many bytes of page tables cost, in any unit."""

_BYTES_A_VMA = 180
"""Page tables that take as long to copy as one VMA more.

On x86-64 with Linux 6.18, a page table full of entries took 34 µs and a VMA 1.5 µs.
"""


def usual_price(vmas: int, page_table_bytes: int) -> int:
    """Return a cost to compare by, for want of a measured one."""
    return page_table_bytes + _BYTES_A_VMA * vmas


@dataclass(frozen=True)
class Candidate:
    """One process: what a fork of it would copy, and what changes by another rule."""

    forecast: Forecast
    here: Forecast | None = None


@dataclass(frozen=True)
class Ranking:
    """The dearest processes, dearest first.

    ``closed`` could not be read, for want of permission, the one with the most page
    tables first; ``unseen`` were not looked at, and a fork of none of them allocates
    more than ``at_most`` bytes.
    """

    dearest: tuple[Candidate, ...]
    closed: tuple[Status, ...]
    unseen: int
    at_most: int


def rank(
    look: Callable[[Process], Candidate],
    limit: int,
    patience: float = PATIENCE_SECONDS,
    price: Price = usual_price,
) -> Ranking:
    """Return the ``limit`` processes whose forks would cost most, by ``price``.

    ``look`` makes a candidate of a process. ``patience``: seconds after which no
    further process is looked at. Raises Unsupported without /proc.
    """

    def cost(candidate: Candidate) -> int:
        made = candidate.forecast
        return price(made.counts.copy, made.page_table_bytes)

    require_mounted()
    until = time.monotonic() + patience
    found: list[Candidate] = []
    closed: list[Status] = []
    unseen: list[int] = []
    for status in sorted(_statuses(), key=lambda each: -(each.page_table_bytes or 0)):
        most = status.page_table_bytes or 0
        try:
            if time.monotonic() > until or (
                len(found) >= limit
                and cost(found[limit - 1]) >= price(count_vmas(status.pid), most)
            ):
                unseen.append(most)
                continue
            found.append(look(Process.read(status.pid)))
        except NotPermitted:
            closed.append(status)
        except ForktraceError:  # ended meanwhile
            continue
        found.sort(key=lambda candidate: (-cost(candidate), _pid(candidate)))
    at_most = max(unseen, default=0)
    return Ranking(tuple(found[:limit]), tuple(closed), len(unseen), at_most)


def _pid(candidate: Candidate) -> int:
    return candidate.forecast.process.pid or 0


def _statuses() -> Iterator[Status]:
    """Yield every process that has memory, but for this one."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                status = read_status(name)
            except ForktraceError:  # ended meanwhile
                continue
            if status.page_table_bytes is not None:
                yield status
