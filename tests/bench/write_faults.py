"""A process that writes to pages after a fork, and says how many instructions it took.

    python -m tests.bench.write_faults --pages 2000

Ready: ``pid``. ``go`` forks and writes: ``ns`` (of all writes after each fork).

As in tests.bench.workload a nanosecond is an instruction, and the child does not run
before its parent, in real time, waits for it: until then it shares every page.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import mmap
import os
import time
from typing import Any

from forktrace.kinds import libc
from forktrace.kinds.ground import PAGE, PRIVATE, READ_WRITE
from tests.bench.workload import PRIORITY, keep_from_children
from tests.live.workloads.talk import obey, say

_ROUNDS = 4


def measured_writes(start: int, size: int) -> int:
    """Return how long writing to all of the memory takes just after a fork."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    began = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
    ctypes.memset(start, 1, size)
    took = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) - began
    os.waitpid(pid, 0)
    return took


def main() -> None:
    """Make the memory, say so, and obey."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pages", type=int, required=True)
    size = parser.parse_args().pages * PAGE
    gc.freeze()
    gc.disable()
    keep_from_children()
    start = libc.mmap(0, size, READ_WRITE, PRIVATE)
    libc.madvise(start, size, mmap.MADV_NOHUGEPAGE)
    ctypes.memset(start, 1, size)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))

    def go() -> dict[str, Any]:
        return {"ns": [measured_writes(start, size) for _ in range(_ROUNDS)]}

    say({"pid": os.getpid()})
    obey({"go": go}, now=False)


if __name__ == "__main__":
    main()
