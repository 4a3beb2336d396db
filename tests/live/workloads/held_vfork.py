"""A process whose vforked child waits before exec, for as long as somebody wants.

    python -m tests.live.workloads.held_vfork --fifo PATH

``spawn`` makes a child by posix_spawn, which opens PATH, a FIFO, before it calls exec:
that takes until somebody opens the FIFO for writing. The answer is ``child``.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from tests.live.workloads.talk import obey, say


def main() -> None:
    """Say that it is ready, and spawn when told to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fifo", required=True)
    parser.add_argument("--now", action="store_true")
    options = parser.parse_args()
    before_exec = [(os.POSIX_SPAWN_OPEN, 0, options.fifo, os.O_RDONLY, 0)]

    def spawn() -> dict[str, Any]:
        child = os.posix_spawn("/bin/true", ["true"], {}, file_actions=before_exec)
        os.waitpid(child, 0)
        return {"child": child}

    say({"pid": os.getpid()})
    obey({"spawn": spawn}, now=options.now)


if __name__ == "__main__":
    main()
