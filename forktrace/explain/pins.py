"""Which memory of a process io_uring has pinned: its registered buffers.

Fork copies such pages of private memory, not only the entries for them. A ring's fdinfo
lists its buffers (io_uring_show_fdinfo, since 5.10), but for a moment when the ring is
busy. What else is pinned, by RDMA say, shows in no file but as a sum, VmPin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from forktrace.explain.descriptors import fdinfo
from forktrace.explain.pagetables import PAGE
from forktrace.procfs import SmapsVma

_LINK = "anon_inode:[io_uring]"
# Without the lock of a ring that is busy it prints the first line alone, or neither.
_LIST = re.compile(r"^UserBufs:\t\d+\n((?: *\d+: .*\n)*)", re.MULTILINE)
_BUFFER = re.compile(r"^ *\d+: 0x([0-9a-f]{1,16})/(\d{1,20})$", re.MULTILINE)

Range = tuple[int, int]
"""From its start up to its end, in bytes."""


def io_uring_buffers(pid: int | str, parent: int) -> tuple[Range, ...]:
    """Return the pages of the registered buffers of ``pid``, in order, joined.

    A ring that ``parent`` holds in the same place came from there by fork, and its
    buffers are the parent's.
    """
    rings = dict(fdinfo(pid, _LINK))
    if not rings:
        return ()
    inherited = dict(fdinfo(parent, _LINK))
    own = [
        each
        for number, text in rings.items()
        if (listed := buffers_in(text)) != buffers_in(inherited.get(number, ""))
        for each in listed
    ]
    return tuple(_joined(own))


def buffers_in(text: str) -> list[Range]:
    """Return the buffers that the fdinfo of a ring lists, in whole pages."""
    listed = _LIST.search(text)
    return [
        (start // PAGE * PAGE, -(-(start + int(size)) // PAGE) * PAGE)
        for address, size in _BUFFER.findall(listed[1] if listed else "")
        if int(size) and (start := int(address, 16))
    ]


def copied_bytes(vma: SmapsVma, buffers: Iterable[Range]) -> int:
    """Return how much of a VMA fork copies itself, where it copies the VMA at all."""
    if vma.perms[3] == "s":
        return 0
    overlaps = (min(vma.end, end) - max(vma.start, start) for start, end in buffers)
    return sum(overlap for overlap in overlaps if overlap > 0)


def _joined(ranges: Iterable[Range]) -> Iterator[Range]:
    """Yield the ranges in order, none of which overlaps another."""
    reached = 0
    for start, end in sorted(ranges):
        if end > max(start, reached):
            yield max(start, reached), end
            reached = end
