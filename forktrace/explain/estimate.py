"""Which page tables a process may have, told from the sizes in smaps alone.

Smaps says how much memory a mapping has and not where in it. So there are two answers:
``crowd`` lays it as close together as it can be, ``spread`` as far apart. Tables that
stand empty are in neither. Sizes may be anything that somebody pasted: what is kept
grows with the number of mappings, not with them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple, overload

from forktrace.explain.pagetables import Geometry, PageTables
from forktrace.procfs import SmapsVma


class Runs(Sequence[int]):
    """Ascending numbers, kept as ranges of equal steps."""

    def __init__(self) -> None:
        """Begin with none."""
        self._ranges: list[range] = []
        self._before: list[int] = []
        self._count = 0

    def add(self, numbers: range) -> None:
        """Append numbers that are none of the former, but for the last one."""
        if numbers and self._ranges and numbers[0] == self._ranges[-1][-1]:
            numbers = numbers[1:]
        if numbers:
            self._ranges.append(numbers)
            self._before.append(self._count)
            self._count += len(numbers)

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...

    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        """Return one of them by its place."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        at = bisect_right(self._before, index) - 1
        return self._ranges[at][index - self._before[at]]


class _Held(NamedTuple):
    """What one VMA has: tables of PTEs, and entries one level up, and two."""

    first: int
    room: int
    leaves: int
    huge: int
    giant: range

    @property
    def units(self) -> int:
        """How many ranges of the size that a table of PTEs maps."""
        return self.leaves + self.huge


def crowd(vmas: Sequence[SmapsVma], geometry: Geometry) -> PageTables:
    """Return the tables if memory lies as close together as it can."""
    return _tables(vmas, geometry, far=False)


def spread(vmas: Sequence[SmapsVma], geometry: Geometry) -> PageTables:
    """Return the tables if memory lies as far apart as it can."""
    return _tables(vmas, geometry, far=True)


def _tables(vmas: Sequence[SmapsVma], geometry: Geometry, *, far: bool) -> PageTables:
    leaves, middles, tops = Runs(), Runs(), Runs()
    leaf, middle, top = geometry.spans
    each = [held for vma in vmas if (held := _held(vma, geometry, far=far))]
    for number, held in enumerate(each):
        if held.giant:
            tops.add(held.giant)
            continue
        joins = len(leaves) > 0 and leaves[len(leaves) - 1] == held.first
        last = held.first + held.room - 1
        meets = number + 1 < len(each) and each[number + 1].first == last
        if far:
            units = _scattered(held, geometry, joins=joins)
        else:
            start = last + 1 - held.units if meets and not joins else held.first
            units = range(start, start + held.units)
        leaves.add(units[: held.leaves])
        middles.add(_thinned(units, middle // leaf))
        tops.add(_thinned(units, top // leaf))
    return PageTables(leaves, middles, tops, geometry)


def _held(vma: SmapsVma, geometry: Geometry, *, far: bool) -> _Held | None:
    leaf, middle, top = geometry.spans
    first, room = vma.start // leaf, -(-vma.end // leaf) - vma.start // leaf
    hugetlb = min(vma.size, vma.hugetlb)
    page = vma.sizes.get("KernelPageSize", geometry.page)
    if hugetlb and page >= middle:
        start = vma.start // top
        return _Held(first, room, 0, 0, range(start, -(-(vma.start + hugetlb) // top)))
    if hugetlb and page >= leaf:
        return _Held(first, room, 0, min(room, -(-hugetlb // leaf)), range(0))
    present = min(vma.size, vma.rss + vma.sizes.get("Swap", 0) + hugetlb)
    of_files = min(present, vma.huge_file)
    anonymous = min(present - of_files, vma.sizes.get("AnonHugePages", 0))
    small = present - of_files - anonymous
    huge = min(room, -(-of_files // leaf))
    # An anonymous huge page has a table of PTEs laid by.
    needed = -(-anonymous // leaf) + -(-small // (geometry.page if far else leaf))
    leaves = min(room - huge, needed)
    if leaves + huge == 0:
        return _Held(first, room, 1, 0, range(0)) if present else None
    return _Held(first, room, leaves, huge, range(0))


def _scattered(held: _Held, geometry: Geometry, *, joins: bool) -> range:
    """Return the ranges with entries, as far apart as the VMA has room for."""
    count = held.units
    # What lies at an edge may share its table with a neighbour: not there, then.
    spare = min(2, held.room - count)
    start = held.first + (spare == 2 or (spare == 1 and joins))
    room = held.room - spare
    if count == 1:
        start += (room - 1) // 2
    step = (room - 1) // (count - 1) if count > 1 else 1
    for span in geometry.spans[1:]:
        ratio = span // geometry.leaf
        step -= step % ratio if step >= ratio else 0
    return range(start, start + count * step, step)


def _thinned(units: range, ratio: int) -> range:
    """Return the ranges ``ratio`` times as large that hold all of these."""
    if not units:
        return range(0)
    step = units.step // ratio if units.step > ratio else 1
    return range(units[0] // ratio, units[-1] // ratio + 1, step)
