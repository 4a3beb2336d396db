"""Which pages stand in a process's page tables, from /proc/PID/pagemap.

Looking touches nothing: a page that fork did not copy stays away.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Documentation/admin-guide/mm/pagemap.rst: present, swapped (markers show as that
# too), guard region (since 6.15), write-protected by userfaultfd. Not soft-dirty
# (bit 55), which a page can be that is not there.
_IN_TABLES = 1 << 63 | 1 << 62 | 1 << 58 | 1 << 57


@dataclass(frozen=True)
class Pages:
    """How many pages of a VMA the parent's tables hold, and the child's of those.

    ``parent`` is 0 where the tables cannot tell: nothing there, or a PFNMAP, which
    pagemap does not show.
    """

    parent: int = 0
    child: int = 0

    @property
    def copied(self) -> bool | None:
        """Whether the child has any of them; None where the tables cannot tell."""
        return self.child > 0 if self.parent else None

    @classmethod
    def of(cls, parent: set[int], child: set[int]) -> Pages:
        """Count; a page that the child has alone says nothing about fork."""
        return cls(len(parent), len(parent & child))


def held(pid: int | str, ranges: Iterable[tuple[int, int]]) -> list[set[int]]:
    """Return for each (start, end) the addresses of pages in the tables of ``pid``.

    All are empty where the kernel has no pagemap (CONFIG_PROC_PAGE_MONITOR).
    Raises OSError.
    """
    path = Path(f"/proc/{pid}/pagemap")
    if not path.exists():
        return [set() for _ in ranges]
    with path.open("rb", buffering=0) as file:
        found = []
        for start, end in ranges:
            file.seek(start // mmap.PAGESIZE * 8)
            entries = array("Q", file.read((end - start) // mmap.PAGESIZE * 8))
            found.append(
                {
                    start + number * mmap.PAGESIZE
                    for number, entry in enumerate(entries)
                    if entry & _IN_TABLES
                }
            )
    return found
