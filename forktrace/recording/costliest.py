"""Chooses the forks whose VMAs are kept: few, and the ones people will ask about."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from forktrace.model import Fork

TOP = 10
"""How many of the most expensive forks a report shows with their VMAs."""

_MOST_NAMES = 256


@dataclass
class Costliest:
    """Knows the longest forks so far, those that copied longest, and each name's.

    Among the ten longest in the end is none that was not among them when it came, so
    keeping the VMAs of those that come in among the ten is enough.
    """

    _longest: list[int] = field(default_factory=list)
    _copied: list[int] = field(default_factory=list)
    _of_name: dict[str, int] = field(default_factory=dict)

    def keeps(self, fork: Fork) -> bool:
        """Note a fork, and tell whether to keep its VMAs."""
        # Each of them is to be noted, whatever the others say.
        return any(
            [
                _enters(self._longest, fork.duration_ns),
                _enters(self._copied, fork.copy_ns),
                self._first_of_name(fork),
            ]
        )

    def _first_of_name(self, fork: Fork) -> bool:
        """Tell whether no fork by that name copied as long; names are bounded."""
        most = self._of_name.get(fork.comm)
        if most is None and len(self._of_name) >= _MOST_NAMES:
            return False
        if most is not None and fork.copy_ns <= most:
            return False
        self._of_name[fork.comm] = fork.copy_ns
        return True


def _enters(heap: list[int], value: int) -> bool:
    if len(heap) < TOP:
        heapq.heappush(heap, value)
        return True
    # Of equal ones, those that came first are shown.
    if value <= heap[0]:
        return False
    heapq.heapreplace(heap, value)
    return True
