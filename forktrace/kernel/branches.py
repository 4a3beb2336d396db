"""Where to witness the decision: what only calls that copy run, and run once."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forktrace.kernel.arch import Architecture
    from forktrace.kernel.emulation import Call, Emulator
    from forktrace.kernel.text import Text

_MOST = 4
"""Places at most that are witnessed."""


class Jumps:
    """The direct jumps of a function."""

    def __init__(self, arch: Architecture, function: Text, emulator: Emulator) -> None:
        self._emulator = emulator
        self._sources: dict[int, set[int]] = defaultdict(set)
        for at, target in arch.jumps(function.code, function.address):
            self._sources[target].add(at)

    def to(self, target: int, but: set[int]) -> bool:
        """Tell whether any jumps to ``target``, other than those at ``but``."""
        others = self._sources[target] - but
        # Some of them are only bytes that look like a jump.
        return bool(others and others & self._starts)

    @cached_property
    def _starts(self) -> set[int]:
        return self._emulator.starts()


def find_branches(
    calls: Sequence[Call], function: Text, jumps: Jumps
) -> tuple[int, ...]:
    """Return the fewest addresses of which each copying call passed one, once.

    No skipping call passed one. None when there are no such places. Where compilers
    know more on one way to the copy than on the other, the ways do not meet again
    (6.12 asks for PFNMAP only after a bit was found).
    """
    skipping = {call.trace for call in calls if call.skipped}
    ways = sorted({call.trace for call in calls if not call.skipped})
    skipped = {at for trace in skipping for at in trace}
    passed: dict[int, list[int]] = defaultdict(list)
    for number, way in enumerate(ways):
        for at in way:
            passed[at].append(number)
    before: dict[int, set[int]] = defaultdict(set)
    for way in (*skipping, *ways):
        for number, at in enumerate(way):
            before[at].update(way[:number])
    # Of the places that the same calls passed, the first. Once something may jump
    # back to the way, all that follows may run again.
    places: dict[frozenset[int], int] = {}
    again: set[frozenset[int]] = set()
    for way in ways:
        for at in way:
            if function.holds(at) and jumps.to(at, but=before[at]):
                again.update(frozenset(passed[each]) for each in way[way.index(at) :])
                break
            key = frozenset(passed[at])
            if at in skipped or not function.holds(at) or key in places:
                continue
            if len(passed[at]) == len(key):
                places[key] = at
    places = {key: at for key, at in places.items() if key not in again}
    for count in range(1, _MOST + 1):
        chosen = _cover(frozenset(range(len(ways))), list(places), count)
        if chosen:
            return tuple(sorted(places[key] for key in chosen))
    return ()


def _cover(
    numbers: frozenset[int], sets: Sequence[frozenset[int]], count: int
) -> list[frozenset[int]] | None:
    """Return ``count`` of the sets at most, which hold each number once, or None."""
    if not numbers:
        return []
    if not count:
        return None
    first = min(numbers)
    for chosen in sets:
        if first in chosen and chosen <= numbers:
            rest = _cover(numbers - chosen, sets, count - 1)
            if rest is not None:
                return [chosen, *rest]
    return None
