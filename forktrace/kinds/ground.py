"""Where made VMAs stand: fixed addresses with holes between, so that none merge."""

from __future__ import annotations

import fcntl
import mmap
import os
import re
from contextlib import ExitStack
from pathlib import Path

from forktrace.kinds import libc

PAGE = mmap.PAGESIZE
READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
SHARED = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS

# 128 GiB: above a program that is not position independent and below everything else,
# also where an arm64 process has only 39 bits of addresses.
_FIRST = 0x20_0000_0000
_LAST = 0x40_0000_0000
NR_HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")


def resize_huge_pages(by: int) -> int:
    """Grow or shrink the host's pool of huge pages; return by how much it did.

    Pages in use leave the pool when they are given back. Whoever else calls this at the
    same time waits. Raises OSError.
    """
    with NR_HUGEPAGES.open("r+") as pool:
        fcntl.flock(pool, fcntl.LOCK_EX)
        before = int(NR_HUGEPAGES.read_text())
        NR_HUGEPAGES.write_text(str(max(0, before + by)))
        return int(NR_HUGEPAGES.read_text()) - before


class Ground:
    """Maps, touches and, in the end, gives everything back through ``cleanup``.

    ``length`` is the bytes of a mapping, of which one page in each ``stride`` bytes is
    touched. The place of a mapping starts at a boundary of at least 4 MiB: no two
    mappings share a page of PTEs.
    """

    def __init__(self, cleanup: ExitStack, length: int, stride: int) -> None:
        """Begin with nothing mapped."""
        self.cleanup = cleanup
        self.length = length
        self.stride = stride
        self._next = _FIRST

    def map(
        self,
        flags: int,
        *,
        protection: int = READ_WRITE,
        fd: int = -1,
        length: int | None = None,
        anywhere: bool = False,
    ) -> int:
        """Map ``length`` bytes (the ground's by default) and return the address.

        ``anywhere`` leaves the address to the kernel, for files that insist on it.
        """
        length = length or self.length
        if anywhere:
            start = libc.mmap(0, length, protection, flags, fd)
        else:
            start = self._map_fixed(length, protection, flags, fd)
        self.cleanup.callback(libc.munmap, start, length)
        return start

    def touch(
        self, start: int, *, write: bool = True, length: int | None = None
    ) -> None:
        """Read, and if asked write, one byte in each stride."""
        for address in range(start, start + (length or self.length), self.stride):
            libc.poke(address) if write else libc.peek(address)

    def huge_page(self) -> int:
        """Add a huge page to the host's pool and return its size in bytes.

        At the end the pool shrinks by as much as it grew: others may have changed it
        meanwhile. Raises OSError.
        """
        meminfo = Path("/proc/meminfo").read_text()
        size = re.search(r"^Hugepagesize:\s+(\d+) kB$", meminfo, re.MULTILINE)
        if size is None:
            raise OSError(0, "this kernel has no huge page pool")
        gained = resize_huge_pages(1)
        self.cleanup.callback(resize_huge_pages, -gained)
        if not gained:
            raise OSError(0, "no memory free for a huge page")
        return int(size[1]) * 1024

    def open(self, path: str) -> int:
        """Open a file for reading until the end and return its descriptor."""
        return self.keep(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def keep(self, fd: int) -> int:
        """Close ``fd`` at the end; return it."""
        self.cleanup.callback(os.close, fd)
        return fd

    def _map_fixed(self, length: int, protection: int, flags: int, fd: int) -> int:
        step = max(4 << 20, 2 * length)
        while self._next + step < _LAST:
            start = -(-self._next // step) * step
            self._next = start + step
            try:
                return libc.mmap(
                    start, length, protection, flags | libc.MAP_FIXED_NOREPLACE, fd
                )
            except FileExistsError:  # something else of this process stands here
                continue
        raise OSError(0, "no room left in the address space")
