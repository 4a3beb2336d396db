"""A process with many VMAs that forks and says how many instructions a fork took.

    python -m tests.bench.workload --vmas 1000 --pages 1 --copied half|all --forks 4

Ready: ``pid``. ``go`` forks: ``ns`` (of each fork, in order).

Only where a nanosecond of the clock is an instruction, on one CPU, are these exact. The
process runs in real time with its child behind it, so that nothing but the clock's
interrupts comes between the two readings around a fork. All that makes it a Python is
kept from its children, which then end at their first instruction: so that a fork has
the VMAs it is asked for and no others.
"""

from __future__ import annotations

import argparse
import gc
import mmap
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from forktrace.kinds import libc
from forktrace.kinds.ground import PAGE, PRIVATE, READ_WRITE
from tests.live.workloads.many_vmas import room_for, split
from tests.live.workloads.talk import obey, say

_START = 0x30_0000_0000
PRIORITY = 50


def measured_fork() -> int:
    """Fork a child that ends at once; return how long the parent was in fork()."""
    began = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    took = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) - began
    os.waitpid(pid, 0)
    return took


def keep_from_children() -> None:
    """Advise DONTFORK on every VMA there is, but for those that are gone by then."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, _, last = line.split()[0].partition("-")
        start = int(first, 16)
        with suppress(OSError):
            libc.madvise(start, int(last, 16) - start, mmap.MADV_DONTFORK)


def main() -> None:
    """Make the VMAs, say so, and obey."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--vmas", type=int, required=True)
    parser.add_argument("--pages", type=int, default=1, help="pages of one VMA")
    parser.add_argument("--copied", choices=("half", "all"), default="all")
    parser.add_argument("--forks", type=int, default=4)
    options = parser.parse_args()
    size = options.vmas * options.pages * PAGE
    everything = options.copied == "all"
    gc.freeze()
    gc.disable()
    keep_from_children()
    with room_for(options.vmas):
        flags = PRIVATE | libc.MAP_FIXED_NOREPLACE
        start = libc.mmap(_START, size, READ_WRITE, flags)
        libc.madvise(start, size, mmap.MADV_NOHUGEPAGE)
        split(start, options.vmas, options.pages * PAGE, all_copied=everything)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))

        def go() -> dict[str, Any]:
            return {"ns": [measured_fork() for _ in range(options.forks)]}

        say({"pid": os.getpid()})
        obey({"go": go}, now=False)


if __name__ == "__main__":
    main()
