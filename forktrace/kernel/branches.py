"""Where to witness the decision: what only calls that copy run, and run once."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forktrace.kernel.arch import Architecture
    from forktrace.kernel.emulation import Call, Emulator
    from forktrace.kernel.text import Text

_MOST = 4
"""Places at most that are witnessed."""


class Flow:
    """What may follow each instruction of some code, calls left out."""

    def __init__(
        self, arch: Architecture, texts: Sequence[Text], emulator: Emulator
    ) -> None:
        self._arch = arch
        self._texts = texts
        self._emulator = emulator

    def repeats(self, at: int) -> bool:
        """Tell whether an instruction may run again after it ran."""
        seen: set[int] = set()
        pending = [at]
        while pending:
            following = self._following[pending.pop()]
            if at in following:
                return True
            pending += [each for each in following if each not in seen]
            seen.update(following)
        return False

    @cached_property
    def _following(self) -> Mapping[int, set[int]]:
        following: dict[int, set[int]] = defaultdict(set)
        for text in self._texts:
            begin = self._emulator.starts(text)
            starts = sorted(begin)
            for at, behind in zip(starts, starts[1:]):
                known = self._emulator.knows(at)
                if not (known and self._arch.ends(self._emulator.instruction(at))):
                    following[at].add(behind)
            # Some of them are only bytes that look like a jump.
            for at, target in self._arch.jumps(text.code, text.address):
                if at in begin:
                    following[at].add(target)
        return following


def find_branches(calls: Sequence[Call], function: Text, flow: Flow) -> tuple[int, ...]:
    """Return the fewest addresses of which each copying call passed one, once.

    No skipping call passed one. None when there are no such places. Where compilers
    know more on one way to the copy than on the other, the ways do not meet again
    (6.12 asks for PFNMAP only after a bit was found).
    """
    skipped = {at for call in calls if call.skipped for at in call.trace}
    ways = sorted({call.trace for call in calls if not call.skipped})
    passed: dict[int, list[int]] = defaultdict(list)
    for number, way in enumerate(ways):
        for at in way:
            passed[at].append(number)
    # Of the places that the same calls passed, the first.
    places: dict[frozenset[int], int] = {}
    for way in ways:
        for at in way:
            key = frozenset(passed[at])
            if at in skipped or not function.holds(at) or key in places:
                continue
            if len(passed[at]) == len(key) and not flow.repeats(at):
                places[key] = at
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
