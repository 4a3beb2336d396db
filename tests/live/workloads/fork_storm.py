"""Several processes that fork as fast as they can; every child exits at once.

    python -m tests.live.workloads.fork_storm --processes 8 --forks 1000 [--now]

Ready: ``pid`` and ``processes`` (the pids of those that will fork). ``go`` lets them
run: ``forks`` (how many succeeded, all together), ``failed``, ``vmas`` (how many VMAs
the parents of the successful ones had, all together) and ``seconds``.
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
import time
import traceback
from typing import Any, NoReturn

from forktrace.kinds import fork_once
from tests.live.workloads.talk import obey, say

_RESULT = struct.Struct("=3Q")  # forks, failed, VMAs of the forks


def storm(forks: int, gate: int, results: int) -> NoReturn:
    """Wait for the gate to open (its end of file), fork, report, and exit."""
    made = failed = 0
    try:
        os.read(gate, 1)
        vmas = own_vmas()
        for _ in range(forks):
            try:
                fork_once()
                made += 1
            except OSError:
                failed += 1
        after = own_vmas()
        assert after == vmas, f"{vmas} VMAs before the storm, {after} after it"
        os.write(results, _RESULT.pack(made, failed, made * vmas))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def own_vmas() -> int:
    """Count the VMAs of this process; [vsyscall] is none."""
    maps = os.open("/proc/self/maps", os.O_RDONLY)
    text = b""
    while part := os.read(maps, 1 << 16):
        text += part
    os.close(maps)
    return text.count(b"\n") - text.count(b"[vsyscall]")


def without_arenas() -> None:
    """Begin anew unless Python takes its memory from the heap, which is one VMA.

    Its own arenas come and go, and with them VMAs. The heap has room for all that is to
    come: one that grows in a forked process gets a VMA for that, because the kernel
    does not merge memory with such that was cloned from a parent.
    """
    if os.environ.get("PYTHONMALLOC") != "malloc":
        os.environ["PYTHONMALLOC"] = "malloc"
        os.environ["GLIBC_TUNABLES"] = f"glibc.malloc.top_pad={16 << 20}"
        module = ("-m", "tests.live.workloads.fork_storm")
        os.execv(sys.executable, [sys.executable, *module, *sys.argv[1:]])


def main() -> None:
    """Start the processes, say so, and obey."""
    without_arenas()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--forks", type=int, default=1000, help="of each process")
    parser.add_argument("--now", action="store_true", help="do not wait for commands")
    options = parser.parse_args()
    gate, opener = os.pipe()
    results, reporter = os.pipe()
    pids: list[int] = []
    for _ in range(options.processes):
        pid = os.fork()
        if pid == 0:
            os.close(opener)
            storm(options.forks, gate, reporter)
        pids.append(pid)
    os.close(reporter)

    def go() -> dict[str, Any]:
        began = time.monotonic()
        os.close(opener)
        for pid in pids:
            os.waitpid(pid, 0)
        seconds = time.monotonic() - began
        reports = list(_RESULT.iter_unpack(os.read(results, 1 << 16)))
        return {
            "forks": sum(made for made, _, _ in reports),
            "failed": sum(failed for _, failed, _ in reports),
            "vmas": sum(vmas for _, _, vmas in reports),
            "reported": len(reports),
            "seconds": seconds,
        }

    say({"pid": os.getpid(), "processes": pids})
    obey({"go": go}, now=options.now)


if __name__ == "__main__":
    main()
