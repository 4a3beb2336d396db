"""``make soak``: half an hour of forks of every sort, a daemon, and commands beside it.

    python -m tests.soak [--minutes 30] [--kernel 7.3]

Prints the figures; the exit status is 1 where a promise was broken. They stay in the
cache, with the kernel's log and what each command said: results/soak.
"""

from __future__ import annotations

import argparse
import shutil
import sys

from forktrace.errors import ForktraceError
from tests.lab import Machine, run_guest
from tests.lab.cache import REPOSITORY, cache_folder

SLACK_SECONDS = 1800.0
"""For boot, start, and what a busy machine takes to end it all."""


def main() -> int:
    """Boot and soak; return the exit status."""
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--kernel", default="7.3")
    options = parser.parse_args()
    folder = cache_folder() / "results" / "soak"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        result = run_guest(
            options.kernel,
            [sys.executable, "-m", "tests.soak.guest", str(options.minutes)],
            results=folder,
            cwd=REPOSITORY,
            machine=Machine(timeout=options.minutes * 60 + SLACK_SECONDS),
            stream=sys.stdout.buffer,
        )
    except ForktraceError as error:
        print(f"soak: {error.message}\n{error.advice}", file=sys.stderr)
        return error.exit_status
    return result.status


if __name__ == "__main__":
    sys.exit(main())
