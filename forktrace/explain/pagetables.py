"""How many bytes of page tables copy_page_range() allocates for a child.

It walks the parent's tables (mm/memory.c, 5.10 to 7.3): wherever the parent has a page
of PTEs, PMDs or PUDs that overlaps a copied VMA, the child gets one too, even if no
entry of this VMA stands in it, and once only if two copied VMAs share it. An anonymous
huge page costs a page of PTEs as well, laid by for the day it is split; a huge page of
a file or shmem costs none (copy_huge_pmd), nor does hugetlb. The topmost level, and
with five levels the one below it, is not in the kernel's own count, pgtables_bytes.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import mul

PAGE = mmap.PAGESIZE
_ENTRIES = PAGE // 8
LEAF = PAGE * _ENTRIES
"""Bytes of addresses under one page of PTEs: 2 MiB with pages of 4 KiB."""
MIDDLE = LEAF * _ENTRIES
"""Bytes under one page of PMDs: 1 GiB."""
TOP = MIDDLE * _ENTRIES
"""Bytes under one page of PUDs: 512 GiB."""


@dataclass(frozen=True)
class Geometry:
    """How a machine lays its page tables out; ``page`` is its base page in bytes.

    ``spans`` are the bytes of addresses under one table of PTEs, PMDs and PUDs;
    ``tables`` is what one of each takes, as the kernel counts it: 0 where there is no
    such level, or where it is the topmost.
    """

    name: str
    page: int
    spans: tuple[int, int, int]
    tables: tuple[int, int, int]

    @property
    def leaf(self) -> int:
        """Bytes of addresses under one table of PTEs."""
        return self.spans[0]


NATIVE = Geometry("this machine", PAGE, (LEAF, MIDDLE, TOP), (PAGE, PAGE, PAGE))


@dataclass(frozen=True)
class PageTables:
    """The page tables that a process is known to have.

    ``leaves``, ``middles`` and ``tops`` are the pages of PTEs, PMDs and PUDs, each by
    the number of its range (address // LEAF and so on), in order.
    """

    leaves: Sequence[int] = ()
    middles: Sequence[int] = ()
    tops: Sequence[int] = ()
    geometry: Geometry = NATIVE

    @classmethod
    def of(
        cls,
        leaves: Iterable[int],
        huge: Iterable[int] = (),
        giant: Iterable[int] = (),
    ) -> PageTables:
        """Add the upper levels to what stands at the bottom.

        ``leaves`` are ranges with a page of PTEs, ``huge`` ranges of the same size that
        one entry of a PMD maps, ``giant`` those of MIDDLE that one of a PUD maps.
        """
        bottom = set(leaves)
        middles = {number // _ENTRIES for number in bottom.union(huge)}
        tops = {number // _ENTRIES for number in middles.union(giant)}
        return cls(tuple(sorted(bottom)), tuple(sorted(middles)), tuple(sorted(tops)))

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        held = (self.leaves, self.middles, self.tops)
        return sum(map(mul, map(len, held), self.geometry.tables))

    def copied(self, ranges: Iterable[tuple[int, int]]) -> list[int]:
        """Return the bytes that copying each (start, end) allocates in the child.

        The ranges come in the order of addresses, as fork() takes them.
        """
        held = (self.leaves, self.middles, self.tops)
        levels = tuple(zip(self.geometry.spans, self.geometry.tables, held))
        last = [-1] * len(levels)
        costs = []
        for start, end in ranges:
            cost = 0
            for level, (span, table, numbers) in enumerate(levels):
                first = max(start // span, last[level] + 1)
                beyond = -(-end // span)
                count = bisect_left(numbers, beyond) - bisect_left(numbers, first)
                cost += table * max(0, count)
                last[level] = max(last[level], beyond - 1)
            costs.append(cost)
        return costs
