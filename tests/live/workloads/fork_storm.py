"""Several processes that fork as fast as they can; every child exits at once.

    python -m tests.live.workloads.fork_storm --processes 8 --forks 1000 [--now]

Ready: ``pid`` and ``processes`` (the pids of those that will fork). ``go`` lets them
run: ``forks`` (how many succeeded, all together), ``failed`` and ``seconds``.
"""

from __future__ import annotations

import argparse
import os
import struct
import time
from typing import Any, NoReturn

from forktrace.kinds import fork_once
from tests.live.workloads.talk import obey, say

_RESULT = struct.Struct("=2Q")  # forks, failed


def storm(forks: int, gate: int, results: int) -> NoReturn:
    """Wait for the gate to open (its end of file), fork, report, and exit."""
    made = failed = 0
    try:
        os.read(gate, 1)
        for _ in range(forks):
            try:
                fork_once()
                made += 1
            except OSError:
                failed += 1
        os.write(results, _RESULT.pack(made, failed))
    finally:
        os._exit(0)


def main() -> None:
    """Start the processes, say so, and obey."""
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
            "forks": sum(made for made, _ in reports),
            "failed": sum(failed for _, failed in reports),
            "reported": len(reports),
            "seconds": seconds,
        }

    say({"pid": os.getpid(), "processes": pids})
    obey({"go": go}, now=options.now)


if __name__ == "__main__":
    main()
