"""How durations are spread, in little memory however many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Of each number the first seven bits count, so what is told is at most 1/64 too high.
_KEPT_BITS = 7
_MASK = (1 << _KEPT_BITS) - 1


def place_of(value: int) -> int:
    """Return the place of a value: values share one that differ by less than 1/64."""
    shift = value.bit_length() - _KEPT_BITS
    return value if shift <= 0 else shift << _KEPT_BITS | value >> shift


def lowest_at(place: int) -> int:
    """Return the lowest value at a place."""
    return (place & _MASK) << (place >> _KEPT_BITS)


def highest_at(place: int) -> int:
    """Return the highest value at a place."""
    return ((place & _MASK) + 1 << (place >> _KEPT_BITS)) - 1


@dataclass(frozen=True)
class Bin:
    """How many values lie in [low, high)."""

    low: int
    high: int
    count: int


class Spread:
    """Counts values by place; the highest and the sum are exact."""

    __slots__ = ("_counts", "count", "highest", "sum")

    def __init__(self) -> None:
        """Begin with nothing."""
        self._counts: dict[int, int] = {}
        self.count = self.sum = self.highest = 0

    def add(self, value: int, place: int) -> None:
        """Count a value, whose place the caller knows already."""
        self._counts[place] = self._counts.get(place, 0) + 1
        self.count += 1
        self.sum += value
        self.highest = max(self.highest, value)

    def quantile(self, share: float) -> int:
        """Return the value that ``share`` of all do not exceed; 0 of nothing."""
        wanted, seen = share * self.count, 0
        for place, count in sorted(self._counts.items()):
            seen += count
            if seen >= wanted:
                return min(highest_at(place), self.highest)
        return self.highest

    def bins(self, edges: Sequence[int]) -> list[Bin]:
        """Return the counts between ascending edges, without the empty ends.

        What lies below the first edge or beyond the last counts at that end.
        """
        counts = [0] * (len(edges) - 1)
        position = 0
        for place, count in sorted(self._counts.items()):
            low = lowest_at(place)
            while position < len(counts) - 1 and low >= edges[position + 1]:
                position += 1
            counts[position] += count
        used = [number for number, count in enumerate(counts) if count]
        if not used:
            return []
        return [
            Bin(edges[number], edges[number + 1], counts[number])
            for number in range(used[0], used[-1] + 1)
        ]


def one_two_five() -> Iterator[int]:
    """Yield 0, then 1, 2, 5, 10 us and so on up to 1000 s, in nanoseconds."""
    yield 0
    for power in range(3, 12):
        for step in (1, 2, 5):
            yield step * 10**power
    yield 10**12


TEXT_EDGES = tuple(one_two_five())
FINE_EDGES = (0, *(round(10 ** (3 + step / 12)) for step in range(12 * 9 + 1)))
"""Twelve a decade, from 1 us to 1000 s."""
