"""One process that forks under ever new names.

    python -m tests.live.workloads.many_names --names 2100 [--now]

Ready: ``pid``. ``go`` forks once under each name: ``forks`` (how many).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from forktrace.kinds import fork_once
from tests.live.workloads.talk import obey, say

_COMM = Path("/proc/self/comm")


def main() -> None:
    """Say that it is ready, and obey."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--names", type=int, required=True)
    parser.add_argument("--now", action="store_true", help="do not wait for commands")
    options = parser.parse_args()

    def go() -> dict[str, Any]:
        for number in range(options.names):
            _COMM.write_text(f"name-{number}")
            fork_once()
        return {"forks": options.names}

    say({"pid": os.getpid()})
    obey({"go": go}, now=options.now)


if __name__ == "__main__":
    main()
