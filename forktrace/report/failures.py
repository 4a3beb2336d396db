"""Forks that failed: who called them, and with which errno."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from forktrace.model import Fork
from forktrace.report.names import OTHER

_MOST = 1_000


@dataclass(frozen=True)
class Failure:
    """How many forks of one process name in one cgroup failed so, and took how long."""

    comm: str
    cgroup: str
    errno: str
    forks: int
    duration_ns: int

    def to_json(self) -> dict[str, Any]:
        """Return one entry of the published ``failures``."""
        return dict(vars(self))


class Failures:
    """Adds failed forks up; memory is bounded."""

    def __init__(self) -> None:
        """Begin with none."""
        self._sums: dict[tuple[str, str, str], list[int]] = {}

    def add(self, fork: Fork) -> None:
        """Take a fork; one that made a child changes nothing."""
        if fork.outcome != "failed":
            return
        key = (fork.comm, fork.cgroup, fork.errno or "?")
        if key not in self._sums and len(self._sums) >= _MOST:
            key = (OTHER, OTHER, OTHER)
        sums = self._sums.setdefault(key, [0, 0])
        sums[0] += 1
        sums[1] += fork.duration_ns

    def ranked(self) -> tuple[Failure, ...]:
        """Return them, the most frequent first."""
        found = [Failure(*key, *sums) for key, sums in self._sums.items()]
        found.sort(key=lambda each: (-each.forks, each.comm, each.cgroup, each.errno))
        return tuple(found)
