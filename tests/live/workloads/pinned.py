"""Private memory that is pinned: buffers registered with io_uring, which fork copies.

    python -m tests.live.workloads.pinned [--mib 8] [--huge] [--now]

Ready: ``pid``, ``start`` and ``size`` of the buffer, and why it was ``skipped``, or
null. ``go`` forks: the ``child``, and ``copied_bytes``, how much of the buffer lies in
other pages there. ``dontfork`` keeps it from later children, ``release`` ends its
registration.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import os
import struct
from typing import Any

from forktrace.kernel.abi import syscall
from forktrace.kinds import libc, living_child
from tests.live.workloads.talk import obey, say

IO_URING_REGISTER = 427
REGISTER_BUFFERS, UNREGISTER_BUFFERS = 0, 1
NO_HUGE_PAGES, DONTFORK = 15, 10
PAGE = mmap.PAGESIZE
FRAME = (1 << 55) - 1

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Register the buffer, say so, and obey."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mib", type=int, default=8)
    parser.add_argument("--huge", action="store_true", help="of hugetlb")
    parser.add_argument("--now", action="store_true", help="do not wait for commands")
    options = parser.parse_args()
    size = options.mib << 20
    start = ring = -1
    skipped = None
    try:
        start = private(size, huge=options.huge)
        ring = syscall("io_uring_setup", 8, ctypes.create_string_buffer(120))
        register(ring, REGISTER_BUFFERS, struct.pack("QQ", start, size))
    except OSError as error:
        skipped = error.strerror

    def go() -> dict[str, Any]:
        with living_child() as child:
            pairs = zip(frames("self", start, size), frames(child, start, size))
            copied = sum(theirs not in (0, ours) for ours, theirs in pairs)
        return {"child": child, "copied_bytes": copied * PAGE}

    def dontfork() -> dict[str, Any]:
        libc.madvise(start, size, DONTFORK)
        return {}

    def release() -> dict[str, Any]:
        register(ring, UNREGISTER_BUFFERS, b"")
        return {}

    say({"pid": os.getpid(), "start": start, "size": size, "skipped": skipped})
    obey({"go": go, "dontfork": dontfork, "release": release}, now=options.now)


def private(size: int, *, huge: bool) -> int:
    """Return where private memory stands, all of it written."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (libc.MAP_HUGETLB if huge else 0)
    start = libc.mmap(0, size, mmap.PROT_READ | mmap.PROT_WRITE, flags)
    if not huge:
        libc.madvise(start, size, NO_HUGE_PAGES)
    ctypes.memset(start, 1, size)
    return start


def register(ring: int, what: int, vector: bytes) -> None:
    """Call io_uring_register; raises OSError."""
    if _libc.syscall(IO_URING_REGISTER, ring, what, vector or None, bool(vector)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def frames(pid: int | str, start: int, size: int) -> list[int]:
    """Return the page frames behind a range of a process's addresses."""
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        pagemap.seek(start // PAGE * 8)
        entries = pagemap.read(size // PAGE * 8)
    return [entry & FRAME for (entry,) in struct.iter_unpack("Q", entries)]


if __name__ == "__main__":
    main()
