"""Copies of /proc/self/smaps that do not change the address space they show."""

from __future__ import annotations

import os
from typing import Any

from forktrace import procfs


class Snapshot:
    """One copy of this process's smaps, in memory that was there before.

    ``room`` is the bytes to keep; ``take`` fills them and raises OverflowError if they
    are too few.
    """

    def __init__(self, room: int = 8 << 20) -> None:
        """Allocate, and touch by writing, the whole room."""
        self._text = bytearray(room)
        self._view = memoryview(self._text)
        self._length = 0

    def take(self) -> None:
        """Copy smaps as it is now."""
        fd = os.open("/proc/self/smaps", os.O_RDONLY)
        try:
            self._length = 0
            while count := os.readv(fd, [self._view[self._length :]]):
                self._length += count
        finally:
            os.close(fd)
        if self._length == len(self._text):
            raise OverflowError("the snapshot has too little room")

    def vmas(self) -> list[procfs.SmapsVma]:
        """Return the VMAs of the last copy."""
        return procfs.parse_smaps(os.fsdecode(bytes(self._view[: self._length])))


def shape(vma: procfs.SmapsVma) -> dict[str, Any]:
    """Return what fork() sees of a VMA, for JSON; ``anonymous`` is bytes."""
    return {
        "start": vma.start,
        "end": vma.end,
        "perms": vma.perms,
        "name": vma.name,
        "vm_flags": sorted(vma.vm_flags),
        "anonymous": vma.anonymous,
    }
