"""The pair of programs that follows copy_page_range(), and what its programs miss.

On a preemptible kernel fentry programs miss calls (bpf/forktrace.c says when), kprobes
next to none. So ``--attach auto`` begins with fentry, and changes to kprobes as soon as
fentry is seen to miss more than a few. Each fork stays with the pair it began with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from forktrace.errors import ForktraceError, Unsupported
from forktrace.libbpf import Program
from forktrace.tracer.attach import Opener, Probes
from forktrace.tracer.backend import COPY_PROGRAMS, Attached, attach_copies

INTERVAL_SECONDS = 1.0
"""How often misses are looked at."""

FEW = 10
"""So many missed runs in an interval are no reason to change."""

SHARE = 1000
"""Nor is one missed run in so many VMAs."""


class CopyProbes:
    """Follows copy_page_range() in the first way of ``ways`` that the kernel accepts.

    Raises Unsupported when it accepts none.
    """

    def __init__(
        self,
        loaded: Mapping[str, int],
        programs: Mapping[str, Program],
        ways: Sequence[Attached],
        opener: Opener,
    ) -> None:
        """Attach; ``loaded`` and ``programs`` are those of all ``ways``."""
        self._loaded = loaded
        self._programs = programs
        self._opener = opener
        self._others = list(ways)
        self._retiring = Probes()
        self._probes = self._attach()
        self._due = time.monotonic() + INTERVAL_SECONDS
        self._vmas = self._missed = 0

    def _attach(self) -> Probes:
        while True:
            try:
                probes = attach_copies(self._others[0], self._loaded, self._opener)
            except Unsupported:
                # What the kernel loads it may still refuse to attach.
                if len(self._others) == 1:
                    raise
                del self._others[0]
            else:
                self.attached = self._others.pop(0)
                return probes

    def missed(self) -> int:
        """Return how many runs of these programs the kernel has left out so far."""
        names = (name for way in COPY_PROGRAMS.values() for name in way)
        return sum(
            self._programs[name].info().recursion_misses
            for name in names
            if name in self._programs
        )

    def look(self, vmas_so_far: Callable[[], int]) -> bool:
        """Change to the other way if this one misses too much; True when it did.

        ``vmas_so_far`` returns how many VMAs all forks had.
        """
        if not self._others or time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + INTERVAL_SECONDS
        missed, vmas = self.missed(), vmas_so_far()
        new_vmas, new_missed = vmas - self._vmas, missed - self._missed
        self._vmas, self._missed = vmas, missed
        if new_missed <= max(FEW, new_vmas // SHARE):
            return False
        try:
            better = self._attach()
        except ForktraceError:
            # No descriptor is left, say: it goes on as it is, and tries again.
            return False
        self._retiring, self._probes = self._probes, better
        return True

    def retire(self, way_in_use: Callable[[Attached], bool]) -> None:
        """Detach what was changed from, once no fork under way belongs to it."""
        if self._retiring and not way_in_use("fentry"):
            self._retiring.close()

    def close(self) -> None:
        """Detach."""
        self._probes.close()
        self._retiring.close()


class Doubt:
    """Whether programs may have missed a copy of one fork.

    The kernel counts missed runs for each program and not for each fork.
    """

    def __init__(self, missed: Callable[[], int]) -> None:
        """``missed`` returns how many runs were missed so far."""
        self._missed = missed
        self._last = missed()
        self._since = time.monotonic_ns()

    def about(self, start_ns: int) -> bool:
        """Tell whether a run may have been missed since ``start_ns`` (monotonic).

        Ask in the order in which forks ended.
        """
        missed = self._missed()
        if missed != self._last:
            self._last = missed
            self._since = time.monotonic_ns()
        return start_ns < self._since
