"""Makes an investigation in a virtual machine and tells what it found.

python -m tests.investigations redis|postgresql|programs
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from forktrace.errors import ForktraceError
from tests.demo.report import Section
from tests.investigations import postgresql, programs, redis
from tests.investigations.machine import investigate
from tests.investigations.stories import postgresql as of_postgresql
from tests.investigations.stories import programs as of_programs
from tests.investigations.stories import redis as of_redis
from tests.lab.cache import cache_folder

STORIES: dict[str, Callable[[Path], Iterator[Section]]] = {
    "redis": lambda folder: of_redis.sections(redis.Found.read(folder)),
    "postgresql": lambda folder: of_postgresql.sections(postgresql.Found.read(folder)),
    "programs": lambda folder: of_programs.sections(programs.Found.read(folder)),
}


def main(argv: list[str]) -> int:
    """Make it and tell; return the exit status."""
    described = argparse.ArgumentParser(
        prog="python -m tests.investigations",
        description="Investigate real servers on Debian's newest kernel.",
    )
    described.add_argument("name", choices=STORIES)
    described.add_argument(
        "--results", type=Path, help="tell again what an earlier one left in a folder"
    )
    options = described.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(dir=cache_folder()) as new:
            folder = options.results or Path(new)
            if not options.results:
                status = investigate(options.name, folder, sys.stdout.buffer).status
                if status:
                    return status
            for section in STORIES[options.name](folder):
                print("", section.title, *section.lines, sep="\n")
    except ForktraceError as error:
        print(error.message, error.advice, sep="\n", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
