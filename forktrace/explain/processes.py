"""All processes of the host, by what a fork of each would cost.

No fork can allocate more page tables than its process has, and that (VmPTE) is cheap to
read and open to everybody. So the processes are looked at by it, largest first, and
looking ends when nobody left can be among the dearest, or when the time is up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from forktrace.errors import ForktraceError
from forktrace.explain.predict import Forecast
from forktrace.explain.process import Process
from forktrace.procfs import NotPermitted, Status, read_status, require_mounted

PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Candidate:
    """One process: what a fork of it would copy, and what changes by another rule."""

    forecast: Forecast
    here: Forecast | None = None


@dataclass(frozen=True)
class Ranking:
    """The dearest processes, dearest first.

    ``unread`` processes could not be read, for want of permission; ``unseen`` were not
    looked at, and a fork of none of them allocates more than ``at_most`` bytes.
    """

    dearest: tuple[Candidate, ...]
    unread: int
    unseen: int
    at_most: int


def rank(
    look: Callable[[Process], Candidate],
    limit: int,
    patience: float = PATIENCE_SECONDS,
) -> Ranking:
    """Return the ``limit`` processes whose forks would cost most.

    ``look`` makes a candidate of a process. ``patience``: seconds after which no
    further process is looked at. Raises Unsupported without /proc.
    """
    require_mounted()
    everybody = sorted(_statuses(), key=lambda status: -(status.page_table_bytes or 0))
    until = time.monotonic() + patience
    found: list[Candidate] = []
    unread = 0
    for place, status in enumerate(everybody):
        bound = status.page_table_bytes or 0
        if time.monotonic() > until or (
            len(found) >= limit and _cost(found[limit - 1]) >= bound
        ):
            return Ranking(tuple(found[:limit]), unread, len(everybody) - place, bound)
        try:
            found.append(look(Process.read(status.pid)))
        except NotPermitted:
            unread += 1
        except ForktraceError:  # ended meanwhile
            continue
        found.sort(key=lambda candidate: (-_cost(candidate), _pid(candidate)))
    return Ranking(tuple(found[:limit]), unread, 0, 0)


def _cost(candidate: Candidate) -> int:
    return candidate.forecast.page_table_bytes


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
