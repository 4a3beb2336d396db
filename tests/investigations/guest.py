"""Makes one investigation on the kernel that runs here, as root.

    python -m tests.investigations.guest redis|postgresql|programs

Says on stdout how far it is, in seconds since the boot, and leaves what it found in the
folder $RESULTS, where what has to be compiled was put before.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from forktrace.errors import ForktraceError
from tests.investigations import postgresql, programs, redis


class Found(Protocol):
    """What an investigation found."""

    def write(self, folder: Path) -> None:
        """Keep it in a folder."""


INVESTIGATIONS: dict[str, Callable[[Path, Path, Callable[[str], None]], Found]] = {
    "redis": redis.measure,
    "postgresql": postgresql.measure,
    "programs": programs.measure,
}


def main() -> int:
    """Make it and keep it; every error ends here in one line."""
    results = Path(os.environ["RESULTS"])
    try:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            found = INVESTIGATIONS[sys.argv[1]](Path(folder), results, _say)
        found.write(results)
    except ForktraceError as error:
        print(f"{error.message} {error.advice}".rstrip(), flush=True)
        return error.exit_status
    return 0


def _say(what: str) -> None:
    seconds = time.clock_gettime(time.CLOCK_BOOTTIME)
    print(f"{seconds:5.0f} s  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
