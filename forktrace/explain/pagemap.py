"""What stands in the page tables of a process, from /proc/PID/pagemap.

Linux 6.7 answers in ranges (ioctl PAGEMAP_SCAN, 52526ca7fdb9), which costs little even
where terabytes are reserved; before, there is one word a page to read. Nothing is
touched either way. Neither shows what a PFNMAP has, nor tables without any entry.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from forktrace.explain import estimate
from forktrace.explain.pagetables import LEAF, MIDDLE, NATIVE, PAGE, PageTables
from forktrace.procfs import SmapsVma

# include/uapi/linux/fs.h
_PAGEMAP_SCAN = 0xC060_6610  # _IOWR('f', 16, struct pm_scan_arg)
_ARGUMENT = struct.Struct("=12Q")
_FILE, _PRESENT, _SWAPPED, _HUGE, _GUARD = 1 << 2, 1 << 3, 1 << 4, 1 << 6, 1 << 8
_REGIONS = 16384

# Of each word: present, swapped (markers too), guard (6.15), userfaultfd's protection.
# Documentation/admin-guide/mm/pagemap.rst
_IN_TABLES = 1 << 63 | 1 << 62 | 1 << 58 | 1 << 57
# As masks over the words of a whole page of PTEs:
_ANY = int.from_bytes(_IN_TABLES.to_bytes(8, "little") * (PAGE // 8), "little")
_ALL_PRESENT = int.from_bytes((1 << 63).to_bytes(8, "little") * (PAGE // 8), "little")

# Words of pages reserved by the terabyte would take seconds to read.
_MOST_READ = 64 << 30

Range = tuple[int, int]


@dataclass(frozen=True)
class Seen:
    """What pagemap shows of a process.

    ``guards`` are the ranges of guard pages, None where the kernel does not tell (until
    6.15). ``guessed`` is how many bytes of addresses were too many to look at, or
    closed to us; there, memory is taken to lie as close together as it can, and
    ``others`` are what the tables may be if it does not.
    """

    tables: PageTables
    guards: tuple[Range, ...] | None
    guessed: int = 0
    others: tuple[PageTables, ...] = ()


def look(pid: int | str, vmas: Sequence[SmapsVma], *, scan: bool = True) -> Seen:
    """Look at every VMA. ``scan``: whether to try PAGEMAP_SCAN.

    Where pagemap may not be read, the sizes in ``vmas`` must do.
    """
    try:
        file = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return _guess(vmas)
    try:
        return (_scan(file, vmas) if scan else None) or _read(file, vmas)
    except OSError:
        return _guess(vmas)
    finally:
        os.close(file)


class _Found:
    """Ranges of addresses sorted into what maps them."""

    def __init__(self, vmas: Sequence[SmapsVma]) -> None:
        self._leaves: set[int] = set()
        self._huge: set[int] = set()
        self._giant: set[int] = set()
        self._hugetlb = [
            (vma.start, vma.end, vma.sizes.get("KernelPageSize", PAGE))
            for vma in vmas
            if "ht" in vma.vm_flags
        ]

    def add(self, start: int, end: int, *, huge_file: bool = False) -> None:
        """Enter a range; ``huge_file``: huge pages of a file or shmem map it."""
        size = self._page_size(start)
        if size >= MIDDLE:
            self._giant.update(range(start // MIDDLE, -(-end // MIDDLE)))
            return
        kind = self._huge if huge_file or size >= LEAF else self._leaves
        kind.update(range(start // LEAF, -(-end // LEAF)))

    def _page_size(self, address: int) -> int:
        for start, end, size in self._hugetlb:
            if start <= address < end:
                return size
        return PAGE

    def tables(self) -> PageTables:
        """Return the tables that hold all of it."""
        return PageTables.of(self._leaves, self._huge, self._giant)


def _scan(file: int, vmas: Sequence[SmapsVma]) -> Seen | None:
    """Ask for ranges; None where the kernel has no such ioctl."""
    place = (vmas[0].start, vmas[-1].end)
    for asked in (_FILE | _HUGE | _GUARD, _FILE | _HUGE):
        found, guards = _Found(vmas), []
        try:
            for start, stop, kind in _regions(file, place, asked):
                if kind & _GUARD:
                    guards.append((start, stop))
                both = _FILE | _HUGE
                found.add(start, stop, huge_file=kind & both == both)
        except OSError as error:
            if error.errno == errno.EINVAL:  # PAGE_IS_GUARD came in 6.15
                continue
            if error.errno == errno.ENOTTY:
                return None
            raise
        return Seen(found.tables(), tuple(guards) if asked & _GUARD else None)
    return None


def _regions(file: int, place: Range, asked: int) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, categories) of all that is present or swapped."""
    regions = array("Q", bytes(24 * _REGIONS))
    address, _ = regions.buffer_info()
    start, end = place
    while start < end:
        argument = bytearray(
            _ARGUMENT.pack(
                *(_ARGUMENT.size, 0, start, end, 0, address, _REGIONS),
                *(0, 0, 0, _PRESENT | _SWAPPED, asked),
            )
        )
        count = fcntl.ioctl(file, _PAGEMAP_SCAN, argument, True)
        words = regions[: 3 * count]
        yield from zip(words[0::3], words[1::3], words[2::3])
        if count < _REGIONS:
            return
        # walk_end may lie behind: the kernel hands regions out by the 512 and leaves it
        # where it last did so.
        start = max(_ARGUMENT.unpack(argument)[4], words[-2])


def _read(file: int, vmas: Sequence[SmapsVma]) -> Seen:
    """Read a word a page, wherever there may be one."""
    found, left, guessed = _Found(vmas), _MOST_READ, 0
    for vma in vmas:
        if not _may_have_entries(vma):
            continue
        if vma.size > left:
            guessed += vma.size
            _crowd(found, vma)
            continue
        left -= vma.size
        huge = vma.huge_file // LEAF
        for start, end, words in _words(file, vma):
            # A huge page shows as words that are all present, and no other way.
            whole = huge > 0 and words & _ALL_PRESENT == _ALL_PRESENT
            huge -= whole
            if words & _ANY:
                found.add(start, end, huge_file=whole)
    return Seen(found.tables(), None, guessed)


def _words(file: int, vma: SmapsVma) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, all words as one number) for each page of PTEs that may be."""
    start = vma.start
    while start < vma.end:
        end = min((start // LEAF + 1) * LEAF, vma.end)
        raw = os.pread(file, (end - start) // PAGE * 8, start // PAGE * 8)
        yield start, end, int.from_bytes(raw, "little")
        start = end


def _may_have_entries(vma: SmapsVma) -> bool:
    """Tell whether smaps leaves room for entries that pagemap shows."""
    held = vma.rss or vma.sizes.get("Swap") or vma.hugetlb
    # The zero page and the markers of guards and of userfaultfd are in no size.
    may = vma.vm_flags & {"rd", "gu", "uw"}
    return bool(held or may)


def _guess(vmas: Sequence[SmapsVma]) -> Seen:
    """Take the sizes of smaps for want of anything better."""
    found = _Found(vmas)
    for vma in vmas:
        _crowd(found, vma)
    apart = (estimate.spread(vmas, NATIVE),)
    return Seen(found.tables(), None, sum(vma.size for vma in vmas), apart)


def _crowd(found: _Found, vma: SmapsVma) -> None:
    """Enter the memory of a VMA as if it lay together at its start."""
    held = vma.rss + vma.sizes.get("Swap", 0) + vma.hugetlb
    if held:
        found.add(vma.start, min(vma.end, vma.start + held - vma.huge_file))
