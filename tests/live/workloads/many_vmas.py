"""Many VMAs of one size, half of them copied or all, then plain forks.

    python -m tests.live.workloads.many_vmas --vmas 2000 --forks 100 [--pages 1]
        [--copied half|all] [--now]

Ready: ``pid``, ``start``, ``end`` (the range of the VMAs), ``vmas``, ``copied`` and
``skipped`` (how many of them). ``go`` forks: ``forks`` (how many), ``seconds`` (all of
them, with their exits) and ``vmas`` (of the whole process).
"""

from __future__ import annotations

import argparse
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from forktrace import procfs
from forktrace.kinds import fork_once, libc
from forktrace.kinds.ground import PAGE, PRIVATE, READ_WRITE
from tests.live.workloads.talk import obey, say

# Far from everything else of this process, so that no VMA merges with a neighbour.
_START = 0x30_0000_0000
_MAX_MAP_COUNT = Path("/proc/sys/vm/max_map_count")


@contextmanager
def room_for(vmas: int) -> Iterator[None]:
    """Let a process have so many VMAs more than its own thousand."""
    before = int(_MAX_MAP_COUNT.read_text())
    raised = before < vmas + 1000
    if raised:
        _MAX_MAP_COUNT.write_text(str(vmas + 1000))
    try:
        yield
    finally:
        if raised:
            _MAX_MAP_COUNT.write_text(str(before))


def split(start: int, vmas: int, length: int, *, all_copied: bool) -> None:
    """Cut a private mapping into VMAs that cannot merge: every other one is read-only.

    An anon_vma is made by the first write: into the whole mapping before it is cut, or
    into every other VMA afterwards.
    """
    if all_copied:
        _write(start, vmas * length)
    for index in range(1, vmas, 2):
        libc.mprotect(start + index * length, length, mmap.PROT_READ)
    if not all_copied:
        for index in range(0, vmas, 2):
            _write(start + index * length, length)


def _write(start: int, length: int) -> None:
    for address in range(start, start + length, PAGE):
        libc.poke(address)


def main() -> None:
    """Make the VMAs, say so, and obey."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--vmas", type=int, default=2000, help="up to 20,000 or so")
    parser.add_argument("--forks", type=int, default=100)
    parser.add_argument("--pages", type=int, default=1, help="pages of one VMA")
    parser.add_argument("--copied", choices=("half", "all"), default="half")
    parser.add_argument("--now", action="store_true", help="do not wait for commands")
    options = parser.parse_args()
    length = options.pages * PAGE

    def go() -> dict[str, Any]:
        began = time.monotonic()
        for _ in range(options.forks):
            fork_once()
        seconds = time.monotonic() - began
        return {
            "pid": os.getpid(),
            "forks": options.forks,
            "seconds": seconds,
            "vmas": sum(vma.name != "[vsyscall]" for vma in procfs.read_smaps()),
        }

    with room_for(options.vmas):
        flags = PRIVATE | libc.MAP_FIXED_NOREPLACE
        start = libc.mmap(_START, options.vmas * length, READ_WRITE, flags)
        # A huge page would have to be torn when it is cut.
        # A kernel without huge pages (PREEMPT_RT) refuses, and needs no telling.
        with suppress(OSError):
            libc.madvise(start, options.vmas * length, mmap.MADV_NOHUGEPAGE)
        split(start, options.vmas, length, all_copied=options.copied == "all")
        copied = options.vmas if options.copied == "all" else (options.vmas + 1) // 2
        say(
            {
                "pid": os.getpid(),
                "start": start,
                "end": start + options.vmas * length,
                "vmas": options.vmas,
                "copied": copied,
                "skipped": options.vmas - copied,
            }
        )
        obey({"go": go}, now=options.now)


if __name__ == "__main__":
    main()
